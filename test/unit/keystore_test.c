/*
 * keystore_test.c
 *	  The keystore: finding, adding, the file's round trip, and what is made
 *	  of a file that is damaged, of another cluster, or under another key.
 */
#include "crypto/kdf.h"
#include "crypto/keystore.h"
#include "crypto/secmem.h"
#include "tap.h"

#define SYSTEM UINT64_C(7301234567890123456)
#define MANY 300

static const uint8_t master_key[32] = {7, 7, 7};

static void
number_id(uint8_t id[16], uint32_t n)
{
	memset(id, 0, 16);
	id[0] = (uint8_t) (n * 37);
	memcpy(id + 4, &n, sizeof(n));
}

static keystore *
sample(uint32_t keys, uint32_t journals, uint64_t *key_ids)
{
	keystore   *ks;
	uint8_t		id[16];

	must(keystore_new(SYSTEM, &ks));
	for (uint32_t i = 0; i < journals; i++)
	{
		number_id(id, i);
		must(keystore_add_journal(ks, id));
	}
	for (uint32_t i = 0; i < keys; i++)
	{
		number_id(id, i);
		must(keystore_add_key(ks, id, id, &key_ids[i]));
	}
	return ks;
}

static void
test_add_and_find(void)
{
	static uint64_t ids[MANY];
	keystore   *ks = sample(MANY, MANY, ids);
	unsigned long bad = 0;
	uint8_t		id[16];
	uint8_t		commitment[32];

	for (uint32_t i = 0; i < MANY; i++)
	{
		const keystore_key *key = keystore_find_key(ks, ids[i]);
		keystore_journal *journal;

		number_id(id, i);
		journal = keystore_find_journal(ks, id);
		if (key == NULL || journal == NULL)
		{
			bad++;
			continue;
		}
		must(kdf_commitment(key->key, commitment));
		bad += memcmp(key->ledger, id, 16) != 0 || memcmp(key->journal_id, id, 16) != 0;
		bad += memcmp(key->commitment, commitment, 32) != 0;
		bad += key->id <= UINT32_MAX || memcmp(journal->journal_id, id, 16) != 0;
	}
	is_count(bad, 0, "every key and journal is found as it was added");

	for (uint32_t i = 1; i < MANY; i++)
	{
		bad += ks->keys[i - 1].id >= ks->keys[i].id;
		bad += memcmp(ks->journals[i - 1].journal_id, ks->journals[i].journal_id, 16) >= 0;
		bad += memcmp(ks->keys[i - 1].key, ks->keys[i].key, 32) == 0;
		bad += memcmp(ks->journals[i - 1].hmac_key, ks->journals[i].hmac_key, 32) == 0;
	}
	is_count(bad, 0, "both are sorted, and no two have the same secret");
	number_id(id, MANY);
	ok(keystore_find_key(ks, 1) == NULL && keystore_find_key(ks, UINT64_MAX) == NULL &&
	   keystore_find_journal(ks, id) == NULL, "what was not added is not found");
	keystore_free(ks);
}

static void
test_journal_is_added_once(void)
{
	uint8_t		id[16] = {1};
	keystore   *ks;
	keystore_journal before;

	must(keystore_new(SYSTEM, &ks));
	must(keystore_add_journal(ks, id));
	keystore_find_journal(ks, id)->position = 5;
	before = *keystore_find_journal(ks, id);
	is_status(keystore_add_journal(ks, id), CORE_OK, "adding a journal again succeeds");
	ok(ks->journal_count == 1 && memcmp(&before, keystore_find_journal(ks, id), sizeof(before)) == 0,
	   "and changes nothing");
	keystore_free(ks);
}

static bool
same_content(const keystore *a, const keystore *b)
{
	return a->system_identifier == b->system_identifier && memcmp(a->id, b->id, 16) == 0 &&
		a->key_count == b->key_count && a->journal_count == b->journal_count &&
		memcmp(a->keys, b->keys, a->key_count * sizeof(keystore_key)) == 0 &&
		memcmp(a->journals, b->journals, a->journal_count * sizeof(keystore_journal)) == 0;
}

