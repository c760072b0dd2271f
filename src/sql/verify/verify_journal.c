/*
 * verify_journal.c
 *	  The journal pass: every entry from genesis to the decided horizon, then
 *	  its tail again after each table.
 *
 * What it leaves behind: the items, sorted by ledger and serial (with a zero
 * ledger, the serials themselves); the schema entries; in memory, positions
 * that are void or doubtful, and the serials that came after the horizon.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "am/keys/keys.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "sql/verify/verify.h"
#include "storage/procarray.h"
#include "utils/memutils.h"

#define ENTRIES_PER_RESET 256

typedef struct TailSerial
{
	uint64		serial;			/* hash key */
	VerityPosition position;
} TailSerial;

VerifyPositions *
verify_positions_begin(void)
{
	VerifyPositions *p = palloc0(sizeof(VerifyPositions));

	p->capacity = 64;
	p->at = palloc(p->capacity * sizeof(VerityPosition));
	p->sorted = true;
	return p;
}

void
verify_positions_add(VerifyPositions *p, VerityPosition position)
{
	if (p->count == p->capacity)
	{
		p->capacity *= 2;
		p->at = repalloc_huge(p->at, p->capacity * sizeof(VerityPosition));
	}
	if (p->count > 0 && position < p->at[p->count - 1])
		p->sorted = false;
	p->at[p->count++] = position;
}

static int
compare_positions(const void *a, const void *b)
{
	VerityPosition x = *(const VerityPosition *) a;
	VerityPosition y = *(const VerityPosition *) b;

	return x < y ? -1 : (x > y);
}

bool
verify_positions_has(VerifyPositions *p, VerityPosition position)
{
	if (!p->sorted)
		qsort(p->at, p->count, sizeof(VerityPosition), compare_positions);
	p->sorted = true;
	return bsearch(&position, p->at, p->count, sizeof(VerityPosition), compare_positions) != NULL;
}

void
verify_mark_doubtful(VerifyContext *ctx, VerityPosition position)
{
	verify_positions_add(ctx->journal->doubtful, position);
}

bool
verify_is_doubtful(VerifyContext *ctx, VerityPosition position)
{
	return verify_positions_has(ctx->journal->doubtful, position);
}

void
verify_void_add(VerifyContext *ctx, const control_void_member *member, VerityPosition by)
{
	verify_positions_add(ctx->journal->voids, member->position);
}

bool
verify_is_void(VerifyContext *ctx, VerityPosition position, uint64 serial)
{
	VerityPosition mapped;

	if (verify_positions_has(ctx->journal->voids, position))
		return true;
	if (serial == 0 || position <= Max(ctx->journal->chain.decided, ctx->journal->chain.decided_last))
		return false;
	return verify_outcome(ctx, serial, &mapped) == OUTCOME_VOID;
}

VerityPosition
verify_tail_position(VerifyContext *ctx, uint64 serial)
{
	TailSerial *found = hash_search(ctx->journal->tail, &serial, HASH_FIND, NULL);

	return found ? found->position : 0;
}

/* The ledger's entry, made at first sight. */
static VerifyLedger *
ledger_get(VerifyContext *ctx, const uint8 *id)
{
	bool		found;
	VerifyLedger *ledger = hash_search(ctx->ledgers, id, HASH_ENTER, &found);

	if (!found)
		memset((char *) ledger + LEDGER_ID_SIZE, 0, sizeof(VerifyLedger) - LEDGER_ID_SIZE);
	return ledger;
}

/* Each item holds the hash of its table's item before. */
static void
check_item_chain(VerifyContext *ctx, VerifyLedger *ledger, const entry_item *item, VerityPosition position)
{
	VerifyChain *chain = &ctx->journal->chain;
	hash256		hash;

	if (ledger->gaps == chain->gaps && chain->broken == 0 &&
		!verify_is_doubtful(ctx, ledger->item_position) &&
		!hash_equal(&item->previous, &ledger->item_hash))
		verify_journal_finding(ctx, "items", position, NULL, NULL,
							   "the item of ledger %u does not hold the hash of the one before, at position " UINT64_FORMAT,
							   ledger->number, ledger->item_position);
	if (entry_item_hash(item, &hash) == CORE_OK)
		ledger->item_hash = hash;
	ledger->item_position = position;
	ledger->gaps = chain->gaps;
	ledger->items++;
}

