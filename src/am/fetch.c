/*
 * fetch.c
 *	  Access by index entry and by TID.
 *
 * Index entries name roots; what is returned is a version, and its own TID
 * stands in the slot and in *tid.  TID access names versions.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "am/map.h"
#include "am/scan.h"
#include "miscadmin.h"
#include "storage/predicate.h"

typedef struct VerityIndexFetch
{
	IndexFetchTableData base;	/* first: core's view of it */
	VerityRel  *vrel;
	Buffer		buffer;			/* page of the last record, pinned */
	VerityPosition position;	/* bound when the fetch began, 0: the present */
} VerityIndexFetch;

/* --- by index entry --- */

IndexFetchTableData *
verity_index_fetch_begin(Relation rel)
{
	VerityIndexFetch *fetch = palloc0(sizeof(VerityIndexFetch));

	fetch->base.rel = rel;
	fetch->vrel = verity_rel(rel);
	fetch->buffer = InvalidBuffer;
	fetch->position = fetch->vrel->journalled ? verity_asof_bound : 0;
	return &fetch->base;
}

void
verity_index_fetch_reset(IndexFetchTableData *scan)
{
	VerityIndexFetch *fetch = (VerityIndexFetch *) scan;

	if (BufferIsValid(fetch->buffer))
		ReleaseBuffer(fetch->buffer);
	fetch->buffer = InvalidBuffer;
}

void
verity_index_fetch_end(IndexFetchTableData *scan)
{
	verity_index_fetch_reset(scan);
	pfree(scan);
}

bool
verity_index_fetch_tuple(IndexFetchTableData *scan, ItemPointer tid, Snapshot snapshot,
						 TupleTableSlot *slot, bool *call_again, bool *all_dead)
{
	VerityIndexFetch *fetch = (VerityIndexFetch *) scan;
	HeapTupleData record;
	bool		found;

	/* a root has at most one version for any snapshot */
	*call_again = false;
	/* a standby marks no index entries, so that it need not find out which could be */
	if (all_dead && RecoveryInProgress())
	{
		*all_dead = false;
		all_dead = NULL;
	}
	if (fetch->position != 0 && IsMVCCSnapshot(snapshot))
	{
		if (all_dead)
			*all_dead = false;
		found = verity_root_fetch_at(scan->rel, tid, snapshot, fetch->position,
									 &fetch->buffer, &record);
	}
	else
		found = verity_root_fetch(scan->rel, tid, snapshot, &fetch->buffer, &record, all_dead);

	if (!found)
		return false;
	*tid = record.t_self;
	verity_slot_store(slot, fetch->vrel, &record, fetch->buffer);
	return true;
}

/* --- by TID --- */

/* Test a locked record, with what serializable transactions need. */
static bool
test_version(Relation rel, HeapTuple record, Snapshot snapshot, Buffer buffer, VerityPosition position)
{
	bool		visible = verity_record_visible_at(rel, record, snapshot, buffer, position);

	if ((VerityGetEnvelope(record->t_data)->flags & ENVELOPE_TOMBSTONE) != 0 || position != 0)
		return visible;
	if (visible)
		PredicateLockTID(rel, &record->t_self, snapshot,
						 HeapTupleHeaderGetXmin(record->t_data));
	HeapCheckForSerializableConflictOut(visible, rel, record, buffer, snapshot);
	return visible;
}

bool
verity_tuple_fetch_row_version(Relation rel, ItemPointer tid, Snapshot snapshot,
							   TupleTableSlot *slot)
{
	VerityRel  *vrel = verity_rel(rel);
	VerityPosition position = verity_scan_position(vrel, snapshot);
	Buffer		buffer = InvalidBuffer;
	HeapTupleData record;
	bool		visible = false;

	if (verity_fetch_record(rel, tid, &buffer, &record, true))
	{
		visible = test_version(rel, &record, snapshot, buffer, position);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	}
	if (visible)
		verity_slot_store(slot, vrel, &record, buffer);
	ReleaseBuffer(buffer);
	return visible;
}

bool
verity_tuple_tid_valid(TableScanDesc scan, ItemPointer tid)
{
	return ItemPointerIsValid(tid) &&
		ItemPointerGetBlockNumber(tid) < verity_pages_in_use(scan->rs_rd, ((VerityScan *) scan)->nblocks) &&
		!verity_block_is_special(ItemPointerGetBlockNumber(tid));
}

void
verity_tuple_get_latest_tid(TableScanDesc sscan, ItemPointer tid)
{
	Relation	rel = sscan->rs_rd;
	Snapshot	snapshot = sscan->rs_snapshot;
	VerityPosition position = ((VerityScan *) sscan)->asof;
	Buffer		buffer = InvalidBuffer;
	HeapTupleData record;
	bool		found;

	/* the latest visible version, along the row's links and across roots */
	found = verity_fetch_record(rel, tid, &buffer, &record, true);
	while (found)
	{
		bool		visible;

		visible = verity_record_visible_at(rel, &record, snapshot, buffer, position);
		if (position == 0 &&
			(VerityGetEnvelope(record.t_data)->flags & ENVELOPE_TOMBSTONE) == 0)
			HeapCheckForSerializableConflictOut(visible, rel, &record, buffer, snapshot);
		if (visible)
			*tid = record.t_self;
		CHECK_FOR_INTERRUPTS();
		found = verity_follow_ctid(rel, &record, &buffer, &record);
	}
	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
}

bool
verity_tuple_satisfies_snapshot(Relation rel, TupleTableSlot *slot, Snapshot snapshot)
{
	VerityPosition position = verity_scan_position(verity_rel(rel), snapshot);
	Buffer		buffer;
	HeapTuple	record = verity_slot_record(slot, &buffer);
	HeapTupleData fetched;
	bool		visible = false;

	if (record != NULL)
	{
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		visible = verity_record_visible_at(rel, record, snapshot, buffer, position);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		return visible;
	}

	/* a materialized row is looked up again */
	buffer = InvalidBuffer;
	if (!ItemPointerIsValid(&slot->tts_tid))
		elog(ERROR, "slot holds no row of table \"%s\"", RelationGetRelationName(rel));
	if (verity_fetch_record(rel, &slot->tts_tid, &buffer, &fetched, true))
	{
		visible = verity_record_visible_at(rel, &fetched, snapshot, buffer, position);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	}
	ReleaseBuffer(buffer);
	return visible;
}
