/*
 * verify_trial.c
 *	  A table's stretches and the records beside them against the journal's
 *	  items of its ledger: is everything as it should be?
 *
 * For each item up to the horizon, the leaves of its stretches, put together in
 * the order of sequence numbers, must have its count and its root.  Since a
 * leaf is hashed with its record's id, nothing else can be in their place: no
 * record twice, of another transaction or with another sequence number.  What a
 * healthy table cannot have ends the trial, and the table is judged by
 * verify_match.c, which says what it is; nothing is reported from here.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "sql/verify/verify_match.h"

/* Keep the first doubt. */
void
verify_doubt(VerifyDoubt *doubt, VerifyDoubtKind kind, BlockNumber first, BlockNumber last)
{
	if (doubt->kind == DOUBT_NONE && kind != DOUBT_NONE)
		*doubt = (VerifyDoubt) {kind, first, last};
}

/* --- reading --- */

static void
take_record(void *arg, const VerifyRecord *record)
{
	VerifyTable *table = arg;
	Size		len = (record->marks & VR_FOLDED) ? offsetof(VerifyRecord, leaf) : sizeof(VerifyRecord);

	verify_sort_put(table->sorted, record, len);
}

static void
take_finding(void *arg, const VerifyFinding *finding)
{
	VerifyTable *table = arg;

	table->irregular = true;
}

static void
take_stretch(void *arg, const VerifyStretch *stretch)
{
	VerifyTable *table = arg;

	verify_sort_put(table->stretches, stretch, VERIFY_STRETCH_SIZE(stretch->node_count));
}

static void
take_tids(void *arg, const VerifyTidBlock *tids)
{
	VerifyTable *table = arg;

	verify_sort_put(table->tid_blocks, tids, sizeof(*tids));
}

/* Read all blocks in this process, or until it is no use. */
static void
scan_folding(VerifyTable *table, const VerifySink *sink)
{
	VerifyFold *fold = verify_fold_begin(sink, table->indexed);
	VerifyScan *scan = palloc(sizeof(VerifyScan));

	verify_scan_begin(scan, table->rel, table->object, verify_fold_sink(fold),
					  table->ctx->with_keys, true);
	scan->glancing = true;
	for (BlockNumber blkno = 0; blkno < table->nblocks && !verify_fold_irregular(fold); blkno++)
	{
		verify_scan_block(scan, blkno);
		verify_progress_add(1, 0);
	}
	table->bytes = scan->bytes;
	table->opened = scan->opened;
	verify_scan_end(scan);
	pfree(scan);
	table->irregular |= verify_fold_irregular(fold);
	table->doubt = verify_fold_doubt(fold);
	table->records = verify_fold_end(fold);
}

/* --- stretches whose place was guessed wrong --- */

typedef struct Refold
{
	MatchGroup *group;
	uint64		next;			/* sequence */
	uint64		end;
	bool		failed;
} Refold;

static void
refold_record(void *arg, const VerifyRecord *record)
{
	Refold	   *refold = arg;
	uint32		sequence = verify_record_sequence(record);

	if (verify_record_serial(record) != refold->group->serial || sequence < refold->next ||
		sequence >= refold->end || (record->marks & VR_UNREADABLE))
		return;
	if (sequence != refold->next++ || merkle_append(&refold->group->merkle, &record->leaf) != CORE_OK)
		refold->failed = true;
}

static void
refold_finding(void *arg, const VerifyFinding *finding)
{
}

/* Read a stretch's blocks again and append its leaves one by one. */
static bool
refold_stretch(VerifyTable *table, MatchGroup *group, const VerifyStretch *stretch, uint32 first)
{
	Refold		refold = {group, first, (uint64) first + stretch->count};
	VerifySink	sink = {.record = refold_record,.finding = refold_finding,.arg = &refold};
	VerifyScan *scan = palloc(sizeof(VerifyScan));

	ereport(DEBUG1,
			(errmsg_internal("reading a stretch of %u records of %s again", stretch->count, table->object)));
	verify_scan_begin(scan, table->rel, table->object, &sink, false, true);
	for (BlockNumber blkno = stretch->first_block; blkno <= stretch->last_block; blkno++)
		verify_scan_block(scan, blkno);
	verify_scan_end(scan);
	pfree(scan);
	return !refold.failed && refold.next == refold.end;
}