static void
test_round_trip(uint32_t keys, uint32_t journals)
{
	static uint64_t ids[MANY];
	keystore   *ks = sample(keys, journals, ids);
	keystore   *back;
	uint8_t    *file;
	uint8_t    *again;
	size_t		len;
	uint64_t	system;

	if (journals > 0)
	{
		ks->journals[0].position = 12;
		ks->journals[0].generation = UINT64_MAX;
		memset(ks->journals[0].hash.bytes, 0x99, HASH_SIZE);
	}
	must(keystore_serialize(ks, master_key, &file, &len));
	is_status(keystore_parse(file, len, master_key, &back), CORE_OK, "a file parses");
	ok(same_content(ks, back), "%u keys and %u journals come back", keys, journals);
	is_status(keystore_peek(file, len, &system), CORE_OK, "its header reads without a key");
	ok(system == SYSTEM, "and names the cluster");

	must(keystore_serialize(back, master_key, &again, &len));
	ok(memcmp(file, again, len) != 0, "writing it again draws another nonce");
	if (keys > 0)
		ok(memmem(file, len, ks->keys[0].key, 32) == NULL, "no key stands in the file");
	must(keystore_add_key(back, file, file, &ids[0]));
	must(keystore_add_journal(back, file));
	ok(back->key_count == keys + 1 && back->journal_count == journals + 1,
	   "a keystore that was read can be added to");
	free(file);
	free(again);
	keystore_free(ks);
	keystore_free(back);
}

/* What a change in each part of the file is called. */
static core_status
expected_damage(size_t offset)
{
	if (offset < 8)
		return CORE_E_FORMAT;
	if (offset < 12)
		return CORE_E_VERSION;
	if (offset >= 48 && offset < 52)
		return CORE_E_FORMAT;
	return CORE_E_AUTH;
}

static void
test_damage(void)
{
	uint64_t	ids[2];
	keystore   *ks = sample(2, 1, ids);
	keystore   *back;
	uint8_t    *file;
	size_t		len;
	uint64_t	system;
	unsigned long wrong = 0;
	unsigned long made = 0;

	must(keystore_serialize(ks, master_key, &file, &len));
	for (size_t i = 0; i < len; i++)
	{
		file[i] ^= 0x20;
		wrong += keystore_parse(file, len, master_key, &back) != expected_damage(i);
		made += back != NULL;
		file[i] ^= 0x20;
	}
	is_count(wrong, 0, "a change of any byte is found, and called what it is");
	for (size_t cut = 0; cut < len; cut++)
	{
		uint8_t    *copy = heap_copy(file, cut);

		wrong += keystore_parse(copy, cut, master_key, &back) != CORE_E_FORMAT;
		wrong += keystore_peek(copy, cut, &system) != CORE_E_FORMAT;
		made += back != NULL;
		free(copy);
	}
	is_count(wrong, 0, "a file cut short anywhere is refused");
	is_count(made, 0, "no keystore comes of it");
	free(file);
	keystore_free(ks);
}

static void
test_wrong_key(void)
{
	uint64_t	id;
	keystore   *ks = sample(1, 1, &id);
	keystore   *back;
	uint8_t		other[32] = {7, 7, 8};
	uint8_t    *file;
	size_t		len;

	must(keystore_serialize(ks, master_key, &file, &len));
	is_status(keystore_parse(file, len, other, &back), CORE_E_AUTH, "another master key does not open it");
	ok(back == NULL, "and gives no keystore");
	free(file);
	keystore_free(ks);
}

/* A file of another cluster says so; its header cannot be exchanged. */
static void
test_other_cluster(void)
{
	keystore   *ours;
	keystore   *theirs;
	keystore   *back;
	uint8_t    *file;
	uint8_t    *their_file;
	size_t		len;
	uint64_t	system;

	must(keystore_new(SYSTEM, &ours));
	must(keystore_new(SYSTEM + 1, &theirs));
	ok(memcmp(ours->id, theirs->id, 16) != 0, "every keystore has an id of its own");
	must(keystore_serialize(ours, master_key, &file, &len));
	must(keystore_serialize(theirs, master_key, &their_file, &len));
	must(keystore_peek(their_file, len, &system));
	ok(system == SYSTEM + 1, "a file names the cluster that it belongs to");
	memcpy(their_file, file, 20);
	is_status(keystore_parse(their_file, len, master_key, &back), CORE_E_AUTH,
			  "another cluster's file under our system identifier is found");
	free(file);
	free(their_file);
	keystore_free(ours);
	keystore_free(theirs);
}

