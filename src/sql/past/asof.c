/*
 * asof.c
 *	  Binding queries to a past position, and refusing what would write.
 *
 * A query is bound when its executor starts (RULES F 39) and the position is
 * reinstated whenever it runs: a cursor keeps its past, and a foreign-key
 * check or a SECURITY DEFINER function inside reads the present.  While a
 * bound query runs, the transaction is read-only, for heap tables too.
 *
 * A query is only bound with a plan that was made for that position, for
 * plans of the present use indexes and proofs that need not hold then.  The
 * plan cache is reset with the setting; what gets around it is an error.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "tcop/utility.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "am/asof.h"
#include "am/journal/journal_store.h"
#include "sql/past/asof_plan.h"
#include "sql/settings.h"

/* Queries that are bound, by their QueryDesc. */
typedef struct BoundQuery
{
	QueryDesc  *query;			/* hash key */
	VerityPosition position;
} BoundQuery;

static HTAB *bound_queries = NULL;

static ExecutorStart_hook_type prev_executor_start = NULL;
static ExecutorRun_hook_type prev_executor_run = NULL;
static ExecutorFinish_hook_type prev_executor_finish = NULL;
static ExecutorEnd_hook_type prev_executor_end = NULL;
static ProcessUtility_hook_type prev_process_utility = NULL;

/* --- what is bound --- */

static VerityPosition
bound_position(QueryDesc *query)
{
	BoundQuery *bound;

	if (bound_queries == NULL)
		return 0;
	bound = hash_search(bound_queries, &query, HASH_FIND, NULL);
	return bound ? bound->position : 0;
}

static void
bind_query(QueryDesc *query, VerityPosition position)
{
	BoundQuery *bound;

	if (bound_queries == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(QueryDesc *),.entrysize = sizeof(BoundQuery),.hcxt = TopMemoryContext};

		bound_queries = hash_create("verity bound queries", 16, &ctl,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	bound = hash_search(bound_queries, &query, HASH_ENTER, NULL);
	bound->position = position;
}

static void
unbind_query(QueryDesc *query)
{
	if (bound_queries)
		(void) hash_search(bound_queries, &query, HASH_REMOVE, NULL);
}

/* Errors unless the query only reads. */
static void
check_reads_only(PlannedStmt *plan)
{
	if (plan->commandType != CMD_SELECT || plan->hasModifyingCTE)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot write while verity.as_of is set"),
				 errhint("RESET verity.as_of first.")));
	if (plan->rowMarks != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot lock rows while verity.as_of is set"),
				 errhint("RESET verity.as_of first, or leave out FOR UPDATE or FOR SHARE.")));
}

/* Errors unless this query can be bound to the position. */
static void
check_query(QueryDesc *query, VerityPosition position)
{
	check_reads_only(query->plannedstmt);
	if (IsParallelWorker())
		return;					/* the leader did the rest */
	if (!verity_plan_is_for(query->plannedstmt, position))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this query was planned before verity.as_of was set"),
				 errhint("Set verity.as_of in a statement of its own, or use verity_query_at().")));
	verity_asof_check_position(position);
}

/* --- the executor --- */

/* What to go back to when a call into the executor is left, whichever way. */
typedef struct Reinstated
{
	VerityPosition position;
	bool		read_only;
} Reinstated;

static void
reinstate(Reinstated *saved, VerityPosition position)
{
	saved->position = verity_asof_bound;
	saved->read_only = XactReadOnly;
	verity_asof_bound = position;
	if (position != 0)
		XactReadOnly = true;
}

static void
leave(const Reinstated *saved)
{
	verity_asof_bound = saved->position;
	XactReadOnly = saved->read_only;
}

static void
call_executor_start(QueryDesc *query, int eflags)
{
	if (prev_executor_start)
		prev_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

static void
call_executor_run(QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once)
{
	ExecutorRun_hook_type run = prev_executor_run ? prev_executor_run : standard_ExecutorRun;
	bool		workers_agree = verity_asof_workers_agree(verity_asof_bound);

	/* workers inherit the setting as it is now, not what the query is bound to */
	if (!workers_agree)
		query->already_executed = true; /* so that none are launched */
#if PG_VERSION_NUM >= 180000
	run(query, direction, count);
#else
	run(query, direction, count, execute_once && workers_agree);
#endif
}

static void
call_executor_finish(QueryDesc *query)
{
	if (prev_executor_finish)
		prev_executor_finish(query);
	else
		standard_ExecutorFinish(query);
}

/*
 * In a parallel worker scans begin between the start of its query and the run.
 * Nothing else happens there, so that the position simply stays.
 */
static bool
stays_in_worker(void)
{
	static bool seen = false;
	bool		first = !seen;

	seen = true;
	return first && IsParallelWorker();
}

/*
 * In the three hooks a query whose time is the one already bound (nearly
 * always: the present) is passed on without the cost of a PG_TRY.
 */
static void
asof_executor_start(QueryDesc *query, int eflags)
{
	VerityPosition position = verity_asof_active();
	Reinstated	saved;

	/* a query that an error ended may have stood at the same address */
	unbind_query(query);
	if (position != 0)
	{
		check_query(query, position);
		journal_lock_for_lookup();
		bind_query(query, position);
	}
	if (stays_in_worker())
		verity_asof_bound = position;
	if (position == verity_asof_bound)
	{
		call_executor_start(query, eflags);
		return;
	}
	reinstate(&saved, position);
	PG_TRY();
	{
		call_executor_start(query, eflags);
	}
	PG_FINALLY();
	{
		leave(&saved);
	}
	PG_END_TRY();
}

static void
run_bound(QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once)
{
	VerityPosition position = bound_position(query);
	Reinstated	saved;

	if (position == verity_asof_bound)
	{
		call_executor_run(query, direction, count, execute_once);
		return;
	}
	reinstate(&saved, position);
	PG_TRY();
	{
		call_executor_run(query, direction, count, execute_once);
	}
	PG_FINALLY();
	{
		leave(&saved);
	}
	PG_END_TRY();
}

#if PG_VERSION_NUM >= 180000
static void
asof_executor_run(QueryDesc *query, ScanDirection direction, uint64 count)
{
	run_bound(query, direction, count, true);
}
#else
static void
asof_executor_run(QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once)
{
	run_bound(query, direction, count, execute_once);
}
#endif

static void
asof_executor_finish(QueryDesc *query)
{
	VerityPosition position = bound_position(query);
	Reinstated	saved;

	if (position == verity_asof_bound)
	{
		call_executor_finish(query);
		return;
	}
	reinstate(&saved, position);
	PG_TRY();
	{
		call_executor_finish(query);
	}
	PG_FINALLY();
	{
		leave(&saved);
	}
	PG_END_TRY();
}

static void
asof_executor_end(QueryDesc *query)
{
	unbind_query(query);
	if (prev_executor_end)
		prev_executor_end(query);
	else
		standard_ExecutorEnd(query);
}

/* Queries of an aborted transaction never reach ExecutorEnd. */
static void
asof_xact_callback(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_ABORT && event != XACT_EVENT_PARALLEL_ABORT)
		return;
	verity_asof_bound = 0;
	if (bound_queries)
	{
		hash_destroy(bound_queries);
		bound_queries = NULL;
	}
}

