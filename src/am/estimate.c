/*
 * estimate.c
 *	  What the planner is told of a table's size.
 *
 * Rows by the density that VACUUM or ANALYZE measured over the whole file;
 * pages without those that scans leave out: meta and map pages, and pages
 * that hold no current record.
 * There is no visibility map, so that nothing is all-visible.
 */
#include "postgres.h"

#include "am/map.h"
#include "am/scan.h"
#include "port/pg_bitutils.h"

/* Bytes of a first version besides its row: envelope, sealed header, tag, item. */
#define RECORD_OVERHEAD \
	(SEALED_OFFSET_FIRST + RECORD_HEADER_SIZE + RECORD_TAG_SIZE + sizeof(ItemIdData))

#define USABLE_BYTES_PER_PAGE (BLCKSZ - SizeOfPageHeaderData)

/* The mark of each of a byte's four blocks. */
#define NO_CURRENT_OF_FOUR 0x55

StaticAssertDecl(VERITY_MAP_NO_CURRENT == 0x01 && VERITY_MAP_BITS == 0x03,
				 "marks are counted four to a byte");

/* Count the marks of one map page. */
static BlockNumber
count_marks(Relation rel, BlockNumber mapblock)
{
	int			bytes = mapblock == 0 ? VERITY_META_MAP_BYTES : VERITY_MAP_PAGE_BYTES;
	Buffer		buffer = ReadBuffer(rel, mapblock);
	BlockNumber count = 0;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	if (!PageIsNew(BufferGetPage(buffer)))
	{
		int			shift;
		uint8	   *bits = verity_map_byte(BufferGetPage(buffer), mapblock, &shift);

		for (int i = 0; i < bytes; i++)
			count += pg_number_of_ones[bits[i] & NO_CURRENT_OF_FOUR];
	}
	UnlockReleaseBuffer(buffer);
	return count;
}

void
verity_relation_estimate_size(Relation rel, int32 *attr_widths, BlockNumber *pages,
							  double *tuples, double *allvisfrac)
{
	BlockNumber nblocks = RelationGetNumberOfBlocks(rel);
	BlockNumber left_out = 0;

	table_block_relation_estimate_size(rel, attr_widths, pages, tuples, allvisfrac,
									   RECORD_OVERHEAD, USABLE_BYTES_PER_PAGE);
	*allvisfrac = 0;

	for (BlockNumber mapblock = 0; mapblock < nblocks;
		 mapblock += mapblock == 0 ? VERITY_MAP_META_BLOCKS : VERITY_MAP_SPAN)
		left_out += 1 + count_marks(rel, mapblock);

	/* a new table is taken for larger than it is */
	if (*pages <= nblocks)
		*pages = nblocks > left_out ? nblocks - left_out : 0;
}
