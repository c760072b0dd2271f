/*
 * estimate.c
 *	  What the planner is told of a table's size.
 *
 * As many pages as heap would need for the same rows, so that plans, and the
 * cost settings that were tuned for them, carry over: records are longer than
 * heap's tuples, for all ways to read them alike.  Pages that scans leave out
 * do not count: map pages, and pages that hold no current record.
 *
 * Rows by the density that VACUUM or ANALYZE measured over the whole file, and
 * before there is one by the width of the columns.
 *
 * Index-only scans visit each record, whoever sees it (sql/index_only.c).  In
 * a table that the processor's caches hold, a visit is little work: there they
 * are costed as heap's, so that plans agree here too.  Pages that VACUUM found
 * to be the same for everybody count as all-visible; of a larger table, as
 * many as fit in those caches.
 */
#include "postgres.h"

#include <math.h>

#include "am/map.h"
#include "am/rel.h"
#include "am/scan.h"
#include "optimizer/plancat.h"
#include "port/pg_bitutils.h"

/* Bytes of a first version, and of heap's tuple, besides its row. */
#define RECORD_OVERHEAD \
	(SEALED_OFFSET_FIRST + RECORD_HEADER_SIZE + RECORD_TAG_SIZE + sizeof(ItemIdData))
#define HEAP_OVERHEAD (MAXALIGN(SizeofHeapTupleHeader) + sizeof(ItemIdData))

#define USABLE_BYTES_PER_PAGE (BLCKSZ - SizeOfPageHeaderData)

/* A table that was never vacuumed is taken to grow to as many, as heap's is. */
#define NEW_TABLE_PAGES 10

/* The marks of a word's blocks. */
#define NO_CURRENT_OF_WORD UINT64CONST(0x5555555555555555)
#define BLOCKS_PER_WORD (sizeof(uint64) * 4)

/* Visits in any order cost up to twice a scan in order in so many pages, and ten times in ten times as many. */
#define CHEAPLY_VISITED_PAGES (4 * 1024 * 1024 / BLCKSZ)

StaticAssertDecl(VERITY_MAP_NO_CURRENT == 0x01 && VERITY_MAP_BITS == 0x03,
				 "marks are counted four to a byte");
StaticAssertDecl(VERITY_MAP_PAGE_BYTES % sizeof(uint64) == 0,
				 "a map page's bits are whole words");

/*
 * Is there a map page for the blocks from first on, in a table of that many?
 * The one behind a table of the greatest size would have no block number.
 */
static bool
has_map_page(uint64 first, BlockNumber nblocks)
{
	return first < nblocks && verity_map_block((BlockNumber) first) < nblocks;
}

