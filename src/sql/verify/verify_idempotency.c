/*
 * verify_idempotency.c
 *	  verity.idempotency against the journal: a row for each committed entry
 *	  that has an id, and none without.
 *
 * The table is an ordinary one, so whoever can write files or is a superuser
 * can take an id out, or give it to another role, and have its work done
 * twice.  The journal pass hands over the positions of entries with an id; a
 * row leads to its entry by its serial, and is that entry's if role and id are
 * those that the entry states.  Of two committed entries with one role and id
 * at most one is found by these in the index: the other is reported.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "am/journal/idempotency.h"
#include "am/journal/journal_store.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "sql/verify/verify.h"
#include "utils/lsyscache.h"
#include "utils/uuid.h"

#define OBJECT "verity.idempotency"

/* One row of the table. */
typedef struct IdempotencyRow
{
	Oid			role;
	uint64		serial;
	pg_uuid_t	id;
} IdempotencyRow;

static bool
read_row(HeapTuple tuple, TupleDesc desc, IdempotencyRow *row)
{
	bool		no_role;
	bool		no_id;
	bool		no_serial;
	Datum		role = heap_getattr(tuple, IDEMPOTENCY_ROLE, desc, &no_role);
	Datum		id = heap_getattr(tuple, IDEMPOTENCY_ID, desc, &no_id);
	Datum		serial = heap_getattr(tuple, IDEMPOTENCY_SERIAL, desc, &no_serial);

	if (no_role || no_id || no_serial)
		return false;
	row->role = DatumGetObjectId(role);
	row->id = *DatumGetUUIDP(id);
	row->serial = (uint64) DatumGetInt64(serial);
	return true;
}

/* Does the entry at this position carry the row's role and id? */
static bool
entry_has_id(VerityPosition position, const IdempotencyRow *row)
{
	VerityEntry *entry = verity_journal_read(position);
	bool		same = entry != NULL && entry->stored.core.serial == row->serial &&
		entry->stored.metadata.has_idempotency_id &&
		entry->stored.metadata.idempotency_role == row->role &&
		memcmp(entry->stored.metadata.idempotency_id, row->id.data, UUID_LEN) == 0;

	verity_entry_free(entry);
	return same;
}

static void
check_row(VerifyContext *ctx, const IdempotencyRow *row, VerifyPositions *matched)
{
	VerityPosition position = 0;
	VerityOutcome outcome = verity_serial_outcome(row->serial, &position);
	char		found[48];

	if (outcome != OUTCOME_NONE && position > ctx->horizon)
		return;
	if (verify_is_doubtful(ctx, position))
		return;
	if (outcome == OUTCOME_COMMITTED && entry_has_id(position, row))
	{
		verify_positions_add(matched, position);
		/* what a second commit would find: it looks in the index */
		if (idempotency_find(row->role, row->id.data) != position)
			verify_object_finding(ctx, OBJECT, "idempotency", position, NULL, NULL,
								  "the index does not lead to the id of this entry: its work could be done again");
		return;
	}
	snprintf(found, sizeof(found), "serial " UINT64_FORMAT, row->serial);
	verify_object_finding(ctx, OBJECT, "idempotency", position, NULL, found,
						  "no committed entry of the journal has this row's role and id");
}

static void
check_rows(VerifyContext *ctx, Relation rel, VerifyPositions *matched)
{
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	IdempotencyRow row;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		if (read_row(tuple, RelationGetDescr(rel), &row))
			check_row(ctx, &row, matched);
	}
	systable_endscan(scan);
}

/* Is the entry void, named so or not yet? */
static bool
is_void(VerifyContext *ctx, VerityPosition position)
{
	VerityEntry *entry = verity_journal_read(position);
	uint64		serial = entry != NULL ? entry->stored.core.serial : 0;

	verity_entry_free(entry);
	return verify_is_void(ctx, position, serial);
}

/* Another committed entry with the role and id of this one, as the index has it; 0: none. */
static VerityPosition
committed_again(VerifyContext *ctx, VerityPosition position)
{
	VerityEntry *entry = verity_journal_read(position);
	VerityPosition other;
	IdempotencyRow row = {0};

	if (entry == NULL || !entry->stored.metadata.has_idempotency_id)
		return 0;
	row.role = entry->stored.metadata.idempotency_role;
	memcpy(row.id.data, entry->stored.metadata.idempotency_id, UUID_LEN);
	verity_entry_free(entry);

	other = idempotency_find(row.role, row.id.data);
	if (other == 0 || other == position || (entry = verity_journal_read(other)) == NULL)
		return 0;
	row.serial = entry->stored.core.serial;
	verity_entry_free(entry);
	return entry_has_id(other, &row) && !is_void(ctx, other) ? other : 0;
}

/* No row is this entry's. */
static void
report_unmatched(VerifyContext *ctx, VerityPosition position)
{
	VerityPosition other = committed_again(ctx, position);
	char		found[64];

	if (other == 0)
	{
		verify_object_finding(ctx, OBJECT, "idempotency", position, "a row", NULL,
							  "the id of this entry is missing: its work could be done again");
		return;
	}
	snprintf(found, sizeof(found), "position " UINT64_FORMAT, other);
	verify_object_finding(ctx, OBJECT, "idempotency", position, "a row", found,
						  "the role committed this id twice: its work was done again");
}

static void
check_table(void *arg)
{
	VerifyContext *ctx = arg;
	VerifyPositions *entries = ctx->journal->idempotent;
	VerifyPositions *matched = verify_positions_begin();
	Relation	rel = table_open(get_relname_relid("idempotency", get_namespace_oid("verity", false)),
								 AccessShareLock);

	check_rows(ctx, rel, matched);
	table_close(rel, AccessShareLock);
	for (uint64 i = 0; i < entries->count; i++)
	{
		VerityPosition position = entries->at[i];

		if (!verify_positions_has(matched, position) && !verify_is_doubtful(ctx, position) &&
			!is_void(ctx, position))
			report_unmatched(ctx, position);
	}
}

void
verify_idempotency(VerifyContext *ctx)
{
	char		message[160];

	if (!verify_guard(check_table, ctx, message, sizeof(message)))
		verify_object_finding(ctx, OBJECT, "idempotency", 0, NULL, message,
							  "the table could not be read");
}
