/*
 * journal_shared.c
 *	  What shared memory knows of each database's journal.
 *
 * A table of verity.max_databases slots, found by database OID under
 * VERITY_LOCK_JOURNAL; a slot is kept until its database is gone.  All of it
 * can be rebuilt from the journal's pages, which journal_open.c does at the
 * first write after each start of the server.  On a standby nothing is open,
 * and everybody reads pages.
 *
 * Undecided transactions stand in a ring of runs, in journal order.  The
 * decided horizon is just before the first run.
 *
 * A slot can outlive what it describes: a database is dropped, and a clone of
 * it made under the same OID.  So each backend, when it first finds its slot,
 * compares it with the pages; nobody can drop a database that somebody uses.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/table.h"
#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/shmem.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "am/journal/journal_store.h"
#include "am/stat.h"
#include "sql/settings.h"

typedef struct JournalTable
{
	bool		clean;			/* the server was shut down before this start */
	JournalShared slots[FLEXIBLE_ARRAY_MEMBER];
} JournalTable;

static JournalTable *table = NULL;

/* This backend's slot, once it has been compared with the pages. */
static JournalShared *mine = NULL;
static Oid	mine_oid = InvalidOid;
static Oid	mine_filenode = InvalidOid;
static bool mine_valid = false;
static bool callbacks_registered = false;

Size
verity_journal_shmem_size(void)
{
	return add_size(offsetof(JournalTable, slots),
					mul_size(verity_max_databases, sizeof(JournalShared)));
}

/*
 * The control file still says how the server ended before: this runs before
 * recovery does.
 */
static bool
ended_cleanly(void)
{
	bool		crc_ok;
	bool		clean;
	ControlFileData *control = get_controlfile(DataDir, &crc_ok);

	clean = crc_ok && control->state == DB_SHUTDOWNED &&
		access(RECOVERY_SIGNAL_FILE, F_OK) != 0 &&
		access(STANDBY_SIGNAL_FILE, F_OK) != 0 &&
		access(BACKUP_LABEL_FILE, F_OK) != 0;
	pfree(control);
	return clean;
}

void
verity_journal_shmem_init(void)
{
	bool		found;

	table = ShmemInitStruct("verity journals", verity_journal_shmem_size(), &found);
	if (found)
		return;
	memset(table, 0, verity_journal_shmem_size());
	table->clean = ended_cleanly();
	for (int i = 0; i < verity_max_databases; i++)
	{
		LWLockInitialize(&table->slots[i].lock, verity_lock_tranche(VERITY_TRANCHE_JOURNAL));
		LWLockInitialize(&table->slots[i].serial_lock, verity_lock_tranche(VERITY_TRANCHE_SERIALS));
		pg_atomic_init_u64(&table->slots[i].opened, 0);
	}
}

bool
journal_started_clean(void)
{
	return table->clean;
}

static JournalShared *
find_slot(Oid database)
{
	for (int i = 0; i < verity_max_databases; i++)
	{
		if (table->slots[i].database == database)
			return &table->slots[i];
	}
	return NULL;
}

/* A slot whose database does not exist any more. */
static JournalShared *
find_dropped_slot(void)
{
	for (int i = 0; i < verity_max_databases; i++)
	{
		if (!SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(table->slots[i].database)))
			return &table->slots[i];
	}
	return NULL;
}

static JournalShared *
find_or_take_slot(Oid filenode)
{
	JournalShared *slot;

	LWLockAcquire(verity_lock(VERITY_LOCK_JOURNAL), LW_EXCLUSIVE);
	slot = find_slot(MyDatabaseId);
	if (slot == NULL)
	{
		slot = find_slot(InvalidOid);
		if (slot == NULL)
			slot = find_dropped_slot();
		if (slot == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("more than %d databases have a journal", verity_max_databases),
					 errhint("Raise verity.max_databases and restart the server.")));
		journal_shared_reset(slot, filenode);
		slot->database = MyDatabaseId;
	}
	LWLockRelease(verity_lock(VERITY_LOCK_JOURNAL));
	return slot;
}

