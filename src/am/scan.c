/*
 * scan.c
 *	  Sequential, TID-range and parallel scans, page by page.
 *
 * With an MVCC snapshot a page's visible records are collected once, under
 * one share lock; after that the pin keeps them.  Other snapshots can change
 * their mind between two rows, so that all records are collected and each is
 * tested when its turn comes.
 *
 * From PostgreSQL 17 on pages are read ahead, and several at once.
 *
 * Map pages are left out, tombstones too.  Pages that the map marks
 * as without current records are left out when the present is read with an
 * MVCC snapshot: an insert that could matter to it cleared the mark before it
 * committed, and marks wait for every snapshot that sees what was ended.
 */
#include "postgres.h"

#include "access/syncscan.h"
#include "am/map.h"
#include "am/scan.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/predicate.h"
#include "utils/snapmgr.h"

/* --- begin and end --- */

VerityPosition
verity_scan_position(VerityRel *vrel, Snapshot snapshot)
{
	if (verity_asof_bound == 0 || snapshot == NULL || !IsMVCCSnapshot(snapshot))
		return 0;
	return vrel->journalled ? verity_asof_bound : 0;
}

void
verity_scan_release(VerityScan *scan)
{
	if (scan->pages != NULL)
		read_stream_end(scan->pages);
	scan->pages = NULL;
	if (BufferIsValid(scan->cbuf))
		ReleaseBuffer(scan->cbuf);
	if (BufferIsValid(scan->mapbuf))
		ReleaseBuffer(scan->mapbuf);
	if (BufferIsValid(scan->rowbuf))
		ReleaseBuffer(scan->rowbuf);
	scan->cbuf = scan->mapbuf = scan->rowbuf = InvalidBuffer;
	scan->cblock = InvalidBlockNumber;
	scan->inited = false;
	scan->cindex = 0;
	scan->noffsets = 0;
	scan->record.t_data = NULL;
}

/* Big tables are read through a ring of buffers, and scans of them join. */
static void
init_strategy(VerityScan *scan, bool keep_startblock)
{
	TableScanDesc base = &scan->base;
	bool		big = !RelationUsesLocalBuffers(base->rs_rd) && scan->nblocks > NBuffers / 4;
	bool		sync;

	if (big && (base->rs_flags & SO_ALLOW_STRAT) != 0)
	{
		if (scan->strategy == NULL)
			scan->strategy = GetAccessStrategy(BAS_BULKREAD);
	}
	else if (scan->strategy != NULL)
	{
		FreeAccessStrategy(scan->strategy);
		scan->strategy = NULL;
	}

	if (base->rs_parallel != NULL)
		sync = base->rs_parallel->phs_syncscan;
	else
		sync = big && (base->rs_flags & SO_ALLOW_SYNC) != 0 && synchronize_seqscans;

	if (base->rs_parallel == NULL && !keep_startblock)
		scan->startblock = sync ? ss_get_location(base->rs_rd, scan->nblocks) : 0;
	if (sync)
		base->rs_flags |= SO_ALLOW_SYNC;
	else
		base->rs_flags &= ~SO_ALLOW_SYNC;
}

/* What beginning and starting over have in common. */
static void
init_scan(VerityScan *scan, ScanKey key, bool keep_startblock)
{
	TableScanDesc base = &scan->base;

	if (base->rs_parallel != NULL)
		scan->nblocks = ((ParallelBlockTableScanDesc) base->rs_parallel)->phs_nblocks;
	else
		scan->nblocks = RelationGetNumberOfBlocks(base->rs_rd);
	scan->numblocks = scan->limit = InvalidBlockNumber;
	scan->visible_xmin = InvalidTransactionId;
	init_strategy(scan, keep_startblock);

	if (key != NULL && base->rs_nkeys > 0)
		memcpy(base->rs_key, key, base->rs_nkeys * sizeof(ScanKeyData));
	if (base->rs_flags & SO_TYPE_SEQSCAN)
		pgstat_count_heap_scan(base->rs_rd);
}

