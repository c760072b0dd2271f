/*
 * dml_wal.c
 *	  Redo of INSERT, UPDATE and DELETE.
 *
 * Redo of an update holds the new version's, the old version's and the root's
 * page at once, so that a standby's reader never finds a hint to a record that
 * is not there, or a version ended without its successor.  Records are only
 * added to pages, so an exclusive lock is enough.
 */
#include "postgres.h"

#include "am/dml_wal.h"

#include "access/heapam.h"
#include "access/xlogutils.h"
#include "access/xloginsert.h"
#include "access/bufmask.h"

#include "am/map.h"
#include "am/stop_point.h"
#include "am/wal.h"

void
verity_end_version(HeapTupleHeader tuple, const xl_verity_end *end, CommandId cid,
				   bool iscombo, const ItemPointerData *successor, bool moved)
{
	tuple->t_infomask &= ~(HEAP_XMAX_BITS | HEAP_MOVED);
	tuple->t_infomask2 &= ~HEAP_KEYS_UPDATED;
	tuple->t_infomask |= end->infomask;
	tuple->t_infomask2 |= end->infomask2;
	HeapTupleHeaderSetXmax(tuple, end->xmax);
	HeapTupleHeaderSetCmax(tuple, cid, iscombo);
	tuple->t_ctid = *successor;
	if (moved)
		HeapTupleHeaderSetMovedPartitions(tuple);
	VerityGetEnvelope(tuple)->ender = end->ender;
}

void
verity_logged_first(const char *item, Size len, char *to)
{
	Assert(verity_is_first((HeapTupleHeader) item));
	*to = item[ENVELOPE_OFFSET];
	memcpy(to + sizeof(uint8), item + SEALED_OFFSET_FIRST, len - SEALED_OFFSET_FIRST);
}

XLogRecPtr
verity_log_insert(const VerityPlace *place, ItemPointer tid, Size len, int flags,
				  const VerityLogical *logical)
{
	Page		page = BufferGetPage(place->buffer);
	char	   *item = (char *) PageGetItem(page, PageGetItemId(page, ItemPointerGetOffsetNumber(tid)));
	uint8		bufflags = REGBUF_STANDARD;
	PGAlignedBlock bytes;
	xl_verity_insert xlrec;

	xlrec.offset = ItemPointerGetOffsetNumber(tid);
	xlrec.flags = flags;
	if (verity_place_is_new(place->buffer, tid, 1))
	{
		xlrec.flags |= XLV_INIT_PAGE;
		bufflags |= REGBUF_WILL_INIT;
	}
	if (BufferIsValid(place->mapbuf))
		xlrec.flags |= XLV_CLEAR_MAP;
	if (logical->on)
	{
		xlrec.flags |= XLV_LOGICAL;
		bufflags |= REGBUF_KEEP_DATA;
	}
	XLogBeginInsert();
	XLogRegisterData((char *) &xlrec, sizeof(xlrec));
	verity_logical_register(logical);
	XLogRegisterBuffer(XLV_BLOCK_NEW, place->buffer, bufflags);
	verity_logged_first(item, len, bytes.data);
	XLogRegisterBufData(XLV_BLOCK_NEW, bytes.data, VERITY_LOGGED_FIRST(len));
	if (BufferIsValid(place->mapbuf))
		XLogRegisterBuffer(XLV_BLOCK_MAP, place->mapbuf, 0);
	XLogSetRecordFlags(XLOG_INCLUDE_ORIGIN);
	return XLogInsert(VERITY_RMGR_ID, XLOG_VERITY_INSERT);
}

/* Clear the map's bits of block, where the record says so. */
static void
redo_clear_map(XLogReaderState *record, int flags, BlockNumber block)
{
	Buffer		mapbuf;

	if (!(flags & XLV_CLEAR_MAP))
		return;
	if (XLogReadBufferForRedo(record, XLV_BLOCK_MAP, &mapbuf) == BLK_NEEDS_REDO)
	{
		verity_map_clear_bits(BufferGetPage(mapbuf), block);
		PageSetLSN(BufferGetPage(mapbuf), record->EndRecPtr);
		MarkBufferDirty(mapbuf);
	}
	if (BufferIsValid(mapbuf))
		UnlockReleaseBuffer(mapbuf);
}

