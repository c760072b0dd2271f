/*
 * aead.h
 *	  AES-256-GCM with 12-byte nonces and 16-byte tags.
 *
 * A context holds the expanded key schedule of one key, so that sealing a
 * record costs no key set-up.  A context is for one thread.
 */
#ifndef VERITY_AEAD_H
#define VERITY_AEAD_H

#include "../chain/status.h"
#include <stddef.h>
#include <stdint.h>

#define AEAD_KEY_SIZE 32
#define AEAD_NONCE_SIZE 12
#define AEAD_TAG_SIZE 16

typedef struct aead_context aead_context;

/* Who computes: the same bytes either way. */
typedef enum aead_library
{
	AEAD_OPENSSL,				/* its provider: the default, and what FIPS needs */
	AEAD_IPSEC_MB				/* Intel's multi-buffer library */
} aead_library;

/* For contexts made from now on, and for hash_many (chain/hash.h).  CORE_E_CRYPTO where the library cannot be used. */
extern core_status aead_use(aead_library wanted) CORE_WARN_UNUSED;

/* CORE_E_CRYPTO when it cannot be made.  Free with aead_free. */
extern core_status aead_new(const uint8_t key[AEAD_KEY_SIZE], aead_context **out) CORE_WARN_UNUSED;
extern void aead_free(aead_context *context);

/* out has room for len bytes of ciphertext; plain and out may be the same. */
extern core_status aead_seal(aead_context *context, const uint8_t nonce[AEAD_NONCE_SIZE],
							 const uint8_t *aad, size_t aad_len,
							 const uint8_t *plain, size_t len,
							 uint8_t *out, uint8_t tag[AEAD_TAG_SIZE]) CORE_WARN_UNUSED;

/*
 * CORE_E_AUTH when the tag does not hold; out is wiped then, so that nothing
 * unverified is released.
 */
extern core_status aead_open(aead_context *context, const uint8_t nonce[AEAD_NONCE_SIZE],
							 const uint8_t *aad, size_t aad_len,
							 const uint8_t *cipher, size_t len,
							 const uint8_t tag[AEAD_TAG_SIZE], uint8_t *out) CORE_WARN_UNUSED;

#endif							/* VERITY_AEAD_H */
