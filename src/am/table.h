/*
 * table.h
 *	  The table access method's parts, as they see each other.
 */
#ifndef VERITY_TABLE_H
#define VERITY_TABLE_H

#include "am/layout.h"
#include "am/rel.h"
#include "compat.h"

#include "access/heapam.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "commands/vacuum.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "storage/bufmgr.h"

/* --- handler.c --- */
extern const TableAmRoutine *verity_table_am(void);

/* --- slot.c --- */

/*
 * A slot that holds a pinned record and opens it when a column is asked for.
 * As a virtual slot or after ExecForceStoreHeapTuple it behaves as heap's.
 */
extern const TupleTableSlotOps TTSOpsVerity;

#define TTS_IS_VERITY(slot) ((slot)->tts_ops == &TTSOpsVerity)

/*
 * Store the record at tid, of a pinned page, in the slot; takes a pin of its
 * own.  record->t_data points into the page.  Sets tts_tid to the version's
 * own TID and tts_tableOid.
 */
extern void verity_slot_store(TupleTableSlot *slot, VerityRel *vrel, HeapTuple record, Buffer buffer);

/*
 * The slot's row was just written as this record, at tid: system columns of
 * the slot are the record's from now on.  Any kind of slot gets tts_tid.
 */
extern void verity_slot_written(TupleTableSlot *slot, ItemPointer tid, const void *record);

/* Open a record into a palloc'd heap tuple (t_self, xmin … set). */
extern HeapTuple verity_open_tuple(VerityRel *vrel, HeapTuple record);

/* --- chain.c: roots and versions --- */

/*
 * Get the record at tid: pins (and, if asked, share-locks) its page, reusing
 * *buffer when it already holds that page.  false when there is no such record
 * (record->t_data is NULL then; the buffer stays pinned and unlocked).
 */
extern bool verity_fetch_record(Relation rel, ItemPointer tid, Buffer *buffer,
								HeapTuple record, bool keep_lock);

/*
 * The version of the row under this root that the snapshot sees.  *buffer is
 * pinned and unlocked on return.  Follows RULES A3: MVCC snapshots start at
 * the hint and walk back; dirty and self snapshots go forward first.
 * *all_dead (may be NULL) as index AMs want it.
 */
extern bool verity_root_fetch(Relation rel, ItemPointer root, Snapshot snapshot,
							  Buffer *buffer, HeapTuple record, bool *all_dead);

/* --- dml.c, update.c, lock.c: RULES A --- */
extern void verity_tuple_insert(Relation rel, TupleTableSlot *slot, CommandId cid,
								int options, BulkInsertState bistate);
extern void verity_tuple_insert_speculative(Relation rel, TupleTableSlot *slot, CommandId cid,
											int options, BulkInsertState bistate, uint32 token);
extern void verity_tuple_complete_speculative(Relation rel, TupleTableSlot *slot,
											  uint32 token, bool succeeded);
extern void verity_multi_insert(Relation rel, TupleTableSlot **slots, int nslots,
								CommandId cid, int options, BulkInsertState bistate);
extern TM_Result verity_tuple_delete(Relation rel, ItemPointer tid, CommandId cid,
									 Snapshot snapshot, Snapshot crosscheck, bool wait,
									 TM_FailureData *tmfd, bool changingPart);
extern TM_Result verity_tuple_update(Relation rel, ItemPointer otid, TupleTableSlot *slot,
									 CommandId cid, Snapshot snapshot, Snapshot crosscheck,
									 bool wait, TM_FailureData *tmfd,
									 LockTupleMode *lockmode, TU_UpdateIndexes *update_indexes);
extern TM_Result verity_tuple_lock(Relation rel, ItemPointer tid, Snapshot snapshot,
								   TupleTableSlot *slot, CommandId cid, LockTupleMode mode,
								   LockWaitPolicy wait_policy, uint8 flags,
								   TM_FailureData *tmfd);
extern void verity_finish_bulk_insert(Relation rel, int options);

/* --- toast.c --- */

/* TOAST pointer of a record, palloc'd; NULL where the record is inline. */
extern struct varlena *verity_toast_pointer(HeapTupleHeader record, Size header_size);

extern uint8 *verity_toast_fetch(HeapTuple record, Size header_size, Size *len);

/* The sealed part's pieces of a record on a page or in TOAST. */
typedef struct VeritySealedView
{
	record_header header;
	const uint8 *header_bytes;
	Size		header_len;
	const uint8 *cipher;		/* ciphertext || tag */
	Size		cipher_len;
	uint8	   *toasted;		/* to pfree, or NULL */
} VeritySealedView;

/* false (and *why) when the bytes are not a sealed part. */
extern bool verity_sealed_view(HeapTuple record, VeritySealedView *view, const char **why);

extern bool verity_needs_toast_table(Relation rel);

/* --- scan.c, bitmap.c, sample.c --- */
extern TableScanDesc verity_scan_begin(Relation rel, Snapshot snapshot, int nkeys, ScanKey key,
									   ParallelTableScanDesc parallel_scan, uint32 flags);
