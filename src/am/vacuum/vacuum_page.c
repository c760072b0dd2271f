/*
 * vacuum_page.c
 *	  What vacuum does to one page.
 *
 * First pass, three steps:
 *	  1. under a share lock, note aborted records, and roots that superseded a
 *		 root with the same key;
 *	  2. without a lock, settle the aborted ones with the journal and their
 *		 roots' hints (vacuum_aborted.c), and collect index entries to remove;
 *	  3. under an exclusive lock, take away aborted records that no index entry
 *		 leads to, freeze, and set the page's bits in the map.
 *
 * Second pass, once index entries are gone: take away aborted roots and mark
 * superseding ones ENVELOPE_CLEANED, so that the next vacuum need not look at
 * them again; then freeze and set bits once more.
 *
 * Only records whose xid is before OldestXmin are noted in step 1: their
 * state is final, so it still holds in step 3, since nobody but vacuum, one at
 * a time, takes records away.
 *
 * Taking records away moves bytes, and others read pinned pages without a
 * lock: it needs a cleanup lock.  Where that is not to be had at once, the
 * records stay for the next vacuum; their xids go all the same.
 *
 * A page without current records is frozen whole at once, so that no later
 * vacuum reads it.  Pages with current records are never marked all-frozen:
 * core's row locks would put new xids there without clearing our bit.
 */
#include "postgres.h"

#include "am/map.h"
#include "am/table.h"
#include "am/vacuum/vacuum.h"

#include "storage/freespace.h"
#include "utils/rel.h"

/* What the first look at a page found. */
typedef struct PageFindings
{
	bool		empty;			/* new or without line pointers */
	int			aborted_count;
	int			successor_count;
	VerityAborted aborted[MaxHeapTuplesPerPage];
	ItemPointerData successors[MaxHeapTuplesPerPage];	/* roots that superseded … */
	ItemPointerData before[MaxHeapTuplesPerPage];	/* … this version */
} PageFindings;

/* What the records of a page are. */
typedef struct PageSurvey
{
	int			records;
	int			live;
	int			ending;
	int			past;
	bool		no_current;
	bool		all_visible;	/* everybody sees the same of it */
	bool		unfinished;		/* the next vacuum must look again */
	TransactionId horizon;		/* last that ended a version */
} PageSurvey;

/* Get the record at a line pointer; false where there is none. */
static bool
get_record(Relation rel, Buffer buffer, OffsetNumber offnum, HeapTuple record)
{
	Page		page = BufferGetPage(buffer);
	ItemId		lp;

	if (offnum > PageGetMaxOffsetNumber(page))
		return false;
	lp = PageGetItemId(page, offnum);
	if (!ItemIdIsNormal(lp))
		return false;
	record->t_data = (HeapTupleHeader) PageGetItem(page, lp);
	if (!verity_is_long_enough(record->t_data, ItemIdGetLength(lp)))
		return false;
	record->t_len = ItemIdGetLength(lp);
	record->t_tableOid = RelationGetRelid(rel);
	ItemPointerSet(&record->t_self, BufferGetBlockNumber(buffer), offnum);
	return true;
}

/* Is an xid so old that its transaction's state is final for everybody? */
static bool
xid_is_past(TransactionId xid, const VerityCutoffs *cutoffs)
{
	return !TransactionIdIsNormal(xid) || TransactionIdPrecedes(xid, cutoffs->oldest_xmin);
}

/* Is it a root whose superseded root may still have index entries? */
static bool
is_uncleaned(HeapTupleHeader tuple)
{
	uint8		flags = VerityGetEnvelope(tuple)->flags;

	return (flags & (ENVELOPE_ROOT | ENVELOPE_SAME_KEY | ENVELOPE_CLEANED)) ==
		(ENVELOPE_ROOT | ENVELOPE_SAME_KEY);
}

static void
note_aborted(HeapTuple record, PageFindings *found)
{
	VerityEnvelope *envelope = VerityGetEnvelope(record->t_data);
	VerityAborted *aborted = &found->aborted[found->aborted_count++];
	record_header header;

	aborted->offnum = ItemPointerGetOffsetNumber(&record->t_self);
	aborted->flags = envelope->flags;
	aborted->root = envelope->root;
	aborted->reclaim = false;
	aborted->readable = record_header_decode(VerityGetSealed(record->t_data),
											 record->t_len - verity_sealed_offset(record->t_data),
											 &header) == CORE_OK;
	if (aborted->readable)
		aborted->id = header.id;
}

