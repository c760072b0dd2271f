/*
 * journal_rows.c
 *	  Rows of verity.journal, verity.journal_serials and verity.journal_heads,
 *	  made from copied pages.
 *
 * Column numbers here and the tables in sql/20_journal.sql belong together.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "am/journal/journal_rows.h"
#include "am/journal/journal_store.h"
#include "am/journal/journal_summary.h"

typedef enum EntryColumn
{
	ENTRY_POSITION,
	ENTRY_TIME,
	ENTRY_KIND,
	ENTRY_OUTCOME,
	ENTRY_SUMMARY,
	ENTRY_TABLES,
	ENTRY_RECORDS,
	ENTRY_SESSION_USER,
	ENTRY_CURRENT_USER,
	ENTRY_APPLICATION,
	ENTRY_CLIENT,
	ENTRY_REASON,
	ENTRY_IDEMPOTENCY,
	ENTRY_SERIAL,
	ENTRY_GENERATION_NUMBER,
	ENTRY_DECIDED,
	ENTRY_RAW_TIME,
	ENTRY_PREVIOUS,
	ENTRY_HASH,
	ENTRY_COLUMNS
} EntryColumn;

#define SERIAL_COLUMNS 3
#define HEAD_COLUMNS 4

/* Entries that a page is expected to hold, for the planner. */
#define ENTRIES_PER_PAGE 20

JournalRelation
journal_relation_of(Relation rel)
{
	const char *name = RelationGetRelationName(rel);

	if (strcmp(name, "journal") == 0)
		return JOURNAL_ENTRIES;
	if (strcmp(name, "journal_serials") == 0)
		return JOURNAL_SERIALS;
	if (strcmp(name, "journal_heads") == 0)
		return JOURNAL_HEADS;
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("\"%s\" is not a relation of the journal", name),
			 errhint("Create tables USING verity.")));
}

int
journal_rows_on_page(JournalRelation which, char *page)
{
	if (which == JOURNAL_ENTRIES)
		return journal_page_is_entries((Page) page) ? PageGetMaxOffsetNumber((Page) page) : 0;
	if (PageIsNew((Page) page))
		return 0;
	return which == JOURNAL_SERIALS ? CELLS_PER_PAGE(CELL_SERIAL) : CELLS_PER_PAGE(CELL_HEAD);
}

double
journal_rows_per_page(JournalRelation which)
{
	switch (which)
	{
		case JOURNAL_SERIALS:
			return CELLS_PER_PAGE(CELL_SERIAL);
		case JOURNAL_HEADS:
			return CELLS_PER_PAGE(CELL_HEAD);
		default:
			return ENTRIES_PER_PAGE;
	}
}

static void
check_columns(TupleTableSlot *slot, int expected)
{
	if (slot->tts_tupleDescriptor->natts != expected)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a relation of the journal has %d columns instead of %d",
						slot->tts_tupleDescriptor->natts, expected),
				 errhint("Its definition was changed: restore the catalogs from a backup.")));
	memset(slot->tts_isnull, 0, expected * sizeof(bool));
}

static void
put_text(TupleTableSlot *slot, int column, const char *text)
{
	slot->tts_isnull[column] = text == NULL;
	if (text != NULL)
		slot->tts_values[column] = CStringGetTextDatum(text);
}

static Datum
hash_datum(const hash256 *hash)
{
	bytea	   *bytes = palloc(VARHDRSZ + HASH_SIZE);

	SET_VARSIZE(bytes, VARHDRSZ + HASH_SIZE);
	memcpy(VARDATA(bytes), hash->bytes, HASH_SIZE);
	return PointerGetDatum(bytes);
}

static Datum
uuid_datum(const uint8 bytes[UUID_LEN])
{
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

	memcpy(uuid->data, bytes, UUID_LEN);
	return UUIDPGetDatum(uuid);
}

static const char *
outcome_text(const VerityEntry *entry)
{
	VerityOutcome outcome;

	if (entry->stored.core.serial == 0)
		return "final";
	outcome = verity_serial_outcome(entry->stored.core.serial, NULL);
	return outcome == OUTCOME_COMMITTED ? "committed" :
		outcome == OUTCOME_VOID ? "void" : "undecided";
}

