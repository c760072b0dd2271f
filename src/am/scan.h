/*
 * scan.h
 *	  What the read callbacks share: the scan descriptor, pages, links.
 */
#ifndef VERITY_SCAN_H
#define VERITY_SCAN_H

#include "am/asof.h"
#include "am/table.h"

/*
 * A scan of a table.  The records of the current page that the snapshot sees
 * are collected once, under one lock of the page; the pin keeps them in place.
 */
typedef struct VerityScan
{
	TableScanDescData base;		/* first: core's view of it */

	VerityRel  *vrel;
	VerityPosition asof;		/* position that is read, 0: the present */
	bool		skip_mapped;	/* leave out pages without current records */
	BufferAccessStrategy strategy;
	ParallelBlockTableScanWorker worker;

	BlockNumber nblocks;		/* of the table when the scan began */
	BlockNumber startblock;
	BlockNumber limit;			/* how many to read from there, InvalidBlockNumber: all */
	BlockNumber numblocks;		/* how many of these are left in the scan's direction */
	bool		inited;			/* a page is loaded */
	bool		reads_columns;	/* the last row's columns were asked for */
	TransactionId visible_xmin; /* committed as the snapshot sees it, or invalid */
	ReadStream *pages;			/* plain scans: reads ahead */
	BlockNumber ahead;			/* the last block that it was told of */
	bool		ahead_begun;
	bool		forward;
	BlockNumber cblock;			/* that page, and its pin */
	Buffer		cbuf;
	Buffer		mapbuf;			/* pinned map page, or InvalidBuffer */

	HeapTupleData record;		/* the current one */
	Buffer		rowbuf;			/* bitmap scans: page of the current version */
	ReadStream *stream;			/* bitmap scans of 18: reads ahead, or NULL */
	int			cindex;			/* its place in offsets */
	int			noffsets;
	OffsetNumber offsets[MaxHeapTuplesPerPage];
	bool		walk[MaxHeapTuplesPerPage]; /* bitmap scans: a root whose
											 * version is to be looked for */
} VerityScan;

/* --- slot.c --- */

/* The record that a slot holds, with its pinned buffer; NULL when it has none. */
extern HeapTuple verity_slot_record(TupleTableSlot *slot, Buffer *buffer);

/* Was the record that the slot holds opened? */
extern bool verity_slot_is_open(TupleTableSlot *slot);

/* --- scan.c --- */

/* Should this scan or fetch read the past, and which position? */
extern VerityPosition verity_scan_position(VerityRel *vrel, Snapshot snapshot);

/* Go to the next page that may hold records, and pin it; false at the end. */
extern bool verity_scan_next_page(VerityScan *scan, ScanDirection direction);

/* Collect what the snapshot sees of the current page, which is pinned. */
extern void verity_scan_load_page(VerityScan *scan);

/* Pin a page as the current one, in no order. */
extern void verity_scan_pin_page(VerityScan *scan, BlockNumber block);

/* Drop the pins that the scan holds. */
extern void verity_scan_release(VerityScan *scan);

/* Restrict the scan to a range of blocks, before it starts. */
extern void verity_scan_set_limits(VerityScan *scan, BlockNumber start, BlockNumber count);

/* --- bitmap.c --- */

/* Where the access method itself iterates over the bitmap: reading ahead. */
extern void verity_bitmap_begin(VerityScan *scan);
extern void verity_bitmap_restart(VerityScan *scan);
extern void verity_bitmap_end(VerityScan *scan);

/* --- chain.c --- */

/* Complain of an item that is too short for a record. */
pg_noreturn extern void verity_item_damaged(Relation rel, Buffer buffer, OffsetNumber offset);

/*
 * The header of the record behind a line pointer, which the data page has, of
 * a pinned page (locked, or known to hold it).  NULL when there is none;
 * errors when its length cannot be.
 */
static inline HeapTupleHeader
verity_item_header(Relation rel, Buffer buffer, Page page, OffsetNumber offset)
{
	ItemId		item = PageGetItemId(page, offset);
	HeapTupleHeader header;

	if (!ItemIdIsNormal(item))
		return NULL;
	header = (HeapTupleHeader) PageGetItem(page, item);
	if (unlikely(ItemIdGetOffset(item) + ItemIdGetLength(item) > BLCKSZ ||
				 !verity_is_long_enough(header, ItemIdGetLength(item))))
		verity_item_damaged(rel, buffer, offset);
	return header;
}

/* The same as a tuple: false when there is none. */
static inline bool
verity_item_record(Relation rel, Buffer buffer, OffsetNumber offset, HeapTuple record)
{
	Page		page = BufferGetPage(buffer);

	record->t_data = verity_item_header(rel, buffer, page, offset);
	if (record->t_data == NULL)
		return false;
	ItemPointerSet(&record->t_self, BufferGetBlockNumber(buffer), offset);
	record->t_tableOid = RelationGetRelid(rel);
	record->t_len = ItemIdGetLength(PageGetItemId(page, offset));
	return true;
}

/* The same for any offset: false too when the page has no such line pointer. */
extern bool verity_page_record(Relation rel, Buffer buffer, OffsetNumber offset,
							   HeapTuple record);

/* Highest line pointer of a data page, 0 for a map page. */
extern OffsetNumber verity_page_max_offset(Buffer buffer);

/*
 * Visibility at a position (verity_scan_position; 0: as the snapshot says) of
 * a record whose page is share-locked.  A tombstone is never visible.
 */
extern bool verity_record_visible_at(Relation rel, HeapTuple record, Snapshot snapshot,
									 Buffer buffer, VerityPosition position);

/*
 * verity_root_fetch for a position of the past.  A root that a same-key root
 * superseded gives nothing; others give their row's version of that time,
 * across roots of one key (RULES A8).
 */
extern bool verity_root_fetch_at(Relation rel, ItemPointer root, Snapshot snapshot,
								 VerityPosition position, Buffer *buffer, HeapTuple record);

/*
 * The newest version of a root that did not abort, and the one before it in
 * the same root if there is one.  For index builds; *buffer as in
 * verity_root_fetch.
 */
extern bool verity_root_newest(Relation rel, ItemPointer root, Buffer *buffer,
							   HeapTuple record, ItemPointer before);

/*
 * Does the record at the end of this one's t_ctid supersede it?  Fetches it
 * (pinned, share-locked) into *next; the given record's page is unlocked.
 */
extern bool verity_follow_ctid(Relation rel, HeapTuple record, Buffer *buffer, HeapTuple next);

#endif							/* VERITY_SCAN_H */
