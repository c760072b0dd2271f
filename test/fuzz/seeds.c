/*
 * seeds.c
 *	  Write valid inputs for the fuzz targets to start from: seeds DIRECTORY.
 */
#include "fuzz.h"

#include <errno.h>
#include <sys/stat.h>

#include "chain/control.h"
#include "chain/record.h"
#include "crypto/keystore.h"

#define SEED_MAX 2048

static const char *directory;

static void
write_seed(const char *target, const char *name, const void *data, size_t len)
{
	char		path[1024];
	FILE	   *file;

	snprintf(path, sizeof(path), "%s/%s", directory, target);
	holds(mkdir(path, 0777) == 0 || errno == EEXIST);
	snprintf(path, sizeof(path), "%s/%s/%s", directory, target, name);
	file = fopen(path, "wb");
	holds(file != NULL && fwrite(data, 1, len, file) == len && fclose(file) == 0);
}

static void
entry_seeds(void)
{
	static const entry_range ranges[2] = {{1, 2}, {5, 5}};
	uint8_t		bytes[SEED_MAX];
	size_t		used;
	entry_item	items[2] = {{.ledger = {1}, .count = 3, .range_count = 2, .ranges = ranges},
	{.ledger = {2}, .count = 1}};
	entry_stored entry = {.core = {.version = ENTRY_VERSION, .kind = ENTRY_TRANSACTION,
			.position = 2, .serial = 1, .decided = 1},
		.item_count = 2, .items = items,
		.metadata = {.session_user = "alice", .reason = "why", .has_idempotency_id = true}
	};

	for (int i = 0; i < 2; i++)
		holds(entry_ranges_hash(items[i].ranges, items[i].range_count, &items[i].discarded_hash) == CORE_OK);
	holds(entry_seal(&entry) == CORE_OK);
	holds(entry_stored_encode(&entry, bytes, sizeof(bytes), &used) == CORE_OK);
	write_seed("entry_stored", "transaction", bytes, used);

	entry.core.kind = ENTRY_VOID;
	entry.item_count = 0;
	entry.body = bytes;
	entry.body_len = 20;
	holds(entry_seal(&entry) == CORE_OK);
	holds(entry_stored_encode(&entry, bytes + 100, sizeof(bytes) - 100, &used) == CORE_OK);
	write_seed("entry_stored", "control", bytes + 100, used);
}

static void
control_seeds(void)
{
	uint8_t		bytes[SEED_MAX];
	codec_writer w;
	control_void_member members[2] = {{5, 50}, {6, 60}};

#define SEED(which, kind, ...) \
	do { \
		control_##kind body = {__VA_ARGS__}; \
		codec_writer_init(&w, bytes, sizeof(bytes)); \
		codec_put_u8(&w, which); \
		control_##kind##_encode(&w, &body); \
		write_seed("control", #kind, bytes, w.used); \
	} while (0)

	SEED(0, genesis, .database_oid = 5, .database_name = {"postgres", 8});
	SEED(1, generation, .number = 1, .cause = GENERATION_START);
	SEED(2, schema, .action = SCHEMA_CREATE, .name = {"public.t", 8}, .definition = {"x", 1});
	SEED(3, key, .key_id = 7);
	SEED(4, policy, .action = POLICY_RELEASE, .reason = {"because", 7});
	SEED(5, void, .count = 2, .members = members);
}

static void
record_seeds(void)
{
	record_header header = {.version = RECORD_VERSION, .kind = RECORD_UPDATE,
		.attributes = RECORD_SUPERSEDES | 3, .id = {1, 2}, .supersedes = {1, 1}
	};
	uint8_t		bytes[RECORD_HEADER_MAX];

	write_seed("record_header", "update", bytes, record_header_encode(&header, bytes));
	header.kind = RECORD_INSERT;
	header.attributes = RECORD_HAS_NULLS | 3;
	write_seed("record_header", "insert", bytes, record_header_encode(&header, bytes));
}

static void
keystore_seeds(void)
{
	static const uint8_t other_key[32] = {8};
	uint8_t		plain[8 + 2 * 104 + 96] = {0};
	uint8_t		id[16] = {1};
	uint8_t    *file;
	size_t		len;
	uint64_t	key_id;
	keystore   *ks;

	holds(keystore_new(1, &ks) == CORE_OK);
	holds(keystore_add_key(ks, id, id, &key_id) == CORE_OK);
	holds(keystore_serialize(ks, other_key, &file, &len) == CORE_OK);
	write_seed("keystore_file", "other_key", file, len);
	free(file);
	keystore_free(ks);

	codec_store_u32(plain, 2);
	codec_store_u32(plain + 4, 1);
	plain[15] = 1;
	plain[15 + 104] = 2;
	write_seed("keystore_plain", "two_keys", plain, sizeof(plain));
	memset(plain, 'a', 64);
	plain[64] = '\n';
	write_seed("master_key", "line", plain, 65);
}

int
main(int argc, char **argv)
{
	holds(argc == 2);
	directory = argv[1];
	holds(mkdir(directory, 0777) == 0 || errno == EEXIST);
	entry_seeds();
	control_seeds();
	record_seeds();
	keystore_seeds();
	return 0;
}