/* Put an item, or with NULL the serial alone, to the sort. */
static void
put_item(VerifyContext *ctx, const VerityEntry *entry, const entry_item *item)
{
	Size		ranges = item ? item->range_count * sizeof(entry_range) : 0;
	Size		len = sizeof(VerifyItem) + ranges;
	VerifyItem *out = palloc0(len);
	uint64		serial = pg_hton64(entry->stored.core.serial);
	uint64		position = pg_hton64(entry->stored.core.position);

	memcpy(out->serial, &serial, sizeof(serial));
	memcpy(out->where, &position, sizeof(position));
	out->kind = entry->stored.core.kind;
	out->xid = TransactionIdIsValid(entry->xid) ? ctx->journal->xid : 0;
	if (item)
	{
		memcpy(out->ledger, item->ledger, LEDGER_ID_SIZE);
		out->count = item->count;
		out->range_count = item->range_count;
		out->root = item->root;
		if (ranges > 0)
			memcpy(out + 1, item->ranges, ranges);
	}
	verify_sort_put(ctx->items, out, len);
	pfree(out);
}

/* Remember a serial of the tail. */
static void
put_tail(VerifyContext *ctx, const entry_core *core)
{
	TailSerial *tail;

	if (core->serial == 0)
		return;
	tail = hash_search(ctx->journal->tail, &core->serial, HASH_ENTER, NULL);
	tail->position = core->position;
}

/* Count wraparounds: entries follow each other by less than 2^31 xids. */
static void
follow_xid(VerifyJournal *journal, TransactionId xid)
{
	if (!TransactionIdIsValid(xid))
		return;
	if (journal->xid == 0)
		journal->xid = (UINT64CONST(1) << 32) + xid;
	else
		journal->xid += (int32) (xid - (TransactionId) journal->xid);
}

/* Take in one entry that was read. */
static void
take_entry(VerifyContext *ctx, VerityEntry *entry, bool tail)
{
	VerifyJournal *journal = ctx->journal;
	const entry_stored *stored = &entry->stored;

	journal->entries++;
	journal->bytes += entry->raw_len;
	if (!verify_entry(ctx, &journal->chain, entry))
	{
		journal->chain.gaps++;
		return;
	}
	follow_xid(journal, entry->xid);
	if (stored->core.kind == ENTRY_TRANSACTION)
		journal->transactions++;
	verify_control(ctx, entry);
	if (tail)
		put_tail(ctx, &stored->core);
	else if (stored->core.serial != 0)
		put_item(ctx, entry, NULL);
	if (!tail && stored->metadata.has_idempotency_id)
		verify_positions_add(ctx->journal->idempotent, stored->core.position);
	for (uint32 i = 0; i < stored->item_count; i++)
	{
		check_item_chain(ctx, ledger_get(ctx, stored->items[i].ledger), &stored->items[i],
						 stored->core.position);
		if (!tail)
			put_item(ctx, entry, &stored->items[i]);
	}
}

/* A part of the journal that cannot be read. */
static void
take_damage(VerifyContext *ctx, const char *damage, VerityPosition at)
{
	VerifyChain *chain = &ctx->journal->chain;

	chain->gaps++;
	if (at == 0)
	{
		chain->damage = damage;
		return;
	}
	verify_journal_finding(ctx, "entry", at, NULL, damage, "the entry cannot be read");
	verify_mark_doubtful(ctx, at);
}

/*
 * Is the transaction of this entry still committing?  The xid beside an entry
 * is not hashed: one that no backend runs (not given out yet, or of a prepared
 * transaction) was put there, and would keep all that follows from being
 * decided.
 */
static bool
still_committing(VerifyContext *ctx, VerityEntry *entry)
{
	TransactionId xid = entry->xid;

	if (!TransactionIdIsValid(xid) || !TransactionIdIsInProgress(xid))
		return false;
	if (!verity_xid_in_future(xid) &&
		(RecoveryInProgress() || BackendXidGetPid(xid) != 0 || !TransactionIdIsInProgress(xid)))
		return true;
	verify_journal_finding(ctx, "entry", entry->stored.core.position, NULL, NULL,
						   "the transaction id beside the entry is one that cannot be committing");
	entry->xid = InvalidTransactionId;
	return false;
}

