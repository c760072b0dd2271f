/*
 * kdf.c
 *	  HKDF-SHA256 and HMAC-SHA256, by OpenSSL.
 *
 * The algorithms are fetched once a process.  A context of HKDF, which holds
 * key material, lives for one call and is wiped by OpenSSL when freed.  That of
 * HMAC is kept, since looking its digest up costs more than an HMAC does, and
 * is keyed with zeros between the calls.
 */
#include "kdf.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "secmem.h"

#define HKDF_OUT_MAX (255 * HASH_SIZE)

static EVP_KDF *hkdf;
static EVP_MAC_CTX *hmac;		/* keyed with no_key */
static const uint8_t no_key[32];

/* One derivation in a context made for it. */
static int
hkdf_run(const OSSL_PARAM *params, uint8_t *out, size_t out_len)
{
	EVP_KDF_CTX *context;
	int			done;

	if (hkdf == NULL)
		hkdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);
	context = EVP_KDF_CTX_new(hkdf);
	if (context == NULL)
		return 0;
	done = EVP_KDF_derive(context, out, out_len, params);
	EVP_KDF_CTX_free(context);
	return done == 1;
}

core_status
kdf_hkdf(const uint8_t *key, size_t key_len, const uint8_t *salt, size_t salt_len,
		 const uint8_t *info, size_t info_len, uint8_t *out, size_t out_len)
{
	OSSL_PARAM	params[5];
	OSSL_PARAM *next = params;

	if (out_len == 0 || out_len > HKDF_OUT_MAX)
		return CORE_E_LIMIT;

	*next++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, "SHA256", 0);
	*next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *) key, key_len);
	*next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *) info, info_len);
	if (salt != NULL && salt_len > 0)
		*next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *) salt, salt_len);
	*next = OSSL_PARAM_construct_end();

	if (hkdf_run(params, out, out_len))
		return CORE_OK;
	ERR_clear_error();
	secmem_wipe(out, out_len);
	return CORE_E_CRYPTO;
}

core_status
kdf_derive(const uint8_t key[32], const uint8_t *salt, size_t salt_len,
		   const char *info, uint8_t *out, size_t out_len)
{
	return kdf_hkdf(key, 32, salt, salt_len, (const uint8_t *) info, strlen(info), out, out_len);
}

static void
hmac_drop(void)
{
	EVP_MAC_CTX_free(hmac);
	hmac = NULL;
}

/* Have the context; 0 when it cannot be made. */
static int
hmac_ready(void)
{
	OSSL_PARAM	params[2];
	EVP_MAC    *mac;

	if (hmac != NULL)
		return 1;
	mac = EVP_MAC_fetch(NULL, OSSL_MAC_NAME_HMAC, NULL);
	if (mac == NULL)
		return 0;
	hmac = EVP_MAC_CTX_new(mac);
	EVP_MAC_free(mac);
	params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0);
	params[1] = OSSL_PARAM_construct_end();
	if (hmac != NULL && EVP_MAC_init(hmac, no_key, sizeof(no_key), params) == 1)
		return 1;
	hmac_drop();
	return 0;
}

/* One HMAC; the context holds the key no longer than that. */
static int
hmac_run(const uint8_t key[32], const void *data, size_t len, uint8_t out[32])
{
	size_t		written = 0;
	int			done;

	if (!hmac_ready())
		return 0;
	done = EVP_MAC_init(hmac, key, 32, NULL) == 1 &&
		EVP_MAC_update(hmac, data, len) == 1 &&
		EVP_MAC_final(hmac, out, &written, 32) == 1 && written == 32;
	if (EVP_MAC_init(hmac, no_key, sizeof(no_key), NULL) == 1)
		return done;
	hmac_drop();
	return 0;
}

core_status
kdf_hmac(const uint8_t key[32], const void *data, size_t len, uint8_t out[32])
{
	if (hmac_run(key, data, len, out))
		return CORE_OK;
	ERR_clear_error();
	secmem_wipe(out, 32);
	return CORE_E_CRYPTO;
}

core_status
kdf_commitment(const uint8_t key[32], uint8_t out[32])
{
	return kdf_derive(key, NULL, 0, KDF_INFO_COMMITMENT, out, 32);
}
