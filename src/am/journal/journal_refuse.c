/*
 * journal_refuse.c
 *	  What cannot be done to the journal's relations through SQL.
 *
 * The extension alone writes them.  The DDL hooks refuse most of this before
 * anything is touched; these callbacks hold where the hooks are not reached.
 */
#include "postgres.h"

#include "am/journal/journal_rows.h"

pg_noreturn static void refuse(const char *what);

static void
refuse(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot %s the journal", what),
			 errhint("The verity extension alone writes the journal. Read it with SELECT.")));
}

IndexFetchTableData *
journal_refuse_index_fetch_begin(Relation rel)
{
	refuse("use an index on");
}

void
journal_refuse_index_fetch_reset(IndexFetchTableData *data)
{
	refuse("use an index on");
}

bool
journal_refuse_index_fetch_tuple(IndexFetchTableData *scan, ItemPointer tid, Snapshot snapshot,
								 TupleTableSlot *slot, bool *call_again, bool *all_dead)
{
	refuse("use an index on");
}

bool
journal_refuse_tid_valid(TableScanDesc scan, ItemPointer tid)
{
	return false;
}

void
journal_refuse_latest_tid(TableScanDesc scan, ItemPointer tid)
{
	refuse("fetch a row by its ctid from");
}

bool
journal_refuse_satisfies_snapshot(Relation rel, TupleTableSlot *slot, Snapshot snapshot)
{
	return true;
}

TransactionId
journal_refuse_index_delete(Relation rel, TM_IndexDeleteOp *delstate)
{
	refuse("use an index on");
}

void
journal_refuse_insert(Relation rel, TupleTableSlot *slot, CommandId cid, int options,
					  BulkInsertState bistate)
{
	refuse("insert into");
}

void
journal_refuse_insert_speculative(Relation rel, TupleTableSlot *slot, CommandId cid, int options,
								  BulkInsertState bistate, uint32 token)
{
	refuse("insert into");
}

void
journal_refuse_complete_speculative(Relation rel, TupleTableSlot *slot, uint32 token, bool succeeded)
{
	refuse("insert into");
}

void
journal_refuse_multi_insert(Relation rel, TupleTableSlot **slots, int nslots, CommandId cid,
							int options, BulkInsertState bistate)
{
	refuse("copy into");
}

TM_Result
journal_refuse_delete(Relation rel, ItemPointer tid, CommandId cid, Snapshot snapshot,
					  Snapshot crosscheck, bool wait, TM_FailureData *tmfd, bool changingPart)
{
	refuse("delete from");
}

TM_Result
journal_refuse_update(Relation rel, ItemPointer otid, TupleTableSlot *slot, CommandId cid,
					  Snapshot snapshot, Snapshot crosscheck, bool wait, TM_FailureData *tmfd,
					  LockTupleMode *lockmode, TU_UpdateIndexes *update_indexes)
{
	refuse("update");
}

TM_Result
journal_refuse_lock(Relation rel, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot,
					CommandId cid, LockTupleMode mode, LockWaitPolicy wait_policy, uint8 flags,
					TM_FailureData *tmfd)
{
	refuse("lock rows of");
}

void
journal_refuse_truncate(Relation rel)
{
	refuse("truncate");
}

void
journal_refuse_copy_data(Relation rel, const RelFileLocator *newrlocator)
{
	refuse("move");
}

void
journal_refuse_copy_for_cluster(Relation OldTable, Relation NewTable, Relation OldIndex, bool use_sort,
								TransactionId OldestXmin, TransactionId *xid_cutoff,
								MultiXactId *multi_cutoff, double *num_tuples, double *tups_vacuumed,
								double *tups_recently_dead)
{
	refuse("rewrite");
}

/* Its statistics would say nothing: ANALYZE finds no rows. */
bool
#if PG_VERSION_NUM >= 170000
journal_refuse_analyze_block(TableScanDesc scan, ReadStream *stream)
#else
journal_refuse_analyze_block(TableScanDesc scan, BlockNumber blockno, BufferAccessStrategy bstrategy)
#endif
{
	return false;
}

bool
journal_refuse_analyze_tuple(TableScanDesc scan, TransactionId OldestXmin, double *liverows,
							 double *deadrows, TupleTableSlot *slot)
{
	return false;
}

double
journal_refuse_index_build(Relation rel, Relation index_rel, struct IndexInfo *index_info,
						   bool allow_sync, bool anyvisible, bool progress, BlockNumber start_blockno,
						   BlockNumber numblocks, IndexBuildCallback callback, void *callback_state,
						   TableScanDesc scan)
{
	refuse("build an index on");
}

void
journal_refuse_index_validate(Relation rel, Relation index_rel, struct IndexInfo *index_info,
							  Snapshot snapshot, struct ValidateIndexState *state)
{
	refuse("build an index on");
}

bool
journal_refuse_sample_block(TableScanDesc scan, struct SampleScanState *scanstate)
{
	refuse("sample");
}

bool
journal_refuse_sample_tuple(TableScanDesc scan, struct SampleScanState *scanstate, TupleTableSlot *slot)
{
	refuse("sample");
}