/* Step 1: look the page over, under a share lock. */
static void
find_work(VerityVacuum *vacuum, Buffer buffer, PageFindings *found)
{
	Page		page = BufferGetPage(buffer);
	HeapTupleData record;

	found->aborted_count = found->successor_count = 0;
	found->empty = PageIsNew(page) || PageIsEmpty(page);
	if (found->empty)
		return;

	for (OffsetNumber offnum = FirstOffsetNumber; offnum <= PageGetMaxOffsetNumber(page); offnum++)
	{
		TransactionId dead_after;

		if (!get_record(vacuum->rel, buffer, offnum, &record) ||
			!xid_is_past(HeapTupleHeaderGetXmin(record.t_data), &vacuum->cutoffs))
			continue;
		if (HeapTupleSatisfiesVacuumHorizon(&record, buffer, &dead_after) == HEAPTUPLE_DEAD)
			note_aborted(&record, found);
		else if (vacuum->index_count > 0 && is_uncleaned(record.t_data))
		{
			found->successors[found->successor_count] = record.t_self;
			found->before[found->successor_count++] = verity_get_back_links(record.t_data).prev;
		}
	}
}

/*
 * Collect the index entries of the root that a root at successor superseded;
 * before is that root's last version.
 */
static void
collect_superseded(VerityVacuum *vacuum, ItemPointer successor, ItemPointer before)
{
	HeapTupleData record;
	VerityEnvelope *envelope;
	ItemPointerData root;
	TransactionId ended_by;

	if (!ItemPointerIsValid(before) ||
		!verity_fetch_record(vacuum->rel, before, &vacuum->otherbuf, &record, true))
		return;
	envelope = VerityGetEnvelope(record.t_data);
	root = (envelope->flags & ENVELOPE_ROOT) ? *before : envelope->root;
	LockBuffer(vacuum->otherbuf, BUFFER_LOCK_UNLOCK);

	if (verity_root_state(vacuum->rel, &root, vacuum->vistest, &vacuum->otherbuf,
						  &ended_by) != ROOT_SUPERSEDED)
		return;
	verity_vacuum_collect(vacuum, &root, successor);
	if (TransactionIdIsNormal(ended_by) &&
		(!TransactionIdIsValid(vacuum->index_horizon) ||
		 TransactionIdPrecedes(vacuum->index_horizon, ended_by)))
		vacuum->index_horizon = ended_by;
}

/*
 * Step 2: collect what must go from indexes first, in the table's order; fill
 * *what with aborted records that may go at once.
 */
static void
settle_page(VerityVacuum *vacuum, BlockNumber blkno, PageFindings *found, VerityReclaim *what)
{
	int			before = vacuum->dead ? vacuum->dead->num_items : 0;

	what->unused = what->cleaned = what->hints = 0;
	verity_vacuum_settle(vacuum, found->aborted, found->aborted_count);
	for (int i = 0; i < found->aborted_count; i++)
	{
		VerityAborted *aborted = &found->aborted[i];
		ItemPointerData tid;

		if (!aborted->reclaim)
			continue;
		ItemPointerSet(&tid, blkno, aborted->offnum);
		if ((aborted->flags & ENVELOPE_ROOT) == 0 || vacuum->index_count == 0)
			what->unused_offsets[what->unused++] = aborted->offnum;
		else if (vacuum->clean_indexes)
			verity_vacuum_collect(vacuum, &tid, &tid);
		else
			vacuum->missed++;
	}
	for (int i = 0; vacuum->clean_indexes && i < found->successor_count; i++)
		collect_superseded(vacuum, &found->successors[i], &found->before[i]);
	if (vacuum->dead && vacuum->dead->num_items > before)
		vacuum->pending_pages++;
}

/* Does every snapshot see a record that is current? */
static bool
all_see(const VerityVacuum *vacuum, HeapTupleHeader record, HTSV_Result state)
{
	return state == HEAPTUPLE_LIVE &&
		(HeapTupleHeaderXminFrozen(record) ||
		 TransactionIdPrecedes(HeapTupleHeaderGetXmin(record), vacuum->cutoffs.oldest_xmin));
}

