/*
 * xmax.c
 *	  Ending a version: waiting for others, and the xmax that results.
 *
 * The algorithms are those of heap_update, heap_delete and
 * compute_new_xmax_infomask (heapam.c), for the two lock strengths that end a
 * version.  Row locks proper are heap_lock_tuple's.
 *
 * Locks: the buffer's content lock is exclusive on entry and exit, and never
 * held while sleeping.  Before sleeping the heavyweight tuple lock is taken,
 * so that waiters are served in order.
 */
#include "postgres.h"

#include "am/xmax.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/subtrans.h"
#include "access/transam.h"
#include "access/xact.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"

#define XMAX_INTERESTING (HEAP_XMAX_IS_MULTI | HEAP_XMAX_LOCK_ONLY | HEAP_LOCK_MASK)

/* Heavyweight lock modes of the tuple lock strengths, as in heapam.c. */
static const LOCKMODE strength_lockmode[] = {
	[LockTupleKeyShare] = AccessShareLock,
	[LockTupleShare] = RowShareLock,
	[LockTupleNoKeyExclusive] = ExclusiveLock,
	[LockTupleExclusive] = AccessExclusiveLock
};

/* Heavyweight lock modes that multixact member statuses stand for. */
static const LOCKMODE status_lockmode[] = {
	[MultiXactStatusForKeyShare] = AccessShareLock,
	[MultiXactStatusForShare] = RowShareLock,
	[MultiXactStatusForNoKeyUpdate] = ExclusiveLock,
	[MultiXactStatusForUpdate] = AccessExclusiveLock,
	[MultiXactStatusNoKeyUpdate] = ExclusiveLock,
	[MultiXactStatusUpdate] = AccessExclusiveLock
};

static MultiXactStatus
update_status(LockTupleMode mode)
{
	Assert(mode == LockTupleExclusive || mode == LockTupleNoKeyExclusive);
	return mode == LockTupleExclusive ? MultiXactStatusUpdate : MultiXactStatusNoKeyUpdate;
}

/* Does a multixact hold a live lock that conflicts with the wanted mode? */
static bool
multi_conflicts(MultiXactId multi, uint16 infomask, LockTupleMode mode, bool *current_is_member)
{
	MultiXactMember *members;
	int			count;
	bool		conflict = false;

	*current_is_member = false;
	if (HEAP_LOCKED_UPGRADED(infomask))
		return false;
	count = GetMultiXactIdMembers(multi, &members, false, HEAP_XMAX_IS_LOCKED_ONLY(infomask));
	for (int i = 0; i < count; i++)
	{
		TransactionId xid = members[i].xid;

		if (TransactionIdIsCurrentTransactionId(xid))
			*current_is_member = true;
		else if (!DoLockModesConflict(status_lockmode[members[i].status], strength_lockmode[mode]))
			continue;
		else if (ISUPDATE_from_mxstatus(members[i].status))
			conflict = conflict || !TransactionIdDidAbort(xid);
		else
			conflict = conflict || TransactionIdIsInProgress(xid);
	}
	if (count > 0)
		pfree(members);
	return conflict;
}

/* Wait for a multixact's conflicting members; how many others still run? */
static int
multi_wait(VerityTarget *target, MultiXactId multi, uint16 infomask, XLTW_Oper oper)
{
	MultiXactMember *members;
	int			remain = 0;
	int			count;

	count = HEAP_LOCKED_UPGRADED(infomask) ? -1 :
		GetMultiXactIdMembers(multi, &members, false, HEAP_XMAX_IS_LOCKED_ONLY(infomask));
	for (int i = 0; i < count; i++)
	{
		TransactionId xid = members[i].xid;

		if (TransactionIdIsCurrentTransactionId(xid))
			remain++;
		else if (DoLockModesConflict(status_lockmode[members[i].status],
									 strength_lockmode[target->mode]))
			XactLockTableWait(xid, target->rel, &target->tuple.t_self, oper);
		else if (TransactionIdIsInProgress(xid))
			remain++;
	}
	if (count > 0)
		pfree(members);
	return remain;
}

static void
take_tuple_lock(VerityTarget *target)
{
	if (!target->have_tuple_lock)
		LockTuple(target->rel, &target->tuple.t_self, strength_lockmode[target->mode]);
	target->have_tuple_lock = true;
}

void
verity_target_unlock(VerityTarget *target)
{
	if (target->have_tuple_lock)
		UnlockTuple(target->rel, &target->tuple.t_self, strength_lockmode[target->mode]);
	target->have_tuple_lock = false;
}

static bool
xmax_changed(HeapTupleHeader tuple, TransactionId xmax, uint16 infomask)
{
	return (tuple->t_infomask & XMAX_INTERESTING) != (infomask & XMAX_INTERESTING) ||
		!TransactionIdEquals(HeapTupleHeaderGetRawXmax(tuple), xmax);
}

bool
verity_target_changed(const VerityTarget *target)
{
	return xmax_changed(target->tuple.t_data, target->seen_xmax, target->seen_infomask);
}

