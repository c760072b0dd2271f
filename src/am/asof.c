/*
 * asof.c
 *	  Visibility by position: which records exist at a past position.
 *
 * A record exists at P when its own transaction has a position at or before P
 * and no transaction with one ended it.  Every position up to P is decided
 * before a query is bound to it, so that nothing here waits.  xmin and xmax
 * are asked too: a transaction with an entry may have rolled back to a
 * savepoint, and the ender's serial counts only while xmax is an update.
 */
#include "postgres.h"

#include "am/asof.h"

#include "access/transam.h"

#include "am/layout.h"

VerityPosition verity_asof_bound = 0;

/* Is the writing (sub)transaction committed? */
static bool
xmin_committed(HeapTupleHeader record)
{
	if (HeapTupleHeaderXminCommitted(record))
		return true;
	if (HeapTupleHeaderXminInvalid(record))
		return false;
	return TransactionIdDidCommit(HeapTupleHeaderGetRawXmin(record));
}

/* Is the version ended by a committed update or delete? */
static bool
xmax_committed_update(HeapTupleHeader record)
{
	TransactionId xid;

	if ((record->t_infomask & HEAP_XMAX_INVALID) || HEAP_XMAX_IS_LOCKED_ONLY(record->t_infomask))
		return false;
	if (!(record->t_infomask & HEAP_XMAX_IS_MULTI) && (record->t_infomask & HEAP_XMAX_COMMITTED))
		return true;
	xid = HeapTupleHeaderGetUpdateXid(record);
	return TransactionIdIsValid(xid) && TransactionIdDidCommit(xid);
}

VerityPosition
verity_asof_begin_position(HeapTupleHeader record)
{
	record_header header;
	VerityPosition position;

	if (!xmin_committed(record) ||
		record_header_decode(VerityGetSealed(record), RECORD_HEADER_MAX, &header) != CORE_OK)
		return 0;
	return verity_serial_outcome(header.id.serial, &position) == OUTCOME_COMMITTED ? position : 0;
}

bool
verity_asof_visible(HeapTupleHeader record, VerityPosition position)
{
	VerityPosition begin = verity_asof_begin_position(record);
	VerityPosition end;

	if (begin == 0 || begin > position)
		return false;
	if (!xmax_committed_update(record))
		return true;
	return verity_serial_outcome(VerityGetEnvelope(record)->ender, &end) != OUTCOME_COMMITTED ||
		end > position;
}
