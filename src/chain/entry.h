/*
 * entry.h
 *	  The journal entry: its fixed, hashed core, its items, its metadata, and
 *	  the stored form that holds all of them.
 *
 * The core has one fixed size whatever the transaction did.  It commits to
 * the items by the Merkle root over their encodings, and to the metadata by a
 * salted hash, so that a proof publishes no names and metadata can be erased.
 * The hash of an entry is hash_leaf(core bytes); each entry holds the hash of
 * the one before it.
 *
 * Type bytes of everything hashed: 0x00 leaf, 0x01 node (RFC 6962),
 * 0x02 metadata, 0x03 discarded ranges, 0x04 item, 0x05 control body.
 */
#ifndef VERITY_ENTRY_H
#define VERITY_ENTRY_H

#include "codec.h"
#include "hash.h"

#define ENTRY_VERSION 1
#define ENTRY_CORE_SIZE 148
#define ENTRY_ITEM_SIZE 118
#define LEDGER_ID_SIZE 16
#define ENTRY_SALT_SIZE 16
#define ENTRY_UUID_SIZE 16
#define ENTRY_HMAC_SIZE 32

/* Limits of the stored form; beyond them CORE_E_LIMIT. */
#define ENTRY_STRING_MAX 4096	/* bytes of each string of the metadata */
#define ENTRY_STORED_MAX 0x3FFFFFFF /* bytes of the whole */

typedef enum entry_kind
{
	ENTRY_TRANSACTION = 1,
	ENTRY_GENESIS = 2,
	ENTRY_GENERATION = 3,
	ENTRY_VOID = 4,
	ENTRY_SCHEMA = 5,
	ENTRY_KEY = 6,
	ENTRY_CHECKPOINT = 7,
	ENTRY_POLICY = 8,
	ENTRY_ERASURE = 9,
	ENTRY_EXPORT = 10,
	ENTRY_ACCESS = 11,
	ENTRY_KIND_LAST = 11
} entry_kind;

/* Type bytes; those of leaves and nodes stand in hash.h. */
#define HASH_TYPE_METADATA 0x02
#define HASH_TYPE_RANGES 0x03
#define HASH_TYPE_ITEM 0x04
#define HASH_TYPE_BODY 0x05

/* "transaction", "genesis", …; NULL for a kind that is not known. */
extern const char *entry_kind_name(uint8_t kind);

/* The fixed core.  Times are microseconds since 2000-01-01 00:00:00 UTC. */
typedef struct entry_core
{
	uint8_t		version;
	uint8_t		kind;			/* entry_kind */
	uint64_t	position;
	int64_t		raw_time;		/* the clock as it was */
	int64_t		time;			/* max(raw_time, previous time + 1) */
	uint64_t	generation;		/* random id of the generation */
	uint64_t	serial;			/* 0 for a control entry of no transaction */
	uint64_t	decided;		/* positions up to this are final */
	hash256		previous;		/* hash of entry position - 1; zeros at 1 */
	hash256		items_root;
	hash256		metadata_hash;
} entry_core;

extern void entry_core_encode(const entry_core *core, uint8_t out[ENTRY_CORE_SIZE]);
extern core_status entry_core_decode(const uint8_t in[ENTRY_CORE_SIZE], entry_core *core) CORE_WARN_UNUSED;
extern core_status entry_hash(const entry_core *core, hash256 *out) CORE_WARN_UNUSED;

/* Sequence numbers first .. last of a transaction, both included. */
typedef struct entry_range
{
	uint32_t	first;
	uint32_t	last;
} entry_range;

/* What a transaction did to one table. */
typedef struct entry_item
{
	uint8_t		ledger[LEDGER_ID_SIZE];
	uint32_t	count;			/* records that are leaves */
	hash256		root;			/* Merkle root of their leaf hashes, in
								 * sequence order */
	hash256		discarded_hash;	/* over ranges, entry_ranges_hash */
	hash256		previous;		/* hash of this table's item before; zeros for
								 * the first */
	uint32_t	range_count;
	const entry_range *ranges;	/* ascending, disjoint */
} entry_item;

extern core_status entry_ranges_hash(const entry_range *ranges, uint32_t count, hash256 *out) CORE_WARN_UNUSED;
extern void entry_item_encode(const entry_item *item, uint8_t out[ENTRY_ITEM_SIZE]);
extern core_status entry_item_hash(const entry_item *item, hash256 *out) CORE_WARN_UNUSED;

typedef struct entry_metadata
{
	uint8_t		salt[ENTRY_SALT_SIZE];
	const char *session_user;	/* any of these may be NULL */
	const char *current_user;
	const char *application;
	const char *client_address;
	const char *reason;
	bool		has_idempotency_id;
	uint8_t		idempotency_id[ENTRY_UUID_SIZE];
	uint32_t	idempotency_role;	/* whose id it is; names may change */
} entry_metadata;

/*
 * An entry as it is stored: core, items with their ranges, control body,
 * metadata, HMAC.  Items are sorted by ledger id and unique; a transaction
 * has no control body and a control entry no items.
 */
typedef struct entry_stored
{
	entry_core	core;
	uint32_t	item_count;
	entry_item *items;
	const uint8_t *body;		/* control body, or NULL */
	size_t		body_len;
	entry_metadata metadata;
	uint8_t		hmac[ENTRY_HMAC_SIZE];	/* over the core's bytes */
} entry_stored;

/*
 * Set core.items_root and core.metadata_hash from the rest.  items[] need
 * discarded_hash set.  CORE_E_FORMAT when items are out of order.
 */
extern core_status entry_seal(entry_stored *entry) CORE_WARN_UNUSED;

/* Bytes that entry_stored_encode writes. */
extern size_t entry_stored_size(const entry_stored *entry);
extern core_status entry_stored_encode(const entry_stored *entry, uint8_t *out, size_t capacity,
									   size_t *used) CORE_WARN_UNUSED;

/*
 * Decode into *entry.  Everything it points at lies in arena, which is given
 * by the caller with at least entry_arena_size(len) bytes, aligned for
 * pointers.  Checks shape, order and limits, not hashes: entry_check does.
 */
extern size_t entry_arena_size(size_t len);
extern core_status entry_stored_decode(const uint8_t *in, size_t len, entry_stored *entry,
									   void *arena, size_t arena_size) CORE_WARN_UNUSED;

/*
 * Recompute items_root, every discarded_hash and metadata_hash, and compare:
 * CORE_E_AUTH when one differs from what the core commits to.
 */
extern core_status entry_check(const entry_stored *entry) CORE_WARN_UNUSED;

#endif							/* VERITY_ENTRY_H */
