/*
 * index_only_recheck.c
 *	  Index-only scans in the copies of a plan that test changed rows again.
 *
 * Where a row to be locked or changed was changed by somebody else meanwhile,
 * EvalPlanQual tests its newest version by a copy of the plan, which it sets
 * up when it first needs one, and no hook is called.  But it follows upon the
 * locking of that version, which for a verity table is ours: the copy is set
 * up there and then, so that its index-only scans get their values as all
 * others do (index_only.c).
 *
 * So a query may have index-only scans where all tables whose rows it locks or
 * changes are verity tables.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "lib/ilist.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "am/rel.h"
#include "sql/index_only.h"

/* A node that may test rows of a table again. */
typedef struct RecheckTarget
{
	EPQState   *recheck;
	Oid			relid;
} RecheckTarget;

/* A running query with such nodes and with index-only scans. */
typedef struct RecheckQuery
{
	dlist_node	link;
	MemoryContextCallback at_end;
	List	   *targets;
} RecheckQuery;

static dlist_head running_queries = DLIST_STATIC_INIT(running_queries);

/* Note one table; false where another access method locks its rows. */
static bool
add_target(List **targets, EPQState *recheck, Relation rel)
{
	RecheckTarget *target;

	if (rel == NULL || !verity_is_table(rel))
		return false;
	target = palloc(sizeof(RecheckTarget));
	target->recheck = recheck;
	target->relid = RelationGetRelid(rel);
	*targets = lappend(*targets, target);
	return true;
}

bool
verity_recheck_targets(PlanState *state, List **targets)
{
	bool		reached = true;

	if (IsA(state, LockRowsState))
	{
		LockRowsState *node = (LockRowsState *) state;
		ListCell   *lc;

		foreach(lc, node->lr_arowMarks)
			reached &= add_target(targets, &node->lr_epqstate,
								  ((ExecAuxRowMark *) lfirst(lc))->rowmark->relation);
	}
	else if (IsA(state, ModifyTableState) && ((ModifyTableState *) state)->operation != CMD_INSERT)
	{
		ModifyTableState *node = (ModifyTableState *) state;

		for (int i = 0; i < node->mt_nrels; i++)
			reached &= add_target(targets, &node->mt_epqstate,
								  node->resultRelInfo[i].ri_RelationDesc);
	}
	return reached;
}

static void
forget_query(void *arg)
{
	dlist_delete(&((RecheckQuery *) arg)->link);
}

void
verity_recheck_register(EState *estate, List *targets)
{
	RecheckQuery *query = MemoryContextAllocZero(estate->es_query_cxt, sizeof(RecheckQuery));

	query->targets = targets;
	query->at_end.func = forget_query;
	query->at_end.arg = query;
	dlist_push_head(&running_queries, &query->link);
	MemoryContextRegisterResetCallback(estate->es_query_cxt, &query->at_end);
}

void
verity_recheck_follows(Relation rel)
{
	dlist_iter	iter;
	ListCell   *lc;

	dlist_foreach(iter, &running_queries)
	{
		foreach(lc, dlist_container(RecheckQuery, link, iter.cur)->targets)
		{
			RecheckTarget *target = lfirst(lc);

			if (target->relid != RelationGetRelid(rel))
				continue;
			/* for a DELETE there is one already */
			if (target->recheck->recheckestate == NULL)
				EvalPlanQualBegin(target->recheck);
			verity_index_only_exchange(target->recheck->recheckplanstate,
									   target->recheck->recheckestate);
		}
	}
}
