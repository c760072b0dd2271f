/*
 * entry_test.c
 *	  Journal entries: encodings, order and shape rules, and that every byte
 *	  is covered by a hash or refused.
 */
#include "chain/entry.h"
#include "tap.h"

#define STORED_MAX 4096

static const entry_range sample_ranges[2] = {{3, 3}, {7, 9}};

static void
sample_transaction(entry_stored *entry, entry_item items[2])
{
	memset(entry, 0, sizeof(*entry));
	memset(items, 0, 2 * sizeof(items[0]));
	entry->core.version = ENTRY_VERSION;
	entry->core.kind = ENTRY_TRANSACTION;
	entry->core.position = 42;
	entry->core.raw_time = -5;
	entry->core.time = 7;
	entry->core.generation = UINT64_C(0xfedcba9876543210);
	entry->core.serial = 99;
	entry->core.decided = 40;
	memset(entry->core.previous.bytes, 0xab, HASH_SIZE);

	memset(items[0].ledger, 0x01, LEDGER_ID_SIZE);
	items[0].count = 6;
	memset(items[0].root.bytes, 0x31, HASH_SIZE);
	items[0].range_count = 2;
	items[0].ranges = sample_ranges;
	memset(items[1].ledger, 0x02, LEDGER_ID_SIZE);
	items[1].count = 1;
	memset(items[1].root.bytes, 0x32, HASH_SIZE);
	memset(items[1].previous.bytes, 0x33, HASH_SIZE);
	for (int i = 0; i < 2; i++)
		must(entry_ranges_hash(items[i].ranges, items[i].range_count, &items[i].discarded_hash));
	entry->item_count = 2;
	entry->items = items;

	memset(entry->metadata.salt, 0x77, ENTRY_SALT_SIZE);
	entry->metadata.session_user = "alice";
	entry->metadata.current_user = "";
	entry->metadata.reason = "correction of a date";
	entry->metadata.has_idempotency_id = true;
	memset(entry->metadata.idempotency_id, 0x44, ENTRY_UUID_SIZE);
	entry->metadata.idempotency_role = 0x01020304;
	memset(entry->hmac, 0x55, ENTRY_HMAC_SIZE);
	must(entry_seal(entry));
}

static void
sample_control(entry_stored *entry)
{
	memset(entry, 0, sizeof(*entry));
	entry->core.version = ENTRY_VERSION;
	entry->core.kind = ENTRY_KEY;
	entry->core.position = 1;
	entry->body = (const uint8_t *) "body";
	entry->body_len = 4;
	must(entry_seal(entry));
}

/* Decode from a heap copy of exactly len bytes; the caller frees *arena. */
static core_status
decode(const uint8_t *bytes, size_t len, entry_stored *entry, void **arena)
{
	size_t		size = entry_arena_size(len);

	*arena = malloc(size);
	return entry_stored_decode(bytes, len, entry, *arena, size);
}

static void
test_core_round_trip(void)
{
	entry_stored entry;
	entry_item	items[2];
	entry_core	back;
	uint8_t		bytes[ENTRY_CORE_SIZE];
	uint8_t		again[ENTRY_CORE_SIZE];
	hash256		hash;
	hash256		leaf;

	sample_transaction(&entry, items);
	entry_core_encode(&entry.core, bytes);
	is_status(entry_core_decode(bytes, &back), CORE_OK, "a core decodes");
	entry_core_encode(&back, again);
	ok(memcmp(bytes, again, sizeof(bytes)) == 0, "a core comes back");
	ok(back.raw_time == -5 && back.time == 7, "times before 2000 come back");
	must(entry_hash(&entry.core, &hash));
	must(hash_leaf(bytes, sizeof(bytes), &leaf));
	ok(hash_equal(&hash, &leaf), "an entry's hash is the leaf hash of its core");
}