/* Build an item from logged bytes into buf; returns its length. */
static Size
redo_item(XLogReaderState *record, char *buf, const char *data, Size len, BlockNumber block,
		  OffsetNumber offset, bool frozen)
{
	HeapTupleHeader item = (HeapTupleHeader) buf;
	Size		sealed = verity_logged_sealed(data);
	Size		envelope_len;

	memset(buf, 0, SEALED_OFFSET);
	memcpy(buf + ENVELOPE_OFFSET, data, sealed);
	envelope_len = verity_sealed_offset(item);
	memcpy(buf + envelope_len, data + sealed, len - sealed);
	if (verity_is_first(item))
		ItemPointerSet(&VerityGetEnvelope(item)->root, block, offset);
	item->t_infomask = HEAP_XMAX_INVALID;
	item->t_hoff = VERITY_HOFF;
	HeapTupleHeaderSetXmin(item, XLogRecGetXid(record));
	HeapTupleHeaderSetCmin(item, FirstCommandId);
	if (frozen)
		HeapTupleHeaderSetXminFrozen(item);
	ItemPointerSet(&item->t_ctid, block, offset);
	return envelope_len + len - sealed;
}

static void
redo_add_item(Page page, char *item, Size len, OffsetNumber offset)
{
	if (PageAddItem(page, (Item) item, len, offset, true, true) != offset)
		elog(PANIC, "failed to add a record");
}

static XLogRedoAction
redo_data_buffer(XLogReaderState *record, int flags, Buffer *buffer)
{
	if (!(flags & XLV_INIT_PAGE))
		return XLogReadBufferForRedo(record, XLV_BLOCK_NEW, buffer);
	*buffer = XLogInitBufferForRedo(record, XLV_BLOCK_NEW);
	PageInit(BufferGetPage(*buffer), BufferGetPageSize(*buffer), 0);
	return BLK_NEEDS_REDO;
}

static void
redo_finish_page(XLogReaderState *record, Buffer buffer, int flags)
{
	Page		page = BufferGetPage(buffer);

	if (flags & XLV_CLEAR_MAP)
		PageClearFull(page);
	PageSetLSN(page, record->EndRecPtr);
	MarkBufferDirty(buffer);
}

void
verity_redo_insert(XLogReaderState *record)
{
	xl_verity_insert *xlrec = (xl_verity_insert *) XLogRecGetData(record);
	PGAlignedBlock item;
	BlockNumber block;
	Buffer		buffer;

	XLogRecGetBlockTag(record, XLV_BLOCK_NEW, NULL, NULL, &block);
	redo_clear_map(record, xlrec->flags, block);
	if (redo_data_buffer(record, xlrec->flags, &buffer) == BLK_NEEDS_REDO)
	{
		Size		len;
		char	   *data = XLogRecGetBlockData(record, XLV_BLOCK_NEW, &len);

		len = redo_item(record, item.data, data, len, block, xlrec->offset,
						(xlrec->flags & XLV_FROZEN) != 0);
		redo_add_item(BufferGetPage(buffer), item.data, len, xlrec->offset);
		redo_finish_page(record, buffer, xlrec->flags);
	}
	if (BufferIsValid(buffer))
		UnlockReleaseBuffer(buffer);
}

