/*
 * chain.c
 *	  Roots and versions: from what an index entry points at to the version
 *	  that a snapshot sees.
 *
 * A root's hint names the newest version, versions link back by prev and skip,
 * forward by t_ctid.  A link is followed only when its target is what it must
 * be: a version of this root, or the very record that the sealed header says
 * this one supersedes (64-bit ids, so that frozen xids do not matter).
 *
 * One page is share-locked at a time, and none on return.  Between two pages
 * aborted versions can go away, and a version that the walk comes back to can
 * have been superseded meanwhile, which matters to snapshots that see it at
 * once.  Either changes the root's hint, and the walk then starts over.
 */
#include "postgres.h"

#include "access/multixact.h"
#include "access/transam.h"
#include "access/xact.h"
#include "am/map.h"
#include "am/scan.h"
#include "miscadmin.h"
#include "storage/predicate.h"
#include "storage/procarray.h"
#include "utils/snapmgr.h"

/* Steps by prev before skip pointers are tried: most walks are short. */
#define WALK_PLAIN_STEPS 4

/* What is needed of a version to leave it. */
typedef struct VersionLinks
{
	ItemPointerData self;
	ItemPointerData root;
	ItemPointerData hint;		/* of a root */
	ItemPointerData prev;
	ItemPointerData skip;
	ItemPointerData next;		/* t_ctid; invalid when there is none */
	record_id	id;
	record_id	supersedes;		/* serial 0: nothing */
	uint8		flags;
	uint8		skip_target_rank;
} VersionLinks;

/* A walk over one row's versions; record's page is share-locked. */
typedef struct Walk
{
	Relation	rel;
	Snapshot	snapshot;
	VerityPosition position;	/* 0: the present */
	bool		cross_roots;	/* go on from a root to what it superseded */
	bool		plain;			/* look at each version: no skip pointers */
	Buffer	   *buffer;
	HeapTuple	record;
	int			steps;
	ItemPointerData hint;		/* of the root, when the walk began */
	bool		broken;			/* a link within the root led nowhere */
} Walk;

/* --- records --- */

OffsetNumber
verity_page_max_offset(Buffer buffer)
{
	if (verity_block_is_special(BufferGetBlockNumber(buffer)))
		return InvalidOffsetNumber;
	return PageGetMaxOffsetNumber(BufferGetPage(buffer));
}

void
verity_item_damaged(Relation rel, Buffer buffer, OffsetNumber offset)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("item (%u,%u) of table \"%s\" is too short for a record",
					BufferGetBlockNumber(buffer), offset, RelationGetRelationName(rel)),
			 errhint("Run verity_verify() on the table.")));
}

bool
verity_page_record(Relation rel, Buffer buffer, OffsetNumber offset, HeapTuple record)
{
	record->t_data = NULL;
	if (offset < FirstOffsetNumber || offset > verity_page_max_offset(buffer))
		return false;
	return verity_item_record(rel, buffer, offset, record);
}

bool
verity_fetch_record(Relation rel, ItemPointer tid, Buffer *buffer,
					HeapTuple record, bool keep_lock)
{
	bool		found;

	/* a link without a block would make the table longer */
	if (!BlockNumberIsValid(ItemPointerGetBlockNumberNoCheck(tid)))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a link in table \"%s\" leads to no block", RelationGetRelationName(rel)),
				 errhint("Run verity_verify() on the table.")));

	*buffer = ReleaseAndReadBuffer(*buffer, rel, ItemPointerGetBlockNumber(tid));
	LockBuffer(*buffer, BUFFER_LOCK_SHARE);
	found = verity_page_record(rel, *buffer, ItemPointerGetOffsetNumber(tid), record);
	if (!found || !keep_lock)
		LockBuffer(*buffer, BUFFER_LOCK_UNLOCK);
	return found;
}

static inline bool
is_root(HeapTuple record)
{
	return (VerityGetEnvelope(record->t_data)->flags & ENVELOPE_ROOT) != 0;
}

