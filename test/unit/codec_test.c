/*
 * codec_test.c
 *	  The bounded writer and reader: round trips, bounds, sticky failure.
 */
#include "chain/codec.h"
#include "tap.h"

static void
put_everything(codec_writer *w)
{
	codec_put_u8(w, 0x01);
	codec_put_u16(w, 0x0203);
	codec_put_u32(w, 0x04050607);
	codec_put_u64(w, UINT64_C(0x08090a0b0c0d0e0f));
	codec_put_bytes(w, "abc", 3);
	codec_put_blob(w, "de", 2);
	codec_put_blob(w, NULL, 0);
	codec_put_string(w, "");
	codec_put_string(w, NULL);
}

#define EVERYTHING_SIZE (1 + 2 + 4 + 8 + 3 + 6 + 4 + 4 + 4)

static void
test_round_trip(void)
{
	static const uint8_t expected[] = {
		1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 'a', 'b', 'c',
		0, 0, 0, 2, 'd', 'e', 255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255
	};
	uint8_t		bytes[EVERYTHING_SIZE];
	char		abc[3];
	codec_writer w;
	codec_reader r;
	size_t		len;
	const uint8_t *blob;

	codec_writer_init(&w, bytes, sizeof(bytes));
	put_everything(&w);
	ok(!w.failed && w.used == sizeof(bytes), "everything fits exactly");
	ok(memcmp(bytes, expected, sizeof(expected)) == 0, "the encoding is big-endian");

	codec_reader_init(&r, bytes, sizeof(bytes));
	ok(codec_get_u8(&r) == 0x01, "u8 comes back");
	ok(codec_get_u16(&r) == 0x0203, "u16 comes back");
	ok(codec_get_u32(&r) == 0x04050607, "u32 comes back");
	ok(codec_get_u64(&r) == UINT64_C(0x08090a0b0c0d0e0f), "u64 comes back");
	codec_get_bytes(&r, abc, 3);
	ok(memcmp(abc, "abc", 3) == 0, "bytes come back");
	blob = codec_get_blob(&r, &len);
	ok(blob != NULL && len == 2 && memcmp(blob, "de", 2) == 0, "a blob comes back");
	ok(codec_get_blob(&r, &len) == NULL && len == 0, "a NULL blob comes back as NULL");
	blob = codec_get_blob(&r, &len);
	ok(blob != NULL && len == 0, "an empty string is not NULL");
	ok(!codec_reader_done(&r), "a reader with bytes left is not done");
	ok(codec_get_blob(&r, &len) == NULL, "a NULL string comes back as NULL");
	ok(codec_reader_done(&r), "a reader at the end is done");
}

static void
test_writer_bounds(void)
{
	codec_writer w;
	unsigned long wrong = 0;

	codec_writer_init(&w, NULL, 0);
	put_everything(&w);
	ok(!w.failed && w.used == EVERYTHING_SIZE, "a writer without a buffer counts");

	for (size_t capacity = 0; capacity < EVERYTHING_SIZE; capacity++)
	{
		uint8_t    *bytes = malloc(capacity + 1);

		codec_writer_init(&w, bytes, capacity);
		put_everything(&w);
		wrong += !w.failed || w.used > capacity;
		free(bytes);
	}
	is_count(wrong, 0, "a writer that is too short fails and stays inside");
}

static void
test_failure_is_sticky(void)
{
	static const uint8_t bytes[3] = {1, 2, 3};
	uint8_t		buffer[4];
	uint8_t		out[2] = {9, 9};
	codec_writer w;
	codec_reader r;

	codec_writer_init(&w, buffer, sizeof(buffer));
	codec_put_u64(&w, 1);
	codec_put_u8(&w, 1);
	ok(w.failed && w.used == 0, "a writer that failed writes no more");

	codec_reader_init(&r, bytes, sizeof(bytes));
	ok(codec_get_u32(&r) == 0 && r.failed, "reading past the end gives zero and fails");
	ok(codec_get_u8(&r) == 0, "a reader that failed gives zeros");
	codec_get_bytes(&r, out, sizeof(out));
	ok(out[0] == 0 && out[1] == 0, "a reader that failed clears what it is to fill");
	ok(!codec_reader_done(&r), "a reader that failed is not done");
}

static void
test_blob_longer_than_input(void)
{
	static const uint8_t lengths[][5] = {
		{0, 0, 0, 2, 'x'}, {0x7f, 255, 255, 255, 'x'}, {255, 255, 255, 254, 'x'}
	};
	unsigned long wrong = 0;
	size_t		len = 1;

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
	{
		uint8_t    *copy = heap_copy(lengths[i], 5);
		codec_reader r;

		codec_reader_init(&r, copy, 5);
		wrong += codec_get_blob(&r, &len) != NULL || len != 0 || !r.failed;
		free(copy);
	}
	is_count(wrong, 0, "a blob longer than the input fails");
}

int
main(void)
{
	test_round_trip();
	test_writer_bounds();
	test_failure_is_sticky();
	test_blob_longer_than_input();
	return tap_done();
}