void
verity_redo_multi_insert(XLogReaderState *record)
{
	xl_verity_multi_insert *xlrec = (xl_verity_multi_insert *) XLogRecGetData(record);
	PGAlignedBlock item;
	BlockNumber block;
	Buffer		buffer;

	XLogRecGetBlockTag(record, XLV_BLOCK_NEW, NULL, NULL, &block);
	redo_clear_map(record, xlrec->flags, block);
	if (redo_data_buffer(record, xlrec->flags, &buffer) == BLK_NEEDS_REDO)
	{
		Size		total;
		char	   *data = XLogRecGetBlockData(record, XLV_BLOCK_NEW, &total);

		for (int i = 0; i < xlrec->count; i++)
		{
			uint16		logged;
			Size		len;

			memcpy(&logged, data, sizeof(logged));
			data += sizeof(logged);
			len = redo_item(record, item.data, data, logged, block, xlrec->offsets[i],
							(xlrec->flags & XLV_FROZEN) != 0);
			redo_add_item(BufferGetPage(buffer), item.data, len, xlrec->offsets[i]);
			data += logged;
		}
		redo_finish_page(record, buffer, xlrec->flags);
	}
	if (BufferIsValid(buffer))
		UnlockReleaseBuffer(buffer);
}

/* The item at offset of a page that redo changes. */
static HeapTupleHeader
redo_get_item(Page page, OffsetNumber offset)
{
	ItemId		lp;

	if (PageGetMaxOffsetNumber(page) < offset)
		elog(PANIC, "invalid line pointer %u", offset);
	lp = PageGetItemId(page, offset);
	if (!ItemIdIsNormal(lp))
		elog(PANIC, "line pointer %u is not in use", offset);
	return (HeapTupleHeader) PageGetItem(page, lp);
}

static void
redo_end(XLogReaderState *record, Page page, BlockNumber block, const xl_verity_update *xlrec,
		 const ItemPointerData *new_tid)
{
	HeapTupleHeader tuple = redo_get_item(page, xlrec->old.offset);
	ItemPointerData successor = *new_tid;

	if (xlrec->flags & (XLV_DELETE | XLV_MOVED))
		ItemPointerSet(&successor, block, xlrec->old.offset);
	verity_end_version(tuple, &xlrec->old, FirstCommandId, false, &successor,
					   (xlrec->flags & XLV_MOVED) != 0);
	PageSetPrunable(page, XLogRecGetXid(record));
}

static void
redo_hint(Page page, const xl_verity_update *xlrec, const ItemPointerData *new_tid)
{
	VerityGetEnvelope(redo_get_item(page, xlrec->root_offset))->root = *new_tid;
}

/* Put the new version of an update on its page. */
static void
redo_new_version(XLogReaderState *record, const xl_verity_update *xlrec, Page page,
				 const ItemPointerData *new_tid)
{
	PGAlignedBlock item;
	HeapTupleHeader tuple = (HeapTupleHeader) item.data;
	Size		len;
	char	   *data = XLogRecGetBlockData(record, XLV_BLOCK_NEW, &len);

	len = redo_item(record, item.data, data, len, ItemPointerGetBlockNumber(new_tid),
					xlrec->new_offset, false);
	tuple->t_infomask = xlrec->new_infomask;
	tuple->t_infomask2 = xlrec->new_infomask2;
	HeapTupleHeaderSetXmax(tuple, xlrec->new_xmax);
	redo_add_item(page, item.data, len, xlrec->new_offset);
}

/* The block of the page with a reference, or that of the new version. */
static BlockNumber
redo_block(XLogReaderState *record, uint8 block_id)
{
	BlockNumber block;

	if (!XLogRecHasBlockRef(record, block_id))
		block_id = XLV_BLOCK_NEW;
	XLogRecGetBlockTag(record, block_id, NULL, NULL, &block);
	return block;
}

/* Everything an update does to one of its pages. */
static void
redo_update_page(XLogReaderState *record, const xl_verity_update *xlrec, Page page,
				 BlockNumber block, const ItemPointerData *new_tid)
{
	if (block == ItemPointerGetBlockNumber(new_tid) && !(xlrec->flags & XLV_NO_RECORD))
		redo_new_version(record, xlrec, page, new_tid);
	if (block == redo_block(record, XLV_BLOCK_OLD))
		redo_end(record, page, block, xlrec, new_tid);
	if (xlrec->root_offset != InvalidOffsetNumber && block == xlrec->root_block)
		redo_hint(page, xlrec, new_tid);
	PageSetLSN(page, record->EndRecPtr);
}

