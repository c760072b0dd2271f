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
 * A frame is not given up at once: a scan of a table that is larger than the
 * pool would otherwise leave nothing in it for the next one.  A page that is
 * kept or read again is protected from the next few pages that want its frame;
 * after them, what nobody has read goes.
 *
 * Who reads a page's records one after the other copies the whole frame once
 * and brings it back with what was missing (opened_page.c); others get and put
 * single records.
 */
#include "postgres.h"

#include <sys/mman.h>

#include "am/keys/opened_frame.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "sql/settings.h"
#include "storage/shmem.h"

#define POOL_ALIGN 65536		/* a multiple of every usual page size */
#define FRAME_PROTECTION 4		/* this many pages may want a frame in vain */

int			verity_opened_pool_mb;

static OpenedFrame *frames;		/* NULL without a pool */
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
	frames = (OpenedFrame *) TYPEALIGN(POOL_ALIGN, base);
	frame_count = pool_bytes() / sizeof(OpenedFrame);
	if (found)
		return;
	for (uint64 i = 0; i < frame_count; i++)
		memset(&frames[i], 0, offsetof(OpenedFrame, content.entries));
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

static inline OpenedFrame *
frame_of(const uint8 *ledger, BlockNumber block)
{
	uint64		start;

	/* a ledger's id is random; blocks side by side never want one frame */
	memcpy(&start, ledger, sizeof(start));
	return &frames[(start + block) % frame_count];
}

/* Begin to write a frame: false where somebody else does. */
static inline bool
frame_lock(OpenedFrame *frame)
{
	uint32		sequence = pg_atomic_read_u32(&frame->sequence);

	return (sequence & 1) == 0 &&
		pg_atomic_compare_exchange_u32(&frame->sequence, &sequence, sequence + 1);
}

static inline void
frame_unlock(OpenedFrame *frame)
{
	pg_write_barrier();
	pg_atomic_write_u32(&frame->sequence, pg_atomic_read_u32(&frame->sequence) + 1);
}

/* Protect what is new in the frame, or has proved of use. */
static inline void
frame_protect(OpenedFrame *frame)
{
	if (frame->protection < FRAME_PROTECTION)
		frame->protection = FRAME_PROTECTION;
}

/* May another page have the frame, which is ours to write? */
static bool
frame_is_given_up(OpenedFrame *frame)
{
	if (frame->protection == 0)
		return true;
	frame->protection--;
	return false;
}

/* --- single records --- */

/* Copy the record out of a frame that may be changing under us. */
static inline bool
copy_entry(const OpenedContent *content, const OpenedRecord *record, int item, uint8 *out)
{
	OpenedEntry entry = content->entries[item];

	if (!entry.present || entry.plain_len != record->plain_len ||
		entry.binding >= OPENED_BINDINGS ||
		entry.at + opened_plain_offset(record->header_len, entry.nulls) + entry.plain_len > OPENED_DATA)
		return false;
	if (!opened_same_sealed(content->data + entry.at, record->header, record->header_len,
							record->cipher + record->plain_len) ||
		!opened_binding_is(&content->bindings[entry.binding], record))
		return false;
	memcpy(out, content->data + entry.at + opened_plain_offset(record->header_len, entry.nulls),
		   record->plain_len);
	return true;
}

bool
verity_opened_get(const OpenedRecord *record, uint8 *out)
{
	BlockNumber block = ItemPointerGetBlockNumberNoCheck(&record->tid);
	int			item = ItemPointerGetOffsetNumberNoCheck(&record->tid) - FirstOffsetNumber;
	OpenedFrame *frame;
	uint32		sequence;

	if (frames == NULL || item < 0 || item >= OPENED_RECORDS)
		return false;
	frame = frame_of(record->ledger, block);
	sequence = pg_atomic_read_u32(&frame->sequence);
	pg_read_barrier();
	if ((sequence & 1) != 0 || !opened_is_of(&frame->content, record->ledger, block) ||
		!copy_entry(&frame->content, record, item, out))
		return false;
	pg_read_barrier();
	if (pg_atomic_read_u32(&frame->sequence) != sequence)
		return false;
	frame_protect(frame);
	return true;
}

/* Is the frame, which is ours to write, to take the record?  Makes it its page's. */
static bool
frame_has_room(OpenedFrame *frame, const OpenedRecord *record, BlockNumber block)
{
	if (!opened_is_of(&frame->content, record->ledger, block))
	{
		if (!frame_is_given_up(frame))
			return false;
		opened_reset(&frame->content, record->ledger, block);
		frame_protect(frame);
	}
	return frame->content.used + opened_entry_size(record) <= OPENED_DATA;
}

void
verity_opened_put(const OpenedRecord *record, const uint8 *plain)
{
	BlockNumber block = ItemPointerGetBlockNumberNoCheck(&record->tid);
	int			item = ItemPointerGetOffsetNumberNoCheck(&record->tid) - FirstOffsetNumber;
	OpenedFrame *frame;
	uint8	   *room;

	if (frames == NULL || item < 0 || item >= OPENED_RECORDS)
		return;
	frame = frame_of(record->ledger, block);
	if (!frame_lock(frame))
		return;
	if (frame_has_room(frame, record, block) &&
		(room = opened_room(&frame->content, record)) != NULL)
	{
		memcpy(room, plain, record->plain_len);
		opened_add(&frame->content, record, item);
	}
	frame_unlock(frame);
}

/* --- whole pages --- */

bool
verity_opened_load(OpenedContent *out, const uint8 *ledger, BlockNumber block)
{
	OpenedFrame *frame;
	uint32		sequence;
	Size		used;

	if (frames == NULL)
		return false;
	frame = frame_of(ledger, block);
	sequence = pg_atomic_read_u32(&frame->sequence);
	pg_read_barrier();
	if ((sequence & 1) != 0 || !opened_is_of(&frame->content, ledger, block))
		return false;
	used = Min(frame->content.used, OPENED_DATA);
	memcpy(out, &frame->content, offsetof(OpenedContent, data) + used);
	pg_read_barrier();
	if (pg_atomic_read_u32(&frame->sequence) != sequence)
		return false;
	frame_protect(frame);
	return true;
}

void
verity_opened_store(const OpenedContent *content)
{
	OpenedFrame *frame;

	if (frames == NULL)
		return;
	frame = frame_of(content->ledger, content->block);
	if (!frame_lock(frame))
		return;
	if (opened_is_of(&frame->content, content->ledger, content->block) ||
		frame_is_given_up(frame))
	{
		memcpy(&frame->content, content, offsetof(OpenedContent, data) + content->used);
		frame_protect(frame);
	}
	frame_unlock(frame);
}