/* Set the hint bit that a finished, single xmax deserves. */
static void
hint_finished_xmax(VerityTarget *target, TransactionId xid)
{
	HeapTupleHeader tuple = target->tuple.t_data;

	if (tuple->t_infomask & (HEAP_XMAX_COMMITTED | HEAP_XMAX_INVALID))
		return;
	if (!HEAP_XMAX_IS_LOCKED_ONLY(tuple->t_infomask) && TransactionIdDidCommit(xid))
		HeapTupleSetHintBits(tuple, target->buffer, HEAP_XMAX_COMMITTED, xid);
	else
		HeapTupleSetHintBits(tuple, target->buffer, HEAP_XMAX_INVALID, InvalidTransactionId);
}

/* Wait for a multixact xmax.  False: the version changed, start over. */
static bool
wait_for_multi(VerityTarget *target, MultiXactId multi, uint16 infomask, XLTW_Oper oper)
{
	bool		current_is_member;

	if (!multi_conflicts(multi, infomask, target->mode, &current_is_member))
		return true;
	LockBuffer(target->buffer, BUFFER_LOCK_UNLOCK);
	if (!current_is_member)
		take_tuple_lock(target);
	target->locker_remains = multi_wait(target, multi, infomask, oper) != 0;
	target->checked_lockers = true;
	LockBuffer(target->buffer, BUFFER_LOCK_EXCLUSIVE);
	return !xmax_changed(target->tuple.t_data, multi, infomask);
}

/* Wait for a single xid.  False: the version changed, start over. */
static bool
wait_for_xid(VerityTarget *target, TransactionId xid, uint16 infomask, XLTW_Oper oper)
{
	if (TransactionIdIsCurrentTransactionId(xid) ||
		(HEAP_XMAX_IS_KEYSHR_LOCKED(infomask) && target->mode == LockTupleNoKeyExclusive))
	{
		/* ourselves, or a key-share lock that does not conflict: kept */
		target->checked_lockers = true;
		target->locker_remains = true;
		return true;
	}
	LockBuffer(target->buffer, BUFFER_LOCK_UNLOCK);
	take_tuple_lock(target);
	XactLockTableWait(xid, target->rel, &target->tuple.t_self, oper);
	target->checked_lockers = true;
	LockBuffer(target->buffer, BUFFER_LOCK_EXCLUSIVE);
	if (xmax_changed(target->tuple.t_data, xid, infomask))
		return false;
	hint_finished_xmax(target, xid);
	return true;
}

/* After waiting: is the version still there to be ended? */
static TM_Result
result_after_wait(HeapTuple tuple, uint16 infomask)
{
	HeapTupleHeader header = tuple->t_data;
	bool		free;

	if (header->t_infomask & HEAP_XMAX_INVALID || HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask))
		free = true;
	else if (infomask & HEAP_XMAX_IS_MULTI)
		free = TransactionIdDidAbort(HeapTupleGetUpdateXid(header));
	else
		free = HeapTupleHeaderIsOnlyLocked(header);
	if (free)
		return TM_Ok;
	return ItemPointerEquals(&tuple->t_self, &header->t_ctid) ? TM_Deleted : TM_Updated;
}

static void
fill_failure(VerityTarget *target, TM_Result result, TM_FailureData *tmfd)
{
	HeapTupleHeader tuple = target->tuple.t_data;

	tmfd->ctid = tuple->t_ctid;
	tmfd->xmax = HeapTupleHeaderGetUpdateXid(tuple);
	tmfd->cmax = result == TM_SelfModified ? HeapTupleHeaderGetCmax(tuple) : InvalidCommandId;
}

TM_Result
verity_target_check(VerityTarget *target, CommandId cid, Snapshot crosscheck,
					bool wait, XLTW_Oper oper, TM_FailureData *tmfd)
{
	HeapTupleHeader tuple = target->tuple.t_data;
	TM_Result	result;

	for (;;)
	{
		TransactionId xwait;
		uint16		infomask;
		bool		same;

		target->checked_lockers = target->locker_remains = false;
		result = HeapTupleSatisfiesUpdate(&target->tuple, cid, target->buffer);
		if (result != TM_BeingModified || !wait)
			break;
		xwait = HeapTupleHeaderGetRawXmax(tuple);
		infomask = tuple->t_infomask;
		if (infomask & HEAP_XMAX_IS_MULTI)
			same = wait_for_multi(target, (MultiXactId) xwait, infomask, oper);
		else
			same = wait_for_xid(target, xwait, infomask, oper);
		if (!same)
			continue;
		result = result_after_wait(&target->tuple, infomask);
		break;
	}
	if (result == TM_Ok && crosscheck != InvalidSnapshot &&
		!HeapTupleSatisfiesVisibility(&target->tuple, crosscheck, target->buffer))
		result = TM_Updated;
	if (result != TM_Ok && result != TM_Invisible)
		fill_failure(target, result, tmfd);
	target->seen_xmax = HeapTupleHeaderGetRawXmax(tuple);
	target->seen_infomask = tuple->t_infomask;
	return result;
}

