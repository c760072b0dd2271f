/*
 * vacuum_wal.c
 *	  What vacuum does to pages, with its WAL records and their replay.
 *
 * XLOG_VERITY_FREEZE	headers of one page; horizon: the last xid frozen
 * XLOG_VERITY_RECLAIM	line pointers freed, roots marked, hints repaired on one
 *						page; or, without a page, the horizon of index entries
 *						that are removed next
 * XLOG_VERITY_MAP_SET	bits of the map, with the page's flag
 *
 * Replay first makes the standby's queries go whose snapshot is older than the
 * record's horizon.  Freeing line pointers moves bytes, so it takes a cleanup
 * lock in replay as it did in vacuum; the rest takes an exclusive lock.
 * Each record is whole: a crash between two of them leaves a page that the
 * next vacuum finishes.
 */
#include "postgres.h"

#include "am/map.h"
#include "am/stop_point.h"
#include "am/vacuum/vacuum.h"
#include "am/wal.h"

#include "access/xlog.h"
#include "access/xloginsert.h"
#include "access/xlogutils.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/freespace.h"
#include "storage/standby.h"
#include "utils/rel.h"

/* The record at an offset that WAL or vacuum's own list names. */
static HeapTupleHeader
page_record(Page page, OffsetNumber offnum)
{
	ItemId		lp;

	if (offnum < FirstOffsetNumber || offnum > PageGetMaxOffsetNumber(page))
		elog(PANIC, "no line pointer %u", offnum);
	lp = PageGetItemId(page, offnum);
	if (!ItemIdIsNormal(lp) || ItemIdGetLength(lp) < SEALED_OFFSET_FIRST)
		elog(PANIC, "line pointer %u holds no record", offnum);
	return (HeapTupleHeader) PageGetItem(page, lp);
}

/* Free line pointers, mark roots, set hints. */
static void
reclaim_apply(Page page, const OffsetNumber *unused, int unused_count,
			  const OffsetNumber *cleaned, int cleaned_count,
			  const xl_verity_hint *hints, int hint_count)
{
	for (int i = 0; i < hint_count; i++)
	{
		VerityEnvelope *envelope = VerityGetEnvelope(page_record(page, hints[i].offnum));

		Assert(envelope->flags & ENVELOPE_ROOT);
		envelope->root = hints[i].target;
	}
	for (int i = 0; i < cleaned_count; i++)
	{
		VerityEnvelope *envelope = VerityGetEnvelope(page_record(page, cleaned[i]));

		Assert(envelope->flags & ENVELOPE_SAME_KEY);
		envelope->flags |= ENVELOPE_CLEANED;
	}
	for (int i = 0; i < unused_count; i++)
	{
		ItemId		lp = PageGetItemId(page, unused[i]);

		Assert(ItemIdIsNormal(lp));
		ItemIdSetUnused(lp);
	}
	if (unused_count > 0)
		PageRepairFragmentation(page);
}

void
verity_reclaim_page(Relation rel, Buffer buffer, const VerityReclaim *what)
{
	Page		page = BufferGetPage(buffer);

	if (what->unused + what->cleaned + what->hints == 0)
		return;
	Assert(what->unused <= MaxHeapTuplesPerPage && what->cleaned <= MaxHeapTuplesPerPage);

	START_CRIT_SECTION();
	reclaim_apply(page, what->unused_offsets, what->unused,
				  what->cleaned_offsets, what->cleaned,
				  what->hint_items, what->hints);
	MarkBufferDirty(buffer);
	VERITY_STOP("reclaim-changed");
	if (RelationNeedsWAL(rel))
	{
		xl_verity_reclaim xlrec;
		XLogRecPtr	lsn;

		/* records of aborted transactions were never visible: no horizon */
		xlrec.horizon = InvalidTransactionId;
		xlrec.node = rel->rd_locator;
		xlrec.unused = what->unused;
		xlrec.cleaned = what->cleaned;
		xlrec.hints = what->hints;

		XLogBeginInsert();
		XLogRegisterData((char *) &xlrec, SizeOfVerityReclaim);
		XLogRegisterBuffer(0, buffer, REGBUF_STANDARD);
		if (what->unused > 0)
			XLogRegisterBufData(0, (char *) what->unused_offsets,
								what->unused * sizeof(OffsetNumber));
		if (what->cleaned > 0)
			XLogRegisterBufData(0, (char *) what->cleaned_offsets,
								what->cleaned * sizeof(OffsetNumber));
		if (what->hints > 0)
			XLogRegisterBufData(0, (char *) what->hint_items,
								what->hints * sizeof(xl_verity_hint));
		lsn = XLogInsert(VERITY_RMGR_ID, XLOG_VERITY_RECLAIM);
		PageSetLSN(page, lsn);
	}
	VERITY_STOP("reclaim-logged");
	END_CRIT_SECTION();
}

