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
#include "executor/tstoreReceiver.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
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

/* Is there FOR UPDATE or FOR SHARE anywhere in the query? */
static bool
locks_rows(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return ((Query *) node)->rowMarks != NIL ||
			query_tree_walker((Query *) node, locks_rows, context, 0);
	return expression_tree_walker(node, locks_rows, context);
}

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
		query->hasModifyingCTE || locks_rows((Node *) query, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("verity_query_at takes exactly one SELECT that only reads"),
				 errhint("Leave out INTO, FOR UPDATE, data-modifying WITH and further statements.")));
}

/* Run the plan; its rows go into the function's result as they come. */
static void
run_into_result(SPIPlanPtr plan, ReturnSetInfo *rsinfo)
{
	SPIExecuteOptions options = {0};

	options.read_only = true;
	options.dest = CreateDestReceiver(DestTuplestore);
	SetTuplestoreDestReceiverParams(options.dest, rsinfo->setResult,
									rsinfo->econtext->ecxt_per_query_memory, false, rsinfo->setDesc,
									gettext_noop("the query's columns are not those that the call declares"));
	if (SPI_execute_plan_extended(plan, &options) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_plan_extended failed");
	options.dest->rDestroy(options.dest);
}

static Datum
run_at(FunctionCallInfo fcinfo, const char *sql, VerityPosition position)
{
	SPIPlanPtr	plan;
	int			scope;

	verity_asof_check_position(position);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	scope = verity_asof_scope_begin(position);
	plan = SPI_prepare(sql, 0, NULL);
	if (plan == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("verity_query_at takes exactly one SELECT that only reads"),
				 errdetail("The text could not be prepared: %s.", SPI_result_code_string(SPI_result)),
				 errhint("Give one SELECT, without transaction commands and COPY.")));
	check_one_select(plan);
	run_into_result(plan, (ReturnSetInfo *) fcinfo->resultinfo);
	verity_asof_scope_end(scope);
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

/* The query that reads the table whose row type the first argument has. */
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

/* As a strict function would; but the first argument is NULL as a rule. */
static Datum
no_rows(FunctionCallInfo fcinfo)
{
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	return (Datum) 0;
}

Datum
verity_as_of_position(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(1))
		return no_rows(fcinfo);
	return run_at(fcinfo, select_of_argument(fcinfo), position_arg(fcinfo, 1));
}

Datum
verity_as_of_time(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(1))
		return no_rows(fcinfo);
	return run_at(fcinfo, select_of_argument(fcinfo),
				  verity_asof_time_position(PG_GETARG_TIMESTAMPTZ(1)));
}
