/*
 * ddl.c
 *	  What happens to verity tables and their journal when definitions change.
 *
 * The utility hook refuses what can be refused before it begins
 * (ddl_refuse.c); the object access hook catches drops and truncations that
 * come by way of something else (CASCADE, a schema, an owner), and rules that
 * make a view of a table.
 *
 * After a command that changes definitions, the tables that it touched are
 * marked dirty (xact.h), so that their definition is computed again at the
 * next sealing or at pre-commit.  Which tables, the relcache invalidations
 * of the command say.  What a definition takes from elsewhere (types,
 * domains, collations, names of other things) invalidates no table: there
 * the object access hook says what was altered, and dependents.c which tables
 * that reaches.  Those whose digest stays the same stay as they are.
 *
 * Other statements pay one test here.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "am/table.h"
#include "am/journal/journal.h"
#include "am/journal/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_type.h"
#include "sql/ddl/ddl.h"
#include "sql/ddl/dependents.h"
#include "sql/ddl/schema.h"
#include "sql/settings.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* More relations than this in one command: all tables are marked. */
#define COLLECTED_MAX 256

static ProcessUtility_hook_type prev_ProcessUtility;
static object_access_hook_type prev_object_access;

/*
 * Relations invalidated since a DDL command began.  Fixed, because an
 * invalidation callback must not allocate.
 */
static int	collecting = 0;		/* depth of DDL commands */
static int	collected_count = 0;
static bool collected_all = false;
static Oid	collected[COLLECTED_MAX];

/* The same of objects that definitions may name or contain. */
static bool note_alterations = false;
static int	altered_count = 0;
static DependentObject altered[COLLECTED_MAX];

static bool
is_collected(Oid relid)
{
	for (int i = 0; i < collected_count; i++)
	{
		if (collected[i] == relid)
			return true;
	}
	return false;
}

static void
collect_relation(Datum arg, Oid relid)
{
	if (collecting == 0 || is_collected(relid))
		return;
	if (!OidIsValid(relid) || collected_count == COLLECTED_MAX)
		collected_all = true;
	else
		collected[collected_count++] = relid;
}

List *
verity_all_tables(void)
{
	Oid			am = verity_am_oid();
	List	   *result = NIL;
	Relation	catalog;
	SysScanDesc scan;
	HeapTuple	row;

	if (!OidIsValid(am))
		return NIL;
	catalog = table_open(RelationRelationId, AccessShareLock);
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(row);

		/* another session's temporary table cannot be read, nor changed */
		if (form->relam == am &&
			(form->relkind == RELKIND_RELATION || form->relkind == RELKIND_MATVIEW) &&
			!isOtherTempNamespace(form->relnamespace))
			result = lappend_oid(result, form->oid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return result;
}

/* Note an object that definitions may name or contain. */
static void
note_altered(Oid class, Oid object)
{
	if (altered_count == COLLECTED_MAX)
		collected_all = true;
	else
	{
		altered[altered_count].class = class;
		altered[altered_count++].object = object;
	}
}

/* A domain changes with its constraints. */
static void
note_domain_of_constraint(Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));

	if (!HeapTupleIsValid(tuple))
		return;
	if (OidIsValid(((Form_pg_constraint) GETSTRUCT(tuple))->contypid))
		note_altered(TypeRelationId, ((Form_pg_constraint) GETSTRUCT(tuple))->contypid);
	ReleaseSysCache(tuple);
}

/* Commands that change what definitions take from elsewhere. */
static bool
changes_elsewhere(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_RenameStmt:
		case T_AlterObjectSchemaStmt:
		case T_AlterEnumStmt:
		case T_AlterDomainStmt:
		case T_AlterTypeStmt:
		case T_AlterCollationStmt:
			return true;
		case T_AlterTableStmt:
			return ((AlterTableStmt *) statement)->objtype == OBJECT_TYPE;
		default:
			return false;
	}
}

/*
 * Say of a table that the command made USING verity that it is sealed, but not
 * proven.  Not of one that is verity's by default_table_access_method alone:
 * nobody asked for history there.
 */
