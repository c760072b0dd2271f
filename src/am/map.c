/*
 * map.c
 *	  The map of pages without current records: where a block's bits stand,
 *	  reading, setting and clearing them.
 *
 * Layout is in map.h.  Locks: whoever changes bits holds the data page's lock
 * exclusively and takes the map page's lock inside it, so that page flag and
 * bits change together.  A reader takes a share lock on the map page alone.
 *
 * WAL: setting is XLOG_VERITY_MAP_SET, with the data page, the map page and
 * the horizon; clearing rides in the record of the insert that needs it.  A
 * map page is made by its full image.  After a crash a bit that stands in the
 * map has PD_PAGE_FULL beside it on the data page, since both came out of one
 * record.
 */
#include "postgres.h"

#include "am/map.h"
#include "am/stop_point.h"
#include "am/vacuum/vacuum.h"
#include "am/wal.h"

#include "access/xloginsert.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"

StaticAssertDecl(sizeof(VerityMapPage) <= BLCKSZ - MAXALIGN(SizeOfPageHeaderData),
				 "a map page's content fits one page");
StaticAssertDecl(VERITY_MAP_BITS < 4, "a block has two bits in the map");

/* Has the page been made a map page? */
static bool
map_page_is_valid(Page page)
{
	return !PageIsNew(page) && ((PageHeader) page)->pd_lower == BLCKSZ &&
		VerityPageGetMap(page)->magic == VERITY_MAP_MAGIC;
}

uint8 *
verity_map_byte(Page mappage, BlockNumber blkno, int *shift)
{
	BlockNumber slot = blkno % VERITY_MAP_SPAN;

	*shift = (slot % 4) * 2;
	return &VerityPageGetMap(mappage)->bits[slot / 4];
}

void
verity_map_init_page(Page page)
{
	VerityMapPage *map;

	PageInit(page, BLCKSZ, 0);
	map = VerityPageGetMap(page);
	memset(map, 0, sizeof(VerityMapPage));
	map->magic = VERITY_MAP_MAGIC;
	map->version = VERITY_MAP_VERSION;

	/* no free space, and no hole that an image would leave out */
	((PageHeader) page)->pd_lower = BLCKSZ;
	((PageHeader) page)->pd_upper = BLCKSZ;
	((PageHeader) page)->pd_special = BLCKSZ;
}

void
verity_map_pin(Relation rel, BlockNumber blkno, Buffer *mapbuf)
{
	BlockNumber mapblkno = verity_map_block(blkno);

	if (BufferIsValid(*mapbuf) && BufferGetBlockNumber(*mapbuf) == mapblkno)
		return;
	if (BufferIsValid(*mapbuf))
		ReleaseBuffer(*mapbuf);
	*mapbuf = InvalidBuffer;
	if (mapblkno <= blkno || mapblkno < RelationGetNumberOfBlocks(rel))
		*mapbuf = ReadBuffer(rel, mapblkno);
}

uint8
verity_map_get(Relation rel, BlockNumber blkno, Buffer *mapbuf)
{
	uint8		bits = 0;
	Page		page;

	if (verity_block_is_special(blkno))
		return 0;

	verity_map_pin(rel, blkno, mapbuf);
	if (!BufferIsValid(*mapbuf))
		return 0;
	page = BufferGetPage(*mapbuf);
	LockBuffer(*mapbuf, BUFFER_LOCK_SHARE);
	if (map_page_is_valid(page))
	{
		int			shift;
		uint8	   *byte = verity_map_byte(page, blkno, &shift);

		bits = (*byte >> shift) & VERITY_MAP_BITS;
	}
	LockBuffer(*mapbuf, BUFFER_LOCK_UNLOCK);
	return bits;
}

/* A word of the map whose blocks all are marked. */
#define WORD_BLOCKS (sizeof(uint64) * 4)
#define WORD_NO_CURRENT UINT64CONST(0x5555555555555555)

StaticAssertDecl(VERITY_MAP_NO_CURRENT == 0x01 && VERITY_MAP_BITS == 0x03, "marks stand four to a byte");
StaticAssertDecl(VERITY_MAP_SPAN % WORD_BLOCKS == 0,
				 "a map page's bits are whole words");

/* Is the word marked that begins with this block of the map page? */
static inline bool
word_is_marked(Page mappage, BlockNumber blkno)
{
	int			shift;
	uint64		word;

	memcpy(&word, verity_map_byte(mappage, blkno, &shift), sizeof(word));
	return (word & WORD_NO_CURRENT) == WORD_NO_CURRENT;
}

