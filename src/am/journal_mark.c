/*
 * journal_mark.c
 *	  The keystore's high-water mark of a journal: a position and hash that
 *	  must still be there when the journal is verified with the keystore.
 *
 * Only what is flushed is marked, so that a crash cannot lose it.  The mark is
 * set at the start of a generation, every MARK_INTERVAL entries, and when a
 * backend that wrote leaves as the server shuts down.
 *
 * A journal that does not hold what the mark says was cut, or put back to an
 * older state and written since.  The mark is the evidence of it: it stays,
 * however far the journal goes, until a superuser accepts the journal as it
 * is, which is itself an entry.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"

#include "am/journal_store.h"
#include "am/keys.h"

#define MARK_INTERVAL 1000

/* A backend that leaves marks when this many entries are not marked yet. */
#define MARK_LEAVING 100

void
journal_mark(JournalShared *shared, bool leaving)
{
	uint64		interval = !leaving ? MARK_INTERVAL : ProcDiePending ? 1 : MARK_LEAVING;
	uint64		position = 0;
	uint64		generation = 0;
	uint8		journal_id[16];
	hash256		hash;
	XLogRecPtr	lsn = InvalidXLogRecPtr;

	/* a look without the lock: the mark need not be exact */
	if (shared == NULL || !shared->open || shared->mark_stays ||
		shared->last_position - shared->marked < interval)
		return;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (shared->open && !shared->broken && shared->last_position - shared->marked >= interval)
	{
		position = shared->marked = shared->last_position;
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

	XLogFlush(lsn);
	verity_journal_mark_set(journal_id, position, generation, &hash);
}
