/*
 * schema.c
 *	  When a verity table's definition is computed, noted and journalled.
 *
 * A record is sealed under the digest of the definition that its table has,
 * so that a changed definition cannot give old bytes a new meaning.  The
 * versions stand in the table's meta data, the text of each in a schema entry
 * of the journal.
 *
 * DDL marks tables dirty (ddl.c); the definition is computed at the next
 * sealing or at pre-commit, whichever comes first.  A changed one is noted
 * under ShareUpdateExclusiveLock on the table until the transaction ends, and
 * computed again under it: of two transactions that change a definition
 * without locking the table (a type's label, say) the second sees the first.
 *
 * The meta data are not put back when a transaction aborts or the server
 * crashes.  A version therefore counts only when the transaction that noted it
 * committed, which the journal says.  A version whose entry went with a
 * savepoint's rollback would count when the transaction commits: a newer one
 * is noted then, whatever it states.
 *
 * The text is made by reading the catalogs directly, not by SQL: it is needed
 * inside a running INSERT, in parallel mode and at pre-commit, and must see
 * the latest catalogs under every isolation level.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "am/journal/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "sql/ddl/policy.h"
#include "sql/ddl/schema.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* A version that this transaction noted, and in which part of it. */
typedef struct NotedSchema
{
	Oid			relid;
	uint8		ledger[LEDGER_ID_SIZE];
	uint32		version;
	SubTransactionId subid;
	bool		lost;			/* its entry went with a savepoint */
} NotedSchema;

static List *noted = NIL;		/* of NotedSchema, in TopTransactionContext */
static bool callbacks_registered = false;

/* Settings on which the text of an expression or value depends. */
static const char *const pinned_settings[][2] = {
	{"search_path", "pg_catalog, pg_temp"},
	{"datestyle", "ISO, YMD"},
	{"intervalstyle", "postgres"},
	{"timezone", "GMT"},
	{"extra_float_digits", "1"},
	{"bytea_output", "hex"},
	{"quote_all_identifiers", "off"},
	{"standard_conforming_strings", "on"},
	{"lc_monetary", "C"},
	{"xmlbinary", "base64"},
};

/* Pin them; AtEOXact_GUC with the result puts them back. */
static int
pin_settings(void)
{
	int			level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(pinned_settings); i++)
		(void) set_config_option(pinned_settings[i][0], pinned_settings[i][1],
								 PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return level;
}

/* Add a line; a line break in it becomes \n, so that a line is a fact. */
void
schema_line(SchemaText *def, const char *format,...)
{
	StringInfoData raw;
	StringInfoData line;

	initStringInfo(&raw);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&raw, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&raw, needed);
	}

	initStringInfo(&line);
	for (char *c = raw.data; *c; c++)
	{
		if (*c == '\n')
			appendStringInfoString(&line, "\\n");
		else if (*c == '\\')
			appendStringInfoString(&line, "\\\\");
		else
			appendStringInfoChar(&line, *c);
	}
	def->lines = lappend(def->lines, line.data);
	pfree(raw.data);
}

static int
compare_lines(const void *a, const void *b)
{
	const ListCell *left = a;
	const ListCell *right = b;

	return strcmp(lfirst(left), lfirst(right));
}

void
schema_sort_from(SchemaText *def, int first)
{
	if (list_length(def->lines) - first > 1)
		qsort(&def->lines->elements[first], list_length(def->lines) - first,
			  sizeof(ListCell), compare_lines);
}

char *
verity_schema_name(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		elog(ERROR, "cache lookup failed for relation %u", relid);
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), name);
}

Oid
verity_schema_subject(Relation rel)
{
	Oid			origin = rel->rd_rel->relrewrite;

	return OidIsValid(origin) ? origin : RelationGetRelid(rel);
}

/* The text's lines, joined. */
static char *
join_lines(SchemaText *def)
{
	StringInfoData out;
	ListCell   *lc;

	initStringInfo(&out);
	foreach(lc, def->lines)
	{
		appendStringInfoString(&out, lfirst(lc));
		appendStringInfoChar(&out, '\n');
	}
	return out.data;
}

