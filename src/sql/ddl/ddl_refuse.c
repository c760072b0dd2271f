/*
 * ddl_refuse.c
 *	  DDL that is refused before it begins: what would take a protected table's
 *	  history away, what touches the journal, and publications of it.
 *
 * Names are looked up without a lock that lasts: a table that is exchanged
 * meanwhile is caught when its storage is to go (policy.c).  Where the user may
 * not do the command anyway, PostgreSQL says so.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/tableam.h"
#include "am/journal/journal.h"
#include "am/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "sql/ddl/ddl.h"
#include "sql/ddl/policy.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#define EXTENSION_NAME "verity"
#define JOURNAL_AM_NAME "verity_journal"

bool
verity_is_journal_relation(Oid relid)
{
	Oid			am = get_table_am_oid(JOURNAL_AM_NAME, true);
	HeapTuple	tuple;
	bool		result;

	if (!OidIsValid(am))
		return false;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_class) GETSTRUCT(tuple))->relam == am;
	ReleaseSysCache(tuple);
	return result;
}

void
verity_refuse_journal_change(Oid relid, const char *operation)
{
	if (creating_extension)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot %s \"%s\" because it is part of the journal",
					operation, get_rel_name(relid)),
			 errhint("The journal belongs to extension verity, which alone writes it.")));
}

void
verity_refuse_journal_drop(Oid relid)
{
	/* as a member of the extension it can only go with that */
	if (verity_journal_protects())
		verity_refuse_journal_change(relid, "drop");
}

void
verity_refuse_extension_change(Oid extension, const char *operation)
{
	if (extension != get_extension_oid(EXTENSION_NAME, true) ||
		creating_extension || !verity_journal_exists() || !verity_journal_protects())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot %s extension \"%s\" because its journal protects history",
					operation, EXTENSION_NAME),
			 errhint("Drop the database, or use one where the extension is created with verity.protect_history off.")));
}

/* Refuse an operation on the relation that the command names, if it is the journal's. */
static void
refuse_if_journal(RangeVar *name, const char *operation)
{
	Oid			relid = name ? RangeVarGetRelid(name, NoLock, true) : InvalidOid;

	if (OidIsValid(relid) && object_ownercheck(RelationRelationId, relid, GetUserId()) &&
		verity_is_journal_relation(relid))
		verity_refuse_journal_change(relid, operation);
}

/* Refuse an operation on the table that the command names, if it is protected. */
static void
refuse_if_protected(RangeVar *name, const char *operation)
{
	Oid			relid = name ? RangeVarGetRelid(name, NoLock, true) : InvalidOid;
	Relation	rel;

	if (!OidIsValid(relid) || !object_ownercheck(RelationRelationId, relid, GetUserId()))
		return;
	/* without protection no lock is taken: the command may not want to wait */
	if (!verity_is_table_oid(relid) || !verity_journal_protects())
		return;
	rel = try_relation_open(relid, AccessShareLock);
	if (rel == NULL)
		return;
	verity_check_storage_change(rel, operation);
	relation_close(rel, AccessShareLock);
}

/* Does the command take the table's access method away?  DEFAULT has no name. */
static bool
leaves_verity(const AlterTableCmd *cmd)
{
	const char *name = cmd->name ? cmd->name : default_table_access_method;

	return cmd->subtype == AT_SetAccessMethod && strcmp(name, "verity") != 0;
}

static void
refuse_alter_table(AlterTableStmt *statement)
{
	ListCell   *lc;

	refuse_if_journal(statement->relation, "alter");
	foreach(lc, statement->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);

		if (leaves_verity(cmd))
			refuse_if_protected(statement->relation, "change the access method of");
		else if (cmd->subtype == AT_SetUnLogged)
			refuse_if_protected(statement->relation, "change the persistence of");
	}
}

/* Could the table be locked at once?  (Then it is not locked any more.) */
static bool
is_lockable(RangeVar *name)
{
	Oid			relid = RangeVarGetRelid(name, NoLock, true);

	if (!OidIsValid(relid) || !ConditionalLockRelationOid(relid, AccessShareLock))
		return false;
	UnlockRelationOid(relid, AccessShareLock);
	return true;
}

static void
refuse_vacuum_full(VacuumStmt *statement)
{
	bool		full = false;
	bool		skip_locked = false;
	ListCell   *lc;

	foreach(lc, statement->options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, "full") == 0)
			full = defGetBoolean(option);
		else if (strcmp(option->defname, "skip_locked") == 0)
			skip_locked = defGetBoolean(option);
	}
	if (!full)
		return;
	foreach(lc, statement->rels)
	{
		RangeVar   *name = lfirst_node(VacuumRelation, lc)->relation;

		refuse_if_journal(name, "rewrite");

		/* what VACUUM skips need not wait here; rewriting checks once more */
		if (!skip_locked || is_lockable(name))
			refuse_if_protected(name, "rewrite");
	}
}

