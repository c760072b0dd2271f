/*
 * aead.c
 *	  AES-256-GCM with the key schedule kept.
 *
 * Sealing and opening have a context of OpenSSL's provider each, made at first
 * use from the key, which stands in secmem together with the rest of the
 * context; from then on a record only sets its nonce.  The provider's
 * functions are called as they are (dispatch.h).  OpenSSL's error queue, which
 * the server shares, is left empty.
 *
 * By Intel's library (aead_ipsec.c) where that was asked for: the bytes are
 * the same.
 */
#include "aead.h"

#include <limits.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "aead_ipsec.h"
#include "dispatch.h"
#include "sha256_ipsec.h"
#include "secmem.h"

#define CIPHER_NAME "AES-256-GCM"

struct aead_context
{
	uint8_t		key[AEAD_KEY_SIZE];
	void	   *seal;			/* the provider's contexts */
	void	   *open;
	aead_ipsec_key *ipsec;		/* instead of the two, or NULL */
};

static aead_library library = AEAD_OPENSSL;

/* What the provider offers; provider is NULL until all of it is there. */
static struct
{
	const OSSL_PROVIDER *provider;
	OSSL_FUNC_cipher_newctx_fn *new;
	OSSL_FUNC_cipher_freectx_fn *free;
	OSSL_FUNC_cipher_encrypt_init_fn *begin_seal;
	OSSL_FUNC_cipher_decrypt_init_fn *begin_open;
	OSSL_FUNC_cipher_update_fn *update;
	OSSL_FUNC_cipher_final_fn *final;
	OSSL_FUNC_cipher_get_ctx_params_fn *get_params;
}			gcm;

/* Fetch the cipher, which is kept, and its functions. */
static int
gcm_ready(void)
{
	static EVP_CIPHER *cipher;
	const OSSL_PROVIDER *provider;
	const OSSL_DISPATCH *table;

	if (gcm.provider != NULL)
		return 1;
	if (cipher == NULL)
		cipher = EVP_CIPHER_fetch(NULL, CIPHER_NAME, NULL);
	if (cipher == NULL)
		return 0;
	provider = EVP_CIPHER_get0_provider(cipher);
	table = dispatch_table(provider, OSSL_OP_CIPHER, CIPHER_NAME);
	gcm.new = (OSSL_FUNC_cipher_newctx_fn *) dispatch_get(table, OSSL_FUNC_CIPHER_NEWCTX);
	gcm.free = (OSSL_FUNC_cipher_freectx_fn *) dispatch_get(table, OSSL_FUNC_CIPHER_FREECTX);
	gcm.begin_seal = (OSSL_FUNC_cipher_encrypt_init_fn *) dispatch_get(table, OSSL_FUNC_CIPHER_ENCRYPT_INIT);
	gcm.begin_open = (OSSL_FUNC_cipher_decrypt_init_fn *) dispatch_get(table, OSSL_FUNC_CIPHER_DECRYPT_INIT);
	gcm.update = (OSSL_FUNC_cipher_update_fn *) dispatch_get(table, OSSL_FUNC_CIPHER_UPDATE);
	gcm.final = (OSSL_FUNC_cipher_final_fn *) dispatch_get(table, OSSL_FUNC_CIPHER_FINAL);
	gcm.get_params = (OSSL_FUNC_cipher_get_ctx_params_fn *) dispatch_get(table, OSSL_FUNC_CIPHER_GET_CTX_PARAMS);
	if (gcm.new == NULL || gcm.free == NULL || gcm.begin_seal == NULL || gcm.begin_open == NULL ||
		gcm.update == NULL || gcm.final == NULL || gcm.get_params == NULL)
		return 0;
	gcm.provider = provider;
	return 1;
}

core_status
aead_use(aead_library wanted)
{
	core_status status = wanted == AEAD_IPSEC_MB ? aead_ipsec_load() : CORE_OK;

	if (status != CORE_OK)
		return status;
	library = wanted;
	hash_many_use(wanted == AEAD_IPSEC_MB ? sha256_ipsec : NULL);
	return CORE_OK;
}

core_status
aead_new(const uint8_t key[AEAD_KEY_SIZE], aead_context **out)
{
	aead_context *context;

	*out = NULL;
	if (!gcm_ready())
	{
		ERR_clear_error();
		return CORE_E_CRYPTO;
	}
	context = secmem_alloc(sizeof(aead_context));
	if (context == NULL)
		return CORE_E_CRYPTO;
	memcpy(context->key, key, AEAD_KEY_SIZE);
	context->seal = NULL;
	context->open = NULL;
	context->ipsec = NULL;
	if (library == AEAD_IPSEC_MB && (context->ipsec = aead_ipsec_new(key)) == NULL)
	{
		aead_free(context);
		return CORE_E_CRYPTO;
	}
	*out = context;
	return CORE_OK;
}

