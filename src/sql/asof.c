/*
 * asof.c
 *	  verity.as_of: binding queries to a past position.
 *
 * The setting is resolved to a position when it is set, where waiting for an
 * undecided one can hold no locks.  A query is bound when its executor starts
 * (RULES F 39) and the position is reinstated whenever it runs, so that a
 * cursor keeps its past, and a foreign-key check or a SECURITY DEFINER
 * function inside reads the present.  While a bound query runs, the
 * transaction is read-only, for heap tables too.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "optimizer/cost.h"
#include "optimizer/paths.h"
#include "optimizer/plancat.h"
#include "optimizer/planner.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "am/asof.h"
#include "am/rel.h"
#include "am/xact.h"
#include "sql/settings.h"

/* What verity.as_of says; kept as the setting's extra. */
typedef struct AsofSetting
{
	VerityPosition position;	/* 0: the present, or not resolved yet */
	TimestampTz time;			/* to be resolved, where position is 0 */
	bool		is_time;
} AsofSetting;

static AsofSetting asof_setting;

/* A function's own as-of query: allowed in this security context. */
static bool asof_forced = false;
static Oid	forced_user;
static int	forced_context;

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
static planner_hook_type prev_planner = NULL;

/* --- the setting --- */

void
verity_asof_check_position(VerityPosition position)
{
	VerityPosition last = verity_journal_last();

	if (position > last)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("position " UINT64_FORMAT " is in the future", position),
				 errdetail("The journal's last position is " UINT64_FORMAT ".", last),
				 errhint("Use a position from verity.journal, or a time that has passed.")));
	verity_journal_wait_decided(position);
}

VerityPosition
verity_asof_time_position(TimestampTz time)
{
	VerityPosition position;

	if (time > GetCurrentTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time %s is in the future", timestamptz_to_str(time)),
				 errhint("Use a position from verity.journal, or a time that has passed.")));
	position = verity_position_at(time);
	if (position == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time %s is before the journal's beginning", timestamptz_to_str(time)),
				 errhint("SELECT min(\"time\") FROM verity.journal tells when it began.")));
	verity_journal_wait_decided(position);
	return position;
}

/* Parse the setting's text; false (with a check message) when it is neither. */
static bool
parse_setting(const char *text, AsofSetting *setting)
{
	char	   *end;

	memset(setting, 0, sizeof(*setting));
	if (strspn(text, "0123456789") == strlen(text))
	{
		errno = 0;
		setting->position = strtou64(text, &end, 10);
		if (errno == 0 && setting->position > 0)
			return true;
		GUC_check_errdetail("Positions begin at 1.");
		return false;
	}
	if (strcmp(text, "now") == 0 || !IsTransactionState())
	{
		GUC_check_errdetail("A time can be given in a session only; a configuration takes a position.");
		return false;
	}
	setting->is_time = true;
	setting->time = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
															ObjectIdGetDatum(InvalidOid),
															Int32GetDatum(-1)));
	return true;
}

bool
verity_asof_check(char **newval, void **extra, GucSource source)
{
	AsofSetting setting;
	AsofSetting *copy;

	memset(&setting, 0, sizeof(setting));
	if (*newval && **newval)
	{
		if (!parse_setting(*newval, &setting))
			return false;
		if (IsTransactionState() && !InitializingParallelWorker && source >= PGC_S_INTERACTIVE)
		{
			char		text[32];

			if (!asof_forced && TransactionIdIsValid(GetTopTransactionIdIfAny()))
			{
				GUC_check_errcode(ERRCODE_ACTIVE_SQL_TRANSACTION);
				GUC_check_errmsg("cannot set verity.as_of in a transaction that has written");
				GUC_check_errhint("Commit first, or read the past through verity_query_at().");
				return false;
			}
			if (setting.is_time)
				setting.position = verity_asof_time_position(setting.time);
			else
				verity_asof_check_position(setting.position);
			/* parallel workers must read the very same position */
			snprintf(text, sizeof(text), UINT64_FORMAT, setting.position);
			free(*newval);
			*newval = strdup(text);
			if (*newval == NULL)
				return false;
		}
	}
	copy = malloc(sizeof(AsofSetting));
	if (copy == NULL)
		return false;
	*copy = setting;
	*extra = copy;
	return true;
}

void
verity_asof_assign(const char *newval, void *extra)
{
	AsofSetting *setting = extra;
	VerityPosition before = asof_setting.position;

	if (setting)
		asof_setting = *setting;
	else
		memset(&asof_setting, 0, sizeof(asof_setting));
	/* plans were made for the indexes and proofs of another time */
	if (asof_setting.position != before)
		ResetPlanCache();
}

VerityPosition
verity_asof_active(void)
{
	Oid			user;
	int			context;

	if (likely(asof_setting.position == 0))
		return 0;
	GetUserIdAndSecContext(&user, &context);
	if ((context & (SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION)) == 0)
		return asof_setting.position;
	if (asof_forced && user == forced_user && context == forced_context)
		return asof_setting.position;
	return 0;
}

