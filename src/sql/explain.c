/*
 * explain.c
 *	  EXPLAIN (ANALYZE) says how many records its execution opened and sealed.
 *
 * PostgreSQL 15 to 17 have no hook inside EXPLAIN's output.  The executor's end
 * is called in the right place, though: within the query's group, behind the
 * plan and before the execution time.  So the hook around EXPLAIN notes where
 * to print, the executor's start which of the queries that now run is the one
 * explained, and its end prints.  EXPLAIN EXECUTE does not come by that hook
 * and shows nothing.  What is printed is part of the summary: SUMMARY OFF
 * leaves it out.
 *
 * The figures are of the whole execution, with functions, triggers and
 * parallel workers, which have told this process when they end (am/stat.c).
 */
#include "postgres.h"

#include "am/rel.h"
#include "am/stat.h"
#include "compat.h"
#include "executor/executor.h"
#include "sql/settings.h"
#include "tcop/tcopprot.h"

/* One EXPLAIN that is being carried out; a function in it may hold another. */
typedef struct ExplainFrame
{
	struct ExplainFrame *outer;
	ExplainState *es;
	const char *text;
	QueryDesc  *query;			/* once it started */
	VerityCounts before;
} ExplainFrame;

static ExplainFrame *current_frame = NULL;

static ExplainOneQuery_hook_type prev_explain = NULL;
static ExecutorStart_hook_type prev_executor_start = NULL;
static ExecutorEnd_hook_type prev_executor_end = NULL;

/* --- what is printed --- */

static bool
reads_verity_table(PlannedStmt *plan)
{
	ListCell   *lc;

	foreach(lc, plan->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION && verity_is_table_oid(rte->relid))
			return true;
	}
	return false;
}

static void
print_text(ExplainState *es, const VerityCounts *done)
{
	appendStringInfoSpaces(es->str, es->indent * 2);
	appendStringInfo(es->str, "Verity: opened=" UINT64_FORMAT, done->n[COUNT_OPENED]);
	if (done->n[COUNT_SEALED] > 0)
		appendStringInfo(es->str, " sealed=" UINT64_FORMAT, done->n[COUNT_SEALED]);
	appendStringInfoChar(es->str, '\n');
}

static void
print_group(ExplainState *es, const VerityCounts *done)
{
	ExplainOpenGroup("Verity", "Verity", true, es);
	ExplainPropertyUInteger("Records Opened", NULL, done->n[COUNT_OPENED], es);
	ExplainPropertyUInteger("Bytes Opened", NULL, done->n[COUNT_OPENED_BYTES], es);
	ExplainPropertyUInteger("Records Sealed", NULL, done->n[COUNT_SEALED], es);
	ExplainPropertyUInteger("Bytes Sealed", NULL, done->n[COUNT_SEALED_BYTES], es);
	ExplainCloseGroup("Verity", "Verity", true, es);
}

/* Print what was counted since before, where verity tables were involved. */
static void
print_counts(ExplainState *es, PlannedStmt *plan, const VerityCounts *before)
{
	VerityCounts done;

	verity_counts_read(&done);
	for (int i = 0; i < VERITY_COUNTERS; i++)
		done.n[i] -= before->n[i];
	if (done.n[COUNT_OPENED] == 0 && done.n[COUNT_SEALED] == 0 && !reads_verity_table(plan))
		return;
	if (es->format == EXPLAIN_FORMAT_TEXT)
		print_text(es, &done);
	else
		print_group(es, &done);
}

/* --- when --- */

static void
explain_executor_start(QueryDesc *query, int eflags)
{
	ExplainFrame *frame = current_frame;

	if (frame != NULL && frame->query == NULL && query->sourceText == frame->text &&
		query->instrument_options != 0)
	{
		frame->query = query;
		verity_counts_read(&frame->before);
	}
	if (prev_executor_start)
		prev_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

static void
explain_executor_end(QueryDesc *query)
{
	if (current_frame != NULL && current_frame->query == query)
		print_counts(current_frame->es, query->plannedstmt, &current_frame->before);
	if (prev_executor_end)
		prev_executor_end(query);
	else
		standard_ExecutorEnd(query);
}

#if PG_VERSION_NUM < 170000
/* What PostgreSQL does where no hook is set; it exports that from 17 on. */
static void
standard_ExplainOneQuery(Query *query, int cursorOptions, IntoClause *into, ExplainState *es,
				 const char *text, ParamListInfo params, QueryEnvironment *environment)
{
	BufferUsage before = pgBufferUsage;
	BufferUsage buffers = {0};
	instr_time	start;
	instr_time	duration;
	PlannedStmt *plan;

	INSTR_TIME_SET_CURRENT(start);
	plan = pg_plan_query(query, text, cursorOptions, params);
	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, start);
	if (es->buffers)
		BufferUsageAccumDiff(&buffers, &pgBufferUsage, &before);
	ExplainOnePlan(plan, into, es, text, params, environment, &duration,
				   es->buffers ? &buffers : NULL);
}
#endif

static void
explain_next(Query *query, int cursorOptions, IntoClause *into, ExplainState *es,
			 const char *text, ParamListInfo params, QueryEnvironment *environment)
{
	if (prev_explain)
		prev_explain(query, cursorOptions, into, es, text, params, environment);
	else
		standard_ExplainOneQuery(query, cursorOptions, into, es, text, params, environment);
}

static void
explain_one_query(Query *query, int cursorOptions, IntoClause *into, ExplainState *es,
				  const char *text, ParamListInfo params, QueryEnvironment *environment)
{
	ExplainFrame frame = {current_frame, es, text, NULL};

	/* also where nothing is to be printed: an outer frame waits for its own */
	PG_TRY();
	{
		current_frame = es->analyze && es->summary ? &frame : NULL;
		explain_next(query, cursorOptions, into, es, text, params, environment);
	}
	PG_FINALLY();
	{
		current_frame = frame.outer;
	}
	PG_END_TRY();
}

void
verity_explain_init(void)
{
	prev_explain = ExplainOneQuery_hook;
	ExplainOneQuery_hook = explain_one_query;
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = explain_executor_start;
	prev_executor_end = ExecutorEnd_hook;
	ExecutorEnd_hook = explain_executor_end;
}
