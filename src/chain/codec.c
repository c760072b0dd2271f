/*
 * codec.c
 *	  Bounded big-endian writer and reader.
 *
 * No layout of its own: every structure's layout stands where it is encoded.
 * A writer that ran out of room and a reader that ran past the end fail for
 * good; a failed reader gives zeros and NULLs from then on.
 */
#include "codec.h"

#include <string.h>

#define BLOB_NULL UINT32_MAX

void
codec_writer_init(codec_writer *w, void *buffer, size_t capacity)
{
	w->buffer = buffer;
	w->capacity = capacity;
	w->used = 0;
	w->failed = false;
}

/* Reserve len bytes; NULL when they do not fit or are only counted. */
static uint8_t *
writer_take(codec_writer *w, size_t len)
{
	uint8_t    *at;

	if (w->failed)
		return NULL;
	if (w->buffer == NULL)
	{
		w->used += len;
		return NULL;
	}
	if (len > w->capacity - w->used)
	{
		w->failed = true;
		return NULL;
	}
	at = w->buffer + w->used;
	w->used += len;
	return at;
}

void
codec_put_u8(codec_writer *w, uint8_t v)
{
	uint8_t    *at = writer_take(w, 1);

	if (at != NULL)
		*at = v;
}

void
codec_put_u16(codec_writer *w, uint16_t v)
{
	uint8_t    *at = writer_take(w, 2);

	if (at != NULL)
		codec_store_u16(at, v);
}

void
codec_put_u32(codec_writer *w, uint32_t v)
{
	uint8_t    *at = writer_take(w, 4);

	if (at != NULL)
		codec_store_u32(at, v);
}

void
codec_put_u64(codec_writer *w, uint64_t v)
{
	uint8_t    *at = writer_take(w, 8);

	if (at != NULL)
		codec_store_u64(at, v);
}

void
codec_put_bytes(codec_writer *w, const void *data, size_t len)
{
	uint8_t    *at = writer_take(w, len);

	if (at != NULL && len > 0)
		memcpy(at, data, len);
}

void
codec_put_blob(codec_writer *w, const void *data, size_t len)
{
	if (data == NULL)
	{
		codec_put_u32(w, BLOB_NULL);
		return;
	}
	if (len >= BLOB_NULL)
	{
		w->failed = true;
		return;
	}
	codec_put_u32(w, (uint32_t) len);
	codec_put_bytes(w, data, len);
}

void
codec_put_string(codec_writer *w, const char *s)
{
	codec_put_blob(w, s, s == NULL ? 0 : strlen(s));
}

void
codec_reader_init(codec_reader *r, const void *data, size_t len)
{
	r->data = data;
	r->len = len;
	r->used = 0;
	r->failed = false;
}

/* Take len bytes; NULL when they are not there. */
static const uint8_t *
reader_take(codec_reader *r, size_t len)
{
	const uint8_t *at;

	if (r->failed || len > r->len - r->used)
	{
		r->failed = true;
		return NULL;
	}
	at = r->data + r->used;
	r->used += len;
	return at;
}

uint8_t
codec_get_u8(codec_reader *r)
{
	const uint8_t *at = reader_take(r, 1);

	return at == NULL ? 0 : *at;
}

uint16_t
codec_get_u16(codec_reader *r)
{
	const uint8_t *at = reader_take(r, 2);

	return at == NULL ? 0 : codec_load_u16(at);
}

uint32_t
codec_get_u32(codec_reader *r)
{
	const uint8_t *at = reader_take(r, 4);

	return at == NULL ? 0 : codec_load_u32(at);
}

uint64_t
codec_get_u64(codec_reader *r)
{
	const uint8_t *at = reader_take(r, 8);

	return at == NULL ? 0 : codec_load_u64(at);
}

void
codec_get_bytes(codec_reader *r, void *out, size_t len)
{
	const uint8_t *at = reader_take(r, len);

	if (len == 0)
		return;
	if (at == NULL)
		memset(out, 0, len);
	else
		memcpy(out, at, len);
}

const uint8_t *
codec_get_blob(codec_reader *r, size_t *len)
{
	uint32_t	size = codec_get_u32(r);
	const uint8_t *at;

	*len = 0;
	if (r->failed || size == BLOB_NULL)
		return NULL;
	at = reader_take(r, size);
	if (at != NULL)
		*len = size;
	return at;
}

bool
codec_reader_done(const codec_reader *r)
{
	return !r->failed && r->used == r->len;
}
