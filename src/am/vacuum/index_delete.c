/*
 * index_delete.c
 *	  Which index entries an index may drop by itself, between vacuums.
 *
 * An entry points at a root.  It may go when the root's transaction aborted,
 * or when a root with the same key superseded it and everybody sees that: key
 * lookups, of the past too, then come through the newer root.  Entries of rows
 * that were deleted or got another key stay for ever: reading the past needs
 * them.
 *
 * Whether the superseding root has the same key stands in its envelope, so
 * nothing is opened here.  Aborted means that pg_xact says so, not a hint bit.
 *
 * The index's page is locked by the caller; here one page of the table is
 * share-locked at a time.  The index AM writes the WAL, with the horizon that
 * we return: the last transaction that ended a root whose entry goes.
 */
#include "postgres.h"

#include "am/table.h"
#include "am/vacuum/vacuum.h"

#include "access/transam.h"
#include "access/xact.h"
#include "storage/procarray.h"
#include "utils/snapmgr.h"

/*
 * Bottom-up deletion looks at this many entries, each of up to three pages,
 * and gives up once more than so many were in vain.  It goes on where the
 * index has the room it asked for: the entries of a hot row then go a whole
 * index page at a time, and a standby, which cannot mark entries as dead,
 * reads fewer of them.
 */
#define BOTTOM_UP_ENTRIES_MAX 512
#define BOTTOM_UP_IN_VAIN_MAX 16

/* What deletion needs to know of a record, copied from its page. */
typedef struct RecordLook
{
	uint8		flags;
	bool		aborted;
	bool		ended;			/* by a committed update or delete … */
	TransactionId ended_by;		/* … of this transaction */
	uint64		ender;
	uint64		serial;
	ItemPointerData root;
	ItemPointerData prev;
	ItemPointerData ctid;
} RecordLook;

/* Has the inserting transaction aborted, whatever hint bits say? */
static bool
xmin_aborted(HeapTupleHeader tuple)
{
	TransactionId xid = HeapTupleHeaderGetRawXmin(tuple);

	if (HeapTupleHeaderXminFrozen(tuple))
		return false;
	if (!TransactionIdIsNormal(xid))
		return xid == InvalidTransactionId;
	return !TransactionIdIsCurrentTransactionId(xid) &&
		!TransactionIdIsInProgress(xid) && !TransactionIdDidCommit(xid);
}

/* Look at the record at tid; false when there is none. */
static bool
look_at(Relation rel, ItemPointer tid, Buffer *buffer, RecordLook *look)
{
	HeapTupleData record;
	VerityEnvelope *envelope;
	record_header header;
	bool		good;

	/* a row that moved to another partition has a t_ctid without a block */
	if (!BlockNumberIsValid(ItemPointerGetBlockNumberNoCheck(tid)) ||
		!verity_fetch_record(rel, tid, buffer, &record, true))
		return false;
	envelope = VerityGetEnvelope(record.t_data);

	look->flags = envelope->flags;
	look->aborted = xmin_aborted(record.t_data);
	look->ended = !look->aborted &&
		HeapTupleSatisfiesVacuumHorizon(&record, *buffer, &look->ended_by) == HEAPTUPLE_RECENTLY_DEAD;
	look->ender = envelope->ender;
	look->root = envelope->root;
	look->prev = verity_get_back_links(record.t_data).prev;
	look->ctid = record.t_data->t_ctid;
	good = record_header_decode(VerityGetSealed(record.t_data),
								record.t_len - verity_sealed_offset(record.t_data), &header) == CORE_OK;
	look->serial = header.id.serial;
	LockBuffer(*buffer, BUFFER_LOCK_UNLOCK);
	return good;
}

/* Is the end of a version in everybody's past? */
static bool
end_is_past(TransactionId ended_by, GlobalVisState *vistest)
{
	if (!TransactionIdIsNormal(ended_by))
		return true;			/* frozen */
	return GlobalVisTestIsRemovableXid(vistest, ended_by);
}