/* --- utilities --- */

/* EXPLAIN ANALYZE CREATE TABLE … AS makes the table. */
static bool
explains_utility(ExplainStmt *statement)
{
	Query	   *query = castNode(Query, statement->query);

	return query->commandType == CMD_UTILITY && IsA(query->utilityStmt, CreateTableAsStmt);
}

/* May this utility run while verity.as_of is set? */
static bool
utility_allowed(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_TransactionStmt:
		case T_VariableSetStmt:
		case T_VariableShowStmt:
		case T_DiscardStmt:
		case T_PrepareStmt:
		case T_ExecuteStmt:
		case T_DeallocateStmt:
		case T_DeclareCursorStmt:
		case T_FetchStmt:
		case T_ClosePortalStmt:
		case T_ListenStmt:
		case T_UnlistenStmt:
		case T_LoadStmt:
		case T_CheckPointStmt:
			return true;
		case T_LockStmt:
			/* what pg_dump takes, and any query */
			return ((LockStmt *) statement)->mode == AccessShareLock;
		case T_ExplainStmt:
			return !explains_utility((ExplainStmt *) statement);
		case T_CopyStmt:
			/* COPY of a table bypasses the executor */
			return !((CopyStmt *) statement)->is_from && ((CopyStmt *) statement)->query != NULL;
		default:
			return false;
	}
}

/* Errors for ALTER … SET verity.as_of: sessions would begin in the past unawares. */
static void
refuse_lasting_setting(Node *statement)
{
	VariableSetStmt *set = NULL;

	if (IsA(statement, AlterRoleSetStmt))
		set = ((AlterRoleSetStmt *) statement)->setstmt;
	else if (IsA(statement, AlterDatabaseSetStmt))
		set = ((AlterDatabaseSetStmt *) statement)->setstmt;
	else if (IsA(statement, AlterSystemStmt))
		set = ((AlterSystemStmt *) statement)->setstmt;
	if (set == NULL || set->name == NULL || pg_strcasecmp(set->name, "verity.as_of") != 0 ||
		(set->kind != VAR_SET_VALUE && set->kind != VAR_SET_CURRENT))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("verity.as_of can be set in a session only"),
			 errhint("Use SET or SET LOCAL there.")));
}

static void
refuse_utility(Node *statement)
{
	refuse_lasting_setting(statement);
	if (verity_asof_active() != 0 && !utility_allowed(statement))
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute %s while verity.as_of is set",
						GetCommandTagName(CreateCommandTag(statement))),
				 IsA(statement, CopyStmt) ?
				 errhint("RESET verity.as_of first, or COPY (SELECT …) TO.") :
				 errhint("RESET verity.as_of first.")));
}

static void
call_process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					 ProcessUtilityContext context, ParamListInfo params,
					 QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	if (prev_process_utility)
		prev_process_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

/*
 * A utility is bound to nothing: inside a bound query it is a SECURITY DEFINER
 * function's, and the queries in it are bound for themselves.
 */
static void
asof_process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					 ProcessUtilityContext context, ParamListInfo params,
					 QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	VerityPosition saved = verity_asof_bound;

	refuse_utility(pstmt->utilityStmt);
	if (likely(saved == 0))
	{
		call_process_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		return;
	}
	verity_asof_bound = 0;
	PG_TRY();
	{
		call_process_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	}
	PG_FINALLY();
	{
		verity_asof_bound = saved;
	}
	PG_END_TRY();
}

void
verity_asof_init(void)
{
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = asof_executor_start;
	prev_executor_run = ExecutorRun_hook;
	ExecutorRun_hook = asof_executor_run;
	prev_executor_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = asof_executor_finish;
	prev_executor_end = ExecutorEnd_hook;
	ExecutorEnd_hook = asof_executor_end;
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = asof_process_utility;
	RegisterXactCallback(asof_xact_callback, NULL);
	verity_asof_plan_init();
}
