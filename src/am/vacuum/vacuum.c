/*
 * vacuum.c
 *	  VACUUM of a verity table.
 *
 * Committed records are never removed.  Vacuum
 *	  - takes old transaction ids out of headers, so that relfrozenxid can
 *		advance (freeze.c);
 *	  - takes aborted records away, after the journal has agreed, and offers
 *		their space (vacuum_page.c, vacuum_aborted.c);
 *	  - removes index entries of aborted roots, and of roots that a root with
 *		the same key superseded (vacuum_index.c);
 *	  - marks pages without current records in the map, which scans for current
 *		data and later vacuums skip (map.c).
 *
 * Empty pages at the table's end are not cut off: they only come from aborted
 * transactions and are filled again; while a table that never gets shorter
 * lets verify take a short file for what it is, a sign that records were cut
 * off.
 *
 * Locks: ShareUpdateExclusiveLock on the table, taken by the caller, so that
 * one vacuum runs at a time.  What is left after a crash is a table partly
 * vacuumed; each page's steps are WAL-logged on their own.
 *
 * The TOAST table is a heap; core vacuums it as such.
 */
#include "postgres.h"

#include "am/map.h"
#include "am/stop_point.h"
#include "am/table.h"
#include "am/vacuum/vacuum.h"

#include "commands/dbcommands.h"
#include "commands/progress.h"
#include "executor/instrument.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/autovacuum.h"
#include "storage/freespace.h"
#include "storage/procarray.h"
#include "utils/lsyscache.h"
#include "utils/pg_rusage.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* How often to look whether wraparound is near, and to sum up free space. */
#define FAILSAFE_EVERY_PAGES ((BlockNumber) (((uint64) 4 << 30) / BLCKSZ))
#define FSM_EVERY_PAGES ((BlockNumber) (((uint64) 8 << 30) / BLCKSZ))

/* What VERBOSE and the log tell, as it was at the start. */
typedef struct VacuumStart
{
	bool		wanted;
	PGRUsage	usage;
	TimestampTz time;
	WalUsage	wal;
	BufferUsage buffers;
	TransactionId frozen_xid;
	MultiXactId min_multi;
	char	   *name;
} VacuumStart;

static void
error_context(void *arg)
{
	VerityVacuum *vacuum = arg;

	if (BlockNumberIsValid(vacuum->blkno))
		errcontext("while vacuuming block %u of table \"%s\"", vacuum->blkno,
				   RelationGetRelationName(vacuum->rel));
}

/* Near wraparound only freezing counts. */
static void
check_failsafe(VerityVacuum *vacuum)
{
	if (vacuum->failsafe ||
		!vacuum_xid_failsafe_check(&vacuum->core_cutoffs))
		return;

	vacuum->failsafe = true;
	vacuum->clean_indexes = false;
	VERITY_FAILSAFE_BEGIN();
	VacuumCostActive = false;
	VacuumCostBalance = 0;
	ereport(WARNING,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("leaving out nonessential maintenance of table \"%s\" as a failsafe",
					RelationGetRelationName(vacuum->rel)),
			 errdetail("The table's relfrozenxid or relminmxid is too far in the past."),
			 errhint("Increase \"autovacuum_work_mem\" or the rate of autovacuum, so that VACUUM keeps up with the use of transaction IDs.")));
}

/* May the block stay unread? */
static bool
may_skip(VerityVacuum *vacuum, BlockNumber blkno)
{
	if (verity_block_is_special(blkno))
		return true;
	return vacuum->skip_pages &&
		(verity_map_get(vacuum->rel, blkno, &vacuum->mapbuf) & VERITY_MAP_ALL_FROZEN) != 0;
}