void
verity_asof_scope_begin(VerityAsofScope *scope, VerityPosition position)
{
	char		text[32];

	scope->save_forced = asof_forced;
	scope->save_user = forced_user;
	scope->save_context = forced_context;
	scope->nest_level = NewGUCNestLevel();
	asof_forced = true;
	GetUserIdAndSecContext(&forced_user, &forced_context);
	snprintf(text, sizeof(text), UINT64_FORMAT, position);
	(void) set_config_option("verity.as_of", text, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

void
verity_asof_scope_end(VerityAsofScope *scope)
{
	asof_forced = scope->save_forced;
	forced_user = scope->save_user;
	forced_context = scope->save_context;
	AtEOXact_GUC(true, scope->nest_level);
}

/* --- the executor --- */

/* Errors unless the query only reads. */
static void
check_reads_only(QueryDesc *query)
{
	PlannedStmt *plan = query->plannedstmt;

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

/* Leaving a call into the executor, whichever way. */
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
	if (prev_executor_run)
		prev_executor_run(query, direction, count, execute_once);
	else
		standard_ExecutorRun(query, direction, count, execute_once);
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
 * In the three hooks a query whose time is the one already bound (nearly
 * always: the present) is passed on without the cost of a PG_TRY.
 */
static void
asof_executor_start(QueryDesc *query, int eflags)
{
	VerityPosition position = verity_asof_active();
	Reinstated	saved;

	if (position != 0)
	{
		check_reads_only(query);
		verity_asof_check_position(position);
		bind_query(query, position);
	}
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
asof_executor_run(QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once)
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
	if (bound_queries)
		(void) hash_search(bound_queries, &query, HASH_REMOVE, NULL);
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
	asof_forced = false;
	if (bound_queries)
	{
		hash_destroy(bound_queries);
		bound_queries = NULL;
	}
}

/* --- utilities --- */

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
		case T_ExplainStmt:
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
		case T_ConstraintsSetStmt:
			return true;
		case T_CopyStmt:
			/* COPY of a table bypasses the executor */
			return !((CopyStmt *) statement)->is_from && ((CopyStmt *) statement)->query != NULL;
		default:
			return false;
	}
}

static void
asof_process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					 ProcessUtilityContext context, ParamListInfo params,
					 QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	if (verity_asof_active() != 0 && !utility_allowed(pstmt->utilityStmt))
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute %s while verity.as_of is set",
						GetCommandTagName(CreateCommandTag(pstmt->utilityStmt))),
				 IsA(pstmt->utilityStmt, CopyStmt) ?
				 errhint("RESET verity.as_of first, or COPY (SELECT …) TO.") :
				 errhint("RESET verity.as_of first.")));
	if (prev_process_utility)
		prev_process_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

/* --- the planner --- */

/* Does a row-security condition read a verity table? */
static bool
reads_verity_table(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		return rte->rtekind == RTE_RELATION && verity_is_table_oid(rte->relid);
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, reads_verity_table, context, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, reads_verity_table, context);
}

/*
 * Row security applies as it is now; a policy that looks into another verity
 * table would mix two times.
 */
static bool
check_row_security(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->securityQuals != NIL && reads_verity_table((Node *) rte->securityQuals, NULL))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot read the past under a row security policy that reads a verity table"),
					 errhint("Read as a role that bypasses row security, or let the policy read a heap table.")));
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, check_row_security, context, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, check_row_security, context);
}

static PlannedStmt *
call_planner(Query *parse, const char *query_string, int cursorOptions, ParamListInfo params)
{
	if (prev_planner)
		return prev_planner(parse, query_string, cursorOptions, params);
	return standard_planner(parse, query_string, cursorOptions, params);
}

/*
 * Today's constraints and partition bounds prove nothing about the past, so
 * the planner makes no use of them under as-of.
 */
static PlannedStmt *
asof_planner(Query *parse, const char *query_string, int cursorOptions, ParamListInfo params)
{
	int			save_exclusion = constraint_exclusion;
	bool		save_pruning = enable_partition_pruning;
	bool		save_join = enable_partitionwise_join;
	bool		save_aggregate = enable_partitionwise_aggregate;
	PlannedStmt *result;

	if (likely(verity_asof_active() == 0))
		return call_planner(parse, query_string, cursorOptions, params);
	(void) check_row_security((Node *) parse, NULL);
	constraint_exclusion = CONSTRAINT_EXCLUSION_OFF;
	enable_partition_pruning = enable_partitionwise_join = enable_partitionwise_aggregate = false;
	PG_TRY();
	{
		result = call_planner(parse, query_string, cursorOptions, params);
	}
	PG_FINALLY();
	{
		constraint_exclusion = save_exclusion;
		enable_partition_pruning = save_pruning;
		enable_partitionwise_join = save_join;
		enable_partitionwise_aggregate = save_aggregate;
	}
	PG_END_TRY();
	return result;
}

void
verity_asof_relation_info(Relation rel, RelOptInfo *info)
{
	VerityPosition position = verity_asof_active();
	Oid			identity = RelationGetReplicaIndex(rel);
	List	   *kept = NIL;
	ListCell   *cell;

	if (position == 0)
		return;
	foreach(cell, info->indexlist)
	{
		IndexOptInfo *index = lfirst(cell);
		Relation	index_rel;
		uint64		valid_from;

		if (index->indexoid != rel->rd_pkindex && index->indexoid != identity)
			continue;
		index_rel = index_open(index->indexoid, NoLock);
		valid_from = verity_meta_index_valid_from(rel, index_rel->rd_node.relNode);
		index_close(index_rel, NoLock);
		if (valid_from != 0 && valid_from <= position)
			kept = lappend(kept, index);
	}
	info->indexlist = kept;
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
	prev_planner = planner_hook;
	planner_hook = asof_planner;
	RegisterXactCallback(asof_xact_callback, NULL);
}
