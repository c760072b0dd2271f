/*
 * verify_entry.c
 *	  One journal entry against itself and against the entries before it.
 *
 * An alteration gives one finding, at the position that was altered.  Each
 * entry holds the hash of the one before, so that a changed entry shows in the
 * link to its successor; when the link behind that is broken as well, it was
 * the later entry's own bytes that were changed.
 */
#include "postgres.h"

#include "am/keys/keys.h"
#include "sql/verify/verify.h"

/* Missing positions that are remembered one by one, for each gap. */
#define GAP_MARKS 100000

/* A finding about an entry, once for each position. */
static void
entry_finding(VerifyContext *ctx, VerifyChain *chain, VerityPosition position,
			  const char *expected, const char *found, const char *detail)
{
	verify_journal_finding(ctx, "entry", position, expected, found, "%s", detail);
	verify_mark_doubtful(ctx, position);
}

/*
 * Something is odd about this entry.  It is said once the next entry shows
 * that these are the bytes that were written; otherwise it was altered, which
 * is the finding then.
 */
static void
pend(VerifyContext *ctx, VerifyChain *chain, const char *check, VerityPosition position,
	 const char *expected, const char *found, const char *detail)
{
	VerifyFinding *f;

	if (chain->pending_count == lengthof(chain->pending) || !verify_in_range(ctx, position))
		return;
	f = &chain->pending[chain->pending_count++];
	verify_finding_init(f, VERIFY_ERROR, check, "verity.journal", position);
	strlcpy(f->expected, expected, sizeof(f->expected));
	strlcpy(f->found, found, sizeof(f->found));
	strlcpy(f->detail, detail, sizeof(f->detail));
}

/* The entry before is as it was written, or (not sound) may not be. */
static void
settle(VerifyContext *ctx, VerifyChain *chain, bool sound)
{
	for (int i = 0; sound && i < chain->pending_count; i++)
	{
		verify_report_add(ctx->report, &chain->pending[i]);
		ctx->journal_errors++;
	}
	chain->pending_count = 0;
	if (sound)
	{
		chain->decided = Max(chain->decided, chain->decided_last);
		chain->serial_max = Max(chain->serial_max, chain->serial_last);
	}
}

/* Does the entry hold what its core commits to? */
static bool
check_content(VerifyContext *ctx, VerifyChain *chain, VerityEntry *entry)
{
	const entry_core *core = &entry->stored.core;

	if (entry_kind_name(core->kind) == NULL)
		entry_finding(ctx, chain, core->position, NULL, NULL, "an entry of an unknown kind");
	else if (entry_check(&entry->stored) != CORE_OK)
		entry_finding(ctx, chain, core->position, NULL, NULL,
					  "its items, ranges or metadata do not hash to what the entry commits to");
	else
		return true;
	return false;
}

/*
 * The link from the entry before.  A broken one waits for the next link, to
 * tell which of the two entries was altered.
 */
static void
check_link(VerifyContext *ctx, VerifyChain *chain, VerityEntry *entry)
{
	const entry_core *core = &entry->stored.core;
	bool		broken = chain->have_hash && !hash_equal(&chain->hash, &core->previous);

	if (chain->broken != 0)
	{
		/* the link into position "broken" is bad; is the one out of it too? */
		if (broken)
		{
			entry_finding(ctx, chain, chain->broken, NULL, NULL,
						  "the entry fits neither the one before nor the one behind it");
			chain->last_reported = true;
		}
		else
			entry_finding(ctx, chain, chain->broken - 1, NULL, NULL,
						  "the entry does not hash to what the next one holds");
		chain->broken = 0;
	}
	settle(ctx, chain, !broken && !chain->last_reported);
	if (broken && !chain->last_reported)
		chain->broken = core->position;
}

