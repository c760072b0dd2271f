/*
 * xact_schema.c
 *	  Tables whose definition may have changed in the current transaction.
 *
 * A dirty table is computed at its next sealing or at pre-commit, whichever
 * comes first.  Where that happened in a subtransaction that aborts, its
 * schema entry is gone with it, so the table is dirty again.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "am/journal/journal.h"
#include "am/journal/xact.h"
#include "am/journal/xact_schema.h"
#include "sql/ddl/schema.h"

typedef struct DirtyTable
{
	Oid			relid;			/* hash key; InvalidOid: every table */
	bool		dirty;
	SubTransactionId cleaned_in;	/* where not dirty */
} DirtyTable;

static HTAB *tables = NULL;

static DirtyTable *
find_table(Oid relid, HASHACTION action, bool *found)
{
	if (tables == NULL)
	{
		HASHCTL		ctl = {0};

		*found = false;
		if (action == HASH_FIND)
			return NULL;
		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(DirtyTable);
		ctl.hcxt = TopTransactionContext;
		tables = hash_create("verity dirty definitions", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	return hash_search(tables, &relid, action, found);
}

void
verity_xact_schema_dirty(Oid relid)
{
	bool		found;
	DirtyTable *table = find_table(relid, HASH_ENTER, &found);
	HASH_SEQ_STATUS seq;

	table->dirty = true;
	if (OidIsValid(relid))
		return;
	/* those that were computed before are to be computed again */
	hash_seq_init(&seq, tables);
	while ((table = hash_seq_search(&seq)) != NULL)
		table->dirty = true;
}

bool
verity_xact_schema_is_dirty(Oid relid)
{
	bool		found;
	DirtyTable *table = find_table(relid, HASH_FIND, &found);

	if (!found)
		table = find_table(InvalidOid, HASH_FIND, &found);
	return found && table->dirty;
}

void
verity_xact_schema_clean(Oid relid)
{
	bool		found;
	DirtyTable *table;

	if (tables == NULL)
		return;
	table = find_table(relid, HASH_ENTER, &found);
	table->dirty = false;
	table->cleaned_in = GetCurrentSubTransactionId();
}

bool
xact_schema_any_dirty(void)
{
	return tables != NULL;
}

void
xact_schema_reset(void)
{
	/* the table's memory goes with TopTransactionContext */
	tables = NULL;
}

void
xact_schema_subcommit(SubTransactionId subid, SubTransactionId parent)
{
	HASH_SEQ_STATUS seq;
	DirtyTable *table;

	if (tables == NULL)
		return;
	hash_seq_init(&seq, tables);
	while ((table = hash_seq_search(&seq)) != NULL)
	{
		if (!table->dirty && table->cleaned_in == subid)
			table->cleaned_in = parent;
	}
}

void
xact_schema_subabort(SubTransactionId subid)
{
	HASH_SEQ_STATUS seq;
	DirtyTable *table;

	if (tables == NULL)
		return;
	hash_seq_init(&seq, tables);
	while ((table = hash_seq_search(&seq)) != NULL)
	{
		if (!table->dirty && table->cleaned_in == subid)
			table->dirty = true;
	}
}

static void
compute_one(Oid relid)
{
	Relation	rel = try_relation_open(relid, AccessShareLock);
	bool		other;

	/* it may have been dropped since */
	if (rel != NULL)
	{
		other = verity_is_table(rel) && verity_schema_refresh(rel, verity_rel(rel));

		/* locks on all tables that stayed as they were would end in deadlocks with what drops several */
		relation_close(rel, other ? NoLock : AccessShareLock);
	}
	verity_xact_schema_clean(relid);
}

/* Tables that are dirty now. */
static List *
dirty_tables(void)
{
	HASH_SEQ_STATUS seq;
	DirtyTable *table;
	List	   *relids = NIL;
	ListCell   *cell;
	List	   *dirty = NIL;

	if (verity_xact_schema_is_dirty(InvalidOid))
		relids = verity_all_tables();
	hash_seq_init(&seq, tables);
	while ((table = hash_seq_search(&seq)) != NULL)
	{
		if (OidIsValid(table->relid))
			relids = list_append_unique_oid(relids, table->relid);
	}
	foreach(cell, relids)
	{
		if (verity_xact_schema_is_dirty(lfirst_oid(cell)))
			dirty = lappend_oid(dirty, lfirst_oid(cell));
	}
	list_free(relids);
	return dirty;
}

void
xact_schema_compute(void)
{
	List	   *relids;
	ListCell   *cell;

	if (tables == NULL)
		return;
	if (verity_journal_exists())
	{
		/* make the transaction's own last catalog changes visible */
		CommandCounterIncrement();
		relids = dirty_tables();
		foreach(cell, relids)
			compute_one(lfirst_oid(cell));
		list_free(relids);
	}
	if (verity_xact_schema_is_dirty(InvalidOid))
		verity_xact_schema_clean(InvalidOid);
}
