/*
 * journal_am.c
 *	  Table access method verity_journal: the journal's relations as tables
 *	  that can be read.
 *
 * A scan decodes pages into virtual rows (journal_rows.c makes them): every
 * entry that is there when its page is read, whatever the snapshot, with what
 * became of it.  Everything that writes is refused here as well as by the DDL
 * hooks; only CREATE EXTENSION makes storage.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/multixact.h"
#include "access/relscan.h"
#include "catalog/namespace.h"
#include "catalog/storage.h"
#include "commands/extension.h"
#include "commands/vacuum.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/smgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "am/journal/journal_rows.h"
#include "am/journal/journal_store.h"
#include "am/keys/keys.h"

typedef struct JournalScan
{
	TableScanDescData base;
	ParallelBlockTableScanWorkerData worker;
	JournalRelation which;
	bool		started;
	BlockNumber blkno;			/* of page; InvalidBlockNumber: none */
	BlockNumber nblocks;
	int			item;			/* current one, from 0 */
	int			items;			/* on page */
	char	   *page;
	MemoryContext row_context;	/* the current row's values */
} JournalScan;

static const TupleTableSlotOps *
journal_slot_callbacks(Relation rel)
{
	return &TTSOpsVirtual;
}

static TableScanDesc
journal_scan_begin(Relation rel, Snapshot snapshot, int nkeys, ScanKey key,
				   ParallelTableScanDesc parallel_scan, uint32 flags)
{
	JournalScan *scan = palloc0(sizeof(JournalScan));

	RelationIncrementReferenceCount(rel);
	scan->base.rs_rd = rel;
	scan->base.rs_snapshot = snapshot;
	scan->base.rs_nkeys = nkeys;
	scan->base.rs_flags = flags;
	scan->base.rs_parallel = parallel_scan;
	scan->which = journal_relation_of(rel);
	scan->nblocks = RelationGetNumberOfBlocks(rel);
	scan->blkno = InvalidBlockNumber;
	scan->page = palloc(BLCKSZ);
	scan->row_context = AllocSetContextCreate(CurrentMemoryContext, "verity journal row",
											  ALLOCSET_SMALL_SIZES);
	return &scan->base;
}

static void
journal_scan_end(TableScanDesc sscan)
{
	JournalScan *scan = (JournalScan *) sscan;

	MemoryContextDelete(scan->row_context);
	RelationDecrementReferenceCount(scan->base.rs_rd);
	if (scan->base.rs_flags & SO_TEMP_SNAPSHOT)
		UnregisterSnapshot(scan->base.rs_snapshot);
	pfree(scan->page);
	pfree(scan);
}

static void
journal_scan_rescan(TableScanDesc sscan, ScanKey key, bool set_params, bool allow_strat,
					bool allow_sync, bool allow_pagemode)
{
	JournalScan *scan = (JournalScan *) sscan;

	scan->started = false;
	scan->blkno = InvalidBlockNumber;
	scan->nblocks = RelationGetNumberOfBlocks(scan->base.rs_rd);
}

/* The block to go on with, InvalidBlockNumber at the end. */
static BlockNumber
next_block(JournalScan *scan, bool forward)
{
	BlockNumber first = scan->which == JOURNAL_ENTRIES ? JOURNAL_FIRST_BLOCK : 0;
	BlockNumber blkno;

	if (scan->base.rs_parallel != NULL)
	{
		ParallelBlockTableScanDesc shared = (ParallelBlockTableScanDesc) scan->base.rs_parallel;

		if (!scan->started)
			table_block_parallelscan_startblock_init(scan->base.rs_rd, &scan->worker, shared);
		do
			blkno = table_block_parallelscan_nextpage(scan->base.rs_rd, &scan->worker, shared);
		while (blkno != InvalidBlockNumber && blkno < first);
		return blkno;
	}
	if (!scan->started)
		blkno = forward ? first : scan->nblocks - 1;
	else if (forward)
		blkno = scan->blkno + 1;
	else
		blkno = scan->blkno - 1;
	if (scan->nblocks <= first || blkno < first || blkno >= scan->nblocks)
		return InvalidBlockNumber;
	return blkno;
}

/* Copy the next page; false at the end. */
static bool
load_page(JournalScan *scan, bool forward)
{
	BlockNumber blkno = next_block(scan, forward);
	Buffer		buffer;

	scan->started = true;
	scan->blkno = blkno;
	if (blkno == InvalidBlockNumber)
	{
		scan->started = false;
		return false;
	}
	buffer = ReadBuffer(scan->base.rs_rd, blkno);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	memcpy(scan->page, BufferGetPage(buffer), BLCKSZ);
	UnlockReleaseBuffer(buffer);
	scan->items = journal_rows_on_page(scan->which, scan->page);
	scan->item = forward ? -1 : scan->items;
	return true;
}

