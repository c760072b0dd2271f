/*
 * freeze.c
 *	  Taking old transaction ids out of record headers.
 *
 * Our own, because committed versions stay for ever: heap's freezing refuses a
 * committed xmax, which it expects pruning to have removed.  Rules:
 *
 *	  xmin committed, before the limit	HEAP_XMIN_FROZEN
 *	  xmin aborted						no xid, HEAP_XMIN_INVALID
 *	  xmax a committed update before it	FrozenTransactionId, committed; t_ctid
 *										and HEAP_KEYS_UPDATED stay, so that
 *										deleted and updated stay apart
 *	  xmax a lock or an aborted update	none; t_ctid to itself
 *	  xmax a multixact					its update alone, or none, once nobody
 *										in it runs
 *
 * A multixact with a running member is kept as it is: it cannot be older than
 * the multixact limit, and its oldest member holds the table's new
 * relfrozenxid back until the next vacuum.
 *
 * A frozen end precedes every snapshot, since FrozenTransactionId precedes
 * every normal xid.  Who ended a version stays known by the ender's serial in
 * the envelope and by the sealed links, which do not change here.
 *
 * Locks: the page's exclusive lock, in vacuum and replay.  WAL: one
 * XLOG_VERITY_FREEZE for a page; nothing here may be left to hint bits, since
 * pg_xact is cut off behind relfrozenxid.
 */
#include "postgres.h"

#include "am/stop_point.h"
#include "am/vacuum/vacuum.h"
#include "am/wal.h"

#include "access/heapam.h"
#include "access/xact.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"
#include "utils/rel.h"

/* Who is in a multixact. */
typedef struct MultiState
{
	TransactionId update;		/* its updater, unless that aborted */
	bool		update_committed;
	bool		runs;			/* some member still runs */
	TransactionId oldest;		/* oldest member, or invalid */
} MultiState;

static void
note_xid(VerityOldest *oldest, TransactionId xid)
{
	if (TransactionIdIsNormal(xid) && TransactionIdPrecedes(xid, oldest->xid))
		oldest->xid = xid;
}

/* A committed xid goes: standby snapshots that it is running for conflict. */
static void
note_frozen(VerityOldest *oldest, TransactionId xid)
{
	if (!TransactionIdIsValid(oldest->frozen) || TransactionIdFollows(xid, oldest->frozen))
		oldest->frozen = xid;
}

/* No xid stays in xmax; an end that did not happen leads nowhere. */
static bool
clear_xmax(HeapTuple record, xl_verity_freeze_item *item)
{
	bool		moves = !ItemPointerEquals(&record->t_data->t_ctid, &record->t_self) &&
		!HeapTupleHeaderIsSpeculative(record->t_data);

	item->xmax = InvalidTransactionId;
	item->infomask &= ~HEAP_XMAX_BITS;
	item->infomask |= HEAP_XMAX_INVALID;
	item->infomask2 &= ~HEAP_KEYS_UPDATED;
	if (moves)
		item->flags |= VERITY_FREEZE_CTID_SELF;
	return true;
}

/* xmax becomes a committed update alone. */
static bool
set_ended(xl_verity_freeze_item *item, TransactionId xid, TransactionId limit,
		  VerityOldest *oldest)
{
	item->infomask &= ~HEAP_XMAX_BITS;
	item->infomask |= HEAP_XMAX_COMMITTED;
	if (TransactionIdPrecedes(xid, limit))
	{
		item->xmax = FrozenTransactionId;
		note_frozen(oldest, xid);
	}
	else
	{
		item->xmax = xid;
		note_xid(oldest, xid);
	}
	return true;
}

