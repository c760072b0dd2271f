/*
 * index_only.c
 *	  Index-only scans that take their values from records.
 *
 * A record is authenticated when it is opened, an index entry never is, so
 * that no value may come from an index.  What core does in an index-only scan
 * where the visibility map does not know (it always visits the table here, and
 * EXPLAIN counts that as heap fetches) is kept, but the columns are those of
 * the record that the index entry led to.
 *
 * The node's method is exchanged once the executor has set up the plan.  The
 * copies of a plan by which EvalPlanQual tests a changed row again are set up
 * elsewhere: queries that may need them get no index-only scans.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "catalog/pg_language_d.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "executor/instrument.h"
#include "executor/nodeIndexscan.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "am/rel.h"
#include "sql/index_only.h"

/* What a walk over a plan has met. */
typedef struct PlanWalk
{
	bool		index_only;		/* an index-only scan of a verity table */
	bool		rechecks;		/* a node that may test rows again */
} PlanWalk;

static ExecutorStart_hook_type prev_executor_start = NULL;

/* --- planning --- */

/* Could the planner put the function's own query in its place? */
static bool
may_be_inlined(RangeTblFunction *function)
{
	HeapTuple	tuple;
	bool		result;

	if (!IsA(function->funcexpr, FuncExpr))
		return false;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(((FuncExpr *) function->funcexpr)->funcid));
	if (!HeapTupleIsValid(tuple))
		return true;
	result = ((Form_pg_proc) GETSTRUCT(tuple))->prolang == SQLlanguageId;
	ReleaseSysCache(tuple);
	return result;
}

/* Does the query lock or change rows that exist, or could what it calls? */
static bool
may_recheck(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;

		return query->rowMarks != NIL ||
			(query->commandType != CMD_SELECT && query->commandType != CMD_INSERT) ||
			query_tree_walker(query, may_recheck, context, 0);
	}
	if (IsA(node, RangeTblFunction) && may_be_inlined((RangeTblFunction *) node))
		return true;
	return expression_tree_walker(node, may_recheck, context);
}

bool
verity_index_only_allowed(Query *query)
{
	return !may_recheck((Node *) query, NULL);
}

/* --- execution --- */

/* Begin the scan, where it is no parallel one. */
static void
begin_scan(IndexOnlyScanState *node)
{
	IndexScanDesc scan = index_beginscan(node->ss.ss_currentRelation, node->ioss_RelationDesc,
										 node->ss.ps.state->es_snapshot,
										 VERITY_INDEX_INSTRUMENT(node),
										 node->ioss_NumScanKeys, node->ioss_NumOrderByKeys);

	node->ioss_ScanDesc = scan;
	if (node->ioss_NumRuntimeKeys == 0 || node->ioss_RuntimeKeysReady)
		index_rescan(scan, node->ioss_ScanKeys, node->ioss_NumScanKeys,
					 node->ioss_OrderByKeys, node->ioss_NumOrderByKeys);
}

/*
 * Fill the scan's slot with the index's columns as the record has them.  The
 * projection stands where other scans keep theirs of the table, which an
 * index-only scan has none of.
 */
static TupleTableSlot *
project_record(IndexOnlyScanState *node)
{
	ExprContext *econtext = node->ss.ps.ps_ExprContext;

	econtext->ecxt_scantuple = node->ioss_TableSlot;
	econtext->ecxt_scantuple = ExecProject((ProjectionInfo *) node->ss.ss_currentScanDesc);
	return econtext->ecxt_scantuple;
}

/* The direction in which to go through the index. */
static ScanDirection
index_direction(IndexOnlyScanState *node)
{
	ScanDirection direction = node->ss.ps.state->es_direction;

	/* an index without order has no direction of its own */
	if (ScanDirectionIsBackward(((IndexOnlyScan *) node->ss.ps.plan)->indexorderdir))
		return -direction;
	return direction;
}