static inline bool
is_tombstone(HeapTuple record)
{
	return (VerityGetEnvelope(record->t_data)->flags & ENVELOPE_TOMBSTONE) != 0;
}

/* Is it a version of the row part that this root begins? */
static bool
belongs_to_root(HeapTuple record, const ItemPointerData *root)
{
	VerityEnvelope *envelope = VerityGetEnvelope(record->t_data);
	ItemPointerData itsroot = is_root(record) ? record->t_self : envelope->root;

	return !is_tombstone(record) &&
		ItemPointerCompare(&itsroot, unconstify(ItemPointerData *, root)) == 0;
}

static bool
same_id(const record_id *a, const record_id *b)
{
	return a->serial == b->serial && a->sequence == b->sequence;
}

/* Copy a locked record's links out. */
static void
read_links(Relation rel, HeapTuple record, VersionLinks *links)
{
	VerityEnvelope *envelope = VerityGetEnvelope(record->t_data);
	VerityBackLinks back = verity_get_back_links(record->t_data);
	ItemPointerData ctid = record->t_data->t_ctid;
	record_header header;

	if (record_header_decode(VerityGetSealed(record->t_data),
							 record->t_len - verity_sealed_offset(record->t_data), &header) != CORE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("record at (%u,%u) of table \"%s\" has no valid header",
						ItemPointerGetBlockNumberNoCheck(&record->t_self),
						ItemPointerGetOffsetNumberNoCheck(&record->t_self),
						RelationGetRelationName(rel)),
				 errhint("Run verity_verify() on the table.")));

	links->self = record->t_self;
	links->root = is_root(record) ? record->t_self : envelope->root;
	links->hint = envelope->root;
	links->prev = back.prev;
	links->skip = back.skip;
	links->id = header.id;
	links->supersedes = header.supersedes;
	links->flags = envelope->flags;
	links->skip_target_rank = back.skip_target_rank;

	if (HeapTupleHeaderIsSpeculative(record->t_data) ||
		HeapTupleHeaderIndicatesMovedPartitions(record->t_data) ||
		ItemPointerCompare(&ctid, &record->t_self) == 0)
		ItemPointerSetInvalid(&ctid);
	links->next = ctid;
}

/* --- visibility --- */

bool
verity_record_visible_at(Relation rel, HeapTuple record, Snapshot snapshot,
						 Buffer buffer, VerityPosition position)
{
	if (is_tombstone(record))
		return false;
	if (position != 0)
		return verity_asof_visible(record->t_data, position);

	/* core's test for removable xids knows no frozen xmax */
	if (snapshot->snapshot_type == SNAPSHOT_NON_VACUUMABLE &&
		(record->t_data->t_infomask & HEAP_XMAX_COMMITTED) != 0 &&
		HeapTupleHeaderGetRawXmax(record->t_data) == FrozenTransactionId)
		return false;

	return HeapTupleSatisfiesVisibility(record, snapshot, buffer);
}

/* Had the record's writer committed, as the snapshot sees it (or is it us)? */
static bool
xmin_visible(HeapTupleHeader record, Snapshot snapshot)
{
	TransactionId xmin;

	if (HeapTupleHeaderXminFrozen(record))
		return true;
	if (HeapTupleHeaderXminInvalid(record))
		return false;
	xmin = HeapTupleHeaderGetRawXmin(record);
	if (!HeapTupleHeaderXminCommitted(record) && TransactionIdIsCurrentTransactionId(xmin))
		return HeapTupleHeaderGetCmin(record) < snapshot->curcid;
	if (XidInMVCCSnapshot(xmin, snapshot))
		return false;
	return HeapTupleHeaderXminCommitted(record) || TransactionIdDidCommit(xmin);
}

/*
 * Is the record, which was not visible, newer than what the walk looks for?
 * Then it goes on to older versions; otherwise there is nothing to find.
 */