char *
verity_schema_definition(Oid relid)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext scratch;
	SchemaText	def = {NIL, NIL, NIL};
	Relation	rel;
	char	   *result;
	int			level;

	scratch = AllocSetContextCreate(caller, "verity schema definition", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(scratch);

	/* what deparses a rule reads pg_rewrite with the active snapshot */
	InvalidateCatalogSnapshot();
	PushActiveSnapshot(GetCatalogSnapshot(InvalidOid));
	level = pin_settings();

	rel = relation_open(relid, AccessShareLock);
	schema_put_table(&def, rel, verity_schema_name(relid));
	relation_close(rel, AccessShareLock);
	schema_put_types(&def);

	AtEOXact_GUC(true, level);
	PopActiveSnapshot();

	MemoryContextSwitchTo(caller);
	result = join_lines(&def);
	MemoryContextDelete(scratch);
	return result;
}

void
verity_schema_digest(const char *definition, hash256 *digest)
{
	if (hash_sha256(definition, strlen(definition), digest) != CORE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute a SHA-256 digest"),
				 errhint("Check the installation of OpenSSL.")));
}

/* What a transaction did to definitions is undone with it. */
static void
schema_xact_callback(XactEvent event, void *arg)
{
	ListCell   *lc;

	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PARALLEL_ABORT)
	{
		foreach(lc, noted)
			verity_rel_invalidate(((NotedSchema *) lfirst(lc))->relid);
	}
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PARALLEL_ABORT ||
		event == XACT_EVENT_COMMIT || event == XACT_EVENT_PARALLEL_COMMIT)
		noted = NIL;
}

static void
schema_subxact_callback(SubXactEvent event, SubTransactionId mySubid,
						SubTransactionId parentSubid, void *arg)
{
	ListCell   *lc;

	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	foreach(lc, noted)
	{
		NotedSchema *note = lfirst(lc);

		if (note->subid != mySubid)
			continue;
		note->subid = parentSubid;
		if (event == SUBXACT_EVENT_ABORT_SUB)
		{
			note->lost = true;
			verity_rel_invalidate(note->relid);
			verity_xact_schema_dirty(note->relid);
		}
	}
}

/* Remember that this transaction noted the table's current version. */
static void
remember_noted(VerityRel *vrel)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	NotedSchema *note = palloc(sizeof(NotedSchema));

	if (!callbacks_registered)
	{
		RegisterXactCallback(schema_xact_callback, NULL);
		RegisterSubXactCallback(schema_subxact_callback, NULL);
		callbacks_registered = true;
	}
	note->relid = vrel->relid;
	memcpy(note->ledger, vrel->ledger, LEDGER_ID_SIZE);
	note->version = vrel->schema_version;
	note->subid = GetCurrentSubTransactionId();
	note->lost = false;
	noted = lappend(noted, note);
	MemoryContextSwitchTo(old);
}

/* The newest version of the ledger that a savepoint's rollback lost; 0: none. */
static uint32
newest_lost(VerityRel *vrel)
{
	uint32		version = 0;
	ListCell   *lc;

	foreach(lc, noted)
	{
		NotedSchema *note = lfirst(lc);

		if (note->lost && memcmp(note->ledger, vrel->ledger, LEDGER_ID_SIZE) == 0)
			version = Max(version, note->version);
	}
	return version;
}

void
verity_journal_schema(const control_schema *body)
{
	codec_writer w;
	uint8	   *buffer;

	codec_writer_init(&w, NULL, 0);
	control_schema_encode(&w, body);
	buffer = palloc(w.used);
	codec_writer_init(&w, buffer, w.used);
	control_schema_encode(&w, body);
	Assert(!w.failed);
	verity_xact_control(ENTRY_SCHEMA, buffer, w.used);
	pfree(buffer);
}

