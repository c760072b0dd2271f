/*
 * all_visible.c
 *	  Keep what VACUUM found of a table's visibility.
 *
 * VACUUM counts in pg_class.relallvisible, for the planner alone (am/estimate.c),
 * the pages that are the same for everybody; those that the map marks as
 * without current records do not count at all.  ANALYZE and CREATE INDEX count
 * anew, in PostgreSQL's visibility map, which verity tables have none of, and
 * would leave 0.  So the number is noted when they read the table, and put
 * back before their transaction commits.
 *
 * Locks: theirs on the table, which keep each other and VACUUM out, last until
 * the end of the transaction, or until the subtransaction that took them is
 * undone: its notes go with it.  After a crash or an abort in between 0 stays,
 * until the next VACUUM.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/relation.h"
#include "access/xact.h"
#include "am/vacuum/vacuum.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

typedef struct NotedTable
{
	Oid			relid;
	int32		all_visible;
	SubTransactionId subid;		/* has the lock */
} NotedTable;

/* of this transaction, in its memory */
static List *noted_tables = NIL;

void
verity_note_all_visible(Relation rel)
{
	MemoryContext old;
	NotedTable *noted;
	ListCell   *lc;

	if (rel->rd_rel->relallvisible <= 0 || IsParallelWorker())
		return;
	foreach(lc, noted_tables)
	{
		if (((NotedTable *) lfirst(lc))->relid == RelationGetRelid(rel))
			return;
	}
	old = MemoryContextSwitchTo(TopTransactionContext);
	noted = palloc(sizeof(NotedTable));
	noted->relid = RelationGetRelid(rel);
	noted->all_visible = rel->rd_rel->relallvisible;
	noted->subid = GetCurrentSubTransactionId();
	noted_tables = lappend(noted_tables, noted);
	MemoryContextSwitchTo(old);
}

/* Put a table's number back, where it was counted anew and is still its own. */
static void
put_back(const NotedTable *noted)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(noted->relid));
	FormData_pg_class form;
	Relation	rel;

	if (!HeapTupleIsValid(tuple))
		return;
	form = *(Form_pg_class) GETSTRUCT(tuple);
	ReleaseSysCache(tuple);
	if (form.relallvisible != 0 || form.relpages < noted->all_visible)
		return;
	rel = try_relation_open(noted->relid, NoLock);
	if (rel == NULL)
		return;
	if (verity_is_table(rel))
		vac_update_relstats(rel, form.relpages, form.reltuples, noted->all_visible, 0,
							form.relhasindex, InvalidTransactionId, InvalidMultiXactId,
							NULL, NULL, true);
	relation_close(rel, NoLock);
}

static void
all_visible_xact_callback(XactEvent event, void *arg)
{
	ListCell   *lc;

	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
	{
		foreach(lc, noted_tables)
			put_back(lfirst(lc));
	}
	if (event != XACT_EVENT_PARALLEL_PRE_COMMIT)
		noted_tables = NIL;
}

/* A subtransaction's lock is its parent's when it ends, and gone when it is undone. */
static void
all_visible_subxact_callback(SubXactEvent event, SubTransactionId subid,
							 SubTransactionId parent, void *arg)
{
	ListCell   *lc;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	foreach(lc, noted_tables)
	{
		NotedTable *noted = lfirst(lc);

		if (noted->subid != subid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			noted->subid = parent;
		else
			noted_tables = foreach_delete_current(noted_tables, lc);
	}
}

void
verity_all_visible_init(void)
{
	RegisterSubXactCallback(all_visible_subxact_callback, NULL);
	RegisterXactCallback(all_visible_xact_callback, NULL);
}
