/*
 * journal_wal.c
 *	  WAL records of the journal: writing, redo, description, masking.
 *
 * One record type shape for all three: block 0 is an entry page (data: the
 * item), block 1 the meta page (always an image), blocks 2 and on are cell
 * pages (data: JournalCellChange and its values).  Any of them may be absent.
 * Pages that are new are initialised by redo.
 */
#include "postgres.h"

#include "access/bufmask.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "access/xlogutils.h"
#include "miscadmin.h"

#include "am/journal/journal_store.h"
#include "am/stop_point.h"
#include "am/wal.h"

#define BLOCK_ENTRY 0
#define BLOCK_META 1
#define BLOCK_CELLS 2

typedef struct xl_verity_journal
{
	uint64		position;		/* of the entry, 0: none */
} xl_verity_journal;

/* What precedes the changes of one cell page. */
typedef struct JournalCellChanges
{
	uint16		kind;			/* JournalCellKind */
	uint16		count;
} JournalCellChanges;

int
journal_cell_change(char *at, const JournalCell *cell)
{
	uint16		slot = (uint16) (cell->index % CELLS_PER_PAGE(cell->kind));

	memcpy(at, &slot, sizeof(slot));
	memcpy(at + sizeof(slot), &cell->value, CELL_WIDTH(cell->kind));
	return sizeof(slot) + CELL_WIDTH(cell->kind);
}

static void
apply_cells(Page page, JournalCellKind kind, const char *data, Size len)
{
	const char *end = data + len;

	while (data < end)
	{
		uint16		slot;

		memcpy(&slot, data, sizeof(slot));
		memcpy(journal_cell_at(page, kind, slot), data + sizeof(slot), CELL_WIDTH(kind));
		data += sizeof(slot) + CELL_WIDTH(kind);
	}
}

/* Add the item; false when it has no room. */
static bool
apply_item(Page page, const char *item, Size len)
{
	JournalPageSpecial *special = JournalPageGetSpecial(page);

	if (PageAddItemExtended(page, (Item) item, len, InvalidOffsetNumber, 0) == InvalidOffsetNumber)
		return false;
	if (special->first_position == 0)
		memcpy(&special->first_position, item + offsetof(JournalItem, position), sizeof(uint64));
	return true;
}

static void
apply_meta(Page page, const JournalMeta *meta)
{
	PageInit(page, BLCKSZ, 0);
	memcpy(PageGetContents(page), meta, journal_meta_size(meta));
	((PageHeader) page)->pd_lower = MAXALIGN(SizeOfPageHeaderData) + journal_meta_size(meta);
}

static void
apply_all(JournalWrite *write)
{
	if (BufferIsValid(write->entry))
	{
		Page		page = BufferGetPage(write->entry);

		if (write->entry_init)
			journal_page_init(page);
		if (write->item != NULL && !apply_item(page, write->item, write->item_len))
			elog(PANIC, "could not add an item to a journal page");
		MarkBufferDirty(write->entry);
	}
	if (BufferIsValid(write->meta))
	{
		apply_meta(BufferGetPage(write->meta), write->new_meta);
		MarkBufferDirty(write->meta);
	}
	for (int i = 0; i < write->page_count; i++)
	{
		JournalPageWrite *one = &write->pages[i];
		Page		page = BufferGetPage(one->buffer);

		if (one->init)
			journal_cell_page_init(page, one->kind);
		apply_cells(page, one->kind, one->data, one->len);
		MarkBufferDirty(one->buffer);
	}
}

static XLogRecPtr
log_all(uint8 info, JournalWrite *write, xl_verity_journal *xlrec, JournalCellChanges *changes)
{
	XLogBeginInsert();
	XLogRegisterData((char *) xlrec, sizeof(*xlrec));
	if (BufferIsValid(write->entry))
	{
		XLogRegisterBuffer(BLOCK_ENTRY, write->entry,
						   REGBUF_STANDARD | (write->entry_init ? REGBUF_WILL_INIT : 0));
		if (write->item != NULL)
			XLogRegisterBufData(BLOCK_ENTRY, write->item, write->item_len);
	}
	if (BufferIsValid(write->meta))
		XLogRegisterBuffer(BLOCK_META, write->meta, REGBUF_STANDARD | REGBUF_FORCE_IMAGE);
	for (int i = 0; i < write->page_count; i++)
	{
		JournalPageWrite *one = &write->pages[i];

		XLogRegisterBuffer(BLOCK_CELLS + i, one->buffer,
						   REGBUF_STANDARD | (one->init ? REGBUF_WILL_INIT : 0));
		XLogRegisterBufData(BLOCK_CELLS + i, (char *) &changes[i], sizeof(JournalCellChanges));
		XLogRegisterBufData(BLOCK_CELLS + i, one->data, one->len);
	}
	return XLogInsert(VERITY_RMGR_ID, info);
}

static void
set_lsn(JournalWrite *write, XLogRecPtr lsn)
{
	if (BufferIsValid(write->entry))
		PageSetLSN(BufferGetPage(write->entry), lsn);
	if (BufferIsValid(write->meta))
		PageSetLSN(BufferGetPage(write->meta), lsn);
	for (int i = 0; i < write->page_count; i++)
		PageSetLSN(BufferGetPage(write->pages[i].buffer), lsn);
}

