/*
 * xact_ledger.c
 *	  The current transaction's ledgers: streaming Merkle states, discarded
 *	  sequence ranges, and their savepoints.
 *
 * A ledger is touched at each sealing, before the record reaches a page, so
 * that a record which was placed and never folded (an error between) counts as
 * discarded.  Its first touch in a subtransaction puts a copy of its state on
 * a stack; the subtransaction's abort puts the copy back and discards the
 * sequences that were touched since.  A committed subtransaction's copies
 * become its parent's, unless that has one.  A range may reach over sequences
 * of other tables, never over a leaf of its own: so neighbours merge, and
 * there are at most as many ranges as leaves, plus one.
 *
 * All memory is the transaction's.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "am/journal/journal_store.h"
#include "am/journal/xact_ledger.h"

struct LedgerSave
{
	LedgerState *ledger;
	SubTransactionId subid;
	LedgerSave *outer;			/* the same ledger's save of an outer level */
	LedgerSave *below;			/* the next on the stack of all saves */
	uint64		since;			/* sequences touched from here on are ours */
	merkle_state merkle;
	int64		last_leaf;
	LedgerRanges *ranges;
	uint32		range_count;
	entry_range last_range;		/* it may be widened later */
};

static MemoryContext ledger_context = NULL;
static HTAB *ledgers = NULL;
static LedgerState *last_used = NULL;
static LedgerSave *saves = NULL;

void
ledger_begin(MemoryContext context)
{
	ledger_context = context;
}

void
ledger_reset(void)
{
	ledger_context = NULL;
	ledgers = NULL;
	last_used = NULL;
	saves = NULL;
}

static LedgerRanges *
new_ranges(void)
{
	return MemoryContextAllocZero(ledger_context, sizeof(LedgerRanges));
}

static LedgerState *
find_ledger(const uint8 ledger[LEDGER_ID_SIZE], bool create)
{
	LedgerState *state;
	bool		found;

	if (last_used != NULL && memcmp(last_used->ledger, ledger, LEDGER_ID_SIZE) == 0)
		return last_used;
	if (ledgers == NULL)
	{
		HASHCTL		ctl = {0};

		if (!create)
			return NULL;
		ctl.keysize = LEDGER_ID_SIZE;
		ctl.entrysize = sizeof(LedgerState);
		ctl.hcxt = ledger_context;
		ledgers = hash_create("verity ledgers", 32, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	state = hash_search(ledgers, ledger, create ? HASH_ENTER : HASH_FIND, &found);
	if (state != NULL && !found)
	{
		state->number = 0;
		state->last_leaf = -1;
		state->last_touched = -1;
		state->last_sealed = -1;
		state->save = NULL;
		merkle_init(&state->merkle);
		state->ranges = new_ranges();
	}
	last_used = state;
	return state;
}

/* Save a ledger before its first change in a subtransaction. */
static void
save_ledger(LedgerState *state, uint64 since)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	LedgerSave *save;

	if (subid == TopSubTransactionId || (state->save != NULL && state->save->subid == subid))
		return;
	save = MemoryContextAlloc(ledger_context, sizeof(LedgerSave));
	save->ledger = state;
	save->subid = subid;
	save->outer = state->save;
	save->below = saves;
	save->since = since;
	merkle_copy(&save->merkle, &state->merkle);
	save->last_leaf = state->last_leaf;
	save->ranges = state->ranges;
	save->range_count = state->ranges->count;
	if (save->range_count > 0)
		save->last_range = state->ranges->list[save->range_count - 1];
	state->save = save;
	saves = save;
}

/* Discard first .. last; both lie behind every leaf that still counts. */
static void
add_range(LedgerState *state, uint32 first, uint32 last)
{
	LedgerRanges *ranges = state->ranges;

	if (ranges->count > 0)
	{
		entry_range *before = &ranges->list[ranges->count - 1];

		Assert(before->last < first);
		if ((int64) before->last > state->last_leaf)
		{
			before->last = last;
			return;
		}
	}
	if (ranges->count == ranges->capacity)
	{
		ranges->capacity = Max(8, ranges->capacity * 2);
		if (ranges->list == NULL)
			ranges->list = MemoryContextAlloc(ledger_context, ranges->capacity * sizeof(entry_range));
		else
			ranges->list = repalloc_huge(ranges->list, (Size) ranges->capacity * sizeof(entry_range));
	}
	ranges->list[ranges->count].first = first;
	ranges->list[ranges->count++].last = last;
}

/* Records of a ledger are folded and discarded in the order of sequence. */
static void
check_order(LedgerState *state, uint32 sequence)
{
	if ((int64) sequence <= state->last_touched)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a record was written to a verity table while another insertion into it was not complete"),
				 errhint("Do not write to the table from functions that its indexes call.")));
}

