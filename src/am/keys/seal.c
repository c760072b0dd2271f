/*
 * seal.c
 *	  Sealing and opening records.
 *
 * The key that seals a record is HKDF(DEK, salt of the generation); its
 * cipher context is kept for the backend's life, by (key id, generation
 * number), so that a record costs no key set-up.  Nonce and associated data
 * are built as chain/record.h says.
 *
 * A table's DEK is made at its first sealing: in the keystore, on disk; then
 * its commitment in the journal, at once and for good; then in the table's
 * meta data.  A crash between leaves a key that nothing uses.  Two sessions
 * that find no DEK queue on an object lock of the table.  A DEK of another
 * journal (this database is a clone) opens, and never seals.
 *
 * Temporary tables are sealed under a random key of this backend, which is
 * stored nowhere, with generation 0.
 */
#include "postgres.h"

#include "am/journal/journal.h"
#include "am/keys/keys_internal.h"
#include "am/keys/opened.h"
#include "am/keys/seal.h"
#include "am/keys/seal_log.h"
#include "am/stat.h"
#include "am/journal/xact.h"
#include "am/stop_point.h"
#include "catalog/pg_class.h"
#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "crypto/secmem.h"
#include "storage/lmgr.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/relcache.h"
#include "utils/lsyscache.h"

#define TEMPORARY_KEY_ID UINT64CONST(1)
#define CONTEXTS_MAX 4096

typedef struct CipherKey
{
	uint64		key_id;
	uint64		generation;		/* number */
} CipherKey;

typedef struct CipherContext
{
	CipherKey	key;			/* hash key */
	uint64		generation_id;
	aead_context *aead;			/* NULL while it is being made */
} CipherContext;

static HTAB *contexts;
static CipherContext *last_sealing;
static CipherContext *last_opening;
static uint8 *temporary_key;	/* secure memory */
static uint64 temporary_tag;	/* tells backends' temporary keys apart */
static uint32 temporary_generation; /* stands in temporary records for a generation */

/* Load the cipher's library. */
void
verity_seal_init(void)
{
	if (aead_use((aead_library) verity_cipher_library) != CORE_OK)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("the library that \"verity.cipher_library\" names cannot be used"),
				 errhint("Install libipsec-mb1 on a machine with AES instructions, and build verity where libipsec-mb-dev is installed; or remove the setting.")));
}

/* --- cipher contexts --- */

/* Forget every context: there are too many. */
static void
contexts_drop(void)
{
	HASH_SEQ_STATUS scan;
	CipherContext *entry;

	last_sealing = last_opening = NULL;
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
	HASHCTL		control;

	if (contexts != NULL && hash_get_num_entries(contexts) >= CONTEXTS_MAX)
		contexts_drop();
	if (contexts == NULL)
	{
		memset(&control, 0, sizeof(control));
		control.keysize = sizeof(CipherKey);
		control.entrysize = sizeof(CipherContext);
		control.hcxt = TopMemoryContext;
		contexts = hash_create("verity cipher contexts", 64, &control,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	return contexts;
}

/* The random key of this backend's temporary tables. */
static const uint8 *
temporary_key_get(void)
{
	if (temporary_key == NULL)
	{
		uint8	   *key;

		if (secmem_init() != CORE_OK || (key = secmem_alloc(AEAD_KEY_SIZE)) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of secure memory"),
					 errhint("Raise the limit of locked memory (ulimit -l).")));
		secmem_random(key, AEAD_KEY_SIZE);
		secmem_random(&temporary_tag, sizeof(temporary_tag));
		temporary_key = key;
	}
	return temporary_key;
}

/*
 * Have the key that seals temporary tables.  Another journal counts its serials
 * from the start again, or, where it is the old one because the new one was
 * rolled back, goes on with its own: what is sealed under it needs another key.
 * What was sealed before can be opened still, for its tables may come back with
 * the old journal.
 */
static void
temporary_key_ready(void)
{
	static uint8 sealed_for[16];	/* a journal's id */
	uint8		journal_id[16];

	(void) temporary_key_get();
	verity_journal_id(journal_id);
	if (memcmp(sealed_for, journal_id, sizeof(sealed_for)) == 0)
		return;
	temporary_generation++;
	memcpy(sealed_for, journal_id, sizeof(sealed_for));
}

/* The DEK, checked against its commitment; NULL when it is not there. */
const uint8 *
keys_data_key(uint64 key_id)
{
	const keystore_key *key;
	hash256		stored;
	hash256		computed;

	if (key_id == TEMPORARY_KEY_ID)
		return temporary_key_get();

	key = keys_cache_find(key_id);
	if (key == NULL)
		return NULL;
	memcpy(stored.bytes, key->commitment, HASH_SIZE);
	if (kdf_commitment(key->key, computed.bytes) != CORE_OK || !hash_equal(&stored, &computed))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("data key " UINT64_FORMAT " does not match its commitment", key_id),
				 errhint("Restore the keystore directory from its newest copy.")));
	return key->key;
}