static bool
journal_scan_getnextslot(TableScanDesc sscan, ScanDirection direction, TupleTableSlot *slot)
{
	JournalScan *scan = (JournalScan *) sscan;
	bool		forward = !ScanDirectionIsBackward(direction);
	MemoryContext old;
	bool		made;

	ExecClearTuple(slot);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (scan->blkno == InvalidBlockNumber && !load_page(scan, forward))
			return false;
		scan->item += forward ? 1 : -1;
		if (scan->item < 0 || scan->item >= scan->items)
		{
			if (!load_page(scan, forward))
				return false;
			continue;
		}
		MemoryContextReset(scan->row_context);
		old = MemoryContextSwitchTo(scan->row_context);
		made = journal_row(scan->base.rs_rd, scan->which, scan->page, scan->blkno, scan->item, slot);
		MemoryContextSwitchTo(old);
		if (!made)
			continue;
		ItemPointerSet(&slot->tts_tid, scan->blkno, scan->item + 1);
		slot->tts_tableOid = RelationGetRelid(scan->base.rs_rd);
		ExecStoreVirtualTuple(slot);
		return true;
	}
}

/* A row by its place: UPDATE asks for it before it is refused. */
static bool
journal_fetch_row_version(Relation rel, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot)
{
	BlockNumber blkno = ItemPointerGetBlockNumber(tid);
	int			n = ItemPointerGetOffsetNumber(tid) - 1;
	JournalRelation which = journal_relation_of(rel);
	char	   *page;
	Buffer		buffer;

	ExecClearTuple(slot);
	if (blkno >= RelationGetNumberOfBlocks(rel))
		return false;
	page = palloc(BLCKSZ);
	buffer = ReadBuffer(rel, blkno);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	memcpy(page, BufferGetPage(buffer), BLCKSZ);
	UnlockReleaseBuffer(buffer);
	if (n < 0 || n >= journal_rows_on_page(which, page) ||
		!journal_row(rel, which, page, blkno, n, slot))
		return false;
	slot->tts_tid = *tid;
	slot->tts_tableOid = RelationGetRelid(rel);
	ExecStoreVirtualTuple(slot);
	return true;
}

static void
journal_set_new_filelocator(Relation rel, const RelFileLocator *newrlocator, char persistence,
						 TransactionId *freezeXid, MultiXactId *minmulti)
{
	SMgrRelation srel;

	if (!IsBinaryUpgrade &&
		(!creating_extension || RelationGetNamespace(rel) != get_namespace_oid("verity", true)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("access method \"verity_journal\" is only for the journal of the verity extension"),
				 errhint("Create tables USING verity.")));
	srel = RelationCreateStorage(*newrlocator, persistence, true);
	smgrclose(srel);
	/* only entries name transactions */
	*freezeXid = journal_relation_of(rel) == JOURNAL_ENTRIES ? RecentXmin : InvalidTransactionId;
	*minmulti = journal_relation_of(rel) == JOURNAL_ENTRIES ? GetOldestMultiXactId() : InvalidMultiXactId;
}

static bool
journal_needs_toast_table(Relation rel)
{
	return false;
}

static void
journal_estimate_size(Relation rel, int32 *attr_widths, BlockNumber *pages, double *tuples,
					  double *allvisfrac)
{
	*pages = RelationGetNumberOfBlocks(rel);
	*tuples = *pages * journal_rows_per_page(journal_relation_of(rel));
	*allvisfrac = 0;
}

/* xids that entries behind the horizon on pages still need; Invalid: none. */
static TransactionId
oldest_undecided_xid(Relation rel)
{
	TransactionId oldest = InvalidTransactionId;
	TransactionId xid;
	JournalTail tail;
	VerityEntry *last;

	journal_find_tail(rel, &tail);
	last = journal_read_entry(rel, tail.position);
	if (last == NULL)
		return FirstNormalTransactionId;
	for (uint64 position = last->stored.core.decided + 1; position <= tail.position; position++)
	{
		if (journal_entry_xid(rel, position, &xid) && TransactionIdIsValid(xid) &&
			(!TransactionIdIsValid(oldest) || TransactionIdPrecedes(xid, oldest)))
			oldest = xid;
	}
	verity_entry_free(last);
	return oldest;
}

/* State the horizon in an entry of its own, so that xids are not needed. */
static void
append_horizon(void)
{
	control_void body = {0, NULL};
	uint8		bytes[16];
	codec_writer writer;

	codec_writer_init(&writer, bytes, sizeof(bytes));
	control_void_encode(&writer, &body);
	Assert(!writer.failed);
	(void) verity_journal_append_control(ENTRY_VOID, bytes, writer.used);
}

