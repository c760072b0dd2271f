/*
 * aead.c
 *	  AES-256-GCM with the key schedule kept.
 *
 * Sealing and opening have an OpenSSL context each, made at first use from the
 * key, which stands in secmem together with the rest of the context; from then
 * on a record only sets its nonce.  OpenSSL's error queue, which the server
 * shares, is left empty.
 */
#include "aead.h"

#include <limits.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>

#include "secmem.h"

struct aead_context
{
	uint8_t		key[AEAD_KEY_SIZE];
	EVP_CIPHER_CTX *seal;
	EVP_CIPHER_CTX *open;
};

static EVP_CIPHER *aes_256_gcm;

core_status
aead_new(const uint8_t key[AEAD_KEY_SIZE], aead_context **out)
{
	aead_context *context;

	*out = NULL;
	if (aes_256_gcm == NULL)
		aes_256_gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	if (aes_256_gcm == NULL)
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
	*out = context;
	return CORE_OK;
}

void
aead_free(aead_context *context)
{
	if (context == NULL)
		return;
	EVP_CIPHER_CTX_free(context->seal);
	EVP_CIPHER_CTX_free(context->open);
	secmem_free(context);
}

/* Begin a message in one direction: the key at first use, then the nonce. */
static EVP_CIPHER_CTX *
aead_begin(aead_context *context, int seal, const uint8_t *nonce)
{
	EVP_CIPHER_CTX **kept = seal ? &context->seal : &context->open;

	if (*kept == NULL)
	{
		EVP_CIPHER_CTX *made = EVP_CIPHER_CTX_new();

		if (made == NULL ||
			EVP_CipherInit_ex2(made, aes_256_gcm, context->key, nonce, seal, NULL) != 1)
		{
			EVP_CIPHER_CTX_free(made);
			return NULL;
		}
		*kept = made;
		return made;
	}
	return EVP_CipherInit_ex2(*kept, NULL, NULL, nonce, seal, NULL) == 1 ? *kept : NULL;
}

/* Feed the associated data and the text; out gets len bytes. */
static int
aead_feed(EVP_CIPHER_CTX *cipher, const uint8_t *aad, size_t aad_len,
		  const uint8_t *in, size_t len, uint8_t *out)
{
	int			written = 0;

	if (aad_len > 0 && EVP_CipherUpdate(cipher, NULL, &written, aad, (int) aad_len) != 1)
		return 0;
	if (len > 0 && EVP_CipherUpdate(cipher, out, &written, in, (int) len) != 1)
		return 0;
	return len == 0 || written == (int) len;
}

core_status
aead_seal(aead_context *context, const uint8_t nonce[AEAD_NONCE_SIZE],
		  const uint8_t *aad, size_t aad_len,
		  const uint8_t *plain, size_t len,
		  uint8_t *out, uint8_t tag[AEAD_TAG_SIZE])
{
	EVP_CIPHER_CTX *cipher;
	uint8_t		none[AEAD_TAG_SIZE];
	int			written = 0;

	if (len > INT_MAX || aad_len > INT_MAX)
		return CORE_E_LIMIT;
	cipher = aead_begin(context, 1, nonce);
	if (cipher != NULL &&
		aead_feed(cipher, aad, aad_len, plain, len, out) &&
		EVP_CipherFinal_ex(cipher, none, &written) == 1 &&
		EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_SIZE, tag) == 1)
		return CORE_OK;

	ERR_clear_error();
	if (len > 0)
		secmem_wipe(out, len);
	return CORE_E_CRYPTO;
}

core_status
aead_open(aead_context *context, const uint8_t nonce[AEAD_NONCE_SIZE],
		  const uint8_t *aad, size_t aad_len,
		  const uint8_t *cipher_text, size_t len,
		  const uint8_t tag[AEAD_TAG_SIZE], uint8_t *out)
{
	EVP_CIPHER_CTX *cipher;
	core_status status = CORE_E_CRYPTO;
	uint8_t		none[AEAD_TAG_SIZE];
	int			written = 0;

	if (len > INT_MAX || aad_len > INT_MAX)
		return CORE_E_LIMIT;
	cipher = aead_begin(context, 0, nonce);
	if (cipher != NULL &&
		aead_feed(cipher, aad, aad_len, cipher_text, len, out) &&
		EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_SIZE, (void *) tag) == 1)
	{
		if (EVP_CipherFinal_ex(cipher, none, &written) == 1)
			return CORE_OK;
		status = CORE_E_AUTH;
	}

	ERR_clear_error();
	if (len > 0)
		secmem_wipe(out, len);
	return status;
}
