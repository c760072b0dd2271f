/*
 * past.c
 *	  verity_query_at and verity_as_of: one query as of a past position.
 *
 * Both run as the invoker, with the invoker's privileges and row security as
 * they are now.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "am/asof.h"

PG_FUNCTION_INFO_V1(verity_query_at_position);
PG_FUNCTION_INFO_V1(verity_query_at_time);
PG_FUNCTION_INFO_V1(verity_as_of_position);
PG_FUNCTION_INFO_V1(verity_as_of_time);

/* Errors unless the plan is one SELECT that only reads. */
static void
check_one_select(SPIPlanPtr plan)
{
	List	   *sources = SPI_plan_get_plan_sources(plan);
	Query	   *query = NULL;

	if (list_length(sources) == 1)
	{
		List	   *queries = ((CachedPlanSource *) linitial(sources))->query_list;

		if (list_length(queries) == 1)
			query = linitial_node(Query, queries);
	}
	if (query == NULL || query->commandType != CMD_SELECT || query->utilityStmt != NULL ||
		query->hasModifyingCTE || query->rowMarks != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("verity_query_at takes exactly one SELECT that only reads"),
				 errhint("Leave out INTO, FOR UPDATE, data-modifying WITH and further statements.")));
}

/* Errors unless the query's columns have the types that the caller declared. */
static void
check_columns(TupleDesc got, TupleDesc declared)
{
	if (got->natts != declared->natts)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("query returns %d columns, the column list declares %d",
						got->natts, declared->natts)));
	for (int i = 0; i < got->natts; i++)
	{
		Oid			got_type = TupleDescAttr(got, i)->atttypid;
		Oid			declared_type = TupleDescAttr(declared, i)->atttypid;

		if (got_type != declared_type)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column %d of the query has type %s, the column list declares %s",
							i + 1, format_type_be(got_type), format_type_be(declared_type)),
					 errhint("Declare the query's types, or cast in the query.")));
	}
}

/* Put SPI's result rows into the function's result. */
static void
return_rows(ReturnSetInfo *rsinfo)
{
	check_columns(SPI_tuptable->tupdesc, rsinfo->setDesc);
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
}

static Datum
run_at(FunctionCallInfo fcinfo, const char *sql, VerityPosition position)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	VerityAsofScope scope;
	SPIPlanPtr	plan;

	if (position == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("positions begin at 1")));
	verity_asof_check_position(position);
	InitMaterializedSRF(fcinfo, 0);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	verity_asof_scope_begin(&scope, position);
	plan = SPI_prepare(sql, 0, NULL);
	if (plan == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("verity_query_at takes exactly one SELECT that only reads"),
				 errdetail("The text could not be prepared: %s.", SPI_result_code_string(SPI_result))));
	check_one_select(plan);
	if (SPI_execute_plan(plan, NULL, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_plan failed");
	verity_asof_scope_end(&scope);
	return_rows(rsinfo);
	SPI_finish();
	return (Datum) 0;
}

static VerityPosition
position_arg(FunctionCallInfo fcinfo, int arg)
{
	int64		position = PG_GETARG_INT64(arg);

	if (position < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("positions begin at 1"),
				 errhint("SELECT max(position) FROM verity.journal tells the last one.")));
	return (VerityPosition) position;
}

Datum
verity_query_at_position(PG_FUNCTION_ARGS)
{
	return run_at(fcinfo, text_to_cstring(PG_GETARG_TEXT_PP(0)), position_arg(fcinfo, 1));
}

Datum
verity_query_at_time(PG_FUNCTION_ARGS)
{
	return run_at(fcinfo, text_to_cstring(PG_GETARG_TEXT_PP(0)),
				  verity_asof_time_position(PG_GETARG_TIMESTAMPTZ(1)));
}

/* "SELECT * FROM ONLY-less table" for the row type of the first argument. */
static char *
select_of_argument(FunctionCallInfo fcinfo)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	Oid			relid = OidIsValid(type) ? get_typ_typrelid(type) : InvalidOid;

	if (!OidIsValid(relid) || get_rel_relkind(relid) == RELKIND_COMPOSITE_TYPE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the first argument of verity_as_of must be a table's row type"),
				 errhint("Write verity_as_of(NULL::patients, …).")));
	return psprintf("SELECT * FROM %s",
					quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
											   get_rel_name(relid)));
}

Datum
verity_as_of_position(PG_FUNCTION_ARGS)
{
	return run_at(fcinfo, select_of_argument(fcinfo), position_arg(fcinfo, 1));
}

Datum
verity_as_of_time(PG_FUNCTION_ARGS)
{
	return run_at(fcinfo, select_of_argument(fcinfo),
				  verity_asof_time_position(PG_GETARG_TIMESTAMPTZ(1)));
}
