/*
 * journal_mark.c
 *	  The keystore's high-water mark of a journal: a position and hash that
 *	  must still be there when the journal is verified with the keystore.
 *
 * Only what is flushed is marked, so that a crash cannot lose it.  The mark is
 * set at the start of a generation, every MARK_INTERVAL entries, and when a
 * backend that wrote leaves: at once where it is terminated, as at shutdown,
 * else where the last mark is MARK_AGE_MS old.
 *
 * A journal that does not hold what the mark says was cut, or put back to an
 * older state and written since.  The mark is the evidence of it: it stays,
 * however far the journal goes, until a superuser accepts the journal as it
 * is, which is itself an entry.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "utils/timestamp.h"

#include "am/journal/journal_store.h"
#include "am/keys/keys.h"
#include "am/stop_point.h"

#define MARK_INTERVAL 1000

#define MARK_AGE_MS 1000

/* Entries without a mark from which on one is set now. */
static uint64
mark_interval(JournalShared *shared, JournalMarkTime when)
{
	if (when == MARK_TERMINATING)
		return 1;
	if (when == MARK_LEAVING &&
		TimestampDifferenceExceeds(shared->marked_time, GetCurrentTimestamp(), MARK_AGE_MS))
		return 1;
	return MARK_INTERVAL;
}

void
journal_mark(JournalShared *shared, JournalMarkTime when)
{
	uint64		interval;
	uint64		position = 0;
	uint64		generation = 0;
	uint8		journal_id[16];
	hash256		hash;
	XLogRecPtr	lsn = InvalidXLogRecPtr;

	/* a look without the lock: the mark need not be exact */
	if (shared == NULL || !shared->open || shared->mark_stays ||
		shared->last_position == shared->marked)
		return;
	interval = mark_interval(shared, when);
	if (shared->last_position - shared->marked < interval)
		return;
	journal_lock(shared);
	if (shared->open && !shared->broken && shared->last_position - shared->marked >= interval)
	{
		position = shared->marked = shared->last_position;
		shared->marked_time = GetCurrentTimestamp();
		generation = shared->generation.id;
		memcpy(journal_id, shared->journal_id, sizeof(journal_id));
		hash = shared->last_hash;
		lsn = shared->last_lsn;
	}
	LWLockRelease(&shared->lock);
	if (position == 0)
		return;
	if (!XLogRecPtrIsInvalid(lsn))
		XLogFlush(lsn);
	VERITY_STOP("mark-flushed");
	verity_journal_mark_set(journal_id, position, generation, &hash);
}

bool
journal_mark_holds(JournalSession *session, const uint8 journal_id[16])
{
	JournalShared *shared = session->shared;
	VerityEntry *entry = NULL;
	uint64		position;
	uint64		generation;
	hash256		hash;
	bool		holds;

	if (!verity_journal_mark_get(journal_id, &position, &generation, &hash) || position == 0)
		return true;
	if (position <= shared->last_position)
		entry = journal_read_entry(session->rels.journal, position);
	holds = entry != NULL && hash_equal(&entry->hash, &hash);
	verity_entry_free(entry);
	if (!holds)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the journal does not hold what the keystore saw at position " UINT64_FORMAT, position),
				 errdetail("It was cut, or put back to an older state."),
				 errhint("Run verity_verify(). If a backup was restored on purpose, call verity_accept_journal().")));
	return holds;
}

void
verity_journal_accept(const uint8 *body, Size len)
{
	JournalSession session;
	JournalShared *shared;
	VerityPosition position;
	uint64		generation;
	uint8		journal_id[16];
	hash256		hash;
	XLogRecPtr	lsn;

	journal_begin(&session);
	shared = session.shared;
	position = journal_append_body(&session, ENTRY_POLICY, body, len, NULL, DECIDED_AS_KNOWN);
	generation = shared->generation.id;
	memcpy(journal_id, shared->journal_id, sizeof(journal_id));
	hash = shared->last_hash;
	lsn = shared->last_lsn;
	shared->marked = position;
	shared->mark_stays = false;
	journal_end(&session);

	VERITY_STOP("journal-accepted");
	XLogFlush(lsn);
	verity_journal_mark_set(journal_id, position, generation, &hash);
}
