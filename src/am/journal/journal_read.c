/*
 * journal_read.c
 *	  Finding and reading entries by position.
 *
 * Positions ascend through the entry pages and each page names its first one,
 * so the pages are their own index: a position is found by binary search over
 * them, and a time by binary search over positions.
 *
 * Items never change once written; a page is share-locked while one is copied.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"

#include "am/journal/journal_store.h"

/* First position on a block; PG_UINT64_MAX when it has no item. */
static uint64
first_position(Relation journal, BlockNumber blkno)
{
	Buffer		buffer = ReadBuffer(journal, blkno);
	Page		page = BufferGetPage(buffer);
	uint64		position = PG_UINT64_MAX;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	if (journal_page_is_entries(page) && JournalPageGetSpecial(page)->first_position != 0)
		position = JournalPageGetSpecial(page)->first_position;
	UnlockReleaseBuffer(buffer);
	return position;
}

/* Copy the head of the item at this place; false when there is none. */
static bool
item_head(Page page, OffsetNumber offnum, JournalItem *item)
{
	ItemId		id;

	if (!journal_page_is_entries(page) || offnum < FirstOffsetNumber ||
		offnum > PageGetMaxOffsetNumber(page))
		return false;
	id = PageGetItemId(page, offnum);
	if (!ItemIdIsNormal(id) || ItemIdGetLength(id) < sizeof(JournalItem) ||
		ItemIdGetOffset(id) + ItemIdGetLength(id) > BLCKSZ)
		return false;
	memcpy(item, PageGetItem(page, id), sizeof(JournalItem));
	return true;
}

/* Look for an entry's first fragment on one block. */
static bool
find_on_block(Relation journal, BlockNumber blkno, uint64 position, OffsetNumber *offnum)
{
	Buffer		buffer = ReadBuffer(journal, blkno);
	Page		page = BufferGetPage(buffer);
	OffsetNumber low = FirstOffsetNumber;
	OffsetNumber high;
	JournalItem item;
	bool		found = false;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	high = journal_page_is_entries(page) ? PageGetMaxOffsetNumber(page) : 0;
	while (low <= high && !found)
	{
		OffsetNumber middle = low + (high - low) / 2;

		if (!item_head(page, middle, &item))
			break;
		if (item.position == position)
		{
			found = item.fragment == 0;
			*offnum = middle;
			break;
		}
		if (item.position < position)
			low = middle + 1;
		else
			high = middle - 1;
	}
	UnlockReleaseBuffer(buffer);
	return found;
}

bool
journal_locate(Relation journal, uint64 position, BlockNumber *blkno, OffsetNumber *offnum)
{
	BlockNumber nblocks = RelationGetNumberOfBlocks(journal);
	BlockNumber low = JOURNAL_FIRST_BLOCK;
	BlockNumber high = nblocks;

	if (position == 0 || nblocks <= JOURNAL_FIRST_BLOCK)
		return false;
	/* the first block that begins at or behind the position */
	while (low < high)
	{
		BlockNumber middle = low + (high - low) / 2;

		if (first_position(journal, middle) >= position)
			high = middle;
		else
			low = middle + 1;
	}
	*blkno = low;
	if (low < nblocks && find_on_block(journal, low, position, offnum))
		return true;
	*blkno = low - 1;
	return low > JOURNAL_FIRST_BLOCK && find_on_block(journal, low - 1, position, offnum);
}

/* Append a fragment's payload to raw; the entry's next one, or an error. */
static void
read_fragment(Relation journal, BlockNumber blkno, OffsetNumber offnum, uint16 fragment,
			  JournalItem *first, uint8 **raw, Size *used)
{
	Buffer		buffer = ReadBuffer(journal, blkno);
	Page		page = BufferGetPage(buffer);
	JournalItem item;
	Size		len = 0;
	bool		good;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	good = item_head(page, offnum, &item) && item.fragment == fragment;
	if (good && fragment == 0)
	{
		*first = item;
		*raw = palloc_extended(Max(item.total, 1), MCXT_ALLOC_HUGE);
	}
	if (good)
		len = ItemIdGetLength(PageGetItemId(page, offnum)) - sizeof(JournalItem);
	good = good && item.position == first->position && item.total == first->total &&
		item.count == first->count && *used + len <= first->total;
	if (good)
		memcpy(*raw + *used, PageGetItem(page, PageGetItemId(page, offnum)) + sizeof(JournalItem), len);
	UnlockReleaseBuffer(buffer);
	if (!good)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the journal is damaged in block %u", blkno),
				 errhint("Run verity_verify() to see what is damaged.")));
	*used += len;
}

VerityEntry *
journal_entry_decode(uint8 *raw, Size len, TransactionId xid, const char **why)
{
	Size		arena_size = entry_arena_size(len);
	VerityEntry *entry = palloc_extended(MAXALIGN(sizeof(VerityEntry)) + arena_size, MCXT_ALLOC_HUGE);
	core_status status;

	memset(entry, 0, sizeof(VerityEntry));
	entry->xid = xid;
	entry->raw = raw;
	entry->raw_len = len;
	status = entry_stored_decode(raw, len, &entry->stored,
								 (char *) entry + MAXALIGN(sizeof(VerityEntry)), arena_size);
	if (status == CORE_OK)
		status = entry_hash(&entry->stored.core, &entry->hash);
	if (status == CORE_OK)
		return entry;
	*why = status == CORE_E_VERSION ? "the entry has an unknown format version" :
		"the entry is not well-formed";
	pfree(entry);
	return NULL;
}

