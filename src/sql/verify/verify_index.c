/*
 * verify_index.c
 *	  A table's indexes against its roots and, with keys, against its rows.
 *
 * Without keys: every entry leads to a root that is there, and every current
 * row's root has its entry (a partial index may leave rows out, and a hash
 * index nulls).  With keys, for a btree: the entry of each row that a fresh
 * snapshot sees holds that row's values.  An entry whose table has altered or
 * missing records is not judged.
 *
 * Deleted and re-keyed rows keep their entries, but an index that was built
 * later has none for them, so these are optional; except in an index by which
 * readers of the past look for rows: there each row has its entry that still
 * existed at a position from which the meta data say that the index is right.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/itup.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "sql/verify/verify.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Entries of an index that are looked for a second time, at most. */
#define SUSPECTS_MAX 100
#define LOOKS 2

/* A root whose row was deleted or re-keyed, and at which position. */
typedef struct PastTid
{
	VerifyTid	tid;
	uint8		ended[8];
} PastTid;

typedef enum SuspectKind
{
	SUSPECT_STRAY,				/* an entry without a root */
	SUSPECT_CURRENT,			/* a current row without an entry */
	SUSPECT_PAST				/* a row of the past without one */
} SuspectKind;

/* What the first look found odd. */
typedef struct IndexSuspect
{
	VerifyTid	tid;
	SuspectKind kind;
	bool		seen;			/* in the look that is running */
} IndexSuspect;

typedef struct IndexCheck
{
	VerifyTable *table;
	Relation	index;
	char		object[2 * NAMEDATALEN + 8];
	bool		values;			/* compare those of each row */
	bool		rows;			/* know from the rows what has to be there */
	bool		complete;		/* every current row has an entry */
	VerifySort *entries;
	VerifySort *expected;		/* with rows */
	MemoryContext scratch;
	uint64		count;
	uint64		findings;
	int			suspect_count;
	IndexSuspect suspects[SUSPECTS_MAX];
} IndexCheck;

static void
item_pointer(ItemPointerData *out, const VerifyTid *tid)
{
	uint32		block;
	uint16		offnum;

	memcpy(&block, tid->block, sizeof(block));
	memcpy(&offnum, tid->offnum, sizeof(offnum));
	ItemPointerSet(out, pg_ntoh32(block), pg_ntoh16(offnum));
}

/* Note that the row of this version was deleted or re-keyed at a position. */
void
verify_past_put(VerifyTable *table, const VerifyRecord *record, VerityPosition ended)
{
	uint64		sortable = pg_hton64(ended);
	PastTid		past;

	if (!table->indexed)
		return;
	verify_tid_set(&past.tid, (record->flags & ENVELOPE_ROOT) ? &record->tid : &record->root);
	memcpy(past.ended, &sortable, sizeof(sortable));
	verify_sort_put(table->past, &past, sizeof(past));
}

Size
verify_past_size(void)
{
	return sizeof(PastTid);
}

static void
index_finding(IndexCheck *check, const VerifyTid *tid, const char *expected, const char *found,
			  const char *detail)
{
	VerifyFinding f;
	ItemPointerData at;

	item_pointer(&at, tid);
	verify_finding_init(&f, VERIFY_ERROR, "index", check->object, 0);
	strlcpy(f.expected, expected, sizeof(f.expected));
	strlcpy(f.found, found, sizeof(f.found));
	snprintf(f.detail, sizeof(f.detail), "%s, for the row of root (%u,%u) of %s", detail,
			 ItemPointerGetBlockNumber(&at), ItemPointerGetOffsetNumber(&at), check->table->object);
	check->findings++;
	verify_report_add(check->table->ctx->report, &f);
}

/* A hash of an index tuple's values, however they are stored. */
static uint32
fingerprint(Relation index, IndexTuple tuple)
{
	TupleDesc	desc = RelationGetDescr(index);
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	uint32		hash = 0;

	index_deform_tuple(tuple, desc, values, nulls);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		uint32		one = nulls[i] ? 1 : datum_image_hash(values[i], att->attbyval, att->attlen);

		hash = hash_combine(hash, one);
	}
	return hash;
}

/* Say that the index itself is damaged. */
static void
damage_finding(IndexCheck *check, const char *damage, BlockNumber at)
{
	VerifyFinding f;

	verify_finding_init(&f, VERIFY_ERROR, "index", check->object, 0);
	strlcpy(f.found, damage, sizeof(f.found));
	snprintf(f.detail, sizeof(f.detail), "block %u; REINDEX makes the index anew", at);
	check->findings++;
	verify_report_add(check->table->ctx->report, &f);
}

