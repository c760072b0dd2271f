/*
 * verify_xid.c
 *	  What an envelope's xmin and xmax say, by their hint bits as every reader
 *	  takes them, and by pg_xact where it still knows.
 *
 * Nothing here asks pg_xact or pg_multixact about an xid that they do not
 * hold: a forged one would be an error of the server.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/multixact.h"
#include "access/transam.h"
#include "access/xact.h"
#include "sql/verify/verify.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "utils/rel.h"

void
verify_xids_init(VerifyXids *xids, Relation rel)
{
	xids->relfrozenxid = rel->rd_rel->relfrozenxid;
	xids->relminmxid = rel->rd_rel->relminmxid;
	xids->cached_xid = InvalidTransactionId;
	xids->next = XidFromFullTransactionId(ReadNextFullTransactionId());
}

/* Has this xid not been given out yet? */
static bool
in_future(VerifyXids *xids, TransactionId xid)
{
	if (TransactionIdPrecedes(xid, xids->next))
		return false;
	xids->next = XidFromFullTransactionId(ReadNextFullTransactionId());
	return !TransactionIdPrecedes(xid, xids->next);
}

/*
 * Committed, aborted or in progress by pg_xact, of an xid that was given out;
 * VX_NONE when it is too old for pg_xact.
 */
static VerifyXidStatus
clog_status(TransactionId xid)
{
	VerifyXidStatus status = VX_NONE;

	Assert(TransactionIdIsNormal(xid));
	LWLockAcquire(XactTruncationLock, LW_SHARED);
	if (TransactionIdFollowsOrEquals(xid, TransamVariables->oldestClogXid))
	{
		if (TransactionIdIsCurrentTransactionId(xid))
			status = VX_IN_PROGRESS;
		else if (TransactionIdDidCommit(xid))
			status = VX_COMMITTED;
		else if (TransactionIdIsInProgress(xid))
			status = VX_IN_PROGRESS;
		else if (TransactionIdDidCommit(xid))
			status = VX_COMMITTED;
		else
			status = VX_ABORTED;
	}
	LWLockRelease(XactTruncationLock);
	return status;
}

/* clog_status with the last final answer kept. */
static VerifyXidStatus
clog_status_cached(VerifyXids *xids, TransactionId xid)
{
	VerifyXidStatus status;

	if (xid == xids->cached_xid)
		return xids->cached_status;
	status = clog_status(xid);
	if (status == VX_COMMITTED || status == VX_ABORTED)
	{
		xids->cached_xid = xid;
		xids->cached_status = status;
	}
	return status;
}

/* Why can this xid not stand, unfrozen, in the table? NULL when it can. */
static const char *
xid_out_of_range(VerifyXids *xids, TransactionId xid)
{
	if (!TransactionIdIsNormal(xid))
		return NULL;
	if (in_future(xids, xid))
		return "transaction id is in the future";
	if (TransactionIdIsNormal(xids->relfrozenxid) &&
		TransactionIdPrecedes(xid, xids->relfrozenxid))
		return "transaction id is older than the table's oldest";
	return NULL;
}

/* Status by hint bits if there are any, else by pg_xact. */
static VerifyXidStatus
resolve(VerifyXids *xids, TransactionId xid, bool hint_committed, bool hint_aborted,
		uint16 *marks, uint16 lies, uint16 by_clog)
{
	VerifyXidStatus clog = clog_status_cached(xids, xid);

	if (hint_committed)
	{
		if (clog == VX_ABORTED || clog == VX_IN_PROGRESS)
			*marks |= lies;
		return VX_COMMITTED;
	}
	if (hint_aborted)
	{
		if (clog == VX_COMMITTED)
			*marks |= lies;
		return VX_ABORTED;
	}
	*marks |= by_clog;
	return clog == VX_NONE ? VX_ABORTED : clog;
}

static const char *
read_xmin(VerifyXids *xids, HeapTupleHeader header, VerifyRecord *record)
{
	const char *why;

	record->xmin = HeapTupleHeaderGetRawXmin(header);
	if (HeapTupleHeaderXminFrozen(header) || record->xmin == FrozenTransactionId ||
		record->xmin == BootstrapTransactionId)
	{
		record->xmin_status = VX_FROZEN;
		return NULL;
	}
	if (!TransactionIdIsNormal(record->xmin))
	{
		record->xmin_status = VX_ABORTED;
		return NULL;
	}
	why = xid_out_of_range(xids, record->xmin);
	if (why)
	{
		record->xmin_status = VX_BAD;
		return why;
	}
	record->xmin_status = resolve(xids, record->xmin,
								  HeapTupleHeaderXminCommitted(header),
								  HeapTupleHeaderXminInvalid(header),
								  &record->marks, VR_XMIN_LIES, VR_XMIN_CLOG);
	return NULL;
}

/* The updating xid of a multixact; a message when the multixact cannot be. */
static const char *
read_multi(VerifyXids *xids, HeapTupleHeader header, TransactionId *updater)
{
	MultiXactId multi = HeapTupleHeaderGetRawXmax(header);
	MultiXactId oldest;
	MultiXactId next;

	*updater = InvalidTransactionId;
	if (header->t_infomask & HEAP_XMAX_INVALID)
		return NULL;
	ReadMultiXactIdRange(&oldest, &next);
	if (!MultiXactIdIsValid(multi) || !MultiXactIdPrecedes(multi, next))
		return "multixact id is in the future";
	if (HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask))
		return NULL;
	if (MultiXactIdPrecedes(multi, oldest) || MultiXactIdPrecedes(multi, xids->relminmxid))
		return "multixact id is older than the table's oldest";
	*updater = HeapTupleGetUpdateXid(header);
	return NULL;
}

static const char *
read_xmax(VerifyXids *xids, HeapTupleHeader header, VerifyRecord *record)
{
	uint16		infomask = header->t_infomask;
	TransactionId xmax = HeapTupleHeaderGetRawXmax(header);
	const char *why;

	record->xmax_status = VX_NONE;
	record->updater = InvalidTransactionId;
	if (xmax != InvalidTransactionId)
		record->marks |= VR_XMAX_PRESENT;
	if (infomask & HEAP_XMAX_IS_MULTI)
	{
		why = read_multi(xids, header, &xmax);
		if (why)
		{
			record->xmax_status = VX_BAD;
			return why;
		}
	}
	if (xmax == InvalidTransactionId || (infomask & HEAP_XMAX_INVALID))
		return NULL;
	if (xmax == FrozenTransactionId)
	{
		record->xmax_status = (infomask & HEAP_XMAX_COMMITTED) ? VX_FROZEN : VX_NONE;
		return NULL;
	}
	why = xid_out_of_range(xids, xmax);
	if (why)
	{
		record->xmax_status = VX_BAD;
		return why;
	}
	if (HEAP_XMAX_IS_LOCKED_ONLY(infomask))
		return NULL;
	record->updater = xmax;
	record->xmax_status = resolve(xids, xmax,
								  (infomask & HEAP_XMAX_COMMITTED) &&
								  !(infomask & HEAP_XMAX_IS_MULTI),
								  false, &record->marks, VR_XMAX_LIES, VR_XMAX_CLOG);
	return NULL;
}

const char *
verify_xids_record(VerifyXids *xids, HeapTupleHeader header, VerifyRecord *record)
{
	const char *xmin_why = read_xmin(xids, header, record);
	const char *xmax_why = read_xmax(xids, header, record);

	return xmin_why ? xmin_why : xmax_why;
}