static void
notice_uncovered(Node *statement)
{
	RangeVar   *name = NULL;
	bool		explicit = false;
	Oid			relid;
	char		kind;

	if (IsA(statement, CreateStmt))
	{
		name = ((CreateStmt *) statement)->relation;
		explicit = ((CreateStmt *) statement)->accessMethod != NULL;
	}
	else if (IsA(statement, CreateTableAsStmt))
	{
		name = ((CreateTableAsStmt *) statement)->into->rel;
		explicit = ((CreateTableAsStmt *) statement)->into->accessMethod != NULL;
	}
	if (!explicit)
		return;
	relid = RangeVarGetRelid(name, NoLock, true);

	if (!OidIsValid(relid) || !is_collected(relid) || !verity_is_table_oid(relid))
		return;
	kind = get_rel_relkind(relid);
	if (kind == RELKIND_RELATION && get_rel_persistence(relid) == RELPERSISTENCE_PERMANENT)
		return;
	ereport(NOTICE,
			(errmsg("%s \"%s\" is sealed, but not journalled",
					kind == RELKIND_MATVIEW ? "materialized view" :
					get_rel_persistence(relid) == RELPERSISTENCE_TEMP ? "temporary table" : "unlogged table",
					get_rel_name(relid)),
			 errdetail("It keeps no history, and verity_verify() lists it as not covered.")));
}

/*
 * Is it a verity table that this transaction has locked?  What others are
 * doing sends invalidations, too, and GRANT locks no table.
 */
static bool
is_own_change(Oid relid)
{
	Relation	rel;
	bool		own;

	/* the relcache entry of what others may drop just now cannot be built */
	if (!CheckRelationOidLockedByMe(relid, AccessShareLock, true))
		return false;
	rel = RelationIdGetRelation(relid);
	if (!RelationIsValid(rel))
		return false;
	own = !RELATION_IS_OTHER_TEMP(rel);
	RelationClose(rel);
	return own;
}

/*
 * Output plugins read a user catalog table as of the WAL that they decode, by
 * command ids that only heap's WAL records have.
 */
static void
refuse_user_catalog_table(Oid relid)
{
	Relation	rel = relation_open(relid, NoLock);

	if (RelationIsUsedAsCatalogTable(rel))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("verity table \"%s\" cannot be a user catalog table", RelationGetRelationName(rel)),
				 errdetail("Logical decoding would not see its rows as they were."),
				 errhint("Leave user_catalog_table off, or use a heap table.")));
	relation_close(rel, NoLock);
}

/* A table that this transaction has locked was changed, perhaps. */
static void
table_changed(Oid relid)
{
	refuse_user_catalog_table(relid);
	verity_index_keys_changed(relid);
}

/* Look at whichever tables this transaction has locked. */
static void
look_at_all(void)
{
	ListCell   *lc;

	foreach(lc, verity_all_tables())
	{
		if (is_own_change(lfirst_oid(lc)))
			table_changed(lfirst_oid(lc));
	}
}

/* A domain of which nothing was altered (no such constraint) stands for itself, not for all. */
static void
note_domain_of_command(const AlterDomainStmt *statement)
{
	Oid			domain = typenameTypeId(NULL, makeTypeNameFromNameList(statement->typeName));

	note_altered(TypeRelationId, domain);
}

/* Mark the tables that the command touched, directly or through others. */
static void
mark_collected(Node *statement)
{
	ListCell   *lc;

	for (int i = 0; i < collected_count && !collected_all; i++)
	{
		if (!is_own_change(collected[i]))
			continue;
		if (verity_is_table_oid(collected[i]))
		{
			verity_xact_schema_dirty(collected[i]);
			table_changed(collected[i]);
		}
		else if (OidIsValid(get_rel_type_id(collected[i])))
			note_altered(TypeRelationId, get_rel_type_id(collected[i]));
	}
	notice_uncovered(statement);
	if (altered_count == 0 && IsA(statement, AlterDomainStmt))
		note_domain_of_command((AlterDomainStmt *) statement);
	if (collected_all)
		look_at_all();
	if (collected_all || (changes_elsewhere(statement) && altered_count == 0))
		verity_xact_schema_dirty(InvalidOid);
	else if (altered_count > 0)
	{
		foreach(lc, verity_dependent_tables(altered, altered_count))
			verity_xact_schema_dirty(lfirst_oid(lc));
	}
}

/* Run a DDL command and mark what it touched. */
static void
run_ddl(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
		ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *queryEnv,
		DestReceiver *dest, QueryCompletion *qc)
{
	if (collecting++ == 0)
	{
		collected_count = 0;
		collected_all = false;
		altered_count = 0;
		note_alterations = false;
	}
	if (changes_elsewhere(pstmt->utilityStmt))
		note_alterations = true;
	PG_TRY();
	{
		prev_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);

		/* the last of its invalidations come with the command's end */
		if (IsTransactionState())
		{
			CommandCounterIncrement();
			if (OidIsValid(verity_am_oid()))
				mark_collected(pstmt->utilityStmt);
		}
	}
	PG_FINALLY();
	{
		collecting--;
	}
	PG_END_TRY();
}

