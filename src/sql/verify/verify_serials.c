/*
 * verify_serials.c
 *	  The journal's own lookups against its entries: serials to positions,
 *	  ledgers to their last items; and the items of one ledger, in order.
 */
#include "postgres.h"

#include "access/table.h"
#include "am/journal/journal_store.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "sql/verify/verify.h"

static const uint8 no_ledger[LEDGER_ID_SIZE];

static uint64
item_u64(const uint8 bytes[8])
{
	uint64		v;

	memcpy(&v, bytes, sizeof(v));
	return pg_ntoh64(v);
}

/* The entries of one serial. */
typedef struct SerialGroup
{
	uint64		serial;
	VerityPosition first;
	VerityPosition last;
	uint64		count;
	int			transactions;
} SerialGroup;

/* One transaction's entries stand side by side, its records' entry last. */
static void
check_group(VerifyContext *ctx, const SerialGroup *group)
{
	VerityPosition mapped = 0;
	bool		is_void;
	bool		map_void;
	char		expected[40];
	char		found[40];

	if (group->serial == 0)
		return;
	if (group->transactions > 1 || group->last - group->first + 1 != group->count)
	{
		snprintf(found, sizeof(found), "positions " UINT64_FORMAT " and " UINT64_FORMAT,
				 group->first, group->last);
		verify_journal_finding(ctx, "serial", group->last, NULL, found,
							   "serial " UINT64_FORMAT " has entries of two transactions", group->serial);
		return;
	}
	is_void = verify_is_void(ctx, group->last, group->serial);
	map_void = verity_serial_outcome(group->serial, &mapped) == OUTCOME_VOID;
	if ((mapped == group->last && is_void == map_void) || verify_is_doubtful(ctx, group->last))
		return;
	snprintf(expected, sizeof(expected), "position " UINT64_FORMAT "%s", group->last, is_void ? ", void" : "");
	snprintf(found, sizeof(found), "position " UINT64_FORMAT "%s", mapped, map_void ? ", void" : "");
	verify_object_finding(ctx, "verity.journal_serials", "serial", group->last, expected, found,
						  "the map of serials leads elsewhere for serial " UINT64_FORMAT, group->serial);
}

/* Walk the serials at the front of the sorted items. */
static void
walk_serials(void *arg)
{
	VerifyContext *ctx = arg;
	SerialGroup group = {0};
	Size		len;

	while ((ctx->item = verify_sort_next(ctx->items, &len)) != NULL &&
		   memcmp(ctx->item->ledger, no_ledger, LEDGER_ID_SIZE) == 0)
	{
		uint64		serial = item_u64(ctx->item->serial);
		VerityPosition position = item_u64(ctx->item->where);

		CHECK_FOR_INTERRUPTS();
		if (serial != group.serial)
		{
			check_group(ctx, &group);
			memset(&group, 0, sizeof(group));
			group.serial = serial;
			group.first = position;
		}
		group.last = position;
		group.count++;
		if (ctx->item->kind == ENTRY_TRANSACTION)
			group.transactions++;
	}
	check_group(ctx, &group);
}

/* Serials are unique, and the map of serials agrees. */
void
verify_serials(VerifyContext *ctx)
{
	char		message[160];

	if (verify_guard(walk_serials, ctx, message, sizeof(message)))
		return;
	verify_object_finding(ctx, "verity.journal_serials", "serial", 0, NULL, message,
						  "the map of serials cannot be read");
	/* the items behind the serials are still to be had */
	verify_sort_rewind(ctx->items);
	ctx->item = NULL;
}

const VerifyItem *
verify_item_next(VerifyContext *ctx, const uint8 ledger[LEDGER_ID_SIZE])
{
	Size		len;

	if (ctx->item_used || ctx->item == NULL)
		ctx->item = verify_sort_next(ctx->items, &len);
	ctx->item_used = false;
	while (ctx->item != NULL && memcmp(ctx->item->ledger, ledger, LEDGER_ID_SIZE) < 0)
		ctx->item = verify_sort_next(ctx->items, &len);
	if (ctx->item == NULL || memcmp(ctx->item->ledger, ledger, LEDGER_ID_SIZE) != 0)
		return NULL;
	ctx->item_used = true;
	return ctx->item;
}

void
verify_item_restart(VerifyContext *ctx)
{
	verify_sort_rewind(ctx->items);
	ctx->item = NULL;
	ctx->item_used = false;
}

/* --- questions to the journal whose pages may be damaged --- */

typedef struct Question
{
	uint64		serial;			/* or 0: the journal's end is asked for */
	VerityPosition position;
	VerityPosition decided;
	VerityOutcome outcome;
} Question;

static void
ask(void *arg)
{
	Question   *question = arg;

	if (question->serial != 0)
		question->outcome = verity_serial_outcome(question->serial, &question->position);
	else
	{
		question->position = verity_journal_last();
		question->decided = verity_journal_decided();
	}
}

VerityOutcome
verify_outcome(VerifyContext *ctx, uint64 serial, VerityPosition *position)
{
	Question	question = {serial};
	char		message[160];

	*position = 0;
	if (serial == 0 || ctx->journal_mute)
		return OUTCOME_NONE;
	if (!verify_guard(ask, &question, message, sizeof(message)))
	{
		/* once is enough: what is damaged has its finding */
		ctx->journal_mute = true;
		return OUTCOME_NONE;
	}
	*position = question.position;
	return question.outcome;
}

