/*
 * keys_cache.c
 *	  The keystore as this backend has it, and its changes.
 *
 * A backend parses the keystore at its first need of a key, and again when a
 * key is missing and the file is another one than it parsed.  A changed
 * master key is asked for again when the one at hand does not open the file.
 *
 * A change holds the keystore's LWLock and the directory's lock file from
 * re-reading the file to renaming its successor over it.  Between, what this
 * backend has in memory may be ahead of the file: cache_valid is off, so that
 * an error makes the next use read the file again.
 *
 * Nothing of this is in WAL.  A key that was made for a transaction that
 * aborts stays in the keystore, and is harmless there.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "am/keys_internal.h"
#include "crypto/kdf.h"
#include "crypto/secmem.h"
#include "miscadmin.h"
#include "sql/settings.h"

static keystore *cache;			/* NULL: not parsed yet */
static bool cache_valid;		/* it is what cache_stat's file holds */
static struct stat cache_stat;
static uint8 *master_key;		/* secure memory */
static bool master_loaded;

/* Ready libsodium and the master key's memory, once a process. */
static bool
secrets_ready(KeysProblem *problem)
{
	if (master_key != NULL)
		return true;
	if (secmem_init() != CORE_OK)
		return keys_problem(problem, ERRCODE_INTERNAL_ERROR,
							"Check the installation of libsodium.",
							"could not initialize libsodium");
	master_key = secmem_alloc(MASTER_KEY_SIZE);
	if (master_key == NULL)
		return keys_problem(problem, ERRCODE_OUT_OF_MEMORY,
							"Raise the limit of locked memory (ulimit -l).",
							"out of secure memory");
	return true;
}

/* Have the master key; with again, ask its provider even so. */
static bool
master_ready(bool again, KeysProblem *problem)
{
	if (!secrets_ready(problem))
		return false;
	if (master_loaded && !again)
		return true;
	master_loaded = false;
	master_loaded = keys_master_load(master_key, problem);
	return master_loaded;
}

/* Is the file another one than the cache was made from? */
static bool
file_changed(void)
{
	struct stat st;

	return !keys_file_stat(&st) ||
		st.st_ino != cache_stat.st_ino || st.st_dev != cache_stat.st_dev ||
		st.st_size != cache_stat.st_size ||
		st.st_mtim.tv_sec != cache_stat.st_mtim.tv_sec ||
		st.st_mtim.tv_nsec != cache_stat.st_mtim.tv_nsec;
}

/* Open the sealed bytes; a wrong master key gets a second chance. */
static bool
open_sealed(const uint8 *sealed, size_t len, keystore **out, KeysProblem *problem)
{
	bool		fresh = !master_loaded;
	core_status status;

	if (!master_ready(false, problem))
		return false;
	status = keystore_parse(sealed, len, master_key, out);
	if (status == CORE_E_AUTH && !fresh)
	{
		if (!master_ready(true, problem))
			return false;
		status = keystore_parse(sealed, len, master_key, out);
	}
	if (status == CORE_OK)
		return true;

	master_loaded = false;
	if (status != CORE_E_AUTH)
		return keys_problem(problem,
							status == CORE_E_CRYPTO ? ERRCODE_OUT_OF_MEMORY : ERRCODE_DATA_CORRUPTED,
							"Restore the keystore directory from its newest copy.",
							"keystore \"%s\" could not be parsed", keys_file_path());
	keys_problem(problem, ERRCODE_CONFIG_FILE_ERROR,
				 "Configure the master key that this keystore was made with.",
				 "the master key does not open keystore \"%s\"", keys_file_path());
	strlcpy(problem->detail,
			"It is not the key that sealed the keystore, or the keystore was altered.",
			sizeof(problem->detail));
	return false;
}

/* Have the keystore in memory; with refresh, as the file is now. */
bool
keys_cache_load(bool refresh, KeysProblem *problem)
{
	keystore   *parsed = NULL;
	uint8	   *sealed;
	size_t		len;
	struct stat st;
	bool		ok;

	problem->sqlstate = 0;
	if (cache_valid && !(refresh && file_changed()))
		return true;
	if (!keys_file_read(&sealed, &len, &st, problem))
		return false;
	ok = open_sealed(sealed, len, &parsed, problem);
	pfree(sealed);
	if (!ok)
		return false;

	if (cache != NULL)
		keystore_free(cache);
	cache = parsed;
	cache_stat = st;
	cache_valid = true;
	return true;
}

