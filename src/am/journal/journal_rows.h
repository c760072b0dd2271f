/*
 * journal_rows.h
 *	  The journal's relations as rows, and what is refused on them.
 */
#ifndef VERITY_JOURNAL_ROWS_H
#define VERITY_JOURNAL_ROWS_H

#include "postgres.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "utils/rel.h"

typedef enum JournalRelation
{
	JOURNAL_ENTRIES,
	JOURNAL_SERIALS,
	JOURNAL_HEADS
} JournalRelation;

/* Which of the three, by name; errors for another. */
extern JournalRelation journal_relation_of(Relation rel);

/* Places for rows on a page (of entries: items), and how many to expect. */
extern int	journal_rows_on_page(JournalRelation which, char *page);
extern double journal_rows_per_page(JournalRelation which);

/* Fill the slot from the n-th place of a copied page; false: no row there. */
extern bool journal_row(Relation rel, JournalRelation which, char *page, BlockNumber blkno, int n,
						TupleTableSlot *slot);

/* --- journal_refuse.c: callbacks that only say no --- */
extern IndexFetchTableData *journal_refuse_index_fetch_begin(Relation rel);
extern void journal_refuse_index_fetch_reset(IndexFetchTableData *data);
extern bool journal_refuse_index_fetch_tuple(IndexFetchTableData *scan, ItemPointer tid, Snapshot snapshot,
											 TupleTableSlot *slot, bool *call_again, bool *all_dead);
extern bool journal_refuse_tid_valid(TableScanDesc scan, ItemPointer tid);
extern void journal_refuse_latest_tid(TableScanDesc scan, ItemPointer tid);
extern bool journal_refuse_satisfies_snapshot(Relation rel, TupleTableSlot *slot, Snapshot snapshot);
extern TransactionId journal_refuse_index_delete(Relation rel, TM_IndexDeleteOp *delstate);
extern void journal_refuse_insert(Relation rel, TupleTableSlot *slot, CommandId cid, int options,
								  BulkInsertState bistate);
extern void journal_refuse_insert_speculative(Relation rel, TupleTableSlot *slot, CommandId cid,
											  int options, BulkInsertState bistate, uint32 token);
extern void journal_refuse_complete_speculative(Relation rel, TupleTableSlot *slot, uint32 token,
												bool succeeded);
extern void journal_refuse_multi_insert(Relation rel, TupleTableSlot **slots, int nslots, CommandId cid,
										int options, BulkInsertState bistate);
extern TM_Result journal_refuse_delete(Relation rel, ItemPointer tid, CommandId cid, Snapshot snapshot,
									   Snapshot crosscheck, bool wait, TM_FailureData *tmfd,
									   bool changingPart);
extern TM_Result journal_refuse_update(Relation rel, ItemPointer otid, TupleTableSlot *slot,
									   CommandId cid, Snapshot snapshot, Snapshot crosscheck, bool wait,
									   TM_FailureData *tmfd, LockTupleMode *lockmode,
									   TU_UpdateIndexes *update_indexes);
extern TM_Result journal_refuse_lock(Relation rel, ItemPointer tid, Snapshot snapshot,
									 TupleTableSlot *slot, CommandId cid, LockTupleMode mode,
									 LockWaitPolicy wait_policy, uint8 flags, TM_FailureData *tmfd);
extern void journal_refuse_truncate(Relation rel);
extern void journal_refuse_copy_data(Relation rel, const RelFileLocator *newrlocator);
extern void journal_refuse_copy_for_cluster(Relation OldTable, Relation NewTable, Relation OldIndex,
											bool use_sort, TransactionId OldestXmin,
											TransactionId *xid_cutoff, MultiXactId *multi_cutoff,
											double *num_tuples, double *tups_vacuumed,
											double *tups_recently_dead);
#if PG_VERSION_NUM >= 170000
extern bool journal_refuse_analyze_block(TableScanDesc scan, ReadStream *stream);
#else
extern bool journal_refuse_analyze_block(TableScanDesc scan, BlockNumber blockno,
										 BufferAccessStrategy bstrategy);
#endif
extern bool journal_refuse_analyze_tuple(TableScanDesc scan, TransactionId OldestXmin, double *liverows,
										 double *deadrows, TupleTableSlot *slot);
extern double journal_refuse_index_build(Relation rel, Relation index_rel, struct IndexInfo *index_info,
										 bool allow_sync, bool anyvisible, bool progress,
										 BlockNumber start_blockno, BlockNumber numblocks,
										 IndexBuildCallback callback, void *callback_state,
										 TableScanDesc scan);
extern void journal_refuse_index_validate(Relation rel, Relation index_rel, struct IndexInfo *index_info,
										  Snapshot snapshot, struct ValidateIndexState *state);
extern bool journal_refuse_sample_block(TableScanDesc scan, struct SampleScanState *scanstate);
extern bool journal_refuse_sample_tuple(TableScanDesc scan, struct SampleScanState *scanstate,
										TupleTableSlot *slot);

#endif							/* VERITY_JOURNAL_ROWS_H */