static bool
too_new(Walk *walk, HeapTuple record)
{
	HeapTupleHeader header = record->t_data;

	if (walk->position != 0)
	{
		VerityPosition begin = verity_asof_begin_position(header);

		return begin == 0 || begin > walk->position;
	}
	if (IsMVCCSnapshot(walk->snapshot))
		return !xmin_visible(header, walk->snapshot);
	return !HeapTupleHeaderXminCommitted(header) && HeapTupleHeaderXminInvalid(header);
}

/* Test the walk's record, with what serializable transactions need. */
static bool
walk_visible(Walk *walk)
{
	bool		visible;

	visible = verity_record_visible_at(walk->rel, walk->record, walk->snapshot,
									   *walk->buffer, walk->position);
	if (walk->position != 0)
		return visible;
	HeapCheckForSerializableConflictOut(visible, walk->rel, walk->record,
										*walk->buffer, walk->snapshot);
	if (visible)
		PredicateLockTID(walk->rel, &walk->record->t_self, walk->snapshot,
						 HeapTupleHeaderGetXmin(walk->record->t_data));
	return visible;
}

/* --- steps: the record's page is locked before, and after true --- */

static inline void
walk_unlock(Walk *walk)
{
	LockBuffer(*walk->buffer, BUFFER_LOCK_UNLOCK);
}

/* Fetch a record for the walk, whose present page is unlocked. */
static bool
walk_fetch(Walk *walk, ItemPointer tid)
{
	return ItemPointerIsValid(tid) &&
		verity_fetch_record(walk->rel, tid, walk->buffer, walk->record, true);
}

/* Go to the record that prev names, when it is the superseded one. */
static bool
step_prev(Walk *walk, VersionLinks *links)
{
	VersionLinks target;

	if ((links->flags & ENVELOPE_ROOT) != 0 &&
		!(walk->cross_roots && (links->flags & ENVELOPE_SAME_KEY) != 0))
		return false;
	if (links->supersedes.serial == 0 || !walk_fetch(walk, &links->prev))
		return false;
	read_links(walk->rel, walk->record, &target);
	if (!is_tombstone(walk->record) && same_id(&target.id, &links->supersedes))
		return true;
	walk_unlock(walk);
	return false;
}

/* Go to the skip target, when it is still newer than what is looked for. */
static bool
step_skip(Walk *walk, VersionLinks *links)
{
	if (!walk_fetch(walk, &links->skip))
		return false;
	if (belongs_to_root(walk->record, &links->root) &&
		verity_get_back_links(walk->record->t_data).skip_rank == links->skip_target_rank &&
		too_new(walk, walk->record))
		return true;
	walk_unlock(walk);
	return false;
}

/* Go to an older version. */
static bool
step_back(Walk *walk)
{
	VersionLinks links;

	read_links(walk->rel, walk->record, &links);
	walk_unlock(walk);
	CHECK_FOR_INTERRUPTS();

	if (walk->steps++ >= WALK_PLAIN_STEPS && ItemPointerIsValid(&links.skip) &&
		(links.flags & ENVELOPE_ROOT) == 0 && !walk->plain &&
		step_skip(walk, &links))
		return true;
	if (step_prev(walk, &links))
		return true;
	walk->broken = (links.flags & ENVELOPE_ROOT) == 0;
	return false;
}

bool
verity_follow_ctid(Relation rel, HeapTuple record, Buffer *buffer, HeapTuple next)
{
	VersionLinks links;
	VersionLinks target;

	read_links(rel, record, &links);
	LockBuffer(*buffer, BUFFER_LOCK_UNLOCK);
	if (!ItemPointerIsValid(&links.next) ||
		!verity_fetch_record(rel, &links.next, buffer, next, true))
		return false;
	read_links(rel, next, &target);
	if (!is_tombstone(next) && same_id(&target.supersedes, &links.id))
		return true;
	LockBuffer(*buffer, BUFFER_LOCK_UNLOCK);
	return false;
}