TableScanDesc
verity_scan_begin(Relation rel, Snapshot snapshot, int nkeys, ScanKey key,
				  ParallelTableScanDesc parallel_scan, uint32 flags)
{
	VerityScan *scan = (VerityScan *) palloc0(sizeof(VerityScan));
	bool		mvcc = snapshot != NULL && IsMVCCSnapshot(snapshot);

	RelationIncrementReferenceCount(rel);

	scan->base.rs_rd = rel;
	scan->base.rs_snapshot = snapshot;
	scan->base.rs_nkeys = nkeys;
	scan->base.rs_flags = flags;
	scan->base.rs_parallel = parallel_scan;
	if (!mvcc)
		scan->base.rs_flags &= ~SO_ALLOW_PAGEMODE;
	if (nkeys > 0)
		scan->base.rs_key = (ScanKey) palloc(sizeof(ScanKeyData) * nkeys);
	if (parallel_scan != NULL)
		scan->worker = palloc0(sizeof(ParallelBlockTableScanWorkerData));

	scan->vrel = verity_rel(rel);
	scan->asof = verity_scan_position(scan->vrel, snapshot);
	scan->skip_mapped = mvcc && scan->asof == 0 &&
		(flags & (SO_TYPE_SEQSCAN | SO_TYPE_TIDRANGESCAN)) != 0;
	scan->cbuf = scan->mapbuf = scan->rowbuf = InvalidBuffer;
	scan->cblock = InvalidBlockNumber;

	/* nothing finer can be locked for what a scan of the table did not find */
	if ((flags & (SO_TYPE_SEQSCAN | SO_TYPE_SAMPLESCAN | SO_TYPE_TIDRANGESCAN)) != 0 &&
		scan->asof == 0)
		PredicateLockRelation(rel, snapshot);

	init_scan(scan, key, false);
	if (flags & SO_TYPE_BITMAPSCAN)
		verity_bitmap_begin(scan);
	return &scan->base;
}

void
verity_scan_rescan(TableScanDesc sscan, ScanKey key, bool set_params, bool allow_strat,
				   bool allow_sync, bool allow_pagemode)
{
	VerityScan *scan = (VerityScan *) sscan;

	if (set_params)
	{
		sscan->rs_flags &= ~(SO_ALLOW_STRAT | SO_ALLOW_SYNC | SO_ALLOW_PAGEMODE);
		if (allow_strat)
			sscan->rs_flags |= SO_ALLOW_STRAT;
		if (allow_sync)
			sscan->rs_flags |= SO_ALLOW_SYNC;
		if (allow_pagemode && sscan->rs_snapshot && IsMVCCSnapshot(sscan->rs_snapshot))
			sscan->rs_flags |= SO_ALLOW_PAGEMODE;
	}
	verity_scan_release(scan);
	verity_bitmap_restart(scan);
	init_scan(scan, key, true);
}

void
verity_scan_end(TableScanDesc sscan)
{
	VerityScan *scan = (VerityScan *) sscan;

	verity_scan_release(scan);
	verity_bitmap_end(scan);
	RelationDecrementReferenceCount(sscan->rs_rd);
	if (sscan->rs_key)
		pfree(sscan->rs_key);
	if (scan->strategy)
		FreeAccessStrategy(scan->strategy);
	if (scan->worker)
		pfree(scan->worker);
	if (sscan->rs_flags & SO_TEMP_SNAPSHOT)
		UnregisterSnapshot(sscan->rs_snapshot);
	pfree(scan);
}

void
verity_scan_set_limits(VerityScan *scan, BlockNumber start, BlockNumber count)
{
	Assert(!scan->inited);
	Assert((scan->base.rs_flags & SO_ALLOW_SYNC) == 0);
	scan->startblock = start;
	scan->numblocks = scan->limit = count;
}

/* --- pages --- */

static BlockNumber
first_block(VerityScan *scan, bool forward)
{
	Relation	rel = scan->base.rs_rd;

	if (scan->nblocks == 0 || scan->numblocks == 0)
		return InvalidBlockNumber;
	if (scan->base.rs_parallel != NULL)
	{
		ParallelBlockTableScanDesc shared = (ParallelBlockTableScanDesc) scan->base.rs_parallel;

		table_block_parallelscan_startblock_init(rel, scan->worker, shared);
		return table_block_parallelscan_nextpage(rel, scan->worker, shared);
	}
	if (forward)
		return scan->startblock;

	/* a backward scan tells nobody where it is */
	scan->base.rs_flags &= ~SO_ALLOW_SYNC;
	if (scan->numblocks != InvalidBlockNumber)
		return (scan->startblock + scan->numblocks - 1) % scan->nblocks;
	return scan->startblock > 0 ? scan->startblock - 1 : scan->nblocks - 1;
}