/*
 * Can an entry be written?  Not without keys, once entries were authenticated:
 * then other tables are still to be vacuumed.
 */
static bool
can_append(Relation rel)
{
	JournalTail tail;
	VerityEntry *last;
	bool		keyed;

	if (verity_keys_available())
		return true;
	journal_find_tail(rel, &tail);
	last = journal_read_entry(rel, tail.position);
	keyed = last != NULL && journal_has_hmac(&last->stored);
	verity_entry_free(last);
	if (keyed)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relfrozenxid of the journal cannot advance without keys"),
				 errhint("Configure the master key before transaction IDs run out.")));
	return !keyed;
}

/* Nothing is removed; relfrozenxid follows the oldest undecided transaction. */
static void
journal_vacuum(Relation rel, struct VacuumParams *params, BufferAccessStrategy bstrategy)
{
	struct VacuumCutoffs cutoffs;
	TransactionId needed;
	bool		frozen_updated;
	bool		multi_updated;

	if (journal_relation_of(rel) != JOURNAL_ENTRIES || RelationGetNumberOfBlocks(rel) == 0)
		return;
	(void) vacuum_get_cutoffs(rel, params, &cutoffs);
	needed = oldest_undecided_xid(rel);
	if (TransactionIdIsValid(needed) && TransactionIdPrecedesOrEquals(needed, cutoffs.FreezeLimit) &&
		can_append(rel))
	{
		append_horizon();
		needed = oldest_undecided_xid(rel);
	}
	if (TransactionIdIsValid(needed) && TransactionIdPrecedes(needed, cutoffs.OldestXmin))
		cutoffs.OldestXmin = needed;
	vac_update_relstats(rel, RelationGetNumberOfBlocks(rel), verity_journal_last(), 0, 0, false,
						cutoffs.OldestXmin, cutoffs.OldestMxact, &frozen_updated, &multi_updated, false);
}

static const TableAmRoutine journal_methods = {
	.type = T_TableAmRoutine,
	.slot_callbacks = journal_slot_callbacks,
	.scan_begin = journal_scan_begin,
	.scan_end = journal_scan_end,
	.scan_rescan = journal_scan_rescan,
	.scan_getnextslot = journal_scan_getnextslot,
	.parallelscan_estimate = table_block_parallelscan_estimate,
	.parallelscan_initialize = table_block_parallelscan_initialize,
	.parallelscan_reinitialize = table_block_parallelscan_reinitialize,
	.index_fetch_begin = journal_refuse_index_fetch_begin,
	.index_fetch_reset = journal_refuse_index_fetch_reset,
	.index_fetch_end = journal_refuse_index_fetch_reset,
	.index_fetch_tuple = journal_refuse_index_fetch_tuple,
	.tuple_fetch_row_version = journal_fetch_row_version,
	.tuple_tid_valid = journal_refuse_tid_valid,
	.tuple_get_latest_tid = journal_refuse_latest_tid,
	.tuple_satisfies_snapshot = journal_refuse_satisfies_snapshot,
	.index_delete_tuples = journal_refuse_index_delete,
	.tuple_insert = journal_refuse_insert,
	.tuple_insert_speculative = journal_refuse_insert_speculative,
	.tuple_complete_speculative = journal_refuse_complete_speculative,
	.multi_insert = journal_refuse_multi_insert,
	.tuple_delete = journal_refuse_delete,
	.tuple_update = journal_refuse_update,
	.tuple_lock = journal_refuse_lock,
	.relation_set_new_filelocator = journal_set_new_filelocator,
	.relation_nontransactional_truncate = journal_refuse_truncate,
	.relation_copy_data = journal_refuse_copy_data,
	.relation_copy_for_cluster = journal_refuse_copy_for_cluster,
	.relation_vacuum = journal_vacuum,
	.scan_analyze_next_block = journal_refuse_analyze_block,
	.scan_analyze_next_tuple = journal_refuse_analyze_tuple,
	.index_build_range_scan = journal_refuse_index_build,
	.index_validate_scan = journal_refuse_index_validate,
	.relation_size = table_block_relation_size,
	.relation_needs_toast_table = journal_needs_toast_table,
	.relation_estimate_size = journal_estimate_size,
	.scan_sample_next_block = journal_refuse_sample_block,
	.scan_sample_next_tuple = journal_refuse_sample_tuple,
};

const TableAmRoutine *
verity_journal_am(void)
{
	return &journal_methods;
}

PG_FUNCTION_INFO_V1(verity_journal_handler);

Datum
verity_journal_handler(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(&journal_methods);
}
