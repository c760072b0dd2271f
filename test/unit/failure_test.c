/*
 * failure_test.c
 *	  The crypto library or memory fails: each call of a library function is
 *	  made to fail in turn.  The core has to answer CORE_E_CRYPTO, hand out
 *	  nothing, leak nothing (the address sanitizer looks), leave OpenSSL's
 *	  error queue empty, and work again afterwards.
 *
 * The linker puts the functions below in place of the library's (--wrap).
 */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>

#include "chain/merkle.h"
#include "crypto/aead.h"
#include "crypto/dispatch.h"
#include "crypto/kdf.h"
#include "crypto/keystore.h"
#include "tap.h"

#define CALLS_MAX 200

static int	calls_until_failure;	/* 0: none fails */
static bool failed;

static bool
fails_now(void)
{
	if (calls_until_failure == 0 || --calls_until_failure > 0)
		return false;
	failed = true;
	return true;
}

static bool
openssl_fails_now(void)
{
	if (!fails_now())
		return false;
	ERR_raise(ERR_LIB_EVP, ERR_R_INTERNAL_ERROR);
	return true;
}

#define WRAP(type, name, failure, parameters, arguments) \
	WRAP_AS(openssl_fails_now, type, name, failure, parameters, arguments)
#define WRAP_AS(fails, type, name, failure, parameters, arguments) \
	extern type __real_##name parameters; \
	extern type __wrap_##name parameters; \
	type \
	__wrap_##name parameters \
	{ \
		return fails() ? failure : __real_##name arguments; \
	}

WRAP(EVP_KDF_CTX *, EVP_KDF_CTX_new, NULL, (EVP_KDF *k), (k))
WRAP(int, EVP_KDF_derive, 0, (EVP_KDF_CTX *c, unsigned char *o, size_t n, const OSSL_PARAM *p), (c, o, n, p))
WRAP(EVP_MAC_CTX *, EVP_MAC_CTX_new, NULL, (EVP_MAC *m), (m))
WRAP(int, EVP_MAC_init, 0, (EVP_MAC_CTX *c, const unsigned char *k, size_t n, const OSSL_PARAM *p), (c, k, n, p))
WRAP(int, EVP_MAC_update, 0, (EVP_MAC_CTX *c, const unsigned char *d, size_t n), (c, d, n))
WRAP(int, EVP_MAC_final, 0, (EVP_MAC_CTX *c, unsigned char *o, size_t *n, size_t s), (c, o, n, s))
WRAP_AS(fails_now, void *, sodium_malloc, NULL, (size_t n), (n))

/* The provider's functions, which the core calls as they are: a table of ones that may fail stands for its own. */
#define PROVIDER(type, function, failure, parameters, arguments) \
	static OSSL_FUNC_##function##_fn *real_##function; \
	static type \
	failing_##function parameters \
	{ \
		return openssl_fails_now() ? failure : real_##function arguments; \
	}
#define PROVIDER_INIT(function) \
	PROVIDER(int, function, 0, (void *c, const unsigned char *k, size_t kn, const unsigned char *iv, \
								size_t n, const OSSL_PARAM *p), (c, k, kn, iv, n, p))

PROVIDER(void *, digest_newctx, NULL, (void *p), (p))
PROVIDER(int, digest_init, 0, (void *c, const OSSL_PARAM *p), (c, p))
PROVIDER(int, digest_update, 0, (void *c, const unsigned char *d, size_t n), (c, d, n))
PROVIDER(int, digest_final, 0, (void *c, unsigned char *o, size_t *n, size_t s), (c, o, n, s))
PROVIDER(void *, cipher_newctx, NULL, (void *p), (p))
PROVIDER_INIT(cipher_encrypt_init)
PROVIDER_INIT(cipher_decrypt_init)
PROVIDER(int, cipher_update, 0, (void *c, unsigned char *o, size_t *n, size_t s, const unsigned char *d, size_t l), (c, o, n, s, d, l))
PROVIDER(int, cipher_get_ctx_params, 0, (void *c, OSSL_PARAM *p), (c, p))

static OSSL_DISPATCH table[16];
static int	table_len;