static BlockNumber
following_block(VerityScan *scan, bool forward, BlockNumber block)
{
	bool		finished;

	if (scan->base.rs_parallel != NULL)
		return table_block_parallelscan_nextpage(scan->base.rs_rd, scan->worker,
												 (ParallelBlockTableScanDesc) scan->base.rs_parallel);
	if (forward)
	{
		if (++block >= scan->nblocks)
			block = 0;
		finished = block == scan->startblock;
		if (scan->base.rs_flags & SO_ALLOW_SYNC)
			ss_report_location(scan->base.rs_rd, block);
	}
	else
	{
		finished = block == scan->startblock;
		block = block > 0 ? block - 1 : scan->nblocks - 1;
	}
	if (scan->numblocks != InvalidBlockNumber && --scan->numblocks == 0)
		finished = true;
	return finished ? InvalidBlockNumber : block;
}

static bool
block_is_wanted(VerityScan *scan, BlockNumber block)
{
	if (verity_block_is_special(block))
		return false;
	return !scan->skip_mapped || scan->nblocks <= VERITY_MAP_FIRST ||
		(verity_map_get(scan->base.rs_rd, block, &scan->mapbuf) & VERITY_MAP_NO_CURRENT) == 0;
}

/*
 * The block behind one that is not wanted.  A serial scan forward passes over
 * the marked ones from there on at once: of a table of few rows with a long
 * history, looking at each would cost more than the rows do.
 */
static BlockNumber
pass_block(VerityScan *scan, bool forward, BlockNumber block)
{
	BlockNumber end = block < scan->startblock ? scan->startblock : scan->nblocks;

	if (forward && scan->skip_mapped && scan->base.rs_parallel == NULL &&
		scan->numblocks == InvalidBlockNumber && !verity_block_is_special(block))
		block = Max(block + 1, verity_map_next_current(scan->base.rs_rd, block, end, &scan->mapbuf)) - 1;
	return following_block(scan, forward, block);
}

/* The next block that the scan goes to, for its stream of pages. */
static BlockNumber
next_block_to_read(ReadStream *stream, void *arg, void *unused)
{
	VerityScan *scan = arg;
	BlockNumber block;

	CHECK_FOR_INTERRUPTS();
	block = scan->ahead_begun ? following_block(scan, scan->forward, scan->ahead)
		: first_block(scan, scan->forward);
	while (block != InvalidBlockNumber && !block_is_wanted(scan, block))
	{
		CHECK_FOR_INTERRUPTS();
		block = pass_block(scan, scan->forward, block);
	}
	scan->ahead = block;
	scan->ahead_begun = true;
	return block;
}

/*
 * Go on from the current page in the other direction.  What was read ahead is
 * dropped, and does not count.
 */
static void
turn(VerityScan *scan, bool forward)
{
	scan->ahead = scan->cblock;
	if (scan->limit != InvalidBlockNumber)
	{
		BlockNumber passed = scan->cblock - scan->startblock;

		Assert(scan->cblock >= scan->startblock && passed < scan->limit);
		scan->numblocks = forward ? scan->limit - passed : passed + 1;
	}
	read_stream_reset(scan->pages);
}

/* Have a stream of pages, and have it go in that direction. */
static void
direct_stream(VerityScan *scan, bool forward)
{
	MemoryContext old;

	if (scan->pages != NULL)
	{
		if (forward != scan->forward)
			turn(scan, forward);
		scan->forward = forward;
		return;
	}
	scan->forward = forward;
	scan->ahead_begun = false;
	old = MemoryContextSwitchTo(GetMemoryChunkContext(scan));
	scan->pages = read_stream_begin_relation(READ_STREAM_SEQUENTIAL, scan->strategy,
											 scan->base.rs_rd, MAIN_FORKNUM,
											 next_block_to_read, scan, 0);
	MemoryContextSwitchTo(old);
}

bool
verity_scan_next_page(VerityScan *scan, ScanDirection direction)
{
	direct_stream(scan, !ScanDirectionIsBackward(direction));
	if (BufferIsValid(scan->cbuf))
		ReleaseBuffer(scan->cbuf);
	scan->cbuf = read_stream_next_buffer(scan->pages, NULL);
	if (!BufferIsValid(scan->cbuf))
	{
		verity_scan_release(scan);
		return false;
	}
	scan->cblock = BufferGetBlockNumber(scan->cbuf);
	scan->noffsets = 0;
	scan->cindex = 0;
	scan->inited = true;
	return true;
}

