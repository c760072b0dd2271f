/*
 * xmax.h
 *	  Ending a version: waiting for others, and the xmax that results.
 *
 * heapam.c keeps its versions of these to itself, so UPDATE and DELETE of a
 * verity table have their own.
 */
#ifndef VERITY_XMAX_H
#define VERITY_XMAX_H

#include "postgres.h"

#include "access/tableam.h"
#include "access/multixact.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"

/* What one attempt to end a version knows about it. */
typedef struct VerityTarget
{
	Relation	rel;
	HeapTupleData tuple;		/* t_data points into the pinned page */
	Buffer		buffer;			/* its page: pinned for the whole attempt */
	LockTupleMode mode;			/* LockTupleNoKeyExclusive, LockTupleExclusive */
	bool		have_tuple_lock;
	bool		checked_lockers;	/* all lockers were looked at … */
	bool		locker_remains; /* … and one must be kept */
	TransactionId seen_xmax;	/* state when the check said TM_Ok */
	uint16		seen_infomask;
} VerityTarget;

/*
 * May this transaction end the version now?  The buffer is exclusively locked
 * on entry and exit; it is unlocked while waiting for other transactions.
 * Fills *tmfd where the result is not TM_Ok.
 */
extern TM_Result verity_target_check(VerityTarget *target, CommandId cid, Snapshot crosscheck,
									 bool wait, XLTW_Oper oper, TM_FailureData *tmfd);

/* Has the version's xmax changed since verity_target_check said TM_Ok? */
extern bool verity_target_changed(const VerityTarget *target);

/* Give back the tuple lock, if one was taken. */
extern void verity_target_unlock(VerityTarget *target);

/*
 * The xmax and infomask bits of a version that xid ends with this lock mode,
 * keeping lockers that are still there.
 */
extern void verity_compute_xmax(HeapTupleHeader tuple, TransactionId xid, LockTupleMode mode,
								TransactionId *xmax, uint16 *infomask, uint16 *infomask2);

/* The xmax of the successor: the lockers of the old version that remain. */
extern void verity_inherit_xmax(const VerityTarget *target, TransactionId *xmax,
								uint16 *infomask, uint16 *infomask2);

#endif							/* VERITY_XMAX_H */