static void
multi_examine(MultiXactId multi, uint16 infomask, MultiState *state)
{
	MultiXactMember *members;
	int			count;

	memset(state, 0, sizeof(*state));
	count = GetMultiXactIdMembers(multi, &members, false, HEAP_XMAX_IS_LOCKED_ONLY(infomask));
	for (int i = 0; i < count; i++)
	{
		TransactionId xid = members[i].xid;
		bool		runs = TransactionIdIsInProgress(xid);

		state->runs |= runs;
		if (!TransactionIdIsValid(state->oldest) || TransactionIdPrecedes(xid, state->oldest))
			state->oldest = xid;
		if (!ISUPDATE_from_mxstatus(members[i].status))
			continue;
		state->update_committed = !runs && TransactionIdDidCommit(xid);
		if (runs || state->update_committed)
			state->update = xid;
	}
	if (count > 0)
		pfree(members);
}

/* Plan for an xmax that is a multixact. */
static bool
plan_multi(HeapTuple record, const VerityCutoffs *cutoffs, xl_verity_freeze_item *item,
		   VerityOldest *oldest)
{
	MultiState	state;

	multi_examine(item->xmax, item->infomask, &state);

	/* lockers of a version that everybody sees ended are in its successor */
	if (state.update_committed &&
		(!state.runs || TransactionIdPrecedes(state.update, cutoffs->oldest_xmin)))
		return set_ended(item, state.update, cutoffs->freeze_limit, oldest);
	if (!state.runs)
		return clear_xmax(record, item);

	if (MultiXactIdPrecedes(item->xmax, cutoffs->multi_limit))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("multixact %u of record (%u,%u) runs, yet is older than cutoff %u",
						item->xmax, ItemPointerGetBlockNumber(&record->t_self),
						ItemPointerGetOffsetNumber(&record->t_self), cutoffs->multi_limit),
				 errhint("Run verity_verify() on the table, and restore it from a backup.")));
	note_xid(oldest, state.oldest);
	if (MultiXactIdPrecedes(item->xmax, oldest->multi))
		oldest->multi = item->xmax;
	return false;
}

/* Plan for an xmax that is a plain xid. */
static bool
plan_xmax(HeapTuple record, const VerityCutoffs *cutoffs, xl_verity_freeze_item *item,
		  VerityOldest *oldest)
{
	TransactionId xid = item->xmax;
	bool		old;

	if (!TransactionIdIsNormal(xid))
		return false;
	old = TransactionIdPrecedes(xid, cutoffs->freeze_limit);

	if ((item->infomask & HEAP_XMAX_INVALID) ||
		(HEAP_XMAX_IS_LOCKED_ONLY(item->infomask) && !TransactionIdIsInProgress(xid)))
	{
		if (old)
			return clear_xmax(record, item);
	}
	else if (!HEAP_XMAX_IS_LOCKED_ONLY(item->infomask) && !TransactionIdIsInProgress(xid))
	{
		if (!(item->infomask & HEAP_XMAX_COMMITTED) && !TransactionIdDidCommit(xid))
			return clear_xmax(record, item);
		if (old)
			return set_ended(item, xid, cutoffs->freeze_limit, oldest);
	}
	note_xid(oldest, xid);
	return false;
}

/* Plan for xmin; the record's visibility was just looked at by the caller. */
static bool
plan_xmin(HeapTupleHeader tuple, bool aborted, const VerityCutoffs *cutoffs,
		  xl_verity_freeze_item *item, VerityOldest *oldest)
{
	TransactionId xid = HeapTupleHeaderGetRawXmin(tuple);

	if (HeapTupleHeaderXminFrozen(tuple) || !TransactionIdIsNormal(xid))
		return false;
	if (!TransactionIdPrecedes(xid, cutoffs->freeze_limit))
	{
		note_xid(oldest, xid);
		return false;
	}
	if (aborted)
	{
		item->infomask &= ~HEAP_XMIN_FROZEN;
		item->infomask |= HEAP_XMIN_INVALID;
		item->flags |= VERITY_FREEZE_XMIN_INVALID;
	}
	else
	{
		item->infomask |= HEAP_XMIN_FROZEN;
		note_frozen(oldest, xid);
	}
	return true;
}