static void
test_core_refused(void)
{
	entry_stored entry;
	entry_item	items[2];
	entry_core	core;
	entry_core	back;
	uint8_t		bytes[ENTRY_CORE_SIZE];

#define REFUSED(change, expected, what) \
	do { \
		core = entry.core; \
		change; \
		entry_core_encode(&core, bytes); \
		is_status(entry_core_decode(bytes, &back), expected, what); \
	} while (0)

	sample_transaction(&entry, items);
	REFUSED(core.version = 2, CORE_E_VERSION, "a later version is refused as such");
	REFUSED(core.kind = 0, CORE_E_FORMAT, "kind 0 is refused");
	REFUSED(core.kind = ENTRY_KIND_LAST + 1, CORE_E_FORMAT, "an unknown kind is refused");
	REFUSED(core.position = 0, CORE_E_FORMAT, "position 0 is refused");
	REFUSED(core.decided = 43, CORE_E_FORMAT, "decided past the entry itself is refused");
	REFUSED(core.time = -6, CORE_E_FORMAT, "a time before the raw time is refused");
	REFUSED(core.serial = 0, CORE_E_FORMAT, "a transaction without a serial is refused");
	REFUSED((void) core, CORE_OK, "unchanged it decodes");
	bytes[2] = 1;
	is_status(entry_core_decode(bytes, &back), CORE_E_FORMAT, "the zero bytes have to be zero");
}

static void
test_kind_names(void)
{
	unsigned long missing = 0;

	for (int kind = 1; kind <= ENTRY_KIND_LAST; kind++)
		missing += entry_kind_name((uint8_t) kind) == NULL;
	is_count(missing, 0, "every kind has a name");
	ok(entry_kind_name(0) == NULL && entry_kind_name(255) == NULL, "other kinds have none");
	ok(strcmp(entry_kind_name(ENTRY_VOID), "void") == 0, "void is called so");
}

static void
test_stored_round_trip(void)
{
	entry_stored entry;
	entry_stored back;
	entry_item	items[2];
	uint8_t		bytes[STORED_MAX];
	uint8_t		again[STORED_MAX];
	size_t		used;
	size_t		used_again;
	void	   *arena;

	sample_transaction(&entry, items);
	is_status(entry_stored_encode(&entry, bytes, sizeof(bytes), &used), CORE_OK, "an entry encodes");
	is_count(used, entry_stored_size(&entry), "its size is as announced");
	is_status(decode(bytes, used, &back, &arena), CORE_OK, "it decodes");
	ok(back.item_count == 2 && back.items[0].range_count == 2 &&
	   back.items[0].ranges[1].first == 7 && back.items[0].ranges[1].last == 9 &&
	   back.items[1].ranges == NULL, "its items and ranges come back");
	ok(strcmp(back.metadata.session_user, "alice") == 0 &&
	   strcmp(back.metadata.current_user, "") == 0 &&
	   back.metadata.application == NULL && back.metadata.client_address == NULL &&
	   strcmp(back.metadata.reason, "correction of a date") == 0, "its strings come back, NULL as NULL");
	ok(back.body == NULL && back.metadata.has_idempotency_id &&
	   back.metadata.idempotency_id[15] == 0x44 && back.metadata.idempotency_role == 0x01020304,
	   "the rest comes back");
	is_status(entry_check(&back), CORE_OK, "what was decoded holds what its core commits to");
	must(entry_stored_encode(&back, again, sizeof(again), &used_again));
	ok(used == used_again && memcmp(bytes, again, used) == 0, "encoding it again gives the same bytes");
	free(arena);

	sample_control(&entry);
	must(entry_stored_encode(&entry, bytes, sizeof(bytes), &used));
	is_status(decode(bytes, used, &back, &arena), CORE_OK, "a control entry decodes");
	ok(back.body_len == 4 && memcmp(back.body, "body", 4) == 0 && back.items == NULL,
	   "its body comes back");
	is_status(entry_check(&back), CORE_OK, "and holds what its core commits to");
	free(arena);
}

static void
test_stored_truncated(void)
{
	entry_stored entry;
	entry_stored back;
	entry_item	items[2];
	uint8_t		bytes[STORED_MAX];
	size_t		used;
	unsigned long accepted = 0;

	sample_transaction(&entry, items);
	must(entry_stored_encode(&entry, bytes, sizeof(bytes), &used));
	for (size_t len = 0; len < used; len++)
	{
		uint8_t    *copy = heap_copy(bytes, len);
		void	   *arena;

		accepted += decode(copy, len, &back, &arena) != CORE_E_FORMAT;
		free(arena);
		free(copy);
	}
	is_count(accepted, 0, "an entry cut short anywhere is refused");
	ok(entry_stored_encode(&entry, bytes, used - 1, &used) == CORE_E_LIMIT,
	   "encoding into too little room fails");

	memset(bytes + used, 0, 1);
	{
		void	   *arena;

		is_status(decode(bytes, used + 1, &back, &arena), CORE_E_FORMAT, "a byte too many is refused");
		free(arena);
	}
}