/* Count the marks of the map page that begins with first, for blocks below nblocks, and add its LSN to version. */
static BlockNumber
count_marks(Relation rel, BlockNumber first, BlockNumber nblocks, uint64 *version)
{
	BlockNumber blocks = Min(nblocks - first, VERITY_MAP_SPAN);
	Buffer		buffer = ReadBuffer(rel, verity_map_block(first));
	BlockNumber count = 0;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	if (!PageIsNew(BufferGetPage(buffer)))
	{
		int			shift;
		uint8	   *bits = verity_map_byte(BufferGetPage(buffer), first, &shift);

		for (BlockNumber at = 0; at < blocks; at += BLOCKS_PER_WORD)
		{
			uint64		word;

			memcpy(&word, bits + at / 4, sizeof(word));
			if (word != 0)
				count += pg_popcount64(word & NO_CURRENT_OF_WORD);
		}
	}
	*version += PageGetLSN(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	return count;
}

/*
 * Data pages that the map marks, of a table of that many blocks.  Every query
 * that is planned asks, and a large table has many bytes of map: so the count
 * is kept while no map page changed, which their LSNs tell, added up, since
 * none ever goes back.
 */
static BlockNumber
marked_pages(Relation rel, BlockNumber nblocks)
{
	VerityMarks *kept = &verity_rel(rel)->marks;
	VerityMarks now = {.map_end = 0};

	for (uint64 first = 0; has_map_page(first, nblocks); first += VERITY_MAP_SPAN)
	{
		Buffer		buffer = ReadBuffer(rel, verity_map_block((BlockNumber) first));

		now.version += BufferGetLSNAtomic(buffer);
		now.map_end = first + VERITY_MAP_SPAN;
		ReleaseBuffer(buffer);
	}
	if (now.map_end == 0)
		return 0;
	if (RelationNeedsWAL(rel) && now.map_end == kept->map_end && now.version == kept->version)
		return kept->count;

	now.version = 0;
	for (uint64 first = 0; has_map_page(first, nblocks); first += VERITY_MAP_SPAN)
		now.count += count_marks(rel, (BlockNumber) first, nblocks, &now.version);
	*kept = now;
	return now.count;
}

/* Data pages, current or not, of a table of that many blocks. */
static BlockNumber
data_pages(BlockNumber nblocks)
{
	BlockNumber spans = (BlockNumber) (((uint64) nblocks + VERITY_MAP_SPAN - 1) / VERITY_MAP_SPAN);

	return nblocks <= VERITY_MAP_FIRST ? nblocks : nblocks - spans;
}

BlockNumber
verity_pages_in_use(Relation rel, BlockNumber nblocks)
{
	Buffer		buffer;
	bool		empty;

	if (nblocks != 1)
		return nblocks;
	buffer = ReadBuffer(rel, 0);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	empty = PageIsEmpty(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	return empty ? 0 : 1;
}

/* Whole rows of that many bytes on a page, as heap's estimate has it. */
static double
rows_per_page(Relation rel, int row_bytes)
{
	int			fillfactor = RelationGetFillFactor(rel, HEAP_DEFAULT_FILLFACTOR);

	return Max(1, (int) (USABLE_BYTES_PER_PAGE * fillfactor / 100) / row_bytes);
}

/* For which part of the pages with current records is a visit not to be counted? */
static double
all_visible_part(Relation rel, BlockNumber nblocks, BlockNumber current)
{
	if (verity_asof_setting() != 0 || current == 0)
		return 0;
	return Min(1.0, (double) rel->rd_rel->relallvisible / current) *
		Min(1.0, (double) CHEAPLY_VISITED_PAGES / nblocks);
}

/*
 * What is not filled, of the last page and by the meta data of the first, is
 * no more than a page: take that off where the rows are so few.
 */
static BlockNumber
without_slack(BlockNumber pages, double pages_for_rows)
{
	return pages > 1 && pages_for_rows < pages ? pages - 1 : pages;
}

void
verity_relation_estimate_size(Relation rel, int32 *attr_widths, BlockNumber *pages,
							  double *tuples, double *allvisfrac)
{
	BlockNumber nblocks = verity_pages_in_use(rel, RelationGetNumberOfBlocks(rel));
	BlockNumber all = data_pages(nblocks);
	/* readers of the past leave no page out: a scan is not cheap to them where a key is */
	BlockNumber current = verity_asof_setting() != 0 ? all : all - Min(all, marked_pages(rel, nblocks));
	BlockNumber measured = data_pages(rel->rd_rel->relpages);
	bool		never_vacuumed = rel->rd_rel->reltuples < 0;
	int32		width = get_rel_data_width(rel, attr_widths);
	double		as_heap = rows_per_page(rel, width + HEAP_OVERHEAD);
	double		as_records = rows_per_page(rel, width + RECORD_OVERHEAD);

	*allvisfrac = all_visible_part(rel, nblocks, current);
	*pages = ceil(current * as_records / as_heap);
	if (!never_vacuumed && measured > 0)
		*pages = without_slack(*pages, ceil(rel->rd_rel->reltuples / measured * current / as_heap));
	if (never_vacuumed && *pages < NEW_TABLE_PAGES && !rel->rd_rel->relhassubclass)
		*pages = NEW_TABLE_PAGES;
	if (never_vacuumed || measured == 0)
		*tuples = rint(*pages * as_heap);
	else
		*tuples = rint(rel->rd_rel->reltuples / measured * all);
}
