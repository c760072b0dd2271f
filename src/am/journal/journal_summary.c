/*
 * journal_summary.c
 *	  A journal entry in one line, for people.
 *
 * A body that cannot be decoded gives NULL: verify says what is wrong with it.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "am/journal/journal_store.h"
#include "am/journal/journal_summary.h"

/* Positions that a void entry lists at most in its line. */
#define VOIDS_SHOWN 8

uint64
journal_records(const VerityEntry *entry, uint32 *tables)
{
	uint64		records = 0;

	*tables = 0;
	for (uint32 i = 0; i < entry->stored.item_count; i++)
	{
		records += entry->stored.items[i].count;
		/* an item may hold nothing but discarded ranges */
		if (entry->stored.items[i].count > 0)
			(*tables)++;
	}
	return records;
}

static void
summarize_transaction(StringInfo line, const VerityEntry *entry)
{
	uint32		tables;
	uint64		records = journal_records(entry, &tables);

	if (tables == 0)
		appendStringInfoString(line, "no records");
	else
		appendStringInfo(line, UINT64_FORMAT " record%s in %u table%s",
						 records, records == 1 ? "" : "s", tables, tables == 1 ? "" : "s");
}

static bool
summarize_genesis(StringInfo line, const entry_stored *stored)
{
	control_genesis body;

	if (control_genesis_decode(stored->body, stored->body_len, &body) != CORE_OK)
		return false;
	appendStringInfo(line, "database %.*s, history %s", (int) body.database_name.len,
					 body.database_name.data, body.protect_history ? "protected" : "not protected");
	return true;
}

static bool
summarize_generation(StringInfo line, const entry_stored *stored)
{
	control_generation body;

	if (control_generation_decode(stored->body, stored->body_len, &body) != CORE_OK)
		return false;
	appendStringInfo(line, "generation %u after %s", body.number,
					 body.cause == GENERATION_START ? "start" :
					 body.cause == GENERATION_RECOVERY ? "recovery" : "clone");
	if (body.doubt_first != 0)
		appendStringInfo(line, ": good up to " UINT64_FORMAT ", in doubt " UINT64_FORMAT "-" UINT64_FORMAT
						 ", %u void", body.good, body.doubt_first, body.doubt_last, body.voided);
	return true;
}

static bool
summarize_void(StringInfo line, const entry_stored *stored)
{
	uint32		capacity = (uint32) (stored->body_len / sizeof(control_void_member)) + 1;
	control_void_member *members = palloc(capacity * sizeof(control_void_member));
	control_void body;

	if (control_void_decode(stored->body, stored->body_len, &body, members, capacity) != CORE_OK)
		return false;
	if (body.count == 0)
		appendStringInfoString(line, "horizon");
	else
		appendStringInfoString(line, "void:");
	for (uint32 i = 0; i < body.count && i < VOIDS_SHOWN; i++)
		appendStringInfo(line, " " UINT64_FORMAT, members[i].position);
	if (body.count > VOIDS_SHOWN)
		appendStringInfo(line, " and %u more", body.count - VOIDS_SHOWN);
	return true;
}

static bool
summarize_schema(StringInfo line, const entry_stored *stored)
{
	static const char *const actions[] = {"", "create", "alter", "drop", "not covered:"};
	control_schema body;

	if (control_schema_decode(stored->body, stored->body_len, &body) != CORE_OK)
		return false;
	appendStringInfo(line, "%s %.*s", actions[body.action <= SCHEMA_UNCOVERED ? body.action : 0],
					 (int) body.name.len, body.name.data);
	if (body.action == SCHEMA_CREATE || body.action == SCHEMA_ALTER)
		appendStringInfo(line, ", version %u", body.version);
	return true;
}

static bool
summarize_key(StringInfo line, const entry_stored *stored)
{
	control_key body;

	if (control_key_decode(stored->body, stored->body_len, &body) != CORE_OK)
		return false;
	appendStringInfo(line, "key %016llx", (unsigned long long) body.key_id);
	return true;
}

static bool
summarize_policy(StringInfo line, const entry_stored *stored)
{
	control_policy body;

	if (control_policy_decode(stored->body, stored->body_len, &body) != CORE_OK)
		return false;
	appendStringInfo(line, "%s: %.*s", body.action == POLICY_ACCEPT ? "accept" : "release",
					 (int) body.reason.len, body.reason.data);
	return true;
}

static bool
summarize(StringInfo line, const VerityEntry *entry)
{
	const entry_stored *stored = &entry->stored;

	switch (stored->core.kind)
	{
		case ENTRY_TRANSACTION:
			summarize_transaction(line, entry);
			return true;
		case ENTRY_GENESIS:
			return summarize_genesis(line, stored);
		case ENTRY_GENERATION:
			return summarize_generation(line, stored);
		case ENTRY_VOID:
			return summarize_void(line, stored);
		case ENTRY_SCHEMA:
			return summarize_schema(line, stored);
		case ENTRY_KEY:
			return summarize_key(line, stored);
		case ENTRY_POLICY:
			return summarize_policy(line, stored);
		default:
			return false;
	}
}

const char *
journal_summary(const VerityEntry *entry)
{
	StringInfoData line;

	initStringInfo(&line);
	return summarize(&line, entry) ? line.data : NULL;
}