void
verity_log_index_horizon(Relation rel, TransactionId horizon)
{
	xl_verity_reclaim xlrec;

	if (!RelationNeedsWAL(rel) || !TransactionIdIsNormal(horizon))
		return;

	memset(&xlrec, 0, sizeof(xlrec));
	xlrec.horizon = horizon;
	xlrec.node = rel->rd_locator;
	XLogBeginInsert();
	XLogRegisterData((char *) &xlrec, SizeOfVerityReclaim);
	(void) XLogInsert(VERITY_RMGR_ID, XLOG_VERITY_RECLAIM);
}

/* Cancel standby queries that a record's horizon conflicts with. */
static void
resolve_conflict(TransactionId horizon, RelFileLocator node)
{
	if (InHotStandby && TransactionIdIsNormal(horizon))
		ResolveRecoveryConflictWithSnapshot(horizon, false, node);
}

void
verity_redo_freeze(XLogReaderState *record)
{
	xl_verity_freeze *xlrec = (xl_verity_freeze *) XLogRecGetData(record);
	RelFileLocator node;
	BlockNumber blkno;
	Buffer		buffer;

	XLogRecGetBlockTag(record, 0, &node, NULL, &blkno);
	resolve_conflict(xlrec->horizon, node);

	if (XLogReadBufferForRedo(record, 0, &buffer) == BLK_NEEDS_REDO)
	{
		Page		page = BufferGetPage(buffer);
		Size		len;
		char	   *data = XLogRecGetBlockData(record, 0, &len);

		if (len != xlrec->count * sizeof(xl_verity_freeze_item))
			elog(PANIC, "freeze record has %zu bytes for %u items", len, xlrec->count);
		for (int i = 0; i < xlrec->count; i++)
		{
			xl_verity_freeze_item item;

			memcpy(&item, data + i * sizeof(item), sizeof(item));
			(void) page_record(page, item.offnum);
			verity_freeze_apply(page, blkno, &item);
		}
		PageSetLSN(page, record->EndRecPtr);
		MarkBufferDirty(buffer);
	}
	if (BufferIsValid(buffer))
		UnlockReleaseBuffer(buffer);
}

/* Replay a page's part of a reclaim record. */
static void
redo_reclaim_page(XLogReaderState *record, const xl_verity_reclaim *xlrec, Page page)
{
	VerityReclaim what;
	Size		len;
	char	   *data = XLogRecGetBlockData(record, 0, &len);
	Size		unused_size = xlrec->unused * sizeof(OffsetNumber);
	Size		cleaned_size = xlrec->cleaned * sizeof(OffsetNumber);
	Size		hints_size = xlrec->hints * sizeof(xl_verity_hint);

	if (len != unused_size + cleaned_size + hints_size ||
		xlrec->unused > MaxHeapTuplesPerPage || xlrec->cleaned > MaxHeapTuplesPerPage ||
		xlrec->hints > MaxHeapTuplesPerPage)
		elog(PANIC, "reclaim record of %zu bytes does not hold what it says", len);

	/* WAL data need not be aligned */
	memcpy(what.unused_offsets, data, unused_size);
	memcpy(what.cleaned_offsets, data + unused_size, cleaned_size);
	memcpy(what.hint_items, data + unused_size + cleaned_size, hints_size);
	reclaim_apply(page, what.unused_offsets, xlrec->unused,
				  what.cleaned_offsets, xlrec->cleaned,
				  what.hint_items, xlrec->hints);
}

