/*
 * vacuum_index.c
 *	  Removing index entries of aborted and superseded roots.
 *
 * TIDs are collected until maintenance_work_mem is full, or the table's end is
 * reached; then every index is scanned once for them, and the records that
 * waited for it are finished (vacuum_page.c, second pass).
 *
 * A superseded root stays where it is, so a line pointer is never reused under
 * an index entry.  Its entries may still be wanted by old snapshots of a
 * standby: one XLOG_VERITY_RECLAIM record with the horizon goes before.  A
 * crash between index scan and second pass means that the next vacuum looks
 * for entries that are gone already.
 *
 * VACUUM (PARALLEL n) is accepted and scans the indexes one after another.
 */
#include "postgres.h"

#include "am/stop_point.h"
#include "am/table.h"
#include "am/vacuum/vacuum.h"

#include "access/genam.h"
#include "commands/progress.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/autovacuum.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* Indexes are left alone where fewer pages than this have pending records. */
#define BYPASS_PAGES_FRACTION 0.02
#define BYPASS_BYTES_MAX (32 * 1024 * 1024)

/* Bytes for one collected TID: in the dead list and the pending list. */
#define COLLECTED_SIZE (2 * sizeof(ItemPointerData))

/* Indexes are vacuumed one after the other; whoever asks for more of a temporary table is told, as in heap. */
static void
warn_of_parallel(VerityVacuum *vacuum, int workers)
{
	if (workers > 0 && vacuum->index_count > 1 && RelationUsesLocalBuffers(vacuum->rel))
		ereport(WARNING,
				(errmsg("disabling parallel option of vacuum on \"%s\" --- cannot vacuum temporary tables in parallel",
						RelationGetRelationName(vacuum->rel))));
}

void
verity_vacuum_allocate(VerityVacuum *vacuum, int workers)
{
	int			kilobytes = AmAutoVacuumWorkerProcess() && autovacuum_work_mem != -1 ?
	autovacuum_work_mem : maintenance_work_mem;
	int64		items = (int64) kilobytes * 1024 / COLLECTED_SIZE;

	if (vacuum->index_count == 0)
		return;
	warn_of_parallel(vacuum, workers);
	items = Min(items, (int64) vacuum->pages * MaxHeapTuplesPerPage);
	items = Min(items, (MaxAllocSize - offsetof(VerityDeadItems, items)) / sizeof(ItemPointerData));
	items = Max(items, MaxHeapTuplesPerPage);

	vacuum->dead = palloc(offsetof(VerityDeadItems, items) + items * sizeof(ItemPointerData));
	vacuum->dead->max_items = (int) items;
	vacuum->dead->num_items = 0;
	vacuum->pending = palloc(items * sizeof(ItemPointerData));
	VERITY_PROGRESS_DEAD_MAX(items);
}

void
verity_vacuum_collect(VerityVacuum *vacuum, ItemPointer dead, ItemPointer pending)
{
	int			next = vacuum->dead->num_items;

	Assert(next < vacuum->dead->max_items);
	vacuum->dead->items[next] = *dead;
	vacuum->pending[next] = *pending;
	vacuum->dead->num_items++;
	VERITY_PROGRESS_DEAD(next + 1);
}

static int
compare_tids(const void *left, const void *right)
{
	return ItemPointerCompare((ItemPointer) left, (ItemPointer) right);
}

/* Is the index entry's root among those collected?  Called for every entry. */
static bool
is_dead(ItemPointer root, void *arg)
{
	VerityDeadItems *dead = arg;

	if (ItemPointerCompare(root, &dead->items[0]) < 0 ||
		ItemPointerCompare(root, &dead->items[dead->num_items - 1]) > 0)
		return false;
	return bsearch(root, dead->items, dead->num_items, sizeof(ItemPointerData),
				   compare_tids) != NULL;
}

static void
index_info(VerityVacuum *vacuum, Relation index, IndexVacuumInfo *info)
{
	memset(info, 0, sizeof(*info));
	info->index = index;
	VERITY_SET_HEAPREL(info, vacuum->rel);
	info->message_level = vacuum->message_level;
	info->strategy = vacuum->strategy;

	/* entries of ended rows stay, so an index has more than the table's rows */
	info->estimated_count = true;
	info->num_heap_tuples = Max(vacuum->rel->rd_rel->reltuples, 0);
}