/* A key, looked for again where the file has changed. */
const keystore_key *
keys_cache_find(uint64 key_id)
{
	const keystore_key *key;
	KeysProblem problem;

	if (!keys_cache_load(false, &problem))
		keys_problem_raise(&problem);
	key = keystore_find_key(cache, key_id);
	if (key != NULL || !file_changed())
		return key;
	if (!keys_cache_load(true, &problem))
		keys_problem_raise(&problem);
	return keystore_find_key(cache, key_id);
}

/* Begin a change: locks, and the keystore as the file is now. */
static int
change_begin(void)
{
	KeysProblem problem;
	int			lock;

	/* ask the provider before anything is locked */
	if (!keys_cache_load(false, &problem))
		keys_problem_raise(&problem);

	LWLockAcquire(verity_lock(VERITY_LOCK_KEYSTORE), LW_EXCLUSIVE);
	lock = keys_file_lock();
	if (!keys_cache_load(true, &problem))
		keys_problem_raise(&problem);
	cache_valid = false;
	return lock;
}

/* Write the keystore in memory to its file. */
static void
write_keystore(const keystore *ks)
{
	uint8	   *sealed;
	uint8	   *copy;
	size_t		len;

	if (keystore_serialize(ks, master_key, &sealed, &len) != CORE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not seal the keystore"),
				 errhint("Check the server's memory and the OpenSSL installation.")));
	copy = palloc(len);
	memcpy(copy, sealed, len);
	free(sealed);
	keys_file_write(copy, len);
	pfree(copy);
}

/* End a change: on disk, then visible to others. */
static void
change_end(int lock)
{
	write_keystore(cache);
	if (keys_file_stat(&cache_stat))
		cache_valid = true;
	keys_file_unlock(lock);
	LWLockRelease(verity_lock(VERITY_LOCK_KEYSTORE));
}

/* End a change that turned out to be none. */
static void
change_cancel(int lock)
{
	cache_valid = true;
	keys_file_unlock(lock);
	LWLockRelease(verity_lock(VERITY_LOCK_KEYSTORE));
}

/* Raise the failure of a change to the keystore in memory. */
static void
change_failed(core_status status)
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

/* Can keys be had? */
bool
verity_keys_available(void)
{
	KeysProblem problem;

	return keys_cache_load(false, &problem);
}

/* Is there a keystore, usable or not? */
bool
verity_keystore_exists(void)
{
	struct stat st;

	return cache_valid || keys_file_stat(&st);
}

/* Write a new, empty keystore; false where there is one that opens. */
bool
verity_keystore_init(void)
{
	KeysProblem problem;
	keystore   *created;
	struct stat st;
	int			lock;

	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot make a keystore during recovery"),
				 errhint("Copy the primary's keystore directory and master key to this server.")));
	keys_directory_create();

	LWLockAcquire(verity_lock(VERITY_LOCK_KEYSTORE), LW_EXCLUSIVE);
	lock = keys_file_lock();
	if (keys_file_stat(&st))
	{
		keys_file_unlock(lock);
		LWLockRelease(verity_lock(VERITY_LOCK_KEYSTORE));
		if (!keys_cache_load(true, &problem))
			keys_problem_raise(&problem);
		return false;
	}

	if (keys_master_file_missing())
		keys_master_file_create();
	if (!master_ready(true, &problem))
		keys_problem_raise(&problem);
	if (keystore_new(GetSystemIdentifier(), &created) != CORE_OK)
		change_failed(CORE_E_CRYPTO);
	write_keystore(created);
	keystore_free(created);
	keys_file_unlock(lock);
	LWLockRelease(verity_lock(VERITY_LOCK_KEYSTORE));

	if (keys_directory_inside_data())
		ereport(WARNING,
				(errmsg("keystore directory \"%s\" is inside the data directory", keys_directory()),
				 errdetail("Backups of the data directory hold the keystore, so erased keys come back with them."),
				 errhint("Set verity.keystore_directory to a directory elsewhere and move the keystore there.")));
	return true;
}

/* What stands between this server and its keys; NULL when nothing. */
const char *
verity_keys_problem(const char **hint)
{
	static KeysProblem problem;

	if (keys_cache_load(false, &problem))
		return NULL;
	*hint = problem.hint;
	return problem.message;
}

/* The DEK with this id. */
const uint8 *
verity_key_get(uint64 key_id, bool missing_ok)
{
	const keystore_key *key;

	if (missing_ok && !verity_keys_available())
		return NULL;
	key = keys_cache_find(key_id);
	return key == NULL ? NULL : key->key;
}