/* Derive the key of a DEK and a generation's salt for one use, and expand it. */
aead_context *
keys_context_make(const uint8 *dek, const uint8 salt[GENERATION_SALT_SIZE], const char *info)
{
	aead_context *aead = NULL;
	uint8		derived[AEAD_KEY_SIZE];
	core_status status;

	status = kdf_derive(dek, salt, GENERATION_SALT_SIZE, info, derived, AEAD_KEY_SIZE);
	if (status == CORE_OK)
		status = aead_new(derived, &aead);
	secmem_wipe(derived, sizeof(derived));
	if (status != CORE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not set up AES-256-GCM"),
				 errhint("Check the server's memory and the OpenSSL installation.")));
	return aead;
}

/*
 * The cipher context of a key and generation.  NULL, and why, when one of them
 * is not there; errors when the keystore cannot be used.
 */
static CipherContext *
context_get(uint64 key_id, uint32 generation_number, const char **why)
{
	CipherKey	key = {key_id, generation_number};
	VerityGeneration generation = {0};
	CipherContext *entry;
	aead_context *aead;
	const uint8 *dek;

	if (contexts != NULL)
	{
		entry = hash_search(contexts, &key, HASH_FIND, NULL);
		if (entry != NULL)
			return entry;
	}

	if (key_id != TEMPORARY_KEY_ID && !verity_generation_get(generation_number, &generation))
	{
		*why = "the journal has no such generation";
		return NULL;
	}
	if (key_id == TEMPORARY_KEY_ID)
	{
		generation.id = generation_number;
		memcpy(generation.salt, &generation_number, sizeof(generation_number));
	}
	dek = keys_data_key(key_id);
	if (dek == NULL)
	{
		*why = "the key is not in the keystore";
		return NULL;
	}
	aead = keys_context_make(dek, generation.salt, KDF_INFO_RECORDS);

	entry = hash_search(contexts_ready(), &key, HASH_ENTER, NULL);
	entry->generation_id = generation.id;
	entry->aead = aead;
	if (key_id != TEMPORARY_KEY_ID)
		ereport(DEBUG1,
				(errmsg_internal("loaded data key " UINT64_FORMAT " for generation %u",
								 key_id, generation_number)));
	return entry;
}

static inline bool
context_is(const CipherContext *context, uint64 key_id, uint32 generation)
{
	return context != NULL && context->key.key_id == key_id && context->key.generation == generation;
}

/* --- readying a table --- */

/* Journal the commitment to a new DEK. */
static void
journal_key(const VerityRel *vrel, uint64 key_id, const uint8 commitment[32])
{
	control_key body;
	codec_writer writer;
	uint8		bytes[128];

	body.key_id = key_id;
	memcpy(body.ledger, vrel->ledger, LEDGER_ID_SIZE);
	memcpy(body.commitment, commitment, 32);
	codec_writer_init(&writer, bytes, sizeof(bytes));
	control_key_encode(&writer, &body);
	if (writer.failed)
		elog(ERROR, "could not encode a key's journal entry");
	verity_journal_append_control(ENTRY_KEY, bytes, writer.used);
}

