/*
 * entry_stored.c
 *	  The stored form of a journal entry, and what ties it to its core.
 *
 *	  core (ENTRY_CORE_SIZE)
 *	  item count (4), then for each item:
 *		  item (ENTRY_ITEM_SIZE) | range count (4) | first (4), last (4), ...
 *	  control body: blob, NULL in a transaction's entry
 *	  metadata:
 *		  type 0x02 (1) | version (1) | salt (16) | session user, current
 *		  user, application, client address, reason: blobs |
 *		  has idempotency id (1) | idempotency id (16), role (4), only where it
 *		  has one
 *	  HMAC (32)
 *
 * The metadata hash is SHA-256 over the metadata's bytes as stored.  The items
 * root is the RFC 6962 root over the items; that of a control entry is the
 * root of one leaf, 0x05 | version | body.
 *
 * Shape rules are checked by one function on both ways: before an entry is
 * written, and after it was read.
 */
#include "entry.h"

#include <string.h>

#include "merkle.h"

#define RANGE_SIZE 8
#define ITEM_STORED_SIZE (ENTRY_ITEM_SIZE + 4)
#define METADATA_STRINGS 5
#define METADATA_SIZE_MAX (1 + 1 + ENTRY_SALT_SIZE + METADATA_STRINGS * (4 + ENTRY_STRING_MAX) + \
						   1 + ENTRY_UUID_SIZE + 4)

_Static_assert(sizeof(entry_range) == RANGE_SIZE, "ranges take the same room in the arena");

/* What is left of the caller's arena. */
typedef struct arena_rest
{
	uint8_t    *next;
	size_t		left;
} arena_rest;

static void *
arena_take(arena_rest *arena, size_t size)
{
	void	   *at = arena->next;

	if (size > arena->left)
		return NULL;
	arena->next += size;
	arena->left -= size;
	return at;
}

/* The strings of the metadata, in their order. */
static void
metadata_strings(const entry_metadata *metadata, const char *strings[METADATA_STRINGS])
{
	strings[0] = metadata->session_user;
	strings[1] = metadata->current_user;
	strings[2] = metadata->application;
	strings[3] = metadata->client_address;
	strings[4] = metadata->reason;
}

static void
metadata_encode(codec_writer *w, const entry_metadata *metadata)
{
	const char *strings[METADATA_STRINGS];

	metadata_strings(metadata, strings);
	codec_put_u8(w, HASH_TYPE_METADATA);
	codec_put_u8(w, ENTRY_VERSION);
	codec_put_bytes(w, metadata->salt, ENTRY_SALT_SIZE);
	for (int i = 0; i < METADATA_STRINGS; i++)
		codec_put_string(w, strings[i]);
	codec_put_u8(w, metadata->has_idempotency_id ? 1 : 0);
	if (metadata->has_idempotency_id)
	{
		codec_put_bytes(w, metadata->idempotency_id, ENTRY_UUID_SIZE);
		codec_put_u32(w, metadata->idempotency_role);
	}
}

static core_status
metadata_hash(const entry_metadata *metadata, hash256 *out)
{
	uint8_t		bytes[METADATA_SIZE_MAX];
	codec_writer w;

	codec_writer_init(&w, bytes, sizeof(bytes));
	metadata_encode(&w, metadata);
	if (w.failed)
		return CORE_E_LIMIT;
	return hash_sha256(bytes, w.used, out);
}

static core_status
ranges_check(const entry_item *item)
{
	for (uint32_t i = 0; i < item->range_count; i++)
	{
		const entry_range *range = &item->ranges[i];

		if (range->first > range->last)
			return CORE_E_FORMAT;
		if (i > 0 && range->first <= item->ranges[i - 1].last)
			return CORE_E_FORMAT;
	}
	return CORE_OK;
}

/* Check shape, order and limits of everything but the core. */
static core_status
stored_check(const entry_stored *entry)
{
	const char *strings[METADATA_STRINGS];
	bool		is_transaction = entry->core.kind == ENTRY_TRANSACTION;

	if (is_transaction ? entry->body != NULL : entry->item_count != 0)
		return CORE_E_FORMAT;
	if (!is_transaction && entry->body == NULL)
		return CORE_E_FORMAT;

	for (uint32_t i = 0; i < entry->item_count; i++)
	{
		const entry_item *item = &entry->items[i];

		if (item->count == 0 && item->range_count == 0)
			return CORE_E_FORMAT;
		if (i > 0 && memcmp(entry->items[i - 1].ledger, item->ledger, LEDGER_ID_SIZE) >= 0)
			return CORE_E_FORMAT;
		if (ranges_check(item) != CORE_OK)
			return CORE_E_FORMAT;
	}

	metadata_strings(&entry->metadata, strings);
	for (int i = 0; i < METADATA_STRINGS; i++)
	{
		if (strings[i] != NULL && strlen(strings[i]) > ENTRY_STRING_MAX)
			return CORE_E_LIMIT;
	}
	return CORE_OK;
}