/* Count one record in the survey. */
static void
survey_record(VerityVacuum *vacuum, HeapTuple record, Buffer buffer, PageSurvey *survey)
{
	TransactionId ended_by;
	HTSV_Result state = HeapTupleSatisfiesVacuumHorizon(record, buffer, &ended_by);
	bool		tombstone = VerityGetEnvelope(record->t_data)->flags & ENVELOPE_TOMBSTONE;

	survey->records++;
	if (state == HEAPTUPLE_DEAD || (vacuum->index_count > 0 && is_uncleaned(record->t_data)))
		survey->unfinished = true;
	if (state == HEAPTUPLE_DEAD)
		survey->all_visible = false;
	if (state == HEAPTUPLE_DEAD || tombstone)
		return;

	if (state == HEAPTUPLE_RECENTLY_DEAD && xid_is_past(ended_by, &vacuum->cutoffs))
	{
		survey->past++;
		if (TransactionIdIsNormal(ended_by) &&
			(!TransactionIdIsValid(survey->horizon) ||
			 TransactionIdPrecedes(survey->horizon, ended_by)))
			survey->horizon = ended_by;
		return;
	}
	survey->no_current = false;
	survey->all_visible = survey->all_visible && all_see(vacuum, record->t_data, state);
	if (state == HEAPTUPLE_RECENTLY_DEAD)
		survey->ending++;
	else if (state != HEAPTUPLE_INSERT_IN_PROGRESS)
		survey->live++;			/* inserters report their rows themselves */
}

static void
survey_page(VerityVacuum *vacuum, Buffer buffer, PageSurvey *survey)
{
	Page		page = BufferGetPage(buffer);
	HeapTupleData record;

	memset(survey, 0, sizeof(*survey));
	survey->no_current = true;
	survey->all_visible = true;
	for (OffsetNumber offnum = FirstOffsetNumber; offnum <= PageGetMaxOffsetNumber(page); offnum++)
	{
		if (get_record(vacuum->rel, buffer, offnum, &record))
			survey_record(vacuum, &record, buffer, survey);
	}
}

/* Freeze what is due on an exclusively locked page; true: nothing is left. */
static bool
freeze_page(VerityVacuum *vacuum, Buffer buffer, bool everything)
{
	xl_verity_freeze_item items[MaxHeapTuplesPerPage];
	VerityCutoffs cutoffs = vacuum->cutoffs;
	Page		page = BufferGetPage(buffer);
	HeapTupleData record;
	int			count = 0;
	bool		all_frozen = true;

	vacuum->oldest.frozen = InvalidTransactionId;
	if (everything)
	{
		cutoffs.freeze_limit = cutoffs.oldest_xmin;
		cutoffs.multi_limit = cutoffs.oldest_multi;
	}
	for (OffsetNumber offnum = FirstOffsetNumber; offnum <= PageGetMaxOffsetNumber(page); offnum++)
	{
		if (get_record(vacuum->rel, buffer, offnum, &record) &&
			verity_freeze_plan(&record, buffer, &cutoffs, &items[count], &vacuum->oldest))
			count++;
	}
	verity_freeze_page(vacuum->rel, buffer, vacuum->oldest.frozen, items, count);

	for (OffsetNumber offnum = FirstOffsetNumber; offnum <= PageGetMaxOffsetNumber(page); offnum++)
	{
		if (get_record(vacuum->rel, buffer, offnum, &record) &&
			!verity_record_is_frozen(record.t_data))
			all_frozen = false;
	}
	return all_frozen;
}

/*
 * Step 3, and all of the second pass: reclaim, freeze, set the map's bits.
 * The page is exclusively locked, for cleanup where something is reclaimed;
 * it is unlocked and released here.  mapbuf is pinned.
 */
static void
finish_page(VerityVacuum *vacuum, Buffer buffer, const VerityReclaim *what, PageSurvey *survey)
{
	BlockNumber blkno = BufferGetBlockNumber(buffer);
	Size		space;
	bool		marked = false;

	verity_reclaim_page(vacuum->rel, buffer, what);
	vacuum->reclaimed += what->unused;

	survey_page(vacuum, buffer, survey);
	if (survey->records > 0)
	{
		bool		frozen = freeze_page(vacuum, buffer, survey->no_current);

		if (survey->no_current && BufferIsValid(vacuum->mapbuf))
		{
			uint8		bits = VERITY_MAP_NO_CURRENT;

			if (frozen && !survey->unfinished)
				bits |= VERITY_MAP_ALL_FROZEN;
			verity_map_set(vacuum->rel, buffer, vacuum->mapbuf, bits, survey->horizon);
			marked = true;
		}
	}
	space = PageGetHeapFreeSpace(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);

	/* a little space on a page that scans skip is not worth losing that */
	if (marked && space < BLCKSZ / 2)
		space = 0;
	RecordPageWithFreeSpace(vacuum->rel, blkno, space);
}