VerityPosition
verify_journal_end(VerifyContext *ctx, VerityPosition *decided)
{
	Question	question = {0};
	char		message[160];

	if (!verify_guard(ask, &question, message, sizeof(message)))
		question.position = question.decided = 0;
	if (decided)
		*decided = question.decided;
	return question.position;
}

/* Where does the map of heads put this ledger's last item? */
typedef struct HeadLookup
{
	VerifyLedger *ledger;
	bool		found;
	uint8		id[LEDGER_ID_SIZE];
	VerityPosition position;
	hash256		hash;
} HeadLookup;

static void
look_up_head(void *arg)
{
	HeadLookup *lookup = arg;

	lookup->found = verity_head_get(lookup->ledger->number, lookup->id,
									&lookup->position, &lookup->hash);
}

static void
check_head(VerifyContext *ctx, VerifyLedger *ledger)
{
	HeadLookup	lookup = {ledger};
	char		message[160];
	char		expected[40];
	char		found[40];

	if (ledger->schema_position == 0 || ledger->number == 0 || ledger->action == SCHEMA_UNCOVERED)
		return;
	if (!verify_guard(look_up_head, &lookup, message, sizeof(message)))
	{
		verify_object_finding(ctx, "verity.journal_heads", "heads", 0, NULL, message,
							  "the head of ledger %u cannot be read", ledger->number);
		return;
	}
	snprintf(expected, sizeof(expected), "position " UINT64_FORMAT, ledger->item_position);
	snprintf(found, sizeof(found), "position " UINT64_FORMAT, lookup.found ? lookup.position : 0);
	if (lookup.found && lookup.position > ctx->journal->chain.last)
	{
		if (!ctx->journal_cut && lookup.position > verify_journal_end(ctx, NULL))
		{
			ctx->journal_cut = true;
			verify_journal_finding(ctx, "end", 0, found, NULL,
								   "the journal ends before the last item of ledger %u", ledger->number);
		}
		return;
	}
	if (ledger->gaps != ctx->journal->chain.gaps || verify_is_doubtful(ctx, ledger->item_position))
		return;
	if (!lookup.found || memcmp(lookup.id, ledger->ledger, LEDGER_ID_SIZE) != 0 ||
		lookup.position != ledger->item_position ||
		(ledger->item_position != 0 && !hash_equal(&lookup.hash, &ledger->item_hash)))
		verify_object_finding(ctx, "verity.journal_heads", "heads", ledger->item_position, expected, found,
							  "the map of heads disagrees on ledger %u", ledger->number);
}

void
verify_heads(VerifyContext *ctx)
{
	HASH_SEQ_STATUS seq;
	VerifyLedger *ledger;

	hash_seq_init(&seq, ctx->ledgers);
	while ((ledger = hash_seq_search(&seq)) != NULL)
		check_head(ctx, ledger);
}

/* The journal's meta page, before and after the journal's end was read. */
static void
read_meta(void *arg)
{
	JournalMeta *meta = arg;
	Relation	journal = table_open(journal_oid(), AccessShareLock);

	journal_meta_read(journal, meta);
	table_close(journal, AccessShareLock);
}

/* What new serials, ledger numbers and generations go on from must not go back. */
void
verify_journal_meta(VerifyContext *ctx)
{
	VerifyChain *chain = &ctx->journal->chain;
	JournalMeta *before = palloc0(sizeof(JournalMeta));
	JournalMeta *meta = palloc0(sizeof(JournalMeta));
	HASH_SEQ_STATUS seq;
	VerifyLedger *ledger;
	uint32		ledgers = 0;
	char		message[160];

	if (!verify_guard(read_meta, before, message, sizeof(message)))
	{
		verify_journal_finding(ctx, "meta", 0, NULL, message, "the meta page cannot be read");
		return;
	}
	verify_journal_tail(ctx);
	if (!chain->have_journal_id || chain->gaps > 0 || ctx->journal->doubtful->count > 0 ||
		!verify_guard(read_meta, meta, message, sizeof(message)) ||
		before->generation_count != meta->generation_count)
		return;
	hash_seq_init(&seq, ctx->ledgers);
	while ((ledger = hash_seq_search(&seq)) != NULL)
		ledgers = Max(ledgers, ledger->number);
	if (memcmp(meta->journal_id, chain->journal_id, sizeof(meta->journal_id)) != 0 ||
		meta->generation_count != chain->generation_number ||
		meta->reserved_serial < Max(chain->serial_max, chain->serial_last) ||
		meta->ledger_count < ledgers)
		verify_journal_finding(ctx, "meta", 0, NULL, NULL,
							   "the meta page does not agree with the entries: a write could use a number again");
}

/* No xmin of one transaction's record is the xid of another's entry. */
void
verify_subxids(VerifyContext *ctx)
{
	const VerifyItem *item;
	Size		len;

	if (hash_get_num_entries(ctx->subxids) == 0)
		return;
	verify_sort_rewind(ctx->items);
	while ((item = verify_sort_next(ctx->items, &len)) != NULL &&
		   memcmp(item->ledger, no_ledger, LEDGER_ID_SIZE) == 0)
	{
		VerifySubxid *subxid = hash_search(ctx->subxids, &item->xid, HASH_FIND, NULL);

		CHECK_FOR_INTERRUPTS();
		if (subxid == NULL || subxid->serial == item_u64(item->serial))
			continue;
		verify_object_finding(ctx, subxid->ledger->name, "envelope", subxid->position, NULL, NULL,
							  "xmin of record (" UINT64_FORMAT ",%u) is the xid of another transaction",
							  subxid->serial, subxid->sequence);
		(void) hash_search(ctx->subxids, &item->xid, HASH_REMOVE, NULL);
	}
}
