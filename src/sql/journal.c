/*
 * journal.c
 *	  SQL functions that ask the journal: positions and commits.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "am/journal/idempotency.h"
#include "am/journal/journal.h"

static void
require_journal(void)
{
	if (!verity_journal_exists())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database has no journal"),
				 errhint("Run CREATE EXTENSION verity in this database.")));
}

PG_FUNCTION_INFO_V1(verity_position);

Datum
verity_position(PG_FUNCTION_ARGS)
{
	require_journal();
	PG_RETURN_INT64((int64) verity_journal_last());
}

PG_FUNCTION_INFO_V1(verity_position_at_time);

Datum
verity_position_at_time(PG_FUNCTION_ARGS)
{
	VerityPosition position;

	require_journal();
	position = verity_position_at(PG_GETARG_TIMESTAMPTZ(0));
	if (position == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64((int64) position);
}

PG_FUNCTION_INFO_V1(verity_committed);

Datum
verity_committed(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = PG_GETARG_UUID_P(0);
	VerityPosition position;

	require_journal();
	position = idempotency_find(GetUserId(), id->data);
	if (position == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64((int64) position);
}