/* The commitment to the DEK with this id. */
bool
verity_key_commitment(uint64 key_id, uint8 commitment[32])
{
	const keystore_key *key;

	if (!verity_keys_available())
		return false;
	key = keys_cache_find(key_id);
	if (key == NULL)
		return false;
	return kdf_commitment(key->key, commitment) == CORE_OK;
}

/* Make a DEK; it is on disk when this returns. */
uint64
verity_key_create(const uint8 journal_id[16], const uint8 ledger[LEDGER_ID_SIZE],
				  uint8 commitment[32])
{
	int			lock = change_begin();
	uint64		key_id;
	core_status status = keystore_add_key(cache, journal_id, ledger, &key_id);
	const keystore_key *key;

	if (status != CORE_OK)
		change_failed(status);
	change_end(lock);

	key = keys_cache_find(key_id);
	if (key == NULL)
		elog(ERROR, "a new key is missing from the keystore");
	memcpy(commitment, key->commitment, 32);
	return key_id;
}

/* What the keystore has of a journal; made where it is missing. */
static keystore_journal *
journal_ready(const uint8 journal_id[16])
{
	keystore_journal *journal = keystore_find_journal(cache, journal_id);
	core_status status;
	int			lock;

	if (journal != NULL)
		return journal;
	lock = change_begin();
	if (keystore_find_journal(cache, journal_id) != NULL)
		change_cancel(lock);
	else
	{
		status = keystore_add_journal(cache, journal_id);
		if (status != CORE_OK)
			change_failed(status);
		change_end(lock);
	}
	return keystore_find_journal(cache, journal_id);
}

/* Have the journal's HMAC key at hand, where keys can be had at all. */
bool
verity_journal_key_prepare(const uint8 journal_id[16])
{
	KeysProblem problem;

	if (!keys_cache_load(false, &problem))
	{
		if (verity_keystore_exists())
			keys_problem_raise(&problem);
		return false;
	}
	return journal_ready(journal_id) != NULL;
}

/* HMAC of an entry's core; zeros where the cluster has no keystore. */
void
verity_journal_hmac(const uint8 journal_id[16], const void *core, Size len, uint8 out[32])
{
	memset(out, 0, 32);
	if (!verity_journal_key_prepare(journal_id))
		return;
	if (kdf_hmac(keystore_find_journal(cache, journal_id)->hmac_key, core, len, out) != CORE_OK)
		elog(ERROR, "could not compute an HMAC");
}

/* Check an HMAC; false when no key can be had. */
bool
verity_journal_hmac_check(const uint8 journal_id[16], const void *core, Size len,
						  const uint8 hmac[32], bool *ok)
{
	KeysProblem problem;
	keystore_journal *journal;
	hash256		given;
	hash256		computed;

	if (!keys_cache_load(false, &problem))
		return false;
	journal = keystore_find_journal(cache, journal_id);
	if (journal == NULL && keys_cache_load(true, &problem))
		journal = keystore_find_journal(cache, journal_id);
	if (journal == NULL || kdf_hmac(journal->hmac_key, core, len, computed.bytes) != CORE_OK)
		return false;
	memcpy(given.bytes, hmac, 32);
	*ok = hash_equal(&given, &computed);
	return true;
}

/* The high-water mark of a journal, as the file has it now. */
bool
verity_journal_mark_get(const uint8 journal_id[16], uint64 *position,
						uint64 *generation, hash256 *hash)
{
	KeysProblem problem;
	keystore_journal *journal;

	if (!keys_cache_load(true, &problem))
		return false;
	journal = keystore_find_journal(cache, journal_id);
	if (journal == NULL)
		return false;
	*position = journal->position;
	*generation = journal->generation;
	*hash = journal->hash;
	return true;
}

/* Set a journal's high-water mark; no effect without keys. */
void
verity_journal_mark_set(const uint8 journal_id[16], uint64 position,
						uint64 generation, const hash256 *hash)
{
	keystore_journal *journal;
	int			lock;

	if (!verity_keys_available() || journal_ready(journal_id) == NULL)
		return;
	lock = change_begin();
	journal = keystore_find_journal(cache, journal_id);
	if (journal == NULL)
		elog(ERROR, "a journal is missing from the keystore");
	journal->position = position;
	journal->generation = generation;
	journal->hash = *hash;
	change_end(lock);
}
