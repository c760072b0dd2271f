/*
 * verify_catalog.c
 *	  The tables that the journal names, against what the catalogs and their
 *	  meta data say they are: the relation, its access method, its name, its
 *	  definition, the ledger in its file.
 *
 * Tables are enumerated from the journal, since a catalog can be edited so
 * that a table is not found, or another in its place.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/visibilitymap.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "sql/ddl/schema.h"
#include "sql/verify/verify.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

static void
catalog_finding(VerifyContext *ctx, VerifyLedger *ledger, VerifySeverity severity, const char *check,
				const char *expected, const char *found, const char *detail)
{
	VerifyFinding f;

	verify_finding_init(&f, severity, check, ledger->name, ledger->schema_position);
	if (expected)
		strlcpy(f.expected, expected, sizeof(f.expected));
	if (found)
		strlcpy(f.found, found, sizeof(f.found));
	strlcpy(f.detail, detail, sizeof(f.detail));
	verify_report_add(ctx->report, &f);
}

/* Is the relation still what the schema entry described? */
static bool
check_relation(VerifyContext *ctx, VerifyLedger *ledger, Relation rel)
{
	char		relation[32];

	snprintf(relation, sizeof(relation), "relation %u", ledger->relid);
	if (rel == NULL)
	{
		/* it may have been dropped, in the journal, a moment ago */
		verify_journal_tail(ctx);
		if (ledger->action != SCHEMA_DROP)
			catalog_finding(ctx, ledger, VERIFY_ERROR, "table", relation, "none",
							"the journal knows a table that the catalogs do not have");
		return false;
	}
	if (rel->rd_rel->relkind == RELKIND_RELATION && rel->rd_rel->relam == verity_am_oid() &&
		rel->rd_rel->relpersistence == RELPERSISTENCE_PERMANENT)
		return true;
	catalog_finding(ctx, ledger, VERIFY_ERROR, "table", "a permanent verity table",
					rel->rd_rel->relam == verity_am_oid() ? "another kind of table" : "another access method",
					"the relation is not what the journal says");
	return false;
}

/*
 * The key that seals new records: one that the journal gives this ledger.  One
 * of another journal seals nothing more; where the journal is damaged, that is
 * found already, and the key's entry may be what is missing.
 */
static void
check_key(VerifyContext *ctx, VerifyLedger *ledger, const VerityMeta *meta)
{
	VerifyChain *chain = &ctx->journal->chain;
	VerifyKeyNote note = {.key_id = meta->key_id};
	char		found[32];

	memcpy(note.ledger, ledger->ledger, LEDGER_ID_SIZE);
	if (meta->key_id == 0 || !chain->have_journal_id ||
		memcmp(meta->journal_id, chain->journal_id, sizeof(meta->journal_id)) != 0 ||
		hash_search(ctx->keys, &note, HASH_FIND, NULL) != NULL)
		return;
	verify_journal_tail(ctx);
	if (ctx->journal_cut || chain->gaps > 0 || ctx->journal_errors > 0 ||
		hash_search(ctx->keys, &note, HASH_FIND, NULL) != NULL)
		return;
	snprintf(found, sizeof(found), "key " UINT64_FORMAT, meta->key_id);
	catalog_finding(ctx, ledger, VERIFY_ERROR, "meta", "a key of this table", found,
					"the journal does not give the table the key that its meta data say it is sealed under");
}

/* The ledger that the file says it holds. */
static bool
check_meta(VerifyContext *ctx, VerifyLedger *ledger, Relation rel)
{
	PGAlignedBlock page;
	VerifyPageState state = VP_UNREADABLE;
	VerityMeta *meta = NULL;
	char		expected[2 * LEDGER_ID_SIZE + 1];
	char		found[2 * LEDGER_ID_SIZE + 1] = "none";

	if (RelationGetNumberOfBlocks(rel) > 0)
		state = verify_page_copy(rel, MAIN_FORKNUM, 0, NULL, page.data, NULL, NULL);
	if (state == VP_OK)
		meta = verity_page_meta(page.data, 0);
	if (meta != NULL &&
		memcmp(meta->ledger, ledger->ledger, LEDGER_ID_SIZE) == 0 &&
		meta->ledger_number == ledger->number && (meta->flags & VERITY_META_JOURNALLED))
	{
		check_key(ctx, ledger, meta);
		return true;
	}
	verify_journal_tail(ctx);
	if (ledger->action == SCHEMA_DROP)
		return false;
	verify_hex(expected, sizeof(expected), ledger->ledger, LEDGER_ID_SIZE);
	if (meta != NULL)
		verify_hex(found, sizeof(found), meta->ledger, LEDGER_ID_SIZE);
	catalog_finding(ctx, ledger, VERIFY_ERROR, "meta", expected, found,
					state == VP_OK || state == VP_NEW ?
					"the table's file is not that of this table" : "the table's first page is damaged");
	return false;
}

