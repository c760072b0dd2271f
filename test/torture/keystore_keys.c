/*
 * keystore_keys.c
 *	  Print every secret of a keystore, in hexadecimal, one on a line: for the
 *	  test that looks for them in a core.
 *
 * usage: keystore_keys KEYSTORE MASTER-KEY-FILE
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chain/hash.h"
#include "crypto/keystore.h"

static size_t
read_file(const char *path, uint8_t *out, size_t size)
{
	FILE	   *file = fopen(path, "rb");
	size_t		len;

	if (file == NULL)
	{
		perror(path);
		exit(1);
	}
	len = fread(out, 1, size, file);
	fclose(file);
	return len;
}

static void
print(const char *what, const uint8_t secret[32])
{
	printf("%s ", what);
	for (int i = 0; i < 32; i++)
		printf("%02x", secret[i]);
	printf("\n");
}

int
main(int argc, char **argv)
{
	static uint8_t sealed[1 << 20];
	char		text[128];
	uint8_t		master[32];
	keystore   *ks;
	size_t		len;

	if (argc != 3)
		return 2;
	len = read_file(argv[2], (uint8_t *) text, sizeof(text));
	if (keystore_parse_master_key(text, len, master) != CORE_OK)
		return 1;
	len = read_file(argv[1], sealed, sizeof(sealed));
	if (len <= HASH_SIZE || keystore_parse(sealed, len - HASH_SIZE, master, &ks) != CORE_OK)
		return 1;
	print("master", master);
	for (uint32_t i = 0; i < ks->key_count; i++)
		print("DEK", ks->keys[i].key);
	for (uint32_t i = 0; i < ks->journal_count; i++)
		print("HMAC", ks->journals[i].hmac_key);
	keystore_free(ks);
	return 0;
}