/* --- judging --- */

/* Append a stretch to its transaction's tree. */
static bool
append_stretch(VerifyTable *table, MatchGroup *group, const VerifyStretch *stretch, uint32 first)
{
	if (stretch->folded)
		return merkle_append_range(&group->merkle, stretch->start, stretch->count,
								   stretch->nodes, stretch->node_count) == CORE_OK ||
			refold_stretch(table, group, stretch, first);
	for (int i = 0; i < stretch->node_count; i++)
		if (merkle_append(&group->merkle, &stretch->nodes[i]) != CORE_OK)
			return false;
	return true;
}

/* What verify_links.c would look at in each record of a stretch. */
static void
check_stretch(VerifyTable *table, const MatchGroup *group, const VerifyStretch *stretch)
{
	VerifyRecord record;

	table->current += stretch->plain;
	if (stretch->xmin_status != VX_COMMITTED)
		return;
	memset(&record, 0, sizeof(record));
	memcpy(record.key, stretch->key, sizeof(record.key));
	record.truth = TRUTH_COMMITTED;
	record.xmin = stretch->xmin;
	record.entry_xid = group->item.xid;
	record.position = group->position;
	verify_note_subxid(table, &record);
}

/* One stretch of this serial. */
static void
group_stretch(VerifyTable *table, MatchGroup *group, const VerifyStretch *stretch)
{
	VerifyRecord id;
	uint32		first;

	memcpy(id.key, stretch->key, sizeof(id.key));
	first = verify_record_sequence(&id);
	if (group->any && first <= group->last_sequence)
	{
		table->irregular = true;
		verify_doubt(&table->doubt, DOUBT_DUPLICATE, stretch->first_block, stretch->last_block);
	}
	group->first_block = group->any ? Min(group->first_block, stretch->first_block) : stretch->first_block;
	group->last_block = group->any ? Max(group->last_block, stretch->last_block) : stretch->last_block;
	group->any = true;
	group->last_sequence = first + (stretch->count - 1);
	/* without an item it committed after the horizon, or nothing says that it did */
	table->irregular |= group->have_item ? group->is_void : group->position == 0;
	if (!group->strict || table->irregular)
		return;
	if (!append_stretch(table, group, stretch, first))
		table->irregular = true;
	else
		check_stretch(table, group, stretch);
}

/* What the journal makes of a record that is looked at by itself. */
static VerifyTruth
group_record(VerifyTable *table, MatchGroup *group, const VerifyRecord *record)
{
	bool		folded = (record->marks & VR_FOLDED) != 0;

	/* its stretch came before it; or one came that has its id a second time */
	table->irregular |= folded != (group->any && verify_record_sequence(record) <= group->last_sequence);
	if (!group->have_item && group->position != 0)
		return record->xmin_status == VX_COMMITTED ? TRUTH_LATER : TRUTH_DEAD;
	if (!group->have_item || group->is_void ||
		verify_group_discards(group, verify_record_sequence(record)))
	{
		table->irregular |= folded;
		return TRUTH_DEAD;
	}
	/* what is shown as aborted is in no stretch, and missed there */
	table->irregular |= group->strict && !folded;
	return group->strict ? TRUTH_COMMITTED : TRUTH_LATER;
}

/* All of this serial was seen: is it what was committed? */
static void
group_end(VerifyTable *table, MatchGroup *group)
{
	hash256		root;

	if (!group->have_item || !group->strict)
		return;
	table->transactions++;
	table->ledger->records += group->item.count;
	if (merkle_root(&group->merkle, &root) != CORE_OK)
		elog(ERROR, "could not compute a Merkle root");
	if (group->merkle.count == group->item.count && hash_equal(&root, &group->item.root))
		return;
	table->irregular = true;
	/* too few may be those that only seemed not to have committed */
	if (group->merkle.count == group->item.count)
		verify_doubt(&table->doubt, DOUBT_ROOT, group->first_block, group->last_block);
}

