/*
 * vacuum_aborted.c
 *	  What vacuum does before it takes an aborted record away: it asks the
 *	  journal, and makes sure that nothing leads to the record.
 *
 * A record whose header says "aborted" may be a committed one with a forged
 * header or a forged pg_xact.  The journal knows: a record of a transaction
 * that it has as committed, and does not have as discarded, is never taken
 * away.  verity_verify() names such a record; vacuum warns once.
 *
 * Index entries lead to roots: they go first (vacuum_index.c).  A root's hint
 * leads to its newest version: where that aborted, the hint is put back to the
 * newest version that did not.  Other links (prev, skip, root) only lead from
 * newer versions, which aborted too; an aborted xmax is not followed.
 *
 * Locks: no buffer is locked on entry.  Hints are changed under the root
 * page's exclusive lock, each with its XLOG_VERITY_RECLAIM record, so that a
 * crash leaves a hint that is right or that the next vacuum repairs.
 */
#include "postgres.h"

#include "am/table.h"
#include "am/vacuum/vacuum.h"

#include "miscadmin.h"
#include "utils/rel.h"

/* Remember what the journal says of a serial. */
static void
ask_journal(VerityVacuum *vacuum, uint64 serial)
{
	VerityPosition position;
	VerityOutcome outcome;

	if (vacuum->asked_serial == serial && vacuum->asked_outcome != OUTCOME_UNDECIDED)
		return;
	if (vacuum->asked_entry)
		verity_entry_free(vacuum->asked_entry);
	vacuum->asked_entry = NULL;

	outcome = verity_serial_outcome(serial, &position);
	if (outcome == OUTCOME_COMMITTED || outcome == OUTCOME_UNDECIDED)
		vacuum->asked_entry = verity_journal_read(position);
	vacuum->asked_serial = serial;
	vacuum->asked_outcome = outcome;
}

/* Does the entry have this record of the table as a leaf? */
static bool
entry_has_leaf(const VerityEntry *entry, const uint8 *ledger, uint32 sequence)
{
	const entry_stored *stored = &entry->stored;

	for (uint32 i = 0; i < stored->item_count; i++)
	{
		const entry_item *item = &stored->items[i];

		if (memcmp(item->ledger, ledger, LEDGER_ID_SIZE) != 0)
			continue;
		for (uint32 r = 0; r < item->range_count; r++)
		{
			if (sequence >= item->ranges[r].first && sequence <= item->ranges[r].last)
				return false;
		}
		return true;
	}
	return false;				/* it wrote nothing to this table that stayed */
}

static void
warn_committed(VerityVacuum *vacuum, const VerityAborted *aborted)
{
	if (vacuum->warned)
		return;
	vacuum->warned = true;
	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("table \"%s\" has committed records whose headers say that they were rolled back",
					RelationGetRelationName(vacuum->rel)),
			 errdetail("One is record %llu.%u at (%u,%u). They were kept.",
					   (unsigned long long) aborted->id.serial, aborted->id.sequence,
					   vacuum->blkno, aborted->offnum),
			 errhint("Run verity_verify() on the table.")));
}

/* May an aborted record be taken away, as far as the journal goes? */
static bool
journal_allows(VerityVacuum *vacuum, const VerityAborted *aborted)
{
	if (!vacuum->vrel->journalled)
		return true;
	if (!aborted->readable)
		return false;			/* evidence */

	ask_journal(vacuum, aborted->id.serial);
	if (vacuum->asked_entry == NULL)
		return vacuum->asked_outcome == OUTCOME_NONE || vacuum->asked_outcome == OUTCOME_VOID;
	if (!entry_has_leaf(vacuum->asked_entry, vacuum->vrel->ledger, aborted->id.sequence))
		return true;
	if (vacuum->asked_outcome == OUTCOME_COMMITTED)
		warn_committed(vacuum, aborted);
	return false;
}

/*
 * Fetch a version of this root into *record, its page share-locked in
 * otherbuf; false, and no lock, when tid leads elsewhere.
 */
