/*
 * merkle.h
 *	  RFC 6962 Merkle trees: a streaming builder, and proofs.
 *
 * The streaming state keeps the roots of the complete subtrees to the left of
 * the next leaf: one hash for each bit set in count, so O(log n) memory.  A
 * savepoint copies the state (merkle_copy copies only the nodes in use) and
 * its rollback puts the copy back.
 */
#ifndef VERITY_MERKLE_H
#define VERITY_MERKLE_H

#include <stdbool.h>

#include "hash.h"

#define MERKLE_LEVELS 40		/* 2^40 leaves; a transaction has at most 2^32 */

typedef struct merkle_state
{
	uint64_t	count;			/* leaves appended */
	hash256		nodes[MERKLE_LEVELS];	/* nodes[i] is in use when bit i of
										 * count is set */
} merkle_state;

extern void merkle_init(merkle_state *state);
extern void merkle_copy(merkle_state *to, const merkle_state *from);

/* Append the leaf hash of the next leaf.  CORE_E_LIMIT when full. */
extern core_status merkle_append(merkle_state *state, const hash256 *leaf) CORE_WARN_UNUSED;

/* Root over the leaves so far; of no leaves, SHA-256 of the empty string. */
extern core_status merkle_root(const merkle_state *state, hash256 *root) CORE_WARN_UNUSED;

/*
 * Check an inclusion or consistency proof (RFC 9162 sections 2.1.3.2 and
 * 2.1.4.2).  CORE_OK when it holds, CORE_E_AUTH when it does not,
 * CORE_E_FORMAT when it has the wrong shape for these sizes.
 */
extern core_status merkle_verify_inclusion(const hash256 *leaf, uint64_t index, uint64_t size,
										   const hash256 *proof, size_t proof_len,
										   const hash256 *root) CORE_WARN_UNUSED;
extern core_status merkle_verify_consistency(uint64_t size1, uint64_t size2,
											 const hash256 *proof, size_t proof_len,
											 const hash256 *root1, const hash256 *root2) CORE_WARN_UNUSED;

#endif							/* VERITY_MERKLE_H */