/* Name and definition. */
static void
check_definition(VerifyContext *ctx, VerifyLedger *ledger, Relation rel)
{
	char	   *definition = verity_schema_definition(RelationGetRelid(rel));
	char	   *name = verity_schema_name(RelationGetRelid(rel));
	hash256		digest;
	char		expected[2 * HASH_SIZE + 1];
	char		found[2 * HASH_SIZE + 1];

	/* what this transaction changed is journalled when it commits */
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return;
	verity_schema_digest(definition, &digest);
	if (!hash_equal(&digest, &ledger->digest))
		verify_journal_tail(ctx);
	if (strcmp(name, ledger->name) != 0)
	{
		catalog_finding(ctx, ledger, VERIFY_ERROR, "schema", ledger->name, name,
						"the table was renamed behind the journal's back");
		return;
	}
	if (hash_equal(&digest, &ledger->digest))
		return;
	verify_hex(expected, sizeof(expected), &ledger->digest, HASH_SIZE);
	verify_hex(found, sizeof(found), &digest, HASH_SIZE);
	catalog_finding(ctx, ledger, VERIFY_ERROR, "schema", expected, found,
					"the definition is not the one in the journal; verity.definitions has the texts");
}

/* The digests that records are opened with are those in the journal. */
static void
check_versions(VerifyContext *ctx, VerifyLedger *ledger, Relation rel)
{
	ListCell   *lc;

	foreach(lc, ledger->versions)
	{
		VerifySchema *schema = lfirst(lc);
		VerityMetaSchema noted;

		if (verity_meta_schema_get(rel, schema->version, &noted) &&
			hash_equal(&noted.digest, &schema->digest))
			continue;
		ledger->meta_bad = true;
		catalog_finding(ctx, ledger, VERIFY_ERROR, "meta", NULL, NULL,
						"a row schema in the table's meta data is not the one in the journal");
		return;
	}
}

/* verity never sets a bit of core's visibility map. */
static void
check_visibility_map(VerifyContext *ctx, VerifyLedger *ledger, Relation rel)
{
	BlockNumber first;
	BlockNumber visible = 0;
	BlockNumber frozen = 0;

	if (!smgrexists(RelationGetSmgr(rel), VISIBILITYMAP_FORKNUM))
		return;
	if (verify_fork_damage(rel, VISIBILITYMAP_FORKNUM, &first) == 0)
		visibilitymap_count(rel, &visible, &frozen);
	if (visible + frozen > 0)
		catalog_finding(ctx, ledger, VERIFY_ERROR, "map", "none", "bits in the visibility map",
						"core's visibility map is never used for a verity table");
}

/* Relations of this name in other schemas. */
static void
note_namesakes(VerifyContext *ctx, VerifyLedger *ledger, Relation rel)
{
	Relation	pg_class = table_open(RelationRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_class_relname, BTEqualStrategyNumber, F_NAMEEQ,
				NameGetDatum(&rel->rd_rel->relname));
	scan = systable_beginscan(pg_class, InvalidOid, false, NULL, 1, &key);
	while ((tuple = systable_getnext(scan)) != NULL)
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (form->oid != RelationGetRelid(rel))
			catalog_finding(ctx, ledger, VERIFY_INFO, "same_name", NULL,
							quote_qualified_identifier(get_namespace_name(form->relnamespace),
													   NameStr(form->relname)),
							"a relation of the same name, which a search path may find first");
	}
	systable_endscan(scan);
	table_close(pg_class, AccessShareLock);
}

/* What inherits from the table and is none of the journal's is read with it. */
static void
check_children(VerifyContext *ctx, VerifyLedger *ledger, Relation rel)
{
	List	   *children = find_inheritance_children(RelationGetRelid(rel), NoLock);
	ListCell   *lc;

	foreach(lc, children)
	{
		HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(lfirst_oid(lc)));
		Form_pg_class form;

		if (!HeapTupleIsValid(tuple))
			continue;
		form = (Form_pg_class) GETSTRUCT(tuple);
		if (form->relkind != RELKIND_RELATION || form->relam != verity_am_oid() ||
			form->relpersistence != RELPERSISTENCE_PERMANENT)
			catalog_finding(ctx, ledger, VERIFY_WARNING, "child", NULL,
							quote_qualified_identifier(get_namespace_name(form->relnamespace),
													   NameStr(form->relname)),
							"its rows are read with the table's, and no journal covers them");
		ReleaseSysCache(tuple);
	}
}

typedef struct CatalogWork
{
	VerifyContext *ctx;
	VerifyLedger *ledger;
	void		(*table) (VerifyContext *, VerifyLedger *, Relation);
} CatalogWork;

