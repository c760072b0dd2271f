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
 * Other queries may be running that could change rows of the same table: open
 * cursors, and those whose functions or triggers run this one.  They are left
 * alone, as what a copy opens belongs to whoever runs now and would go with
 * him.  The node that locks is known by the slot that it has the row put into,
 * which is its own.
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

/* A table whose rows a node may test again. */
typedef struct RecheckTarget
{
	EPQState   *recheck;
	Index		rti;
	ResultRelInfo *changed;		/* NULL where rows are but locked */
} RecheckTarget;

/* A running query with such nodes and with index-only scans, or a copy of its plan. */
typedef struct RecheckQuery
{
	dlist_node	link;
	MemoryContextCallback at_end;
	EState	   *estate;
	List	   *targets;
} RecheckQuery;

static dlist_head running_queries = DLIST_STATIC_INIT(running_queries);

/* Note one table; false where another access method locks its rows. */
static bool
add_target(List **targets, EPQState *recheck, Relation rel, Index rti, ResultRelInfo *changed)
{
	RecheckTarget *target;

	if (rel == NULL || !verity_is_table(rel))
		return false;
	target = palloc(sizeof(RecheckTarget));
	target->recheck = recheck;
	target->rti = rti;
	target->changed = changed;
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
		{
			ExecRowMark *mark = ((ExecAuxRowMark *) lfirst(lc))->rowmark;

			reached &= add_target(targets, &node->lr_epqstate, mark->relation, mark->rti, NULL);
		}
	}
	else if (IsA(state, ModifyTableState) && ((ModifyTableState *) state)->operation != CMD_INSERT)
	{
		ModifyTableState *node = (ModifyTableState *) state;

		for (int i = 0; i < node->mt_nrels; i++)
		{
			ResultRelInfo *changed = &node->resultRelInfo[i];

			reached &= add_target(targets, &node->mt_epqstate, changed->ri_RelationDesc,
								  changed->ri_RangeTableIndex, changed);
		}
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
	RecheckQuery *query;
	dlist_iter	iter;

	/* a copy that is used again is known */
	dlist_foreach(iter, &running_queries)
	{
		if (dlist_container(RecheckQuery, link, iter.cur)->estate == estate)
		{
			list_free_deep(targets);
			return;
		}
	}
	query = MemoryContextAllocZero(estate->es_query_cxt, sizeof(RecheckQuery));
	query->estate = estate;
	query->targets = targets;
	query->at_end.func = forget_query;
	query->at_end.arg = query;
	dlist_push_head(&running_queries, &query->link);
	MemoryContextRegisterResetCallback(estate->es_query_cxt, &query->at_end);
}

/* Is it the slot that a node gives for rows of the table to be locked in, or triggers for it? */
static bool
is_locked_into(const RecheckTarget *target, const TupleTableSlot *slot)
{
	return target->recheck->relsubs_slot[target->rti - 1] == slot ||
		(target->changed != NULL && target->changed->ri_TrigOldSlot == slot);
}

/* What tests the row again that was locked into the slot; NULL where none does. */
static EPQState *
find_recheck(const TupleTableSlot *slot)
{
	dlist_iter	iter;
	ListCell   *lc;

	dlist_foreach(iter, &running_queries)
	{
		foreach(lc, dlist_container(RecheckQuery, link, iter.cur)->targets)
		{
			RecheckTarget *target = lfirst(lc);

			if (is_locked_into(target, slot))
				return target->recheck;
		}
	}
	return NULL;
}

void
verity_recheck_follows(const TupleTableSlot *slot)
{
	EPQState   *recheck = find_recheck(slot);

	if (recheck == NULL)
		return;
	/* for a DELETE there is one already */
	if (recheck->recheckestate == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(recheck->parentestate->es_query_cxt);

		EvalPlanQualBegin(recheck);
		MemoryContextSwitchTo(old);
	}
	verity_index_only_exchange(recheck->recheckplanstate, recheck->recheckestate);
}
