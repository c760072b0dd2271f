/*
 * seal_logical.c
 *	  Sealing and opening by what stands in WAL, for logical decoding.
 *
 * Decoding reads of the past: a table's meta data, even the table, may be
 * gone.  So WAL carries what opens a record besides its key (xl_verity_base),
 * and the key is found by its id in the keystore; catalogs are not asked.
 *
 * Old rows are sealed under HKDF(DEK, salt) with an info of their own: none
 * of them can be put into a table and opened as a record.
 */
#include "postgres.h"

#include "am/journal/journal.h"
#include "am/keys/keys_internal.h"
#include "am/keys/seal_log.h"
#include "am/keys/seal_logical.h"
#include "am/stat.h"
#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#define CONTEXTS_MAX 1024
#define OLD_AAD_SIZE (sizeof(xl_verity_old) + LEDGER_ID_SIZE + HASH_SIZE + sizeof(uint64))

typedef struct LogicalKey
{
	uint64		key_id;
	uint64		old_rows;		/* 1: seals old rows; 0: records */
	uint8		salt[GENERATION_SALT_SIZE];
} LogicalKey;

typedef struct LogicalContext
{
	LogicalKey	key;			/* hash key */
	aead_context *aead;
} LogicalContext;

static HTAB *contexts;

static void
contexts_drop(void)
{
	HASH_SEQ_STATUS scan;
	LogicalContext *entry;

	hash_seq_init(&scan, contexts);
	while ((entry = hash_seq_search(&scan)) != NULL)
		aead_free(entry->aead);
	hash_destroy(contexts);
	contexts = NULL;
}

/* The hash of contexts, with room for one more. */
static HTAB *
contexts_ready(void)
{
	HASHCTL		control = {0};

	if (contexts != NULL && hash_get_num_entries(contexts) >= CONTEXTS_MAX)
		contexts_drop();
	if (contexts == NULL)
	{
		control.keysize = sizeof(LogicalKey);
		control.entrysize = sizeof(LogicalContext);
		control.hcxt = TopMemoryContext;
		contexts = hash_create("verity logical cipher contexts", 64, &control,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	return contexts;
}

bool
verity_logged_key_exists(uint64 key_id)
{
	KeysProblem problem;

	return keys_cache_load(false, &problem) && keys_cache_find(key_id) != NULL;
}

const uint8 *
verity_logged_key(uint64 key_id)
{
	const uint8 *dek = keys_data_key(key_id);

	if (dek == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a logged change of a verity table cannot be opened: data key " UINT64_FORMAT " is not in the keystore",
						key_id),
				 errhint("Restore the keystore directory from its newest copy, or go past the change with pg_replication_slot_advance().")));
	return dek;
}

/* The cipher context of a key; errors when the key is not to be had. */
static aead_context *
context_get(uint64 key_id, const xl_verity_base *base, bool old_rows)
{
	LogicalKey	key = {.key_id = key_id,.old_rows = old_rows};
	LogicalContext *entry;
	aead_context *aead;

	memcpy(key.salt, base->salt, sizeof(key.salt));
	entry = contexts ? hash_search(contexts, &key, HASH_FIND, NULL) : NULL;
	if (entry != NULL)
		return entry->aead;
	aead = keys_context_make(verity_logged_key(key_id), base->salt, old_rows ? KDF_INFO_OLD_ROWS : KDF_INFO_RECORDS);
	entry = hash_search(contexts_ready(), &key, HASH_ENTER, NULL);
	entry->aead = aead;
	return aead;
}

void
verity_base_fill(Relation rel, VerityRel *vrel, xl_verity_base *base)
{
	const VerityGeneration *generation = verity_generation_current();

	base->generation_id = generation->id;
	memcpy(base->ledger, vrel->ledger, sizeof(base->ledger));
	memcpy(base->schema_digest, vrel->schema_digest.bytes, sizeof(base->schema_digest));
	memcpy(base->salt, generation->salt, sizeof(base->salt));
	verity_storage_tag_set(rel->rd_locator, vrel, base);
}