bool
verity_freeze_plan(HeapTuple record, Buffer buffer, const VerityCutoffs *cutoffs,
				   xl_verity_freeze_item *item, VerityOldest *oldest)
{
	HeapTupleHeader tuple = record->t_data;
	TransactionId dead_after;
	bool		aborted;
	bool		changed;

	/* dead here means aborted: a version that was ended is recently dead */
	aborted = HeapTupleSatisfiesVacuumHorizon(record, buffer, &dead_after) == HEAPTUPLE_DEAD;

	memset(item, 0, sizeof(*item));
	item->offnum = ItemPointerGetOffsetNumber(&record->t_self);
	item->infomask = tuple->t_infomask;
	item->infomask2 = tuple->t_infomask2;
	item->xmax = HeapTupleHeaderGetRawXmax(tuple);

	changed = plan_xmin(tuple, aborted, cutoffs, item, oldest);
	if (aborted && changed)
	{
		if (item->xmax != InvalidTransactionId || !(item->infomask & HEAP_XMAX_INVALID))
			clear_xmax(record, item);
	}
	else if (item->infomask & HEAP_XMAX_IS_MULTI)
		changed |= plan_multi(record, cutoffs, item, oldest);
	else
		changed |= plan_xmax(record, cutoffs, item, oldest);
	return changed;
}

void
verity_freeze_apply(Page page, BlockNumber blkno, const xl_verity_freeze_item *item)
{
	HeapTupleHeader tuple = (HeapTupleHeader) PageGetItem(page, PageGetItemId(page, item->offnum));

	/* who reads without the lock must not take an old multixact for an xid (chain.c) */
	HeapTupleHeaderSetXmax(tuple, item->xmax);
	pg_write_barrier();
	tuple->t_infomask2 = item->infomask2;
	tuple->t_infomask = item->infomask;
	if (item->flags & VERITY_FREEZE_XMIN_INVALID)
		HeapTupleHeaderSetXmin(tuple, InvalidTransactionId);
	if (item->flags & VERITY_FREEZE_CTID_SELF)
		ItemPointerSet(&tuple->t_ctid, blkno, item->offnum);
}

void
verity_freeze_page(Relation rel, Buffer buffer, TransactionId horizon,
				   const xl_verity_freeze_item *items, int count)
{
	Page		page = BufferGetPage(buffer);

	if (count == 0)
		return;
	Assert(count <= MaxHeapTuplesPerPage);

	START_CRIT_SECTION();
	for (int i = 0; i < count; i++)
		verity_freeze_apply(page, BufferGetBlockNumber(buffer), &items[i]);
	MarkBufferDirty(buffer);
	VERITY_STOP("freeze-changed");
	if (RelationNeedsWAL(rel))
	{
		xl_verity_freeze xlrec;
		XLogRecPtr	lsn;

		xlrec.horizon = horizon;
		xlrec.count = count;

		XLogBeginInsert();
		XLogRegisterData((char *) &xlrec, SizeOfVerityFreeze);
		XLogRegisterBuffer(0, buffer, REGBUF_STANDARD);
		XLogRegisterBufData(0, (char *) items, count * sizeof(xl_verity_freeze_item));
		lsn = XLogInsert(VERITY_RMGR_ID, XLOG_VERITY_FREEZE);
		PageSetLSN(page, lsn);
	}
	VERITY_STOP("freeze-logged");
	END_CRIT_SECTION();
}

bool
verity_record_is_frozen(HeapTupleHeader record)
{
	return (HeapTupleHeaderXminFrozen(record) ||
			!TransactionIdIsNormal(HeapTupleHeaderGetRawXmin(record))) &&
		!(record->t_infomask & HEAP_XMAX_IS_MULTI) &&
		!TransactionIdIsNormal(HeapTupleHeaderGetRawXmax(record));
}