/* Give the table a DEK of this journal, unless another session just did. */
static void
make_key(Relation rel, VerityRel *vrel, const uint8 journal_id[16])
{
	Oid			relid = RelationGetRelid(rel);
	uint8		commitment[32];
	VerityMeta	meta;
	uint64		key_id;

	LockDatabaseObject(RelationRelationId, relid, 0, ExclusiveLock);
	verity_meta_read(rel, &meta);
	if (meta.key_id != 0 && memcmp(meta.journal_id, journal_id, 16) == 0)
		key_id = meta.key_id;
	else
	{
		key_id = verity_key_create(journal_id, vrel->ledger, commitment);
		VERITY_STOP("key-stored");
		if (vrel->journalled)
			journal_key(vrel, key_id, commitment);
		VERITY_STOP("key-journalled");
		verity_meta_set_key(rel, key_id, journal_id);
		VERITY_STOP("key-noted");
	}
	vrel->key_id = key_id;
	memcpy(vrel->journal_id, journal_id, 16);
	UnlockDatabaseObject(RelationRelationId, relid, 0, ExclusiveLock);
}

/*
 * The meta data are not sealed: another table's key would join what the two
 * write under one key, and leave the table unreadable where that one's is lost.
 */
static void
check_key_owner(const VerityRel *vrel)
{
	const keystore_key *key = keys_cache_find(vrel->key_id);

	if (key == NULL || memcmp(key->ledger, vrel->ledger, LEDGER_ID_SIZE) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("table \"%s\" cannot be written: data key " UINT64_FORMAT " in its meta data is another table's",
					get_rel_name(vrel->relid), vrel->key_id),
			 errhint("Run verity_verify() on the table.")));
}

/* Have the key that seals into the table. */
static void
ready_key(Relation rel, VerityRel *vrel)
{
	uint8		journal_id[16];

	if (vrel->temporary)
	{
		temporary_key_ready();
		return;
	}
	verity_journal_id(journal_id);
	if (vrel->key_id == 0 || memcmp(vrel->journal_id, journal_id, 16) != 0)
		make_key(rel, vrel, journal_id);
	check_key_owner(vrel);
}

/* Have the cipher context that seals into the table. */
static CipherContext *
sealing_context(const VerityRel *vrel)
{
	uint64		key_id = vrel->temporary ? TEMPORARY_KEY_ID : vrel->key_id;
	uint32		generation = vrel->temporary ? temporary_generation : verity_generation_current()->number;
	const char *why = NULL;

	if (!context_is(last_sealing, key_id, generation))
	{
		last_sealing = context_get(key_id, generation, &why);
		if (last_sealing == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" cannot be written: %s", get_rel_name(vrel->relid), why),
					 errdetail("It is sealed under data key " UINT64_FORMAT ".", key_id),
					 errhint("Restore the keystore directory from its newest copy.")));
	}
	return last_sealing;
}

/* Ready a table for sealing in this transaction. */
void
verity_seal_prepare(Relation rel, VerityRel *vrel)
{
	uint64		serial = verity_xact_serial_if_any();

	/* prepared_serial is zeroed when the fields are refreshed */
	if (serial != 0 && vrel->prepared_serial == serial &&
		!verity_xact_schema_is_dirty(vrel->relid))
		return;

	if (!vrel->temporary)
	{
		/* without keys, not even a generation may begin */
		verity_keys_require();
		(void) verity_generation_current();
	}
	serial = verity_xact_serial();
	if (vrel->schema_version == 0 || verity_xact_schema_is_dirty(vrel->relid))
		verity_schema_refresh(rel, vrel);
	ready_key(rel, vrel);
	(void) sealing_context(vrel);
	vrel->prepared_serial = serial;
}

/* --- records --- */