/*
 * Is this entry past what can be checked strictly?  Behind the server's own
 * horizon, which stops at a missing entry, what has ended is decided as well.
 */
static bool
past_horizon(VerifyContext *ctx, VerityEntry *entry)
{
	VerityPosition position = entry->stored.core.position;

	if (position <= ctx->horizon)
		return false;
	if (still_committing(ctx, entry))
		return true;
	ctx->horizon = position;
	return false;
}

/*
 * Read entries from the position after the last one: those that are decided,
 * or (tail) all there are.
 */
static void
read_entries(VerifyContext *ctx, bool tail)
{
	VerifyChain *chain = &ctx->journal->chain;
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "verity journal entry",
												  ALLOCSET_DEFAULT_SIZES);
	VerityJournalReader *reader = verity_journal_reader_begin(chain->last + 1);
	MemoryContext outer = MemoryContextSwitchTo(scratch);
	uint64		n = 0;

	for (;;)
	{
		const char *damage = NULL;
		VerityPosition at = 0;
		VerityEntry *entry = verity_journal_reader_next(reader, &damage, &at);

		CHECK_FOR_INTERRUPTS();
		if (entry == NULL && damage == NULL)
			break;
		if (entry != NULL && !tail && past_horizon(ctx, entry))
			break;
		if (entry != NULL)
			take_entry(ctx, entry, tail);
		else
			take_damage(ctx, damage, at);
		if (++n % ENTRIES_PER_RESET == 0)
		{
			verify_progress_add(ENTRIES_PER_RESET, 0);
			MemoryContextReset(scratch);
		}
	}
	MemoryContextSwitchTo(outer);
	verity_journal_reader_end(reader);
	MemoryContextDelete(scratch);
}

/* Schema entries in order; those of void transactions count for nothing. */
void
verify_schemas_apply(VerifyContext *ctx)
{
	ListCell   *lc;

	foreach(lc, ctx->schemas)
	{
		VerifySchema *schema = lfirst(lc);
		VerifyLedger *ledger;
		VerifyName *name;

		if (verify_is_void(ctx, schema->position, schema->serial))
			continue;
		ledger = ledger_get(ctx, schema->ledger);
		ledger->number = schema->number;
		ledger->relid = schema->relid;
		ledger->action = schema->action;
		ledger->schema_position = schema->position;
		ledger->name = schema->name;
		if (schema->action != SCHEMA_DROP)
		{
			ledger->version = schema->version;
			ledger->digest = schema->digest;
			ledger->versions = lappend(ledger->versions, schema);
		}
		name = palloc(sizeof(VerifyName));
		memcpy(name->ledger, schema->ledger, LEDGER_ID_SIZE);
		name->name = schema->name;
		ctx->names = lappend(ctx->names, name);
	}
	list_free(ctx->schemas);
	ctx->schemas = NIL;
}

typedef struct MarkCheck
{
	VerifyContext *ctx;
	uint64		position;
	hash256		hash;
} MarkCheck;

/* The entry at the mark is the one that the keystore saw. */
static void
check_marked_entry(void *arg)
{
	MarkCheck  *mark = arg;
	VerityEntry *entry = verity_journal_read(mark->position);

	/* one that is missing or damaged was named when the chain was read */
	if (entry != NULL && !hash_equal(&entry->hash, &mark->hash))
		verify_journal_finding(mark->ctx, "hmac", mark->position, NULL, NULL,
							   "the keystore saw another entry at this position");
}

/* With keys: the keystore's high-water mark against the journal's end. */
static void
check_mark(VerifyContext *ctx)
{
	VerifyChain *chain = &ctx->journal->chain;
	MarkCheck	mark = {ctx};
	uint64		generation;
	char		expected[48];
	char		found[160];

	if (!ctx->with_keys || !chain->have_journal_id ||
		!verity_journal_mark_get(chain->journal_id, &mark.position, &generation, &mark.hash) ||
		mark.position == 0)
		return;
	if (mark.position > Max(chain->last, verify_journal_end(ctx, NULL)))
	{
		snprintf(expected, sizeof(expected), "position " UINT64_FORMAT, mark.position);
		snprintf(found, sizeof(found), "position " UINT64_FORMAT, chain->last);
		ctx->journal_cut = true;
		verify_journal_finding(ctx, "end", 0, expected, found,
							   "the keystore saw a later end of the journal");
	}
	else if (mark.position <= chain->last && !verify_is_doubtful(ctx, mark.position) &&
			 chain->unsigned_first == 0)
		(void) verify_guard(check_marked_entry, &mark, found, sizeof(found));
}