/* Position, time, decided horizon: each follows from the entry before. */
static void
check_order(VerifyContext *ctx, VerifyChain *chain, const entry_core *core)
{
	char		expected[40];
	char		found[40];

	if (chain->last == 0 && core->position == 1)
		return;
	if (core->time != Max(core->raw_time, chain->time + 1))
	{
		snprintf(expected, sizeof(expected), INT64_FORMAT, Max(core->raw_time, chain->time + 1));
		snprintf(found, sizeof(found), INT64_FORMAT, core->time);
		pend(ctx, chain, "time", core->position, expected, found,
			 "an entry's time must follow from its clock and the entry before");
	}
	if (core->decided < chain->decided || core->decided >= core->position)
	{
		snprintf(expected, sizeof(expected), UINT64_FORMAT " to " UINT64_FORMAT,
				 chain->decided, core->position - 1);
		snprintf(found, sizeof(found), UINT64_FORMAT, core->decided);
		pend(ctx, chain, "decided", core->position, expected, found,
			 "the decided horizon never goes back");
	}
}

/* Positions have no gaps; damaged ones have their finding. */
static void
check_position(VerifyContext *ctx, VerifyChain *chain, VerityPosition position)
{
	char		expected[40];
	char		found[40];

	VerityPosition p;
	bool		known = false;
	const char *damage = chain->damage;

	chain->damage = NULL;
	if (position == chain->last + 1)
	{
		if (damage)
			verify_journal_finding(ctx, "page", position, NULL, damage, "before this position");
		return;
	}
	chain->gaps++;
	chain->have_hash = false;
	chain->broken = 0;
	for (p = chain->last + 1; p < position && !known && verify_is_doubtful(ctx, p); p++)
		;
	if (p == position)
		known = true;
	snprintf(expected, sizeof(expected), UINT64_FORMAT, chain->last + 1);
	snprintf(found, sizeof(found), UINT64_FORMAT, position);
	if (position <= chain->last)
		verify_journal_finding(ctx, "gap", position, expected, found,
							   "an entry stands behind a later one");
	else if (!known)
		verify_journal_finding(ctx, "gap", chain->last + 1, expected, found, "%s",
							   damage ? damage : "entries are missing, or are not where their position says");
	for (p = chain->last + 1; p < position && p <= chain->last + GAP_MARKS; p++)
		verify_mark_doubtful(ctx, p);
}

/* Generations go up by one, and each entry carries the one it was made in. */
static void
check_generation(VerifyContext *ctx, VerifyChain *chain, VerityEntry *entry)
{
	const entry_core *core = &entry->stored.core;
	control_generation body;

	if (core->kind != ENTRY_GENERATION)
	{
		if (core->kind != ENTRY_GENESIS && chain->generation != 0 &&
			core->generation != chain->generation)
			pend(ctx, chain, "generation", core->position, "", "",
				 "the entry was not made in the generation that was running");
		return;
	}
	if (control_generation_decode(entry->stored.body, entry->stored.body_len, &body) != CORE_OK ||
		body.number != chain->generation_number + 1 || body.first_serial <= chain->serial_max)
		pend(ctx, chain, "generation", core->position, "", "",
			 "a generation does not follow the one before");
	else
	{
		chain->generation = body.id;
		chain->generation_number = body.number;
		if (body.cause == GENERATION_CLONE)
			memcpy(chain->journal_id, body.journal_id, sizeof(chain->journal_id));
	}
}

/* Say which entries have a wrong HMAC; a run of them is one finding. */
static void
flush_unsigned(VerifyContext *ctx, VerifyChain *chain)
{
	char		found[64];

	if (chain->unsigned_first == 0)
		return;
	if (chain->unsigned_first == chain->unsigned_last && chain->broken == chain->unsigned_last + 1)
	{
		/* one entry that fits neither its HMAC nor the next entry was altered */
		entry_finding(ctx, chain, chain->unsigned_last, NULL, NULL,
					  "the entry does not hash to what the next one holds");
		chain->broken = 0;
		chain->unsigned_first = chain->unsigned_last = 0;
		return;
	}
	snprintf(found, sizeof(found), "positions " UINT64_FORMAT " to " UINT64_FORMAT,
			 chain->unsigned_first, chain->unsigned_last);
	verify_journal_finding(ctx, "hmac", chain->unsigned_first, NULL, found,
						   "entries were written by someone without the journal's key");
	chain->unsigned_first = chain->unsigned_last = 0;
}