void
journal_shared_reset(JournalShared *shared, Oid filenode)
{
	shared->filenode = filenode;
	shared->open = false;
	shared->copied = false;
	shared->broken = false;
	shared->run_first = 0;
	shared->run_count = 0;
	shared->last_position = 0;
	shared->last_time = PG_INT64_MIN;
	shared->last_lsn = InvalidXLogRecPtr;
	shared->marked = 0;
	shared->mark_stays = false;
	shared->keyed = false;
	shared->tail = JOURNAL_META_BLOCK;
	memset(&shared->last_hash, 0, sizeof(shared->last_hash));
}

/* Take the lock of a journal's writers; a wait is counted and timed. */
void
journal_lock(JournalShared *shared)
{
	instr_time	start;
	instr_time	end;

	if (LWLockConditionalAcquire(&shared->lock, LW_EXCLUSIVE))
		return;
	INSTR_TIME_SET_CURRENT(start);
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	verity_count(COUNT_LOCK_WAITS, 1);
	verity_count(COUNT_LOCK_WAIT_US, INSTR_TIME_GET_MICROSEC(end));
}

/* Do the pages hold what we wrote last, under our token? */
static bool
matches_pages(JournalShared *shared, Relation journal)
{
	JournalMeta *meta = palloc(sizeof(JournalMeta));
	JournalTail tail;
	bool		same;

	journal_meta_read(journal, meta);
	journal_find_tail(journal, &tail);
	same = memcmp(meta->token, shared->token, sizeof(meta->token)) == 0 &&
		meta->database == MyDatabaseId &&
		meta->system_identifier == GetSystemIdentifier() &&
		tail.position == shared->last_position;
	pfree(meta);
	return same;
}

static void
compare_with_pages(JournalShared *shared, Relation journal)
{
	journal_lock(shared);
	if (shared->filenode != journal->rd_locator.relNumber)
		journal_shared_reset(shared, journal->rd_locator.relNumber);
	else if (shared->open && !shared->broken && !matches_pages(shared, journal))
	{
		journal_shared_reset(shared, journal->rd_locator.relNumber);
		shared->copied = true;
	}
	LWLockRelease(&shared->lock);
}

static void
forget_mine(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == mine_oid)
		mine_valid = false;
}

JournalShared *
journal_shared(void)
{
	Relation	journal;

	if (mine_valid)
		return mine;
	if (!callbacks_registered)
	{
		CacheRegisterRelcacheCallback(forget_mine, (Datum) 0);
		callbacks_registered = true;
	}
	if (!OidIsValid(journal_oid()))
		return NULL;

	journal = table_open(journal_oid(), AccessShareLock);
	mine = find_or_take_slot(journal->rd_locator.relNumber);
	if (!RecoveryInProgress() && RelationGetNumberOfBlocks(journal) > 0)
		compare_with_pages(mine, journal);
	mine_oid = RelationGetRelid(journal);
	mine_filenode = journal->rd_locator.relNumber;
	table_close(journal, AccessShareLock);
	/* a standby's backends look again after promotion */
	mine_valid = !RecoveryInProgress();
	return mine;
}

/*
 * Not when the slot is for another file than this backend knows: somebody who
 * drops and creates the extension holds the relations' locks, and whoever
 * opens them waits for that to end.
 */
bool
journal_is_open(JournalShared *shared)
{
	return !RecoveryInProgress() && shared->open && shared->filenode == mine_filenode;
}

JournalRun *
journal_run(JournalShared *shared, int n)
{
	Assert(n >= 0 && n < JOURNAL_RUNS);
	return &shared->runs[(shared->run_first + n) % JOURNAL_RUNS];
}

void
journal_run_add(JournalShared *shared, TransactionId xid, uint64 serial, uint64 position)
{
	JournalRun *run;

	if (shared->run_count > 0)
	{
		run = journal_run(shared, shared->run_count - 1);
		if (run->xid == xid && run->last + 1 == position)
		{
			run->last = position;
			return;
		}
	}
	if (shared->run_count >= JOURNAL_RUNS)
		elog(PANIC, "the journal's ring of undecided transactions is full");
	run = journal_run(shared, shared->run_count++);
	run->first = position;
	run->last = position;
	run->serial = serial;
	run->xid = xid;
}

uint64
journal_shared_decided(JournalShared *shared)
{
	if (shared->run_count > 0)
		return journal_run(shared, 0)->first - 1;
	return shared->last_position;
}
