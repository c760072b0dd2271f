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
 * The node's method is exchanged once the executor has set up the plan, and in
 * the copies of a plan by which EvalPlanQual tests a changed row again once
 * they are set up (index_only_recheck.c): queries that may need copies that
 * are out of reach there get no index-only scans.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_language_d.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "executor/instrument.h"
#include "executor/nodeIndexscan.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "am/rel.h"
#include "sql/index_only.h"

/* What a walk over a plan has met. */
typedef struct PlanWalk
{
	bool		index_only;		/* an index-only scan of a verity table */
	bool		unreached;		/* a node may test rows again unnoticed */
	List	   *targets;		/* tables whose rows may be tested again */
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

/* Will a row of the table that is tested again be locked by us before? */
static bool
is_reached(Query *query, Index rti)
{
	RangeTblEntry *rte = rt_fetch(rti, query->rtable);

	/* what a subquery marks stands in itself */
	if (rte->rtekind == RTE_SUBQUERY)
		return true;
	return rte->rtekind == RTE_RELATION && verity_is_table_oid(rte->relid) &&
		!(rte->inh && has_subclass(rte->relid));
}

/*
 * Does the query lock or change rows that exist, or could what it calls, out
 * of reach?
 */
static bool
may_recheck(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;
		ListCell   *lc;

		if (query->commandType != CMD_SELECT && query->commandType != CMD_INSERT &&
			(query->resultRelation == 0 || !is_reached(query, query->resultRelation)))
			return true;
		foreach(lc, query->rowMarks)
		{
			if (!is_reached(query, lfirst_node(RowMarkClause, lc)->rti))
				return true;
		}
		return query_tree_walker(query, may_recheck, context, 0);
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

/*
 * What the projection gives: the index's columns, without those that the plan
 * does not use, as it could not have them.  Expressions are among these: their
 * functions are the index owner's.
 */
static List *
returned_columns(List *indextlist)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, indextlist)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);
		Node	   *column = (Node *) entry->expr;

		entry = flatCopyTargetEntry(entry);
		if (entry->resjunk)
			entry->expr = (Expr *) makeNullConst(exprType(column), exprTypmod(column),
												 exprCollation(column));
		else if (!IsA(column, Var))
			elog(ERROR, "index-only scan takes an expression from an index");
		entry->resjunk = false;
		result = lappend(result, entry);
	}
	return result;
}

/* Let an index-only scan take its columns from records. */
static void
exchange_method(IndexOnlyScanState *node)
{
	IndexOnlyScan *plan = castNode(IndexOnlyScan, node->ss.ps.plan);

	/* a copy may be met more than once */
	if (node->ss.ps.ExecProcNodeReal == exec_index_only)
		return;
	node->ss.ss_currentScanDesc = (TableScanDesc)
		ExecBuildProjectionInfo(returned_columns(plan->indextlist), node->ss.ps.ps_ExprContext,
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
	else if (!verity_recheck_targets(state, &walk->targets))
		walk->unreached = true;
	return planstate_tree_walker(state, walk_plan, context);
}

/* Walk a plan that was set up, and what common table expressions run, which hang on no node. */
static void
walk_all(PlanState *top, EState *estate, PlanWalk *walk)
{
	/* what is made here goes with the query, as what its start made */
	MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);
	ListCell   *lc;

	(void) walk_plan(top, walk);
	foreach(lc, estate->es_subplanstates)
	{
		if (lfirst(lc) != NULL)
			(void) walk_plan(lfirst(lc), walk);
	}
	MemoryContextSwitchTo(old);
}

void
verity_index_only_exchange(PlanState *top, EState *estate)
{
	PlanWalk	walk = {0};

	walk_all(top, estate, &walk);
	if (walk.targets != NIL)
		verity_recheck_register(estate, walk.targets);
}

static void
index_only_executor_start(QueryDesc *query, int eflags)
{
	PlanWalk	walk = {0};

	if (prev_executor_start)
		prev_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
	if ((eflags & EXEC_FLAG_EXPLAIN_ONLY) != 0 || query->planstate == NULL)
		return;
	walk_all(query->planstate, query->estate, &walk);
	if (!walk.index_only)
		return;
	if (walk.unreached)
		elog(ERROR, "index-only scan of a verity table in a query that may test rows again");
	if (walk.targets != NIL)
		verity_recheck_register(query->estate, walk.targets);
}

void
verity_index_only_init(void)
{
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = index_only_executor_start;
}
