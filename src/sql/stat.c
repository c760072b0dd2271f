/*
 * stat.c
 *	  The view verity.stat, and verity_stat_reset().
 */
#include "postgres.h"

#include "am/stat.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/timestamp.h"

#define STAT_COLUMNS (VERITY_COUNTERS + 2)

PG_FUNCTION_INFO_V1(verity_stat);

/* The rows of verity.stat: a database, its counters in their order, since when. */
Datum
verity_stat(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	VerityDatabaseCounts *databases;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	databases = verity_counts_by_database(&count);
	for (int i = 0; i < count; i++)
	{
		Datum		values[STAT_COLUMNS];
		bool		nulls[STAT_COLUMNS] = {0};

		values[0] = ObjectIdGetDatum(databases[i].database);
		nulls[0] = !OidIsValid(databases[i].database);
		for (int c = 0; c < VERITY_COUNTERS; c++)
			values[1 + c] = Int64GetDatum((int64) databases[i].counts.n[c]);
		values[COUNT_LOCK_WAIT_US + 1] =
			Float8GetDatum((double) databases[i].counts.n[COUNT_LOCK_WAIT_US] / 1000.0);
		values[STAT_COLUMNS - 1] = TimestampTzGetDatum(databases[i].reset);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	pfree(databases);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(verity_stat_reset);

/* Count from zero again, for every database. */
Datum
verity_stat_reset(PG_FUNCTION_ARGS)
{
	verity_counts_reset();
	PG_RETURN_VOID();
}