/* Go forward to the last version of this root. */
static bool
walk_to_end(Walk *walk)
{
	for (;;)
	{
		VersionLinks links;

		read_links(walk->rel, walk->record, &links);
		if (!ItemPointerIsValid(&links.next))
			return true;
		CHECK_FOR_INTERRUPTS();
		if (verity_follow_ctid(walk->rel, walk->record, walk->buffer, walk->record))
		{
			if (belongs_to_root(walk->record, &links.root))
				continue;
			walk_unlock(walk);
		}
		/* a new root, or an aborted version that is gone: this was the last */
		if (walk_fetch(walk, &links.self))
			return true;
		walk->broken = true;
		return false;
	}
}

/*
 * Begin a walk at the newest version of a root.  Where the hint leads nowhere
 * (its version aborted and was removed), or a dirty snapshot must know the
 * very last version, links are followed forward.
 */
static bool
walk_begin(Walk *walk, ItemPointer root)
{
	walk->steps = 0;
	walk->broken = false;
	ItemPointerSetInvalid(&walk->hint);
	if (!walk_fetch(walk, root))
		return false;
	if (!is_root(walk->record))
	{
		walk_unlock(walk);
		return false;
	}
	walk->hint = VerityGetEnvelope(walk->record->t_data)->root;

	if (ItemPointerCompare(&walk->hint, root) != 0)
	{
		walk_unlock(walk);
		if (walk_fetch(walk, &walk->hint))
		{
			if (belongs_to_root(walk->record, root))
				return IsMVCCSnapshot(walk->snapshot) || walk_to_end(walk);
			walk_unlock(walk);
		}
		return walk_fetch(walk, root) && walk_to_end(walk);
	}
	return IsMVCCSnapshot(walk->snapshot) || walk_to_end(walk);
}

/*
 * Nothing was found: is that because the row's versions changed under the
 * walk?  An MVCC snapshot does not see what came meanwhile, so for it only a
 * broken link counts.
 */
static bool
walk_must_restart(Walk *walk, ItemPointer root)
{
	bool		moved;

	if (IsMVCCSnapshot(walk->snapshot) && !walk->broken)
		return false;
	CHECK_FOR_INTERRUPTS();
	if (!walk_fetch(walk, root))
		return false;
	moved = is_root(walk->record) &&
		ItemPointerCompare(&VerityGetEnvelope(walk->record->t_data)->root, &walk->hint) != 0;
	walk_unlock(walk);
	return moved;
}

/* --- dead roots --- */

/* Was it ended, by a committed transaction that every snapshot sees? */
static bool
surely_ended(Relation rel, HeapTuple record)
{
	HeapTupleHeader header = record->t_data;

	if ((header->t_infomask & (HEAP_XMAX_COMMITTED | HEAP_XMAX_INVALID)) != HEAP_XMAX_COMMITTED ||
		HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask))
		return false;
	if (HeapTupleHeaderGetRawXmax(header) == FrozenTransactionId)
		return true;
	return HeapTupleIsSurelyDead(record, GlobalVisTestFor(rel));
}

/*
 * May the index entry of a root go, given its newest version?  When the root
 * aborted, or when a root of the same key took over that every snapshot sees:
 * that one leads back to this for readers of the past.  Never for deleted or
 * re-keyed rows, which only their own entries lead to.  Unlocks the record.
 */
static bool
newest_is_dead(Walk *walk, HeapTuple newest)
{
	HeapTupleHeader header = newest->t_data;
	HeapTupleData next;
	bool		same_key;

	if (!HeapTupleHeaderXminCommitted(header) && HeapTupleHeaderXminInvalid(header))
	{
		bool		aborted_root = is_root(newest);

		walk_unlock(walk);
		return aborted_root;
	}
	if (!surely_ended(walk->rel, newest))
	{
		walk_unlock(walk);
		return false;
	}
	if (!verity_follow_ctid(walk->rel, newest, walk->buffer, &next))
		return false;
	same_key = is_root(&next) &&
		(VerityGetEnvelope(next.t_data)->flags & ENVELOPE_SAME_KEY) != 0;
	walk_unlock(walk);
	return same_key;
}

