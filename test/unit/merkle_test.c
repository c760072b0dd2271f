/*
 * merkle_test.c
 *	  The streaming builder and the proof checks, against the recursive
 *	  definitions of RFC 6962 written down here a second time.
 */
#include "chain/merkle.h"
#include "tap.h"

#define LEAVES 70

static hash256 leaves[LEAVES];

/* The largest power of two below n (n > 1). */
static size_t
split(size_t n)
{
	size_t		k = 1;

	while (k * 2 < n)
		k *= 2;
	return k;
}

/* MTH of leaves from .. from + n - 1 (RFC 6962 section 2.1). */
static hash256
reference_root(size_t from, size_t n)
{
	hash256		root;

	if (n == 0)
		must(hash_sha256(NULL, 0, &root));
	else if (n == 1)
		root = leaves[from];
	else
	{
		hash256		left = reference_root(from, split(n));
		hash256		right = reference_root(from + split(n), n - split(n));

		must(hash_node(&left, &right, &root));
	}
	return root;
}

/* PATH (section 2.1.1); returns its length. */
static size_t
reference_path(size_t index, size_t from, size_t n, hash256 *proof)
{
	size_t		k;
	size_t		len;

	if (n == 1)
		return 0;
	k = split(n);
	if (index < k)
	{
		len = reference_path(index, from, k, proof);
		proof[len] = reference_root(from + k, n - k);
	}
	else
	{
		len = reference_path(index - k, from + k, n - k, proof);
		proof[len] = reference_root(from, k);
	}
	return len + 1;
}

/* SUBPROOF (section 2.1.2); returns its length. */
static size_t
reference_subproof(size_t m, size_t from, size_t n, bool whole, hash256 *proof)
{
	size_t		k;
	size_t		len;

	if (m == n)
	{
		if (whole)
			return 0;
		proof[0] = reference_root(from, n);
		return 1;
	}
	k = split(n);
	if (m <= k)
	{
		len = reference_subproof(m, from, k, whole, proof);
		proof[len] = reference_root(from + k, n - k);
	}
	else
	{
		len = reference_subproof(m - k, from + k, n - k, false, proof);
		proof[len] = reference_root(from, k);
	}
	return len + 1;
}

/* The eight leaves that Certificate Transparency's own tests use. */
static void
test_known_roots(void)
{
	static const char *const data[] = {
		"", "00", "10", "2021", "3031", "40414243", "5051525354555657",
		"606162636465666768696a6b6c6d6e6f"
	};
	static const char *const roots[] = {
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
	};
	merkle_state state;

	merkle_init(&state);
	for (size_t n = 0; n <= 8; n++)
	{
		uint8_t		bytes[16];
		hash256		leaf;
		hash256		root;
		hash256		expected;

		must(merkle_root(&state, &root));
		unhex(roots[n], expected.bytes);
		ok(hash_equal(&root, &expected), "the known root of %zu leaves", n);
		if (n == 8)
			break;
		must(hash_leaf(bytes, unhex(data[n], bytes), &leaf));
		must(merkle_append(&state, &leaf));
	}
}

static void
test_builder(void)
{
	merkle_state state;
	unsigned long wrong = 0;

	merkle_init(&state);
	for (size_t n = 0; n < LEAVES; n++)
	{
		hash256		expected = reference_root(0, n);
		hash256		root;

		must(merkle_root(&state, &root));
		wrong += !hash_equal(&root, &expected);
		must(merkle_append(&state, &leaves[n]));
	}
	is_count(wrong, 0, "the builder's root is the definition's at every size");
	ok(state.count == LEAVES, "the builder counts its leaves");
}

/* A savepoint's copy put back leaves no trace of what was added after it. */
static void
test_rollback(void)
{
	unsigned long wrong = 0;

	for (size_t kept = 0; kept < LEAVES; kept += 3)
	{
		merkle_state state;
		merkle_state saved;
		hash256		expected = reference_root(0, kept);
		hash256		root;

		memset(&saved, 0xee, sizeof(saved));
		merkle_init(&state);
		for (size_t i = 0; i < kept; i++)
			must(merkle_append(&state, &leaves[i]));
		merkle_copy(&saved, &state);
		for (size_t i = 0; i < 9; i++)
			must(merkle_append(&state, &leaves[LEAVES - 1 - i]));
		merkle_copy(&state, &saved);
		must(merkle_root(&state, &root));
		wrong += state.count != kept || !hash_equal(&root, &expected);
	}
	is_count(wrong, 0, "a copy put back restores root and count");
}

static void
test_full(void)
{
	static merkle_state state;

	state.count = (UINT64_C(1) << MERKLE_LEVELS) - 1;
	is_status(merkle_append(&state, &leaves[0]), CORE_E_LIMIT, "a full tree takes no leaf");
	ok(state.count == (UINT64_C(1) << MERKLE_LEVELS) - 1, "a full tree's count stays");
}