/* Count a page for the planner, which leaves out those that the map marks. */
static void
count_all_visible(VerityVacuum *vacuum, const PageSurvey *survey)
{
	if (survey->all_visible && (!survey->no_current || survey->records == 0))
		vacuum->all_visible++;
}

/* A page without records: let it be used. */
static void
offer_empty_page(VerityVacuum *vacuum, Buffer buffer)
{
	Page		page = BufferGetPage(buffer);
	Size		space = PageIsNew(page) ? BLCKSZ - SizeOfPageHeaderData : PageGetHeapFreeSpace(page);
	BlockNumber blkno = BufferGetBlockNumber(buffer);

	UnlockReleaseBuffer(buffer);
	RecordPageWithFreeSpace(vacuum->rel, blkno, space);
}

void
verity_vacuum_page(VerityVacuum *vacuum, BlockNumber blkno)
{
	PageFindings found;
	PageSurvey	survey;
	VerityReclaim what;
	Buffer		buffer;

	buffer = ReadBufferExtended(vacuum->rel, MAIN_FORKNUM, blkno, RBM_NORMAL, vacuum->strategy);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	find_work(vacuum, buffer, &found);
	if (found.empty)
	{
		offer_empty_page(vacuum, buffer);
		vacuum->all_visible++;
		return;
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);

	settle_page(vacuum, blkno, &found, &what);
	verity_map_pin(vacuum->rel, blkno, &vacuum->mapbuf);

	/* a second pin of our own would keep the cleanup lock from us */
	if (what.unused > 0)
	{
		if (BufferIsValid(vacuum->otherbuf))
			ReleaseBuffer(vacuum->otherbuf);
		vacuum->otherbuf = InvalidBuffer;
	}
	if (what.unused == 0 || !ConditionalLockBufferForCleanup(buffer))
	{
		vacuum->missed += what.unused;
		what.unused = 0;
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	}
	finish_page(vacuum, buffer, &what, &survey);
	vacuum->live += survey.live;
	vacuum->ending += survey.ending;
	vacuum->past += survey.past;
	count_all_visible(vacuum, &survey);
}

/* What is to be done with a page's pending records. */
static void
plan_pending(VerityVacuum *vacuum, Buffer buffer, const ItemPointerData *pending, int count,
			 bool cleanup, VerityReclaim *what)
{
	what->unused = what->cleaned = what->hints = 0;
	for (int i = 0; i < count; i++)
	{
		OffsetNumber offnum = ItemPointerGetOffsetNumber(&pending[i]);
		HeapTupleData record;
		TransactionId dead_after;

		if (!get_record(vacuum->rel, buffer, offnum, &record))
			continue;
		if (HeapTupleSatisfiesVacuumHorizon(&record, buffer, &dead_after) != HEAPTUPLE_DEAD)
			what->cleaned_offsets[what->cleaned++] = offnum;
		else if (cleanup)
			what->unused_offsets[what->unused++] = offnum;
		else
			vacuum->missed++;
	}
}

void
verity_vacuum_page_pending(VerityVacuum *vacuum, BlockNumber blkno,
						   const ItemPointerData *pending, int count)
{
	PageSurvey	survey;
	VerityReclaim what;
	Buffer		buffer;
	bool		cleanup;

	verity_map_pin(vacuum->rel, blkno, &vacuum->mapbuf);
	buffer = ReadBufferExtended(vacuum->rel, MAIN_FORKNUM, blkno, RBM_NORMAL, vacuum->strategy);
	cleanup = ConditionalLockBufferForCleanup(buffer);
	if (!cleanup)
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	plan_pending(vacuum, buffer, pending, count, cleanup, &what);
	finish_page(vacuum, buffer, &what, &survey);

	/* with an aborted record on it the first pass did not count the page */
	if (what.unused > 0)
		count_all_visible(vacuum, &survey);
}
