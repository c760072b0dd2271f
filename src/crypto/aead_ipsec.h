/*
 * aead_ipsec.h
 *	  AES-256-GCM by Intel's multi-buffer library: for aead.c, and its manager
 *	  for sha256_ipsec.c.
 */
#ifndef VERITY_AEAD_IPSEC_H
#define VERITY_AEAD_IPSEC_H

#include "aead.h"

typedef struct aead_ipsec_key aead_ipsec_key;

/* Load the library: CORE_E_CRYPTO where it, or its header at build time, is not there. */
extern core_status aead_ipsec_load(void) CORE_WARN_UNUSED;

/* After loading: the library's IMB_MGR. */
extern void *aead_ipsec_manager(void);

/* After loading.  In secure memory; NULL when there is none.  Free with aead_ipsec_free. */
extern aead_ipsec_key *aead_ipsec_new(const uint8_t key[AEAD_KEY_SIZE]);
extern void aead_ipsec_free(aead_ipsec_key *key);

extern void aead_ipsec_seal(const aead_ipsec_key *key, const uint8_t nonce[AEAD_NONCE_SIZE],
							const uint8_t *aad, size_t aad_len,
							const uint8_t *plain, size_t len,
							uint8_t *out, uint8_t tag[AEAD_TAG_SIZE]);

/* Writes the text and the tag that it should have had: the caller compares. */
extern void aead_ipsec_open(const aead_ipsec_key *key, const uint8_t nonce[AEAD_NONCE_SIZE],
							const uint8_t *aad, size_t aad_len,
							const uint8_t *cipher, size_t len,
							uint8_t *out, uint8_t tag[AEAD_TAG_SIZE]);

#endif							/* VERITY_AEAD_IPSEC_H */
