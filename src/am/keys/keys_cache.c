/*
 * keys_cache.c
 *	  The keystore as this backend has it.
 *
 * A backend parses the keystore at its first need of a key, and again when a
 * key is missing and the file is another one than it parsed.  A changed
 * master key is asked for again when the one at hand does not open the file.
 */
#include "postgres.h"

#include "am/keys/keys_internal.h"
#include "crypto/secmem.h"

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
bool
keys_master_ready(bool again, KeysProblem *problem)
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

	if (!keys_master_ready(false, problem))
		return false;
	status = keystore_parse(sealed, len, master_key, out);
	if (status == CORE_E_AUTH && !fresh)
	{
		if (!keys_master_ready(true, problem))
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

/* Read the file, which may be another cluster's, and make it the cache. */
bool
keys_cache_read(bool any_cluster, KeysProblem *problem)
{
	keystore   *parsed = NULL;
	uint8	   *sealed;
	size_t		len;
	struct stat st;
	bool		ok;

	problem->sqlstate = 0;
	if (!keys_file_read(any_cluster, &sealed, &len, &st, problem))
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
	ereport(DEBUG1, (errmsg_internal("opened keystore \"%s\"", keys_file_path())));
	return true;
}

/* Have the keystore in memory; with refresh, as the file is now. */
bool
keys_cache_load(bool refresh, KeysProblem *problem)
{
	problem->sqlstate = 0;
	if (cache_valid && !(refresh && file_changed()))
		return true;
	return keys_cache_read(false, problem);
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
	/* one that cannot be read now does not have it, either */
	return keys_cache_load(true, &problem) ? keystore_find_key(cache, key_id) : NULL;
}

/* The keystore in memory, which keys_cache_load has loaded. */
keystore *
keys_cache(void)
{
	return cache;
}

/* The cache is ahead of the file, until it is settled. */
void
keys_cache_unsettle(void)
{
	cache_valid = false;
}

/* The file now holds what the cache has. */
void
keys_cache_settle(void)
{
	cache_valid = keys_file_stat(&cache_stat);
}

/* Write a keystore, sealed under the master key at hand, to the file. */
void
keys_cache_write(const keystore *ks)
{
	uint8	   *sealed;
	uint8	   *copy;
	size_t		len;

	if (keystore_serialize(ks, master_key, &sealed, &len) != CORE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not seal the keystore"),
				 errhint("Check the server's memory and the OpenSSL installation.")));

	/* an error of the writing must not leak it */
	copy = palloc(len);
	memcpy(copy, sealed, len);
	free(sealed);
	keys_file_write(copy, len);
	pfree(copy);
}

/* Can keys be had? */
bool
verity_keys_available(void)
{
	KeysProblem problem;

	return keys_cache_load(false, &problem);
}

/* Raise why keys cannot be had. */
void
verity_keys_require(void)
{
	KeysProblem problem;

	if (!keys_cache_load(false, &problem))
		keys_problem_raise(&problem);
}

/* Is there a keystore, usable or not? */
bool
verity_keystore_exists(void)
{
	struct stat st;

	return cache_valid || keys_file_stat(&st);
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
