/*
 * hash.c
 *	  SHA-256 through OpenSSL's EVP.
 *
 * The algorithm is fetched once a process and one digest context is used for
 * every hash: fetching and allocating would cost several times a short hash.
 * The core is for one thread, so nothing guards them.
 */
#include "hash.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

_Static_assert(sizeof(hash256) == HASH_SIZE, "a hash is its bytes, nothing else");

/* Shorter messages are gathered and hashed in one call. */
#define GATHER_MAX 256

static EVP_MD_CTX *context;
static EVP_MD *sha256;

/* Fetch the algorithm and make the context, whichever is missing. */
static int
hash_setup(void)
{
	if (sha256 == NULL)
		sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (sha256 != NULL && context == NULL)
		context = EVP_MD_CTX_new();
	return context != NULL;
}

/* Begin a hash with the kept context. */
static core_status
hash_begin(void)
{
	if ((context != NULL || hash_setup()) && EVP_DigestInit_ex2(context, sha256, NULL) == 1)
		return CORE_OK;
	ERR_clear_error();
	return CORE_E_CRYPTO;
}

static core_status
hash_end(int fed, hash256 *out)
{
	if (fed && EVP_DigestFinal_ex(context, out->bytes, NULL) == 1)
		return CORE_OK;
	ERR_clear_error();
	return CORE_E_CRYPTO;
}

core_status
hash_sha256(const void *data, size_t len, hash256 *out)
{
	core_status status = hash_begin();

	if (status != CORE_OK)
		return status;
	return hash_end(len == 0 || EVP_DigestUpdate(context, data, len) == 1, out);
}

core_status
hash_parts(uint8_t prefix, const hash_part *parts, int count, hash256 *out)
{
	uint8_t		gather[GATHER_MAX];
	size_t		gathered = 1;
	int			fed = 1;
	core_status status = hash_begin();

	if (status != CORE_OK)
		return status;

	gather[0] = prefix;
	for (int i = 0; i < count; i++)
	{
		if (parts[i].len == 0)
			continue;
		if (parts[i].len <= GATHER_MAX - gathered)
		{
			memcpy(gather + gathered, parts[i].data, parts[i].len);
			gathered += parts[i].len;
			continue;
		}
		fed = fed && EVP_DigestUpdate(context, gather, gathered) == 1;
		fed = fed && EVP_DigestUpdate(context, parts[i].data, parts[i].len) == 1;
		gathered = 0;
	}
	if (gathered > 0)
		fed = fed && EVP_DigestUpdate(context, gather, gathered) == 1;
	return hash_end(fed, out);
}

core_status
hash_leaf(const void *data, size_t len, hash256 *out)
{
	hash_part	part = {data, len};

	return hash_parts(HASH_TYPE_LEAF, &part, 1, out);
}

core_status
hash_node(const hash256 *left, const hash256 *right, hash256 *out)
{
	uint8_t		message[1 + 2 * HASH_SIZE];

	message[0] = HASH_TYPE_NODE;
	memcpy(message + 1, left->bytes, HASH_SIZE);
	memcpy(message + 1 + HASH_SIZE, right->bytes, HASH_SIZE);
	return hash_sha256(message, sizeof(message), out);
}

int
hash_equal(const hash256 *a, const hash256 *b)
{
	return CRYPTO_memcmp(a->bytes, b->bytes, HASH_SIZE) == 0;
}