/* The pass over the table. */
static void
scan_table(VerityVacuum *vacuum)
{
	BlockNumber next_failsafe = FAILSAFE_EVERY_PAGES;
	BlockNumber fsm_done = 0;

	pgstat_progress_update_param(PROGRESS_VACUUM_PHASE, PROGRESS_VACUUM_PHASE_SCAN_HEAP);
	pgstat_progress_update_param(PROGRESS_VACUUM_TOTAL_HEAP_BLKS, vacuum->pages);
	for (BlockNumber blkno = 0; blkno < vacuum->pages; blkno++)
	{
		vacuum->blkno = blkno;
		vacuum_delay_point(false);
		if (blkno >= next_failsafe)
		{
			check_failsafe(vacuum);
			next_failsafe = blkno + FAILSAFE_EVERY_PAGES;
		}
		if (may_skip(vacuum, blkno))
			continue;
		if (vacuum->dead &&
			vacuum->dead->max_items - vacuum->dead->num_items < MaxHeapTuplesPerPage)
		{
			verity_vacuum_flush(vacuum, false);
			pgstat_progress_update_param(PROGRESS_VACUUM_PHASE,
										 PROGRESS_VACUUM_PHASE_SCAN_HEAP);
		}
		if (blkno - fsm_done >= FSM_EVERY_PAGES)
		{
			FreeSpaceMapVacuumRange(vacuum->rel, fsm_done, blkno);
			fsm_done = blkno;
		}
		verity_vacuum_page(vacuum, blkno);
		vacuum->pages_scanned++;
		pgstat_progress_update_param(PROGRESS_VACUUM_HEAP_BLKS_SCANNED, blkno);
	}
	verity_vacuum_flush(vacuum, true);
	FreeSpaceMapVacuumRange(vacuum->rel, fsm_done, vacuum->pages);
	vacuum->blkno = InvalidBlockNumber;
	pgstat_progress_update_param(PROGRESS_VACUUM_HEAP_BLKS_SCANNED, vacuum->pages);
	pgstat_progress_update_param(PROGRESS_VACUUM_HEAP_BLKS_VACUUMED, vacuum->pages);
}

static void
release_pages(VerityVacuum *vacuum)
{
	if (BufferIsValid(vacuum->mapbuf))
		ReleaseBuffer(vacuum->mapbuf);
	if (BufferIsValid(vacuum->otherbuf))
		ReleaseBuffer(vacuum->otherbuf);
	vacuum->mapbuf = vacuum->otherbuf = InvalidBuffer;
	if (vacuum->asked_entry)
		verity_entry_free(vacuum->asked_entry);
	vacuum->asked_entry = NULL;
}

/* Cutoffs and options; returns whether the vacuum is aggressive. */
static bool
set_up(VerityVacuum *vacuum, Relation rel, VacuumParams *params, BufferAccessStrategy strategy)
{
	VerityCutoffs *cutoffs = &vacuum->cutoffs;
	bool		aggressive;

	memset(vacuum, 0, sizeof(*vacuum));
	vacuum->rel = rel;
	vacuum->vrel = verity_rel(rel);
	vacuum->strategy = strategy;
	vacuum->blkno = InvalidBlockNumber;
	aggressive = vacuum_get_cutoffs(rel, params, &vacuum->core_cutoffs);
	cutoffs->oldest_xmin = vacuum->core_cutoffs.OldestXmin;
	cutoffs->oldest_multi = vacuum->core_cutoffs.OldestMxact;
	cutoffs->freeze_limit = vacuum->core_cutoffs.FreezeLimit;
	cutoffs->multi_limit = vacuum->core_cutoffs.MultiXactCutoff;

	/* old_snapshot_threshold: no snapshot of ours learns that it is too old */
	if (OldSnapshotThresholdActive())
	{
		cutoffs->oldest_xmin = GetOldestNonRemovableTransactionId(rel);
		if (TransactionIdPrecedes(cutoffs->oldest_xmin, cutoffs->freeze_limit))
			cutoffs->freeze_limit = cutoffs->oldest_xmin;
	}
	vacuum->vistest = GlobalVisTestFor(rel);
	vacuum->oldest.xid = cutoffs->oldest_xmin;
	vacuum->oldest.multi = cutoffs->oldest_multi;

	vacuum->skip_pages = (params->options & VACOPT_DISABLE_PAGE_SKIPPING) == 0;
	vacuum->clean_indexes = params->index_cleanup != VACOPTVALUE_DISABLED;
	vacuum->may_bypass = params->index_cleanup == VACOPTVALUE_AUTO;
	vacuum->message_level = (params->options & VACOPT_VERBOSE) ? INFO : DEBUG2;

	/* after OldestXmin: no record older than that is on a page behind these */
	vacuum->pages = RelationGetNumberOfBlocks(rel);
	return aggressive;
}