void
ledger_fold(const uint8 ledger[LEDGER_ID_SIZE], uint32 number, uint32 sequence, const hash256 *leaf)
{
	LedgerState *state = find_ledger(ledger, true);

	check_order(state, sequence);
	save_ledger(state, sequence);
	state->number = number;
	JOURNAL_CHECK(merkle_append(&state->merkle, leaf));
	state->last_leaf = sequence;
	state->last_touched = sequence;
}

void
ledger_touch(const uint8 ledger[LEDGER_ID_SIZE], uint32 number, uint32 sequence)
{
	LedgerState *state = find_ledger(ledger, true);

	save_ledger(state, sequence);
	state->number = number;
	state->last_sealed = sequence;
}

void
ledger_discard(const uint8 ledger[LEDGER_ID_SIZE], uint32 number, uint32 sequence)
{
	LedgerState *state = find_ledger(ledger, true);

	check_order(state, sequence);
	save_ledger(state, sequence);
	state->number = number;
	add_range(state, sequence, sequence);
	state->last_touched = sequence;
}

void
ledger_forget(const uint8 ledger[LEDGER_ID_SIZE])
{
	LedgerState *state = find_ledger(ledger, false);

	if (state == NULL)
		return;
	save_ledger(state, Max(state->last_touched, state->last_sealed) + 1);
	merkle_init(&state->merkle);
	state->last_leaf = -1;
	state->ranges = new_ranges();
}

void
ledger_subcommit(SubTransactionId subid, SubTransactionId parent)
{
	LedgerSave **link = &saves;

	while (*link != NULL && (*link)->subid == subid)
	{
		LedgerSave *save = *link;

		if (parent == TopSubTransactionId || (save->outer != NULL && save->outer->subid == parent))
		{
			save->ledger->save = save->outer;
			*link = save->below;
			pfree(save);
		}
		else
		{
			save->subid = parent;
			link = &save->below;
		}
	}
}

void
ledger_subabort(SubTransactionId subid)
{
	while (saves != NULL && saves->subid == subid)
	{
		LedgerSave *save = saves;
		LedgerState *state = save->ledger;

		merkle_copy(&state->merkle, &save->merkle);
		state->last_leaf = save->last_leaf;
		state->ranges = save->ranges;
		state->ranges->count = save->range_count;
		if (save->range_count > 0)
			state->ranges->list[save->range_count - 1] = save->last_range;
		state->last_touched = Max(state->last_touched, state->last_sealed);
		if (state->last_touched >= (int64) save->since)
			add_range(state, (uint32) save->since, (uint32) state->last_touched);
		state->save = save->outer;
		saves = save->below;
		pfree(save);
	}
}

static int
compare_states(const void *a, const void *b)
{
	return memcmp((*(LedgerState *const *) a)->ledger, (*(LedgerState *const *) b)->ledger,
				  LEDGER_ID_SIZE);
}

/* Ledgers with something to say, sorted; palloc'd. */
static uint32
sorted_states(LedgerState ***states)
{
	HASH_SEQ_STATUS seq;
	LedgerState *state;
	uint32		count = 0;

	*states = palloc((ledgers ? hash_get_num_entries(ledgers) : 0) * sizeof(LedgerState *) + 1);
	if (ledgers == NULL)
		return 0;
	hash_seq_init(&seq, ledgers);
	while ((state = hash_seq_search(&seq)) != NULL)
	{
		if (state->merkle.count > 0 || state->ranges->count > 0)
			(*states)[count++] = state;
	}
	qsort(*states, count, sizeof(LedgerState *), compare_states);
	return count;
}

uint32
ledger_items(entry_item **items, uint32 **numbers, uint64 *leaves)
{
	LedgerState **states;
	uint32		count = sorted_states(&states);

	*items = palloc0(count * sizeof(entry_item) + 1);
	*numbers = palloc(count * sizeof(uint32) + 1);
	*leaves = 0;
	for (uint32 i = 0; i < count; i++)
	{
		entry_item *item = &(*items)[i];

		memcpy(item->ledger, states[i]->ledger, LEDGER_ID_SIZE);
		item->count = (uint32) states[i]->merkle.count;
		item->ranges = states[i]->ranges->list;
		item->range_count = states[i]->ranges->count;
		JOURNAL_CHECK(merkle_root(&states[i]->merkle, &item->root));
		JOURNAL_CHECK(entry_ranges_hash(item->ranges, item->range_count, &item->discarded_hash));
		(*numbers)[i] = states[i]->number;
		*leaves += states[i]->merkle.count;
	}
	pfree(states);
	return count;
}