void
verity_scan_pin_page(VerityScan *scan, BlockNumber block)
{
	if (BufferIsValid(scan->cbuf))
		ReleaseBuffer(scan->cbuf);
	scan->cbuf = InvalidBuffer;
	CHECK_FOR_INTERRUPTS();
	scan->cbuf = ReadBufferExtended(scan->base.rs_rd, MAIN_FORKNUM, block,
									RBM_NORMAL, scan->strategy);
	scan->cblock = block;
	scan->noffsets = 0;
	scan->cindex = 0;
}

/*
 * Have the sealed part's ends at hand, which opening reads: with the whole
 * page's on their way together, none is waited for.
 */
static inline void
prefetch_sealed(const HeapTupleHeaderData *header, Size len)
{
	__builtin_prefetch(VerityGetSealed(header));
	__builtin_prefetch(VerityGetSealed(header) + RECORD_HEADER_SIZE - 1);
	__builtin_prefetch((const char *) header + len - RECORD_TAG_SIZE);
}

/*
 * Does the snapshot see the record at first sight?  It is frozen, or of a
 * transaction that was found committed before; and nobody ended or locked it.
 * Most records are like that, and core's test need not be called for them.
 */
static inline bool
plainly_visible(const VerityScan *scan, HeapTupleHeader header)
{
	uint16		infomask = header->t_infomask;

	if ((infomask & (HEAP_XMIN_COMMITTED | HEAP_XMAX_INVALID)) !=
		(HEAP_XMIN_COMMITTED | HEAP_XMAX_INVALID))
		return false;
	return (infomask & HEAP_XMIN_INVALID) != 0 ||
		HeapTupleHeaderGetRawXmin(header) == scan->visible_xmin;
}

/*
 * Does the snapshot see a record of the locked current page, as core tests it?
 * The xmin of a frozen one says nothing: by now it may be given out again.
 */
static bool
test_record(VerityScan *scan, OffsetNumber offset, bool conflicts)
{
	Relation	rel = scan->base.rs_rd;
	Snapshot	snapshot = scan->base.rs_snapshot;
	HeapTupleData record;
	bool		visible;

	verity_item_record(rel, scan->cbuf, offset, &record);
	visible = verity_record_visible_at(rel, &record, snapshot, scan->cbuf, scan->asof);
	if (conflicts)
		HeapCheckForSerializableConflictOut(visible, rel, &record, scan->cbuf, snapshot);
	else if (visible && scan->asof == 0 && snapshot->snapshot_type == SNAPSHOT_MVCC &&
			 HeapTupleHeaderXminCommitted(record.t_data) &&
			 !HeapTupleHeaderXminFrozen(record.t_data))
		scan->visible_xmin = HeapTupleHeaderGetRawXmin(record.t_data);
	return visible;
}

void
verity_scan_load_page(VerityScan *scan)
{
	Relation	rel = scan->base.rs_rd;
	Snapshot	snapshot = scan->base.rs_snapshot;
	bool		all = !IsMVCCSnapshot(snapshot);
	bool		conflicts = scan->asof == 0 && CheckForSerializableConflictOutNeeded(rel, snapshot);
	bool		plain = !conflicts && scan->asof == 0 && snapshot->snapshot_type == SNAPSHOT_MVCC;
	OffsetNumber max;
	Page		page;
	int			n = 0;

	LockBuffer(scan->cbuf, BUFFER_LOCK_SHARE);
	page = BufferGetPage(scan->cbuf);
	max = verity_page_max_offset(scan->cbuf);
	for (OffsetNumber offset = FirstOffsetNumber; offset <= max; offset++)
	{
		HeapTupleHeader header = verity_item_header(rel, scan->cbuf, page, offset);

		if (header == NULL || (VerityGetEnvelope(header)->flags & ENVELOPE_TOMBSTONE) != 0)
			continue;
		if (!all && !(plain && plainly_visible(scan, header)) &&
			!test_record(scan, offset, conflicts))
			continue;
		scan->offsets[n++] = offset;
		if (scan->reads_columns)
			prefetch_sealed(header, ItemIdGetLength(PageGetItemId(page, offset)));
	}
	LockBuffer(scan->cbuf, BUFFER_LOCK_UNLOCK);
	scan->noffsets = n;
}

/* --- records --- */

/* Test the current record, where that was not done for the whole page. */
static bool
current_is_visible(VerityScan *scan)
{
	Snapshot	snapshot = scan->base.rs_snapshot;
	bool		visible;

	if (IsMVCCSnapshot(snapshot))
		return true;
	LockBuffer(scan->cbuf, BUFFER_LOCK_SHARE);
	visible = verity_record_visible_at(scan->base.rs_rd, &scan->record, snapshot,
									   scan->cbuf, 0);
	LockBuffer(scan->cbuf, BUFFER_LOCK_UNLOCK);
	return visible;
}

