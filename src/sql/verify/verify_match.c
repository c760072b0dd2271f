/*
 * verify_match.c
 *	  A table's records, sorted by id, against the journal's items of its
 *	  ledger: is each item's count of records there, with its Merkle root, and
 *	  is there nothing else?
 *
 * Strict for entries up to the horizon, which all committed before the table
 * was read.  For later ones it is only asked that they exist.  Each record
 * leaves here with what the journal makes of it (its truth), for
 * verify_links.c.
 *
 * An altered serial makes one record too few in one place and a stray one in
 * another.  Both are kept until the end and paired by the writing xid, so that
 * one altered record is one finding.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "sql/verify/verify_match.h"

void
verify_mark_damaged(VerifyTable *table, uint64 serial)
{
	hash_search(table->damaged, &serial, HASH_ENTER, NULL);
}

bool
verify_is_damaged(VerifyTable *table, uint64 serial)
{
	return hash_search(table->damaged, &serial, HASH_FIND, NULL) != NULL;
}

/* Is this sequence number in the entry's discarded ranges? */
bool
verify_group_discards(MatchGroup *group, uint32 sequence)
{
	while (group->range < group->item.range_count && group->ranges[group->range].last < sequence)
		group->range++;
	return group->range < group->item.range_count && group->ranges[group->range].first <= sequence;
}

/* Begin a serial, with its item if there is one. */
void
verify_group_begin(VerifyTable *table, MatchGroup *group, uint64 serial, const VerifyItem *item)
{
	VerifyContext *ctx = table->ctx;
	uint64		position;

	if (group->ranges)
		pfree(group->ranges);
	memset(group, 0, sizeof(*group));
	group->serial = serial;
	merkle_init(&group->merkle);
	if (item == NULL)
	{
		group->position = verify_tail_position(ctx, serial);
		return;
	}
	group->item = *item;
	group->ranges = palloc(Max(item->range_count, 1) * sizeof(entry_range));
	memcpy(group->ranges, item + 1, item->range_count * sizeof(entry_range));
	memcpy(&position, item->where, sizeof(position));
	group->position = pg_ntoh64(position);
	group->have_item = true;
	group->is_void = verify_is_void(ctx, group->position, serial);
	group->strict = !group->is_void && verify_in_range(ctx, group->position) &&
		!verify_is_doubtful(ctx, group->position);
	if (verify_is_doubtful(ctx, group->position))
		verify_mark_damaged(table, serial);
}

/* Keep a record that no entry explains, until the end. */
static void
add_suspect(VerifyTable *table, const VerifyRecord *record, const char *check, const char *why)
{
	VerifySuspect *suspect = palloc0(sizeof(VerifySuspect));

	suspect->tid = record->tid;
	suspect->xmin = record->xmin;
	suspect->serial = verify_record_serial(record);
	suspect->sequence = verify_record_sequence(record);
	suspect->check = check;
	suspect->why = why;
	table->suspects = lappend(table->suspects, suspect);
	if (suspect->serial != 0)
		verify_mark_damaged(table, suspect->serial);
}

/* Is there an entry of this serial at this position? */
typedef struct EntryLookup
{
	VerityPosition position;
	uint64		serial;
	bool		found;
} EntryLookup;

static void
look_up_entry(void *arg)
{
	EntryLookup *lookup = arg;
	VerityEntry *entry = verity_journal_read(lookup->position);

	lookup->found = entry != NULL && entry->stored.core.serial == lookup->serial;
	if (entry != NULL)
		verity_entry_free(entry);
}

/* The journal's map leads this serial to a position where its entry is not. */
static bool
entry_is_gone(VerifyContext *ctx, uint64 serial, VerityPosition mapped)
{
	EntryLookup lookup = {mapped, serial, false};
	char		message[160];

	if (mapped == 0)
		return false;
	if (verify_is_doubtful(ctx, mapped) ||
		!verify_guard(look_up_entry, &lookup, message, sizeof(message)))
		return true;
	return !lookup.found;
}

/*
 * A record without an entry.  Where it is not shown as committed, its
 * transaction aborted or has not ended.  Else it came too late for the tail,
 * or its entry is gone, or it was forged.
 */
static void
uncovered(VerifyTable *table, MatchGroup *group, const VerifyRecord *record)
{
	VerifyContext *ctx = table->ctx;
	VerityPosition mapped;

	if (record->xmin_status != VX_COMMITTED && record->xmin_status != VX_FROZEN)
		return;
	if (group->is_void || group->have_item)
	{
		add_suspect(table, record, "envelope",
					"the envelope shows a record as committed that the journal says was taken back");
		return;
	}
	(void) verify_outcome(ctx, group->serial, &mapped);
	if (!entry_is_gone(ctx, group->serial, mapped))
	{
		add_suspect(table, record, "envelope",
					"the envelope shows a record as committed that no entry of the journal covers");
		return;
	}
	if (!verify_is_doubtful(ctx, mapped))
	{
		if (!ctx->journal_cut)
			verify_journal_finding(ctx, "end", mapped, NULL, NULL,
								   "the entry of serial " UINT64_FORMAT " is gone, whose records table %s has",
								   group->serial, table->object);
		ctx->journal_cut = true;
	}
	verify_mark_damaged(table, group->serial);
}