VerityRootState
verity_root_state(Relation rel, ItemPointer root, GlobalVisState *vistest,
				  Buffer *buffer, TransactionId *ended_by)
{
	ItemPointerData last = *root;
	RecordLook	look;
	RecordLook	next;

	*ended_by = InvalidTransactionId;
	if (!look_at(rel, root, buffer, &look) || !(look.flags & ENVELOPE_ROOT))
		return ROOT_NEEDED;
	if (look.aborted)
		return ROOT_ABORTED;

	/* the root's last version */
	if (!ItemPointerEquals(&look.root, root))
	{
		last = look.root;
		if (!look_at(rel, &last, buffer, &look) ||
			(look.flags & (ENVELOPE_ROOT | ENVELOPE_TOMBSTONE)) ||
			!ItemPointerEquals(&look.root, root))
			return ROOT_NEEDED;
	}
	if (!look.ended || ItemPointerEquals(&look.ctid, &last) ||
		!end_is_past(look.ended_by, vistest))
		return ROOT_NEEDED;

	/* ended by a root with the same key? */
	if (!look_at(rel, &look.ctid, buffer, &next) || next.aborted ||
		(next.flags & (ENVELOPE_ROOT | ENVELOPE_SAME_KEY)) != (ENVELOPE_ROOT | ENVELOPE_SAME_KEY) ||
		!ItemPointerEquals(&next.prev, &last) || next.serial != look.ender)
		return ROOT_NEEDED;
	*ended_by = look.ended_by;
	return ROOT_SUPERSEDED;
}

static int
compare_tids(const void *left, const void *right)
{
	return ItemPointerCompare((ItemPointer) &((const TM_IndexDelete *) left)->tid,
							  (ItemPointer) &((const TM_IndexDelete *) right)->tid);
}

/* Move *horizon up to the end of a root whose entry goes. */
static void
advance_horizon(Relation rel, VerityRootState state, TransactionId ended_by,
				TransactionId *horizon)
{
	if (state == ROOT_ABORTED)
		return;					/* was never visible */
	if (state == ROOT_NEEDED)
	{
		/* the index saw it dead, we cannot tell since when: the latest it can be */
		ended_by = GetOldestNonRemovableTransactionId(rel);
		TransactionIdRetreat(ended_by);
	}
	if (TransactionIdIsNormal(ended_by) &&
		(!TransactionIdIsValid(*horizon) || TransactionIdPrecedes(*horizon, ended_by)))
		*horizon = ended_by;
}

TransactionId
verity_index_delete_tuples(Relation rel, TM_IndexDeleteOp *delstate)
{
	GlobalVisState *vistest = GlobalVisTestFor(rel);
	TransactionId horizon = InvalidTransactionId;
	Buffer		buffer = InvalidBuffer;
	int			examined = 0;
	int			deletable = 0;

	qsort(delstate->deltids, delstate->ndeltids, sizeof(TM_IndexDelete), compare_tids);
	for (int i = 0; i < delstate->ndeltids; i++)
	{
		TM_IndexDelete *entry = &delstate->deltids[i];
		TM_IndexStatus *status = &delstate->status[entry->id];
		VerityRootState state;
		TransactionId ended_by;

		if (delstate->bottomup)
		{
			if (examined >= BOTTOM_UP_ENTRIES_MAX ||
				examined - deletable > deletable + BOTTOM_UP_IN_VAIN_MAX)
				break;
			if (!status->promising)
				continue;
		}
		examined++;
		state = verity_root_state(rel, &entry->tid, vistest, &buffer, &ended_by);
		if (!status->knowndeletable)
		{
			if (state == ROOT_NEEDED)
				continue;
			status->knowndeletable = true;
		}
		deletable++;
		advance_horizon(rel, state, ended_by, &horizon);
	}
	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);

	/* index AMs rely on this where nothing is to be deleted */
	if (deletable == 0)
		delstate->ndeltids = 0;
	return horizon;
}