/* The next stretch and the next record, each NULL at its end. */
typedef struct TrialInput
{
	VerifyTable *table;
	const VerifyStretch *stretch;
	const VerifyRecord *record;
	VerifyRecord buffer;
} TrialInput;

static void
next_stretch(TrialInput *in)
{
	Size		len;

	in->stretch = verify_sort_next(in->table->stretches, &len);
}

/* Whole, with a leaf of zeros where it was left out. */
static void
next_record(TrialInput *in)
{
	Size		len;
	const VerifyRecord *record = verify_sort_next(in->table->sorted, &len);

	if (record != NULL)
	{
		/* the same record is not there twice */
		if (in->record != NULL && memcmp(record->key, in->buffer.key, sizeof(record->key)) == 0)
			in->table->irregular = true;
		memset(&in->buffer, 0, sizeof(in->buffer));
		memcpy(&in->buffer, record, len);
	}
	in->record = record ? &in->buffer : NULL;
}

/* The id of what comes next, as it is sorted; NULL at the end. */
static const uint8 *
next_key(const TrialInput *in)
{
	if (in->stretch == NULL)
		return in->record ? in->record->key : NULL;
	if (in->record == NULL || memcmp(in->stretch->key, in->record->key, sizeof(in->record->key)) <= 0)
		return in->stretch->key;
	return in->record->key;
}

static uint64
next_serial(const TrialInput *in)
{
	const uint8 *key = next_key(in);
	VerifyRecord id;

	if (key == NULL)
		return PG_UINT64_MAX;
	memcpy(id.key, key, sizeof(id.key));
	return verify_record_serial(&id);
}

/* All stretches and records of a serial, in the order of sequence numbers. */
static void
match_group(VerifyTable *table, MatchGroup *group, TrialInput *in)
{
	while (next_serial(in) == group->serial && next_key(in) != NULL && !table->irregular)
	{
		if (in->stretch != NULL && next_key(in) == in->stretch->key)
		{
			group_stretch(table, group, in->stretch);
			next_stretch(in);
		}
		else
		{
			verify_pass_on(table, in->record, group, group_record(table, group, in->record));
			next_record(in);
		}
	}
	group_end(table, group);
}

/* Merge stretches and records with the ledger's items. */
static void
match(VerifyTable *table)
{
	MatchGroup *group = palloc0(sizeof(MatchGroup));
	const VerifyItem *item = verify_item_next(table->ctx, table->ledger->ledger);
	TrialInput	in = {table};

	next_stretch(&in);
	next_record(&in);
	while ((item != NULL || next_key(&in) != NULL) && !table->irregular)
	{
		uint64		serial = next_serial(&in);
		bool		with_item = item != NULL && verify_item_serial(item) <= serial;

		CHECK_FOR_INTERRUPTS();
		if (with_item)
			serial = verify_item_serial(item);
		verify_group_begin(table, group, serial, with_item ? item : NULL);
		match_group(table, group, &in);
		while (with_item && item != NULL && verify_item_serial(item) == serial)
			item = verify_item_next(table->ctx, table->ledger->ledger);
	}
	/* an entry in doubt is for findings */
	table->irregular |= hash_get_num_entries(table->damaged) > 0;
}

/* Is there nothing to find in the table's records?  Its indexes come after. */
bool
verify_trial(VerifyTable *table)
{
	VerifySink	sink = {take_record, take_finding, take_stretch, take_tids, table};
	VerifyParallel parallel = PARALLEL_NONE;

	table->trial = true;
	if (table->ctx->workers > 0)
		parallel = verify_scan_parallel(table, &sink, table->ctx->workers);
	if (parallel == PARALLEL_FAILED)
		table->irregular = true;
	if (parallel == PARALLEL_NONE)
		scan_folding(table, &sink);
	if (!table->irregular)
	{
		verify_sort_perform(table->stretches);
		verify_sort_perform(table->sorted);
		verify_journal_tail(table->ctx);
		verify_progress_set("records", table->object, 0);
		match(table);
	}
	if (!table->irregular)
	{
		verify_progress_set("links", table->object, 0);
		verify_links(table);
		verify_roots(table);
	}
	table->trial = false;
	return !table->irregular;
}
