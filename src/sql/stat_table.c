/*
 * stat_table.c
 *	  verity_table_stat(): how much of a table is history.
 *
 * The map is read whole, which is a page for 32,000 blocks.  Records are
 * counted on a sample: up to SAMPLE_PAGES pages of those that the map marks as
 * without current records, and as many of the others, evenly spread; the
 * counts are scaled up.  Nothing is decrypted.  Until a table is larger than
 * the sample all figures are exact.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "am/map.h"
#include "am/scan.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

#define SAMPLE_PAGES 1000
#define TABLE_STAT_COLUMNS 7

/* One kind of pages: the map marks them, or not. */
typedef struct Stratum
{
	BlockNumber pages;
	BlockNumber read;
	uint64		versions;		/* committed ones on the pages read */
	uint64		current;
} Stratum;

typedef struct TableStat
{
	Relation	rel;
	BufferAccessStrategy strategy;
	TransactionId oldest_xmin;
	BlockNumber blocks;
	Buffer		mapbuf;
	Stratum		strata[2];		/* [1]: marked */
} TableStat;

/* Which stratum a data page belongs to. */
static Stratum *
stratum_of(TableStat *stat, BlockNumber blkno)
{
	return &stat->strata[(verity_map_get(stat->rel, blkno, &stat->mapbuf) & VERITY_MAP_NO_CURRENT) != 0];
}

static void
count_pages(TableStat *stat)
{
	for (BlockNumber blkno = 0; blkno < stat->blocks; blkno++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!verity_block_is_special(blkno))
			stratum_of(stat, blkno)->pages++;
	}
}

/* Count one record of a share-locked page. */
static void
count_version(TableStat *stat, HeapTuple record, Buffer buffer, Stratum *stratum)
{
	switch (HeapTupleSatisfiesVacuum(record, stat->oldest_xmin, buffer))
	{
		case HEAPTUPLE_LIVE:
		case HEAPTUPLE_DELETE_IN_PROGRESS:
			stratum->current++;
			stratum->versions++;
			break;
		case HEAPTUPLE_DEAD:
			if (!HeapTupleHeaderXminCommitted(record->t_data) &&
				HeapTupleHeaderXminInvalid(record->t_data))
				break;			/* rolled back */
			/* FALLTHROUGH */
		case HEAPTUPLE_RECENTLY_DEAD:
			stratum->versions++;
			break;
		case HEAPTUPLE_INSERT_IN_PROGRESS:
			break;
	}
}

static void
count_versions(TableStat *stat, BlockNumber blkno, Stratum *stratum)
{
	Buffer		buffer = ReadBufferExtended(stat->rel, MAIN_FORKNUM, blkno, RBM_NORMAL, stat->strategy);
	OffsetNumber max;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	max = verity_page_max_offset(buffer);
	for (OffsetNumber offset = FirstOffsetNumber; offset <= max; offset++)
	{
		HeapTupleData record;

		if (verity_page_record(stat->rel, buffer, offset, &record) &&
			(VerityGetEnvelope(record.t_data)->flags & ENVELOPE_TOMBSTONE) == 0)
			count_version(stat, &record, buffer, stratum);
	}
	UnlockReleaseBuffer(buffer);
	stratum->read++;
}

/* Read every so many pages of each stratum. */
static void
read_sample(TableStat *stat)
{
	BlockNumber seen[2] = {0, 0};

	for (BlockNumber blkno = 0; blkno < stat->blocks; blkno++)
	{
		Stratum    *stratum;
		BlockNumber step;

		CHECK_FOR_INTERRUPTS();
		if (verity_block_is_special(blkno))
			continue;
		stratum = stratum_of(stat, blkno);
		step = Max(1, (stratum->pages + SAMPLE_PAGES - 1) / SAMPLE_PAGES);
		if (seen[stratum - stat->strata]++ % step == 0)
			count_versions(stat, blkno, stratum);
	}
}

/* A sum over both strata, each scaled to all its pages. */
static double
scaled(const TableStat *stat, uint64 marked, uint64 others)
{
	double		sum = 0;

	if (stat->strata[1].read > 0)
		sum += (double) marked * stat->strata[1].pages / stat->strata[1].read;
	if (stat->strata[0].read > 0)
		sum += (double) others * stat->strata[0].pages / stat->strata[0].read;
	return sum;
}

/* As for pg_stat_scan_tables: whoever may read the table, or watch all. */
static void
check_may_look(Relation rel)
{
	if (!verity_is_table(rel))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a verity table", RelationGetRelationName(rel)),
				 errhint("The view verity.table_stat lists the verity tables of this database.")));
	if (pg_class_aclcheck(RelationGetRelid(rel), GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
		!has_privs_of_role(GetUserId(), ROLE_PG_STAT_SCAN_TABLES))
		aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(rel->rd_rel->relkind),
					   RelationGetRelationName(rel));
	if (RELATION_IS_OTHER_TEMP(rel))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot read temporary tables of other sessions"),
				 errhint("Ask in the session that made the table.")));
}

static Datum
form_result(const TableStat *stat, FunctionCallInfo fcinfo)
{
	TupleDesc	desc;
	Datum		values[TABLE_STAT_COLUMNS];
	bool		nulls[TABLE_STAT_COLUMNS] = {0};
	const Stratum *marked = &stat->strata[1];
	const Stratum *others = &stat->strata[0];
	double		versions = scaled(stat, marked->versions, others->versions);
	double		current = scaled(stat, marked->current, others->current);
	BlockNumber pages = marked->pages + others->pages;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Int64GetDatum(pages);
	values[1] = Int64GetDatum(marked->pages);
	values[2] = Float8GetDatum(pages == 0 ? 0 : (double) marked->pages / pages);
	values[3] = Int64GetDatum((int64) (current + 0.5));
	values[4] = Int64GetDatum((int64) (versions + 0.5));
	values[5] = Float8GetDatum(current > 0 ? versions / current : 0);
	nulls[5] = current <= 0;
	values[6] = Int64GetDatum(marked->read + others->read);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

PG_FUNCTION_INFO_V1(verity_table_stat);

/* Pages, map coverage, rows and versions of one table. */
Datum
verity_table_stat(PG_FUNCTION_ARGS)
{
	TableStat	stat = {0};

	stat.rel = verity_open_argument(PG_GETARG_OID(0), AccessShareLock);
	check_may_look(stat.rel);
	stat.strategy = GetAccessStrategy(BAS_BULKREAD);
	stat.oldest_xmin = GetOldestNonRemovableTransactionId(stat.rel);
	stat.blocks = RelationGetNumberOfBlocks(stat.rel);
	count_pages(&stat);
	read_sample(&stat);
	if (BufferIsValid(stat.mapbuf))
		ReleaseBuffer(stat.mapbuf);
	FreeAccessStrategy(stat.strategy);
	relation_close(stat.rel, AccessShareLock);
	return form_result(&stat, fcinfo);
}