/* Sealed under the right key, but not sorted, or with two of one id. */
static void
test_order(void)
{
	static uint64_t ids[3];
	keystore   *ks = sample(3, 3, ids);
	keystore   *back;
	keystore_key key = ks->keys[0];
	keystore_journal journal = ks->journals[0];
	uint8_t    *file;
	size_t		len;

	ks->keys[0] = ks->keys[1];
	must(keystore_serialize(ks, master_key, &file, &len));
	is_status(keystore_parse(file, len, master_key, &back), CORE_E_FORMAT, "two keys of one id are refused");
	free(file);
	ks->keys[0] = key;
	ks->keys[0].id = 0;
	must(keystore_serialize(ks, master_key, &file, &len));
	is_status(keystore_parse(file, len, master_key, &back), CORE_E_FORMAT, "a key id of zero is refused");
	free(file);
	ks->keys[0] = key;
	ks->journals[0] = ks->journals[1];
	ks->journals[1] = journal;
	must(keystore_serialize(ks, master_key, &file, &len));
	is_status(keystore_parse(file, len, master_key, &back), CORE_E_FORMAT, "journals out of order are refused");
	free(file);
	keystore_free(ks);
}

static void
test_limits(void)
{
	keystore   *ks;
	uint8_t		id[16] = {0};
	uint8_t    *file;
	size_t		len;
	uint64_t	key_id;

	must(keystore_new(SYSTEM, &ks));
	ks->key_count = KEYSTORE_KEYS_MAX;
	is_status(keystore_add_key(ks, id, id, &key_id), CORE_E_LIMIT, "a full keystore takes no key");
	ks->key_count = KEYSTORE_KEYS_MAX + 1;
	is_status(keystore_serialize(ks, master_key, &file, &len), CORE_E_LIMIT, "nor is one over its limit written");
	ks->key_count = 0;
	keystore_free(ks);
	keystore_free(NULL);
}

static void
test_master_key(void)
{
	char		text[67] = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1f\n\n";
	uint8_t		key[32];
	unsigned long wrong = 0;

	is_status(keystore_parse_master_key(text, 64, key), CORE_OK, "64 digits are a master key");
	for (int i = 0; i < 32; i++)
		wrong += key[i] != i;
	is_count(wrong, 0, "its bytes are right");
	is_status(keystore_parse_master_key(text, 65, key), CORE_OK, "with a newline too");
	is_status(keystore_parse_master_key(text, 66, key), CORE_E_FORMAT, "with two newlines it is none");
	for (size_t len = 0; len < 64; len++)
		wrong += keystore_parse_master_key(text, len, key) != CORE_E_FORMAT;
	for (size_t i = 0; i < 64; i++)
	{
		char		was = text[i];

		for (const char *bad = "g -\n:@`\x80"; *bad != '\0'; bad++)
		{
			text[i] = *bad;
			memset(key, 0xee, sizeof(key));
			wrong += keystore_parse_master_key(text, 64, key) != CORE_E_FORMAT || key[0] != 0;
		}
		text[i] = '\0';
		wrong += keystore_parse_master_key(text, 64, key) != CORE_E_FORMAT;
		text[i] = was;
	}
	is_count(wrong, 0, "anything else is none, and leaves nothing behind");
	text[64] = ' ';
	is_status(keystore_parse_master_key(text, 65, key), CORE_E_FORMAT, "a space behind it is refused");
}

int
main(void)
{
	must(secmem_init());
	test_add_and_find();
	test_journal_is_added_once();
	test_round_trip(0, 0);
	test_round_trip(3, 2);
	test_round_trip(MANY - 1, 33);
	test_damage();
	test_wrong_key();
	test_other_cluster();
	test_order();
	test_limits();
	test_master_key();
	return tap_done();
}