static bool
fetch_version(VerityVacuum *vacuum, ItemPointer root, ItemPointer tid, HeapTuple record)
{
	VerityEnvelope *envelope;

	if (!ItemPointerIsValid(tid))
		return false;
	if (ItemPointerGetBlockNumber(tid) >= vacuum->pages &&
		ItemPointerGetBlockNumber(tid) >= RelationGetNumberOfBlocks(vacuum->rel))
		return false;
	if (!verity_fetch_record(vacuum->rel, tid, &vacuum->otherbuf, record, true))
		return false;
	envelope = VerityGetEnvelope(record->t_data);
	if ((envelope->flags & ENVELOPE_ROOT) ? ItemPointerEquals(tid, root) :
		ItemPointerEquals(&envelope->root, root))
		return true;
	LockBuffer(vacuum->otherbuf, BUFFER_LOCK_UNLOCK);
	return false;
}

/* Did the share-locked record's transaction abort? */
static bool
is_aborted(HeapTuple record, Buffer buffer)
{
	TransactionId dead_after;

	return HeapTupleSatisfiesVacuumHorizon(record, buffer, &dead_after) == HEAPTUPLE_DEAD;
}

/*
 * The newest version of the root, from *tid back, that did not abort; false
 * when the links do not lead there.
 */
static bool
find_version(VerityVacuum *vacuum, ItemPointer root, ItemPointer tid)
{
	HeapTupleData record;

	while (!ItemPointerEquals(tid, root))
	{
		bool		aborted;
		ItemPointerData prev;

		if (!fetch_version(vacuum, root, tid, &record))
			return false;
		aborted = is_aborted(&record, vacuum->otherbuf);
		prev = verity_get_back_links(record.t_data).prev;
		LockBuffer(vacuum->otherbuf, BUFFER_LOCK_UNLOCK);
		if (!aborted)
			return true;
		CHECK_FOR_INTERRUPTS();
		*tid = prev;
	}
	return true;
}

/* Put the root's hint to target, if it still is what it was. */
static void
set_hint(VerityVacuum *vacuum, ItemPointer root, ItemPointer was, ItemPointer target)
{
	Buffer		buffer = ReadBuffer(vacuum->rel, ItemPointerGetBlockNumber(root));
	Page		page = BufferGetPage(buffer);
	OffsetNumber offnum = ItemPointerGetOffsetNumber(root);
	VerityEnvelope *envelope;

	/* a root with versions is not taken away, so its line pointer is there */
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	envelope = VerityGetEnvelope(PageGetItem(page, PageGetItemId(page, offnum)));
	if ((envelope->flags & ENVELOPE_ROOT) && ItemPointerEquals(&envelope->root, was))
	{
		VerityReclaim what;

		what.unused = what.cleaned = 0;
		what.hints = 1;
		what.hint_items[0].offnum = offnum;
		what.hint_items[0].target = *target;
		verity_reclaim_page(vacuum->rel, buffer, &what);
	}
	UnlockReleaseBuffer(buffer);
}

/* Where a root's hint leads to an aborted version, put it right. */
static void
repair_hint(VerityVacuum *vacuum, ItemPointer root)
{
	HeapTupleData record;
	ItemPointerData hint;
	ItemPointerData target;
	bool		root_aborted;

	if (!fetch_version(vacuum, root, root, &record))
		return;
	hint = target = VerityGetEnvelope(record.t_data)->root;
	root_aborted = is_aborted(&record, vacuum->otherbuf);
	LockBuffer(vacuum->otherbuf, BUFFER_LOCK_UNLOCK);

	if (!root_aborted && find_version(vacuum, root, &target) &&
		!ItemPointerEquals(&hint, &target))
		set_hint(vacuum, root, &hint, &target);
}

void
verity_vacuum_settle(VerityVacuum *vacuum, VerityAborted *aborted, int count)
{
	for (int i = 0; i < count; i++)
	{
		aborted[i].reclaim = journal_allows(vacuum, &aborted[i]);
		if (aborted[i].reclaim && aborted[i].readable &&
			(aborted[i].flags & (ENVELOPE_ROOT | ENVELOPE_TOMBSTONE)) == 0)
			repair_hint(vacuum, &aborted[i].root);
	}
}