/* Read and check the journal up to the horizon. */
void
verify_journal_pass(VerifyContext *ctx)
{
	HASHCTL		ledgers = {0};
	HASHCTL		keys = {0};
	HASHCTL		tail = {0};

	ctx->journal = palloc0(sizeof(VerifyJournal));
	ctx->journal->voids = verify_positions_begin();
	ctx->journal->doubtful = verify_positions_begin();
	ctx->journal->idempotent = verify_positions_begin();
	ledgers.keysize = LEDGER_ID_SIZE;
	ledgers.entrysize = sizeof(VerifyLedger);
	ledgers.hcxt = ctx->memory;
	ctx->ledgers = hash_create("verity ledgers", 256, &ledgers, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	keys.keysize = keys.entrysize = sizeof(VerifyKeyNote);
	keys.hcxt = ctx->memory;
	ctx->keys = hash_create("verity data keys", 256, &keys, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	tail.keysize = sizeof(uint64);
	tail.entrysize = sizeof(TailSerial);
	tail.hcxt = ctx->memory;
	ctx->journal->tail = hash_create("verity journal tail", 256, &tail,
									 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ctx->items = verify_sort_begin(sizeof(VerifyItem), maintenance_work_mem / 4);

	verify_progress_set("journal", "verity.journal", ctx->horizon);
	read_entries(ctx, false);
	verify_sort_perform(ctx->items);
	check_mark(ctx);
	verify_serials(ctx);
	verify_schemas_apply(ctx);
	verify_idempotency(ctx);
}

static void
read_tail(void *arg)
{
	read_entries(arg, true);
}

void
verify_journal_tail(VerifyContext *ctx)
{
	char		message[160];
	MemoryContext old = MemoryContextSwitchTo(ctx->memory);

	if (verify_journal_end(ctx, NULL) > ctx->journal->chain.last)
	{
		/* its beginning is looked up, which errors where pages are damaged */
		if (!verify_guard(read_tail, ctx, message, sizeof(message)))
			ctx->journal->chain.gaps++;
		verify_schemas_apply(ctx);
	}
	MemoryContextSwitchTo(old);
}

/* One row that says what of the journal was covered. */
static void
summary(VerifyContext *ctx)
{
	VerifyJournal *journal = ctx->journal;
	VerifyFinding f;

	verify_finding_init(&f, VERIFY_INFO, "summary", "verity.journal", journal->chain.last);
	snprintf(f.found, sizeof(f.found), UINT64_FORMAT " entries, " UINT64_FORMAT " bytes",
			 journal->entries, journal->bytes);
	snprintf(f.detail, sizeof(f.detail),
			 "positions 1 to " UINT64_FORMAT ", decided to " UINT64_FORMAT "; "
			 UINT64_FORMAT " transactions, " UINT64_FORMAT " generations; HMAC of " UINT64_FORMAT
			 " entries checked%s; no outside checkpoint was checked against",
			 journal->chain.last, ctx->horizon, journal->transactions, journal->generations,
			 journal->chain.keyed, ctx->with_keys ? "" : " (no keys)");
	verify_report_add(ctx->report, &f);

	if (journal->chain.unkeyed == 0)
		return;
	verify_finding_init(&f, VERIFY_INFO, "hmac", "verity.journal", journal->chain.unkeyed);
	snprintf(f.detail, sizeof(f.detail),
			 "positions 1 to " UINT64_FORMAT " have no HMAC: the cluster had no keystore yet",
			 journal->chain.unkeyed);
	verify_report_add(ctx->report, &f);
}

void
verify_journal_finish(VerifyContext *ctx)
{
	verify_journal_meta(ctx);
	verify_journal_tail(ctx);
	verify_entry_end(ctx, &ctx->journal->chain);
	verify_heads(ctx);
	summary(ctx);
}
