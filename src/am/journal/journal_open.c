/*
 * journal_open.c
 *	  Opening a journal for writing: at its genesis, and at the first write
 *	  after a start of the server, a promotion or a clone.
 *
 * Steps, all under the journal lock:
 *	  1. an entry without its end is cut off behind the last complete one;
 *	  2. positions behind the last entry's decided horizon are in doubt: each is
 *		 resolved by its transaction's fate;
 *	  3. the last entry's cells are put in place again, in case the record with
 *		 the rest of them was lost;
 *	  4. a generation entry states what was found, with a new random id, salt
 *		 and first serial, together with the meta page, in one WAL record;
 *	  5. a void entry names those in doubt that did not commit;
 *	  6. WAL is flushed: nothing is sealed under the new salt before.
 * A crash between any two leads back to the first.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/timestamp.h"

#include "am/journal/journal_store.h"
#include "am/keys/keys.h"
#include "am/stop_point.h"
#include "am/wal.h"
#include "chain/codec.h"
#include "sql/settings.h"

#define SERIAL_BLOCK 4096

/* What an open finds about the positions behind the decided horizon. */
typedef struct JournalDoubt
{
	uint64		good;			/* the horizon */
	uint64		first;			/* 0: nothing in doubt */
	uint64		last;
	JournalVoids voids;
} JournalDoubt;

static void
random_bytes(void *out, Size len)
{
	if (!pg_strong_random(out, len))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random bytes")));
}

/* Empty the blocks from this one on. */
static void
cut_from(JournalSession *session, BlockNumber blkno)
{
	BlockNumber nblocks = RelationGetNumberOfBlocks(session->rels.journal);

	for (; blkno < nblocks; blkno++)
	{
		JournalWrite write = {0};

		write.entry = ReadBuffer(session->rels.journal, blkno);
		LockBuffer(write.entry, BUFFER_LOCK_EXCLUSIVE);
		write.entry_init = true;
		journal_write(session->rels.journal, XLOG_VERITY_JOURNAL_APPEND, &write);
		VERITY_STOP("tail-cut");
		UnlockReleaseBuffer(write.entry);
	}
}

/* The number of a ledger, by a search through the heads; 0: none. */
static uint32
find_ledger_number(JournalSession *session, const uint8 ledger[LEDGER_ID_SIZE], uint32 ledger_count)
{
	for (uint32 number = 1; number <= ledger_count; number++)
	{
		JournalCell cell = {CELL_HEAD, number - 1};

		if (journal_cell_read(session->rels.heads, &cell) &&
			memcmp(cell.value.head.ledger, ledger, LEDGER_ID_SIZE) == 0)
			return number;
	}
	return 0;
}

/* Put the cells of the last entry in place again. */
static void
reapply_cells(JournalSession *session, VerityEntry *entry, uint32 ledger_count)
{
	entry_stored *stored = &entry->stored;
	JournalCell *cells = palloc0((1 + stored->item_count) * sizeof(JournalCell));
	int			count = 0;

	if (stored->core.kind == ENTRY_TRANSACTION)
	{
		cells[count].kind = CELL_SERIAL;
		cells[count].index = stored->core.serial - 1;
		if (!journal_cell_read(session->rels.serials, &cells[count]))
			cells[count].value.serial = stored->core.position;
		count++;
	}
	for (uint32 i = 0; i < stored->item_count; i++)
	{
		JournalCell *cell = &cells[count];
		uint32		number = find_ledger_number(session, stored->items[i].ledger, ledger_count);

		if (number == 0)
			continue;
		cell->kind = CELL_HEAD;
		cell->index = number - 1;
		memcpy(cell->value.head.ledger, stored->items[i].ledger, LEDGER_ID_SIZE);
		cell->value.head.position = stored->core.position;
		JOURNAL_CHECK(entry_item_hash(&stored->items[i], &cell->value.head.hash));
		count++;
	}
	if (count > 0)
		journal_write_cells(session, cells, count);
	pfree(cells);
}

