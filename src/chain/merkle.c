/*
 * merkle.c
 *	  RFC 6962 Merkle trees: the streaming builder and the proof checks.
 *
 * The builder counts in binary: appending a leaf carries through the levels
 * whose bit of the count is set, joining equal-sized subtrees.  The root joins
 * the remaining subtrees from the smallest, on the right, to the largest.
 */
#include "merkle.h"

#include <string.h>

#define MERKLE_COUNT_MAX ((UINT64_C(1) << MERKLE_LEVELS) - 1)

_Static_assert(MERKLE_LEVELS > 32 && MERKLE_LEVELS < 64,
			   "a transaction's 2^32 sequences fit, and the count fits 64 bits");

void
merkle_init(merkle_state *state)
{
	state->count = 0;
}

void
merkle_copy(merkle_state *to, const merkle_state *from)
{
	to->count = from->count;
	for (uint64_t bits = from->count; bits != 0; bits &= bits - 1)
	{
		int			level = __builtin_ctzll(bits);

		to->nodes[level] = from->nodes[level];
	}
}

core_status
merkle_append(merkle_state *state, const hash256 *leaf)
{
	hash256		node = *leaf;
	int			level;

	if (state->count >= MERKLE_COUNT_MAX)
		return CORE_E_LIMIT;
	for (level = 0; state->count >> level & 1; level++)
	{
		core_status status = hash_node(&state->nodes[level], &node, &node);

		if (status != CORE_OK)
			return status;
	}
	state->nodes[level] = node;
	state->count++;
	return CORE_OK;
}

core_status
merkle_root(const merkle_state *state, hash256 *root)
{
	uint64_t	bits = state->count;

	if (bits == 0)
		return hash_sha256(NULL, 0, root);

	*root = state->nodes[__builtin_ctzll(bits)];
	for (bits &= bits - 1; bits != 0; bits &= bits - 1)
	{
		core_status status = hash_node(&state->nodes[__builtin_ctzll(bits)], root, root);

		if (status != CORE_OK)
			return status;
	}
	return CORE_OK;
}

/* The length of the inclusion proof of leaf index in a tree of size leaves. */
static size_t
inclusion_proof_len(uint64_t index, uint64_t size)
{
	size_t		len = 0;
	uint64_t	last = size - 1;

	for (; last != 0; index >>= 1, last >>= 1)
	{
		if ((index & 1) || index != last)
			len++;
	}
	return len;
}

core_status
merkle_verify_inclusion(const hash256 *leaf, uint64_t index, uint64_t size,
						const hash256 *proof, size_t proof_len,
						const hash256 *root)
{
	hash256		node = *leaf;
	uint64_t	last = size - 1;
	size_t		used = 0;

	if (index >= size || proof_len != inclusion_proof_len(index, size))
		return CORE_E_FORMAT;

	for (; last != 0; index >>= 1, last >>= 1)
	{
		core_status status;

		if (index & 1)
			status = hash_node(&proof[used++], &node, &node);
		else if (index != last)
			status = hash_node(&node, &proof[used++], &node);
		else
			continue;			/* the last subtree moves up alone */
		if (status != CORE_OK)
			return status;
	}
	return hash_equal(&node, root) ? CORE_OK : CORE_E_AUTH;
}

/*
 * Rebuild both roots from a consistency proof, whose first node is the
 * largest complete subtree at the end of the smaller tree.
 */
static core_status
consistency_roots(uint64_t size1, uint64_t size2, const hash256 *seed,
				  const hash256 *proof, size_t proof_len,
				  hash256 *root1, hash256 *root2)
{
	int			shift = __builtin_ctzll(size1);
	uint64_t	index = (size1 - 1) >> shift;
	uint64_t	last = (size2 - 1) >> shift;
	size_t		used = 0;

	*root1 = *seed;
	*root2 = *seed;
	for (; last != 0; index >>= 1, last >>= 1)
	{
		core_status status = CORE_OK;

		if (!(index & 1) && index == last)
			continue;
		if (used == proof_len)
			return CORE_E_FORMAT;
		if (index & 1)
		{
			status = hash_node(&proof[used], root1, root1);
			if (status == CORE_OK)
				status = hash_node(&proof[used], root2, root2);
		}
		else
			status = hash_node(root2, &proof[used], root2);
		if (status != CORE_OK)
			return status;
		used++;
	}
	return used == proof_len ? CORE_OK : CORE_E_FORMAT;
}

core_status
merkle_verify_consistency(uint64_t size1, uint64_t size2,
						  const hash256 *proof, size_t proof_len,
						  const hash256 *root1, const hash256 *root2)
{
	bool		complete = (size1 & (size1 - 1)) == 0;
	hash256		built1;
	hash256		built2;
	core_status status;

	/* nothing can be said about the empty tree */
	if (size1 == 0 || size1 > size2)
		return CORE_E_FORMAT;
	if (size1 == size2)
	{
		if (proof_len != 0)
			return CORE_E_FORMAT;
		return hash_equal(root1, root2) ? CORE_OK : CORE_E_AUTH;
	}
	if (proof_len == 0)
		return CORE_E_FORMAT;

	/* a complete smaller tree is its own first node, which is left out */
	if (complete)
		status = consistency_roots(size1, size2, root1, proof, proof_len, &built1, &built2);
	else
		status = consistency_roots(size1, size2, &proof[0], proof + 1, proof_len - 1,
								   &built1, &built2);
	if (status != CORE_OK)
		return status;
	return hash_equal(&built1, root1) && hash_equal(&built2, root2) ? CORE_OK : CORE_E_AUTH;
}
