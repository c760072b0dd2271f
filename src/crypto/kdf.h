/*
 * kdf.h
 *	  Key derivation (HKDF-SHA256, RFC 5869) and HMAC-SHA256, by OpenSSL.
 */
#ifndef VERITY_KDF_H
#define VERITY_KDF_H

#include "../chain/hash.h"

/* What a derived key is for: the info of HKDF, one for each use. */
#define KDF_INFO_RECORDS "verity v1 records"
#define KDF_INFO_OLD_ROWS "verity v1 old rows"
#define KDF_INFO_LOGGED_STORAGE "verity v1 logged storage"
#define KDF_INFO_COMMITMENT "verity v1 commitment"
#define KDF_INFO_JOURNAL "verity v1 journal"
#define KDF_INFO_KEYSTORE "verity v1 keystore"
#define KDF_INFO_INDEX "verity v1 index"
#define KDF_INFO_STATISTICS "verity v1 statistics"

/*
 * HKDF-SHA256 (RFC 5869, extract and expand) in its general form; salt may be
 * NULL.  CORE_E_LIMIT when out_len is 0 or over 255 hashes.
 */
extern core_status kdf_hkdf(const uint8_t *key, size_t key_len,
							const uint8_t *salt, size_t salt_len,
							const uint8_t *info, size_t info_len,
							uint8_t *out, size_t out_len) CORE_WARN_UNUSED;

/* HKDF-SHA256 of a 32-byte key; salt may be NULL.  out gets out_len bytes. */
extern core_status kdf_derive(const uint8_t key[32], const uint8_t *salt, size_t salt_len,
							  const char *info, uint8_t *out, size_t out_len) CORE_WARN_UNUSED;

extern core_status kdf_hmac(const uint8_t key[32], const void *data, size_t len,
							uint8_t out[32]) CORE_WARN_UNUSED;

/* The public 32-byte commitment to a key: HKDF of it with its own info. */
extern core_status kdf_commitment(const uint8_t key[32], uint8_t out[32]) CORE_WARN_UNUSED;

#endif							/* VERITY_KDF_H */
