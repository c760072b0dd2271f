/*
 * sample.c
 *	  TABLESAMPLE, and the pages that ANALYZE asks for.
 *
 * A committed version that was ended is history: neither live nor dead, or
 * autovacuum would never rest.  Dead is what vacuum can do something about:
 * aborted records, and ended ones on a page without a live row, which the map
 * could mark.
 */
#include "postgres.h"

#include "access/tsmapi.h"
#include "access/xact.h"
#include "am/map.h"
#include "am/scan.h"
#include "am/vacuum/vacuum.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/procarray.h"

/* --- TABLESAMPLE --- */

bool
verity_scan_sample_next_block(TableScanDesc sscan, SampleScanState *scanstate)
{
	VerityScan *scan = (VerityScan *) sscan;
	TsmRoutine *tsm = scanstate->tsmroutine;
	BlockNumber block;

	if (scan->nblocks == 0)
		return false;

	/* a method that names no blocks gets them all, map pages empty */
	if (tsm->NextSampleBlock)
		block = tsm->NextSampleBlock(scanstate, scan->nblocks);
	else
		block = scan->cblock == InvalidBlockNumber ? 0 : scan->cblock + 1;

	if (block == InvalidBlockNumber || block >= scan->nblocks)
	{
		verity_scan_release(scan);
		return false;
	}
	verity_scan_pin_page(scan, block);
	verity_scan_load_page(scan);
	scan->inited = true;
	return true;
}

/* Is that one of the collected records?  Offsets are in ascending order. */
static bool
was_collected(VerityScan *scan, OffsetNumber offset)
{
	int			low = 0;
	int			high = scan->noffsets - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;

		if (scan->offsets[middle] == offset)
			return true;
		if (scan->offsets[middle] < offset)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return false;
}

bool
verity_scan_sample_next_tuple(TableScanDesc sscan, SampleScanState *scanstate,
							  TupleTableSlot *slot)
{
	VerityScan *scan = (VerityScan *) sscan;
	TsmRoutine *tsm = scanstate->tsmroutine;
	OffsetNumber max = verity_page_max_offset(scan->cbuf);

	for (;;)
	{
		OffsetNumber offset;

		CHECK_FOR_INTERRUPTS();
		offset = tsm->NextSampleTuple(scanstate, scan->cblock, max);
		if (!OffsetNumberIsValid(offset))
			break;
		if (!was_collected(scan, offset) ||
			!verity_page_record(sscan->rs_rd, scan->cbuf, offset, &scan->record))
			continue;
		verity_slot_store(slot, scan->vrel, &scan->record, scan->cbuf);
		pgstat_count_heap_getnext(sscan->rs_rd);
		return true;
	}
	ExecClearTuple(slot);
	return false;
}

/* --- ANALYZE --- */

/* What a page counts for. */
typedef struct PageCounts
{
	int			live;
	int			ended;			/* committed, and ended by a committed one */
	int			aborted;
	int			undecided;		/* being inserted by others */
} PageCounts;

/* Count one record as heap's ANALYZE would; true: it belongs to the sample. */
static bool
count_record(HeapTuple record, TransactionId OldestXmin, Buffer buffer, PageCounts *counts)
{
	HeapTupleHeader header = record->t_data;

	switch (HeapTupleSatisfiesVacuum(record, OldestXmin, buffer))
	{
		case HEAPTUPLE_LIVE:
			counts->live++;
			return true;
		case HEAPTUPLE_DEAD:
			if (!HeapTupleHeaderXminCommitted(header) && HeapTupleHeaderXminInvalid(header))
				counts->aborted++;
			else
				counts->ended++;
			return false;
		case HEAPTUPLE_RECENTLY_DEAD:
			counts->ended++;
			return false;
		case HEAPTUPLE_INSERT_IN_PROGRESS:
			/* others report their rows themselves when they commit */
			if (TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(header)))
			{
				counts->live++;
				return true;
			}
			counts->undecided++;
			return false;
		case HEAPTUPLE_DELETE_IN_PROGRESS:
			if (TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(header)))
			{
				counts->ended++;
				return false;
			}
			counts->live++;
			return true;
	}
	elog(ERROR, "unexpected HeapTupleSatisfiesVacuum result");
}