void
aead_free(aead_context *context)
{
	if (context == NULL)
		return;
	if (context->seal != NULL)
		gcm.free(context->seal);
	if (context->open != NULL)
		gcm.free(context->open);
	if (context->ipsec != NULL)
		aead_ipsec_free(context->ipsec);
	secmem_free(context);
}

/* Begin a message in one direction: the key at first use, then the nonce. */
static void *
aead_begin(aead_context *context, int seal, const uint8_t *nonce, const OSSL_PARAM *params)
{
	OSSL_FUNC_cipher_encrypt_init_fn *begin = seal ? gcm.begin_seal : gcm.begin_open;
	void	  **kept = seal ? &context->seal : &context->open;
	void	   *made;

	if (*kept != NULL)
		return begin(*kept, NULL, 0, nonce, AEAD_NONCE_SIZE, params) == 1 ? *kept : NULL;

	made = gcm.new(OSSL_PROVIDER_get0_provider_ctx(gcm.provider));
	if (made != NULL &&
		begin(made, context->key, AEAD_KEY_SIZE, nonce, AEAD_NONCE_SIZE, params) != 1)
	{
		gcm.free(made);
		made = NULL;
	}
	*kept = made;
	return made;
}

/* Feed the associated data and the text; out gets len bytes. */
static int
aead_feed(void *cipher, const uint8_t *aad, size_t aad_len,
		  const uint8_t *in, size_t len, uint8_t *out)
{
	size_t		written = 0;

	if (aad_len > 0 && gcm.update(cipher, NULL, &written, aad_len, aad, aad_len) != 1)
		return 0;
	if (len > 0 && gcm.update(cipher, out, &written, len, in, len) != 1)
		return 0;
	return len == 0 || written == len;
}

core_status
aead_seal(aead_context *context, const uint8_t nonce[AEAD_NONCE_SIZE],
		  const uint8_t *aad, size_t aad_len,
		  const uint8_t *plain, size_t len,
		  uint8_t *out, uint8_t tag[AEAD_TAG_SIZE])
{
	OSSL_PARAM	params[] = {
		OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, tag, AEAD_TAG_SIZE),
		OSSL_PARAM_END
	};
	void	   *cipher;
	uint8_t		none[AEAD_TAG_SIZE];
	size_t		written = 0;

	if (len > INT_MAX || aad_len > INT_MAX)
		return CORE_E_LIMIT;
	if (context->ipsec != NULL)
	{
		aead_ipsec_seal(context->ipsec, nonce, aad, aad_len, plain, len, out, tag);
		return CORE_OK;
	}
	cipher = aead_begin(context, 1, nonce, NULL);
	if (cipher != NULL &&
		aead_feed(cipher, aad, aad_len, plain, len, out) &&
		gcm.final(cipher, none, &written, sizeof(none)) == 1 &&
		gcm.get_params(cipher, params) == 1)
		return CORE_OK;

	ERR_clear_error();
	if (len > 0)
		secmem_wipe(out, len);
	return CORE_E_CRYPTO;
}

/* Open by Intel's library. */
static core_status
open_ipsec(aead_context *context, const uint8_t *nonce, const uint8_t *aad, size_t aad_len,
		   const uint8_t *cipher_text, size_t len, const uint8_t *tag, uint8_t *out)
{
	uint8_t		computed[AEAD_TAG_SIZE];

	aead_ipsec_open(context->ipsec, nonce, aad, aad_len, cipher_text, len, out, computed);
	if (CRYPTO_memcmp(computed, tag, AEAD_TAG_SIZE) == 0)
		return CORE_OK;
	if (len > 0)
		secmem_wipe(out, len);
	return CORE_E_AUTH;
}

core_status
aead_open(aead_context *context, const uint8_t nonce[AEAD_NONCE_SIZE],
		  const uint8_t *aad, size_t aad_len,
		  const uint8_t *cipher_text, size_t len,
		  const uint8_t tag[AEAD_TAG_SIZE], uint8_t *out)
{
	OSSL_PARAM	params[] = {
		OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, (void *) tag, AEAD_TAG_SIZE),
		OSSL_PARAM_END
	};
	void	   *cipher;
	core_status status = CORE_E_CRYPTO;
	uint8_t		none[AEAD_TAG_SIZE];
	size_t		written = 0;

	if (len > INT_MAX || aad_len > INT_MAX)
		return CORE_E_LIMIT;
	if (context->ipsec != NULL)
		return open_ipsec(context, nonce, aad, aad_len, cipher_text, len, tag, out);
	cipher = aead_begin(context, 0, nonce, params);
	if (cipher != NULL && aead_feed(cipher, aad, aad_len, cipher_text, len, out))
	{
		if (gcm.final(cipher, none, &written, sizeof(none)) == 1)
			return CORE_OK;
		status = CORE_E_AUTH;
	}

	ERR_clear_error();
	if (len > 0)
		secmem_wipe(out, len);
	return status;
}
