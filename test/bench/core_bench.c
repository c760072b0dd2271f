/*
 * core_bench.c
 *	  What the core itself costs for one record of 100 bytes: the limit of what
 *	  the server around it can reach.
 *
 * Prints one line a figure, in nanoseconds, the median of several batches:
 *	  seal_ns	header, nonce, associated data and sealing
 *	  open_ns	header, nonce, associated data and opening
 *	  leaf_ns	the leaf hash of the sealed record
 *	  fold_ns	appending a leaf to the Merkle tree
 *
 * With a number, only leaf_ns, of a record of that many bytes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "chain/merkle.h"
#include "chain/record.h"
#include "crypto/aead.h"

#define PLAIN_SIZE 100
#define BATCHES 9

static aead_context *cipher;
static uint8_t plain[PLAIN_SIZE];
static uint8_t sealed[1 << 20];
static size_t hashed_size = RECORD_HEADER_SIZE + PLAIN_SIZE + RECORD_TAG_SIZE;
static uint32_t batch = 100000;
static const uint8_t ledger[LEDGER_ID_SIZE] = {1};
static const hash256 digest = {{2}};
static hash256 leaf;
static merkle_state tree;

static void
must(core_status status)
{
	if (status != CORE_OK)
	{
		fprintf(stderr, "core_bench: status %d\n", (int) status);
		exit(1);
	}
}

static void
seal(uint32_t sequence)
{
	record_header header = {RECORD_VERSION, RECORD_INSERT, 8, {1, sequence}, 1, 1, 1, {0, 0}};
	uint8_t		nonce[RECORD_NONCE_SIZE];
	uint8_t		aad[RECORD_AAD_MAX];
	size_t		size = record_header_encode(&header, sealed);
	size_t		aad_len = record_aad(sealed, size, PLAIN_SIZE, ledger, &digest, 3, aad);

	record_nonce(&header.id, nonce);
	must(aead_seal(cipher, nonce, aad, aad_len, plain, PLAIN_SIZE,
				   sealed + size, sealed + size + PLAIN_SIZE));
}

/* Open the record that was sealed last. */
static void
open_sealed(uint32_t unused)
{
	record_header header;
	uint8_t		nonce[RECORD_NONCE_SIZE];
	uint8_t		aad[RECORD_AAD_MAX];
	size_t		size;
	size_t		aad_len;

	(void) unused;
	must(record_header_decode(sealed, sizeof(sealed), &header));
	size = record_header_size(header.attributes);
	aad_len = record_aad(sealed, size, PLAIN_SIZE, ledger, &digest, 3, aad);
	record_nonce(&header.id, nonce);
	must(aead_open(cipher, nonce, aad, aad_len, sealed + size, PLAIN_SIZE,
				   sealed + size + PLAIN_SIZE, plain));
}

static void
hash(uint32_t unused)
{
	(void) unused;
	must(hash_leaf(sealed, hashed_size, &leaf));
}

static void
fold(uint32_t unused)
{
	(void) unused;
	must(merkle_append(&tree, &leaf));
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

static void
measure(const char *name, void (*step) (uint32_t))
{
	double		batch_ns[BATCHES];

	for (int b = 0; b < BATCHES; b++)
	{
		struct timespec start;
		struct timespec end;

		clock_gettime(CLOCK_MONOTONIC, &start);
		for (uint32_t i = 0; i < batch; i++)
			step(i);
		clock_gettime(CLOCK_MONOTONIC, &end);
		batch_ns[b] = ((double) (end.tv_sec - start.tv_sec) * 1e9 +
					   (double) (end.tv_nsec - start.tv_nsec)) / batch;
	}
	qsort(batch_ns, BATCHES, sizeof(batch_ns[0]), compare);
	printf("%s %.0f\n", name, batch_ns[BATCHES / 2]);
}

/* The leaf hash alone, of so many bytes. */
static int
measure_leaf(const char *size)
{
	long		bytes = strtol(size, NULL, 10);

	if (bytes < 1 || bytes > (long) sizeof(sealed))
		return 1;
	hashed_size = (size_t) bytes;
	/* long records: as many bytes as batches of short ones have */
	if (bytes > 200)
		batch = (uint32_t) (20000000 / bytes + 1);
	measure("leaf_ns", hash);
	return 0;
}

int
main(int argc, char **argv)
{
	static const uint8_t key[AEAD_KEY_SIZE] = {1};

	if (argc > 1)
		return measure_leaf(argv[1]);
	must(aead_new(key, &cipher));
	merkle_init(&tree);
	measure("seal_ns", seal);
	measure("open_ns", open_sealed);
	measure("leaf_ns", hash);
	measure("fold_ns", fold);
	aead_free(cipher);
	return 0;
}