/* The root that the core holds: over the items, or over the control body. */
static core_status
items_root(const entry_stored *entry, hash256 *root)
{
	static const uint8_t body_head[2] = {HASH_TYPE_BODY, ENTRY_VERSION};
	merkle_state tree;

	if (entry->core.kind != ENTRY_TRANSACTION)
	{
		hash_part	parts[2] = {{body_head, sizeof(body_head)}, {entry->body, entry->body_len}};

		return hash_parts(HASH_TYPE_LEAF, parts, 2, root);
	}

	merkle_init(&tree);
	for (uint32_t i = 0; i < entry->item_count; i++)
	{
		hash256		leaf;
		core_status status = entry_item_hash(&entry->items[i], &leaf);

		if (status == CORE_OK)
			status = merkle_append(&tree, &leaf);
		if (status != CORE_OK)
			return status;
	}
	return merkle_root(&tree, root);
}

core_status
entry_seal(entry_stored *entry)
{
	core_status status = stored_check(entry);

	if (status == CORE_OK)
		status = items_root(entry, &entry->core.items_root);
	if (status == CORE_OK)
		status = metadata_hash(&entry->metadata, &entry->core.metadata_hash);
	return status;
}

static void
items_encode(codec_writer *w, const entry_stored *entry)
{
	codec_put_u32(w, entry->item_count);
	for (uint32_t i = 0; i < entry->item_count; i++)
	{
		const entry_item *item = &entry->items[i];
		uint8_t		bytes[ENTRY_ITEM_SIZE];

		entry_item_encode(item, bytes);
		codec_put_bytes(w, bytes, sizeof(bytes));
		codec_put_u32(w, item->range_count);
		for (uint32_t r = 0; r < item->range_count; r++)
		{
			codec_put_u32(w, item->ranges[r].first);
			codec_put_u32(w, item->ranges[r].last);
		}
	}
}

static void
stored_encode(codec_writer *w, const entry_stored *entry)
{
	uint8_t		core[ENTRY_CORE_SIZE];

	entry_core_encode(&entry->core, core);
	codec_put_bytes(w, core, sizeof(core));
	items_encode(w, entry);
	codec_put_blob(w, entry->body, entry->body_len);
	metadata_encode(w, &entry->metadata);
	codec_put_bytes(w, entry->hmac, ENTRY_HMAC_SIZE);
}

size_t
entry_stored_size(const entry_stored *entry)
{
	codec_writer w;

	codec_writer_init(&w, NULL, 0);
	stored_encode(&w, entry);
	return w.used;
}

core_status
entry_stored_encode(const entry_stored *entry, uint8_t *out, size_t capacity, size_t *used)
{
	codec_writer w;
	core_status status = stored_check(entry);

	if (status != CORE_OK)
		return status;
	codec_writer_init(&w, out, capacity);
	stored_encode(&w, entry);
	if (w.failed || w.used > ENTRY_STORED_MAX)
		return CORE_E_LIMIT;
	*used = w.used;
	return CORE_OK;
}

/*
 * Items take at most ITEM_STORED_SIZE input bytes a struct; ranges as many as
 * in the input; strings lose their four bytes of length and gain a zero.
 */
size_t
entry_arena_size(size_t len)
{
	if (len > ENTRY_STORED_MAX)
		len = ENTRY_STORED_MAX;
	return (len / ITEM_STORED_SIZE + 1) * sizeof(entry_item) + len;
}

static core_status
item_decode(codec_reader *r, entry_item *item, arena_rest *arena)
{
	uint8_t		type = codec_get_u8(r);
	uint8_t		version = codec_get_u8(r);
	entry_range *ranges;

	codec_get_bytes(r, item->ledger, LEDGER_ID_SIZE);
	item->count = codec_get_u32(r);
	codec_get_bytes(r, item->root.bytes, HASH_SIZE);
	codec_get_bytes(r, item->discarded_hash.bytes, HASH_SIZE);
	codec_get_bytes(r, item->previous.bytes, HASH_SIZE);
	item->range_count = codec_get_u32(r);
	item->ranges = NULL;
	if (r->failed || type != HASH_TYPE_ITEM)
		return CORE_E_FORMAT;
	if (version != ENTRY_VERSION)
		return CORE_E_VERSION;
	if (item->range_count > (r->len - r->used) / RANGE_SIZE)
		return CORE_E_FORMAT;
	if (item->range_count == 0)
		return CORE_OK;

	ranges = arena_take(arena, (size_t) item->range_count * sizeof(entry_range));
	if (ranges == NULL)
		return CORE_E_LIMIT;
	for (uint32_t i = 0; i < item->range_count; i++)
	{
		ranges[i].first = codec_get_u32(r);
		ranges[i].last = codec_get_u32(r);
	}
	item->ranges = ranges;
	return CORE_OK;
}

