/*
 * keys_change.c
 *	  Changes of the keystore: making it, adopting it, adding to it.
 *
 * A change holds the keystore's LWLock and the directory's lock file from
 * re-reading the file to renaming its successor over it.  Between, what this
 * backend has in memory may be ahead of the file: the cache is unsettled, so
 * that an error makes the next use read the file again.
 *
 * Nothing of this is in WAL.  A key that was made for a transaction that
 * aborts stays in the keystore, and is harmless there.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "am/keys/keys_internal.h"
#include "am/stop_point.h"
#include "miscadmin.h"
#include "sql/settings.h"

static int	lock_fd = -1;		/* of the change under way */

/* Take both locks. */
static void
lock_keystore(void)
{
	LWLockAcquire(verity_lock(VERITY_LOCK_KEYSTORE), LW_EXCLUSIVE);
	lock_fd = keys_file_lock();
}

static void
unlock_keystore(void)
{
	keys_file_unlock(lock_fd);
	LWLockRelease(verity_lock(VERITY_LOCK_KEYSTORE));
}

/* Begin a change: locks, and the keystore as the file is now. */
keystore *
keys_change_begin(void)
{
	KeysProblem problem;

	/* ask the master key's provider before anything is locked */
	if (!keys_cache_load(false, &problem))
		keys_problem_raise(&problem);

	lock_keystore();
	if (!keys_cache_load(true, &problem))
		keys_problem_raise(&problem);
	keys_cache_unsettle();
	return keys_cache();
}

/* End a change: on disk, then visible to others. */
void
keys_change_end(void)
{
	keys_cache_write(keys_cache());
	keys_cache_settle();
	unlock_keystore();
}

/* End a change that turned out to be none. */
void
keys_change_cancel(void)
{
	keys_cache_settle();
	unlock_keystore();
}

/* Raise the failure of a change to the keystore in memory. */
void
keys_change_failed(core_status status)
{
	if (status == CORE_E_LIMIT)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the keystore is full"),
				 errhint("A keystore holds at most %d keys and %d journals.",
						 KEYSTORE_KEYS_MAX, KEYSTORE_JOURNALS_MAX)));
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("could not add to the keystore"),
			 errhint("Raise the limit of locked memory (ulimit -l).")));
}

/* Say so when backups of the data would take the keystore along. */
static void
warn_inside_data(void)
{
	if (keys_directory_inside_data())
		ereport(WARNING,
				(errmsg("keystore directory \"%s\" is inside the data directory", keys_directory()),
				 errdetail("Backups of the data directory hold the keystore, so erased keys come back with them."),
				 errhint("Set verity.keystore_directory to a directory elsewhere and move the keystore there.")));
}

/* Write a new, empty keystore; false where there is one that opens. */
bool
verity_keystore_init(void)
{
	KeysProblem problem;
	keystore   *created;
	struct stat st;

	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot make a keystore during recovery"),
				 errhint("Copy the primary's keystore directory and master key to this server.")));
	keys_directory_create();

	lock_keystore();
	if (keys_file_stat(&st))
	{
		unlock_keystore();
		if (!keys_cache_load(true, &problem))
			keys_problem_raise(&problem);
		return false;
	}

	keys_master_file_tidy();
	if (keys_master_file_missing())
		keys_master_file_create();
	VERITY_STOP("master-key-made");
	if (!keys_master_ready(true, &problem))
		keys_problem_raise(&problem);
	if (keystore_new(GetSystemIdentifier(), &created) != CORE_OK)
		keys_change_failed(CORE_E_CRYPTO);
	keys_cache_write(created);
	VERITY_STOP("keystore-made");
	keystore_free(created);
	unlock_keystore();
	warn_inside_data();
	return true;
}

/* Make another cluster's keystore this one's; false where it is already. */
bool
verity_keystore_adopt(void)
{
	KeysProblem problem;
	keystore   *ks;

	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot adopt a keystore during recovery"),
				 errhint("Call verity_adopt_keystore() on the primary.")));
	lock_keystore();
	if (!keys_cache_read(true, &problem))
		keys_problem_raise(&problem);
	ks = keys_cache();
	if (ks->system_identifier == GetSystemIdentifier())
	{
		keys_change_cancel();
		return false;
	}
	/* until it is on disk, it is nobody's here */
	keys_cache_unsettle();
	ks->system_identifier = GetSystemIdentifier();
	keys_change_end();
	return true;
}

/* Make a DEK; it is on disk when this returns. */
uint64
verity_key_create(const uint8 journal_id[16], const uint8 ledger[LEDGER_ID_SIZE],
				  uint8 commitment[32])
{
	keystore   *ks = keys_change_begin();
	uint64		key_id;
	core_status status = keystore_add_key(ks, journal_id, ledger, &key_id);
	const keystore_key *key;

	if (status != CORE_OK)
		keys_change_failed(status);
	keys_change_end();

	key = keys_cache_find(key_id);
	if (key == NULL)
		elog(ERROR, "a new key is missing from the keystore");
	memcpy(commitment, key->commitment, 32);
	return key_id;
}