static void
verity_ProcessUtility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					  ProcessUtilityContext context, ParamListInfo params,
					  QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *statement = pstmt->utilityStmt;
	bool		is_ddl = GetCommandLogLevel(statement) == LOGSTMT_DDL;

	if (!IsBinaryUpgrade && IsTransactionState() &&
		(is_ddl || IsA(statement, VacuumStmt)) && OidIsValid(verity_am_oid()))
		verity_refuse_utility(statement);
	if (is_ddl && !IsBinaryUpgrade)
		run_ddl(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		prev_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

static void
relation_dropped(Oid relid)
{
	Relation	rel;

	if (verity_is_journal_relation(relid))
	{
		verity_refuse_journal_drop(relid);
		journal_note_drop(relid);
	}
	/* not where the extension is being dropped, piece by piece */
	else if (verity_is_table_oid(relid) && !journal_is_being_dropped())
	{
		rel = relation_open(relid, NoLock);
		verity_storage_drop(rel, rel->rd_rel->relrewrite ? "rewrite" : "drop");
		relation_close(rel, NoLock);
	}
}

/* The relation of a rule just made, if it is ON SELECT; else InvalidOid. */
static Oid
relation_of_select_rule(Oid rule)
{
	Oid			result = InvalidOid;
	Relation	catalog = table_open(RewriteRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;

	ScanKeyInit(&key, Anum_pg_rewrite_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(rule));

	/* the command that made it is still running */
	scan = systable_beginscan(catalog, RewriteOidIndexId, true, SnapshotSelf, 1, &key);
	row = systable_getnext(scan);
	if (HeapTupleIsValid(row) && ((Form_pg_rewrite) GETSTRUCT(row))->ev_type == '0' + CMD_SELECT)
		result = ((Form_pg_rewrite) GETSTRUCT(row))->ev_class;
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return result;
}

/*
 * PostgreSQL 15 makes a view of an empty table that gets an ON SELECT rule, and
 * takes its storage away without a word to the hook of drops.  Here the rule
 * is made, the table is locked and its storage is still there: refuse that of a
 * protected one, and journal the ledger's end.  A materialized view keeps its
 * storage.
 */
static void
rule_created(Oid rule)
{
	Oid			relid = relation_of_select_rule(rule);
	Relation	rel;

	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_RELATION ||
		!verity_is_table_oid(relid))
		return;
	rel = relation_open(relid, NoLock);
	verity_storage_drop(rel, "make a view of");
	relation_close(rel, NoLock);
}

/* Note what an access alters, for mark_collected. */
static void
note_access(ObjectAccessType access, Oid classId, Oid objectId)
{
	if (access == OAT_DROP)
	{
		if (classId == ConstraintRelationId)
			note_domain_of_constraint(objectId);
	}
	else if (note_alterations && (access == OAT_POST_ALTER || access == OAT_POST_CREATE))
		note_altered(classId, objectId);
}

static void
verity_object_access(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, classId, objectId, subId, arg);
	if (access == OAT_NAMESPACE_SEARCH || access == OAT_FUNCTION_EXECUTE || IsBinaryUpgrade)
		return;
	if (collecting > 0)
		note_access(access, classId, objectId);
	if (classId == RelationRelationId)
	{
		if (access == OAT_DROP && subId == 0)
			relation_dropped(objectId);
		else if (access == OAT_TRUNCATE && verity_is_journal_relation(objectId))
			verity_refuse_journal_change(objectId, "truncate");
		else if (access == OAT_POST_ALTER && verity_is_journal_relation(objectId))
			verity_refuse_journal_change(objectId, "alter");
	}
	else if (classId == RewriteRelationId && access == OAT_POST_CREATE)
		rule_created(objectId);
	else if (classId == ExtensionRelationId && access == OAT_DROP)
		verity_refuse_extension_change(objectId, "drop");
}

void
verity_ddl_init(void)
{
	prev_ProcessUtility = ProcessUtility_hook ? ProcessUtility_hook : standard_ProcessUtility;
	ProcessUtility_hook = verity_ProcessUtility;
	prev_object_access = object_access_hook;
	object_access_hook = verity_object_access;
	CacheRegisterRelcacheCallback(collect_relation, (Datum) 0);
	verity_log_init();
}
