/*
 * index_build.c
 *	  The scans that fill an index, and that complete a concurrent one.
 *
 * An index has one entry for a root, with the values of the root's newest
 * version (of the visible one when it is built concurrently).  Roots are
 * visited in physical order, so that BRIN gets its ranges one after the other
 * and the validating scan can merge with sorted TIDs.  All data pages are
 * read: a page without current records can still hold roots.
 *
 * Where a version that somebody may still see was superseded within its root,
 * the new index lacks its values; ii_BrokenHotChain keeps old snapshots off
 * the index, as heap does.
 */
#include "postgres.h"

#include "access/xact.h"
#include "am/scan.h"
#include "am/vacuum/vacuum.h"
#include "catalog/index.h"
#include "catalog/catalog.h"
#include "commands/progress.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/snapmgr.h"
#include "utils/tuplesort.h"

/* What building and validating have in common. */
typedef struct BuildScan
{
	Relation	rel;
	Relation	index_rel;
	IndexInfo  *index_info;
	VerityScan *scan;
	Snapshot	snapshot;
	TransactionId OldestXmin;	/* with SnapshotAny */
	bool		anyvisible;
	bool		unique;			/* uniqueness or exclusion is checked */

	EState	   *estate;
	ExprContext *econtext;
	ExprState  *predicate;
	TupleTableSlot *slot;

	int			current;		/* of scan->offsets, the page's roots */
	Buffer		buffer;
	HeapTupleData record;		/* version to be indexed */
	double		reltuples;
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];
} BuildScan;

/* --- set up --- */

static void
build_init(BuildScan *build, Relation rel, Relation index_rel, IndexInfo *index_info)
{
	memset(build, 0, sizeof(BuildScan));
	build->rel = rel;
	build->index_rel = index_rel;
	build->index_info = index_info;
	build->unique = index_info->ii_Unique || index_info->ii_ExclusionOps != NULL;
	build->buffer = InvalidBuffer;
	build->estate = CreateExecutorState();
	build->econtext = GetPerTupleExprContext(build->estate);
	build->slot = table_slot_create(rel, NULL);
	build->econtext->ecxt_scantuple = build->slot;
	build->predicate = ExecPrepareQual(index_info->ii_Predicate, build->estate);
}

static void
build_set_scan(BuildScan *build, TableScanDesc scan)
{
	build->scan = (VerityScan *) scan;
	build->scan->skip_mapped = false;
	build->snapshot = scan->rs_snapshot;
}

static void
build_end(BuildScan *build)
{
	if (BufferIsValid(build->buffer))
		ReleaseBuffer(build->buffer);
	table_endscan(&build->scan->base);
	ExecDropSingleTupleTableSlot(build->slot);
	FreeExecutorState(build->estate);

	/* these may point into the freed state */
	build->index_info->ii_ExpressionsState = NIL;
	build->index_info->ii_PredicateState = NULL;
}

/* --- roots in physical order --- */

/* Collect the roots of the scan's current page. */
static void
load_roots(VerityScan *scan)
{
	OffsetNumber max;

	LockBuffer(scan->cbuf, BUFFER_LOCK_SHARE);
	max = verity_page_max_offset(scan->cbuf);
	for (OffsetNumber offset = FirstOffsetNumber; offset <= max; offset++)
	{
		HeapTupleData record;
		uint8		flags;

		if (!verity_page_record(scan->base.rs_rd, scan->cbuf, offset, &record))
			continue;
		flags = VerityGetEnvelope(record.t_data)->flags;
		if ((flags & (ENVELOPE_ROOT | ENVELOPE_TOMBSTONE)) == ENVELOPE_ROOT)
			scan->offsets[scan->noffsets++] = offset;
	}
	LockBuffer(scan->cbuf, BUFFER_LOCK_UNLOCK);
}

static BlockNumber
scan_startblock(VerityScan *scan)
{
	if (scan->base.rs_parallel != NULL)
		return ((ParallelBlockTableScanDesc) scan->base.rs_parallel)->phs_startblock;
	return scan->startblock;
}

/* Blocks read so far; in a parallel build others may be further ahead. */
static BlockNumber
blocks_done(VerityScan *scan)
{
	BlockNumber start = scan_startblock(scan);

	if (scan->cblock >= start)
		return scan->cblock - start;
	return scan->nblocks - start + scan->cblock;
}

static bool
next_root(BuildScan *build, ItemPointer root, bool progress)
{
	VerityScan *scan = build->scan;

	while (!scan->inited || build->current >= scan->noffsets)
	{
		if (!verity_scan_next_page(scan, ForwardScanDirection))
			return false;
		load_roots(scan);
		build->current = 0;
		if (progress)
			pgstat_progress_update_param(PROGRESS_SCAN_BLOCKS_DONE, blocks_done(scan));
	}
	CHECK_FOR_INTERRUPTS();
	ItemPointerSet(root, scan->cblock, scan->offsets[build->current++]);
	return true;
}