/* Queue the schema entry of a new version. */
static void
journal_version(VerityRel *vrel, schema_action action, Oid subject, const char *definition)
{
	control_schema body = {0};
	char	   *name = verity_schema_name(subject);

	body.action = action;
	memcpy(body.ledger, vrel->ledger, LEDGER_ID_SIZE);
	body.ledger_number = vrel->ledger_number;
	body.relation_oid = subject;
	body.version = vrel->schema_version;
	body.digest = vrel->schema_digest;
	body.name.data = name;
	body.name.len = strlen(name);
	body.definition.data = definition;
	body.definition.len = strlen(definition);
	verity_journal_schema(&body);
	ereport(DEBUG1,
			(errmsg_internal("definition %u of table %s will be journalled", body.version, name)));
	pfree(name);
}

/* Is this what the newest version states, and will be when this commits? */
static bool
is_current(VerityRel *vrel, const hash256 *digest)
{
	return vrel->schema_version > newest_lost(vrel) &&
		hash_equal(digest, &vrel->schema_digest);
}

bool
verity_schema_refresh(Relation rel, VerityRel *vrel)
{
	Oid			relid = RelationGetRelid(rel);
	Oid			subject = verity_schema_subject(rel);
	char	   *definition = verity_schema_definition(subject);
	hash256		digest;
	bool		first;
	bool		other;

	verity_schema_digest(definition, &digest);
	verity_schema_load(rel, vrel);
	if (is_current(vrel, &digest))
	{
		verity_xact_schema_clean(relid);
		return false;
	}

	/* see what a transaction that had the same in hand left behind */
	LockRelationOid(relid, ShareUpdateExclusiveLock);
	definition = verity_schema_definition(subject);
	verity_schema_digest(definition, &digest);
	verity_schema_load(rel, vrel);
	first = vrel->schema_version == 0;
	other = !is_current(vrel, &digest);
	if (other)
	{
		vrel->schema_version = verity_meta_add_schema(rel, &digest);
		vrel->schema_digest = digest;
		remember_noted(vrel);
		if (vrel->journalled)
			journal_version(vrel, first ? SCHEMA_CREATE : SCHEMA_ALTER, subject, definition);

		/* other sessions hold the version before */
		CacheInvalidateRelcache(rel);
	}
	verity_xact_schema_clean(relid);
	return other;
}

static bool
is_lost(VerityRel *vrel, uint32 version)
{
	ListCell   *lc;

	foreach(lc, noted)
	{
		NotedSchema *note = lfirst(lc);

		if (note->lost && note->version == version &&
			memcmp(note->ledger, vrel->ledger, LEDGER_ID_SIZE) == 0)
			return true;
	}
	return false;
}

/* Did the transaction that noted this version commit, or is it this one? */
static bool
version_counts(VerityRel *vrel, const VerityMetaSchema *schema)
{
	VerityPosition position;

	if (!vrel->journalled)
		return true;
	if (schema->serial == verity_xact_serial_if_any())
		return !is_lost(vrel, schema->version);
	return verity_serial_outcome(schema->serial, &position) == OUTCOME_COMMITTED;
}

void
verity_schema_load(Relation rel, VerityRel *vrel)
{
	VerityMeta	meta;
	VerityMetaSchema schema;

	verity_meta_read(rel, &meta);
	vrel->schema_version = 0;
	memset(&vrel->schema_digest, 0, sizeof(hash256));
	for (uint32 version = meta.schema_version; version > 0; version--)
	{
		if (!verity_meta_schema_get(rel, version, &schema) || !version_counts(vrel, &schema))
			continue;
		vrel->schema_version = version;
		vrel->schema_digest = schema.digest;
		break;
	}
}

PG_FUNCTION_INFO_V1(verity_table_definition);

/* SQL: verity.table_definition(regclass) */
Datum
verity_table_definition(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Relation	rel = verity_open_argument(relid, AccessShareLock);
	char	   *definition;

	if (!verity_is_table(rel))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a verity table", RelationGetRelationName(rel)),
				 errhint("Name a table that was created USING verity.")));
	definition = verity_schema_definition(relid);
	relation_close(rel, AccessShareLock);
	PG_RETURN_TEXT_P(cstring_to_text(definition));
}