/* Pages in the map without current records, as it is now. */
static BlockNumber
count_marked(VerityVacuum *vacuum)
{
	BlockNumber marked = 0;

	for (BlockNumber blkno = 0; blkno < vacuum->pages; blkno++)
	{
		if (verity_map_get(vacuum->rel, blkno, &vacuum->mapbuf) & VERITY_MAP_NO_CURRENT)
			marked++;
	}
	return marked;
}

static void
note_start(VacuumStart *start, Relation rel, VacuumParams *params)
{
	memset(start, 0, sizeof(*start));
	start->wanted = (params->options & VACOPT_VERBOSE) != 0 ||
		(AmAutoVacuumWorkerProcess() && params->log_min_duration >= 0);
	start->frozen_xid = rel->rd_rel->relfrozenxid;
	start->min_multi = rel->rd_rel->relminmxid;
	start->time = GetCurrentTimestamp();
	if (!start->wanted)
		return;
	pg_rusage_init(&start->usage);
	start->wal = pgWalUsage;
	start->buffers = pgBufferUsage;
	start->name = psprintf("%s.%s.%s", get_database_name(MyDatabaseId),
						   get_namespace_name(RelationGetNamespace(rel)),
						   RelationGetRelationName(rel));
}

/* What the vacuum did, in the manner of heap's. */
static void
describe_work(StringInfo buf, VerityVacuum *vacuum, const VacuumStart *start)
{
	appendStringInfo(buf, "finished vacuuming \"%s\": index scans: %d\n", start->name,
					 vacuum->index_scans);
	appendStringInfo(buf, "pages: %u remain, %u scanned (%.2f%% of total), %u without current records\n",
					 vacuum->pages, vacuum->pages_scanned,
					 vacuum->pages == 0 ? 100.0 : 100.0 * vacuum->pages_scanned / vacuum->pages,
					 count_marked(vacuum));
	appendStringInfo(buf, "scanned records: %lld current, %lld ended but not yet for everybody, %lld past\n",
					 (long long) vacuum->live, (long long) vacuum->ending,
					 (long long) vacuum->past);
	appendStringInfo(buf, "aborted or superseded: %lld records reclaimed, %lld index entries removed, %lld left for later\n",
					 (long long) vacuum->reclaimed, (long long) vacuum->entries,
					 (long long) vacuum->missed);
	for (int i = 0; i < vacuum->index_count; i++)
	{
		IndexBulkDeleteResult *stats = vacuum->index_stats[i];

		if (stats)
			appendStringInfo(buf, "index \"%s\": pages: %u in total, %u newly deleted, %u currently deleted, %u reusable\n",
							 RelationGetRelationName(vacuum->indexes[i]), stats->num_pages,
							 stats->pages_newly_deleted, stats->pages_deleted,
							 stats->pages_free);
	}
}

/* What the vacuum cost. */
static void
describe_cost(StringInfo buf, const VacuumStart *start)
{
	WalUsage	wal;
	BufferUsage buffers;

	memset(&wal, 0, sizeof(wal));
	WalUsageAccumDiff(&wal, &pgWalUsage, &start->wal);
	memset(&buffers, 0, sizeof(buffers));
	BufferUsageAccumDiff(&buffers, &pgBufferUsage, &start->buffers);

	appendStringInfo(buf, "buffer usage: %lld hits, %lld misses, %lld dirtied\n",
					 (long long) (buffers.shared_blks_hit + buffers.local_blks_hit),
					 (long long) (buffers.shared_blks_read + buffers.local_blks_read),
					 (long long) (buffers.shared_blks_dirtied + buffers.local_blks_dirtied));
	appendStringInfo(buf, "WAL usage: %lld records, %lld full page images, %llu bytes\n",
					 (long long) wal.wal_records, (long long) wal.wal_fpi,
					 (unsigned long long) wal.wal_bytes);
	appendStringInfo(buf, "system usage: %s", pg_rusage_show(&start->usage));
}