static void
put_core(TupleTableSlot *slot, const VerityEntry *entry)
{
	const entry_core *core = &entry->stored.core;
	Datum	   *values = slot->tts_values;
	uint32		generation = journal_generation_number(core->generation);

	values[ENTRY_POSITION] = Int64GetDatum(core->position);
	values[ENTRY_TIME] = TimestampTzGetDatum(core->time);
	values[ENTRY_RAW_TIME] = TimestampTzGetDatum(core->raw_time);
	put_text(slot, ENTRY_KIND, entry_kind_name(core->kind));
	put_text(slot, ENTRY_OUTCOME, outcome_text(entry));
	values[ENTRY_SERIAL] = Int64GetDatum(core->serial);
	slot->tts_isnull[ENTRY_SERIAL] = core->serial == 0;
	values[ENTRY_GENERATION_NUMBER] = Int32GetDatum(generation);
	slot->tts_isnull[ENTRY_GENERATION_NUMBER] = generation == 0;
	values[ENTRY_DECIDED] = Int64GetDatum(core->decided);
	values[ENTRY_PREVIOUS] = hash_datum(&core->previous);
	values[ENTRY_HASH] = hash_datum(&entry->hash);
}

static void
put_content(TupleTableSlot *slot, const VerityEntry *entry)
{
	const entry_stored *stored = &entry->stored;
	const entry_metadata *metadata = &stored->metadata;
	bool		transaction = stored->core.kind == ENTRY_TRANSACTION;
	uint32		tables;
	uint64		records = journal_records(entry, &tables);

	slot->tts_values[ENTRY_TABLES] = Int32GetDatum(tables);
	slot->tts_values[ENTRY_RECORDS] = Int64GetDatum(records);
	slot->tts_isnull[ENTRY_TABLES] = slot->tts_isnull[ENTRY_RECORDS] = !transaction;
	put_text(slot, ENTRY_SUMMARY, journal_summary(entry));
	put_text(slot, ENTRY_SESSION_USER, metadata->session_user);
	put_text(slot, ENTRY_CURRENT_USER, metadata->current_user);
	put_text(slot, ENTRY_APPLICATION, metadata->application);
	put_text(slot, ENTRY_CLIENT, metadata->client_address);
	put_text(slot, ENTRY_REASON, metadata->reason);
	slot->tts_isnull[ENTRY_IDEMPOTENCY] = !metadata->has_idempotency_id;
	if (metadata->has_idempotency_id)
		slot->tts_values[ENTRY_IDEMPOTENCY] = uuid_datum(metadata->idempotency_id);
}

static bool
entry_row(Relation rel, char *page, BlockNumber blkno, int n, TupleTableSlot *slot)
{
	ItemId		id = PageGetItemId((Page) page, n + 1);
	JournalItem *item = (JournalItem *) PageGetItem((Page) page, id);
	VerityEntry *entry;
	JournalTail tail;

	if (!ItemIdIsNormal(id) || ItemIdGetLength(id) < sizeof(JournalItem) || item->fragment != 0)
		return false;
	/* the end of a large entry may be on its way */
	if (item->count > 1)
	{
		journal_find_tail(rel, &tail);
		if (item->position > tail.position)
			return false;
	}
	check_columns(slot, ENTRY_COLUMNS);
	entry = journal_entry_at(rel, blkno, n + 1);
	put_core(slot, entry);
	put_content(slot, entry);
	return true;
}

static bool
serial_row(char *page, BlockNumber blkno, int n, TupleTableSlot *slot)
{
	uint64		cell;

	memcpy(&cell, journal_cell_at((Page) page, CELL_SERIAL, n), sizeof(cell));
	if (cell == 0)
		return false;
	check_columns(slot, SERIAL_COLUMNS);
	slot->tts_values[0] = Int64GetDatum((int64) blkno * CELLS_PER_PAGE(CELL_SERIAL) + n + 1);
	slot->tts_values[1] = Int64GetDatum(SERIAL_POSITION(cell));
	slot->tts_values[2] = BoolGetDatum((cell & SERIAL_VOID) != 0);
	return true;
}

static bool
head_row(char *page, BlockNumber blkno, int n, TupleTableSlot *slot)
{
	static const uint8 no_ledger[LEDGER_ID_SIZE];
	JournalHead head;

	memcpy(&head, journal_cell_at((Page) page, CELL_HEAD, n), sizeof(head));
	if (memcmp(head.ledger, no_ledger, LEDGER_ID_SIZE) == 0)
		return false;
	check_columns(slot, HEAD_COLUMNS);
	slot->tts_values[0] = Int32GetDatum((int32) (blkno * CELLS_PER_PAGE(CELL_HEAD) + n + 1));
	slot->tts_values[1] = uuid_datum(head.ledger);
	slot->tts_values[2] = Int64GetDatum(head.position);
	slot->tts_values[3] = hash_datum(&head.hash);
	slot->tts_isnull[2] = slot->tts_isnull[3] = head.position == 0;
	return true;
}

bool
journal_row(Relation rel, JournalRelation which, char *page, BlockNumber blkno, int n,
			TupleTableSlot *slot)
{
	switch (which)
	{
		case JOURNAL_SERIALS:
			return serial_row(page, blkno, n, slot);
		case JOURNAL_HEADS:
			return head_row(page, blkno, n, slot);
		default:
			return entry_row(rel, page, blkno, n, slot);
	}
}