/* A string with a zero byte inside would be cut short there. */
static void
test_zero_in_string(void)
{
	entry_stored entry;
	entry_stored back;
	entry_item	items[2];
	uint8_t		bytes[STORED_MAX];
	size_t		used;
	uint8_t    *user;
	void	   *arena;

	sample_transaction(&entry, items);
	must(entry_stored_encode(&entry, bytes, sizeof(bytes), &used));
	user = memmem(bytes, used, "alice", 5);
	user[2] = '\0';
	is_status(decode(bytes, used, &back, &arena), CORE_E_FORMAT, "a zero byte inside a string is refused");
	free(arena);
}

/*
 * A change of any byte is refused when decoding, found by entry_check, or
 * changes the core's hash or is in the HMAC: nothing goes unnoticed.
 */
static void
count_unnoticed(const entry_stored *entry, const char *what)
{
	uint8_t		bytes[STORED_MAX];
	size_t		used;
	hash256		hash;
	unsigned long unnoticed = 0;

	must(entry_stored_encode(entry, bytes, sizeof(bytes), &used));
	must(entry_hash(&entry->core, &hash));
	for (size_t i = 0; i < used * 8; i++)
	{
		entry_stored back;
		hash256		changed;
		void	   *arena;

		bytes[i / 8] ^= (uint8_t) (1 << i % 8);
		if (decode(bytes, used, &back, &arena) == CORE_OK && entry_check(&back) == CORE_OK)
		{
			must(entry_hash(&back.core, &changed));
			unnoticed += hash_equal(&hash, &changed) &&
				memcmp(back.hmac, entry->hmac, ENTRY_HMAC_SIZE) == 0;
		}
		free(arena);
		bytes[i / 8] ^= (uint8_t) (1 << i % 8);
	}
	is_count(unnoticed, 0, what);
}

static void
test_every_bit_is_covered(void)
{
	entry_stored entry;
	entry_item	items[2];

	sample_transaction(&entry, items);
	count_unnoticed(&entry, "no bit of a transaction's entry changes unnoticed");
	sample_control(&entry);
	count_unnoticed(&entry, "no bit of a control entry changes unnoticed");
}

static void
test_items_order(void)
{
	entry_stored entry;
	entry_item	items[2];
	entry_item	swap;

	sample_transaction(&entry, items);
	swap = items[0];
	items[0] = items[1];
	items[1] = swap;
	is_status(entry_seal(&entry), CORE_E_FORMAT, "items out of order are not sealed");

	sample_transaction(&entry, items);
	memcpy(items[1].ledger, items[0].ledger, LEDGER_ID_SIZE);
	is_status(entry_seal(&entry), CORE_E_FORMAT, "two items of one table are not sealed");

	sample_transaction(&entry, items);
	items[1].count = 0;
	is_status(entry_seal(&entry), CORE_E_FORMAT, "an empty item is not sealed");

	sample_transaction(&entry, items);
	items[0].count = 0;
	is_status(entry_seal(&entry), CORE_OK, "an item of discarded records alone is sealed");

	sample_transaction(&entry, items);
	entry.item_count = 0;
	is_status(entry_seal(&entry), CORE_OK, "a transaction without items is sealed");
}

static void
test_ranges_order(void)
{
	static const entry_range bad[][2] = {
		{{5, 4}, {7, 9}}, {{7, 9}, {3, 3}}, {{3, 7}, {7, 9}}
	};
	entry_stored entry;
	entry_item	items[2];
	unsigned long sealed = 0;

	for (int i = 0; i < 3; i++)
	{
		sample_transaction(&entry, items);
		items[0].ranges = bad[i];
		sealed += entry_seal(&entry) != CORE_E_FORMAT;
	}
	is_count(sealed, 0, "ranges that are empty, unordered or overlap are not sealed");
}