/* --- which version, and is it alive? --- */

/* Has the version before, in the same root, ended for every snapshot? */
static void
note_broken_chain(BuildScan *build, ItemPointer before)
{
	Buffer		buffer = InvalidBuffer;
	HeapTupleData record;

	if (!ItemPointerIsValid(before) || build->index_info->ii_BrokenHotChain)
		return;
	if (verity_fetch_record(build->rel, before, &buffer, &record, true))
	{
		if (HeapTupleSatisfiesVacuum(&record, build->OldestXmin, buffer) != HEAPTUPLE_DEAD)
			build->index_info->ii_BrokenHotChain = true;
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	}
	ReleaseBuffer(buffer);
}

/*
 * The newest version is being written by xid.  That is us, or the caller's
 * lock is weak (BRIN summarizing), or somebody broke the rules: then its end
 * is waited for where the answer depends on it.  True: look again.
 */
static bool
wait_for_writer(BuildScan *build, TransactionId xid, const char *what, bool matters)
{
	if (TransactionIdIsCurrentTransactionId(xid))
		return false;
	if (!IsSystemRelation(build->rel))
		elog(WARNING, "concurrent %s in progress within table \"%s\"",
			 what, RelationGetRelationName(build->rel));
	if (!matters)
		return false;
	XactLockTableWait(xid, build->rel, &build->record.t_self, XLTW_InsertIndexUnique);
	return true;
}

/* State of the version in build->record, and the xid that is at work on it. */
static HTSV_Result
version_state(BuildScan *build, TransactionId *xid)
{
	HTSV_Result state;

	*xid = InvalidTransactionId;
	LockBuffer(build->buffer, BUFFER_LOCK_SHARE);
	state = HeapTupleSatisfiesVacuum(&build->record, build->OldestXmin, build->buffer);
	if (state == HEAPTUPLE_INSERT_IN_PROGRESS)
		*xid = HeapTupleHeaderGetXmin(build->record.t_data);
	else if (state == HEAPTUPLE_DELETE_IN_PROGRESS)
		*xid = HeapTupleHeaderGetUpdateXid(build->record.t_data);
	LockBuffer(build->buffer, BUFFER_LOCK_UNLOCK);
	return state;
}

/* Choose a root's version under SnapshotAny; false: nothing to index. */
static bool
choose_newest(BuildScan *build, ItemPointer root, bool *alive)
{
	ItemPointerData before;
	TransactionId xid;
	HTSV_Result state;
	bool		again;

	do
	{
		again = false;
		if (!verity_root_newest(build->rel, root, &build->buffer, &build->record, &before))
			return false;
		state = version_state(build, &xid);
		if (build->anyvisible)
			break;
		if (state == HEAPTUPLE_INSERT_IN_PROGRESS)
			again = wait_for_writer(build, xid, "insert",
									build->unique || ItemPointerIsValid(&before));
		else if (state == HEAPTUPLE_DELETE_IN_PROGRESS)
			again = wait_for_writer(build, xid, "delete", build->unique);
	} while (again);

	if (state == HEAPTUPLE_DEAD)
		return false;
	note_broken_chain(build, &before);
	*alive = state == HEAPTUPLE_LIVE || state == HEAPTUPLE_INSERT_IN_PROGRESS;

	/* counted as ANALYZE does */
	if (state == HEAPTUPLE_LIVE ||
		(xid != InvalidTransactionId &&
		 (build->anyvisible ||
		  TransactionIdIsCurrentTransactionId(xid) == (state == HEAPTUPLE_INSERT_IN_PROGRESS))))
		build->reltuples += 1;
	return true;
}

static bool
choose_version(BuildScan *build, ItemPointer root, bool *alive)
{
	if (build->snapshot == SnapshotAny)
		return choose_newest(build, root, alive);
	if (!verity_root_fetch(build->rel, root, build->snapshot, &build->buffer,
						   &build->record, NULL))
		return false;
	*alive = true;
	build->reltuples += 1;
	return true;
}

/* Compute the index columns of the chosen version; false: not in the index. */
static bool
form_values(BuildScan *build)
{
	MemoryContextReset(build->econtext->ecxt_per_tuple_memory);
	verity_slot_store(build->slot, build->scan->vrel, &build->record, build->buffer);
	if (build->predicate != NULL && !ExecQual(build->predicate, build->econtext))
		return false;
	FormIndexDatum(build->index_info, build->slot, build->estate,
				   build->values, build->isnull);
	return true;
}

/* --- building --- */