/* Steps 1 and 3; sets what shared memory knows of the end.  May return NULL. */
static VerityEntry *
recover_tail(JournalSession *session, uint32 ledger_count)
{
	JournalShared *shared = session->shared;
	JournalTail tail;
	VerityEntry *last = NULL;

	journal_find_tail(session->rels.journal, &tail);
	if (tail.incomplete_from != InvalidBlockNumber)
		cut_from(session, tail.incomplete_from);
	shared->tail = tail.block;
	if (tail.position == 0)
		return NULL;

	last = journal_read_entry(session->rels.journal, tail.position);
	if (last == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the journal's last entry " UINT64_FORMAT " cannot be found", tail.position),
				 errhint("Run verity_verify() to see what is damaged.")));
	shared->last_position = last->stored.core.position;
	shared->last_time = last->stored.core.time;
	shared->last_hash = last->hash;
	reapply_cells(session, last, ledger_count);
	return last;
}

/*
 * An append of this server's life stopped half-way.  What it left behind its
 * last complete entry is cut off; if it got as far as completing one, that is
 * taken over, and its transaction with it.
 */
void
journal_repair(JournalSession *session)
{
	JournalShared *shared = session->shared;
	uint64		known = shared->last_position;
	JournalMeta *meta = palloc(sizeof(JournalMeta));
	VerityEntry *last;

	journal_meta_read(session->rels.journal, meta);
	last = recover_tail(session, meta->ledger_count);
	if (last != NULL && shared->last_position > known && TransactionIdIsValid(last->xid))
		journal_run_add(shared, last->xid, last->stored.core.serial, shared->last_position);
	verity_entry_free(last);
	pfree(meta);
	shared->broken = false;
}

/* Step 2: what became of each position behind the horizon? */
static void
resolve_doubt(JournalSession *session, uint64 decided, JournalDoubt *doubt)
{
	JournalShared *shared = session->shared;

	memset(doubt, 0, sizeof(JournalDoubt));
	doubt->good = decided;
	for (uint64 position = decided + 1; position <= shared->last_position; position++)
	{
		VerityEntry *entry = journal_read_entry(session->rels.journal, position);

		if (entry == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("journal entry " UINT64_FORMAT " is missing", position),
					 errhint("Run verity_verify() to see what is damaged.")));
		if (TransactionIdIsValid(entry->xid))
		{
			if (doubt->first == 0)
				doubt->first = position;
			doubt->last = position;
			if (verity_xid_in_future(entry->xid))
				ereport(ERROR,
						(errcode(ERRCODE_DATA_CORRUPTED),
						 errmsg("journal entry " UINT64_FORMAT " names a transaction that does not exist", position),
						 errhint("Run verity_verify() to see what is damaged.")));
			if (TransactionIdIsInProgress(entry->xid))
				journal_run_add(shared, entry->xid, entry->stored.core.serial, position);
			else if (!TransactionIdDidCommit(entry->xid))
				journal_voids_add(&doubt->voids, position, entry->stored.core.serial);
		}
		verity_entry_free(entry);
	}
}

/* Draw a new generation; the meta page is changed to name it. */
static void
draw_generation(JournalShared *shared, JournalMeta *meta, control_generation *body)
{
	body->number = meta->generation_count + 1;
	random_bytes(&body->id, sizeof(body->id));
	random_bytes(body->salt, sizeof(body->salt));
	random_bytes(meta->token, sizeof(meta->token));
	if (body->cause == GENERATION_CLONE)
		random_bytes(meta->journal_id, sizeof(meta->journal_id));
	memcpy(body->journal_id, meta->journal_id, sizeof(body->journal_id));
	body->system_identifier = meta->system_identifier = GetSystemIdentifier();
	body->database_oid = meta->database = MyDatabaseId;
	body->first_serial = meta->reserved_serial + 1;

	meta->reserved_serial += SERIAL_BLOCK;
	if (meta->generation_count < JOURNAL_META_GENERATIONS)
		meta->generations[meta->generation_count] = shared->last_position + 1;
	meta->generation_count++;

	memcpy(shared->journal_id, meta->journal_id, sizeof(shared->journal_id));
	memcpy(shared->token, meta->token, sizeof(shared->token));
	shared->generation.number = body->number;
	shared->generation.id = body->id;
	memcpy(shared->generation.salt, body->salt, sizeof(body->salt));
	shared->generation.first_serial = body->first_serial;
}