/* Remove the collected entries from every index. */
static void
scan_indexes(VerityVacuum *vacuum)
{
	pgstat_progress_update_param(PROGRESS_VACUUM_PHASE, PROGRESS_VACUUM_PHASE_VACUUM_INDEX);
	verity_log_index_horizon(vacuum->rel, vacuum->index_horizon);
	VERITY_STOP("index-horizon-logged");

	qsort(vacuum->dead->items, vacuum->dead->num_items, sizeof(ItemPointerData), compare_tids);
	for (int i = 0; i < vacuum->index_count; i++)
	{
		IndexVacuumInfo info;

		index_info(vacuum, vacuum->indexes[i], &info);
		vacuum->index_stats[i] = index_bulk_delete(&info, vacuum->index_stats[i], is_dead,
												   vacuum->dead);
		ereport(vacuum->message_level,
				(errmsg("scanned index \"%s\" to remove the entries of %d rows",
						RelationGetRelationName(vacuum->indexes[i]), vacuum->dead->num_items)));
	}
	VERITY_STOP("indexes-scanned");
	vacuum->index_scans++;
	vacuum->entries += vacuum->dead->num_items;
	pgstat_progress_update_param(PROGRESS_VACUUM_NUM_INDEX_VACUUMS, vacuum->index_scans);
}

/* Finish the records that waited for the index scans, page by page. */
static void
finish_pending(VerityVacuum *vacuum)
{
	int			count = vacuum->dead->num_items;
	int			first = 0;

	pgstat_progress_update_param(PROGRESS_VACUUM_PHASE, PROGRESS_VACUUM_PHASE_VACUUM_HEAP);

	/* a second pin of our own would keep cleanup locks from us */
	if (BufferIsValid(vacuum->otherbuf))
		ReleaseBuffer(vacuum->otherbuf);
	vacuum->otherbuf = InvalidBuffer;
	while (first < count)
	{
		BlockNumber blkno = ItemPointerGetBlockNumber(&vacuum->pending[first]);
		int			next = first + 1;

		while (next < count && ItemPointerGetBlockNumber(&vacuum->pending[next]) == blkno)
			next++;
		vacuum_delay_point(false);
		vacuum->blkno = blkno;
		VERITY_STOP("second-pass");
		verity_vacuum_page_pending(vacuum, blkno, &vacuum->pending[first], next - first);
		pgstat_progress_update_param(PROGRESS_VACUUM_HEAP_BLKS_VACUUMED, blkno);
		first = next;
	}
}

/*
 * Remove what was collected.  The last time, a little may be left to the next
 * vacuum rather than scan indexes for it.
 */
void
verity_vacuum_flush(VerityVacuum *vacuum, bool last)
{
	int			count = vacuum->dead ? vacuum->dead->num_items : 0;
	bool		bypass;

	if (count == 0)
		return;
	bypass = last && vacuum->may_bypass && vacuum->index_scans == 0 &&
		vacuum->pending_pages < (double) vacuum->pages * BYPASS_PAGES_FRACTION &&
		count * COLLECTED_SIZE < BYPASS_BYTES_MAX;
	if (vacuum->clean_indexes && !bypass)
	{
		scan_indexes(vacuum);
		finish_pending(vacuum);
	}
	else
		vacuum->missed += count;

	vacuum->dead->num_items = 0;
	vacuum->index_horizon = InvalidTransactionId;
	VERITY_PROGRESS_DEAD(0);
}

void
verity_vacuum_cleanup_indexes(VerityVacuum *vacuum)
{
	pgstat_progress_update_param(PROGRESS_VACUUM_PHASE, PROGRESS_VACUUM_PHASE_INDEX_CLEANUP);
	for (int i = 0; i < vacuum->index_count; i++)
	{
		IndexVacuumInfo info;
		IndexBulkDeleteResult *stats;

		index_info(vacuum, vacuum->indexes[i], &info);
		info.num_heap_tuples = vacuum->live;
		stats = vac_cleanup_one_index(&info, vacuum->index_stats[i]);
		vacuum->index_stats[i] = stats;
		if (stats && !stats->estimated_count)
			vac_update_relstats(vacuum->indexes[i], stats->num_pages, stats->num_index_tuples,
								0, 0, false, InvalidTransactionId, InvalidMultiXactId,
								NULL, NULL, false);
	}
}
