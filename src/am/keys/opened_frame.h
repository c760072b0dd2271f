/*
 * opened_frame.h
 *	  What a page's opened records look like: in the pool (opened.c), and in
 *	  the memory of who reads them one after the other (opened_page.c).
 *
 * data holds, for each record: sealed header, tag, padding, plaintext.  The
 * padding puts the plaintext where a heap tuple would have it, so that columns
 * are read in place: it begins with the first column, or with the null bitmap,
 * which stands one byte before an aligned address.
 */
#ifndef VERITY_OPENED_FRAME_H
#define VERITY_OPENED_FRAME_H

#include "am/keys/opened.h"
#include "port/atomics.h"

#define OPENED_FRAME_BYTES 8192
#define OPENED_RECORDS 80		/* line pointers beyond are not kept */
#define OPENED_BINDINGS 4		/* schema versions and generations on a page */

/* What a header leaves open. */
typedef struct OpenedBinding
{
	hash256		digest;
	uint64		generation_id;
} OpenedBinding;

typedef struct OpenedEntry
{
	uint16		at;				/* in data */
	uint16		plain_len;		/* part of what the tag was computed over */
	uint8		binding;
	bool		present : 1;
	bool		nulls : 1;		/* plaintext begins with a null bitmap */
} OpenedEntry;

typedef struct OpenedContent
{
	uint8		ledger[LEDGER_ID_SIZE];
	BlockNumber block;
	uint16		used;			/* bytes of data */
	uint16		binding_count;
	OpenedBinding bindings[OPENED_BINDINGS];
	OpenedEntry entries[OPENED_RECORDS];
	uint8		data[OPENED_FRAME_BYTES - 8 - LEDGER_ID_SIZE - 8 -
					 OPENED_BINDINGS * sizeof(OpenedBinding) -
					 OPENED_RECORDS * sizeof(OpenedEntry)];
} OpenedContent;

#define OPENED_DATA sizeof(((OpenedContent *) NULL)->data)

/* A place of the pool. */
typedef struct OpenedFrame
{
	pg_atomic_uint32 sequence;	/* odd: being written */
	uint32		protection;		/* how many pages may still want it in vain */
	OpenedContent content;
} OpenedFrame;

StaticAssertDecl(sizeof(OpenedFrame) == OPENED_FRAME_BYTES, "a frame has no gaps");
StaticAssertDecl(offsetof(OpenedContent, data) % MAXIMUM_ALIGNOF == 0, "columns are read in place");
StaticAssertDecl(OPENED_FRAME_BYTES - 1 <= PG_UINT16_MAX, "a place in a frame is 16 bits");
StaticAssertDecl(LEDGER_ID_SIZE == 16 && RECORD_TAG_SIZE == 16 && sizeof(hash256) == 32 &&
				 RECORD_HEADER_SIZE == 32 && RECORD_HEADER_MAX >= 32,
				 "what is compared is made of pieces of 16 bytes");

/* --- comparing; in line: these few comparisons are what a hit costs --- */

static inline bool
opened_same_16(const void *a, const void *b)
{
	uint64		x[2];
	uint64		y[2];

	memcpy(x, a, sizeof(x));
	memcpy(y, b, sizeof(y));
	return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}

/* Is what an entry keeps this sealed header with this tag? */
static inline bool
opened_same_sealed(const uint8 *kept, const uint8 *header, Size header_len, const uint8 *tag)
{
	return opened_same_16(kept, header) && opened_same_16(kept + 16, header + 16) &&
		(header_len == RECORD_HEADER_SIZE ||
		 opened_same_16(kept + header_len - 16, header + header_len - 16)) &&
		opened_same_16(kept + header_len, tag);
}

static inline bool
opened_is_of(const OpenedContent *content, const uint8 *ledger, BlockNumber block)
{
	return content->block == block && opened_same_16(content->ledger, ledger);
}

static inline bool
opened_binding_is(const OpenedBinding *binding, const OpenedRecord *record)
{
	return binding->generation_id == record->generation_id &&
		opened_same_16(binding->digest.bytes, record->digest->bytes) &&
		opened_same_16(binding->digest.bytes + 16, record->digest->bytes + 16);
}

/* --- where things stand --- */

/* Does the plaintext of a record with that sealed header begin with a null bitmap? */
static inline bool
opened_has_nulls(const uint8 *header)
{
	return (header[2] & (RECORD_HAS_NULLS >> 8)) != 0;
}

/* Of the plaintext, behind the beginning of its entry. */
static inline Size
opened_plain_offset(Size header_len, bool nulls)
{
	return MAXALIGN(header_len + RECORD_TAG_SIZE) + (nulls ? MAXIMUM_ALIGNOF - 1 : 0);
}

static inline Size
opened_entry_size(const OpenedRecord *record)
{
	return MAXALIGN(opened_plain_offset(record->header_len, opened_has_nulls(record->header)) +
					record->plain_len);
}

/* --- filling --- */

/* Make it this page's, with nothing in it. */
static inline void
opened_reset(OpenedContent *content, const uint8 *ledger, BlockNumber block)
{
	memcpy(content->ledger, ledger, LEDGER_ID_SIZE);
	content->block = block;
	content->used = 0;
	content->binding_count = 0;
	memset(content->entries, 0, sizeof(content->entries));
}

/* Which binding is the record's?  -1: none. */
static inline int
opened_binding(const OpenedContent *content, const OpenedRecord *record)
{
	for (int i = 0; i < content->binding_count; i++)
		if (opened_binding_is(&content->bindings[i], record))
			return i;
	return -1;
}

/* Where the record's plaintext belongs, which opened_add then takes in; NULL: no room. */
static inline uint8 *
opened_room(OpenedContent *content, const OpenedRecord *record)
{
	if (content->used + opened_entry_size(record) > OPENED_DATA)
		return NULL;
	if (opened_binding(content, record) < 0)
	{
		OpenedBinding *binding = &content->bindings[content->binding_count];

		if (content->binding_count == OPENED_BINDINGS)
			return NULL;
		binding->digest = *record->digest;
		binding->generation_id = record->generation_id;
		content->binding_count++;
	}
	return content->data + content->used +
		opened_plain_offset(record->header_len, opened_has_nulls(record->header));
}

/* Take a record in, whose plaintext stands where opened_room said. */
static inline void
opened_add(OpenedContent *content, const OpenedRecord *record, int item)
{
	uint8	   *data = content->data + content->used;
	OpenedEntry *entry = &content->entries[item];

	memcpy(data, record->header, record->header_len);
	memcpy(data + record->header_len, record->cipher + record->plain_len, RECORD_TAG_SIZE);
	entry->at = content->used;
	entry->plain_len = record->plain_len;
	entry->binding = opened_binding(content, record);
	entry->nulls = opened_has_nulls(record->header);
	entry->present = true;
	content->used += opened_entry_size(record);
}

/* --- opened.c: whole pages to and from the pool --- */

/* Copy what the pool has of a page; false: nothing, and out is garbage. */
extern bool verity_opened_load(OpenedContent *out, const uint8 *ledger, BlockNumber block);

/* Have the pool keep a page's records, where it gives up what stands there. */
extern void verity_opened_store(const OpenedContent *content);

#endif							/* VERITY_OPENED_FRAME_H */
