/*
 * keystore_file.c
 *	  The sealed bytes of a keystore, and the master key's text.
 *
 * Layout: see keystore.h.  Nothing of a file is believed before its tag held,
 * except the lengths in its plain header, which have to fit the file exactly.
 * Each writing draws a new nonce, and the sealing key is bound to the keystore
 * by its id.
 */
#include "keystore.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "aead.h"
#include "../chain/codec.h"
#include "kdf.h"
#include "secmem.h"

#define MAGIC_SIZE 8
#define OFFSET_VERSION MAGIC_SIZE
#define OFFSET_SYSTEM (OFFSET_VERSION + 4)
#define OFFSET_ID (OFFSET_SYSTEM + 8)
#define OFFSET_NONCE (OFFSET_ID + 16)
#define OFFSET_LENGTH (OFFSET_NONCE + AEAD_NONCE_SIZE)
#define HEADER_SIZE (OFFSET_LENGTH + 4)

#define COUNTS_SIZE 8
#define KEY_SIZE (8 + 16 + LEDGER_ID_SIZE + 32 + 32)
#define JOURNAL_SIZE (16 + 32 + 8 + 8 + HASH_SIZE)
#define PLAIN_SIZE_MAX (COUNTS_SIZE + (size_t) KEYSTORE_KEYS_MAX * KEY_SIZE + \
						(size_t) KEYSTORE_JOURNALS_MAX * JOURNAL_SIZE)

#define MASTER_KEY_DIGITS 64

_Static_assert(HEADER_SIZE == 52, "the plain header has a fixed size");
_Static_assert(PLAIN_SIZE_MAX < INT32_MAX, "the sealed length fits, in file and cipher");

static const uint8_t magic[MAGIC_SIZE] = {'V', 'R', 'T', 'Y', 'K', 'E', 'Y', 'S'};

/* The cipher of a keystore's file. */
static core_status
file_cipher(const uint8_t master_key[32], const uint8_t id[16], aead_context **out)
{
	uint8_t		key[AEAD_KEY_SIZE];
	core_status status;

	*out = NULL;
	status = kdf_derive(master_key, id, 16, KDF_INFO_KEYSTORE, key, sizeof(key));
	if (status == CORE_OK)
		status = aead_new(key, out);
	secmem_wipe(key, sizeof(key));
	return status;
}

static void
plain_encode(codec_writer *w, const keystore *ks)
{
	codec_put_u32(w, ks->key_count);
	codec_put_u32(w, ks->journal_count);
	for (uint32_t i = 0; i < ks->key_count; i++)
	{
		const keystore_key *key = &ks->keys[i];

		codec_put_u64(w, key->id);
		codec_put_bytes(w, key->journal_id, sizeof(key->journal_id));
		codec_put_bytes(w, key->ledger, sizeof(key->ledger));
		codec_put_bytes(w, key->key, sizeof(key->key));
		codec_put_bytes(w, key->commitment, sizeof(key->commitment));
	}
	for (uint32_t i = 0; i < ks->journal_count; i++)
	{
		const keystore_journal *journal = &ks->journals[i];

		codec_put_bytes(w, journal->journal_id, sizeof(journal->journal_id));
		codec_put_bytes(w, journal->hmac_key, sizeof(journal->hmac_key));
		codec_put_u64(w, journal->position);
		codec_put_u64(w, journal->generation);
		codec_put_bytes(w, journal->hash.bytes, HASH_SIZE);
	}
}

static void
header_encode(uint8_t *file, const keystore *ks, uint32_t sealed_len)
{
	memcpy(file, magic, MAGIC_SIZE);
	codec_store_u32(file + OFFSET_VERSION, KEYSTORE_VERSION);
	codec_store_u64(file + OFFSET_SYSTEM, ks->system_identifier);
	memcpy(file + OFFSET_ID, ks->id, sizeof(ks->id));
	secmem_random(file + OFFSET_NONCE, AEAD_NONCE_SIZE);
	codec_store_u32(file + OFFSET_LENGTH, sealed_len);
}

/* Encode into plain, and seal from there into file behind its header. */
static core_status
seal_file(const keystore *ks, const uint8_t master_key[32],
		  uint8_t *plain, size_t plain_len, uint8_t *file)
{
	uint8_t    *sealed = file + HEADER_SIZE;
	aead_context *cipher;
	codec_writer w;
	core_status status;

	codec_writer_init(&w, plain, plain_len);
	plain_encode(&w, ks);
	if (w.failed || w.used != plain_len)
		return CORE_E_LIMIT;
	header_encode(file, ks, (uint32_t) plain_len);

	status = file_cipher(master_key, ks->id, &cipher);
	if (status == CORE_OK)
		status = aead_seal(cipher, file + OFFSET_NONCE, file, HEADER_SIZE,
						   plain, plain_len, sealed, sealed + plain_len);
	aead_free(cipher);
	return status;
}

core_status
keystore_serialize(const keystore *ks, const uint8_t master_key[32],
				   uint8_t **out, size_t *len)
{
	size_t		plain_len = COUNTS_SIZE + (size_t) ks->key_count * KEY_SIZE +
		(size_t) ks->journal_count * JOURNAL_SIZE;
	size_t		file_len = HEADER_SIZE + plain_len + AEAD_TAG_SIZE;
	uint8_t    *plain;
	uint8_t    *file;
	core_status status = CORE_E_CRYPTO;

	*out = NULL;
	*len = 0;
	if (ks->key_count > KEYSTORE_KEYS_MAX || ks->journal_count > KEYSTORE_JOURNALS_MAX)
		return CORE_E_LIMIT;
	plain = secmem_alloc(plain_len);
	file = malloc(file_len);
	if (plain != NULL && file != NULL)
		status = seal_file(ks, master_key, plain, plain_len, file);
	secmem_free(plain);
	if (status != CORE_OK)
	{
		free(file);
		return status;
	}
	*out = file;
	*len = file_len;
	return CORE_OK;
}

