/*
 * opened.c
 *	  The pool of opened records, in shared memory.
 *
 * Opening is a function of the key, the associated data and the sealed bytes.
 * What it gave is kept for pages that are read again, as shared buffers keep
 * what was read from disk.  The pool is memory and nothing else: it is left
 * out of core dumps, locked where the process's limit allows it, never
 * written, and gone with the server.
 *
 * A frame holds records of one page of one ledger.  A record is found by its
 * line pointer, and given out only when the sealed header and the tag on the
 * page, the record's length, the digest of its schema version and its
 * generation's id are those that it was opened with: the header names the
 * record, which exists once, and the tag was computed over all of it.  So
 * moved, replaced and copied records are not found, whatever the page says;
 * and nobody is given one who has not the key at hand, for the caller has its
 * cipher context.
 * Verification does not come here: it opens what stands on the page.
 *
 * Locks: none.  A frame's sequence is odd while somebody writes it; a reader
 * copies, and believes the copy only when the sequence is even and what it
 * was before.  A writer that finds a frame being written leaves it alone.
 * Nothing can fail between the two steps of a writer, so that none leaves a
 * frame odd but by a crash, after which shared memory is made anew.
 *
 * A frame in use is not given up at once: a scan of a table that is larger
 * than the pool would otherwise leave nothing in it for the next one.
 */
#include "postgres.h"

#include <sys/mman.h>

#include "am/keys/opened.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "sql/settings.h"
#include "storage/shmem.h"

#define FRAME_BYTES 8192
#define FRAME_RECORDS 80		/* line pointers beyond are not kept */
#define FRAME_BINDINGS 4		/* schema versions and generations on a page */
#define POOL_ALIGN 65536		/* a multiple of every usual page size */

/* What a header leaves open. */
typedef struct OpenedBinding
{
	hash256		digest;
	uint64		generation_id;
} OpenedBinding;

typedef struct OpenedEntry
{
	uint16		at;				/* in data: header, tag, plain; see used */
	uint16		plain_len;		/* part of what the tag was computed over */
	uint8		binding;
	bool		present;
} OpenedEntry;

typedef struct OpenedFrame
{
	pg_atomic_uint32 sequence;	/* odd: being written */
	uint32		in_use;			/* read since somebody else wanted it */
	uint8		ledger[LEDGER_ID_SIZE];
	BlockNumber block;
	uint16		used;			/* bytes of data */
	uint16		binding_count;
	OpenedEntry entries[FRAME_RECORDS];
	OpenedBinding bindings[FRAME_BINDINGS];
	uint8		data[FLEXIBLE_ARRAY_MEMBER];
} OpenedFrame;

#define FRAME_DATA (FRAME_BYTES - offsetof(OpenedFrame, data))

StaticAssertDecl(offsetof(OpenedFrame, data) < FRAME_BYTES / 8, "a frame is for records");
StaticAssertDecl(FRAME_BYTES - 1 <= PG_UINT16_MAX, "a place in a frame is 16 bits");

int			verity_opened_pool_mb;

static char *frames;			/* NULL without a pool */
static uint64 frame_count;

/* --- shared memory --- */

static Size
pool_bytes(void)
{
	return (Size) verity_opened_pool_mb * 1024 * 1024;
}

Size
verity_opened_shmem_size(void)
{
	return verity_opened_pool_mb == 0 ? 0 : add_size(pool_bytes(), POOL_ALIGN);
}

void
verity_opened_shmem_init(void)
{
	bool		found;
	char	   *base;

	frames = NULL;
	frame_count = 0;
	if (verity_opened_pool_mb == 0)
		return;
	base = ShmemInitStruct("verity opened records", verity_opened_shmem_size(), &found);
	frames = (char *) TYPEALIGN(POOL_ALIGN, base);
	frame_count = pool_bytes() / FRAME_BYTES;
	if (found)
		return;
	for (uint64 i = 0; i < frame_count; i++)
		memset(frames + i * FRAME_BYTES, 0, offsetof(OpenedFrame, entries));
#ifdef MADV_DONTDUMP
	if (madvise(frames, pool_bytes(), MADV_DONTDUMP) != 0)
		ereport(LOG,
				(errmsg("could not keep the pool of opened records out of core dumps: %m"),
				 errhint("Switch core dumps off, or set verity.opened_pool to 0.")));
#endif
	if (mlock(frames, pool_bytes()) != 0)
		ereport(LOG,
				(errmsg("could not lock the pool of opened records in memory: %m"),
				 errhint("Raise the limit of locked memory (LimitMEMLOCK), or encrypt the swap space.")));
}

/* --- frames --- */

/* Are 16 bytes the same?  In line: these few comparisons are what a hit costs. */
static inline bool
same_16(const void *a, const void *b)
{
	uint64		x[2];
	uint64		y[2];

	memcpy(x, a, sizeof(x));
	memcpy(y, b, sizeof(y));
	return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}

StaticAssertDecl(LEDGER_ID_SIZE == 16 && RECORD_TAG_SIZE == 16 && sizeof(hash256) == 32 &&
				 RECORD_HEADER_SIZE == 32 && RECORD_HEADER_MAX >= 32,
				 "what is compared is made of pieces of 16 bytes");

/* Are two sealed headers of one length the same? */
static inline bool
same_header(const uint8 *a, const uint8 *b, Size len)
{
	return same_16(a, b) && same_16(a + 16, b + 16) &&
		(len == RECORD_HEADER_SIZE || same_16(a + len - 16, b + len - 16));
}