/* A rule ON SELECT makes a view of a table: asked again when it is made. */
static void
refuse_rule(RuleStmt *statement)
{
	refuse_if_journal(statement->relation, "make a rule on");
	if (statement->event == CMD_SELECT)
		refuse_if_protected(statement->relation, "make a view of");
}

/* The schema that CURRENT_SCHEMA stands for, if there is one. */
static Oid
current_schema_oid(void)
{
	List	   *path = fetch_search_path(false);
	Oid			schema = path == NIL ? InvalidOid : linitial_oid(path);

	list_free(path);
	return schema;
}

/* Refuse the journal's schema in a publication, and tables in it. */
static void
refuse_publication(List *objects)
{
	Oid			schema = get_namespace_oid("verity", true);
	ListCell   *lc;

	foreach(lc, objects)
	{
		PublicationObjSpec *object = lfirst_node(PublicationObjSpec, lc);
		Oid			named = InvalidOid;

		if (object->pubobjtype == PUBLICATIONOBJ_TABLE)
			named = get_rel_namespace(RangeVarGetRelid(object->pubtable->relation, NoLock, true));
		else if (object->pubobjtype == PUBLICATIONOBJ_TABLES_IN_SCHEMA)
			named = get_namespace_oid(object->name, true);
		else if (object->pubobjtype == PUBLICATIONOBJ_TABLES_IN_CUR_SCHEMA)
			named = current_schema_oid();
		if (!OidIsValid(named) || named != schema || !verity_journal_exists())
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot publish tables of schema \"verity\""),
				 errdetail("They hold the journal, which belongs to this database alone."),
				 errhint("FOR ALL TABLES leaves them out.")));
	}
}

/* DROP EXTENSION verity, or taking a member out of it. */
static void
refuse_extension(Node *statement)
{
	ListCell   *lc;

	if (IsA(statement, AlterExtensionContentsStmt))
	{
		AlterExtensionContentsStmt *contents = (AlterExtensionContentsStmt *) statement;

		if (contents->action < 0 && strcmp(contents->extname, EXTENSION_NAME) == 0)
			verity_refuse_extension_change(get_extension_oid(EXTENSION_NAME, true), "alter");
		return;
	}
	if (((DropStmt *) statement)->removeType != OBJECT_EXTENSION)
		return;
	foreach(lc, ((DropStmt *) statement)->objects)
	{
		if (strcmp(strVal(lfirst(lc)), EXTENSION_NAME) == 0)
			verity_refuse_extension_change(get_extension_oid(EXTENSION_NAME, true), "drop");
	}
}

/* The journal is found by its schema's name: without it nothing goes. */
static void
refuse_rename(RenameStmt *statement)
{
	if (statement->renameType != OBJECT_SCHEMA || strcmp(statement->subname, "verity") != 0 ||
		!verity_journal_exists())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot rename schema \"verity\" because it holds the journal"),
			 errhint("The journal belongs to extension verity, which alone writes it.")));
}

void
verity_refuse_utility(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_AlterTableStmt:
			refuse_alter_table((AlterTableStmt *) statement);
			break;
		case T_RenameStmt:
			refuse_rename((RenameStmt *) statement);
			break;
		case T_IndexStmt:
			refuse_if_journal(((IndexStmt *) statement)->relation, "index");
			break;
		case T_CreateTrigStmt:
			refuse_if_journal(((CreateTrigStmt *) statement)->relation, "make a trigger on");
			break;
		case T_RuleStmt:
			refuse_rule((RuleStmt *) statement);
			break;
		case T_CreatePolicyStmt:
			refuse_if_journal(((CreatePolicyStmt *) statement)->table, "make a policy on");
			break;
		case T_ClusterStmt:
			refuse_if_journal(((ClusterStmt *) statement)->relation, "rewrite");
			refuse_if_protected(((ClusterStmt *) statement)->relation, "rewrite");
			break;
		case T_VacuumStmt:
			refuse_vacuum_full((VacuumStmt *) statement);
			break;
		case T_CreatePublicationStmt:
			refuse_publication(((CreatePublicationStmt *) statement)->pubobjects);
			break;
		case T_AlterPublicationStmt:
			if (((AlterPublicationStmt *) statement)->action != AP_DropObjects)
				refuse_publication(((AlterPublicationStmt *) statement)->pubobjects);
			break;
		case T_AlterExtensionContentsStmt:
		case T_DropStmt:
			refuse_extension(statement);
			break;
		default:
			break;
	}
}