/* Fold a record into its serial's tree; what the journal makes of it. */
static VerifyTruth
group_add(VerifyTable *table, MatchGroup *group, const VerifyRecord *record)
{
	uint32		sequence = verify_record_sequence(record);

	if (group->serial == 0)
	{
		add_suspect(table, record, "record", "an item whose sealed header cannot be read");
		return TRUTH_DEAD;
	}
	if (group->any && group->last_sequence == sequence)
	{
		add_suspect(table, record, "duplicate", "a record that stands in the table twice");
		return TRUTH_DEAD;
	}
	group->any = true;
	group->last_sequence = sequence;
	if (!group->have_item && group->position != 0)
		return record->xmin_status == VX_COMMITTED ? TRUTH_LATER : TRUTH_DEAD;
	if (!group->have_item || group->is_void || verify_group_discards(group, sequence))
	{
		uncovered(table, group, record);
		return TRUTH_DEAD;
	}
	if (group->covered++ == 0)
	{
		group->first = sequence;
		group->tid = record->tid;
	}
	if ((record->marks & VR_UNREADABLE) && group->unreadable++ == 0)
		group->first_bad = sequence;
	if ((record->marks & VR_TAG_FAILED) && group->closed++ == 0)
		group->first_closed = sequence;
	if (merkle_append(&group->merkle, &record->leaf) != CORE_OK)
		elog(ERROR, "could not append to a Merkle tree");
	return group->strict ? TRUTH_COMMITTED : TRUTH_LATER;
}

/* All records are there: are they the ones that were committed? */
static void
group_compare(VerifyTable *table, MatchGroup *group)
{
	hash256		root;
	char		record[48];
	char		expected[2 * HASH_SIZE + 1];
	char		found[2 * HASH_SIZE + 1];
	uint32		named;

	if (merkle_root(&group->merkle, &root) != CORE_OK)
		elog(ERROR, "could not compute a Merkle root");
	if (group->unreadable == 0 && hash_equal(&root, &group->item.root))
	{
		if (group->closed == 0 || table->ledger->meta_bad)
			return;
		verify_record_name(record, sizeof(record), group->serial, group->first_closed);
		verify_table_finding(table, "open", group->position, record, NULL, NULL,
							 "the bytes are those that were committed, yet %u records do not open with the keys",
							 group->closed);
		return;
	}
	verify_mark_damaged(table, group->serial);
	named = group->unreadable ? group->first_bad : group->closed ? group->first_closed : group->first;
	if (group->covered == 1 || group->unreadable || group->closed)
		verify_record_name(record, sizeof(record), group->serial, named);
	else
		snprintf(record, sizeof(record), "(" UINT64_FORMAT ",%u-%u)", group->serial,
				 group->first, group->last_sequence);
	verify_hex(expected, sizeof(expected), &group->item.root, HASH_SIZE);
	verify_hex(found, sizeof(found), &root, HASH_SIZE);
	if (group->unreadable)
		verify_table_finding(table, "record", group->position, record, expected, NULL,
							 "the sealed bytes of %u records cannot be read", group->unreadable);
	else
		verify_table_finding(table, "record", group->position, record, expected, found,
							 "the sealed bytes are not those that were committed (first record at (%u,%u))",
							 ItemPointerGetBlockNumber(&group->tid), ItemPointerGetOffsetNumber(&group->tid));
}

/* The last record of this serial was seen. */
static void
group_end(VerifyTable *table, MatchGroup *group)
{
	VerifyDeficit *deficit;
	char		record[48];
	char		expected[32];
	char		found[32];

	if (!group->have_item)
		return;
	if (!group->strict)
	{
		/* the entry is in doubt, but a tag needs no entry */
		if (!group->is_void && group->closed > 0)
		{
			verify_record_name(record, sizeof(record), group->serial, group->first_closed);
			verify_table_finding(table, "record", group->position, record, NULL, NULL,
								 "%u records do not open with the keys", group->closed);
		}
		return;
	}
	table->transactions++;
	table->ledger->records += group->item.count;
	if (group->covered == group->item.count)
	{
		group_compare(table, group);
		return;
	}
	verify_mark_damaged(table, group->serial);
	if (group->covered < group->item.count)
	{
		deficit = palloc0(sizeof(VerifyDeficit));
		deficit->serial = group->serial;
		deficit->position = group->position;
		deficit->xid = (TransactionId) group->item.xid;
		deficit->expected = group->item.count;
		deficit->found = group->covered;
		table->deficits = lappend(table->deficits, deficit);
		return;
	}
	snprintf(record, sizeof(record), "(" UINT64_FORMAT ",%u)", group->serial, group->last_sequence);
	snprintf(expected, sizeof(expected), "%u records", group->item.count);
	snprintf(found, sizeof(found), "%u records", group->covered);
	verify_table_finding(table, "record", group->position, record, expected, found,
						 "there are more records than this transaction committed");
}