void
verity_redo_reclaim(XLogReaderState *record)
{
	xl_verity_reclaim *xlrec = (xl_verity_reclaim *) XLogRecGetData(record);
	BlockNumber blkno;
	Buffer		buffer;

	resolve_conflict(xlrec->horizon, xlrec->node);
	if (!XLogRecHasBlockRef(record, 0))
		return;

	XLogRecGetBlockTag(record, 0, NULL, NULL, &blkno);
	if (XLogReadBufferForRedoExtended(record, 0, RBM_NORMAL, xlrec->unused > 0,
									  &buffer) == BLK_NEEDS_REDO)
	{
		Page		page = BufferGetPage(buffer);

		redo_reclaim_page(record, xlrec, page);
		PageSetLSN(page, record->EndRecPtr);
		MarkBufferDirty(buffer);
	}
	if (BufferIsValid(buffer))
	{
		Size		space = PageGetHeapFreeSpace(BufferGetPage(buffer));

		UnlockReleaseBuffer(buffer);
		if (xlrec->unused > 0)
			XLogRecordPageWithFreeSpace(xlrec->node, blkno, space);
	}
}

void
verity_redo_map_set(XLogReaderState *record)
{
	xl_verity_map_set *xlrec = (xl_verity_map_set *) XLogRecGetData(record);
	RelFileLocator node;
	BlockNumber blkno;
	Buffer		buffer;
	Buffer		mapbuf;

	XLogRecGetBlockTag(record, 0, &node, NULL, &blkno);
	resolve_conflict(xlrec->horizon, node);

	/* the page's lock is held until the bits are set, as in vacuum */
	if (XLogReadBufferForRedo(record, 0, &buffer) == BLK_NEEDS_REDO)
	{
		PageSetFull(BufferGetPage(buffer));
		PageSetLSN(BufferGetPage(buffer), record->EndRecPtr);
		MarkBufferDirty(buffer);
	}
	if (XLogReadBufferForRedo(record, 1, &mapbuf) == BLK_NEEDS_REDO)
	{
		verity_map_set_bits(BufferGetPage(mapbuf), blkno, xlrec->bits);
		PageSetLSN(BufferGetPage(mapbuf), record->EndRecPtr);
		MarkBufferDirty(mapbuf);
	}
	if (BufferIsValid(mapbuf))
		UnlockReleaseBuffer(mapbuf);
	if (BufferIsValid(buffer))
		UnlockReleaseBuffer(buffer);
}

void
verity_desc_vacuum(StringInfo buf, XLogReaderState *record)
{
	char	   *data = XLogRecGetData(record);

	switch (XLogRecGetInfo(record) & ~XLR_INFO_MASK)
	{
		case XLOG_VERITY_FREEZE:
			{
				xl_verity_freeze *xlrec = (xl_verity_freeze *) data;

				appendStringInfo(buf, "horizon %u, items %u", xlrec->horizon, xlrec->count);
				break;
			}
		case XLOG_VERITY_RECLAIM:
			{
				xl_verity_reclaim *xlrec = (xl_verity_reclaim *) data;

				appendStringInfo(buf, "horizon %u, unused %u, cleaned %u, hints %u",
								 xlrec->horizon, xlrec->unused, xlrec->cleaned, xlrec->hints);
				break;
			}
		case XLOG_VERITY_MAP_SET:
			{
				xl_verity_map_set *xlrec = (xl_verity_map_set *) data;

				appendStringInfo(buf, "horizon %u, bits %u", xlrec->horizon, xlrec->bits);
				break;
			}
	}
}