static void
take_entry(void *arg, ItemPointer tid, IndexTuple tuple, Size len)
{
	IndexCheck *check = arg;
	VerifyTid	entry;

	verify_tid_set(&entry, tid);
	if (check->values)
	{
		MemoryContext old = MemoryContextSwitchTo(check->scratch);

		if (verify_index_tuple_sound(RelationGetDescr(check->index), tuple, len))
			entry.fingerprint = fingerprint(check->index, tuple);
		MemoryContextSwitchTo(old);
		MemoryContextReset(check->scratch);
	}
	verify_sort_put(check->entries, &entry, sizeof(entry));
	check->count++;
}

/* A row of the table, as the index should have it. */
static void
expect_row(Relation index, ItemPointer tid, Datum *values, bool *isnull, bool alive, void *arg)
{
	IndexCheck *check = arg;
	VerifyTid	entry;

	verify_tid_set(&entry, tid);
	if (check->values)
	{
		MemoryContext old = MemoryContextSwitchTo(check->scratch);
		IndexTuple	tuple = index_form_tuple(RelationGetDescr(index), values, isnull);

		entry.fingerprint = fingerprint(index, tuple);
		MemoryContextSwitchTo(old);
		MemoryContextReset(check->scratch);
	}
	/* a hash index has no nulls */
	else if (index->rd_rel->relam == HASH_AM_OID && isnull[0])
		return;
	verify_sort_put(check->expected, &entry, sizeof(entry));
}

/*
 * What a fresh snapshot sees, with the functions of the index run as the
 * table's owner and nothing more, as CREATE INDEX does.
 */
static void
collect_rows(IndexCheck *check)
{
	Relation	rel = check->table->rel;
	IndexInfo  *info = BuildIndexInfo(check->index);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan_strat(rel, snapshot, 0, NULL, true, true);
	Oid			user;
	int			context;
	int			level;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(rel->rd_rel->relowner, context | SECURITY_RESTRICTED_OPERATION);
	level = NewGUCNestLevel();
	info->ii_Concurrent = true;
	info->ii_Unique = false;
	info->ii_ExclusionOps = NULL;
	info->ii_ExclusionProcs = NULL;
	info->ii_ExclusionStrats = NULL;
	PushActiveSnapshot(snapshot);
	table_index_build_scan(rel, check->index, info, true, false, expect_row, check, scan);
	PopActiveSnapshot();
	UnregisterSnapshot(snapshot);
	AtEOXact_GUC(false, level);
	SetUserIdAndSecContext(user, context);
	verify_sort_perform(check->expected);
}

/* Does the row of this root exist to a fresh snapshot? */
static bool
row_is_visible(VerifyTable *table, const VerifyTid *tid)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	ItemPointerData root;
	Buffer		buffer = InvalidBuffer;
	HeapTupleData record;
	bool		visible;

	item_pointer(&root, tid);
	visible = verity_root_fetch(table->rel, &root, snapshot, &buffer, &record, NULL);
	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
	UnregisterSnapshot(snapshot);
	return visible;
}

static bool
root_exists(VerifyTable *table, const VerifyTid *tid)
{
	VerifyRecord record;
	ItemPointerData at;

	item_pointer(&at, tid);
	return verify_live_record(table->rel, &at, &record) && (record.flags & ENVELOPE_ROOT);
}

/* Is it odd still, as the table is now? */
static bool
is_odd(IndexCheck *check, const VerifyTid *tid, SuspectKind kind)
{
	switch (kind)
	{
		case SUSPECT_STRAY:
			return !root_exists(check->table, tid);
		case SUSPECT_CURRENT:
			return row_is_visible(check->table, tid);
		default:
			return true;		/* the past does not change */
	}
}

/* Look at this one again later: the table and the index go on changing. */
static void
suspect(IndexCheck *check, const VerifyTid *tid, SuspectKind kind)
{
	if (check->suspect_count == SUSPECTS_MAX || !is_odd(check, tid, kind))
		return;
	check->suspects[check->suspect_count].tid = *tid;
	check->suspects[check->suspect_count].kind = kind;
	check->suspect_count++;
}

