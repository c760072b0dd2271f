/*
 * keystore.h
 *	  The keystore: its content in memory, and the sealed file's bytes.
 *
 * The file:
 *	  magic "VRTYKEYS" (8) | format version (4) | system identifier (8) |
 *	  keystore id (16) | random nonce (12) | sealed length (4) |
 *	  ciphertext | tag (16)
 * sealed under AES-256-GCM with HKDF(master key, salt = keystore id,
 * KDF_INFO_KEYSTORE); everything before the ciphertext is associated data.
 * It is written as a whole, to a new file that is then renamed.
 *
 * The sealed text: key count (4) | journal count (4) | keys | journals, the
 * fields of each in the order of its struct, sorted, big-endian.
 *
 * Secrets of a keystore in memory stand in secmem.
 */
#ifndef VERITY_KEYSTORE_H
#define VERITY_KEYSTORE_H

#include "../chain/entry.h"

#define KEYSTORE_VERSION 1
#define KEYSTORE_KEYS_MAX 1000000
#define KEYSTORE_JOURNALS_MAX 10000

/* A data key (DEK) of one scope. */
typedef struct keystore_key
{
	uint64_t	id;				/* random, not 0, unique in the keystore */
	uint8_t		journal_id[16]; /* the one journal that it serves */
	uint8_t		ledger[LEDGER_ID_SIZE]; /* table scope: its ledger id */
	uint8_t		key[32];
	uint8_t		commitment[32]; /* kdf_commitment(key) */
} keystore_key;

/* What the keystore knows of a journal. */
typedef struct keystore_journal
{
	uint8_t		journal_id[16];
	uint8_t		hmac_key[32];
	uint64_t	position;		/* high-water mark: last entry seen written */
	uint64_t	generation;		/* its generation id */
	hash256		hash;			/* its hash */
} keystore_journal;

typedef struct keystore
{
	uint64_t	system_identifier;
	uint8_t		id[16];
	uint32_t	key_count;
	keystore_key *keys;			/* secmem, sorted by id */
	uint32_t	journal_count;
	keystore_journal *journals; /* secmem, sorted by journal_id */
} keystore;

/* An empty keystore with a random id. */
extern core_status keystore_new(uint64_t system_identifier, keystore **out) CORE_WARN_UNUSED;
extern void keystore_free(keystore *ks);

/* Empty a keystore and make room for that many; free it when this fails. */
extern core_status keystore_reserve(keystore *ks, uint32_t key_count,
									uint32_t journal_count) CORE_WARN_UNUSED;

extern const keystore_key *keystore_find_key(const keystore *ks, uint64_t key_id);
extern keystore_journal *keystore_find_journal(const keystore *ks, const uint8_t journal_id[16]);

/* Make a random key (id, key, commitment) and add it. */
extern core_status keystore_add_key(keystore *ks, const uint8_t journal_id[16],
									const uint8_t ledger[LEDGER_ID_SIZE],
									uint64_t *key_id) CORE_WARN_UNUSED;

/* Add a journal with a random HMAC key; no effect where it is known. */
extern core_status keystore_add_journal(keystore *ks, const uint8_t journal_id[16]) CORE_WARN_UNUSED;

/* The sealed file.  *out is malloc'd; the caller frees it. */
extern core_status keystore_serialize(const keystore *ks, const uint8_t master_key[32],
									  uint8_t **out, size_t *len) CORE_WARN_UNUSED;

/*
 * CORE_E_FORMAT: not a keystore or damaged in its plain part;
 * CORE_E_VERSION; CORE_E_AUTH: wrong master key or damaged.
 */
extern core_status keystore_parse(const uint8_t *in, size_t len, const uint8_t master_key[32],
								  keystore **out) CORE_WARN_UNUSED;

/* The system identifier in a file's plain header, needing no key. */
extern core_status keystore_peek(const uint8_t *in, size_t len, uint64_t *system_identifier) CORE_WARN_UNUSED;

/* Parse 64 hexadecimal digits and at most one newline behind them. */
extern core_status keystore_parse_master_key(const char *text, size_t len, uint8_t out[32]) CORE_WARN_UNUSED;

#endif							/* VERITY_KEYSTORE_H */
