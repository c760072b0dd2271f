/*
 * sha256_ipsec.h
 *	  Many SHA-256 hashes at once by Intel's multi-buffer library.
 */
#ifndef VERITY_SHA256_IPSEC_H
#define VERITY_SHA256_IPSEC_H

#include "../chain/hash.h"

/* A hash_many_function (chain/hash.h), after aead_ipsec_load. */
extern core_status sha256_ipsec(const hash_part *messages, size_t count, hash256 *out) CORE_WARN_UNUSED;

#endif							/* VERITY_SHA256_IPSEC_H */
