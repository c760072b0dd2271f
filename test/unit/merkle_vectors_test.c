/*
 * merkle_vectors_test.c
 *	  The proof vectors of transparency-dev/merkle (data/merkle), all of them.
 *
 * A vector says wantErr where the proof must not hold.  Some hold hashes that
 * are not 32 bytes long: as roots they are padded with zeros (they only ever
 * are compared), as nodes of a proof they make it malformed.
 */
#include <ftw.h>

#include <json-c/json.h>
#include <sodium.h>

#include "chain/merkle.h"
#include "tap.h"

#define VECTORS 196
#define PROOF_MAX 80

static int	inclusion_count;
static int	consistency_count;

static struct json_object *
field(struct json_object *vector, const char *name)
{
	struct json_object *value;

	if (!json_object_object_get_ex(vector, name, &value))
	{
		printf("Bail out! a vector lacks %s\n", name);
		exit(1);
	}
	return value;
}

/* A base64 hash, padded with zeros; returns the length that it had. */
static size_t
hash_of(struct json_object *value, hash256 *out)
{
	uint8_t		bytes[256];
	size_t		len;
	int			text_len = json_object_get_string_len(value);

	memset(out, 0, sizeof(*out));
	if (sodium_base642bin(bytes, sizeof(bytes), json_object_get_string(value), (size_t) text_len,
						  NULL, &len, NULL, sodium_base64_VARIANT_ORIGINAL) != 0)
	{
		printf("Bail out! a vector is not base64\n");
		exit(1);
	}
	memcpy(out->bytes, bytes, len < HASH_SIZE ? len : HASH_SIZE);
	return len;
}

/* The proof of a vector; false when a node of it is not a hash. */
static bool
proof_of(struct json_object *vector, hash256 *proof, size_t *len)
{
	struct json_object *nodes = field(vector, "proof");
	bool		whole = true;

	*len = nodes == NULL ? 0 : json_object_array_length(nodes);
	if (*len > PROOF_MAX)
		return false;
	for (size_t i = 0; i < *len; i++)
		whole = hash_of(json_object_array_get_idx(nodes, i), &proof[i]) == HASH_SIZE && whole;
	return whole;
}

static bool
inclusion_holds(struct json_object *vector)
{
	hash256		proof[PROOF_MAX];
	hash256		leaf;
	hash256		root;
	size_t		len;

	inclusion_count++;
	hash_of(field(vector, "root"), &root);
	if (hash_of(field(vector, "leafHash"), &leaf) != HASH_SIZE || !proof_of(vector, proof, &len))
		return false;
	return merkle_verify_inclusion(&leaf, json_object_get_uint64(field(vector, "leafIdx")),
								   json_object_get_uint64(field(vector, "treeSize")),
								   proof, len, &root) == CORE_OK;
}

static bool
consistency_holds(struct json_object *vector)
{
	hash256		proof[PROOF_MAX];
	hash256		root1;
	hash256		root2;
	size_t		len;

	consistency_count++;
	hash_of(field(vector, "root1"), &root1);
	hash_of(field(vector, "root2"), &root2);
	if (!proof_of(vector, proof, &len))
		return false;
	return merkle_verify_consistency(json_object_get_uint64(field(vector, "size1")),
									 json_object_get_uint64(field(vector, "size2")),
									 proof, len, &root1, &root2) == CORE_OK;
}

static int
visit(const char *path, const struct stat *info, int type, struct FTW *at)
{
	struct json_object *vector;
	bool		holds;
	const char *name = path + strlen(VECTOR_DIR) + 1;

	(void) info;
	(void) at;
	if (type != FTW_F)
		return 0;
	vector = json_object_from_file(path);
	if (vector == NULL)
	{
		ok(false, "%s is JSON", name);
		return 0;
	}
	if (json_object_object_get_ex(vector, "leafIdx", NULL))
		holds = inclusion_holds(vector);
	else
		holds = consistency_holds(vector);
	ok(holds != (json_object_get_boolean(field(vector, "wantErr")) != 0), "%s", name);
	json_object_put(vector);
	return 0;
}

int
main(void)
{
	ok(nftw(VECTOR_DIR, visit, 16, FTW_PHYS) == 0, "the vectors can be read");
	is_count((unsigned long) (inclusion_count + consistency_count), VECTORS, "there are all vectors");
	ok(inclusion_count > 0 && consistency_count > 0, "there are vectors of both kinds");
	return tap_done();
}
