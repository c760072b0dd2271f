/*
 * journal_outcome.c
 *	  What became of a transaction, by its serial: reading the serial map and
 *	  the decided horizon.
 *
 * The horizon only ever rises and void marks are set before it passes them, so
 * a backend keeps the horizon it saw and copies of serial pages: a mapped
 * serial at or before the horizon that was seen before its page was copied is
 * final.  Others are looked at again.
 *
 * Where the journal is not open (a standby, or before the first write after a
 * start), the last entry's horizon counts, and positions behind it are
 * resolved by the xid that stands beside each entry.
 */
#include "postgres.h"

#include "compat.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "am/journal/journal_store.h"
#include "sql/settings.h"

#define CACHED_PAGES 16
#define STANDBY_POLL_MS 10

typedef struct SerialPage
{
	bool		valid;
	BlockNumber blkno;
	uint64		decided;		/* horizon before the copy was made */
	uint64		cells[SERIALS_PER_PAGE];
} SerialPage;

static SerialPage *pages = NULL;
static Oid	serials_oid = InvalidOid;

/* All that is cached here belongs to one file of the journal. */
static Oid	known_oid = InvalidOid;
static Oid	known_filenode = InvalidOid;
static uint64 known_decided = 0;

/*
 * Does the cache still describe this database's journal?  Whoever replaces
 * the file sends a relcache invalidation, after which journal_oid looks again.
 */
static bool
cache_is_current(void)
{
	return pages != NULL && known_oid != InvalidOid && journal_oid() == known_oid;
}

/* Forget what was cached of another file. */
static void
check_cache(Relation journal)
{
	if (known_filenode == journal->rd_locator.relNumber)
		return;
	serials_oid = journal_relation_oid("journal_serials");
	known_filenode = journal->rd_locator.relNumber;
	known_oid = RelationGetRelid(journal);
	known_decided = 0;
	if (pages == NULL)
		pages = MemoryContextAlloc(CacheMemoryContext, CACHED_PAGES * sizeof(SerialPage));
	for (int i = 0; i < CACHED_PAGES; i++)
		pages[i].valid = false;
}

/* The end of the journal as its pages tell it. */
static void
read_end(Relation journal, uint64 *last, uint64 *decided)
{
	JournalTail tail;
	VerityEntry *entry;

	journal_find_tail(journal, &tail);
	*last = tail.position;
	*decided = 0;
	entry = journal_read_entry(journal, tail.position);
	if (entry == NULL)
		return;
	*decided = entry->stored.core.decided;
	/* an entry of no transaction is final itself */
	if (*decided + 1 == tail.position && !TransactionIdIsValid(entry->xid))
		*decided = tail.position;
	verity_entry_free(entry);
}

bool
verity_xid_in_future(TransactionId xid)
{
	return TransactionIdIsNormal(xid) &&
		TransactionIdFollowsOrEquals(xid, XidFromFullTransactionId(ReadNextFullTransactionId()));
}

/* Has the transaction that wrote this entry ended?  No entry: no. */
static VerityOutcome
resolve_position(Relation journal, uint64 position)
{
	TransactionId xid;

	if (!journal_entry_xid(journal, position, &xid))
		return OUTCOME_UNDECIDED;
	if (!TransactionIdIsValid(xid))
		return OUTCOME_COMMITTED;
	if (TransactionIdIsCurrentTransactionId(xid) || TransactionIdIsInProgress(xid))
		return OUTCOME_UNDECIDED;
	return TransactionIdDidCommit(xid) ? OUTCOME_COMMITTED : OUTCOME_VOID;
}

/* Last position and horizon, from shared memory where the journal is open. */
static void
current_end(Relation journal, uint64 *last, uint64 *decided)
{
	JournalShared *shared = journal_shared();

	if (shared != NULL && journal_is_open(shared))
	{
		LWLockAcquire(&shared->lock, LW_SHARED);
		*last = shared->last_position;
		*decided = journal_shared_decided(shared);
		LWLockRelease(&shared->lock);
	}
	else
		read_end(journal, last, decided);
	known_decided = Max(known_decided, *decided);
}

VerityPosition
verity_journal_last(void)
{
	Relation	journal;
	uint64		last;
	uint64		decided;

	if (!verity_journal_exists())
		return 0;
	journal = table_open(journal_oid(), AccessShareLock);
	check_cache(journal);
	current_end(journal, &last, &decided);
	table_close(journal, AccessShareLock);
	return last;
}

VerityPosition
verity_journal_decided(void)
{
	Relation	journal;
	uint64		last;
	uint64		decided;

	if (!verity_journal_exists())
		return 0;
	journal = table_open(journal_oid(), AccessShareLock);
	check_cache(journal);
	current_end(journal, &last, &decided);
	while (decided < last && resolve_position(journal, decided + 1) != OUTCOME_UNDECIDED)
		decided++;
	table_close(journal, AccessShareLock);
	return decided;
}

