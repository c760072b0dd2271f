/*
 * hash.c
 *	  SHA-256 of OpenSSL's provider.
 *
 * The algorithm is fetched once a process and one digest context is used for
 * every hash: fetching and allocating would cost several times a short hash.
 * The provider's functions are called as they are (crypto/dispatch.h).  The
 * core is for one thread, so nothing guards them.
 */
#include "hash.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "../crypto/dispatch.h"

_Static_assert(sizeof(hash256) == HASH_SIZE, "a hash is its bytes, nothing else");

/* Shorter messages are gathered and hashed in one call. */
#define GATHER_MAX 256

/* Fewer messages than this fill too few lanes of a library that hashes many. */
#define MANY_MIN 4

/* Nodes that are hashed together. */
#define NODES_BATCH 64

#define DIGEST_NAME "SHA256"

/* What the provider offers, and the context; NULL until all of it is there. */
static struct
{
	void	   *context;
	OSSL_FUNC_digest_init_fn *init;
	OSSL_FUNC_digest_update_fn *update;
	OSSL_FUNC_digest_final_fn *final;
}			sha256;

/* Fetch the algorithm, which is kept, and make the context. */
static int
hash_setup(void)
{
	static EVP_MD *digest;
	OSSL_FUNC_digest_newctx_fn *new;
	const OSSL_PROVIDER *provider;
	const OSSL_DISPATCH *table;

	if (digest == NULL)
		digest = EVP_MD_fetch(NULL, DIGEST_NAME, NULL);
	if (digest == NULL)
		return 0;
	provider = EVP_MD_get0_provider(digest);
	table = dispatch_table(provider, OSSL_OP_DIGEST, DIGEST_NAME);
	new = (OSSL_FUNC_digest_newctx_fn *) dispatch_get(table, OSSL_FUNC_DIGEST_NEWCTX);
	sha256.init = (OSSL_FUNC_digest_init_fn *) dispatch_get(table, OSSL_FUNC_DIGEST_INIT);
	sha256.update = (OSSL_FUNC_digest_update_fn *) dispatch_get(table, OSSL_FUNC_DIGEST_UPDATE);
	sha256.final = (OSSL_FUNC_digest_final_fn *) dispatch_get(table, OSSL_FUNC_DIGEST_FINAL);
	if (new != NULL && sha256.init != NULL && sha256.update != NULL && sha256.final != NULL)
		sha256.context = new(OSSL_PROVIDER_get0_provider_ctx(provider));
	return sha256.context != NULL;
}

/* Begin a hash with the kept context. */
static core_status
hash_begin(void)
{
	if ((sha256.context != NULL || hash_setup()) && sha256.init(sha256.context, NULL) == 1)
		return CORE_OK;
	ERR_clear_error();
	return CORE_E_CRYPTO;
}

static int
hash_feed(const void *data, size_t len)
{
	return sha256.update(sha256.context, data, len) == 1;
}

static core_status
hash_end(int fed, hash256 *out)
{
	size_t		written = 0;

	if (fed && sha256.final(sha256.context, out->bytes, &written, HASH_SIZE) == 1)
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
	return hash_end(len == 0 || hash_feed(data, len), out);
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
		fed = fed && hash_feed(gather, gathered);
		fed = fed && hash_feed(parts[i].data, parts[i].len);
		gathered = 0;
	}
	if (gathered > 0)
		fed = fed && hash_feed(gather, gathered);
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

static hash_many_function hash_many_other;

void
hash_many_use(hash_many_function function)
{
	hash_many_other = function;
}

core_status
hash_many(const hash_part *messages, size_t count, hash256 *out)
{
	core_status status = CORE_OK;

	if (hash_many_other != NULL && count >= MANY_MIN)
		return hash_many_other(messages, count, out);
	for (size_t i = 0; i < count && status == CORE_OK; i++)
		status = hash_sha256(messages[i].data, messages[i].len, &out[i]);
	return status;
}

core_status
hash_nodes(const hash256 *pairs, size_t count, hash256 *out)
{
	uint8_t		texts[NODES_BATCH][1 + 2 * HASH_SIZE];
	hash_part	messages[NODES_BATCH];
	core_status status = CORE_OK;

	while (count > 0 && status == CORE_OK)
	{
		size_t		n = count < NODES_BATCH ? count : NODES_BATCH;

		for (size_t i = 0; i < n; i++)
		{
			texts[i][0] = HASH_TYPE_NODE;
			memcpy(texts[i] + 1, &pairs[2 * i], 2 * HASH_SIZE);
			messages[i].data = texts[i];
			messages[i].len = sizeof(texts[i]);
		}
		status = hash_many(messages, n, out);
		pairs += 2 * n;
		out += n;
		count -= n;
	}
	return status;
}

int
hash_equal(const hash256 *a, const hash256 *b)
{
	return CRYPTO_memcmp(a->bytes, b->bytes, HASH_SIZE) == 0;
}
