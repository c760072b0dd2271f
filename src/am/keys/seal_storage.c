/*
 * seal_storage.c
 *	  Which storage a logged row was written to, authenticated.
 *
 * Decoding learns a row's table from the locator in its WAL record.  The row's
 * associated data binds its ledger but no locator, for storage may move.  So
 * beside them stands a tag, HMAC-SHA256 under HKDF(DEK, salt) with an info of
 * its own: storage and ledger belong together, says who had the key.
 *
 * A tag is the same for all rows of a table until its storage, definition,
 * key or generation change.  Both sides keep what they know of: the table the
 * last one that it made, decoding those that held.
 */
#include "postgres.h"

#include <openssl/crypto.h>

#include "am/journal/journal.h"
#include "am/keys/keys_internal.h"
#include "am/keys/seal_logical.h"
#include "crypto/kdf.h"
#include "crypto/secmem.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#define HELD_MAX 1024

/* What a tag is made of: no padding, for it is hashed and compared as bytes. */
typedef struct TaggedStorage
{
	uint32		spc;
	uint32		db;
	uint32		rel;
	uint32		unused;
	uint64		key_id;
	xl_verity_base base;		/* its tag zero */
} TaggedStorage;

StaticAssertDecl(sizeof(TaggedStorage) == 4 * sizeof(uint32) + sizeof(uint64) + sizeof(xl_verity_base),
				 "what is tagged has no padding");

/* A tag that was made or held. */
struct VerityStorageTag
{
	TaggedStorage of;			/* hash key */
	uint8		tag[STORAGE_TAG_SIZE];
};

static HTAB *held;

static void
describe(RelFileLocator locator, uint64 key_id, const xl_verity_base *base, TaggedStorage *of)
{
	of->spc = VerityLocatorSpace(locator);
	of->db = VerityLocatorDatabase(locator);
	of->rel = locator.relNumber;
	of->unused = 0;
	of->key_id = key_id;
	of->base = *base;
	memset(of->base.tag, 0, sizeof(of->base.tag));
}

static void
make_tag(const uint8 *dek, const TaggedStorage *of, uint8 tag[STORAGE_TAG_SIZE])
{
	uint8		key[32];
	uint8		mac[32];
	core_status status;

	status = kdf_derive(dek, of->base.salt, sizeof(of->base.salt), KDF_INFO_LOGGED_STORAGE, key, sizeof(key));
	if (status == CORE_OK)
		status = kdf_hmac(key, of, sizeof(*of), mac);
	secmem_wipe(key, sizeof(key));
	if (status != CORE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not compute HMAC-SHA256"),
				 errhint("Check the server's memory and the OpenSSL installation.")));
	memcpy(tag, mac, STORAGE_TAG_SIZE);
}

void
verity_storage_tag_set(RelFileLocator locator, VerityRel *vrel, xl_verity_base *base)
{
	TaggedStorage of;

	describe(locator, vrel->key_id, base, &of);
	if (vrel->storage_tag == NULL)
		vrel->storage_tag = MemoryContextAllocZero(TopMemoryContext, sizeof(VerityStorageTag));
	if (memcmp(&vrel->storage_tag->of, &of, sizeof(of)) != 0)
	{
		const uint8 *dek = keys_data_key(vrel->key_id);

		if (dek == NULL)
			elog(ERROR, "data key " UINT64_FORMAT " is gone", vrel->key_id);
		/* nothing is kept where this fails */
		memset(&vrel->storage_tag->of, 0, sizeof(of));
		make_tag(dek, &of, vrel->storage_tag->tag);
		vrel->storage_tag->of = of;
	}
	memcpy(base->tag, vrel->storage_tag->tag, STORAGE_TAG_SIZE);
}

/* The tag that held for this storage, or NULL. */
static VerityStorageTag *
find_held(const TaggedStorage *of)
{
	if (held != NULL && hash_get_num_entries(held) >= HELD_MAX)
	{
		hash_destroy(held);
		held = NULL;
	}
	if (held == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(TaggedStorage),.entrysize = sizeof(VerityStorageTag),.hcxt = TopMemoryContext};

		held = hash_create("verity logged storage", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	return hash_search(held, of, HASH_FIND, NULL);
}

bool
verity_storage_tag_holds(RelFileLocator locator, uint64 key_id, const xl_verity_base *base)
{
	TaggedStorage of;
	VerityStorageTag *known;
	uint8		tag[STORAGE_TAG_SIZE];

	describe(locator, key_id, base, &of);
	known = find_held(&of);
	if (known == NULL)
	{
		make_tag(verity_logged_key(key_id), &of, tag);
		if (CRYPTO_memcmp(tag, base->tag, STORAGE_TAG_SIZE) != 0)
			return false;
		known = hash_search(held, &of, HASH_ENTER, NULL);
		memcpy(known->tag, tag, STORAGE_TAG_SIZE);
	}
	return CRYPTO_memcmp(known->tag, base->tag, STORAGE_TAG_SIZE) == 0;
}
