/*
 * merkle_range_test.c
 *	  A tree put together from stretches is the tree of its leaves.
 */
#include "chain/merkle_range.h"
#include "tap.h"

#define LEAVES 150

static hash256 leaves[LEAVES];

/* Fold leaves [from, to), step by step. */
static void
fold(merkle_range *range, size_t from, size_t to, size_t step)
{
	merkle_range_init(range, from);
	while (from < to)
	{
		hash256		some[LEAVES];
		size_t		n = to - from < step ? to - from : step;

		memcpy(some, &leaves[from], n * sizeof(hash256));
		must(merkle_range_append(range, some, n));
		from += n;
	}
}

static void
append(merkle_state *tree, const merkle_range *range)
{
	must(merkle_append_range(tree, range->start, range->count, range->nodes, range->node_count));
}

/* Every size, cut in three at every place, folded in steps of several sizes. */
static void
test_cuts(void)
{
	static const size_t steps[] = {1, 3, 64, LEAVES};
	merkle_state whole;
	unsigned long wrong = 0;

	merkle_init(&whole);
	for (size_t n = 0; n < LEAVES; n++)
	{
		hash256		expected;

		must(merkle_root(&whole, &expected));
		for (size_t a = 0; a <= n; a++)
		{
			size_t		b = a + (n - a) / 3;
			merkle_range range;
			merkle_state tree;
			hash256		root;

			merkle_init(&tree);
			fold(&range, 0, a, steps[n % 4]);
			append(&tree, &range);
			fold(&range, a, b, steps[a % 4]);
			append(&tree, &range);
			fold(&range, b, n, steps[b % 4]);
			append(&tree, &range);
			must(merkle_root(&tree, &root));
			wrong += tree.count != n || !hash_equal(&root, &expected);
		}
		must(merkle_append(&whole, &leaves[n]));
	}
	is_count(wrong, 0, "stretches put together have the root of their leaves");
}

static void
test_refusals(void)
{
	merkle_range range;
	merkle_state tree;
	hash256		one[2] = {leaves[0], leaves[1]};

	merkle_init(&tree);
	fold(&range, 1, 9, LEAVES);
	is_status(merkle_append_range(&tree, range.start, range.count, range.nodes, range.node_count),
			  CORE_E_FORMAT, "a stretch that begins behind the tree's end");
	must(merkle_append(&tree, &leaves[0]));
	is_status(merkle_append_range(&tree, range.start, range.count, range.nodes, range.node_count - 1),
			  CORE_E_FORMAT, "a stretch with a node too few");
	is_status(merkle_append_range(&tree, range.start, range.count - 1, range.nodes, range.node_count),
			  CORE_E_FORMAT, "a stretch with another count than its nodes'");
	is_status(merkle_append_range(&tree, 1, UINT64_MAX, range.nodes, range.node_count),
			  CORE_E_FORMAT, "a stretch longer than any tree");
	ok(tree.count == 1, "what is refused leaves the tree alone");
	append(&tree, &range);
	ok(tree.count == 9, "the stretch as it is fits");
	merkle_range_init(&range, (UINT64_C(1) << MERKLE_LEVELS) - 2);
	is_status(merkle_range_append(&range, one, 2), CORE_E_LIMIT, "a stretch over the end of the largest tree");
	merkle_range_init(&range, UINT64_MAX);
	is_status(merkle_range_append(&range, one, 1), CORE_E_LIMIT, "a stretch that begins behind any tree");
}

int
main(void)
{
	for (size_t i = 0; i < LEAVES; i++)
		must(hash_leaf(&i, sizeof(i), &leaves[i]));
	test_cuts();
	test_refusals();
	return tap_done();
}