static core_status
items_decode(codec_reader *r, entry_stored *entry, arena_rest *arena)
{
	entry->item_count = codec_get_u32(r);
	entry->items = NULL;
	if (r->failed || entry->item_count > (r->len - r->used) / ITEM_STORED_SIZE)
		return CORE_E_FORMAT;
	if (entry->item_count == 0)
		return CORE_OK;

	entry->items = arena_take(arena, entry->item_count * sizeof(entry_item));
	if (entry->items == NULL)
		return CORE_E_LIMIT;
	for (uint32_t i = 0; i < entry->item_count; i++)
	{
		core_status status = item_decode(r, &entry->items[i], arena);

		if (status != CORE_OK)
			return status;
	}
	return CORE_OK;
}

/* A blob as a zero-terminated string in the arena; NULL stays NULL. */
static core_status
string_decode(codec_reader *r, const char **string, arena_rest *arena)
{
	size_t		len;
	const uint8_t *bytes = codec_get_blob(r, &len);
	char	   *copy;

	*string = NULL;
	if (r->failed)
		return CORE_E_FORMAT;
	if (bytes == NULL)
		return CORE_OK;
	if (len > ENTRY_STRING_MAX)
		return CORE_E_LIMIT;
	if (memchr(bytes, 0, len) != NULL)
		return CORE_E_FORMAT;
	copy = arena_take(arena, len + 1);
	if (copy == NULL)
		return CORE_E_LIMIT;
	memcpy(copy, bytes, len);
	copy[len] = '\0';
	*string = copy;
	return CORE_OK;
}

static core_status
metadata_decode(codec_reader *r, entry_metadata *metadata, arena_rest *arena)
{
	const char **strings[METADATA_STRINGS] = {
		&metadata->session_user, &metadata->current_user, &metadata->application,
		&metadata->client_address, &metadata->reason
	};
	uint8_t		type = codec_get_u8(r);
	uint8_t		version = codec_get_u8(r);
	uint8_t		has_id;

	if (r->failed || type != HASH_TYPE_METADATA)
		return CORE_E_FORMAT;
	if (version != ENTRY_VERSION)
		return CORE_E_VERSION;
	codec_get_bytes(r, metadata->salt, ENTRY_SALT_SIZE);
	for (int i = 0; i < METADATA_STRINGS; i++)
	{
		core_status status = string_decode(r, strings[i], arena);

		if (status != CORE_OK)
			return status;
	}
	has_id = codec_get_u8(r);
	metadata->has_idempotency_id = has_id != 0;
	memset(metadata->idempotency_id, 0, ENTRY_UUID_SIZE);
	metadata->idempotency_role = 0;
	if (has_id)
	{
		codec_get_bytes(r, metadata->idempotency_id, ENTRY_UUID_SIZE);
		metadata->idempotency_role = codec_get_u32(r);
	}
	return r->failed || has_id > 1 ? CORE_E_FORMAT : CORE_OK;
}

core_status
entry_stored_decode(const uint8_t *in, size_t len, entry_stored *entry,
					void *arena, size_t arena_size)
{
	arena_rest	rest = {arena, arena_size};
	codec_reader r;
	uint8_t		core[ENTRY_CORE_SIZE];
	core_status status;

	if (len > ENTRY_STORED_MAX)
		return CORE_E_LIMIT;
	codec_reader_init(&r, in, len);
	codec_get_bytes(&r, core, sizeof(core));
	if (r.failed)
		return CORE_E_FORMAT;
	status = entry_core_decode(core, &entry->core);
	if (status == CORE_OK)
		status = items_decode(&r, entry, &rest);
	if (status != CORE_OK)
		return status;
	entry->body = codec_get_blob(&r, &entry->body_len);
	status = metadata_decode(&r, &entry->metadata, &rest);
	if (status != CORE_OK)
		return status;
	codec_get_bytes(&r, entry->hmac, ENTRY_HMAC_SIZE);
	if (!codec_reader_done(&r))
		return CORE_E_FORMAT;
	return stored_check(entry);
}

core_status
entry_check(const entry_stored *entry)
{
	hash256		hash;
	core_status status = stored_check(entry);

	if (status != CORE_OK)
		return status;
	for (uint32_t i = 0; i < entry->item_count; i++)
	{
		const entry_item *item = &entry->items[i];

		status = entry_ranges_hash(item->ranges, item->range_count, &hash);
		if (status != CORE_OK)
			return status;
		if (!hash_equal(&hash, &item->discarded_hash))
			return CORE_E_AUTH;
	}

	status = items_root(entry, &hash);
	if (status != CORE_OK)
		return status;
	if (!hash_equal(&hash, &entry->core.items_root))
		return CORE_E_AUTH;

	status = metadata_hash(&entry->metadata, &hash);
	if (status != CORE_OK)
		return status;
	return hash_equal(&hash, &entry->core.metadata_hash) ? CORE_OK : CORE_E_AUTH;
}
