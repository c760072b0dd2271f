/*
 * asof_plan.c
 *	  Planning for the past: today's definitions prove nothing about it.
 *
 * While verity.as_of is set, plans are made without constraint exclusion,
 * without pruning and joining by partition bounds, without the order that
 * bounds give, and with key indexes only, those that are complete for the
 * position (RULES F 41).  NOT NULL proves nothing in PostgreSQL 15's planner
 * but through the primary key, whose functional dependencies are kept where
 * its index is that old.
 *
 * Each plan carries the position that it was made for, in two items of its
 * list of invalidations that name no catalog cache.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/pg_inherits.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/plancat.h"
#include "optimizer/planner.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "am/rel.h"
#include "sql/past/asof_plan.h"

/* "Caches" of the items that name a position: its low and its high half. */
#define MARK_LOW (-0x7665)
#define MARK_HIGH (-0x7666)

static planner_hook_type prev_planner = NULL;

/* --- the mark --- */

static PlanInvalItem *
mark_item(int cache, uint32 value)
{
	PlanInvalItem *item = makeNode(PlanInvalItem);

	item->cacheId = cache;
	item->hashValue = value;
	return item;
}

static void
mark_plan(PlannedStmt *plan, VerityPosition position)
{
	plan->invalItems = lappend(plan->invalItems, mark_item(MARK_LOW, (uint32) position));
	plan->invalItems = lappend(plan->invalItems, mark_item(MARK_HIGH, (uint32) (position >> 32)));
}

bool
verity_plan_is_for(const PlannedStmt *plan, VerityPosition position)
{
	VerityPosition marked = 0;
	ListCell   *cell;

	foreach(cell, plan->invalItems)
	{
		PlanInvalItem *item = lfirst_node(PlanInvalItem, cell);

		if (item->cacheId == MARK_LOW)
			marked |= item->hashValue;
		else if (item->cacheId == MARK_HIGH)
			marked |= (uint64) item->hashValue << 32;
	}
	return marked == position;
}

/* --- row security --- */

/* Is it a verity table, or one that has such partitions or children? */
static bool
holds_verity_rows(Oid relid)
{
	ListCell   *cell;

	if (verity_is_table_oid(relid))
		return true;
	if (!has_subclass(relid))
		return false;
	foreach(cell, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		if (verity_is_table_oid(lfirst_oid(cell)))
			return true;
	}
	return false;
}

/* Does a row-security condition read a verity table? */
static bool
reads_verity_table(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		return rte->rtekind == RTE_RELATION && holds_verity_rows(rte->relid);
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
					 errhint("Read as a role that bypasses row security, or let the policy ask a SECURITY DEFINER function, which reads the present.")));
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, check_row_security, context, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, check_row_security, context);
}

/* --- keys --- */

/*
 * Was this unique index there, as a key, at the position?  Of a partitioned
 * table's index each partition's must have been.  True for other tables' ones.
 */
static bool
key_holds(Oid index_oid, VerityPosition position)
{
	bool		holds = true;
	ListCell   *cell;

	foreach(cell, find_all_inheritors(index_oid, AccessShareLock, NULL))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		Relation	table = table_open(index->rd_index->indrelid, AccessShareLock);

		if (verity_is_table(table) && verity_rel(table)->journalled)
		{
			uint64		valid_from = verity_index_key_since(table, index);

			holds = holds && valid_from != 0 && valid_from <= position;
		}
		table_close(table, NoLock);
		index_close(index, NoLock);
	}
	return holds;
}

/* Is there a table whose primary key proves nothing about the position? */
static bool
has_doubtful_key(Node *node, VerityPosition *position)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;
		Relation	table;
		Oid			key;

		if (rte->rtekind != RTE_RELATION || !holds_verity_rows(rte->relid))
			return false;
		table = table_open(rte->relid, AccessShareLock);
		key = RelationGetPrimaryKeyIndex(table, false);
		table_close(table, NoLock);
		return OidIsValid(key) && !key_holds(key, *position);
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, has_doubtful_key, position, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, has_doubtful_key, position);
}