VerityEntry *
journal_entry_at(Relation journal, BlockNumber blkno, OffsetNumber offnum)
{
	JournalItem first;
	uint8	   *raw = NULL;
	Size		used = 0;
	VerityEntry *entry;
	const char *why = NULL;

	read_fragment(journal, blkno, offnum, 0, &first, &raw, &used);
	for (uint16 fragment = 1; fragment < first.count; fragment++)
		read_fragment(journal, blkno + fragment, FirstOffsetNumber, fragment, &first, &raw, &used);
	entry = used == first.total ? journal_entry_decode(raw, used, first.xid, &why) : NULL;
	if (entry == NULL || entry->stored.core.position != first.position)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("journal entry " UINT64_FORMAT " is damaged", first.position),
				 errdetail("%s.", why ? why : "Its parts do not agree"),
				 errhint("Run verity_verify() to see what is damaged.")));
	return entry;
}

VerityEntry *
journal_read_entry(Relation journal, uint64 position)
{
	BlockNumber blkno;
	OffsetNumber offnum;

	if (!journal_locate(journal, position, &blkno, &offnum))
		return NULL;
	return journal_entry_at(journal, blkno, offnum);
}

bool
journal_entry_xid(Relation journal, uint64 position, TransactionId *xid)
{
	BlockNumber blkno;
	OffsetNumber offnum;
	Buffer		buffer;
	JournalItem item;
	bool		found;

	if (!journal_locate(journal, position, &blkno, &offnum))
		return false;
	buffer = ReadBuffer(journal, blkno);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	found = item_head(BufferGetPage(buffer), offnum, &item);
	UnlockReleaseBuffer(buffer);
	*xid = item.xid;
	return found;
}

/* The last item of a block; false when it has none. */
static bool
last_item(Relation journal, BlockNumber blkno, JournalItem *item)
{
	Buffer		buffer = ReadBuffer(journal, blkno);
	Page		page = BufferGetPage(buffer);
	bool		found;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	found = journal_page_is_entries(page) &&
		item_head(page, PageGetMaxOffsetNumber(page), item);
	UnlockReleaseBuffer(buffer);
	return found;
}

void
journal_find_tail(Relation journal, JournalTail *tail)
{
	BlockNumber blkno = RelationGetNumberOfBlocks(journal);
	JournalItem item;

	tail->block = JOURNAL_META_BLOCK;
	tail->position = 0;
	tail->incomplete_from = InvalidBlockNumber;
	while (blkno > JOURNAL_FIRST_BLOCK)
	{
		blkno--;
		if (!last_item(journal, blkno, &item))
			continue;
		if (item.fragment + 1 == item.count)
		{
			tail->block = blkno;
			tail->position = item.position;
			return;
		}
		tail->incomplete_from = blkno;
	}
}

VerityEntry *
verity_journal_read(VerityPosition position)
{
	Relation	journal = table_open(journal_oid(), AccessShareLock);
	VerityEntry *entry = journal_read_entry(journal, position);

	table_close(journal, AccessShareLock);
	return entry;
}

void
verity_entry_free(VerityEntry *entry)
{
	if (entry == NULL)
		return;
	pfree(entry->raw);
	pfree(entry);
}

/* The time of an entry that exists. */
static TimestampTz
time_of(Relation journal, uint64 position)
{
	VerityEntry *entry = journal_read_entry(journal, position);
	TimestampTz time;

	if (entry == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("journal entry " UINT64_FORMAT " is missing", position),
				 errhint("Run verity_verify() to see what is damaged.")));
	time = entry->stored.core.time;
	verity_entry_free(entry);
	return time;
}

VerityPosition
verity_position_at(TimestampTz t)
{
	Relation	journal = table_open(journal_oid(), AccessShareLock);
	VerityPosition low = 0;
	VerityPosition high;
	JournalTail tail;

	journal_find_tail(journal, &tail);
	high = tail.position;
	/* time_of(low) <= t < time_of(high + 1) */
	while (low < high)
	{
		VerityPosition middle = low + (high - low + 1) / 2;

		if (time_of(journal, middle) <= t)
			low = middle;
		else
			high = middle - 1;
	}
	table_close(journal, AccessShareLock);
	return low;
}

bool
verity_head_get(uint32 ledger_number, uint8 ledger[LEDGER_ID_SIZE],
				VerityPosition *position, hash256 *hash)
{
	JournalCell cell = {CELL_HEAD, ledger_number - 1};
	JournalRels rels;
	bool		found;

	if (ledger_number == 0)
		return false;
	journal_rels_open(&rels, AccessShareLock);
	found = journal_cell_read(rels.heads, &cell);
	journal_rels_close(&rels, AccessShareLock);
	memcpy(ledger, cell.value.head.ledger, LEDGER_ID_SIZE);
	*position = cell.value.head.position;
	*hash = cell.value.head.hash;
	return found;
}