static void
test_shape(void)
{
	static char long_reason[ENTRY_STRING_MAX + 2];
	entry_stored entry;
	entry_item	items[2];

	sample_transaction(&entry, items);
	entry.body = (const uint8_t *) "x";
	is_status(entry_seal(&entry), CORE_E_FORMAT, "a transaction has no control body");
	sample_control(&entry);
	entry.body = NULL;
	is_status(entry_seal(&entry), CORE_E_FORMAT, "a control entry has a body");
	sample_control(&entry);
	entry.items = items;
	entry.item_count = 2;
	is_status(entry_seal(&entry), CORE_E_FORMAT, "a control entry has no items");

	memset(long_reason, 'r', ENTRY_STRING_MAX + 1);
	sample_control(&entry);
	entry.metadata.reason = long_reason;
	is_status(entry_seal(&entry), CORE_E_LIMIT, "a string over the limit is not sealed");
	long_reason[ENTRY_STRING_MAX] = '\0';
	is_status(entry_seal(&entry), CORE_OK, "a string at the limit is sealed");
}

static void
test_check_finds(void)
{
	entry_stored entry;
	entry_item	items[2];

	sample_transaction(&entry, items);
	items[1].count++;
	is_status(entry_check(&entry), CORE_E_AUTH, "another count is found");
	sample_transaction(&entry, items);
	items[0].range_count = 1;
	is_status(entry_check(&entry), CORE_E_AUTH, "a range left out is found");
	sample_transaction(&entry, items);
	entry.item_count = 1;
	is_status(entry_check(&entry), CORE_E_AUTH, "an item left out is found");
	sample_transaction(&entry, items);
	entry.metadata.session_user = "mallory";
	is_status(entry_check(&entry), CORE_E_AUTH, "another author is found");
	sample_transaction(&entry, items);
	entry.metadata.current_user = NULL;
	is_status(entry_check(&entry), CORE_E_AUTH, "NULL for an empty string is found");
	sample_control(&entry);
	entry.body = (const uint8_t *) "bodY";
	is_status(entry_check(&entry), CORE_E_AUTH, "another control body is found");
}

/* Many ranges: the hash takes them from allocated memory. */
static void
test_many_ranges(void)
{
	enum { MANY = 5000 };
	entry_range *ranges = malloc(MANY * sizeof(entry_range));
	hash256		few;
	hash256		many;
	hash256		changed;

	for (uint32_t i = 0; i < MANY; i++)
		ranges[i] = (entry_range) {2 * i, 2 * i};
	must(entry_ranges_hash(ranges, 64, &few));
	must(entry_ranges_hash(ranges, MANY, &many));
	ranges[MANY - 1].last++;
	must(entry_ranges_hash(ranges, MANY, &changed));
	ok(!hash_equal(&few, &many) && !hash_equal(&many, &changed), "every one of many ranges is hashed");
	free(ranges);
}

static void
test_garbage(void)
{
	unsigned long state = 1;
	unsigned long accepted = 0;

	for (int round = 0; round < 20000; round++)
	{
		size_t		len = garbage_next(&state) % 600;
		uint8_t    *bytes = malloc(len + 1);
		entry_stored back;
		void	   *arena;

		garbage_fill(&state, bytes, len);
		if (len > 3)
		{
			bytes[0] = ENTRY_VERSION;
			bytes[1] = (uint8_t) (1 + bytes[1] % ENTRY_KIND_LAST);
			bytes[2] = bytes[3] = 0;
		}
		accepted += decode(bytes, len, &back, &arena) == CORE_OK;
		free(arena);
		free(bytes);
	}
	is_count(accepted, 0, "garbage is no entry");
}

int
main(void)
{
	test_core_round_trip();
	test_core_refused();
	test_kind_names();
	test_stored_round_trip();
	test_stored_truncated();
	test_zero_in_string();
	test_every_bit_is_covered();
	test_items_order();
	test_ranges_order();
	test_shape();
	test_check_finds();
	test_many_ranges();
	test_garbage();
	return tap_done();
}
