/*
 * entry.c
 *	  The hashed parts of a journal entry: core and items.
 *
 * Core, ENTRY_CORE_SIZE bytes:
 *	  version (1) | kind (1) | zero (2) | position (8) | raw time (8) |
 *	  time (8) | generation (8) | serial (8) | decided (8) | previous (32) |
 *	  items root (32) | metadata hash (32)
 *
 * Item, ENTRY_ITEM_SIZE bytes:
 *	  type 0x04 (1) | version (1) | ledger (16) | count (4) | root (32) |
 *	  discarded hash (32) | previous (32)
 *
 * Discarded ranges are hashed as
 *	  type 0x03 | version (1) | count (4) | first (4), last (4), ...
 *
 * The hash of an item is its leaf hash, so it is both the leaf in the
 * entry's items tree and the link of the table's chain of items.
 */
#include "entry.h"

#include <stdlib.h>
#include <string.h>

/* More ranges than this are hashed from allocated memory. */
#define RANGES_ON_STACK 64
#define RANGE_SIZE 8

_Static_assert(ENTRY_CORE_SIZE == 1 + 1 + 2 + 6 * 8 + 3 * HASH_SIZE, "the core has no gaps");
_Static_assert(ENTRY_ITEM_SIZE == 1 + 1 + LEDGER_ID_SIZE + 4 + 3 * HASH_SIZE,
			   "an item has no gaps");

static const char *const kind_names[ENTRY_KIND_LAST + 1] = {
	[ENTRY_TRANSACTION] = "transaction",
	[ENTRY_GENESIS] = "genesis",
	[ENTRY_GENERATION] = "generation",
	[ENTRY_VOID] = "void",
	[ENTRY_SCHEMA] = "schema",
	[ENTRY_KEY] = "key",
	[ENTRY_CHECKPOINT] = "checkpoint",
	[ENTRY_POLICY] = "policy",
	[ENTRY_ERASURE] = "erasure",
	[ENTRY_EXPORT] = "export",
	[ENTRY_ACCESS] = "access",
};

const char *
entry_kind_name(uint8_t kind)
{
	return kind <= ENTRY_KIND_LAST ? kind_names[kind] : NULL;
}

static uint8_t *
store_hash(uint8_t *at, const hash256 *hash)
{
	memcpy(at, hash->bytes, HASH_SIZE);
	return at + HASH_SIZE;
}

void
entry_core_encode(const entry_core *core, uint8_t out[ENTRY_CORE_SIZE])
{
	uint8_t    *at = out;

	*at++ = core->version;
	*at++ = core->kind;
	at = codec_store_u16(at, 0);
	at = codec_store_u64(at, core->position);
	at = codec_store_u64(at, (uint64_t) core->raw_time);
	at = codec_store_u64(at, (uint64_t) core->time);
	at = codec_store_u64(at, core->generation);
	at = codec_store_u64(at, core->serial);
	at = codec_store_u64(at, core->decided);
	at = store_hash(at, &core->previous);
	at = store_hash(at, &core->items_root);
	store_hash(at, &core->metadata_hash);
}

core_status
entry_core_decode(const uint8_t in[ENTRY_CORE_SIZE], entry_core *core)
{
	const uint8_t *hashes = in + ENTRY_CORE_SIZE - 3 * HASH_SIZE;

	if (in[0] != ENTRY_VERSION)
		return CORE_E_VERSION;
	core->version = in[0];
	core->kind = in[1];
	core->position = codec_load_u64(in + 4);
	core->raw_time = (int64_t) codec_load_u64(in + 12);
	core->time = (int64_t) codec_load_u64(in + 20);
	core->generation = codec_load_u64(in + 28);
	core->serial = codec_load_u64(in + 36);
	core->decided = codec_load_u64(in + 44);
	memcpy(core->previous.bytes, hashes, HASH_SIZE);
	memcpy(core->items_root.bytes, hashes + HASH_SIZE, HASH_SIZE);
	memcpy(core->metadata_hash.bytes, hashes + 2 * HASH_SIZE, HASH_SIZE);

	if (entry_kind_name(core->kind) == NULL || codec_load_u16(in + 2) != 0)
		return CORE_E_FORMAT;
	if (core->position == 0 || core->decided > core->position)
		return CORE_E_FORMAT;
	if (core->time < core->raw_time)
		return CORE_E_FORMAT;
	if (core->kind == ENTRY_TRANSACTION && core->serial == 0)
		return CORE_E_FORMAT;
	return CORE_OK;
}

core_status
entry_hash(const entry_core *core, hash256 *out)
{
	uint8_t		bytes[ENTRY_CORE_SIZE];

	entry_core_encode(core, bytes);
	return hash_leaf(bytes, sizeof(bytes), out);
}

core_status
entry_ranges_hash(const entry_range *ranges, uint32_t count, hash256 *out)
{
	uint8_t		head[5];
	uint8_t		few[RANGES_ON_STACK * RANGE_SIZE];
	uint8_t    *bytes = few;
	hash_part	parts[2] = {{head, sizeof(head)}};
	core_status status;

	if (count > RANGES_ON_STACK)
		bytes = malloc((size_t) count * RANGE_SIZE);
	if (bytes == NULL)
		return CORE_E_CRYPTO;

	head[0] = ENTRY_VERSION;
	codec_store_u32(head + 1, count);
	for (uint32_t i = 0; i < count; i++)
	{
		codec_store_u32(bytes + (size_t) i * RANGE_SIZE, ranges[i].first);
		codec_store_u32(bytes + (size_t) i * RANGE_SIZE + 4, ranges[i].last);
	}
	parts[1].data = bytes;
	parts[1].len = (size_t) count * RANGE_SIZE;
	status = hash_parts(HASH_TYPE_RANGES, parts, 2, out);
	if (bytes != few)
		free(bytes);
	return status;
}

void
entry_item_encode(const entry_item *item, uint8_t out[ENTRY_ITEM_SIZE])
{
	uint8_t    *at = out;

	*at++ = HASH_TYPE_ITEM;
	*at++ = ENTRY_VERSION;
	memcpy(at, item->ledger, LEDGER_ID_SIZE);
	at = codec_store_u32(at + LEDGER_ID_SIZE, item->count);
	at = store_hash(at, &item->root);
	at = store_hash(at, &item->discarded_hash);
	store_hash(at, &item->previous);
}

core_status
entry_item_hash(const entry_item *item, hash256 *out)
{
	uint8_t		bytes[ENTRY_ITEM_SIZE];

	entry_item_encode(item, bytes);
	return hash_leaf(bytes, sizeof(bytes), out);
}