/* Is nothing behind a line pointer because index entries to it may go? */
static bool
root_was_reclaimed(Walk *walk, ItemPointer root)
{
	OffsetNumber offset = ItemPointerGetOffsetNumber(root);
	bool		dead = false;

	*walk->buffer = ReleaseAndReadBuffer(*walk->buffer, walk->rel,
										 ItemPointerGetBlockNumber(root));
	LockBuffer(*walk->buffer, BUFFER_LOCK_SHARE);
	if (offset >= FirstOffsetNumber && offset <= verity_page_max_offset(*walk->buffer))
		dead = ItemIdIsDead(PageGetItemId(BufferGetPage(*walk->buffer), offset));
	walk_unlock(walk);
	return dead;
}

/* --- fetching --- */

/* Find the version that the walk's snapshot sees; its page stays locked. */
static bool
find_visible(Walk *walk, ItemPointer root, ItemPointer newest)
{
	ItemPointerSetInvalid(newest);
	if (!walk_begin(walk, root))
		return false;
	*newest = walk->record->t_self;
	do
	{
		if (walk_visible(walk))
			return true;
		if (!too_new(walk, walk->record))
		{
			walk_unlock(walk);
			return false;
		}
	} while (step_back(walk));
	return false;
}

/*
 * Is a root on the pinned page known to have ended before the snapshot?  That
 * needs no lock: the pin keeps records in place, and what is read here is
 * final once the hint bit says that an update or delete has committed.  A
 * standby reads up to an index page of such entries for a hot row, since it
 * may not mark them as dead.  false: look at it under the lock.
 */
static bool
root_is_past(Buffer buffer, ItemPointer root, Snapshot snapshot)
{
	OffsetNumber offset = ItemPointerGetOffsetNumberNoCheck(root);
	Page		page;
	ItemId		item;
	HeapTupleHeader header;
	uint16		infomask;

	if (!BufferIsValid(buffer) || !IsMVCCSnapshot(snapshot) ||
		BufferGetBlockNumber(buffer) != ItemPointerGetBlockNumberNoCheck(root) ||
		offset < FirstOffsetNumber || offset > verity_page_max_offset(buffer))
		return false;
	page = BufferGetPage(buffer);
	item = PageGetItemId(page, offset);
	if (!ItemIdIsNormal(item) || ItemIdGetOffset(item) + SEALED_OFFSET_FIRST > BLCKSZ)
		return false;
	header = (HeapTupleHeader) PageGetItem(page, item);
	infomask = *(volatile uint16 *) &header->t_infomask;
	if ((infomask & (HEAP_XMAX_COMMITTED | HEAP_XMAX_INVALID | HEAP_XMAX_IS_MULTI |
					 HEAP_XMAX_LOCK_ONLY)) != HEAP_XMAX_COMMITTED)
		return false;
	/* its links were written before the hint bit */
	pg_read_barrier();
	if ((VerityGetEnvelope(header)->flags & ENVELOPE_ROOT) == 0 ||
		ItemPointerCompare(&VerityGetEnvelope(header)->root, root) != 0 ||
		!TransactionIdPrecedes(*(volatile TransactionId *) &header->t_choice.t_heap.t_xmax, snapshot->xmin))
		return false;
	/* that was an xid, and none of a row that only its key is locked of since */
	pg_read_barrier();
	return *(volatile uint16 *) &header->t_infomask == infomask;
}