static void
test_inclusion(void)
{
	unsigned long missed = 0;
	unsigned long believed = 0;

	for (size_t n = 1; n < LEAVES; n++)
	{
		hash256		root = reference_root(0, n);

		for (size_t i = 0; i < n; i++)
		{
			hash256		proof[16];
			size_t		len = reference_path(i, 0, n, proof);
			const hash256 *leaf = &leaves[i];

			missed += merkle_verify_inclusion(leaf, i, n, proof, len, &root) != CORE_OK;
			believed += merkle_verify_inclusion(leaf, i, n, proof, len + 1, &root) != CORE_E_FORMAT;
			believed += len > 0 && merkle_verify_inclusion(leaf, i, n, proof, len - 1, &root) == CORE_OK;
			believed += n > 1 && merkle_verify_inclusion(leaf, (i + 1) % n, n, proof, len, &root) == CORE_OK;
			believed += merkle_verify_inclusion(&leaves[LEAVES - 1], i, n, proof, len, &root) == CORE_OK;
			for (size_t p = 0; p < len; p++)
			{
				proof[p].bytes[p] ^= 0x10;
				believed += merkle_verify_inclusion(leaf, i, n, proof, len, &root) != CORE_E_AUTH;
				proof[p].bytes[p] ^= 0x10;
			}
		}
	}
	is_count(missed, 0, "every right inclusion proof holds");
	is_count(believed, 0, "no wrong inclusion proof holds");
	is_status(merkle_verify_inclusion(&leaves[0], 0, 0, NULL, 0, &leaves[0]), CORE_E_FORMAT,
			  "nothing is in the empty tree");
	is_status(merkle_verify_inclusion(&leaves[0], 1, 1, NULL, 0, &leaves[0]), CORE_E_FORMAT,
			  "an index past the size has no proof");
}

static void
test_consistency(void)
{
	unsigned long missed = 0;
	unsigned long believed = 0;

	for (size_t n = 2; n < LEAVES; n++)
	{
		hash256		root2 = reference_root(0, n);

		for (size_t m = 1; m < n; m++)
		{
			hash256		proof[20] = {0};
			hash256		root1 = reference_root(0, m);
			hash256		other = reference_root(1, m);
			size_t		len = reference_subproof(m, 0, n, true, proof);

			missed += merkle_verify_consistency(m, n, proof, len, &root1, &root2) != CORE_OK;
			believed += merkle_verify_consistency(m, n, proof, len, &other, &root2) == CORE_OK;
			believed += merkle_verify_consistency(m, n, proof, len, &root1, &root1) == CORE_OK;
			believed += merkle_verify_consistency(m, n, proof, len + 1, &root1, &root2) == CORE_OK;
			believed += merkle_verify_consistency(m, n, proof, len - 1, &root1, &root2) == CORE_OK;
			believed += merkle_verify_consistency(n, m, proof, len, &root2, &root1) != CORE_E_FORMAT;
			for (size_t p = 0; p < len; p++)
			{
				proof[p].bytes[p] ^= 0x01;
				believed += merkle_verify_consistency(m, n, proof, len, &root1, &root2) == CORE_OK;
				proof[p].bytes[p] ^= 0x01;
			}
		}
	}
	is_count(missed, 0, "every right consistency proof holds");
	is_count(believed, 0, "no wrong consistency proof holds");
}

/* Sizes at the end of the range make no check run away or shift too far. */
static void
test_huge_sizes(void)
{
	hash256		proof[64] = {0};

	is_status(merkle_verify_inclusion(&leaves[0], UINT64_MAX - 1, UINT64_MAX, proof, 62, &leaves[1]),
			  CORE_E_FORMAT, "a proof of the wrong length for 2^64 - 1 leaves");
	is_status(merkle_verify_inclusion(&leaves[0], 0, UINT64_MAX, proof, 64, &leaves[1]),
			  CORE_E_AUTH, "a proof of the right length for 2^64 - 1 leaves");
	is_status(merkle_verify_consistency(UINT64_C(1) << 63, UINT64_MAX, proof, 1, &leaves[0], &leaves[1]),
			  CORE_E_AUTH, "consistency from 2^63 leaves on");
	is_status(merkle_verify_consistency(UINT64_MAX - 1, UINT64_MAX, proof, 3, &leaves[0], &leaves[1]),
			  CORE_E_FORMAT, "consistency at 2^64 - 1 leaves");
}

int
main(void)
{
	for (size_t i = 0; i < LEAVES; i++)
		must(hash_leaf(&i, sizeof(i), &leaves[i]));
	test_known_roots();
	test_builder();
	test_rollback();
	test_full();
	test_inclusion();
	test_consistency();
	test_huge_sizes();
	return tap_done();
}
