/*
 * journal_reader.c
 *	  Reading the journal from a position to its end, page by page, over
 *	  damage.
 *
 * Works on copies of pages and stops at nothing: a page that is no entry page,
 * a missing fragment, bytes that are no entry are each reported once, and
 * reading goes on with the next item.  The end that was there at the beginning
 * is the end; an entry that is not finished there is not part of it.
 */
#include "postgres.h"

#include "access/table.h"
#include "miscadmin.h"

#include "am/journal/journal_store.h"

struct VerityJournalReader
{
	Relation	journal;
	BlockNumber blkno;
	BlockNumber nblocks;
	OffsetNumber offnum;		/* next item; 0: the page is not read yet */
	uint64		from;
	char	   *page;			/* copy of blkno */
	char	   *ahead;			/* copy of a later fragment's page */
};

VerityJournalReader *
verity_journal_reader_begin(VerityPosition from)
{
	VerityJournalReader *reader = palloc0(sizeof(VerityJournalReader));
	BlockNumber blkno;
	OffsetNumber offnum;

	reader->journal = table_open(journal_oid(), AccessShareLock);
	reader->nblocks = RelationGetNumberOfBlocks(reader->journal);
	reader->blkno = JOURNAL_FIRST_BLOCK;
	reader->from = from;
	reader->page = palloc(BLCKSZ);
	reader->ahead = palloc(BLCKSZ);
	/* from the very start nothing is looked up, so that damage cannot err */
	if (from > 1 && journal_locate(reader->journal, from, &blkno, &offnum))
		reader->blkno = blkno;
	return reader;
}

void
verity_journal_reader_end(VerityJournalReader *reader)
{
	table_close(reader->journal, AccessShareLock);
	pfree(reader->page);
	pfree(reader->ahead);
	pfree(reader);
}

/* The item at this place of a copied page; NULL when there is none. */
static JournalItem *
item_at(char *page, OffsetNumber offnum, Size *payload)
{
	ItemId		id = PageGetItemId((Page) page, offnum);

	if (!ItemIdIsNormal(id) || ItemIdGetLength(id) < sizeof(JournalItem) ||
		ItemIdGetOffset(id) != MAXALIGN(ItemIdGetOffset(id)) ||
		ItemIdGetOffset(id) + ItemIdGetLength(id) > BLCKSZ)
		return NULL;
	*payload = ItemIdGetLength(id) - sizeof(JournalItem);
	return (JournalItem *) PageGetItem((Page) page, id);
}

/* Is there no item on this block and all behind it? */
static bool
nothing_from(VerityJournalReader *reader, BlockNumber blkno)
{
	const char *damage;

	for (; blkno < reader->nblocks; blkno++)
	{
		if (!journal_page_copy(reader->journal, blkno, reader->ahead, &damage))
			return false;
		if (PageIsNew((Page) reader->ahead))
			continue;
		if (!journal_page_is_entries((Page) reader->ahead) ||
			PageGetMaxOffsetNumber((Page) reader->ahead) >= FirstOffsetNumber)
			return false;
	}
	return true;
}

/*
 * Copy fragments 1 and on behind the first one's payload; false when they are
 * not all there.  *unfinished: because the journal ends with the last one,
 * which is no damage: it is being written, or a crash cut it off.
 */
static bool
gather(VerityJournalReader *reader, const JournalItem *first, uint8 *raw, Size used, bool *unfinished)
{
	const char *damage;

	*unfinished = false;
	for (uint16 fragment = 1; fragment < first->count; fragment++)
	{
		BlockNumber blkno = reader->blkno + fragment;
		JournalItem *item;
		Size		len;

		if (blkno >= reader->nblocks ||
			!journal_page_copy(reader->journal, blkno, reader->ahead, &damage) ||
			!journal_page_is_entries(reader->ahead) ||
			PageGetMaxOffsetNumber((Page) reader->ahead) < FirstOffsetNumber)
		{
			*unfinished = nothing_from(reader, blkno);
			return false;
		}
		item = item_at(reader->ahead, FirstOffsetNumber, &len);
		if (item == NULL || item->position != first->position || item->fragment != fragment ||
			item->count != first->count || used + len > first->total)
			return false;
		memcpy(raw + used, (char *) item + sizeof(JournalItem), len);
		used += len;
	}
	return used == first->total;
}

/* Decode the entry that begins with this item; NULL also at the end. */
static VerityEntry *
read_entry(VerityJournalReader *reader, const JournalItem *first, Size payload, const char **damage)
{
	VerityEntry *entry;
	uint8	   *raw;
	bool		unfinished;

	if (first->count == 0 || payload > first->total ||
		first->total > (Size) first->count * JOURNAL_FRAGMENT_MAX)
	{
		*damage = "an item's head is damaged";
		return NULL;
	}
	raw = palloc_extended(Max(first->total, 1), MCXT_ALLOC_HUGE);
	memcpy(raw, (const char *) first + sizeof(JournalItem), payload);
	if (!gather(reader, first, raw, payload, &unfinished))
	{
		if (unfinished)
			reader->blkno = reader->nblocks;
		else
			*damage = "the entry is not complete";
		pfree(raw);
		return NULL;
	}
	entry = journal_entry_decode(raw, first->total, first->xid, damage);
	if (entry == NULL)
		pfree(raw);
	return entry;
}

/* Step to the next page with items; false at the end or (damage) a bad one. */
static bool
next_page(VerityJournalReader *reader, const char **damage)
{
	for (; reader->blkno < reader->nblocks; reader->blkno++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!journal_page_copy(reader->journal, reader->blkno, reader->page, damage))
			break;
		if (PageIsNew((Page) reader->page))
			continue;
		if (!journal_page_is_entries((Page) reader->page))
		{
			*damage = "the page is no journal page";
			break;
		}
		reader->offnum = FirstOffsetNumber;
		return true;
	}
	if (*damage != NULL)
		reader->blkno++;
	return false;
}

VerityEntry *
verity_journal_reader_next(VerityJournalReader *reader, const char **damage, VerityPosition *at)
{
	*damage = NULL;
	*at = 0;
	for (;;)
	{
		JournalItem *item;
		VerityEntry *entry;
		Size		payload;

		if (reader->offnum == InvalidOffsetNumber && !next_page(reader, damage))
			return NULL;
		if (reader->offnum > PageGetMaxOffsetNumber((Page) reader->page))
		{
			reader->offnum = InvalidOffsetNumber;
			reader->blkno++;
			continue;
		}
		item = item_at(reader->page, reader->offnum++, &payload);
		if (item == NULL)
		{
			*damage = "an item is damaged";
			return NULL;
		}
		/* later fragments were read with the first one */
		if (item->fragment != 0 || item->position < reader->from)
			continue;
		*at = item->position;
		entry = read_entry(reader, item, payload, damage);
		if (entry == NULL && *damage == NULL)
		{
			/* unfinished: the end */
			reader->offnum = InvalidOffsetNumber;
			*at = 0;
		}
		return entry;
	}
}