/* Build the associated data of an old row. */
static void
old_aad(const xl_verity_base *base, const xl_verity_old *old, uint8 aad[OLD_AAD_SIZE])
{
	uint8	   *next = aad;

	memcpy(next, old, sizeof(*old));
	next += sizeof(*old);
	memcpy(next, base->ledger, LEDGER_ID_SIZE);
	next += LEDGER_ID_SIZE;
	memcpy(next, base->schema_digest, HASH_SIZE);
	next += HASH_SIZE;
	memcpy(next, &base->generation_id, sizeof(base->generation_id));
}

static void
old_nonce(const xl_verity_old *old, uint8 nonce[RECORD_NONCE_SIZE])
{
	record_id	id = {.serial = old->serial,.sequence = old->sequence};

	record_nonce(&id, nonce);
}

void
verity_seal_old(const xl_verity_base *base, const xl_verity_old *old,
				const uint8 *plain, Size len, uint8 *out)
{
	aead_context *aead = context_get(old->key_id, base, true);
	record_header logged = {.key_id = old->key_id};
	uint8		nonce[RECORD_NONCE_SIZE];
	uint8		aad[OLD_AAD_SIZE];

	logged.id.serial = old->serial;
	logged.id.sequence = old->sequence;
	/* the log knows keys by DEK and generation: this is another one */
	verity_log_nonce(&logged, ~base->generation_id);
	old_nonce(old, nonce);
	old_aad(base, old, aad);
	if (aead_seal(aead, nonce, aad, sizeof(aad), plain, len, out, out + len) != CORE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not seal an old row for logical decoding"),
				 errhint("Check the server's memory and the OpenSSL installation.")));
}

/* What stands in WAL is not what was sealed. */
static void
not_authentic(uint64 serial, uint32 sequence)
{
	verity_count(COUNT_AUTH_FAILURES, 1);
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("logged record " UINT64_FORMAT ".%u is not authentic", serial, sequence),
			 errdetail("Its authentication tag does not hold."),
			 errhint("The WAL was altered, or the keystore is another cluster's. Restore the WAL from an archive.")));
}

void
verity_open_old(const xl_verity_base *base, const xl_verity_old *old,
				const uint8 *cipher, Size len, uint8 *out)
{
	aead_context *aead = context_get(old->key_id, base, true);
	uint8		nonce[RECORD_NONCE_SIZE];
	uint8		aad[OLD_AAD_SIZE];

	old_nonce(old, nonce);
	old_aad(base, old, aad);
	if (len < RECORD_TAG_SIZE ||
		aead_open(aead, nonce, aad, sizeof(aad), cipher, len - RECORD_TAG_SIZE,
				  cipher + len - RECORD_TAG_SIZE, out) != CORE_OK)
		not_authentic(old->serial, old->sequence);
}

void
verity_open_logged(const xl_verity_base *base, const record_header *header,
				   const uint8 *header_bytes, const uint8 *cipher, Size len, uint8 *out)
{
	aead_context *aead = context_get(header->key_id, base, false);
	uint8		nonce[RECORD_NONCE_SIZE];
	uint8		aad[RECORD_AAD_MAX];
	hash256		digest;
	size_t		aad_len;

	memcpy(digest.bytes, base->schema_digest, HASH_SIZE);
	record_nonce(&header->id, nonce);
	aad_len = record_aad(header_bytes, record_header_size(header->attributes), len - RECORD_TAG_SIZE,
						 base->ledger, &digest, base->generation_id, aad);
	if (len < RECORD_TAG_SIZE ||
		aead_open(aead, nonce, aad, aad_len, cipher, len - RECORD_TAG_SIZE,
				  cipher + len - RECORD_TAG_SIZE, out) != CORE_OK)
		not_authentic(header->id.serial, header->id.sequence);
	verity_count(COUNT_OPENED, 1);
	verity_count(COUNT_OPENED_BYTES, len - RECORD_TAG_SIZE);
}