/* Step 4, with the meta page in the entry's own record. */
static void
start_generation(JournalSession *session, uint8 cause, JournalMeta *meta, const JournalDoubt *doubt)
{
	JournalShared *shared = session->shared;
	control_generation body = {0};
	uint8		bytes[256];
	codec_writer writer;

	body.cause = cause;
	body.good = doubt->good;
	body.doubt_first = doubt->first;
	body.doubt_last = doubt->last;
	body.voided = doubt->voids.count;
	draw_generation(shared, meta, &body);

	codec_writer_init(&writer, bytes, sizeof(bytes));
	control_generation_encode(&writer, &body);
	Assert(!writer.failed);
	/* while voids are still to be named, the horizon stays */
	journal_append_body(session, ENTRY_GENERATION, bytes, writer.used, meta,
						doubt->voids.count > 0 ? doubt->good : DECIDED_AS_KNOWN);

	LWLockAcquire(&shared->serial_lock, LW_EXCLUSIVE);
	shared->next_serial = body.first_serial;
	shared->reserved_serial = meta->reserved_serial;
	LWLockRelease(&shared->serial_lock);
	ereport(DEBUG1,
			(errmsg_internal("began generation %u at journal position " UINT64_FORMAT ": %s, %d entries void",
							 body.number, shared->last_position,
							 cause == GENERATION_CLONE ? "clone" :
							 cause == GENERATION_START ? "start" : "recovery",
							 doubt->voids.count)));
}

static uint8
generation_cause_of(JournalSession *session, const JournalMeta *meta)
{
	if (session->shared->copied ||
		meta->database != MyDatabaseId || meta->system_identifier != GetSystemIdentifier())
		return GENERATION_CLONE;
	return journal_started_clean() ? GENERATION_START : GENERATION_RECOVERY;
}

void
journal_open(JournalSession *session)
{
	JournalShared *shared = session->shared;
	JournalMeta *meta = palloc(sizeof(JournalMeta));
	JournalDoubt doubt;
	VerityEntry *last;
	bool		copied = shared->copied;
	uint8		cause;

	journal_shared_reset(shared, session->rels.journal->rd_locator.relNumber);
	shared->copied = copied;
	journal_meta_read(session->rels.journal, meta);
	last = recover_tail(session, meta->ledger_count);
	if (last == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the journal has no entries"),
				 errhint("Restore the database from a backup, and compare it with an outside checkpoint.")));
	VERITY_STOP("tail-recovered");
	resolve_doubt(session, last->stored.core.decided, &doubt);
	shared->keyed = journal_has_hmac(&last->stored);
	verity_entry_free(last);

	/* a clone gets a journal id of its own, of which there is no mark */
	cause = generation_cause_of(session, meta);
	shared->mark_stays = cause != GENERATION_CLONE &&
		!journal_mark_holds(session, meta->journal_id);
	start_generation(session, cause, meta, &doubt);
	VERITY_STOP("generation-written");
	if (doubt.voids.count > 0)
		journal_append_voids(session, &doubt.voids, DECIDED_AS_KNOWN);
	VERITY_STOP("generation-voided");
	if (RelationNeedsWAL(session->rels.journal))
		XLogFlush(shared->last_lsn);

	VERITY_STOP("generation-flushed");
	shared->copied = false;
	pg_atomic_fetch_add_u64(&shared->opened, 1);
	shared->open = true;
	if (!shared->mark_stays)
	{
		verity_journal_mark_set(shared->journal_id, shared->last_position,
								shared->generation.id, &shared->last_hash);
		shared->marked = shared->last_position;
		shared->marked_time = GetCurrentTimestamp();
	}
	pfree(meta);
}

/* The first entry, of a journal that has just been created. */
static void
append_genesis(JournalSession *session, JournalMeta *meta)
{
	control_genesis body = {0};
	char	   *name = get_database_name(MyDatabaseId);
	uint8		bytes[256];
	codec_writer writer;

	memcpy(body.journal_id, meta->journal_id, sizeof(body.journal_id));
	body.system_identifier = meta->system_identifier;
	body.database_oid = meta->database;
	body.protect_history = meta->protects;
	body.database_name.data = name;
	body.database_name.len = strlen(name);
	codec_writer_init(&writer, bytes, sizeof(bytes));
	control_genesis_encode(&writer, &body);
	Assert(!writer.failed);
	journal_append_body(session, ENTRY_GENESIS, bytes, writer.used, NULL, DECIDED_AS_KNOWN);
}