/* Errors where a query leans on a primary key for what it does not group by. */
static void
check_functional_dependency(Query *query, VerityPosition position)
{
	ListCell   *cell;

	foreach(cell, query->constraintDeps)
	{
		Oid			constraint = lfirst_oid(cell);

		if (!key_holds(get_constraint_index(constraint), position))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot group by a primary key that is younger than the position that is read"),
					 errdetail("The index of constraint \"%s\" was made later.", get_constraint_name(constraint)),
					 errhint("Group by every column that is selected.")));
	}
}

/*
 * The planner leaves out of GROUP BY what today's primary key determines, but
 * never out of grouping sets: make it the one set that it is.
 */
static bool
keep_group_columns(Node *node, VerityPosition *position)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;

		check_functional_dependency(query, *position);
		if (list_length(query->groupClause) > 1 && query->groupingSets == NIL &&
			has_doubtful_key((Node *) query, position))
		{
			List	   *references = NIL;
			ListCell   *cell;

			foreach(cell, query->groupClause)
				references = lappend_int(references, lfirst_node(SortGroupClause, cell)->tleSortGroupRef);
			query->groupingSets = list_make1(makeGroupingSet(GROUPING_SET_SIMPLE, references, -1));
		}
		return query_tree_walker(query, keep_group_columns, position, 0);
	}
	return expression_tree_walker(node, keep_group_columns, position);
}

/* --- hooks --- */

static PlannedStmt *
call_planner(Query *parse, const char *query_string, int cursorOptions, ParamListInfo params)
{
	if (prev_planner)
		return prev_planner(parse, query_string, cursorOptions, params);
	return standard_planner(parse, query_string, cursorOptions, params);
}

/* Plan without what today's constraints and bounds would prove. */
static PlannedStmt *
plan_without_proofs(Query *parse, const char *query_string, int cursorOptions, ParamListInfo params)
{
	int			save_exclusion = constraint_exclusion;
	bool		save_pruning = enable_partition_pruning;
	bool		save_join = enable_partitionwise_join;
	bool		save_aggregate = enable_partitionwise_aggregate;
	PlannedStmt *result;

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

static PlannedStmt *
asof_planner(Query *parse, const char *query_string, int cursorOptions, ParamListInfo params)
{
	VerityPosition position = verity_asof_setting();
	PlannedStmt *result;

	if (likely(position == 0))
		return call_planner(parse, query_string, cursorOptions, params);
	if (verity_asof_active() != 0)
	{
		(void) check_row_security((Node *) parse, NULL);
		(void) keep_group_columns((Node *) parse, &position);
	}
	result = plan_without_proofs(parse, query_string, cursorOptions, params);
	mark_plan(result, position);
	return result;
}

void
verity_asof_relation_info(Relation rel, RelOptInfo *info)
{
	VerityPosition position = verity_asof_setting();
	Oid			primary;
	Oid			identity;
	List	   *kept = NIL;
	ListCell   *cell;

	if (position == 0 || !verity_rel(rel)->journalled)
		return;
	primary = RelationGetPrimaryKeyIndex(rel, false);
	identity = RelationGetReplicaIndex(rel);
	foreach(cell, info->indexlist)
	{
		IndexOptInfo *index = lfirst(cell);

		if ((index->indexoid == primary || index->indexoid == identity) &&
			key_holds(index->indexoid, position))
			kept = lappend(kept, index);
	}
	info->indexlist = kept;
}

void
verity_asof_relation_paths(RelOptInfo *rel)
{
	ListCell   *cell;

	if (verity_asof_setting() == 0)
		return;
	foreach(cell, rel->pathlist)
	{
		Path	   *path = lfirst(cell);

		if (IsA(path, AppendPath) && list_length(((AppendPath *) path)->subpaths) > 1)
			path->pathkeys = NIL;
	}
}

void
verity_asof_plan_init(void)
{
	prev_planner = planner_hook;
	planner_hook = asof_planner;
}