static OpenedFrame *
frame_of(const OpenedRecord *record, BlockNumber block)
{
	uint64		ledger;

	/* a ledger's id is random; blocks side by side never want one frame */
	memcpy(&ledger, record->ledger, sizeof(ledger));
	return (OpenedFrame *) (frames + (ledger + block) % frame_count * FRAME_BYTES);
}

static inline bool
frame_is_of(const OpenedFrame *frame, const OpenedRecord *record, BlockNumber block)
{
	return frame->block == block && same_16(frame->ledger, record->ledger);
}

static inline bool
binding_is(const OpenedBinding *binding, const OpenedRecord *record)
{
	return binding->generation_id == record->generation_id &&
		same_16(binding->digest.bytes, record->digest->bytes) &&
		same_16(binding->digest.bytes + 16, record->digest->bytes + 16);
}

static inline Size
entry_size(const OpenedRecord *record)
{
	return record->header_len + RECORD_TAG_SIZE + record->plain_len;
}

/* Copy the record out of a frame that may be changing under us. */
static inline bool
copy_entry(const OpenedFrame *frame, const OpenedRecord *record, int item, uint8 *out)
{
	OpenedEntry entry = frame->entries[item];
	const uint8 *data = frame->data + entry.at;

	if (!entry.present || entry.plain_len != record->plain_len ||
		entry.binding >= FRAME_BINDINGS ||
		entry.at + entry_size(record) > FRAME_DATA)
		return false;
	if (!same_header(data, record->header, record->header_len) ||
		!same_16(data + record->header_len, record->cipher + record->plain_len) ||
		!binding_is(&frame->bindings[entry.binding], record))
		return false;
	memcpy(out, data + record->header_len + RECORD_TAG_SIZE, record->plain_len);
	return true;
}

bool
verity_opened_get(const OpenedRecord *record, uint8 *out)
{
	BlockNumber block = ItemPointerGetBlockNumberNoCheck(&record->tid);
	int			item = ItemPointerGetOffsetNumberNoCheck(&record->tid) - FirstOffsetNumber;
	OpenedFrame *frame;
	uint32		sequence;

	if (frames == NULL || item < 0 || item >= FRAME_RECORDS)
		return false;
	frame = frame_of(record, block);
	sequence = pg_atomic_read_u32(&frame->sequence);
	pg_read_barrier();
	if ((sequence & 1) != 0 || !frame_is_of(frame, record, block) ||
		!copy_entry(frame, record, item, out))
		return false;
	pg_read_barrier();
	if (pg_atomic_read_u32(&frame->sequence) != sequence)
		return false;
	if (frame->in_use == 0)
		frame->in_use = 1;
	return true;
}

/* Make it this page's, with nothing in it. */
static void
frame_reset(OpenedFrame *frame, const OpenedRecord *record, BlockNumber block)
{
	memcpy(frame->ledger, record->ledger, LEDGER_ID_SIZE);
	frame->block = block;
	frame->used = 0;
	frame->binding_count = 0;
	frame->in_use = 0;
	memset(frame->entries, 0, sizeof(frame->entries));
}

/* Can the frame, which is ours to write, take the record?  Makes it empty where it may. */
static bool
frame_has_room(OpenedFrame *frame, const OpenedRecord *record, BlockNumber block)
{
	if (frame_is_of(frame, record, block) && frame->used + entry_size(record) <= FRAME_DATA)
		return true;
	if (frame->in_use != 0)
	{
		frame->in_use = 0;
		return false;
	}
	frame_reset(frame, record, block);
	return true;
}

/* Which of the frame's bindings is the record's? -1: none, and no room. */
static int
frame_binding(OpenedFrame *frame, const OpenedRecord *record)
{
	for (int i = 0; i < frame->binding_count; i++)
		if (binding_is(&frame->bindings[i], record))
			return i;
	if (frame->binding_count == FRAME_BINDINGS)
		return -1;
	frame->bindings[frame->binding_count].digest = *record->digest;
	frame->bindings[frame->binding_count].generation_id = record->generation_id;
	return frame->binding_count++;
}

/* Add a record to its page's frame, which is ours to write. */
static void
frame_add(OpenedFrame *frame, const OpenedRecord *record, int item, const uint8 *plain)
{
	uint8	   *data = frame->data + frame->used;
	int			binding = frame_binding(frame, record);

	if (binding < 0)
		return;
	memcpy(data, record->header, record->header_len);
	memcpy(data + record->header_len, record->cipher + record->plain_len, RECORD_TAG_SIZE);
	memcpy(data + record->header_len + RECORD_TAG_SIZE, plain, record->plain_len);
	frame->entries[item].at = frame->used;
	frame->entries[item].plain_len = record->plain_len;
	frame->entries[item].binding = binding;
	frame->entries[item].present = true;
	frame->used += entry_size(record);
}

void
verity_opened_put(const OpenedRecord *record, const uint8 *plain)
{
	BlockNumber block = ItemPointerGetBlockNumberNoCheck(&record->tid);
	int			item = ItemPointerGetOffsetNumberNoCheck(&record->tid) - FirstOffsetNumber;
	OpenedFrame *frame;
	uint32		sequence;

	if (frames == NULL || item < 0 || item >= FRAME_RECORDS || entry_size(record) > FRAME_DATA)
		return;
	frame = frame_of(record, block);
	sequence = pg_atomic_read_u32(&frame->sequence);
	if ((sequence & 1) != 0 ||
		!pg_atomic_compare_exchange_u32(&frame->sequence, &sequence, sequence + 1))
		return;
	if (frame_has_room(frame, record, block))
		frame_add(frame, record, item, plain);
	pg_write_barrier();
	pg_atomic_write_u32(&frame->sequence, sequence + 2);
}
