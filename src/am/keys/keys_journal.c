/*
 * keys_journal.c
 *	  What the keystore has of a journal: the key of its HMACs, its high-water
 *	  mark.
 *
 * An entry's HMAC shows that whoever wrote it had the keys; the mark shows how
 * far the journal had come.  An entry that was written while the cluster had
 * no keystore has an HMAC of zeros; one of a cluster whose keystore cannot be
 * used is refused.
 */
#include "postgres.h"

#include <unistd.h>

#include "am/keys/keys_internal.h"
#include "crypto/kdf.h"

/* What the keystore has of a journal; made where it is missing. */
static keystore_journal *
journal_ready(const uint8 journal_id[16])
{
	keystore_journal *journal = keystore_find_journal(keys_cache(), journal_id);
	core_status status;

	if (journal != NULL)
		return journal;
	(void) keys_change_begin();
	if (keystore_find_journal(keys_cache(), journal_id) != NULL)
		keys_change_cancel();
	else
	{
		status = keystore_add_journal(keys_cache(), journal_id);
		if (status != CORE_OK)
			keys_change_failed(status);
		keys_change_end();
	}
	return keystore_find_journal(keys_cache(), journal_id);
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
	if (kdf_hmac(keystore_find_journal(keys_cache(), journal_id)->hmac_key, core, len, out) != CORE_OK)
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
	journal = keystore_find_journal(keys_cache(), journal_id);
	if (journal == NULL && keys_cache_load(true, &problem))
		journal = keystore_find_journal(keys_cache(), journal_id);
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
	journal = keystore_find_journal(keys_cache(), journal_id);
	if (journal == NULL)
		return false;
	*position = journal->position;
	*generation = journal->generation;
	*hash = journal->hash;
	return true;
}

/* May the keystore be changed?  Says once a session that it may not. */
static bool
can_mark(void)
{
	static bool warned = false;

	if (access(keys_directory(), W_OK) == 0)
		return true;
	if (!warned)
		ereport(WARNING,
				(errcode_for_file_access(),
				 errmsg("could not note the journal's end in keystore directory \"%s\": %m", keys_directory()),
				 errhint("Let the server's user write the directory.")));
	warned = true;
	return false;
}

/*
 * Set a journal's high-water mark; no effect without keys.  That the keystore
 * is read-only must not keep transactions from committing.
 */
void
verity_journal_mark_set(const uint8 journal_id[16], uint64 position,
						uint64 generation, const hash256 *hash)
{
	keystore_journal *journal;

	if (!verity_keys_available() || !can_mark() || journal_ready(journal_id) == NULL)
		return;
	(void) keys_change_begin();
	journal = keystore_find_journal(keys_cache(), journal_id);
	if (journal == NULL)
		elog(ERROR, "a journal is missing from the keystore");
	/* of two backends that mark, the later mark stays */
	if (journal->generation == generation && journal->position >= position)
	{
		keys_change_cancel();
		return;
	}
	journal->position = position;
	journal->generation = generation;
	journal->hash = *hash;
	keys_change_end();
}