BlockNumber
verity_map_next_current(Relation rel, BlockNumber blkno, BlockNumber end, Buffer *mapbuf)
{
	uint64		span_end = (uint64) blkno - blkno % VERITY_MAP_SPAN + VERITY_MAP_SPAN;
	BlockNumber limit = (BlockNumber) Min(end, span_end);
	Page		page;
	int			shift;

	verity_map_pin(rel, blkno, mapbuf);
	if (!BufferIsValid(*mapbuf))
		return blkno;
	page = BufferGetPage(*mapbuf);
	LockBuffer(*mapbuf, BUFFER_LOCK_SHARE);
	if (!map_page_is_valid(page))
		limit = blkno;
	while (blkno < limit)
	{
		if (blkno % WORD_BLOCKS == 0 && limit - blkno >= WORD_BLOCKS &&
			word_is_marked(page, blkno))
			blkno += WORD_BLOCKS;
		else if ((*verity_map_byte(page, blkno, &shift) >> shift) & VERITY_MAP_NO_CURRENT)
			blkno++;
		else
			break;
	}
	LockBuffer(*mapbuf, BUFFER_LOCK_UNLOCK);
	return blkno;
}

void
verity_map_set_bits(Page mappage, BlockNumber blkno, uint8 bits)
{
	int			shift;
	uint8	   *byte = verity_map_byte(mappage, blkno, &shift);

	Assert((bits & ~VERITY_MAP_BITS) == 0);
	Assert(!verity_block_is_special(blkno));
	*byte |= bits << shift;
}

void
verity_map_clear_bits(Page mappage, BlockNumber blkno)
{
	int			shift;
	uint8	   *byte;

	/* an unused map page says "scan everything" already */
	if (!map_page_is_valid(mappage))
		return;
	byte = verity_map_byte(mappage, blkno, &shift);
	*byte &= ~(VERITY_MAP_BITS << shift);
}

/* Make an exclusively locked page a map page, where it is not one yet. */
static void
map_page_ensure(Relation rel, Buffer mapbuf)
{
	Page		page = BufferGetPage(mapbuf);
	BlockNumber mapblkno = BufferGetBlockNumber(mapbuf);

	if (map_page_is_valid(page))
		return;
	if (!PageIsNew(page) && !PageIsEmpty(page))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("block %u of table \"%s\" should map pages but does not",
						mapblkno, RelationGetRelationName(rel)),
				 errhint("Run verity_verify() on the table, and restore it from a backup.")));

	START_CRIT_SECTION();
	verity_map_init_page(page);
	MarkBufferDirty(mapbuf);
	if (RelationNeedsWAL(rel))
		log_newpage_buffer(mapbuf, false);
	END_CRIT_SECTION();
}

/* WAL-log that bits were set; both pages are dirty and locked. */
static void
map_set_log(Buffer buffer, Buffer mapbuf, uint8 bits, TransactionId horizon)
{
	xl_verity_map_set xlrec;
	XLogRecPtr	lsn;

	xlrec.horizon = horizon;
	xlrec.bits = bits;

	XLogBeginInsert();
	XLogRegisterData((char *) &xlrec, SizeOfVerityMapSet);
	XLogRegisterBuffer(0, buffer, REGBUF_STANDARD);
	XLogRegisterBuffer(1, mapbuf, 0);
	lsn = XLogInsert(VERITY_RMGR_ID, XLOG_VERITY_MAP_SET);
	PageSetLSN(BufferGetPage(buffer), lsn);
	PageSetLSN(BufferGetPage(mapbuf), lsn);
}

/*
 * Set bits of an exclusively locked data page.  mapbuf is the pinned,
 * unlocked page that maps it.  horizon is the last transaction that ended a
 * version on the page, or invalid: standby queries that may still see what it
 * ended must go before the bit is set there.
 */
void
verity_map_set(Relation rel, Buffer buffer, Buffer mapbuf, uint8 bits, TransactionId horizon)
{
	BlockNumber blkno = BufferGetBlockNumber(buffer);
	Page		page = BufferGetPage(buffer);
	Page		mappage = BufferGetPage(mapbuf);
	int			shift;
	uint8	   *byte;

	Assert(BufferGetBlockNumber(mapbuf) == verity_map_block(blkno));

	LockBuffer(mapbuf, BUFFER_LOCK_EXCLUSIVE);
	map_page_ensure(rel, mapbuf);
	byte = verity_map_byte(mappage, blkno, &shift);

	if (((*byte >> shift) & bits) != bits || !PageIsFull(page))
	{
		START_CRIT_SECTION();
		PageSetFull(page);
		verity_map_set_bits(mappage, blkno, bits);
		MarkBufferDirty(buffer);
		MarkBufferDirty(mapbuf);
		VERITY_STOP("map-set-changed");
		if (RelationNeedsWAL(rel))
			map_set_log(buffer, mapbuf, bits, horizon);
		VERITY_STOP("map-set-logged");
		END_CRIT_SECTION();
	}
	LockBuffer(mapbuf, BUFFER_LOCK_UNLOCK);
}