/* Pair what is too few with what is too much, by the xid that wrote it. */
static void
report_deficits(VerifyTable *table)
{
	ListCell   *lc;
	ListCell   *ls;

	foreach(lc, table->deficits)
	{
		VerifyDeficit *deficit = lfirst(lc);
		uint32		missing = deficit->expected - deficit->found;
		char		record[48];
		char		expected[32];
		char		found[32];

		snprintf(record, sizeof(record), "(" UINT64_FORMAT ",)", deficit->serial);
		foreach(ls, table->suspects)
		{
			VerifySuspect *suspect = lfirst(ls);

			if (suspect->used || missing == 0 || suspect->xmin != deficit->xid ||
				strcmp(suspect->check, "duplicate") == 0)
				continue;
			suspect->used = true;
			missing--;
			verify_table_finding(table, "record", deficit->position, record, NULL, NULL,
								 "the sealed header at (%u,%u) is not the one that was committed",
								 ItemPointerGetBlockNumber(&suspect->tid),
								 ItemPointerGetOffsetNumber(&suspect->tid));
		}
		if (missing == 0)
			continue;
		snprintf(expected, sizeof(expected), "%u records", deficit->expected);
		snprintf(found, sizeof(found), "%u records", deficit->expected - missing);
		verify_table_finding(table, "missing", deficit->position, record, expected, found,
							 "records of a committed transaction are gone");
	}
}

/* What no deficit explains. */
static void
report_suspects(VerifyTable *table)
{
	ListCell   *lc;

	foreach(lc, table->suspects)
	{
		VerifySuspect *suspect = lfirst(lc);
		char		record[48] = "";

		if (suspect->used)
			continue;
		if (suspect->serial != 0)
			verify_record_name(record, sizeof(record), suspect->serial, suspect->sequence);
		verify_table_finding(table, suspect->check, 0, record, NULL, NULL, "%s, at (%u,%u)",
							 suspect->why, ItemPointerGetBlockNumber(&suspect->tid),
							 ItemPointerGetOffsetNumber(&suspect->tid));
	}
}

/* Pass a record on to verify_links.c. */
void
verify_pass_on(VerifyTable *table, const VerifyRecord *record, const MatchGroup *group,
			   VerifyTruth truth)
{
	VerifyRecord out = *record;
	VerifyRecord ender;

	out.truth = truth;
	out.position = group->position;
	out.entry_xid = group->have_item ? group->item.xid : 0;
	BufFileWrite(table->matched, &out, sizeof(out));
	table->matched_count++;
	if (!(record->marks & VR_SUPERSEDES) || truth == TRUTH_DEAD)
		return;
	/* the same again, found under the record that it supersedes */
	ender = out;
	ender.super_serial = verify_record_serial(record);
	ender.super_sequence = verify_record_sequence(record);
	verify_record_set_id(ender.key, record->super_serial, record->super_sequence);
	verify_sort_put(table->enders, &ender, sizeof(ender));
}

uint64
verify_item_serial(const VerifyItem *item)
{
	uint64		v;

	memcpy(&v, item->serial, sizeof(v));
	return pg_ntoh64(v);
}

/* Merge the table's records with its items. */
void
verify_match(VerifyTable *table)
{
	MatchGroup *group = palloc0(sizeof(MatchGroup));
	const VerifyItem *item = verify_item_next(table->ctx, table->ledger->ledger);
	Size		len;
	const VerifyRecord *record = verify_sort_next(table->sorted, &len);

	while (item != NULL || record != NULL)
	{
		uint64		serial = record ? verify_record_serial(record) : PG_UINT64_MAX;
		bool		with_item = item != NULL && verify_item_serial(item) <= serial;

		CHECK_FOR_INTERRUPTS();
		if (with_item)
			serial = verify_item_serial(item);
		verify_group_begin(table, group, serial, with_item ? item : NULL);
		while (record != NULL && verify_record_serial(record) == serial)
		{
			VerifyTruth truth = group_add(table, group, record);

			verify_pass_on(table, record, group, truth);
			record = verify_sort_next(table->sorted, &len);
		}
		group_end(table, group);
		while (with_item && item != NULL && verify_item_serial(item) == serial)
			item = verify_item_next(table->ctx, table->ledger->ledger);
	}
	report_deficits(table);
	report_suspects(table);
}