/* Sleep a little; error when the standby's limit is passed. */
static void
poll_standby(TimestampTz start)
{
	if (RecoveryInProgress() &&
		TimestampDifferenceExceeds(start, GetCurrentTimestamp(), verity_standby_wait_ms))
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("a transaction before this position has not ended on the standby in time"),
				 errhint("Try again, or raise verity.standby_wait.")));
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 STANDBY_POLL_MS, VERITY_WAIT_EVENT("VerityStandbyOutcome"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * Wait for the transaction of one entry, at or before the last.  One that is
 * not there is damage, which who reads it finds, and is not waited for.
 */
static void
wait_position(Relation journal, uint64 position, TimestampTz start)
{
	TransactionId xid;

	while (journal_entry_xid(journal, position, &xid) &&
		   resolve_position(journal, position) == OUTCOME_UNDECIDED)
	{
		if (verity_xid_in_future(xid))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("journal entry " UINT64_FORMAT " names a transaction that does not exist", position),
					 errhint("Run verity_verify() to see what is damaged.")));
		if (RecoveryInProgress())
			poll_standby(start);
		else if (TransactionIdIsCurrentTransactionId(xid))
			return;
		else
			XactLockTableWait(xid, NULL, NULL, XLTW_None);
	}
}

void
verity_journal_wait_decided(VerityPosition position)
{
	TimestampTz start = GetCurrentTimestamp();
	Relation	journal;
	uint64		last;
	uint64		decided;

	if (position <= known_decided && cache_is_current())
		return;
	journal = table_open(journal_oid(), AccessShareLock);
	check_cache(journal);
	current_end(journal, &last, &decided);
	for (uint64 at = decided + 1; at <= Min(position, last); at++)
	{
		CHECK_FOR_INTERRUPTS();
		wait_position(journal, at, start);
	}
	table_close(journal, AccessShareLock);
}

void
journal_lock_for_lookup(void)
{
	Relation	journal = table_open(journal_oid(), AccessShareLock);

	check_cache(journal);
	LockRelationOid(serials_oid, AccessShareLock);
	table_close(journal, NoLock);
}

/* Copy a serial page into its place in the cache. */
static void
read_serial_page(SerialPage *page, BlockNumber blkno)
{
	Relation	serials = table_open(serials_oid, AccessShareLock);
	Buffer		buffer;

	page->valid = false;
	page->blkno = blkno;
	page->decided = known_decided;
	memset(page->cells, 0, sizeof(page->cells));
	if (blkno < RelationGetNumberOfBlocks(serials))
	{
		buffer = ReadBuffer(serials, blkno);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		if (!PageIsNew(BufferGetPage(buffer)))
			memcpy(page->cells, journal_cell_at(BufferGetPage(buffer), CELL_SERIAL, 0),
				   sizeof(page->cells));
		UnlockReleaseBuffer(buffer);
	}
	page->valid = true;
	table_close(serials, AccessShareLock);
}

/* Is this cell's meaning final, as of the page's copy? */
static bool
cell_is_final(const SerialPage *page, uint64 cell)
{
	return (cell & SERIAL_VOID) != 0 || (cell != 0 && cell <= page->decided);
}

static VerityOutcome
final_outcome(uint64 cell, VerityPosition *position)
{
	if (position != NULL)
		*position = SERIAL_POSITION(cell);
	return (cell & SERIAL_VOID) != 0 ? OUTCOME_VOID : OUTCOME_COMMITTED;
}

/* The slow way: refresh the horizon and the page, resolve what is left. */
static VerityOutcome
outcome_again(uint64 serial, VerityPosition *position)
{
	BlockNumber blkno = (BlockNumber) ((serial - 1) / SERIALS_PER_PAGE);
	Relation	journal = table_open(journal_oid(), AccessShareLock);
	SerialPage *page;
	uint64		cell;
	uint64		last;
	uint64		decided;
	VerityOutcome outcome;

	check_cache(journal);
	current_end(journal, &last, &decided);
	page = &pages[blkno % CACHED_PAGES];
	read_serial_page(page, blkno);
	cell = page->cells[(serial - 1) % SERIALS_PER_PAGE];
	if (position != NULL)
		*position = SERIAL_POSITION(cell);
	if (cell == 0)
		outcome = OUTCOME_NONE;
	else if (cell_is_final(page, cell))
		outcome = final_outcome(cell, position);
	else
		outcome = resolve_position(journal, cell);
	table_close(journal, AccessShareLock);
	return outcome;
}

VerityOutcome
verity_serial_outcome(uint64 serial, VerityPosition *position)
{
	if (position != NULL)
		*position = 0;
	if (serial == 0 || serial >= SERIAL_VOID)
		return OUTCOME_NONE;
	if (cache_is_current())
	{
		SerialPage *page = &pages[((serial - 1) / SERIALS_PER_PAGE) % CACHED_PAGES];
		uint64		cell = page->cells[(serial - 1) % SERIALS_PER_PAGE];

		if (page->valid && page->blkno == (serial - 1) / SERIALS_PER_PAGE && cell_is_final(page, cell))
			return final_outcome(cell, position);
	}
	return outcome_again(serial, position);
}