/* The next row that the snapshot sees and the scan's keys hold for. */
static TupleTableSlot *
next_row(ScanState *state)
{
	IndexOnlyScanState *node = castNode(IndexOnlyScanState, state);
	IndexScanDesc scan;

	if (node->ioss_ScanDesc == NULL)
		begin_scan(node);
	scan = node->ioss_ScanDesc;
	while (index_getnext_tid(scan, index_direction(node)) != NULL)
	{
		TupleTableSlot *slot;

		CHECK_FOR_INTERRUPTS();
		InstrCountTuples2(node, 1);
		if (!index_fetch_heap(scan, node->ioss_TableSlot))
			continue;
		slot = project_record(node);
		if (scan->xs_recheck && !ExecQual(node->recheckqual, node->ss.ps.ps_ExprContext))
		{
			InstrCountFiltered2(node, 1);
			continue;
		}
		if (scan->numberOfOrderBys > 0 && scan->xs_recheckorderby)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("lossy distance functions are not supported in index-only scans")));
		return slot;
	}
	ExecClearTuple(node->ioss_TableSlot);
	return ExecClearTuple(node->ss.ss_ScanTupleSlot);
}

static bool
recheck_row(ScanState *state, TupleTableSlot *slot)
{
	elog(ERROR, "EvalPlanQual recheck is not supported in index-only scans");
}

static TupleTableSlot *
exec_index_only(PlanState *state)
{
	IndexOnlyScanState *node = castNode(IndexOnlyScanState, state);

	if (node->ioss_NumRuntimeKeys != 0 && !node->ioss_RuntimeKeysReady)
		ExecReScan(state);
	return ExecScan(&node->ss, next_row, recheck_row);
}

/* Let an index-only scan take its columns from records. */
static void
exchange_method(IndexOnlyScanState *node)
{
	IndexOnlyScan *plan = castNode(IndexOnlyScan, node->ss.ps.plan);

	/* the planner makes none: their functions are the index owner's */
	if (RelationGetIndexExpressions(node->ioss_RelationDesc) != NIL)
		elog(ERROR, "index-only scan of an index with expressions");
	node->ss.ss_currentScanDesc = (TableScanDesc)
		ExecBuildProjectionInfo(plan->indextlist, node->ss.ps.ps_ExprContext,
								node->ss.ss_ScanTupleSlot, NULL,
								RelationGetDescr(node->ss.ss_currentRelation));
	ExecSetExecProcNode(&node->ss.ps, exec_index_only);
}

static bool
walk_plan(PlanState *state, void *context)
{
	PlanWalk   *walk = context;

	if (IsA(state, IndexOnlyScanState) &&
		verity_is_table(((IndexOnlyScanState *) state)->ss.ss_currentRelation))
	{
		walk->index_only = true;
		exchange_method((IndexOnlyScanState *) state);
	}
	else if (IsA(state, LockRowsState) ||
			 (IsA(state, ModifyTableState) && ((ModifyTableState *) state)->operation != CMD_INSERT))
		walk->rechecks = true;
	return planstate_tree_walker(state, walk_plan, context);
}

static void
index_only_executor_start(QueryDesc *query, int eflags)
{
	PlanWalk	walk = {0};
	MemoryContext old;
	ListCell   *lc;

	if (prev_executor_start)
		prev_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
	if ((eflags & EXEC_FLAG_EXPLAIN_ONLY) != 0 || query->planstate == NULL)
		return;
	/* what is made here goes with the query, as what its start made */
	old = MemoryContextSwitchTo(query->estate->es_query_cxt);
	(void) walk_plan(query->planstate, &walk);

	/* those of common table expressions hang on no node */
	foreach(lc, query->estate->es_subplanstates)
	{
		if (lfirst(lc) != NULL)
			(void) walk_plan(lfirst(lc), &walk);
	}
	MemoryContextSwitchTo(old);
	if (walk.index_only && walk.rechecks)
		elog(ERROR, "index-only scan of a verity table in a query that may test rows again");
}

void
verity_index_only_init(void)
{
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = index_only_executor_start;
}
