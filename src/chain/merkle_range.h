/*
 * merkle_range.h
 *	  A stretch of consecutive leaves of an RFC 6962 Merkle tree, as the roots
 *	  of the complete subtrees that it is made of.
 *
 * Whoever meets leaves start, start + 1, … of a tree folds them here without
 * the leaves before them, in O(log count) memory.  Stretches that follow each
 * other are put together in a merkle_state.
 */
#ifndef VERITY_MERKLE_RANGE_H
#define VERITY_MERKLE_RANGE_H

#include "merkle.h"

/* Levels rise to the largest subtree of the stretch, and fall behind it. */
#define MERKLE_RANGE_NODES (2 * MERKLE_LEVELS)

typedef struct merkle_range
{
	uint64_t	start;			/* index of the first leaf in its tree */
	uint64_t	count;			/* leaves appended */
	uint32_t	node_count;
	hash256		nodes[MERKLE_RANGE_NODES];
} merkle_range;

extern void merkle_range_init(merkle_range *range, uint64_t start);

/*
 * Append the leaf hashes of the next leaves, which are overwritten.
 * CORE_E_LIMIT when full.
 */
extern core_status merkle_range_append(merkle_range *range, hash256 *leaves, size_t count) CORE_WARN_UNUSED;

/*
 * Append a stretch, given by its parts, that begins where the tree ends.
 * CORE_E_FORMAT where it begins elsewhere, or has another number of nodes than
 * such a stretch has; state is then as it was.
 */
extern core_status merkle_append_range(merkle_state *state, uint64_t start, uint64_t count,
									   const hash256 *nodes, size_t node_count) CORE_WARN_UNUSED;

#endif							/* VERITY_MERKLE_RANGE_H */