#define STAND_FOR(id, function) \
	do { \
		real_##function = (OSSL_FUNC_##function##_fn *) dispatch_get(real, id); \
		table[table_len++] = (OSSL_DISPATCH) {id, (dispatch_function) failing_##function}; \
	} while (0)
#define STAY(id) (table[table_len++] = (OSSL_DISPATCH) {id, dispatch_get(real, id)})

extern const OSSL_DISPATCH *__real_dispatch_table(const OSSL_PROVIDER *provider, int operation, const char *name);
extern const OSSL_DISPATCH *__wrap_dispatch_table(const OSSL_PROVIDER *provider, int operation, const char *name);

/* The core keeps the functions and not the table. */
const OSSL_DISPATCH *
__wrap_dispatch_table(const OSSL_PROVIDER *provider, int operation, const char *name)
{
	const OSSL_DISPATCH *real = __real_dispatch_table(provider, operation, name);

	if (openssl_fails_now())
		return NULL;
	table_len = 0;
	if (operation == OSSL_OP_DIGEST)
	{
		STAND_FOR(OSSL_FUNC_DIGEST_NEWCTX, digest_newctx);
		STAND_FOR(OSSL_FUNC_DIGEST_INIT, digest_init);
		STAND_FOR(OSSL_FUNC_DIGEST_UPDATE, digest_update);
		STAND_FOR(OSSL_FUNC_DIGEST_FINAL, digest_final);
	}
	else
	{
		STAND_FOR(OSSL_FUNC_CIPHER_NEWCTX, cipher_newctx);
		STAND_FOR(OSSL_FUNC_CIPHER_ENCRYPT_INIT, cipher_encrypt_init);
		STAND_FOR(OSSL_FUNC_CIPHER_DECRYPT_INIT, cipher_decrypt_init);
		STAND_FOR(OSSL_FUNC_CIPHER_UPDATE, cipher_update);
		STAND_FOR(OSSL_FUNC_CIPHER_GET_CTX_PARAMS, cipher_get_ctx_params);
		/* a final call that fails says that the tag does not hold */
		STAY(OSSL_FUNC_CIPHER_FINAL);
		STAY(OSSL_FUNC_CIPHER_FREECTX);
	}
	table[table_len] = (OSSL_DISPATCH) {0, NULL};
	return table;
}

static const uint8_t key[32] = {9};
static uint8_t out[64];
static const uint8_t zeros[64];

static core_status
do_hash(void)
{
	hash256		leaf;

	return hash_leaf("x", 1, &leaf);
}

static core_status
do_merkle(void)
{
	merkle_state tree;
	hash256		hash;
	core_status status = hash_leaf("x", 1, &hash);

	merkle_init(&tree);
	for (int i = 0; i < 7 && status == CORE_OK; i++)
		status = merkle_append(&tree, &hash);
	return status == CORE_OK ? merkle_root(&tree, &hash) : status;
}

static core_status
do_derive(void)
{
	return kdf_derive(key, key, 16, "test", out, sizeof(out));
}

static core_status
do_hmac(void)
{
	return kdf_hmac(key, "x", 1, out);
}

static core_status
do_aead(void)
{
	uint8_t		tag[AEAD_TAG_SIZE];
	uint8_t		plain[64];
	aead_context *context;
	core_status status = aead_new(key, &context);

	if (status != CORE_OK)
		return status;
	memset(plain, 'p', sizeof(plain));
	status = aead_seal(context, key, key, 4, plain, sizeof(plain), out, tag);
	if (status == CORE_OK)
		status = aead_open(context, key, key, 4, out, sizeof(out), tag, out);
	aead_free(context);
	return status;
}

static core_status
do_keystore(void)
{
	keystore   *ks;
	keystore   *back = NULL;
	uint8_t    *file = NULL;
	size_t		len;
	uint64_t	id;
	core_status status = keystore_new(1, &ks);

	if (status != CORE_OK)
		return ks == NULL ? status : CORE_OK;
	for (int i = 0; i < 20 && status == CORE_OK; i++)
		status = keystore_add_key(ks, key, key, &id);
	if (status == CORE_OK)
		status = keystore_add_journal(ks, key);
	if (status == CORE_OK)
		status = keystore_serialize(ks, key, &file, &len);
	if (status == CORE_OK)
		status = keystore_parse(file, len, key, &back);
	if (status == CORE_OK && back->key_count != 20)
		status = CORE_E_FORMAT;
	free(file);
	keystore_free(back);
	keystore_free(ks);
	return status;
}

/* Let the first, second, third, ... call fail until none is left to fail. */
static void
test_failures(const char *name, core_status (*operation) (void), bool writes_out)
{
	unsigned long believed = 0;
	unsigned long released = 0;
	unsigned long queued = 0;
	int			nth = 0;

	/* the first run makes what is kept */
	must(operation());
	do
	{
		core_status status;

		calls_until_failure = ++nth;
		failed = false;
		memset(out, 0, sizeof(out));
		status = operation();
		calls_until_failure = 0;
		if (!failed)
			break;
		believed += status != CORE_E_CRYPTO;
		released += writes_out && memcmp(out, zeros, sizeof(out)) != 0;
		queued += ERR_peek_error() != 0;
		must(operation());
	} while (nth < CALLS_MAX);
	ok(nth > 1 && nth < CALLS_MAX, "%s: %d calls were made to fail", name, nth - 1);
	ok(believed == 0, "%s: every failure is told", name);
	ok(released == 0, "%s: nothing is handed out", name);
	ok(queued == 0, "%s: the error queue is left empty", name);
}

int
main(void)
{
	/* nothing is kept yet: the very first hash fails, the next one works */
	calls_until_failure = 1;
	is_status(do_hash(), CORE_E_CRYPTO, "the provider offers no digest");
	calls_until_failure = 2;
	is_status(do_hash(), CORE_E_CRYPTO, "the first context cannot be made");
	calls_until_failure = 1;
	is_status(do_aead(), CORE_E_CRYPTO, "the provider offers no cipher");
	calls_until_failure = 0;
	is_status(do_hash(), CORE_OK, "it is made at the next hash");

	test_failures("hash", do_hash, false);
	test_failures("merkle", do_merkle, false);
	test_failures("derive", do_derive, true);
	test_failures("hmac", do_hmac, true);
	test_failures("aead", do_aead, true);
	test_failures("keystore", do_keystore, false);
	return tap_done();
}