/*
 * Was this entry written before the cluster had a keystore?  Only the first
 * entries of a journal can be, and only such that sealed nothing.
 */
static bool
is_unkeyed(const VerifyChain *chain, const VerityEntry *entry)
{
	static const uint8 zeros[ENTRY_HMAC_SIZE];

	return chain->unkeyed == entry->stored.core.position - 1 &&
		entry->stored.item_count == 0 &&
		memcmp(entry->stored.hmac, zeros, ENTRY_HMAC_SIZE) == 0;
}

/* With keys: the HMAC beside the entry. */
static void
check_hmac(VerifyContext *ctx, VerifyChain *chain, VerityEntry *entry, bool reported)
{
	const entry_core *core = &entry->stored.core;
	uint8		bytes[ENTRY_CORE_SIZE];
	bool		ok = true;

	if (!ctx->with_keys || !chain->have_journal_id)
		return;
	if (is_unkeyed(chain, entry))
	{
		chain->unkeyed = core->position;
		return;
	}
	entry_core_encode(core, bytes);
	/* a journal that the keystore does not know was named by someone else */
	if (verity_journal_hmac_check(chain->journal_id, bytes, sizeof(bytes), entry->stored.hmac, &ok))
		chain->keyed++;
	else
		ok = false;
	if (ok || reported || verify_is_doubtful(ctx, core->position))
	{
		if (ok)
			flush_unsigned(ctx, chain);
		return;
	}
	if (chain->unsigned_first == 0)
		chain->unsigned_first = core->position;
	chain->unsigned_last = core->position;
}

/* The genesis entry is the first, and names the journal. */
static void
check_genesis(VerifyContext *ctx, VerifyChain *chain, VerityEntry *entry)
{
	const entry_core *core = &entry->stored.core;
	control_genesis body;

	if ((core->position == 1) != (core->kind == ENTRY_GENESIS))
		entry_finding(ctx, chain, core->position, NULL, NULL,
					  "a journal has one genesis entry, its first");
	if (core->kind != ENTRY_GENESIS)
		return;
	if (control_genesis_decode(entry->stored.body, entry->stored.body_len, &body) != CORE_OK)
	{
		entry_finding(ctx, chain, core->position, NULL, NULL, "the genesis entry cannot be read");
		return;
	}
	memcpy(chain->journal_id, body.journal_id, sizeof(chain->journal_id));
	chain->have_journal_id = true;
}

/* Check an entry and make it the last one; false when it is not to be used. */
bool
verify_entry(VerifyContext *ctx, VerifyChain *chain, VerityEntry *entry)
{
	const entry_core *core = &entry->stored.core;
	bool		sound;

	check_position(ctx, chain, core->position);
	check_link(ctx, chain, entry);
	sound = check_content(ctx, chain, entry) && !verify_is_doubtful(ctx, core->position);
	if (sound)
	{
		check_genesis(ctx, chain, entry);
		check_generation(ctx, chain, entry);
		if (chain->broken == 0)
			check_order(ctx, chain, core);
	}
	check_hmac(ctx, chain, entry, !sound || chain->broken != 0);
	chain->last = core->position;
	chain->hash = entry->hash;
	chain->have_hash = true;
	chain->time = core->time;
	chain->decided_last = core->decided;
	chain->serial_last = core->serial;
	chain->last_reported = !sound;
	return sound;
}

/* Nothing follows: report what waited for a next entry. */
void
verify_entry_end(VerifyContext *ctx, VerifyChain *chain)
{
	if (chain->broken != 0)
	{
		entry_finding(ctx, chain, chain->broken - 1, NULL, NULL,
					  "the entry does not hash to what the next one holds");
		chain->broken = 0;
	}
	if (chain->damage)
		verify_journal_finding(ctx, "page", chain->last, NULL, chain->damage, "behind this position");
	settle(ctx, chain, !chain->last_reported);
	flush_unsigned(ctx, chain);
}