/*
 * Readers of the past may use the index for positions from here on.  Only
 * unique ones can be a key; a concurrent one is complete after validation.
 */
static void
note_complete(BuildScan *build)
{
	if (build->index_info->ii_Unique && build->scan->vrel->journalled && !IsParallelWorker())
		verity_index_built(build->rel, build->index_rel);
}

/* Begin the scan of a build that was not given one. */
static TableScanDesc
begin_build_scan(BuildScan *build, bool allow_sync)
{
	if (TransactionIdIsValid(build->OldestXmin))
		return table_beginscan_strat(build->rel, SnapshotAny, 0, NULL, true, allow_sync);
	return table_beginscan_strat(build->rel, RegisterSnapshot(GetTransactionSnapshot()),
								 0, NULL, true, allow_sync);
}

double
verity_index_build_range_scan(Relation rel, Relation index_rel, IndexInfo *index_info,
							  bool allow_sync, bool anyvisible, bool progress,
							  BlockNumber start_blockno, BlockNumber numblocks,
							  IndexBuildCallback callback, void *callback_state,
							  TableScanDesc scan)
{
	BuildScan	build;
	ItemPointerData root;
	bool		own_snapshot = false;
	bool		alive;

	verity_note_all_visible(rel);
	build_init(&build, rel, index_rel, index_info);
	build.anyvisible = anyvisible;
	if (!index_info->ii_Concurrent)
		build.OldestXmin = GetOldestNonRemovableTransactionId(rel);
	if (scan == NULL)
	{
		scan = begin_build_scan(&build, allow_sync);
		own_snapshot = scan->rs_snapshot != SnapshotAny;
	}
	build_set_scan(&build, scan);
	Assert((build.snapshot == SnapshotAny) == TransactionIdIsValid(build.OldestXmin));

	if (!allow_sync)
		verity_scan_set_limits(build.scan, start_blockno, numblocks);
	if (progress)
		pgstat_progress_update_param(PROGRESS_SCAN_BLOCKS_TOTAL, build.scan->nblocks);

	while (next_root(&build, &root, progress))
	{
		if (choose_version(&build, &root, &alive) && form_values(&build))
			callback(index_rel, &root, build.values, build.isnull, alive, callback_state);
	}

	if (progress)
		pgstat_progress_update_param(PROGRESS_SCAN_BLOCKS_DONE, build.scan->nblocks);
	if (start_blockno == 0 && numblocks == InvalidBlockNumber && !index_info->ii_Concurrent)
		note_complete(&build);
	build_end(&build);
	if (own_snapshot)
		UnregisterSnapshot(build.snapshot);
	return build.reltuples;
}

/* --- validating --- */

/*
 * Advance through the sorted TIDs that the index has, to the first that is
 * not before root.  True: the index has root.
 */
static bool
merge_to(ValidateIndexState *state, ItemPointer cursor, ItemPointer root)
{
	while (ItemPointerIsValid(cursor) && ItemPointerCompare(cursor, root) < 0)
	{
		Datum		value;
		bool		isnull;

		if (!tuplesort_getdatum(state->tuplesort, true, true, &value, &isnull, NULL))
		{
			ItemPointerSetInvalid(cursor);
			return false;
		}
		itemptr_decode(cursor, DatumGetInt64(value));
#ifndef USE_FLOAT8_BYVAL
		pfree(DatumGetPointer(value));
#endif
	}
	return ItemPointerIsValid(cursor) && ItemPointerEquals(cursor, root);
}

void
verity_index_validate_scan(Relation rel, Relation index_rel, IndexInfo *index_info,
						   Snapshot snapshot, ValidateIndexState *state)
{
	BuildScan	build;
	ItemPointerData cursor;
	ItemPointerData root;
	bool		alive;

	build_init(&build, rel, index_rel, index_info);
	build_set_scan(&build, table_beginscan_strat(rel, snapshot, 0, NULL, true, false));
	pgstat_progress_update_param(PROGRESS_SCAN_BLOCKS_TOTAL, build.scan->nblocks);

	/* before every TID: the first is fetched for the first root */
	ItemPointerSet(&cursor, 0, FirstOffsetNumber);
	while (next_root(&build, &root, true))
	{
		if (!choose_version(&build, &root, &alive))
			continue;
		state->htups += 1;
		if (merge_to(state, &cursor, &root) || !form_values(&build))
			continue;

		/*
		 * Even a version that was deleted by now is checked for uniqueness: it
		 * stands for what followed it in its root.
		 */
		index_insert(index_rel, build.values, build.isnull, &root, rel,
					 index_info->ii_Unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO,
					 false, index_info);
		state->tups_inserted += 1;
	}
	note_complete(&build);
	build_end(&build);
}
