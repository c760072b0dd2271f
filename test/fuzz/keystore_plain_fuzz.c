/*
 * keystore_plain_fuzz.c
 *	  Any bytes as the text inside a keystore file, sealed under the right key:
 *	  what parses has its keys and journals sorted, and can be written again.
 */
#include "fuzz.h"

#include "chain/codec.h"
#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "crypto/keystore.h"

#define HEADER_SIZE 52

static const uint8_t master_key[32] = {7};

/* The file around a text, with zeros as keystore id and nonce. */
static uint8_t *
file_around(const uint8_t *plain, size_t len)
{
	uint8_t    *file = calloc(1, HEADER_SIZE + len + AEAD_TAG_SIZE);
	uint8_t		key[AEAD_KEY_SIZE];
	aead_context *cipher;

	holds(kdf_derive(master_key, file + 20, 16, KDF_INFO_KEYSTORE, key, sizeof(key)) == CORE_OK);
	holds(aead_new(key, &cipher) == CORE_OK);
	memcpy(file, "VRTYKEYS", 8);
	codec_store_u32(file + 8, KEYSTORE_VERSION);
	codec_store_u32(file + 48, (uint32_t) len);
	holds(aead_seal(cipher, file + 36, file, HEADER_SIZE, plain, len,
					file + HEADER_SIZE, file + HEADER_SIZE + len) == CORE_OK);
	aead_free(cipher);
	return file;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t    *file = file_around(data, size);
	uint8_t    *again;
	size_t		len;
	keystore   *ks;
	core_status status = keystore_parse(file, HEADER_SIZE + size + AEAD_TAG_SIZE, master_key, &ks);

	holds(status == CORE_OK || status == CORE_E_FORMAT);
	if (status == CORE_OK)
	{
		for (uint32_t i = 0; i < ks->key_count; i++)
			holds(keystore_find_key(ks, ks->keys[i].id) == &ks->keys[i]);
		for (uint32_t i = 0; i < ks->journal_count; i++)
			holds(keystore_find_journal(ks, ks->journals[i].journal_id) == &ks->journals[i]);
		holds(keystore_serialize(ks, master_key, &again, &len) == CORE_OK);
		holds(len == HEADER_SIZE + size + AEAD_TAG_SIZE);
		free(again);
		keystore_free(ks);
	}
	free(file);
	return 0;
}
