/*
 * record.c
 *	  The sealed record's header, nonce and associated data.
 *
 * Layout: see record.h.  What the encoder is given is our own, so it only
 * asserts; the decoder reads from disk and reports.
 */
#include "record.h"

#include <assert.h>
#include <string.h>

#include "../crypto/aead.h"

#define ATTRIBUTES_KNOWN (RECORD_NATTS_MASK | RECORD_HAS_NULLS | RECORD_SUPERSEDES | RECORD_SAME_KEY)

_Static_assert(RECORD_NONCE_SIZE == sizeof(uint64_t) + sizeof(uint32_t),
			   "a nonce is a serial and a sequence");
_Static_assert(RECORD_NONCE_SIZE == AEAD_NONCE_SIZE && RECORD_TAG_SIZE == AEAD_TAG_SIZE,
			   "records are sealed by the AEAD");
_Static_assert(RECORD_SUPERSEDES_SIZE == RECORD_NONCE_SIZE, "both are record ids");
_Static_assert(RECORD_HEADER_SIZE == 1 + 1 + 2 + 4 + 8 + 4 + 4 + 8, "the header has no gaps");
_Static_assert((RECORD_NATTS_MASK & (RECORD_HAS_NULLS | RECORD_SUPERSEDES | RECORD_SAME_KEY)) == 0,
			   "flags and count do not overlap");

size_t
record_header_encode(const record_header *header, uint8_t out[RECORD_HEADER_MAX])
{
	uint8_t    *at = out;

	assert((header->attributes & ~ATTRIBUTES_KNOWN) == 0);

	*at++ = header->version;
	*at++ = header->kind;
	at = codec_store_u16(at, header->attributes);
	at = codec_store_u32(at, header->id.sequence);
	at = codec_store_u64(at, header->id.serial);
	at = codec_store_u32(at, header->schema_version);
	at = codec_store_u32(at, header->generation);
	at = codec_store_u64(at, header->key_id);
	if (header->attributes & RECORD_SUPERSEDES)
	{
		at = codec_store_u64(at, header->supersedes.serial);
		at = codec_store_u32(at, header->supersedes.sequence);
	}
	assert((size_t) (at - out) == record_header_size(header->attributes));
	return (size_t) (at - out);
}

/* Check what a header's fields say about each other. */
static core_status
record_header_check(const record_header *header)
{
	bool		supersedes = (header->attributes & RECORD_SUPERSEDES) != 0;

	if (header->kind < RECORD_INSERT || header->kind > RECORD_TOMBSTONE)
		return CORE_E_FORMAT;
	if (header->attributes & ~ATTRIBUTES_KNOWN)
		return CORE_E_FORMAT;
	if (supersedes != (header->kind != RECORD_INSERT))
		return CORE_E_FORMAT;
	if ((header->attributes & RECORD_SAME_KEY) && header->kind != RECORD_UPDATE)
		return CORE_E_FORMAT;
	if (header->id.serial == 0)
		return CORE_E_FORMAT;
	if (supersedes && header->supersedes.serial == 0)
		return CORE_E_FORMAT;
	return CORE_OK;
}

core_status
record_header_decode(const uint8_t *in, size_t len, record_header *header)
{
	if (len < RECORD_HEADER_SIZE)
		return CORE_E_FORMAT;
	if (in[0] != RECORD_VERSION)
		return CORE_E_VERSION;

	header->version = in[0];
	header->kind = in[1];
	header->attributes = codec_load_u16(in + 2);
	header->id.sequence = codec_load_u32(in + 4);
	header->id.serial = codec_load_u64(in + 8);
	header->schema_version = codec_load_u32(in + 16);
	header->generation = codec_load_u32(in + 20);
	header->key_id = codec_load_u64(in + 24);
	header->supersedes.serial = 0;
	header->supersedes.sequence = 0;
	if (header->attributes & RECORD_SUPERSEDES)
	{
		if (len < RECORD_HEADER_MAX)
			return CORE_E_FORMAT;
		header->supersedes.serial = codec_load_u64(in + 32);
		header->supersedes.sequence = codec_load_u32(in + 40);
	}
	return record_header_check(header);
}

void
record_nonce(const record_id *id, uint8_t out[RECORD_NONCE_SIZE])
{
	codec_store_u32(codec_store_u64(out, id->serial), id->sequence);
}

size_t
record_aad(const uint8_t *header, size_t header_len, uint32_t plain_len,
		   const uint8_t ledger[LEDGER_ID_SIZE], const hash256 *schema_digest,
		   uint64_t generation_id, uint8_t out[RECORD_AAD_MAX])
{
	uint8_t    *at = out;

	assert(header_len == RECORD_HEADER_SIZE || header_len == RECORD_HEADER_MAX);

	memcpy(at, header, header_len);
	at = codec_store_u32(at + header_len, plain_len);
	memcpy(at, ledger, LEDGER_ID_SIZE);
	at += LEDGER_ID_SIZE;
	memcpy(at, schema_digest->bytes, HASH_SIZE);
	at = codec_store_u64(at + HASH_SIZE, generation_id);
	assert((size_t) (at - out) <= RECORD_AAD_MAX);
	return (size_t) (at - out);
}