void
verity_journal_genesis(void)
{
	JournalSession session;
	JournalMeta *meta = palloc0(sizeof(JournalMeta));

	meta->magic = JOURNAL_META_MAGIC;
	meta->version = JOURNAL_FORMAT;
	meta->protects = verity_protect_history ? 1 : 0;
	meta->system_identifier = GetSystemIdentifier();
	meta->database = MyDatabaseId;
	random_bytes(meta->journal_id, sizeof(meta->journal_id));

	session.shared = journal_shared();
	if (session.shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the journal's relations do not exist"),
				 errhint("Run CREATE EXTENSION verity.")));
	journal_rels_open(&session.rels, RowExclusiveLock);
	journal_lock(session.shared);
	if (RelationGetNumberOfBlocks(session.rels.journal) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the journal has its genesis entry already")));
	journal_shared_reset(session.shared, session.rels.journal->rd_locator.relNumber);
	memcpy(session.shared->journal_id, meta->journal_id, sizeof(meta->journal_id));
	memset(&session.shared->generation, 0, sizeof(VerityGeneration));
	journal_write_meta(&session, meta);
	VERITY_STOP("genesis-begun");
	append_genesis(&session, meta);
	VERITY_STOP("genesis-written");
	journal_open(&session);
	journal_end(&session);
	pfree(meta);
}

/* Reserve another block of serials; journal lock held. */
static void
reserve_serials(JournalSession *session)
{
	JournalShared *shared = session->shared;
	JournalMeta *meta = palloc(sizeof(JournalMeta));

	journal_meta_read(session->rels.journal, meta);
	meta->reserved_serial = shared->reserved_serial + SERIAL_BLOCK;
	journal_write_meta(session, meta);
	VERITY_STOP("serials-reserved");
	if (RelationNeedsWAL(session->rels.journal))
		XLogFlush(shared->last_lsn);
	shared->reserved_serial = meta->reserved_serial;
	pfree(meta);
}

/* Take a serial that is reserved already; 0: none is, or not open. */
static uint64
take_serial(JournalShared *shared)
{
	uint64		serial = 0;

	LWLockAcquire(&shared->serial_lock, LW_EXCLUSIVE);
	if (shared->open && shared->next_serial <= shared->reserved_serial)
		serial = shared->next_serial++;
	LWLockRelease(&shared->serial_lock);
	return serial;
}

uint64
journal_next_serial(void)
{
	JournalShared *shared = journal_shared();
	uint64		serial = 0;

	if (shared != NULL && journal_is_open(shared))
		serial = take_serial(shared);
	while (serial == 0)
	{
		JournalSession session;

		journal_begin(&session);
		LWLockAcquire(&session.shared->serial_lock, LW_EXCLUSIVE);
		if (session.shared->next_serial > session.shared->reserved_serial)
			reserve_serials(&session);
		LWLockRelease(&session.shared->serial_lock);
		shared = session.shared;
		journal_end(&session);
		serial = take_serial(shared);
	}
	return serial;
}

uint32
verity_ledger_number_next(const uint8 ledger[LEDGER_ID_SIZE])
{
	JournalSession session;
	JournalMeta *meta = palloc(sizeof(JournalMeta));
	JournalCell cell = {CELL_HEAD};

	journal_begin(&session);
	journal_meta_read(session.rels.journal, meta);
	cell.index = meta->ledger_count;
	memcpy(cell.value.head.ledger, ledger, LEDGER_ID_SIZE);
	/* the cell first: a number is given out when the meta page counts it */
	journal_write_cells(&session, &cell, 1);
	VERITY_STOP("ledger-counted");
	meta->ledger_count++;
	journal_write_meta(&session, meta);
	VERITY_STOP("ledger-numbered");
	journal_end(&session);
	pfree(meta);
	return (uint32) cell.index + 1;
}
