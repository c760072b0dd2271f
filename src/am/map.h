/*
 * map.h
 *	  The map of pages without current records.
 *
 * Two bits a block: VERITY_MAP_NO_CURRENT (every version on the page was ended
 * before OldestXmin, or is a tombstone or aborted) and VERITY_MAP_ALL_FROZEN.
 * Each map page maps VERITY_MAP_SPAN blocks, itself among them.  It is the
 * first of them, except that the first map page stands at VERITY_MAP_FIRST: a
 * table that has no more blocks than that has no map, and is scanned whole.
 *
 * A bit is a promise only for plain MVCC scans of current data.  It is set by
 * vacuum, with the horizon in the WAL record, and cleared under the page lock
 * in the record of the insert that needs it; PD_PAGE_FULL on the data page
 * mirrors "some bit is set", so that an insert need not look.
 * An all-zero map page says "scan everything".
 */
#ifndef VERITY_MAP_H
#define VERITY_MAP_H

#include "am/layout.h"
#include "storage/buf.h"
#include "utils/rel.h"

#define VERITY_MAP_NO_CURRENT 0x01
#define VERITY_MAP_ALL_FROZEN 0x02
#define VERITY_MAP_BITS 0x03

#define VERITY_MAP_FIRST 32
#define VERITY_MAP_PAGE_BYTES 8000
#define VERITY_MAP_SPAN (VERITY_MAP_PAGE_BYTES * 4)
#define VERITY_MAP_MAGIC 0x5672544D
#define VERITY_MAP_VERSION 1

typedef struct VerityMapPage
{
	uint32		magic;
	uint32		version;
	uint8		bits[VERITY_MAP_PAGE_BYTES];
} VerityMapPage;

#define VerityPageGetMap(page) ((VerityMapPage *) PageGetContents(page))

/* The block that maps blkno. */
static inline BlockNumber
verity_map_block(BlockNumber blkno)
{
	return blkno < VERITY_MAP_SPAN ? VERITY_MAP_FIRST : blkno - blkno % VERITY_MAP_SPAN;
}

/* Is this the number of a map page, which holds no records? */
static inline bool
verity_block_is_special(BlockNumber blkno)
{
	return blkno == verity_map_block(blkno);
}

/* The byte that holds blkno's bits in its map page, and their shift. */
extern uint8 *verity_map_byte(Page mappage, BlockNumber blkno, int *shift);

/* Initialise an empty page at a map page's number (WAL is the caller's). */
extern void verity_map_init_page(Page page);

/*
 * Bits of blkno.  *mapbuf is a pinned map page kept between calls, or
 * InvalidBuffer; the caller releases it.
 */
extern uint8 verity_map_get(Relation rel, BlockNumber blkno, Buffer *mapbuf);

/*
 * The first block from blkno on that is not marked NO_CURRENT; no further than
 * end, nor than the first block that another page maps.  *mapbuf as above.
 */
extern BlockNumber verity_map_next_current(Relation rel, BlockNumber blkno, BlockNumber end,
										   Buffer *mapbuf);

/*
 * Pin the page that maps blkno, keeping *mapbuf when it is that page;
 * InvalidBuffer where the table is too short to have one.
 */
extern void verity_map_pin(Relation rel, BlockNumber blkno, Buffer *mapbuf);

/*
 * Change blkno's bits in an exclusively locked map page; WAL, dirtying and the
 * data page's flag (PageSetFull, PageClearFull) are the caller's.  Redo too.
 */
extern void verity_map_set_bits(Page mappage, BlockNumber blkno, uint8 bits);
extern void verity_map_clear_bits(Page mappage, BlockNumber blkno);

/*
 * Set bits of an exclusively locked data page, WAL-logged with the horizon;
 * mapbuf is pinned and not locked.
 */
extern void verity_map_set(Relation rel, Buffer buffer, Buffer mapbuf, uint8 bits,
						   TransactionId horizon);

#endif							/* VERITY_MAP_H */
