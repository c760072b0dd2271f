/*
 * bitmap.c
 *	  Bitmap scans: each TID is a root, and gives at most one version.
 *
 * The roots of a page are looked at under one lock: those that are their own
 * newest version are decided there, as are most.  For the others the version
 * is looked for when its turn comes; it may stand on another page.
 *
 * Until 17 the executor walks over the bitmap and calls for each page; from 18
 * on that is done here, with a read stream.
 */
#include "postgres.h"

#include "access/xact.h"
#include "am/map.h"
#include "am/scan.h"
#include "pgstat.h"
#include "storage/predicate.h"

/* Decide about one root of the locked page. */
static void
collect_root(VerityScan *scan, OffsetNumber offset)
{
	Relation	rel = scan->base.rs_rd;
	Snapshot	snapshot = scan->base.rs_snapshot;
	VerityEnvelope *envelope;
	HeapTupleData record;
	bool		walk;

	if (!verity_page_record(rel, scan->cbuf, offset, &record))
		return;
	envelope = VerityGetEnvelope(record.t_data);
	if ((envelope->flags & ENVELOPE_ROOT) == 0 || (envelope->flags & ENVELOPE_TOMBSTONE) != 0)
		return;

	walk = scan->asof != 0 || ItemPointerCompare(&envelope->root, &record.t_self) != 0;
	if (!walk)
	{
		bool		visible;

		visible = verity_record_visible_at(rel, &record, snapshot, scan->cbuf, 0);
		HeapCheckForSerializableConflictOut(visible, rel, &record, scan->cbuf, snapshot);
		if (!visible)
			return;
		PredicateLockTID(rel, &record.t_self, snapshot,
						 HeapTupleHeaderGetXmin(record.t_data));
	}
	scan->walk[scan->noffsets] = walk;
	scan->offsets[scan->noffsets++] = offset;
}

/* Can the page hold what this scan looks for? */
static bool
block_is_wanted(VerityScan *scan, BlockNumber block)
{
	/*
	 * Pages added since the scan began hold nothing that it sees, but a
	 * serializable transaction must notice who wrote there.
	 */
	return !verity_block_is_special(block) &&
		(block < scan->nblocks || IsolationIsSerializable());
}

/* Collect the roots at these offsets of the pinned current page; NULL: all. */
static void
load_roots(VerityScan *scan, const OffsetNumber *offsets, int count)
{
	LockBuffer(scan->cbuf, BUFFER_LOCK_SHARE);
	if (offsets == NULL)
		count = verity_page_max_offset(scan->cbuf);
	for (int i = 0; i < count; i++)
		collect_root(scan, offsets ? offsets[i] : FirstOffsetNumber + i);
	LockBuffer(scan->cbuf, BUFFER_LOCK_UNLOCK);
}

/* Find the version of the root at place i of the current page. */
static bool
find_version(VerityScan *scan, int i)
{
	Relation	rel = scan->base.rs_rd;
	Snapshot	snapshot = scan->base.rs_snapshot;
	ItemPointerData root;

	ItemPointerSet(&root, scan->cblock, scan->offsets[i]);
	if (scan->asof != 0)
		return verity_root_fetch_at(rel, &root, snapshot, scan->asof,
									&scan->rowbuf, &scan->record);
	return verity_root_fetch(rel, &root, snapshot, &scan->rowbuf, &scan->record, NULL);
}

/* Store the version of the current page's next root; false: there is none left. */
static bool
next_of_page(VerityScan *scan, TupleTableSlot *slot)
{
	Relation	rel = scan->base.rs_rd;

	while (scan->cindex < scan->noffsets)
	{
		int			i = scan->cindex++;
		Buffer		buffer;

		if (scan->walk[i])
		{
			if (!find_version(scan, i))
				continue;
			buffer = scan->rowbuf;
		}
		else
		{
			if (!verity_page_record(rel, scan->cbuf, scan->offsets[i], &scan->record))
				continue;
			buffer = scan->cbuf;
		}
		pgstat_count_heap_fetch(rel);
		verity_slot_store(slot, scan->vrel, &scan->record, buffer);
		return true;
	}
	return false;
}

