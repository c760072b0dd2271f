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

WRAP(EVP_MD_CTX *, EVP_MD_CTX_new, NULL, (void), ())
WRAP(int, EVP_DigestInit_ex2, 0, (EVP_MD_CTX *c, const EVP_MD *t, const OSSL_PARAM *p), (c, t, p))
WRAP(int, EVP_DigestUpdate, 0, (EVP_MD_CTX *c, const void *d, size_t n), (c, d, n))
WRAP(int, EVP_DigestFinal_ex, 0, (EVP_MD_CTX *c, unsigned char *o, unsigned int *n), (c, o, n))
WRAP(EVP_KDF_CTX *, EVP_KDF_CTX_new, NULL, (EVP_KDF *k), (k))
WRAP(int, EVP_KDF_derive, 0, (EVP_KDF_CTX *c, unsigned char *o, size_t n, const OSSL_PARAM *p), (c, o, n, p))
WRAP(EVP_MAC_CTX *, EVP_MAC_CTX_new, NULL, (EVP_MAC *m), (m))
WRAP(int, EVP_MAC_init, 0, (EVP_MAC_CTX *c, const unsigned char *k, size_t n, const OSSL_PARAM *p), (c, k, n, p))
WRAP(int, EVP_MAC_update, 0, (EVP_MAC_CTX *c, const unsigned char *d, size_t n), (c, d, n))
WRAP(int, EVP_MAC_final, 0, (EVP_MAC_CTX *c, unsigned char *o, size_t *n, size_t s), (c, o, n, s))
WRAP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_new, NULL, (void), ())
WRAP(int, EVP_CipherInit_ex2, 0, (EVP_CIPHER_CTX *c, const EVP_CIPHER *t, const unsigned char *k,
								  const unsigned char *iv, int enc, const OSSL_PARAM *p), (c, t, k, iv, enc, p))
WRAP(int, EVP_CipherUpdate, 0, (EVP_CIPHER_CTX *c, unsigned char *o, int *n, const unsigned char *i, int l), (c, o, n, i, l))
WRAP(int, EVP_CIPHER_CTX_ctrl, 0, (EVP_CIPHER_CTX *c, int t, int a, void *p), (c, t, a, p))
WRAP_AS(fails_now, void *, sodium_malloc, NULL, (size_t n), (n))

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
	is_status(do_hash(), CORE_E_CRYPTO, "the first context cannot be made");
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
