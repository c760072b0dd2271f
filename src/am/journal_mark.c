/*
 * journal_mark.c
 *	  The keystore's high-water mark of a journal: a position and hash that
 *	  must still be there when the journal is verified with the keystore.
 *
 * Only what is flushed is marked, so that a crash cannot lose it.  The mark is
 * set at the start of a generation, every MARK_INTERVAL entries, and when a
 * backend that wrote leaves as the server shuts down.
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
	if (shared == NULL || !shared->open || shared->last_position - shared->marked < interval)
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