XLogRecPtr
journal_write(Relation journal, uint8 info, JournalWrite *write)
{
	xl_verity_journal xlrec = {0};
	JournalCellChanges changes[JOURNAL_CELL_PAGES];
	XLogRecPtr	lsn = InvalidXLogRecPtr;

	Assert(write->page_count <= JOURNAL_CELL_PAGES);
	if (write->item != NULL)
		memcpy(&xlrec.position, write->item + offsetof(JournalItem, position), sizeof(uint64));
	for (int i = 0; i < write->page_count; i++)
	{
		changes[i].kind = write->pages[i].kind;
		changes[i].count = write->pages[i].len /
			(sizeof(uint16) + CELL_WIDTH(write->pages[i].kind));
	}
	XLogEnsureRecordSpace(BLOCK_CELLS + JOURNAL_CELL_PAGES, 4 + 2 * JOURNAL_CELL_PAGES);

	START_CRIT_SECTION();
	apply_all(write);
	VERITY_STOP("journal-changed");
	if (RelationNeedsWAL(journal))
	{
		lsn = log_all(info, write, &xlrec, changes);
		set_lsn(write, lsn);
	}
	VERITY_STOP("journal-logged");
	END_CRIT_SECTION();
	return lsn;
}

static void
redo_entry(XLogReaderState *record)
{
	XLogRecPtr	lsn = record->EndRecPtr;
	bool		init = (XLogRecGetBlock(record, BLOCK_ENTRY)->flags & BKPBLOCK_WILL_INIT) != 0;
	XLogRedoAction action = BLK_NEEDS_REDO;
	Buffer		buffer;

	if (init)
		buffer = XLogInitBufferForRedo(record, BLOCK_ENTRY);
	else
		action = XLogReadBufferForRedo(record, BLOCK_ENTRY, &buffer);
	if (action == BLK_NEEDS_REDO)
	{
		Page		page = BufferGetPage(buffer);
		Size		len;
		char	   *item = XLogRecGetBlockData(record, BLOCK_ENTRY, &len);

		if (init)
			journal_page_init(page);
		if (item != NULL && len > 0 && !apply_item(page, item, len))
			elog(PANIC, "could not add an item to a journal page");
		PageSetLSN(page, lsn);
		MarkBufferDirty(buffer);
	}
	if (BufferIsValid(buffer))
		UnlockReleaseBuffer(buffer);
}

static void
redo_cells(XLogReaderState *record, uint8 block)
{
	XLogRecPtr	lsn = record->EndRecPtr;
	bool		init = (XLogRecGetBlock(record, block)->flags & BKPBLOCK_WILL_INIT) != 0;
	XLogRedoAction action = BLK_NEEDS_REDO;
	Buffer		buffer;

	if (init)
		buffer = XLogInitBufferForRedo(record, block);
	else
		action = XLogReadBufferForRedo(record, block, &buffer);
	if (action == BLK_NEEDS_REDO)
	{
		Page		page = BufferGetPage(buffer);
		Size		len;
		char	   *data = XLogRecGetBlockData(record, block, &len);
		JournalCellChanges changes;

		memcpy(&changes, data, sizeof(changes));
		if (init)
			journal_cell_page_init(page, changes.kind);
		apply_cells(page, changes.kind, data + sizeof(changes), len - sizeof(changes));
		PageSetLSN(page, lsn);
		MarkBufferDirty(buffer);
	}
	if (BufferIsValid(buffer))
		UnlockReleaseBuffer(buffer);
}

void
verity_redo_journal(XLogReaderState *record)
{
	if (XLogRecHasBlockRef(record, BLOCK_META))
	{
		Buffer		buffer;

		if (XLogReadBufferForRedo(record, BLOCK_META, &buffer) != BLK_RESTORED)
			elog(PANIC, "the journal's meta page has no image in WAL");
		UnlockReleaseBuffer(buffer);
	}
	for (int block = BLOCK_CELLS; block <= XLogRecMaxBlockId(record); block++)
	{
		if (XLogRecHasBlockRef(record, block))
			redo_cells(record, block);
	}
	VERITY_STOP("redo-journal");
	/* last, so that whoever sees the entry sees what goes with it */
	if (XLogRecHasBlockRef(record, BLOCK_ENTRY))
		redo_entry(record);
}

void
verity_desc_journal(StringInfo buf, XLogReaderState *record)
{
	xl_verity_journal xlrec;

	memcpy(&xlrec, XLogRecGetData(record), sizeof(xlrec));
	if (xlrec.position != 0)
		appendStringInfo(buf, "position " UINT64_FORMAT, xlrec.position);
	else
		appendStringInfoString(buf, "cells");
	if (XLogRecHasBlockRef(record, BLOCK_META))
		appendStringInfoString(buf, "; meta");
}

void
verity_mask_journal(char *page, BlockNumber blkno)
{
	mask_page_lsn_and_checksum(page);
	mask_unused_space(page);
}