/* Seal a record. */
Size
verity_seal_record(VerityRel *vrel, record_header *header,
				   const uint8 *plain, Size plain_len, uint8 *out)
{
	CipherContext *context = sealing_context(vrel);
	uint8		nonce[RECORD_NONCE_SIZE];
	uint8		aad[RECORD_AAD_MAX];
	size_t		header_len;
	size_t		aad_len;

	Assert(verity_xact_serial_if_any() != 0);
	Assert(vrel->schema_version != 0);

	header->version = RECORD_VERSION;
	header->id.serial = verity_xact_serial_if_any();
	header->id.sequence = verity_xact_next_sequence(vrel);
	header->schema_version = vrel->schema_version;
	header->generation = context->key.generation;
	header->key_id = context->key.key_id;

	header_len = record_header_encode(header, out);
	record_nonce(&header->id, nonce);
	aad_len = record_aad(out, header_len, plain_len, vrel->ledger, &vrel->schema_digest,
						 context->generation_id, aad);
	verity_log_nonce(header, vrel->temporary ? temporary_tag + temporary_generation : context->generation_id);
	if (aead_seal(context->aead, nonce, aad, aad_len, plain, plain_len,
				  out + header_len, out + header_len + plain_len) != CORE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not seal a record of table \"%s\"", get_rel_name(vrel->relid)),
				 errhint("Check the server's memory and the OpenSSL installation.")));
	verity_count(COUNT_SEALED, 1);
	verity_count(COUNT_SEALED_BYTES, plain_len);
	return header_len + plain_len + RECORD_TAG_SIZE;
}

/* The digest of a record's schema version; NULL when it is not known. */
static inline const hash256 *
schema_digest(VerityRel *vrel, const record_header *header, hash256 *space)
{
	if (likely(header->schema_version == vrel->schema_version))
		return &vrel->schema_digest;
	return verity_rel_schema_digest(vrel, header->schema_version, space) ? space : NULL;
}

/* Decrypt a record, and check its tag. */
static bool
decrypt(CipherContext *context, const record_header *header, const OpenedRecord *record,
		uint8 *plain_out)
{
	uint8		nonce[RECORD_NONCE_SIZE];
	uint8		aad[RECORD_AAD_MAX];
	size_t		aad_len;

	record_nonce(&header->id, nonce);
	aad_len = record_aad(record->header, record->header_len, record->plain_len, record->ledger,
						 record->digest, record->generation_id, aad);
	return aead_open(context->aead, nonce, aad, aad_len, record->cipher, record->plain_len,
					 record->cipher + record->plain_len, plain_out) == CORE_OK;
}

/* All that opening a record depends on; false, and why, when it is not known. */
static bool
describe(const CipherContext *context, VerityRel *vrel, const record_header *header,
		 const uint8 *header_bytes, const uint8 *cipher, Size plain_len, hash256 *space,
		 OpenedRecord *record, const char **why)
{
	record->ledger = vrel->ledger;
	record->digest = schema_digest(vrel, header, space);
	record->generation_id = context->generation_id;
	record->header = header_bytes;
	record->header_len = record_header_size(header->attributes);
	record->cipher = cipher;
	record->plain_len = plain_len;
	if (record->digest != NULL)
		return true;
	*why = "its schema version is not known";
	return false;
}

static inline void
count_opened(Size plain_len)
{
	verity_count(COUNT_OPENED, 1);
	verity_count(COUNT_OPENED_BYTES, plain_len);
}

void
verity_count_pooled(Size plain_len)
{
	verity_count(COUNT_POOLED, 1);
	count_opened(plain_len);
}

/* Decrypt, and count what became of it. */
static bool
decrypt_counted(CipherContext *context, const record_header *header, const OpenedRecord *record,
				uint8 *plain_out, const char **why)
{
	if (decrypt(context, header, record, plain_out))
	{
		count_opened(record->plain_len);
		return true;
	}
	verity_count(COUNT_AUTH_FAILURES, 1);
	*why = "its authentication tag does not hold";
	return false;
}

/*
 * Open with a context that is there: false when the tag does not hold.  With
 * tid, the pool of opened records is asked first.
 */
static bool
open_with(CipherContext *context, VerityRel *vrel, const record_header *header,
		  const uint8 *header_bytes, const uint8 *cipher, Size plain_len,
		  const ItemPointerData *tid, uint8 *plain_out, const char **why)
{
	hash256		space;
	OpenedRecord record;

	if (!describe(context, vrel, header, header_bytes, cipher, plain_len, &space, &record, why))
		return false;
	if (tid == NULL)
		return decrypt_counted(context, header, &record, plain_out, why);
	record.tid = *tid;
	if (verity_opened_get(&record, plain_out))
	{
		verity_count_pooled(plain_len);
		return true;
	}
	if (!decrypt_counted(context, header, &record, plain_out, why))
		return false;
	verity_opened_put(&record, plain_out);
	return true;
}