/* infomask bits for a multixact as xmax: its strongest member decides. */
static void
multi_infomask(MultiXactId multi, uint16 *infomask, uint16 *infomask2)
{
	MultiXactMember *members;
	LockTupleMode strongest = LockTupleKeyShare;
	bool		has_update = false;
	int			count = GetMultiXactIdMembers(multi, &members, false, false);

	*infomask = HEAP_XMAX_IS_MULTI;
	*infomask2 = 0;
	for (int i = 0; i < count; i++)
	{
		MultiXactStatus status = members[i].status;

		for (LockTupleMode mode = LockTupleKeyShare; mode <= LockTupleExclusive; mode++)
			if (strength_lockmode[mode] == status_lockmode[status] && mode > strongest)
				strongest = mode;
		if (status == MultiXactStatusForUpdate || status == MultiXactStatusUpdate)
			*infomask2 |= HEAP_KEYS_UPDATED;
		has_update = has_update || ISUPDATE_from_mxstatus(status);
	}
	if (strongest == LockTupleKeyShare)
		*infomask |= HEAP_XMAX_KEYSHR_LOCK;
	else if (strongest == LockTupleShare)
		*infomask |= HEAP_XMAX_SHR_LOCK;
	else
		*infomask |= HEAP_XMAX_EXCL_LOCK;
	if (!has_update)
		*infomask |= HEAP_XMAX_LOCK_ONLY;
	if (count > 0)
		pfree(members);
}

/* The status that a single, live xmax holds. */
static MultiXactStatus
single_status(uint16 infomask, uint16 infomask2)
{
	bool		keys = (infomask2 & HEAP_KEYS_UPDATED) != 0;

	if (!HEAP_XMAX_IS_LOCKED_ONLY(infomask))
		return keys ? MultiXactStatusUpdate : MultiXactStatusNoKeyUpdate;
	if (HEAP_XMAX_IS_KEYSHR_LOCKED(infomask))
		return MultiXactStatusForKeyShare;
	if (HEAP_XMAX_IS_SHR_LOCKED(infomask))
		return MultiXactStatusForShare;
	return keys ? MultiXactStatusForUpdate : MultiXactStatusForNoKeyUpdate;
}

/* Is nobody left in the multixact whom the new xmax must keep? */
static bool
multi_is_over(MultiXactId multi, HeapTupleHeader tuple)
{
	bool		only_locks = HEAP_XMAX_IS_LOCKED_ONLY(tuple->t_infomask);

	if (HEAP_LOCKED_UPGRADED(tuple->t_infomask))
		return true;
	return !MultiXactIdIsRunning(multi, only_locks) &&
		(only_locks || !TransactionIdDidCommit(HeapTupleGetUpdateXid(tuple)));
}

void
verity_compute_xmax(HeapTupleHeader tuple, TransactionId xid, LockTupleMode mode,
					TransactionId *xmax, uint16 *infomask, uint16 *infomask2)
{
	TransactionId old = HeapTupleHeaderGetRawXmax(tuple);
	uint16		mask = tuple->t_infomask;
	MultiXactId multi = InvalidMultiXactId;

	if (mask & HEAP_XMAX_INVALID)
		 /* no one to keep */ ;
	else if (mask & HEAP_XMAX_IS_MULTI)
	{
		if (!multi_is_over(old, tuple))
			multi = MultiXactIdExpand(old, xid, update_status(mode));
	}
	else if (old == xid)
	{
		/* our own row lock: the stronger of both stays */
		Assert(HEAP_XMAX_IS_LOCKED_ONLY(mask));
		if (HEAP_XMAX_IS_EXCL_LOCKED(mask) && (tuple->t_infomask2 & HEAP_KEYS_UPDATED))
			mode = LockTupleExclusive;
	}
	else if (TransactionIdIsInProgress(old))
		multi = MultiXactIdCreate(old, single_status(mask, tuple->t_infomask2),
								  xid, update_status(mode));

	if (MultiXactIdIsValid(multi))
	{
		*xmax = multi;
		multi_infomask(multi, infomask, infomask2);
		return;
	}
	*xmax = xid;
	*infomask = 0;
	*infomask2 = mode == LockTupleExclusive ? HEAP_KEYS_UPDATED : 0;
}

void
verity_inherit_xmax(const VerityTarget *target, TransactionId *xmax,
					uint16 *infomask, uint16 *infomask2)
{
	HeapTupleHeader old = target->tuple.t_data;

	*xmax = InvalidTransactionId;
	*infomask = HEAP_XMAX_INVALID;
	*infomask2 = 0;
	if ((old->t_infomask & HEAP_XMAX_INVALID) || HEAP_LOCKED_UPGRADED(old->t_infomask) ||
		(target->checked_lockers && !target->locker_remains) ||
		!TransactionIdIsValid(HeapTupleHeaderGetRawXmax(old)))
		return;
	*xmax = HeapTupleHeaderGetRawXmax(old);
	if (old->t_infomask & HEAP_XMAX_IS_MULTI)
		multi_infomask(*xmax, infomask, infomask2);
	else
		*infomask = HEAP_XMAX_KEYSHR_LOCK | HEAP_XMAX_LOCK_ONLY;
}
