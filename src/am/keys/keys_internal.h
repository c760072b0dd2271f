/*
 * keys_internal.h
 *	  What the parts of the key management see of each other.
 *
 *	  keys_master.c   where the master key comes from
 *	  keys_file.c     the keystore's directory, file and lock
 *	  keys_cache.c    the keystore as this backend has it
 *	  keys_change.c   its changes
 *	  keys_journal.c  what it has of a journal
 *	  seal.c          the keys that seal, derived from it
 *
 * Reading never throws for what is wrong outside the server: it fills a
 * KeysProblem, which the caller raises, warns about, or drops.
 */
#ifndef VERITY_KEYS_INTERNAL_H
#define VERITY_KEYS_INTERNAL_H

#include "postgres.h"

#include <sys/stat.h>

#include "am/keys/keys.h"
#include "chain/control.h"
#include "compat.h"
#include "crypto/aead.h"
#include "crypto/keystore.h"

#define MASTER_KEY_SIZE 32

/* Why keys are not to be had.  Never holds a secret. */
typedef struct KeysProblem
{
	int			sqlstate;		/* 0: there is none */
	char		message[2 * MAXPGPATH];
	char		detail[512];	/* empty: none */
	char		hint[512];
} KeysProblem;

/* Both return false, so that a reader can return their result. */
extern bool keys_problem(KeysProblem *problem, int sqlstate, const char *hint,
						 const char *format,...) pg_attribute_printf(4, 5);
extern bool keys_problem_file(KeysProblem *problem, const char *action, const char *path);
pg_noreturn extern void keys_problem_raise(const KeysProblem *problem);

/* --- keys_master.c --- */

/* Get the master key from its provider; key is in secure memory. */
extern bool keys_master_load(uint8 key[MASTER_KEY_SIZE], KeysProblem *problem);

/* True when verity.master_key_file names a file that does not exist. */
extern bool keys_master_file_missing(void);

/* Make that file with a new random key. */
extern void keys_master_file_create(void);

/* Remove what a crash left of making it. */
extern void keys_master_file_tidy(void);

/* --- keys_file.c --- */

extern const char *keys_directory(void);
extern const char *keys_file_path(void);
extern bool keys_directory_inside_data(void);
extern void keys_directory_create(void);

/* Identity of the file now; false when there is none (errno is set). */
extern bool keys_file_stat(struct stat *st);

/*
 * The sealed keystore, palloc'd, checked against its checksum and this
 * cluster's system identifier; *st describes the file that was read.
 */
extern bool keys_file_read(bool any_cluster, uint8 **sealed, size_t *len, struct stat *st, KeysProblem *problem);
extern void keys_file_write(const uint8 *sealed, size_t len);

/* Lock against other processes that change this directory. */
extern int	keys_file_lock(void);
extern void keys_file_unlock(int fd);

/* --- keys_cache.c --- */

/* Have the keystore in memory; with refresh, as the file is now. */
extern bool keys_cache_load(bool refresh, KeysProblem *problem);

/* Read it anew; where any cluster will do, it may be one that this server must not use. */
extern bool keys_cache_read(bool any_cluster, KeysProblem *problem);

/*
 * A key of the keystore, looked for again where the file has changed; NULL
 * when it is not there.  Good until the next call of a keys function.
 */
extern const keystore_key *keys_cache_find(uint64 key_id);

/* Have the master key at hand; with again, ask its provider even so. */
extern bool keys_master_ready(bool again, KeysProblem *problem);

/* The keystore in memory, after keys_cache_load. */
extern keystore *keys_cache(void);

/* Around a change: in between, an error makes the next load read the file. */
extern void keys_cache_unsettle(void);
extern void keys_cache_settle(void);

/* Write a keystore to the file; the master key is at hand. */
extern void keys_cache_write(const keystore *ks);

/* --- keys_change.c --- */

/*
 * Lock the keystore and read it as it is now; change what is returned, then
 * end.  An error between leaves the file as it was.
 */
extern keystore *keys_change_begin(void);
extern void keys_change_end(void);
extern void keys_change_cancel(void);

/* Raise why something could not be added. */
pg_noreturn extern void keys_change_failed(core_status status);

/* --- seal.c --- */

/*
 * The DEK, checked against its commitment; NULL when it is not there, an
 * error when the keystore cannot be used.  Good until the next call of a keys
 * function.
 */
extern const uint8 *keys_data_key(uint64 key_id);

/* The cipher context of HKDF(DEK, salt of a generation, use); errors rather than NULL. */
extern aead_context *keys_context_make(const uint8 *dek, const uint8 salt[GENERATION_SALT_SIZE],
									   const char *info);

#endif							/* VERITY_KEYS_INTERNAL_H */