static void
report(VerityVacuum *vacuum, const VacuumStart *start, VacuumParams *params,
	   bool xid_advanced, bool multi_advanced)
{
	bool		verbose = (params->options & VACOPT_VERBOSE) != 0;
	StringInfoData buf;

	ereport(DEBUG1,
			(errmsg_internal("vacuumed table \"%s\": %u of %u pages read, %lld current records, %lld records reclaimed, %lld index entries removed",
							 RelationGetRelationName(vacuum->rel), vacuum->pages_scanned, vacuum->pages,
							 (long long) vacuum->live, (long long) vacuum->reclaimed,
							 (long long) vacuum->entries)));
	if (!start->wanted ||
		(!verbose && params->log_min_duration > 0 &&
		 !TimestampDifferenceExceeds(start->time, GetCurrentTimestamp(),
									 params->log_min_duration)))
		return;

	initStringInfo(&buf);
	describe_work(&buf, vacuum, start);
	appendStringInfo(&buf, "removable cutoff: %u, which was %d XIDs old when operation ended\n",
					 vacuum->cutoffs.oldest_xmin,
					 (int32) (ReadNextTransactionId() - vacuum->cutoffs.oldest_xmin));
	if (xid_advanced)
		appendStringInfo(&buf, "new relfrozenxid: %u, which is %d XIDs ahead of previous value\n",
						 vacuum->oldest.xid, (int32) (vacuum->oldest.xid - start->frozen_xid));
	if (multi_advanced)
		appendStringInfo(&buf, "new relminmxid: %u, which is %d MXIDs ahead of previous value\n",
						 vacuum->oldest.multi, (int32) (vacuum->oldest.multi - start->min_multi));
	describe_cost(&buf, start);
	ereport(verbose ? INFO : LOG, (errmsg_internal("%s", buf.data)));
	pfree(buf.data);
}

/* Scan the table and its indexes. */
static void
do_work(VerityVacuum *vacuum, VacuumParams *params)
{
	ErrorContextCallback callback;

	callback.callback = error_context;
	callback.arg = vacuum;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	check_failsafe(vacuum);
	verity_vacuum_allocate(vacuum, params->nworkers);
	scan_table(vacuum);
	if (vacuum->clean_indexes && params->index_cleanup != VACOPTVALUE_DISABLED)
		verity_vacuum_cleanup_indexes(vacuum);
	error_context_stack = callback.previous;
}

void
verity_relation_vacuum(Relation rel, VacuumParams *params, BufferAccessStrategy bstrategy)
{
	BlockNumber pages_in_use;
	VerityVacuum vacuum;
	VacuumStart start;
	bool		aggressive;
	bool		xid_advanced;
	bool		multi_advanced;

	note_start(&start, rel, params);
	pgstat_progress_start_command(PROGRESS_COMMAND_VACUUM, RelationGetRelid(rel));
	aggressive = set_up(&vacuum, rel, params, bstrategy);
	if (params->options & VACOPT_VERBOSE)
		ereport(INFO, (errmsg("%svacuuming \"%s\"", aggressive ? "aggressively " : "", start.name)));

	vac_open_indexes(rel, RowExclusiveLock, &vacuum.index_count, &vacuum.indexes);
	vacuum.index_stats = palloc0((vacuum.index_count + 1) * sizeof(IndexBulkDeleteResult *));
	do_work(&vacuum, params);

	VERITY_STOP("vacuum-scanned");
	pgstat_progress_update_param(PROGRESS_VACUUM_PHASE, PROGRESS_VACUUM_PHASE_FINAL_CLEANUP);

	/*
	 * Only pages without a current record were skipped, so the count of
	 * current ones is exact, and no xid was missed.
	 */
	pages_in_use = verity_pages_in_use(rel, vacuum.pages);
	vac_update_relstats(rel, pages_in_use, vacuum.live, Min(vacuum.all_visible, pages_in_use), 0,
						vacuum.index_count > 0, vacuum.oldest.xid, vacuum.oldest.multi,
						&xid_advanced, &multi_advanced, false);
	pgstat_report_vacuum(RelationGetRelid(rel), rel->rd_rel->relisshared, vacuum.live,
						 vacuum.ending + vacuum.missed, start.time);
	report(&vacuum, &start, params, xid_advanced, multi_advanced);
	vac_close_indexes(vacuum.index_count, vacuum.indexes, NoLock);
	release_pages(&vacuum);
	pgstat_progress_end_command();
}
