/*
 * storage.c
 *	  A table's files: making, emptying, copying and rewriting them.
 *
 * New storage is a new ledger: it gets a random ledger id and, where the
 * table is journalled, a number in the journal.  The id goes with the file
 * through SET TABLESPACE and CREATE DATABASE … TEMPLATE.  A rewrite (ALTER
 * TABLE, CLUSTER, VACUUM FULL) makes a transient table "pg_temp_<oid>" first:
 * that is where a protected table's rewrite is refused, before anything was
 * touched and whatever path led here.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/multixact.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xloginsert.h"
#include "catalog/storage.h"
#include "catalog/storage_xlog.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lock.h"
#include "storage/procarray.h"
#include "storage/smgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplesort.h"

#include "am/table.h"
#include "am/journal/xact.h"
#include "am/stop_point.h"

/*
 * The table that this transient relation will replace, or InvalidOid.  Anybody
 * may give a table such a name; a rewrite holds its table locked.
 */
static Oid
rewritten_table(Relation rel)
{
	unsigned int oid;
	int			end = 0;
	LOCKTAG		tag;

	if (sscanf(RelationGetRelationName(rel), "pg_temp_%u%n", &oid, &end) != 1 ||
		RelationGetRelationName(rel)[end] != '\0')
		return InvalidOid;
	SET_LOCKTAG_RELATION(tag, MyDatabaseId, oid);
	if (!LockHeldByMe(&tag, ExclusiveLock, true))
		return InvalidOid;
	return oid;
}

/* Refuse the rewrite of a protected table; is what is rewritten a matview? */
static bool
check_rewrite(Oid old_relid)
{
	Relation	old = relation_open(old_relid, NoLock);
	bool		is_matview = old->rd_rel->relkind == RELKIND_MATVIEW;

	if (!is_matview)
		verity_check_storage_change(old, "rewrite");
	relation_close(old, NoLock);
	return is_matview;
}

