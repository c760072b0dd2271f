/*
 * merkle_range.c
 *	  Stretches of leaves of an RFC 6962 Merkle tree.
 *
 * The complete subtrees of the stretch [start, end) are found from its left
 * end: the next one is the largest that is aligned there and ends within.
 */
#include "merkle_range.h"

#include <string.h>

#define MERKLE_COUNT_MAX ((UINT64_C(1) << MERKLE_LEVELS) - 1)

/* Leaves that are folded together are at most 2^BLOCK_LEVEL. */
#define BLOCK_LEVEL 7

/* The level of the largest complete subtree that begins at a leaf of [at, end). */
static int
level_at(uint64_t at, uint64_t end)
{
	int			fits = 63 - __builtin_clzll(end - at);
	int			aligned = at == 0 ? MERKLE_LEVELS : __builtin_ctzll(at);

	return aligned < fits ? aligned : fits;
}

/* How many complete subtrees make up [start, end)? */
static size_t
range_nodes(uint64_t start, uint64_t end)
{
	size_t		nodes = 0;

	for (; start < end; start += UINT64_C(1) << level_at(start, end))
		nodes++;
	return nodes;
}

void
merkle_range_init(merkle_range *range, uint64_t start)
{
	range->start = start;
	range->count = 0;
	range->node_count = 0;
}

/*
 * Push the root of the next 2^level leaves, joined with its left neighbours as
 * far as they are in the stretch.
 */
static core_status
push(merkle_range *range, int level, const hash256 *root)
{
	uint64_t	at = range->start + range->count;
	hash256		node = *root;

	range->count += UINT64_C(1) << level;
	for (; (at >> level & 1) && at - range->start >= UINT64_C(1) << level; level++)
	{
		core_status status = hash_node(&range->nodes[range->node_count - 1], &node, &node);

		if (status != CORE_OK)
			return status;
		range->node_count--;
		at -= UINT64_C(1) << level;
	}
	range->nodes[range->node_count++] = node;
	return CORE_OK;
}

core_status
merkle_range_append(merkle_range *range, hash256 *leaves, size_t count)
{
	if (range->start > MERKLE_COUNT_MAX || range->count > MERKLE_COUNT_MAX - range->start ||
		count > MERKLE_COUNT_MAX - range->start - range->count)
		return CORE_E_LIMIT;
	while (count > 0)
	{
		uint64_t	at = range->start + range->count;
		int			level = level_at(at, at + count);
		size_t		block;
		core_status status;

		if (level > BLOCK_LEVEL)
			level = BLOCK_LEVEL;
		block = (size_t) 1 << level;
		for (size_t left = block / 2; left > 0; left /= 2)
		{
			status = hash_nodes(leaves, left, leaves);
			if (status != CORE_OK)
				return status;
		}
		status = push(range, level, &leaves[0]);
		if (status != CORE_OK)
			return status;
		leaves += block;
		count -= block;
	}
	return CORE_OK;
}

core_status
merkle_append_range(merkle_state *state, uint64_t start, uint64_t count,
					const hash256 *nodes, size_t node_count)
{
	uint64_t	end = start + count;

	if (start != state->count || count > MERKLE_COUNT_MAX || end > MERKLE_COUNT_MAX ||
		node_count != range_nodes(start, end))
		return CORE_E_FORMAT;
	for (; start < end; nodes++)
	{
		int			level = level_at(start, end);
		hash256		node = *nodes;

		start += UINT64_C(1) << level;
		for (; state->count >> level & 1; level++)
		{
			core_status status = hash_node(&state->nodes[level], &node, &node);

			if (status != CORE_OK)
				return status;
		}
		state->nodes[level] = node;
		state->count = start;
	}
	return CORE_OK;
}