/* Collect the records of the current page that belong to the sample. */
static void
collect_sample(VerityScan *scan, TransactionId OldestXmin, PageCounts *counts)
{
	Page		page = BufferGetPage(scan->cbuf);
	OffsetNumber max;

	LockBuffer(scan->cbuf, BUFFER_LOCK_SHARE);
	max = verity_page_max_offset(scan->cbuf);
	for (OffsetNumber offset = FirstOffsetNumber; offset <= max; offset++)
	{
		HeapTupleData record;

		if (ItemIdIsDead(PageGetItemId(page, offset)))
			counts->aborted++;
		if (!verity_page_record(scan->base.rs_rd, scan->cbuf, offset, &record) ||
			(VerityGetEnvelope(record.t_data)->flags & ENVELOPE_TOMBSTONE) != 0)
			continue;
		if (count_record(&record, OldestXmin, scan->cbuf, counts))
			scan->offsets[scan->noffsets++] = offset;
	}
	LockBuffer(scan->cbuf, BUFFER_LOCK_UNLOCK);
}

/* Pages without current records have nothing for statistics. */
static bool
block_has_sample(VerityScan *scan, BlockNumber block)
{
	return !verity_block_is_special(block) &&
		(verity_map_get(scan->base.rs_rd, block, &scan->mapbuf) & VERITY_MAP_NO_CURRENT) == 0;
}

/* Take the pinned page as the current one. */
static void
begin_sample(VerityScan *scan, Buffer buffer)
{
	if (BufferIsValid(scan->cbuf))
		ReleaseBuffer(scan->cbuf);
	scan->cbuf = buffer;
	scan->cblock = BufferGetBlockNumber(buffer);
	scan->inited = false;		/* nothing collected yet */
	scan->noffsets = 0;
	scan->cindex = 0;
}

#if PG_VERSION_NUM >= 170000
bool
verity_scan_analyze_next_block(TableScanDesc sscan, ReadStream *stream)
{
	VerityScan *scan = (VerityScan *) sscan;
	Buffer		buffer;

	while (BufferIsValid(buffer = read_stream_next_buffer(stream, NULL)))
	{
		if (block_has_sample(scan, BufferGetBlockNumber(buffer)))
		{
			begin_sample(scan, buffer);
			return true;
		}
		ReleaseBuffer(buffer);
		vacuum_delay_point(true);
	}
	return false;
}
#else
bool
verity_scan_analyze_next_block(TableScanDesc sscan, BlockNumber blockno,
							   BufferAccessStrategy bstrategy)
{
	VerityScan *scan = (VerityScan *) sscan;

	/* not even read */
	if (!block_has_sample(scan, blockno))
		return false;
	begin_sample(scan, ReadBufferExtended(sscan->rs_rd, MAIN_FORKNUM, blockno,
										  RBM_NORMAL, bstrategy));
	return true;
}
#endif

/*
 * Rows are opened by the caller, which may wait or look into catalogs: the
 * page is not locked then.
 */
bool
verity_scan_analyze_next_tuple(TableScanDesc sscan, TransactionId OldestXmin,
							   double *liverows, double *deadrows, TupleTableSlot *slot)
{
	VerityScan *scan = (VerityScan *) sscan;

	if (!scan->inited)
	{
		PageCounts	counts = {0};

		verity_note_all_visible(sscan->rs_rd);
		collect_sample(scan, OldestXmin, &counts);
		scan->inited = true;
		*liverows += counts.live;
		*deadrows += counts.aborted;
		if (counts.live == 0 && counts.undecided == 0)
			*deadrows += counts.ended;
	}

	while (scan->cindex < scan->noffsets)
	{
		OffsetNumber offset = scan->offsets[scan->cindex++];

		if (!verity_page_record(sscan->rs_rd, scan->cbuf, offset, &scan->record))
			continue;
		verity_slot_store(slot, scan->vrel, &scan->record, scan->cbuf);
		return true;
	}

	ReleaseBuffer(scan->cbuf);
	scan->cbuf = InvalidBuffer;
	ExecClearTuple(slot);
	return false;
}