extern void verity_scan_end(TableScanDesc scan);
extern void verity_scan_rescan(TableScanDesc scan, ScanKey key, bool set_params, bool allow_strat,
							   bool allow_sync, bool allow_pagemode);
extern bool verity_scan_getnextslot(TableScanDesc scan, ScanDirection direction, TupleTableSlot *slot);
extern void verity_scan_set_tidrange(TableScanDesc scan, ItemPointer mintid, ItemPointer maxtid);
extern bool verity_scan_getnextslot_tidrange(TableScanDesc scan, ScanDirection direction,
											 TupleTableSlot *slot);
#if PG_VERSION_NUM >= 180000
extern bool verity_scan_bitmap_next_tuple(TableScanDesc scan, TupleTableSlot *slot, bool *recheck,
										  uint64 *lossy_pages, uint64 *exact_pages);
#else
extern bool verity_scan_bitmap_next_block(TableScanDesc scan, TBMIterateResult *tbmres);
extern bool verity_scan_bitmap_next_tuple(TableScanDesc scan, TBMIterateResult *tbmres,
										  TupleTableSlot *slot);
#endif
extern bool verity_scan_sample_next_block(TableScanDesc scan, SampleScanState *scanstate);
extern bool verity_scan_sample_next_tuple(TableScanDesc scan, SampleScanState *scanstate,
										  TupleTableSlot *slot);
#if PG_VERSION_NUM >= 170000
extern bool verity_scan_analyze_next_block(TableScanDesc scan, ReadStream *stream);
#else
extern bool verity_scan_analyze_next_block(TableScanDesc scan, BlockNumber blockno,
										   BufferAccessStrategy bstrategy);
#endif
extern bool verity_scan_analyze_next_tuple(TableScanDesc scan, TransactionId OldestXmin,
										   double *liverows, double *deadrows, TupleTableSlot *slot);

/* --- fetch.c: index and TID access --- */
extern IndexFetchTableData *verity_index_fetch_begin(Relation rel);
extern void verity_index_fetch_reset(IndexFetchTableData *scan);
extern void verity_index_fetch_end(IndexFetchTableData *scan);
extern bool verity_index_fetch_tuple(IndexFetchTableData *scan, ItemPointer tid, Snapshot snapshot,
									 TupleTableSlot *slot, bool *call_again, bool *all_dead);
extern bool verity_tuple_fetch_row_version(Relation rel, ItemPointer tid, Snapshot snapshot,
										   TupleTableSlot *slot);
extern bool verity_tuple_tid_valid(TableScanDesc scan, ItemPointer tid);
extern void verity_tuple_get_latest_tid(TableScanDesc scan, ItemPointer tid);
extern bool verity_tuple_satisfies_snapshot(Relation rel, TupleTableSlot *slot, Snapshot snapshot);

/* --- index_build.c --- */
extern double verity_index_build_range_scan(Relation rel, Relation index_rel, IndexInfo *index_info,
											bool allow_sync, bool anyvisible, bool progress,
											BlockNumber start_blockno, BlockNumber numblocks,
											IndexBuildCallback callback, void *callback_state,
											TableScanDesc scan);
extern void verity_index_validate_scan(Relation rel, Relation index_rel, IndexInfo *index_info,
									   Snapshot snapshot, ValidateIndexState *state);

/* --- vacuum.c, index_delete.c --- */
extern void verity_relation_vacuum(Relation rel, VacuumParams *params, BufferAccessStrategy bstrategy);
extern TransactionId verity_index_delete_tuples(Relation rel, TM_IndexDeleteOp *delstate);

/* --- storage.c: files --- */
extern void verity_relation_set_new_filelocator(Relation rel, const RelFileLocator *newrlocator,
											 char persistence, TransactionId *freezeXid,
											 MultiXactId *minmulti);
extern void verity_relation_nontransactional_truncate(Relation rel);
extern void verity_relation_copy_data(Relation rel, const RelFileLocator *newrlocator);
extern void verity_relation_copy_for_cluster(Relation OldTable, Relation NewTable, Relation OldIndex,
											 bool use_sort, TransactionId OldestXmin,
											 TransactionId *xid_cutoff, MultiXactId *multi_cutoff,
											 double *num_tuples, double *tups_vacuumed,
											 double *tups_recently_dead);
/* Pages that heap would say a table of that many has: none where block 0 is all, and empty. */
extern BlockNumber verity_pages_in_use(Relation rel, BlockNumber nblocks);

extern void verity_relation_estimate_size(Relation rel, int32 *attr_widths, BlockNumber *pages,
										  double *tuples, double *allvisfrac);

/*
 * Is changing this table's storage (drop, truncate, rewrite) allowed?  Errors
 * with the policy and the way where it is not.  (policy.c)
 */
extern void verity_check_storage_change(Relation rel, const char *operation);

/*
 * The table's present storage, its ledger with it, is about to go away: check
 * that it may, take back what this transaction wrote into it, and journal the
 * ledger's end.  For DROP by ddl.c; for TRUNCATE by storage.c, before it makes
 * the new storage or empties the old.  (policy.c)
 */
extern void verity_storage_drop(Relation rel, const char *operation);

#endif							/* VERITY_TABLE_H */
