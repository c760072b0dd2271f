/*
 * keys.h
 *	  The cluster's keystore inside the server: master key providers, the file,
 *	  DEKs of tables, HMAC keys of journals.
 *
 * A backend parses the keystore file at first need and again when the file
 * has changed and a key is missing.  Changes are made under one LWLock:
 * read, add, write to a new file, fsync, rename, fsync the directory.
 */
#ifndef VERITY_KEYS_H
#define VERITY_KEYS_H

#include "postgres.h"

#include "chain/hash.h"
#include "chain/entry.h"

/* GUC variables (settings.c defines them) */
extern char *verity_master_key_file;
extern char *verity_master_key_command;
extern char *verity_keystore_directory; /* empty: data directory + ".keystore" */
extern int	verity_cipher_library;	/* aead_library */

/* True when a keystore exists and its master key can be had; no error. */
extern bool verity_keys_available(void);

/* True when there is a keystore's file, be it usable or not. */
extern bool verity_keystore_exists(void);

/*
 * Make the cluster's keystore (and the master key file, mode 0600).  False
 * when there is one that opens; errors when there is one that does not.
 */
extern bool verity_keystore_init(void);

/*
 * Make the keystore of the cluster that this one was upgraded from its own.
 * False when it is already; errors when it does not open.
 */
extern bool verity_keystore_adopt(void);

/* Raise what stands between this server and its keys, if anything does. */
extern void verity_keys_require(void);

/* Why there are no keys, and the hint; NULL when there are.  No error. */
extern const char *verity_keys_problem(const char **hint);

/*
 * The DEK with this id: 32 bytes in secure memory, good until the next call
 * of a function of this header.  NULL when it is not in the keystore (or, with missing_ok, when there
 * is no usable keystore); errors otherwise.
 */
extern const uint8 *verity_key_get(uint64 key_id, bool missing_ok);

/* Make a DEK for a table (or scope) of a journal; commitment has 32 bytes. */
extern uint64 verity_key_create(const uint8 journal_id[16], const uint8 ledger[LEDGER_ID_SIZE],
								uint8 commitment[32]);

/*
 * Have the journal's HMAC key at hand (made when missing), so that
 * verity_journal_hmac does no I/O.  False when the cluster has no keystore;
 * errors when it has one that cannot be used.
 */
extern bool verity_journal_key_prepare(const uint8 journal_id[16]);

/*
 * HMAC of an entry's core under the journal's key (made when missing).  All
 * zeros when the cluster has no keystore: such an entry has no HMAC.  For
 * verify: that is sound (and an info) only before the journal's first entry
 * with an HMAC, and never in an entry with items, for sealing needs a key;
 * anywhere else, whoever rewrites a tail without keys would write zeros too.
 */
extern void verity_journal_hmac(const uint8 journal_id[16], const void *core, Size len, uint8 out[32]);

/* False when no key can be had; else *ok says whether it held. */
extern bool verity_journal_hmac_check(const uint8 journal_id[16], const void *core, Size len,
									  const uint8 hmac[32], bool *ok);

/* The high-water mark of a journal; false when unknown or no key. */
extern bool verity_journal_mark_get(const uint8 journal_id[16], uint64 *position,
									uint64 *generation, hash256 *hash);
extern void verity_journal_mark_set(const uint8 journal_id[16], uint64 position,
									uint64 generation, const hash256 *hash);

#endif							/* VERITY_KEYS_H */