#if PG_VERSION_NUM >= 180000

/* --- the access method iterates over the bitmap, and reads ahead --- */

static BlockNumber
next_block_to_read(ReadStream *stream, void *arg, void *page)
{
	VerityScan *scan = arg;
	TBMIterateResult *result = page;

	while (tbm_iterate(&scan->base.st.rs_tbmiterator, result))
	{
		if (block_is_wanted(scan, result->blockno))
			return result->blockno;
		CHECK_FOR_INTERRUPTS();
	}
	return InvalidBlockNumber;
}

void
verity_bitmap_begin(VerityScan *scan)
{
	scan->stream = read_stream_begin_relation(READ_STREAM_DEFAULT | READ_STREAM_USE_BATCHING,
											  scan->strategy, scan->base.rs_rd, MAIN_FORKNUM,
											  next_block_to_read, scan, sizeof(TBMIterateResult));
}

void
verity_bitmap_restart(VerityScan *scan)
{
	if (scan->stream)
		read_stream_reset(scan->stream);
}

void
verity_bitmap_end(VerityScan *scan)
{
	if (scan->stream)
		read_stream_end(scan->stream);
}

/* Collect what the bitmap names of the next page; false: it is exhausted. */
static bool
next_page(VerityScan *scan, bool *recheck, uint64 *lossy_pages, uint64 *exact_pages)
{
	OffsetNumber offsets[TBM_MAX_TUPLES_PER_PAGE];
	TBMIterateResult *result;
	void	   *page;

	if (BufferIsValid(scan->cbuf))
		ReleaseBuffer(scan->cbuf);
	scan->noffsets = 0;
	scan->cindex = 0;
	scan->cbuf = read_stream_next_buffer(scan->stream, &page);
	if (!BufferIsValid(scan->cbuf))
		return false;

	result = page;
	scan->cblock = result->blockno;
	*recheck = result->recheck;
	if (result->lossy)
	{
		load_roots(scan, NULL, 0);
		(*lossy_pages)++;
	}
	else
	{
		load_roots(scan, offsets, tbm_extract_page_tuple(result, offsets, lengthof(offsets)));
		(*exact_pages)++;
	}
	return true;
}

bool
verity_scan_bitmap_next_tuple(TableScanDesc sscan, TupleTableSlot *slot, bool *recheck,
							  uint64 *lossy_pages, uint64 *exact_pages)
{
	VerityScan *scan = (VerityScan *) sscan;

	while (!next_of_page(scan, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (!next_page(scan, recheck, lossy_pages, exact_pages))
			return false;
	}
	return true;
}

#else

/* --- the executor iterates over the bitmap, and reads ahead --- */

void
verity_bitmap_begin(VerityScan *scan)
{
}

void
verity_bitmap_restart(VerityScan *scan)
{
}

void
verity_bitmap_end(VerityScan *scan)
{
}

bool
verity_scan_bitmap_next_block(TableScanDesc sscan, TBMIterateResult *tbmres)
{
	VerityScan *scan = (VerityScan *) sscan;

	scan->noffsets = 0;
	scan->cindex = 0;
	if (!block_is_wanted(scan, tbmres->blockno))
		return false;
	verity_scan_pin_page(scan, tbmres->blockno);
	load_roots(scan, tbmres->ntuples >= 0 ? tbmres->offsets : NULL, tbmres->ntuples);
	return scan->noffsets > 0;
}

bool
verity_scan_bitmap_next_tuple(TableScanDesc sscan, TBMIterateResult *tbmres,
							  TupleTableSlot *slot)
{
	return next_of_page((VerityScan *) sscan, slot);
}

#endif