/* Merge roots with entries. */
static void
compare_roots(IndexCheck *check)
{
	VerifyTable *table = check->table;
	bool		judge = hash_get_num_entries(table->damaged) == 0;
	Size		len;
	VerifyTids *roots;
	const VerifyTid *root;
	const VerifyTid *entry;
	VerifyTid	last;
	bool		have_last = false;
	bool		btree = check->index->rd_rel->relam == BTREE_AM_OID;

	roots = verify_tids_begin(table);
	root = verify_tids_next(roots);
	entry = verify_sort_next(check->entries, &len);
	while (root != NULL || entry != NULL)
	{
		int			order = root == NULL ? 1 : entry == NULL ? -1 : verify_tid_compare(root, entry);

		CHECK_FOR_INTERRUPTS();
		if (order > 0 && judge)
			suspect(check, entry, SUSPECT_STRAY);
		if (order < 0 && root->current == 0 && check->complete)
			suspect(check, root, SUSPECT_CURRENT);
		if (order >= 0)
		{
			if (have_last && verify_tid_compare(&last, entry) == 0 && btree)
				index_finding(check, entry, "one entry", "more", "entries lead to one row twice");
			last = *entry;
			have_last = true;
			entry = verify_sort_next(check->entries, &len);
		}
		if (order <= 0)
		{
			VerifyTid	done = *root;

			/* the rest of this root's entries belong to it as well */
			for (; order == 0 && entry != NULL && verify_tid_compare(entry, &done) == 0;
				 entry = verify_sort_next(check->entries, &len))
				if (btree)
					index_finding(check, entry, "one entry", "more", "entries lead to one row twice");
			while (root != NULL && verify_tid_compare(root, &done) == 0)
				root = verify_tids_next(roots);
		}
	}
	verify_tids_end(roots);
}

/* Merge the rows' values with those of the entries. */
static void
compare_values(IndexCheck *check)
{
	Size		len;
	const VerifyTid *row;
	const VerifyTid *entry;

	verify_sort_rewind(check->entries);
	entry = verify_sort_next(check->entries, &len);
	while ((row = verify_sort_next(check->expected, &len)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		while (entry != NULL && verify_tid_compare(entry, row) < 0)
			entry = verify_sort_next(check->entries, &len);
		if (entry == NULL || verify_tid_compare(entry, row) > 0)
		{
			if (!check->complete)
				suspect(check, row, SUSPECT_CURRENT);
		}
		else if (check->values && entry->fingerprint != row->fingerprint)
			index_finding(check, row, "the row's values", "others", "an entry holds other values");
	}
}

/* Rows of the past that the index must lead to. */
static void
compare_past(IndexCheck *check)
{
	uint64		since = verity_index_key_since(check->table->rel, check->index);
	Size		len;
	const PastTid *past;
	const VerifyTid *entry;

	if (since == 0 || hash_get_num_entries(check->table->damaged) > 0)
		return;
	verify_sort_rewind(check->entries);
	verify_sort_rewind(check->table->past);
	entry = verify_sort_next(check->entries, &len);
	while ((past = verify_sort_next(check->table->past, &len)) != NULL)
	{
		uint64		ended;

		CHECK_FOR_INTERRUPTS();
		memcpy(&ended, past->ended, sizeof(ended));
		while (entry != NULL && verify_tid_compare(entry, &past->tid) < 0)
			entry = verify_sort_next(check->entries, &len);
		if (pg_ntoh64(ended) > since && (entry == NULL || verify_tid_compare(entry, &past->tid) > 0))
			suspect(check, &past->tid, SUSPECT_PAST);
	}
}

static void
look_for(void *arg, ItemPointer tid, IndexTuple tuple, Size len)
{
	IndexCheck *check = arg;
	VerifyTid	entry;

	verify_tid_set(&entry, tid);
	for (int i = 0; i < check->suspect_count; i++)
		if (verify_tid_compare(&check->suspects[i].tid, &entry) == 0)
			check->suspects[i].seen = true;
}

/*
 * Look again.  An entry that led nowhere is gone when its row was vacuumed
 * away; one that was missed is there when a page split had moved it.
 */
static void
report_suspects(IndexCheck *check)
{
	int			kept = check->suspect_count;
	BlockNumber at;

	for (int look = 0; look < LOOKS && kept > 0; look++)
	{
		for (int i = 0; i < kept; i++)
			check->suspects[i].seen = false;
		check->suspect_count = kept;
		(void) verify_index_walk(check->index, look_for, check, &at);
		kept = 0;
		for (int i = 0; i < check->suspect_count; i++)
		{
			IndexSuspect *s = &check->suspects[i];

			if (s->seen == (s->kind == SUSPECT_STRAY) && is_odd(check, &s->tid, s->kind))
				check->suspects[kept++] = *s;
		}
	}
	for (int i = 0; i < kept; i++)
	{
		if (check->suspects[i].kind == SUSPECT_STRAY)
			index_finding(check, &check->suspects[i].tid, "a root", "none", "an entry leads to no row");
		else if (check->suspects[i].kind == SUSPECT_PAST)
			index_finding(check, &check->suspects[i].tid, "an entry", "none",
						  "a row of the past cannot be found by this index");
		else
			index_finding(check, &check->suspects[i].tid, "an entry", "none",
						  "a row cannot be found by this index");
	}
}

static void
index_info(IndexCheck *check, const char *what)
{
	VerifyFinding f;

	verify_finding_init(&f, VERIFY_INFO, "not_covered", check->object, 0);
	strlcpy(f.detail, what, sizeof(f.detail));
	verify_report_add(check->table->ctx->report, &f);
}

/* What was compared, as a row. */
static void
index_summary(IndexCheck *check)
{
	VerifyFinding f;

	verify_finding_init(&f, VERIFY_INFO, "summary", check->object, 0);
	snprintf(f.found, sizeof(f.found), UINT64_FORMAT " entries", check->count);
	snprintf(f.detail, sizeof(f.detail), "compared with the roots of %s%s", check->table->object,
			 check->values ? " and with its rows' values" :
			 check->rows ? " and with its rows" : "");
	verify_report_add(check->table->ctx->report, &f);
}

/* Collect both sides and compare. */
static void
compare_index(IndexCheck *check)
{
	BlockNumber at;
	const char *damage;

	check->entries = verify_sort_begin(sizeof(VerifyTid), maintenance_work_mem / 4);
	if (check->rows)
	{
		check->expected = verify_sort_begin(sizeof(VerifyTid), maintenance_work_mem / 4);
		collect_rows(check);
	}
	damage = verify_index_walk(check->index, take_entry, check, &at);
	if (damage)
		damage_finding(check, damage, at);
	else
	{
		verify_sort_perform(check->entries);
		compare_roots(check);
		if (check->rows)
			compare_values(check);
		compare_past(check);
		report_suspects(check);
		index_summary(check);
	}
	if (check->rows)
		verify_sort_end(check->expected);
	verify_sort_end(check->entries);
}

/* Would the planner not use this index yet, as get_relation_info decides? */
static bool
waits_for_xmin(Relation index)
{
	return index->rd_index->indcheckxmin &&
		!TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data), TransactionXmin);
}

