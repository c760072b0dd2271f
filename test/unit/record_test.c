/*
 * record_test.c
 *	  The sealed record's header, nonce and associated data.
 */
#include "chain/record.h"
#include "tap.h"

static record_header
sample_header(uint8_t kind)
{
	record_header header = {0};

	header.version = RECORD_VERSION;
	header.kind = kind;
	header.attributes = RECORD_HAS_NULLS | 12;
	header.id = (record_id) {UINT64_C(0x0102030405060708), 0x090a0b0c};
	header.schema_version = 3;
	header.generation = 4;
	header.key_id = UINT64_C(0x1112131415161718);
	if (kind != RECORD_INSERT)
	{
		header.attributes |= RECORD_SUPERSEDES;
		header.supersedes = (record_id) {5, 6};
	}
	return header;
}

static void
test_layout(void)
{
	record_header header = sample_header(RECORD_UPDATE);
	uint8_t		bytes[RECORD_HEADER_MAX];
	uint8_t		expected[RECORD_HEADER_MAX];
	uint8_t		nonce[RECORD_NONCE_SIZE];

	unhex("0102c00c090a0b0c010203040506070800000003000000041112131415161718"
		  "000000000000000500000006", expected);
	is_count(record_header_encode(&header, bytes), RECORD_HEADER_MAX, "a header that supersedes is longer");
	ok(memcmp(bytes, expected, sizeof(expected)) == 0, "the header has its documented layout");
	record_nonce(&header.id, nonce);
	unhex("0102030405060708090a0b0c", expected);
	ok(memcmp(nonce, expected, RECORD_NONCE_SIZE) == 0, "the nonce is serial, then sequence");
	is_count(record_sealed_size(header.attributes, 100), RECORD_HEADER_MAX + 100 + RECORD_TAG_SIZE,
			 "the sealed size counts header, text and tag");
}

static void
test_round_trip(void)
{
	for (uint8_t kind = RECORD_INSERT; kind <= RECORD_TOMBSTONE; kind++)
	{
		record_header header = sample_header(kind);
		record_header back;
		uint8_t		bytes[RECORD_HEADER_MAX];
		uint8_t		again[RECORD_HEADER_MAX];
		size_t		size = record_header_encode(&header, bytes);
		unsigned long accepted = 0;

		is_status(record_header_decode(bytes, size, &back), CORE_OK, "a header decodes");
		is_count(record_header_encode(&back, again), size, "its size comes back");
		ok(memcmp(bytes, again, size) == 0, "its bytes come back");
		ok(back.id.serial == header.id.serial && back.id.sequence == header.id.sequence &&
		   back.supersedes.serial == header.supersedes.serial &&
		   back.supersedes.sequence == header.supersedes.sequence, "its record ids come back");
		for (size_t len = 0; len < size; len++)
		{
			uint8_t    *copy = heap_copy(bytes, len);

			accepted += record_header_decode(copy, len, &back) != CORE_E_FORMAT;
			free(copy);
		}
		is_count(accepted, 0, "cut short anywhere it is refused");
	}
}

static void
test_refused(void)
{
	record_header header;
	record_header back;
	uint8_t		bytes[RECORD_HEADER_MAX];

#define REFUSED(from, change, expected, what) \
	do { \
		header = sample_header(from); \
		change; \
		record_header_encode(&header, bytes); \
		is_status(record_header_decode(bytes, sizeof(bytes), &back), expected, what); \
	} while (0)

	REFUSED(RECORD_INSERT, header.version = 2, CORE_E_VERSION, "a later version is refused as such");
	REFUSED(RECORD_INSERT, header.kind = 0, CORE_E_FORMAT, "kind 0 is refused");
	REFUSED(RECORD_UPDATE, header.kind = 4, CORE_E_FORMAT, "an unknown kind is refused");
	REFUSED(RECORD_INSERT, header.attributes |= RECORD_SAME_KEY, CORE_E_FORMAT, "a first version cannot keep a key");
	REFUSED(RECORD_TOMBSTONE, header.attributes |= RECORD_SAME_KEY, CORE_E_FORMAT, "nor can a tombstone");
	REFUSED(RECORD_INSERT, header.id.serial = 0, CORE_E_FORMAT, "serial 0 is refused");
	REFUSED(RECORD_UPDATE, header.supersedes.serial = 0, CORE_E_FORMAT, "superseding nothing is refused");
	REFUSED(RECORD_INSERT, header.kind = RECORD_TOMBSTONE, CORE_E_FORMAT, "a tombstone supersedes");
	REFUSED(RECORD_UPDATE, header.kind = RECORD_INSERT, CORE_E_FORMAT, "an insert supersedes nothing");

	header = sample_header(RECORD_INSERT);
	record_header_encode(&header, bytes);
	bytes[2] |= 0x08;
	is_status(record_header_decode(bytes, sizeof(bytes), &back), CORE_E_FORMAT,
			  "an attribute flag that is not known is refused");
}

/* Whatever goes into the associated data changes it. */
static void
test_aad(void)
{
	record_header header = sample_header(RECORD_INSERT);
	uint8_t		bytes[RECORD_HEADER_MAX];
	uint8_t		ledger[LEDGER_ID_SIZE] = {1};
	uint8_t		other_ledger[LEDGER_ID_SIZE] = {2};
	hash256		digest = {{3}};
	hash256		other_digest = {{4}};
	uint8_t		aad[RECORD_AAD_MAX];
	uint8_t		other[RECORD_AAD_MAX];
	size_t		size = record_header_encode(&header, bytes);
	size_t		len = record_aad(bytes, size, 100, ledger, &digest, 5, aad);

	is_count(len, size + 4 + LEDGER_ID_SIZE + HASH_SIZE + 8, "the associated data has its documented length");
	ok(memcmp(aad, bytes, size) == 0, "it begins with the header");
	record_aad(bytes, size, 101, ledger, &digest, 5, other);
	ok(memcmp(aad, other, len) != 0, "the plaintext's length is in it");
	record_aad(bytes, size, 100, other_ledger, &digest, 5, other);
	ok(memcmp(aad, other, len) != 0, "the table's ledger id is in it");
	record_aad(bytes, size, 100, ledger, &other_digest, 5, other);
	ok(memcmp(aad, other, len) != 0, "the schema's digest is in it");
	record_aad(bytes, size, 100, ledger, &digest, 6, other);
	ok(memcmp(aad, other, len) != 0, "the generation's id is in it");

	header = sample_header(RECORD_UPDATE);
	size = record_header_encode(&header, bytes);
	is_count(record_aad(bytes, size, 100, ledger, &digest, 5, aad), RECORD_AAD_MAX,
			 "the longest associated data fits exactly");
}

int
main(void)
{
	test_layout();
	test_round_trip();
	test_refused();
	test_aad();
	return tap_done();
}
