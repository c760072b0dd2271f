/*
 * planner.c
 *	  What the planner must know of verity tables.
 *
 * Index-only scans take their values from records (index_only.c).  There are
 * none in queries that may test rows again out of reach, and none takes a
 * value that an index has by an expression: to have it from a record would run
 * functions of the index's owner as whoever reads.
 */
#include "postgres.h"

#include "access/table.h"

#include "am/asof.h"
#include "am/rel.h"
#include "am/table.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/plancat.h"
#include "optimizer/planner.h"
#include "sql/index_only.h"
#include "sql/past/asof_plan.h"
#include "sql/settings.h"

static get_relation_info_hook_type next_relation_info = NULL;
static set_rel_pathlist_hook_type next_pathlist = NULL;
static planner_hook_type next_planner = NULL;

/* Of the query that is being planned: may it have index-only scans? */
static bool index_only_allowed = false;

/* Say which columns an index-only scan may have; none, and there is no scan. */
static void
limit_columns(IndexOptInfo *index)
{
	for (int i = 0; i < index->ncolumns; i++)
	{
		if (!index_only_allowed || index->indexkeys[i] == 0)
			index->canreturn[i] = false;
	}
}

static void
relation_info(PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel)
{
	ListCell   *lc;

	if (next_relation_info)
		next_relation_info(root, relid, inhparent, rel);
#if PG_VERSION_NUM >= 170000
	/* today's NOT NULL proves nothing of the past */
	if (verity_asof_setting() != 0)
		rel->notnullattnums = NULL;
#endif
	if (rel->indexlist == NIL || !verity_is_table_oid(relid))
		return;

	foreach(lc, rel->indexlist)
		limit_columns(lfirst_node(IndexOptInfo, lc));
	if (verity_asof_setting() != 0)
	{
		Relation	table = table_open(relid, NoLock);

		verity_asof_relation_info(table, rel);
		table_close(table, NoLock);
	}
}

/*
 * A query that needs no column at all still gets index-only paths: the table
 * is asked for each row's visibility anyway, so plain index scans they are.
 */
static void
make_plain_index_scans(List *paths)
{
	ListCell   *lc;

	foreach(lc, paths)
	{
		Path	   *path = (Path *) lfirst(lc);

		if (path->pathtype == T_IndexOnlyScan)
			path->pathtype = T_IndexScan;
	}
}

static void
relation_paths(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	if (next_pathlist)
		next_pathlist(root, rel, rti, rte);
	verity_asof_relation_paths(rel);
	if (index_only_allowed || rte->rtekind != RTE_RELATION || rel->indexlist == NIL ||
		!verity_is_table_oid(rte->relid))
		return;
	make_plain_index_scans(rel->pathlist);
	make_plain_index_scans(rel->partial_pathlist);
}

/* Planning may need to plan and run other queries. */
static PlannedStmt *
plan_query(Query *parse, const char *query_string, int cursor_options, ParamListInfo params)
{
	bool		saved = index_only_allowed;
	PlannedStmt *result;

	index_only_allowed = verity_index_only_allowed(parse);
	PG_TRY();
	{
		result = next_planner ? next_planner(parse, query_string, cursor_options, params) :
			standard_planner(parse, query_string, cursor_options, params);
	}
	PG_FINALLY();
	{
		index_only_allowed = saved;
	}
	PG_END_TRY();
	return result;
}

void
verity_planner_init(void)
{
	next_planner = planner_hook;
	planner_hook = plan_query;
	next_relation_info = get_relation_info_hook;
	get_relation_info_hook = relation_info;
	next_pathlist = set_rel_pathlist_hook;
	set_rel_pathlist_hook = relation_paths;
}
