/*
 * lock.c
 *	  Row locks: heap_lock_tuple on our records.
 *
 * The envelope begins with an ordinary heap header, so core's own row lock,
 * its WAL record and its redo apply.  Following an updated row to its last
 * version is what heapam_tuple_lock does, across pages and roots alike.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "storage/lmgr.h"
#include "utils/rel.h"

#include "am/table.h"
#include "sql/index_only.h"

/* Wait for the transaction that is ending the version, as the policy says. */
static bool
wait_for_ender(Relation rel, TransactionId xid, ItemPointer tid, LockWaitPolicy wait_policy)
{
	if (wait_policy == LockWaitBlock)
	{
		XactLockTableWait(xid, rel, tid, XLTW_FetchUpdated);
		return true;
	}
	if (ConditionalXactLockTableWait(xid, wait_policy == LockWaitError && log_lock_failures))
		return true;
	if (wait_policy == LockWaitError)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not obtain lock on row in relation \"%s\"",
						RelationGetRelationName(rel))));
	return false;
}

/* What to do next with a version that follow_version looked at. */
typedef enum FollowStep
{
	FOLLOW_LOCK,				/* live: lock it */
	FOLLOW_AGAIN,				/* look at *tid (again) */
	FOLLOW_DONE					/* *result says why */
} FollowStep;

/* A live version: is it ours from this very command? */
static FollowStep
judge_live(HeapTuple record, TransactionId prior_xmax, CommandId cid, TM_FailureData *tmfd,
		   TM_Result *result)
{
	if (TransactionIdIsCurrentTransactionId(prior_xmax) &&
		HeapTupleHeaderGetCmin(record->t_data) >= cid)
	{
		tmfd->xmax = prior_xmax;
		tmfd->cmax = HeapTupleHeaderGetCmin(record->t_data);
		*result = TM_SelfModified;
		return FOLLOW_DONE;
	}
	return FOLLOW_LOCK;
}

/* Look at the version at *tid, whose xmin should be *prior_xmax. */
static FollowStep
follow_version(Relation rel, ItemPointer tid, TransactionId *prior_xmax, CommandId cid,
			   LockWaitPolicy wait_policy, TM_FailureData *tmfd, TM_Result *result)
{
	SnapshotData dirty;
	HeapTupleData record;
	Buffer		buffer = InvalidBuffer;
	FollowStep	step = FOLLOW_DONE;

	if (ItemPointerIndicatesMovedPartitions(tid))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("tuple to be locked was already moved to another partition due to concurrent update")));
	InitDirtySnapshot(dirty);
	*result = TM_Deleted;
	record.t_self = *tid;
	if (heap_fetch(rel, &dirty, &record, &buffer, true))
	{
		if (!TransactionIdEquals(HeapTupleHeaderGetXmin(record.t_data), *prior_xmax))
			step = FOLLOW_DONE;
		else if (TransactionIdIsValid(dirty.xmin))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg_internal("t_xmin %u is uncommitted in tuple (%u,%u) to be updated in table \"%s\"",
									 dirty.xmin, ItemPointerGetBlockNumber(tid),
									 ItemPointerGetOffsetNumber(tid), RelationGetRelationName(rel))));
		else if (TransactionIdIsValid(dirty.xmax))
		{
			ReleaseBuffer(buffer);
			buffer = InvalidBuffer;
			*result = TM_WouldBlock;
			if (wait_for_ender(rel, dirty.xmax, tid, wait_policy))
				step = FOLLOW_AGAIN;
		}
		else
			step = judge_live(&record, *prior_xmax, cid, tmfd, result);
	}
	else if (record.t_data != NULL &&
			 TransactionIdEquals(HeapTupleHeaderGetXmin(record.t_data), *prior_xmax) &&
			 !ItemPointerEquals(&record.t_self, &record.t_data->t_ctid))
	{
		/* ended by an update: on to its successor */
		*tid = record.t_data->t_ctid;
		*prior_xmax = HeapTupleHeaderGetUpdateXid(record.t_data);
		step = FOLLOW_AGAIN;
	}
	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
	return step;
}

TM_Result
verity_tuple_lock(Relation rel, ItemPointer tid, Snapshot snapshot,
				  TupleTableSlot *slot, CommandId cid, LockTupleMode mode,
				  LockWaitPolicy wait_policy, uint8 flags, TM_FailureData *tmfd)
{
	bool		follow_updates = (flags & TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS) != 0;
	bool		find_last = (flags & TUPLE_LOCK_FLAG_FIND_LAST_VERSION) != 0;
	VerityRel  *vrel = verity_rel(rel);

	tmfd->traversed = false;
	for (;;)
	{
		HeapTupleData record;
		Buffer		buffer;
		TransactionId prior_xmax;
		TM_Result	result;
		FollowStep	step;

		record.t_self = *tid;
		result = heap_lock_tuple(rel, &record, cid, mode, wait_policy, follow_updates, &buffer, tmfd);
		if (result != TM_Updated || !find_last)
		{
			record.t_tableOid = RelationGetRelid(rel);
			verity_slot_store(slot, vrel, &record, buffer);
			ReleaseBuffer(buffer);
			if (result == TM_Ok && tmfd->traversed)
				verity_recheck_follows(slot);
			return result;
		}
		ReleaseBuffer(buffer);
		if (ItemPointerEquals(&tmfd->ctid, &record.t_self))
			return TM_Deleted;
		*tid = tmfd->ctid;
		prior_xmax = tmfd->xmax;
		tmfd->traversed = true;
		do
			step = follow_version(rel, tid, &prior_xmax, cid, wait_policy, tmfd, &result);
		while (step == FOLLOW_AGAIN);
		if (step == FOLLOW_DONE)
			return result;
	}
}