/* The context that opens a record; NULL, and why, when it is not to be had. */
static CipherContext *
opening_context(const record_header *header, const char **why)
{
	if (!context_is(last_opening, header->key_id, header->generation))
		last_opening = context_get(header->key_id, header->generation, why);
	return last_opening;
}

/* The context that opens a record; an error when it is not to be had. */
static CipherContext *
opening_context_or_raise(const VerityRel *vrel, const record_header *header)
{
	const char *why = NULL;
	CipherContext *context = opening_context(header, &why);

	if (context == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("record " UINT64_FORMAT ".%u of table \"%s\" cannot be opened: %s",
						header->id.serial, header->id.sequence, get_rel_name(vrel->relid), why),
				 errdetail("It is sealed under data key " UINT64_FORMAT " of generation %u.",
						   header->key_id, header->generation),
				 errhint("Use the cluster's newest keystore; run verity_verify() to see whether the record was altered.")));
	return context;
}

pg_noreturn static void
raise_not_authentic(const VerityRel *vrel, const record_header *header, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("record " UINT64_FORMAT ".%u of table \"%s\" is not authentic: %s",
					header->id.serial, header->id.sequence, get_rel_name(vrel->relid), why),
			 errhint("Run verity_verify() to see what was altered, and restore from a backup.")));
}

/* Open a record, or raise what is wrong with it. */
void
verity_open_record(VerityRel *vrel, const record_header *header,
				   const uint8 *header_bytes,
				   const uint8 *cipher, Size cipher_len,
				   const ItemPointerData *tid, uint8 *plain_out)
{
	CipherContext *context = opening_context_or_raise(vrel, header);
	const char *why = "it is shorter than its tag";

	if (cipher_len < RECORD_TAG_SIZE ||
		!open_with(context, vrel, header, header_bytes, cipher, cipher_len - RECORD_TAG_SIZE,
				   vrel->temporary ? NULL : tid, plain_out, &why))
		raise_not_authentic(vrel, header, why);
}

/* Open a record of a page, unless the page has it. */
bool
verity_open_on_page(OpenedPage *page, VerityRel *vrel, const record_header *header,
					const uint8 *header_bytes, const uint8 *cipher, Size cipher_len,
					const ItemPointerData *tid, OpenedRow *row)
{
	CipherContext *context = opening_context_or_raise(vrel, header);
	const char *why = "it is shorter than its tag";
	Size		plain_len = cipher_len - RECORD_TAG_SIZE;
	hash256		space;
	OpenedRecord record;
	uint8	   *room;

	if (cipher_len < RECORD_TAG_SIZE ||
		!describe(context, vrel, header, header_bytes, cipher, plain_len, &space, &record, &why))
		raise_not_authentic(vrel, header, why);
	record.tid = *tid;
	if (verity_page_look_up(page, &record, row))
	{
		verity_count_pooled(plain_len);
		return true;
	}
	room = verity_page_room(page, &record);
	if (room == NULL)
		return false;
	if (!decrypt_counted(context, header, &record, room, &why))
		raise_not_authentic(vrel, header, why);
	verity_page_add(page, &record, row);
	return true;
}

/* Open a record, or say what is wrong with it. */
bool
verity_try_open_record(VerityRel *vrel, const record_header *header,
					   const uint8 *header_bytes,
					   const uint8 *cipher, Size cipher_len, uint8 *plain_out,
					   const char **why)
{
	CipherContext *context;

	*why = "it is shorter than its tag";
	if (cipher_len < RECORD_TAG_SIZE)
		return false;
	if (header->key_id != TEMPORARY_KEY_ID && !verity_keys_available())
	{
		*why = "no key is to be had";
		return false;
	}
	context = opening_context(header, why);
	return context != NULL &&
		open_with(context, vrel, header, header_bytes, cipher, cipher_len - RECORD_TAG_SIZE,
				  NULL, plain_out, why);
}