/* Make the next record in that direction the current one; slot has the last. */
static bool
next_record(VerityScan *scan, ScanDirection direction, TupleTableSlot *slot)
{
	bool		forward = !ScanDirectionIsBackward(direction);

	for (;;)
	{
		Page		page;
		ItemId		item;

		if (scan->inited)
			scan->cindex += forward ? 1 : -1;
		while (!scan->inited || scan->cindex < 0 || scan->cindex >= scan->noffsets)
		{
			if (!verity_scan_next_page(scan, direction))
				return false;
			scan->reads_columns = verity_slot_is_open(slot);
			verity_scan_load_page(scan);
			scan->cindex = forward ? 0 : scan->noffsets - 1;
		}

		/* it was looked at under the lock, and the pin keeps it where it is */
		page = BufferGetPage(scan->cbuf);
		item = PageGetItemId(page, scan->offsets[scan->cindex]);
		ItemPointerSet(&scan->record.t_self, scan->cblock, scan->offsets[scan->cindex]);
		scan->record.t_tableOid = RelationGetRelid(scan->base.rs_rd);
		scan->record.t_len = ItemIdGetLength(item);
		scan->record.t_data = (HeapTupleHeader) PageGetItem(page, item);
		if (current_is_visible(scan))
			return true;
	}
}

/* Do the slot's columns satisfy the scan's keys? */
static bool
keys_hold(TableScanDesc scan, TupleTableSlot *slot)
{
	for (int i = 0; i < scan->rs_nkeys; i++)
	{
		ScanKey		key = &scan->rs_key[i];
		bool		isnull;
		Datum		value;

		if (key->sk_flags & SK_ISNULL)
			return false;
		value = slot_getattr(slot, key->sk_attno, &isnull);
		if (isnull || !DatumGetBool(FunctionCall2Coll(&key->sk_func, key->sk_collation,
													  value, key->sk_argument)))
			return false;
	}
	return true;
}

bool
verity_scan_getnextslot(TableScanDesc sscan, ScanDirection direction, TupleTableSlot *slot)
{
	VerityScan *scan = (VerityScan *) sscan;

	while (next_record(scan, direction, slot))
	{
		verity_slot_store(slot, scan->vrel, &scan->record, scan->cbuf);
		if (keys_hold(sscan, slot))
		{
			pgstat_count_heap_getnext(sscan->rs_rd);
			return true;
		}
	}
	ExecClearTuple(slot);
	return false;
}

/* --- TID ranges --- */

void
verity_scan_set_tidrange(TableScanDesc sscan, ItemPointer mintid, ItemPointer maxtid)
{
	VerityScan *scan = (VerityScan *) sscan;
	ItemPointerData lowest;
	ItemPointerData highest;
	BlockNumber start;

	if (scan->nblocks == 0)
		return;
	ItemPointerSet(&lowest, 0, FirstOffsetNumber);
	ItemPointerSet(&highest, scan->nblocks - 1, MaxOffsetNumber);
	if (ItemPointerCompare(maxtid, &highest) < 0)
		highest = *maxtid;
	if (ItemPointerCompare(mintid, &lowest) > 0)
		lowest = *mintid;
	if (ItemPointerCompare(&highest, &lowest) < 0)
	{
		verity_scan_set_limits(scan, 0, 0);
		return;
	}

	start = ItemPointerGetBlockNumberNoCheck(&lowest);
	verity_scan_set_limits(scan, start,
						   ItemPointerGetBlockNumberNoCheck(&highest) - start + 1);
	VerityScanMinTid(sscan) = lowest;
	VerityScanMaxTid(sscan) = highest;
}

bool
verity_scan_getnextslot_tidrange(TableScanDesc sscan, ScanDirection direction,
								 TupleTableSlot *slot)
{
	bool		forward = !ScanDirectionIsBackward(direction);

	while (verity_scan_getnextslot(sscan, direction, slot))
	{
		bool		below = ItemPointerCompare(&slot->tts_tid, &VerityScanMinTid(sscan)) < 0;
		bool		above = ItemPointerCompare(&slot->tts_tid, &VerityScanMaxTid(sscan)) > 0;

		if (!below && !above)
			return true;
		ExecClearTuple(slot);

		/* TIDs come in order: behind the far end there is nothing more */
		if (forward ? above : below)
			return false;
	}
	return false;
}
