/*
 * index_only.h
 *	  Index-only scans that take their values from records.
 */
#ifndef VERITY_INDEX_ONLY_H
#define VERITY_INDEX_ONLY_H

#include "nodes/execnodes.h"
#include "nodes/parsenodes.h"
#include "utils/relcache.h"

/*
 * May the tables of this query be read by index-only scans?  False where rows
 * may be locked or changed of tables of other access methods: a row that
 * somebody else changed meanwhile is tested again by a copy of the plan, which
 * is not reached then.
 */
extern bool verity_index_only_allowed(Query *query);

/*
 * Let the index-only scans of a plan's copy that was set up take their values
 * from records, and those of copies that its own nodes may set up.
 */
extern void verity_index_only_exchange(PlanState *top, EState *estate);

extern void verity_index_only_init(void);

/* --- index_only_recheck.c --- */

/*
 * Add the tables whose rows this node may test again; false where one of them
 * is no verity table.
 */
extern bool verity_recheck_targets(PlanState *state, List **targets);

/*
 * The query, or copy of one, has index-only scans, and nodes that may test rows
 * of these tables again.  The list is taken over.
 */
extern void verity_recheck_register(EState *estate, List *targets);

/*
 * A row's newest version was locked in place of an older one, and put into the
 * slot: it may be tested again next.
 */
extern void verity_recheck_follows(const TupleTableSlot *slot);

#endif							/* VERITY_INDEX_ONLY_H */
