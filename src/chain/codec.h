/*
 * codec.h
 *	  Bounded big-endian writer and reader: the one way in which hashed and
 *	  stored structures of the core are encoded.
 *
 * Both keep a sticky failure flag, so that a sequence of calls is checked
 * once at its end.  A writer with a NULL buffer only counts.
 */
#ifndef VERITY_CODEC_H
#define VERITY_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct codec_writer
{
	uint8_t    *buffer;			/* NULL: only count */
	size_t		capacity;
	size_t		used;
	bool		failed;			/* did not fit */
} codec_writer;

typedef struct codec_reader
{
	const uint8_t *data;
	size_t		len;
	size_t		used;
	bool		failed;			/* ran past the end, or a bad value */
} codec_reader;

extern void codec_writer_init(codec_writer *w, void *buffer, size_t capacity);
extern void codec_put_u8(codec_writer *w, uint8_t v);
extern void codec_put_u16(codec_writer *w, uint16_t v);
extern void codec_put_u32(codec_writer *w, uint32_t v);
extern void codec_put_u64(codec_writer *w, uint64_t v);
extern void codec_put_bytes(codec_writer *w, const void *data, size_t len);

/* Length-prefixed (u32) bytes; NULL data is written as length UINT32_MAX. */
extern void codec_put_blob(codec_writer *w, const void *data, size_t len);

/* A blob of strlen(s) bytes; NULL stays NULL. */
extern void codec_put_string(codec_writer *w, const char *s);

extern void codec_reader_init(codec_reader *r, const void *data, size_t len);
extern uint8_t codec_get_u8(codec_reader *r);
extern uint16_t codec_get_u16(codec_reader *r);
extern uint32_t codec_get_u32(codec_reader *r);
extern uint64_t codec_get_u64(codec_reader *r);
extern void codec_get_bytes(codec_reader *r, void *out, size_t len);

/*
 * A pointer into the reader's data and its length; NULL and 0 for a NULL blob
 * or a failure.  Not zero-terminated.
 */
extern const uint8_t *codec_get_blob(codec_reader *r, size_t *len);

/* True when everything was read, nothing failed and nothing is left. */
extern bool codec_reader_done(const codec_reader *r);

/*
 * Big-endian stores and loads without bounds, for fixed layouts whose size
 * the caller has checked.  Stores return the position behind what they wrote.
 */
static inline uint8_t *
codec_store_u16(uint8_t *out, uint16_t v)
{
	out[0] = (uint8_t) (v >> 8);
	out[1] = (uint8_t) v;
	return out + 2;
}

static inline uint8_t *
codec_store_u32(uint8_t *out, uint32_t v)
{
	return codec_store_u16(codec_store_u16(out, (uint16_t) (v >> 16)), (uint16_t) v);
}

static inline uint8_t *
codec_store_u64(uint8_t *out, uint64_t v)
{
	return codec_store_u32(codec_store_u32(out, (uint32_t) (v >> 32)), (uint32_t) v);
}

static inline uint16_t
codec_load_u16(const uint8_t *in)
{
	return (uint16_t) (in[0] << 8 | in[1]);
}

static inline uint32_t
codec_load_u32(const uint8_t *in)
{
	return (uint32_t) codec_load_u16(in) << 16 | codec_load_u16(in + 2);
}

static inline uint64_t
codec_load_u64(const uint8_t *in)
{
	return (uint64_t) codec_load_u32(in) << 32 | codec_load_u32(in + 4);
}

#endif							/* VERITY_CODEC_H */