/* One table; runs under the guard. */
static void
catalog_table(void *arg)
{
	CatalogWork *work = arg;
	VerifyContext *ctx = work->ctx;
	VerifyLedger *ledger = work->ledger;
	Relation	rel = try_relation_open(ledger->relid, AccessShareLock);

	if (check_relation(ctx, ledger, rel) && check_meta(ctx, ledger, rel))
	{
		check_definition(ctx, ledger, rel);
		check_versions(ctx, ledger, rel);
		check_visibility_map(ctx, ledger, rel);
		note_namesakes(ctx, ledger, rel);
		check_children(ctx, ledger, rel);
		work->table(ctx, ledger, rel);
	}
	if (rel != NULL)
		relation_close(rel, AccessShareLock);
}

static int
compare_ledgers(const ListCell *a, const ListCell *b)
{
	return memcmp(((VerifyLedger *) lfirst(a))->ledger, ((VerifyLedger *) lfirst(b))->ledger,
				  LEDGER_ID_SIZE);
}

/* The ledgers in the order in which their items are sorted. */
static List *
ledgers_in_order(VerifyContext *ctx)
{
	List	   *list = NIL;
	HASH_SEQ_STATUS seq;
	VerifyLedger *ledger;

	hash_seq_init(&seq, ctx->ledgers);
	while ((ledger = hash_seq_search(&seq)) != NULL)
		list = lappend(list, ledger);
	list_sort(list, compare_ledgers);
	return list;
}

/* A table in pg_class, as found. */
typedef struct CatalogTable
{
	Oid			relid;
	bool		covered;		/* must be in the journal */
	char	   *name;
} CatalogTable;

/* The verity tables that pg_class has. */
static List *
list_tables(void)
{
	Relation	pg_class = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(pg_class, InvalidOid, false, NULL, 0, NULL);
	List	   *list = NIL;
	HeapTuple	tuple;

	while ((tuple = systable_getnext(scan)) != NULL)
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);
		CatalogTable *entry;
		char	   *schema;

		if (form->relam != verity_am_oid() ||
			(form->relkind != RELKIND_RELATION && form->relkind != RELKIND_MATVIEW) ||
			TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data)))
			continue;			/* what this transaction made is not journalled yet */
		entry = palloc(sizeof(CatalogTable));
		entry->relid = form->oid;
		entry->covered = form->relkind == RELKIND_RELATION &&
			form->relpersistence == RELPERSISTENCE_PERMANENT;
		schema = get_namespace_name(form->relnamespace);
		entry->name = pstrdup(quote_qualified_identifier(schema ? schema : "?", NameStr(form->relname)));
		list = lappend(list, entry);
	}
	systable_endscan(scan);
	table_close(pg_class, AccessShareLock);
	return list;
}

static bool
journal_has(VerifyContext *ctx, Oid relid)
{
	HASH_SEQ_STATUS seq;
	VerifyLedger *ledger;

	hash_seq_init(&seq, ctx->ledgers);
	while ((ledger = hash_seq_search(&seq)) != NULL)
	{
		if (ledger->relid == relid && ledger->schema_position != 0 && ledger->action != SCHEMA_DROP)
		{
			hash_seq_term(&seq);
			return true;
		}
	}
	return false;
}

/* Tables that the journal does not cover, or does not know. */
static void
check_unknown(void *arg)
{
	VerifyContext *ctx = arg;
	List	   *tables = list_tables();
	ListCell   *lc;

	verify_journal_tail(ctx);
	foreach(lc, tables)
	{
		CatalogTable *table = lfirst(lc);
		VerifyFinding f;

		if (OidIsValid(ctx->only) && ctx->only != table->relid)
			continue;
		if (!table->covered)
		{
			verify_finding_init(&f, VERIFY_INFO, "not_covered", table->name, 0);
			strlcpy(f.detail, "temporary, unlogged and materialized tables are sealed, but not journalled",
					sizeof(f.detail));
			verify_report_add(ctx->report, &f);
		}
		else if (!journal_has(ctx, table->relid) && !ctx->journal_cut &&
				 ctx->journal->chain.gaps == 0)
			verify_object_finding(ctx, table->name, "table", 0, NULL, NULL,
								  "the catalogs have a verity table that the journal does not know");
	}
}

void
verify_catalog_pass(VerifyContext *ctx, void (*table) (VerifyContext *, VerifyLedger *, Relation))
{
	ListCell   *lc;
	char		message[160];

	foreach(lc, ledgers_in_order(ctx))
	{
		VerifyLedger *ledger = lfirst(lc);
		CatalogWork work = {ctx, ledger, table};

		CHECK_FOR_INTERRUPTS();
		if (ledger->schema_position == 0 || ledger->action == SCHEMA_DROP ||
			ledger->action == SCHEMA_UNCOVERED ||
			(OidIsValid(ctx->only) && ctx->only != ledger->relid))
			continue;
		if (!verify_guard(catalog_table, &work, message, sizeof(message)))
			catalog_finding(ctx, ledger, VERIFY_ERROR, "unreadable", NULL, message,
							"an error ended the verification of this table");
	}
	if (!verify_guard(check_unknown, ctx, message, sizeof(message)))
		verify_object_finding(ctx, "pg_class", "unreadable", 0, NULL, message,
							  "the list of tables cannot be read");
}