bool
verity_root_fetch(Relation rel, ItemPointer root, Snapshot snapshot,
				  Buffer *buffer, HeapTuple record, bool *all_dead)
{
	Walk		walk = {.rel = rel,.snapshot = snapshot,.buffer = buffer,.record = record};
	ItemPointerData newest;
	bool		found;

	if (all_dead == NULL && !IsolationIsSerializable() && root_is_past(*buffer, root, snapshot))
		return false;

	/* a serializable transaction must find who wrote each newer version */
	walk.plain = IsolationIsSerializable();

	do
		found = find_visible(&walk, root, &newest);
	while (!found && walk_must_restart(&walk, root));
	if (all_dead)
		*all_dead = false;
	if (found)
	{
		walk_unlock(&walk);
		return true;
	}

	if (all_dead && !ItemPointerIsValid(&newest))
		*all_dead = root_was_reclaimed(&walk, root);
	else if (all_dead && walk_fetch(&walk, &newest))
		*all_dead = newest_is_dead(&walk, record);
	record->t_data = NULL;
	return false;
}

/*
 * For a reader of the past, does a version exist at all?  Only what its
 * snapshot sees or what was decided up to the position: both stay as they are
 * while the scan runs, so that two roots of one row never both answer.
 */
static bool
exists_at(Walk *walk)
{
	VerityPosition begin;

	if (xmin_visible(walk->record->t_data, walk->snapshot))
		return true;
	begin = verity_asof_begin_position(walk->record->t_data);
	return begin != 0 && begin <= walk->position;
}

/* Did a root of the same key take over from the walk's record?  Unlocks it. */
static bool
same_key_took_over(Walk *walk)
{
	HeapTupleData here = *walk->record;
	bool		taken;

	if (!verity_follow_ctid(walk->rel, &here, walk->buffer, walk->record))
		return false;
	taken = is_root(walk->record) &&
		(VerityGetEnvelope(walk->record->t_data)->flags & ENVELOPE_SAME_KEY) != 0 &&
		exists_at(walk);
	walk_unlock(walk);
	return taken;
}

/* Find the version that existed at the walk's position. */
static bool
find_at(Walk *walk, ItemPointer root)
{
	ItemPointerData newest;
	bool		visible;

	walk->cross_roots = false;
	walk->plain = true;
	if (!walk_begin(walk, root))
		return false;
	while (!exists_at(walk))
	{
		if (!step_back(walk))
			return false;
	}

	newest = walk->record->t_self;
	if (same_key_took_over(walk) || !walk_fetch(walk, &newest))
		return false;

	walk->cross_roots = true;
	walk->plain = false;
	while (too_new(walk, walk->record))
	{
		if (!step_back(walk))
			return false;
	}
	visible = verity_record_visible_at(walk->rel, walk->record, walk->snapshot,
									   *walk->buffer, walk->position);
	walk_unlock(walk);
	return visible;
}

bool
verity_root_fetch_at(Relation rel, ItemPointer root, Snapshot snapshot,
					 VerityPosition position, Buffer *buffer, HeapTuple record)
{
	Walk		walk = {.rel = rel,.snapshot = snapshot,.position = position,
	.buffer = buffer,.record = record};
	bool		found;

	Assert(IsMVCCSnapshot(snapshot));
	do
		found = find_at(&walk, root);
	while (!found && walk_must_restart(&walk, root));
	return found;
}

bool
verity_root_newest(Relation rel, ItemPointer root, Buffer *buffer,
				   HeapTuple record, ItemPointer before)
{
	Walk		walk = {.rel = rel,.snapshot = SnapshotSelf,.plain = true,
	.buffer = buffer,.record = record};

	ItemPointerSetInvalid(before);
	if (!walk_begin(&walk, root))
		return false;
	for (;;)
	{
		HeapTupleSatisfiesVisibility(record, SnapshotSelf, *buffer);
		if (!too_new(&walk, record))
			break;
		if (!step_back(&walk))
			return false;
	}
	if (!is_root(record))
		*before = verity_get_back_links(record->t_data).prev;
	walk_unlock(&walk);
	return true;
}
