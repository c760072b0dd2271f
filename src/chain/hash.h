/*
 * hash.h
 *	  SHA-256 as the ledger uses it (OpenSSL's, one context kept).
 *
 * Domain separation follows RFC 6962 section 2.1: a leaf is hashed behind a
 * byte 0x00, an inner node behind 0x01.  Everything else that is hashed
 * begins with a type byte of 0x02 or more (see entry.h).
 */
#ifndef VERITY_HASH_H
#define VERITY_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

#define HASH_SIZE 32

#define HASH_TYPE_LEAF 0x00
#define HASH_TYPE_NODE 0x01

typedef struct hash256
{
	uint8_t		bytes[HASH_SIZE];
} hash256;

/* One piece of a message that is hashed in pieces. */
typedef struct hash_part
{
	const void *data;
	size_t		len;
} hash_part;

/* SHA-256 of len bytes. */
extern core_status hash_sha256(const void *data, size_t len, hash256 *out) CORE_WARN_UNUSED;

/* SHA-256 of prefix byte followed by the parts, in order. */
extern core_status hash_parts(uint8_t prefix, const hash_part *parts, int count,
							  hash256 *out) CORE_WARN_UNUSED;

/* RFC 6962 leaf hash: SHA-256(0x00 || data). */
extern core_status hash_leaf(const void *data, size_t len, hash256 *out) CORE_WARN_UNUSED;

/* RFC 6962 node hash: SHA-256(0x01 || left || right). */
extern core_status hash_node(const hash256 *left, const hash256 *right,
							 hash256 *out) CORE_WARN_UNUSED;

/*
 * SHA-256 of each of these messages.  Another library that does several at once
 * may be given for it; NULL is OpenSSL again.
 */
typedef core_status (*hash_many_function) (const hash_part *messages, size_t count, hash256 *out);
extern void hash_many_use(hash_many_function function);
extern core_status hash_many(const hash_part *messages, size_t count, hash256 *out) CORE_WARN_UNUSED;

/* hash_node of pairs[0] and pairs[1], pairs[2] and pairs[3], …; out may be pairs. */
extern core_status hash_nodes(const hash256 *pairs, size_t count, hash256 *out) CORE_WARN_UNUSED;

/* Constant-time comparison. */
extern int	hash_equal(const hash256 *a, const hash256 *b);

#endif							/* VERITY_HASH_H */