void
verity_redo_update(XLogReaderState *record)
{
	xl_verity_update *xlrec = (xl_verity_update *) XLogRecGetData(record);
	Buffer		buffers[3] = {InvalidBuffer, InvalidBuffer, InvalidBuffer};
	ItemPointerData new_tid;

	ItemPointerSet(&new_tid, redo_block(record, XLV_BLOCK_NEW), xlrec->new_offset);
	redo_clear_map(record, xlrec->flags, ItemPointerGetBlockNumber(&new_tid));
	for (int id = XLV_BLOCK_NEW; id <= XLV_BLOCK_ROOT; id++)
	{
		XLogRedoAction action;

		if (!XLogRecHasBlockRef(record, id))
			continue;
		action = id == XLV_BLOCK_NEW ? redo_data_buffer(record, xlrec->flags, &buffers[id]) :
			XLogReadBufferForRedo(record, id, &buffers[id]);
		if (action != BLK_NEEDS_REDO)
			continue;
		redo_update_page(record, xlrec, BufferGetPage(buffers[id]), redo_block(record, id), &new_tid);
		VERITY_STOP("redo-update");
		if (id == XLV_BLOCK_NEW && (xlrec->flags & XLV_CLEAR_MAP))
			PageClearFull(BufferGetPage(buffers[id]));
		MarkBufferDirty(buffers[id]);
	}
	for (int id = XLV_BLOCK_ROOT; id >= XLV_BLOCK_NEW; id--)
		if (BufferIsValid(buffers[id]))
			UnlockReleaseBuffer(buffers[id]);
}

void
verity_redo_delete(XLogReaderState *record)
{
	verity_redo_update(record);
}

void
verity_redo_speculative(XLogReaderState *record)
{
	xl_verity_speculative *xlrec = (xl_verity_speculative *) XLogRecGetData(record);
	uint8		info = XLogRecGetInfo(record) & ~XLR_INFO_MASK;
	Buffer		buffer;

	if (XLogReadBufferForRedo(record, 0, &buffer) == BLK_NEEDS_REDO)
	{
		Page		page = BufferGetPage(buffer);
		HeapTupleHeader tuple = redo_get_item(page, xlrec->offset);

		ItemPointerSet(&tuple->t_ctid, BufferGetBlockNumber(buffer), xlrec->offset);
		if (info == XLOG_VERITY_KILL)
			HeapTupleHeaderSetXmin(tuple, InvalidTransactionId);
		PageSetLSN(page, record->EndRecPtr);
		MarkBufferDirty(buffer);
	}
	if (BufferIsValid(buffer))
		UnlockReleaseBuffer(buffer);
}

void
verity_desc_dml(StringInfo buf, XLogReaderState *record)
{
	char	   *data = XLogRecGetData(record);

	switch (XLogRecGetInfo(record) & ~XLR_INFO_MASK)
	{
		case XLOG_VERITY_INSERT:
			appendStringInfo(buf, "off %u flags 0x%02X", ((xl_verity_insert *) data)->offset,
							 ((xl_verity_insert *) data)->flags);
			break;
		case XLOG_VERITY_MULTI_INSERT:
			appendStringInfo(buf, "%u records flags 0x%02X", ((xl_verity_multi_insert *) data)->count,
							 ((xl_verity_multi_insert *) data)->flags);
			break;
		case XLOG_VERITY_UPDATE:
		case XLOG_VERITY_DELETE:
			{
				xl_verity_update *xlrec = (xl_verity_update *) data;

				appendStringInfo(buf, "old off %u xmax %u ender " UINT64_FORMAT ", new off %u, root off %u flags 0x%02X",
								 xlrec->old.offset, xlrec->old.xmax, xlrec->old.ender,
								 xlrec->new_offset, xlrec->root_offset, xlrec->flags);
				break;
			}
		default:
			appendStringInfo(buf, "off %u", ((xl_verity_speculative *) data)->offset);
	}
}