static core_status
header_check(const uint8_t *in, size_t len)
{
	if (len < HEADER_SIZE + COUNTS_SIZE + AEAD_TAG_SIZE || memcmp(in, magic, MAGIC_SIZE) != 0)
		return CORE_E_FORMAT;
	if (codec_load_u32(in + OFFSET_VERSION) != KEYSTORE_VERSION)
		return CORE_E_VERSION;
	if (len - HEADER_SIZE - AEAD_TAG_SIZE != codec_load_u32(in + OFFSET_LENGTH))
		return CORE_E_FORMAT;
	return len - HEADER_SIZE - AEAD_TAG_SIZE > PLAIN_SIZE_MAX ? CORE_E_LIMIT : CORE_OK;
}

static void
keys_decode(codec_reader *r, keystore *ks, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
	{
		keystore_key *key = &ks->keys[i];

		key->id = codec_get_u64(r);
		codec_get_bytes(r, key->journal_id, sizeof(key->journal_id));
		codec_get_bytes(r, key->ledger, sizeof(key->ledger));
		codec_get_bytes(r, key->key, sizeof(key->key));
		codec_get_bytes(r, key->commitment, sizeof(key->commitment));
		if (key->id == 0 || (i > 0 && key->id <= ks->keys[i - 1].id))
			r->failed = true;
	}
	ks->key_count = count;
}

static void
journals_decode(codec_reader *r, keystore *ks, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
	{
		keystore_journal *journal = &ks->journals[i];

		codec_get_bytes(r, journal->journal_id, sizeof(journal->journal_id));
		codec_get_bytes(r, journal->hmac_key, sizeof(journal->hmac_key));
		journal->position = codec_get_u64(r);
		journal->generation = codec_get_u64(r);
		codec_get_bytes(r, journal->hash.bytes, HASH_SIZE);
		if (i > 0 && memcmp(ks->journals[i - 1].journal_id, journal->journal_id, 16) >= 0)
			r->failed = true;
	}
	ks->journal_count = count;
}

static core_status
plain_decode(const uint8_t *plain, size_t len, keystore *ks)
{
	codec_reader r;
	uint32_t	keys;
	uint32_t	journals;
	core_status status;

	codec_reader_init(&r, plain, len);
	keys = codec_get_u32(&r);
	journals = codec_get_u32(&r);
	if (r.failed || keys > KEYSTORE_KEYS_MAX || journals > KEYSTORE_JOURNALS_MAX)
		return CORE_E_FORMAT;
	if (len != COUNTS_SIZE + (size_t) keys * KEY_SIZE + (size_t) journals * JOURNAL_SIZE)
		return CORE_E_FORMAT;
	status = keystore_reserve(ks, keys, journals);
	if (status != CORE_OK)
		return status;
	keys_decode(&r, ks, keys);
	journals_decode(&r, ks, journals);
	return codec_reader_done(&r) ? CORE_OK : CORE_E_FORMAT;
}

/* Open a file whose header was checked, into plain. */
static core_status
open_file(const uint8_t *in, size_t plain_len, const uint8_t master_key[32], uint8_t *plain)
{
	const uint8_t *sealed = in + HEADER_SIZE;
	aead_context *cipher;
	core_status status = file_cipher(master_key, in + OFFSET_ID, &cipher);

	if (status == CORE_OK)
		status = aead_open(cipher, in + OFFSET_NONCE, in, HEADER_SIZE,
						   sealed, plain_len, sealed + plain_len, plain);
	aead_free(cipher);
	return status;
}

core_status
keystore_parse(const uint8_t *in, size_t len, const uint8_t master_key[32], keystore **out)
{
	size_t		plain_len;
	uint8_t    *plain;
	keystore   *ks;
	core_status status = header_check(in, len);

	*out = NULL;
	if (status != CORE_OK)
		return status;
	plain_len = len - HEADER_SIZE - AEAD_TAG_SIZE;
	status = keystore_new(codec_load_u64(in + OFFSET_SYSTEM), &ks);
	if (status != CORE_OK)
		return status;
	memcpy(ks->id, in + OFFSET_ID, sizeof(ks->id));

	plain = secmem_alloc(plain_len);
	status = plain == NULL ? CORE_E_CRYPTO : open_file(in, plain_len, master_key, plain);
	if (status == CORE_OK)
		status = plain_decode(plain, plain_len, ks);
	secmem_free(plain);
	if (status != CORE_OK)
	{
		keystore_free(ks);
		return status;
	}
	*out = ks;
	return CORE_OK;
}

core_status
keystore_peek(const uint8_t *in, size_t len, uint64_t *system_identifier)
{
	core_status status = header_check(in, len);

	if (status == CORE_OK)
		*system_identifier = codec_load_u64(in + OFFSET_SYSTEM);
	return status;
}

core_status
keystore_parse_master_key(const char *text, size_t len, uint8_t out[32])
{
	size_t		written = 0;

	if (len == MASTER_KEY_DIGITS + 1 && text[MASTER_KEY_DIGITS] == '\n')
		len = MASTER_KEY_DIGITS;
	if (len == MASTER_KEY_DIGITS &&
		sodium_hex2bin(out, 32, text, len, NULL, &written, NULL) == 0 && written == 32)
		return CORE_OK;
	secmem_wipe(out, 32);
	return CORE_E_FORMAT;
}
