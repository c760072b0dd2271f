/*
 * hash_test.c
 *	  SHA-256 with published vectors, prefixes, and messages in pieces.
 */
#include "chain/hash.h"
#include "crypto/aead.h"
#include "tap.h"

#define MESSAGE_MAX 700
#define MANY_MAX 70

static bool
is_hex(const hash256 *got, const char *hex)
{
	hash256		expected;

	unhex(hex, expected.bytes);
	return memcmp(got->bytes, expected.bytes, HASH_SIZE) == 0;
}

/* FIPS 180-4 examples. */
static void
test_known_hashes(void)
{
	hash256		hash;

	must(hash_sha256(NULL, 0, &hash));
	ok(is_hex(&hash, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
	   "SHA-256 of nothing");
	must(hash_sha256("abc", 3, &hash));
	ok(is_hex(&hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
	   "SHA-256 of abc");
	must(hash_leaf("", 0, &hash));
	ok(is_hex(&hash, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
	   "the leaf hash of nothing");
	must(hash_leaf("L123456", 7, &hash));
	ok(is_hex(&hash, "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"),
	   "the leaf hash of L123456");
}

static void
test_node_is_prefixed(void)
{
	uint8_t		message[1 + 2 * HASH_SIZE];
	hash256		left;
	hash256		right;
	hash256		node;
	hash256		plain;

	memset(left.bytes, 0x11, HASH_SIZE);
	memset(right.bytes, 0x22, HASH_SIZE);
	message[0] = 0x01;
	memcpy(message + 1, left.bytes, HASH_SIZE);
	memcpy(message + 1 + HASH_SIZE, right.bytes, HASH_SIZE);
	must(hash_node(&left, &right, &node));
	must(hash_sha256(message, sizeof(message), &plain));
	ok(hash_equal(&node, &plain), "a node is hashed behind 0x01");
	must(hash_node(&left, &right, &left));
	ok(hash_equal(&node, &left), "a node's hash may overwrite its left child");
}

/* Every way to cut a message in three gives the hash of the whole. */
static void
test_parts_are_the_whole(void)
{
	static const size_t lens[] = {0, 1, 2, 100, 254, 255, 256, 257, 511, 512, MESSAGE_MAX - 1};
	uint8_t		message[MESSAGE_MAX];
	unsigned long wrong = 0;

	for (size_t i = 0; i < MESSAGE_MAX; i++)
		message[i] = (uint8_t) (i * 7);
	message[0] = 0x05;
	for (size_t n = 0; n < sizeof(lens) / sizeof(lens[0]); n++)
	{
		size_t		len = lens[n];
		hash256		whole;

		must(hash_sha256(message, 1 + len, &whole));
		for (size_t cut1 = 0; cut1 <= len; cut1 += 17)
		{
			for (size_t cut2 = cut1; cut2 <= len; cut2 += 23)
			{
				hash_part	parts[3] = {
					{message + 1, cut1},
					{message + 1 + cut1, cut2 - cut1},
					{message + 1 + cut2, len - cut2}
				};
				hash256		hash;

				must(hash_parts(0x05, parts, 3, &hash));
				wrong += !hash_equal(&hash, &whole);
			}
		}
	}
	is_count(wrong, 0, "parts hash as the whole message");
}

static void
test_equal(void)
{
	hash256		a;
	hash256		b;
	unsigned long wrong = 0;

	memset(a.bytes, 0x5a, HASH_SIZE);
	b = a;
	ok(hash_equal(&a, &b), "equal hashes are equal");
	for (int bit = 0; bit < HASH_SIZE * 8; bit++)
	{
		b.bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
		wrong += hash_equal(&a, &b) != 0;
		b.bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
	}
	is_count(wrong, 0, "hashes that differ in one bit are not equal");
}

/* Messages of all lengths and in all numbers, hashed together and one by one. */
static void
test_many(const char *how)
{
	static uint8_t text[2 * MESSAGE_MAX];
	hash_part	messages[MANY_MAX];
	hash256		together[MANY_MAX];
	unsigned long wrong = 0;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t) (i * 31 + i / 256);
	for (size_t len = 0; len < MESSAGE_MAX; len++)
	{
		size_t		count = len % MANY_MAX + 1;

		for (size_t i = 0; i < count; i++)
		{
			messages[i].data = text + i;
			messages[i].len = i % 3 == 0 ? len : (len * 7 + i * 13) % MESSAGE_MAX;
		}
		must(hash_many(messages, count, together));
		for (size_t i = 0; i < count; i++)
		{
			hash256		single;

			must(hash_sha256(messages[i].data, messages[i].len, &single));
			wrong += !hash_equal(&together[i], &single);
		}
	}
	is_count(wrong, 0, how);
}

/* Also where the nodes take the place of their children. */
static void
test_nodes(const char *how)
{
	hash256		pairs[2 * MANY_MAX];
	hash256		expected[MANY_MAX];
	unsigned long wrong = 0;

	for (size_t count = 0; count <= MANY_MAX; count++)
	{
		for (size_t i = 0; i < 2 * count; i++)
			must(hash_sha256(&i, sizeof(i), &pairs[i]));
		for (size_t i = 0; i < count; i++)
			must(hash_node(&pairs[2 * i], &pairs[2 * i + 1], &expected[i]));
		must(hash_nodes(pairs, count, pairs));
		for (size_t i = 0; i < count; i++)
			wrong += !hash_equal(&pairs[i], &expected[i]);
	}
	is_count(wrong, 0, how);
}

int
main(void)
{
	test_known_hashes();
	test_many("many hashes at once");
	test_nodes("many nodes at once");
#ifdef __x86_64__
	must(aead_use(AEAD_IPSEC_MB));
	test_many("many hashes at once, by ipsec-mb");
	test_nodes("many nodes at once, by ipsec-mb");
	must(aead_use(AEAD_OPENSSL));
#endif
	test_node_is_prefixed();
	test_parts_are_the_whole();
	test_equal();
	return tap_done();
}