/* One index, its pages known to be sound. */
static void
check_index(IndexCheck *check)
{
	Relation	index = check->index;
	VerifyTable *table = check->table;

	if (!verify_index_known(index))
	{
		index_info(check, "pages were read; entries of this kind of index are not compared");
		return;
	}
	check->complete = RelationGetIndexPredicate(index) == NIL && index->rd_rel->relam != HASH_AM_OID;
	check->rows = table->ctx->with_keys && table->findings == 0 &&
		hash_get_num_entries(table->damaged) == 0 && !waits_for_xmin(index);
	check->values = check->rows && index->rd_rel->relam == BTREE_AM_OID;
	check->scratch = AllocSetContextCreate(CurrentMemoryContext, "verity index entry",
										   ALLOCSET_SMALL_SIZES);
	compare_index(check);
	MemoryContextDelete(check->scratch);
}

/* Read all pages first, so that the scan meets no damaged one. */
static void
check_index_pages(void *arg)
{
	IndexCheck *check = arg;
	BlockNumber first;
	BlockNumber damaged = verify_fork_damage(check->index, MAIN_FORKNUM, &first);
	VerifyFinding f;

	if (damaged == 0)
	{
		check_index(check);
		return;
	}
	verify_finding_init(&f, VERIFY_ERROR, "page", check->object, 0);
	snprintf(f.found, sizeof(f.found), "%u damaged pages", damaged);
	snprintf(f.detail, sizeof(f.detail), "the first is block %u; REINDEX makes the index anew", first);
	verify_report_add(check->table->ctx->report, &f);
}

/* All valid indexes of the table. */
void
verify_indexes(VerifyTable *table)
{
	List	   *indexes = RelationGetIndexList(table->rel);
	ListCell   *lc;

	if (!table->indexed)
		return;					/* an index that was made since is not judged */
	verify_sort_perform(table->tids);
	verify_sort_perform(table->tid_blocks);
	verify_sort_perform(table->past);
	foreach(lc, indexes)
	{
		IndexCheck *check = palloc0(sizeof(IndexCheck));
		char		message[160];

		check->table = table;
		check->index = index_open(lfirst_oid(lc), AccessShareLock);
		strlcpy(check->object,
				quote_qualified_identifier(get_namespace_name(RelationGetNamespace(check->index)),
										   RelationGetRelationName(check->index)),
				sizeof(check->object));
		verify_progress_set("index", check->object, 0);
		if (check->index->rd_index->indisvalid && check->index->rd_index->indisready)
		{
			if (!verify_guard(check_index_pages, check, message, sizeof(message)))
			{
				VerifyFinding f;

				verify_finding_init(&f, VERIFY_ERROR, "index", check->object, 0);
				strlcpy(f.found, message, sizeof(f.found));
				strlcpy(f.detail, "the index cannot be read", sizeof(f.detail));
				verify_report_add(table->ctx->report, &f);
			}
		}
		else
			index_info(check, "the index is not valid");
		index_close(check->index, AccessShareLock);
	}
}