void
verity_relation_set_new_filelocator(Relation rel, const RelFileLocator *newrlocator, char persistence,
								 TransactionId *freezeXid, MultiXactId *minmulti)
{
	Oid			old_relid = rewritten_table(rel);
	bool		journalled = persistence == RELPERSISTENCE_PERMANENT &&
		rel->rd_rel->relkind == RELKIND_RELATION && !IsBinaryUpgrade;
	uint8		ledger[LEDGER_ID_SIZE];
	uint32		number = 0;
	SMgrRelation smgr;

	if (OidIsValid(old_relid) && check_rewrite(old_relid))
		journalled = false;
	if (rel->rd_locator.relNumber != newrlocator->relNumber)
		verity_storage_drop(rel, "truncate");
	if (!pg_strong_random(ledger, sizeof(ledger)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a ledger id")));
	if (journalled)
		number = verity_ledger_number_next(ledger);
	*freezeXid = RecentXmin;
	*minmulti = GetOldestMultiXactId();
	smgr = RelationCreateStorage(*newrlocator, persistence, true);
	VERITY_STOP("storage-made");
	if (persistence == RELPERSISTENCE_UNLOGGED)
	{
		smgrcreate(smgr, INIT_FORKNUM, false);
		log_smgrcreate(newrlocator, INIT_FORKNUM);
		verity_meta_create(rel, newrlocator, INIT_FORKNUM, persistence, ledger, number, journalled);
		smgrimmedsync(smgr, INIT_FORKNUM);
	}
	verity_meta_create(rel, newrlocator, MAIN_FORKNUM, persistence, ledger, number, journalled);
	VERITY_STOP("storage-ready");
	smgrclose(smgr);
	if (journalled)
		verity_xact_schema_dirty(OidIsValid(old_relid) ? old_relid : RelationGetRelid(rel));
}

void
verity_relation_nontransactional_truncate(Relation rel)
{
	VerityRel  *vrel = verity_rel(rel);
	BlockNumber kept;

	if (vrel->journalled)
	{
		verity_check_storage_change(rel, "truncate");
		verity_xact_forget(vrel->ledger);
	}
	VERITY_STOP("truncate-begun");
	kept = verity_meta_gather(rel);
	VERITY_STOP("truncate-gathered");
	RelationTruncate(rel, kept);
	VERITY_STOP("truncate-cut");
	verity_meta_remove_records(rel);
	verity_rel_invalidate(RelationGetRelid(rel));
}

void
verity_relation_copy_data(Relation rel, const RelFileLocator *newrlocator)
{
	SMgrRelation target;

	/* unlogged and temporary tables have dirty buffers that nothing else writes */
	FlushRelationBuffers(rel);
	target = RelationCreateStorage(*newrlocator, rel->rd_rel->relpersistence, true);
	RelationCopyStorage(RelationGetSmgr(rel), target, MAIN_FORKNUM, rel->rd_rel->relpersistence);
	for (ForkNumber fork = MAIN_FORKNUM + 1; fork <= MAX_FORKNUM; fork++)
	{
		if (!smgrexists(RelationGetSmgr(rel), fork))
			continue;
		smgrcreate(target, fork, false);
		if (RelationIsPermanent(rel) ||
			(rel->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED && fork == INIT_FORKNUM))
			log_smgrcreate(newrlocator, fork);
		RelationCopyStorage(RelationGetSmgr(rel), target, fork, rel->rd_rel->relpersistence);
	}
	RelationDropStorage(rel);
	smgrclose(target);
}

/* Copy the row of a slot into the new table, without dropped columns. */
static void
copy_row(Relation NewTable, TupleTableSlot *from, TupleTableSlot *to)
{
	TupleDesc	desc = RelationGetDescr(NewTable);

	ExecClearTuple(to);
	slot_getallattrs(from);
	for (int i = 0; i < desc->natts; i++)
	{
		bool		dropped = TupleDescAttr(desc, i)->attisdropped;

		to->tts_isnull[i] = dropped || from->tts_isnull[i];
		to->tts_values[i] = dropped ? (Datum) 0 : from->tts_values[i];
	}
	ExecStoreVirtualTuple(to);
	verity_tuple_insert(NewTable, to, GetCurrentCommandId(true), HEAP_INSERT_NO_LOGICAL, NULL);
}

/* Copy the rows in an index's order or as they stand, or give them to a sort. */
static double
copy_rows(Relation OldTable, Relation NewTable, Relation OldIndex, Snapshot snapshot,
		  Tuplesortstate *sort)
{
	TupleTableSlot *from = table_slot_create(OldTable, NULL);
	TupleTableSlot *to = MakeSingleTupleTableSlot(RelationGetDescr(NewTable), &TTSOpsVirtual);
	IndexScanDesc index_scan = NULL;
	TableScanDesc table_scan = NULL;
	double		count = 0;

	if (OldIndex != NULL && sort == NULL)
	{
		index_scan = index_beginscan(OldTable, OldIndex, snapshot, NULL, 0, 0);
		index_rescan(index_scan, NULL, 0, NULL, 0);
	}
	else
		table_scan = table_beginscan(OldTable, snapshot, 0, NULL);
	while (index_scan ? index_getnext_slot(index_scan, ForwardScanDirection, from) :
		   table_scan_getnextslot(table_scan, ForwardScanDirection, from))
	{
		CHECK_FOR_INTERRUPTS();
		if (sort)
			tuplesort_putheaptuple(sort, ExecFetchSlotHeapTuple(from, false, NULL));
		else
			copy_row(NewTable, from, to);
		count += 1;
	}
	if (index_scan)
		index_endscan(index_scan);
	else
		table_endscan(table_scan);
	ExecDropSingleTupleTableSlot(from);
	ExecDropSingleTupleTableSlot(to);
	return count;
}

/* Copy the rows that were sorted. */
static void
copy_sorted(Relation OldTable, Relation NewTable, Tuplesortstate *sort)
{
	TupleTableSlot *from = MakeSingleTupleTableSlot(RelationGetDescr(OldTable), &TTSOpsHeapTuple);
	TupleTableSlot *to = MakeSingleTupleTableSlot(RelationGetDescr(NewTable), &TTSOpsVirtual);
	HeapTuple	tuple;

	tuplesort_performsort(sort);
	while ((tuple = tuplesort_getheaptuple(sort, true)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		copy_row(NewTable, ExecStoreHeapTuple(tuple, from, false), to);
	}
	ExecDropSingleTupleTableSlot(from);
	ExecDropSingleTupleTableSlot(to);
}

/*
 * VACUUM FULL and CLUSTER, where the policy allows them: the current rows are
 * sealed anew into a new ledger.  The table is locked exclusively, so a fresh
 * snapshot sees all that is current.  As with a rewriting ALTER TABLE,
 * transactions with older snapshots see the result as empty.
 */
void
verity_relation_copy_for_cluster(Relation OldTable, Relation NewTable, Relation OldIndex,
								 bool use_sort, TransactionId OldestXmin,
								 TransactionId *xid_cutoff, MultiXactId *multi_cutoff,
								 double *num_tuples, double *tups_vacuumed,
								 double *tups_recently_dead)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	Tuplesortstate *sort = NULL;

	if (use_sort)
		sort = tuplesort_begin_cluster(RelationGetDescr(OldTable), OldIndex,
									   maintenance_work_mem, NULL, TUPLESORT_NONE);
	*tups_vacuumed = *tups_recently_dead = 0;
	*num_tuples = copy_rows(OldTable, NewTable, OldIndex, snapshot, sort);
	if (sort)
	{
		copy_sorted(OldTable, NewTable, sort);
		tuplesort_end(sort);
	}
	UnregisterSnapshot(snapshot);
}
