/*
 * publication.c
 *	  The journal is in no publication.
 *
 * PostgreSQL counts every ordinary table as one of FOR ALL TABLES, verity's
 * own included, but a subscriber could neither have nor fill them.  Nothing
 * of them is decoded; what is left is the list of tables for which a
 * subscriber asks.  It asks by SQL, in a walsender: there, queries about the
 * tables of publications do not see the schema that holds the journal.
 */
#include "postgres.h"

#include "am/journal/journal.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/planner.h"
#include "replication/walsender.h"
#include "sql/settings.h"
#include "utils/fmgroids.h"

static planner_hook_type next_planner = NULL;

/* Is the query about the tables of publications? */
static bool
asks_for_tables(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, FuncExpr) && ((FuncExpr *) node)->funcid == F_PG_GET_PUBLICATION_TABLES)
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, asks_for_tables, context, 0);
	return expression_tree_walker(node, asks_for_tables, context);
}

/* Leave the schema's tables out where the query reads pg_class as number rti. */
static void
hide_schema(Query *query, Index rti, Oid schema)
{
	Var		   *column = makeVar(rti, Anum_pg_class_relnamespace, OIDOID, -1, InvalidOid, 0);
	Const	   *value = makeConst(OIDOID, -1, InvalidOid, sizeof(Oid), ObjectIdGetDatum(schema), false, true);
	List	   *name = list_make2(makeString("pg_catalog"), makeString("<>"));
	Expr	   *other = make_opclause(OpernameGetOprid(name, OIDOID, OIDOID), BOOLOID, false,
									  (Expr *) column, (Expr *) value, InvalidOid, InvalidOid);

	set_opfuncid((OpExpr *) other);
	query->jointree->quals = make_and_qual(query->jointree->quals, (Node *) other);
}

/* Do so in a query and all in it. */
static bool
hide_everywhere(Node *node, void *context)
{
	Oid			schema = *(Oid *) context;
	Query	   *query = (Query *) node;
	ListCell   *lc;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, hide_everywhere, context);
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION && rte->relid == RelationRelationId)
			hide_schema(query, foreach_current_index(lc) + 1, schema);
	}
	return query_tree_walker(query, hide_everywhere, context, 0);
}

static PlannedStmt *
publication_planner(Query *parse, const char *query_string, int cursor_options, ParamListInfo params)
{
	if (am_walsender && verity_journal_exists() && asks_for_tables((Node *) parse, NULL))
	{
		Oid			schema = get_namespace_oid("verity", false);

		(void) hide_everywhere((Node *) parse, &schema);
	}
	return next_planner ? next_planner(parse, query_string, cursor_options, params) :
		standard_planner(parse, query_string, cursor_options, params);
}

void
verity_publication_init(void)
{
	next_planner = planner_hook;
	planner_hook = publication_planner;
}
