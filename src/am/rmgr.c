/*
 * rmgr.c
 *	  The resource manager: dispatch of redo, description and masking.
 */
#include "postgres.h"

#include "access/bufmask.h"
#include "access/heapam_xlog.h"
#include "access/rmgr.h"
#include "access/xlog_internal.h"
#include "access/xlogutils.h"

#include "am/layout.h"
#include "am/logical/logical.h"
#include "am/map.h"
#include "am/stop_point.h"
#include "am/wal.h"

/* A meta or map page that was logged as an image: restoring it is all. */
static void
redo_image(XLogReaderState *record)
{
	Buffer		buffer;

	if (XLogReadBufferForRedo(record, 0, &buffer) != BLK_RESTORED)
		elog(PANIC, "a record of a page's image without one");
	UnlockReleaseBuffer(buffer);
}

static void
verity_redo(XLogReaderState *record)
{
	VERITY_STOP("redo");
	switch (XLogRecGetInfo(record) & ~XLR_INFO_MASK)
	{
		case XLOG_VERITY_INSERT:
			verity_redo_insert(record);
			break;
		case XLOG_VERITY_MULTI_INSERT:
			verity_redo_multi_insert(record);
			break;
		case XLOG_VERITY_UPDATE:
			verity_redo_update(record);
			break;
		case XLOG_VERITY_DELETE:
			verity_redo_delete(record);
			break;
		case XLOG_VERITY_CONFIRM:
		case XLOG_VERITY_KILL:
			verity_redo_speculative(record);
			break;
		case XLOG_VERITY_FREEZE:
			verity_redo_freeze(record);
			break;
		case XLOG_VERITY_RECLAIM:
			verity_redo_reclaim(record);
			break;
		case XLOG_VERITY_MAP_SET:
			verity_redo_map_set(record);
			break;
		case XLOG_VERITY_JOURNAL_APPEND:
		case XLOG_VERITY_JOURNAL_HEADS:
		case XLOG_VERITY_JOURNAL_META:
			verity_redo_journal(record);
			break;
		case XLOG_VERITY_META:
			redo_image(record);
			break;
		case XLOG_VERITY_PIECE:
			break;
		default:
			elog(PANIC, "verity_redo: unknown op code %u", XLogRecGetInfo(record));
	}
}

static void
verity_desc(StringInfo buf, XLogReaderState *record)
{
	uint8		info = XLogRecGetInfo(record) & ~XLR_INFO_MASK;

	if (info <= XLOG_VERITY_KILL)
		verity_desc_dml(buf, record);
	else if (info <= XLOG_VERITY_MAP_SET)
		verity_desc_vacuum(buf, record);
	else if (info <= XLOG_VERITY_JOURNAL_META)
		verity_desc_journal(buf, record);
	else if (info == XLOG_VERITY_PIECE)
		verity_desc_piece(buf, record);
}

static const char *
verity_identify(uint8 info)
{
	static const char *const names[] = {
		"INSERT", "MULTI_INSERT", "UPDATE", "DELETE", "CONFIRM", "KILL", "FREEZE", "RECLAIM",
		"MAP_SET", "JOURNAL_APPEND", "JOURNAL_HEADS", "JOURNAL_META", "META", "PIECE"
	};
	int			op = (info & ~XLR_INFO_MASK) >> 4;

	return op < lengthof(names) ? names[op] : NULL;
}

/* Hide what a record's heap header may differ in between primary and standby. */
static void
mask_record(Page page, OffsetNumber offset, BlockNumber blkno)
{
	ItemId		lp = PageGetItemId(page, offset);
	HeapTupleHeader tuple;
	int			len = ItemIdGetLength(lp);

	/* the padding behind an item is whatever stood there */
	if (ItemIdHasStorage(lp) && MAXALIGN(len) > len)
		memset((char *) PageGetItem(page, lp) + len, MASK_MARKER, MAXALIGN(len) - len);
	if (!ItemIdHasStorage(lp) || ItemIdGetLength(lp) < SEALED_OFFSET_FIRST)
		return;
	tuple = (HeapTupleHeader) PageGetItem(page, lp);
	if (!HeapTupleHeaderXminFrozen(tuple))
		tuple->t_infomask &= ~HEAP_XACT_MASK;
	else
		tuple->t_infomask &= ~(HEAP_XMAX_INVALID | HEAP_XMAX_COMMITTED);
	tuple->t_choice.t_heap.t_field3.t_cid = MASK_MARKER;
	if (HeapTupleHeaderIsSpeculative(tuple))
		ItemPointerSet(&tuple->t_ctid, blkno, offset);
}

static void
verity_mask(char *pagedata, BlockNumber blkno)
{
	Page		page = (Page) pagedata;

	mask_page_lsn_and_checksum(page);
	mask_page_hint_bits(page);
	if (PageGetSpecialSize(page) != verity_special_size(blkno))
	{
		verity_mask_journal(pagedata, blkno);
		return;
	}
	if (((PageHeader) page)->pd_lower == BLCKSZ)
		return;					/* a map page: no hole, no hints */
	mask_unused_space(page);
	for (OffsetNumber off = FirstOffsetNumber; off <= PageGetMaxOffsetNumber(page); off++)
		mask_record(page, off, blkno);
}

static RmgrData verity_rmgr = {
	.rm_name = VERITY_RMGR_NAME,
	.rm_redo = verity_redo,
	.rm_desc = verity_desc,
	.rm_identify = verity_identify,
	.rm_mask = verity_mask,
	.rm_decode = verity_decode
};

void
verity_rmgr_init(void)
{
	RegisterCustomRmgr(VERITY_RMGR_ID, &verity_rmgr);
}
