/*
 * verify_links.c
 *	  What is current, derived from the sealed "supersedes" links alone, and
 *	  whether the envelopes agree: xmin, xmax, the ender's serial, t_ctid, the
 *	  link back, the root, the map.
 *
 * A record that a committed record supersedes has ended; any other committed
 * one is current.  Where a record is altered or missing, that is the finding,
 * and nothing is said of its neighbours' links.
 */
#include "postgres.h"

#include "access/transam.h"
#include "am/map.h"
#include "miscadmin.h"
#include "sql/verify/verify.h"

/* A finding about one record's envelope or links, once for each record. */
static void
record_finding(VerifyTable *table, const char *check, const VerifyRecord *record,
			   const char *expected, const char *found, const char *detail)
{
	char		name[48];
	bool		known;

	if (table->trial)
	{
		table->irregular = true;	/* a stretch's record has no place to name */
		return;
	}
	(void) hash_search(table->reported, &record->tid, HASH_ENTER, &known);
	if (known)
		return;
	verify_record_name(name, sizeof(name), verify_record_serial(record),
					   verify_record_sequence(record));
	verify_table_finding(table, check, record->truth == TRUTH_COMMITTED ? record->position : 0,
						 name, expected, found, "%s, at (%u,%u)", detail,
						 ItemPointerGetBlockNumber(&record->tid),
						 ItemPointerGetOffsetNumber(&record->tid));
}

static const char *
status_name(uint8 status)
{
	switch ((VerifyXidStatus) status)
	{
		case VX_NONE:
			return "not ended";
		case VX_COMMITTED:
			return "committed";
		case VX_FROZEN:
			return "frozen";
		case VX_ABORTED:
			return "aborted";
		case VX_IN_PROGRESS:
			return "in progress";
		case VX_BAD:
			break;
	}
	return "impossible";
}

static bool
is_over(const VerifyRecord *record)
{
	return record->xmax_status == VX_COMMITTED || record->xmax_status == VX_FROZEN;
}

static void
tid_text(char *out, Size size, const ItemPointerData *tid)
{
	snprintf(out, size, "(%u,%u)", ItemPointerGetBlockNumberNoCheck(tid),
			 ItemPointerGetOffsetNumberNoCheck(tid));
}

/* The TID that index entries have for this version's row. */
static ItemPointerData
root_of(const VerifyRecord *record)
{
	return (record->flags & ENVELOPE_ROOT) ? record->tid : record->root;
}

/* An xmin that is not the entry's xid has to be a subtransaction's. */
void
verify_note_subxid(VerifyTable *table, const VerifyRecord *record)
{
	int32		ahead = (int32) (record->xmin - (TransactionId) record->entry_xid);
	uint64		xid = record->entry_xid + ahead;
	VerifySubxid *subxid;
	bool		known;

	if (ahead == 0 || record->entry_xid == 0)
		return;
	if (ahead < 0)
	{
		record_finding(table, "envelope", record, NULL, NULL,
					   "xmin is older than the transaction that wrote the record");
		return;
	}
	subxid = hash_search(table->ctx->subxids, &xid, HASH_ENTER, &known);
	if (known && subxid->serial != verify_record_serial(record))
		record_finding(table, "envelope", record, NULL, NULL,
					   "xmin is also that of another transaction's record");
	if (known)
		return;
	verify_positions_add(table->noted, xid);
	subxid->serial = verify_record_serial(record);
	subxid->sequence = verify_record_sequence(record);
	subxid->position = record->position;
	subxid->ledger = table->ledger;
}

/* A committed record must be shown as committed, by the xid that wrote it. */
static void
check_xmin(VerifyTable *table, const VerifyRecord *record)
{
	if (record->xmin_status == VX_BAD || record->truth != TRUTH_COMMITTED)
		return;
	if (record->xmin_status != VX_COMMITTED && record->xmin_status != VX_FROZEN)
		record_finding(table, "envelope", record, "committed", status_name(record->xmin_status),
					   "a committed record is hidden");
	else if (record->marks & VR_XMIN_LIES)
		record_finding(table, "envelope", record, "committed", "aborted in pg_xact",
					   "pg_xact disagrees with the journal");
	else if (record->xmin_status == VX_COMMITTED)
		verify_note_subxid(table, record);
}

/* Flags say what the sealed header says; the map has no stale promise. */
static void
check_flags(VerifyTable *table, const VerifyRecord *record)
{
	if ((record->kind == RECORD_TOMBSTONE) != ((record->flags & ENVELOPE_TOMBSTONE) != 0))
		record_finding(table, "envelope", record, NULL, NULL,
					   "the envelope and the sealed header disagree on whether this is a tombstone");
	if (((record->flags & ENVELOPE_SAME_KEY) != 0) !=
		((record->flags & ENVELOPE_ROOT) && (record->marks & VR_SAME_KEY)))
		record_finding(table, "envelope", record, NULL, NULL,
					   "the envelope and the sealed header disagree on whether the key stayed");
	if ((record->kind == RECORD_INSERT) != ((record->flags & ENVELOPE_FIRST) != 0))
		record_finding(table, "envelope", record, NULL, NULL,
					   "the envelope and the sealed header disagree on whether this is a first version");
	if (record->kind == RECORD_INSERT && !(record->flags & ENVELOPE_ROOT))
		record_finding(table, "link", record, NULL, NULL, "a row's first version is no root");
	if ((record->map_bits & VERITY_MAP_ALL_FROZEN) &&
		(record->xmin_status == VX_COMMITTED || record->xmax_status == VX_COMMITTED))
		record_finding(table, "map", record, NULL, NULL,
					   "the map calls a page frozen that has a record that is not");
}

/* Did this serial commit after what is checked strictly? */
static bool
committed_later(VerifyTable *table, uint64 serial)
{
	VerityPosition position = 0;

	if (verify_tail_position(table->ctx, serial) != 0)
		return true;
	return verify_outcome(table->ctx, serial, &position) == OUTCOME_COMMITTED &&
		position > table->ctx->horizon;
}

/* No committed record supersedes this one. */
static void
check_current(VerifyTable *table, const VerifyRecord *record)
{
	if (record->xmax_status == VX_BAD)
		return;
	if (is_over(record))
	{
		if (record->truth == TRUTH_COMMITTED && !verify_is_damaged(table, record->ender) &&
			!committed_later(table, record->ender))
			record_finding(table, "envelope", record, "current", status_name(record->xmax_status),
						   "a current row is hidden: nothing in the table ends it");
		return;
	}
	if (record->marks & VR_XMAX_LIES)
		record_finding(table, "envelope", record, NULL, NULL, "pg_xact disagrees on xmax");
	if (!(record->marks & VR_XMAX_PRESENT) && !verify_same_tid(&record->ctid, &record->tid))
	{
		char		expected[32];
		char		found[32];

		tid_text(expected, sizeof(expected), &record->tid);
		tid_text(found, sizeof(found), &record->ctid);
		record_finding(table, "link", record, expected, found,
					   "a version that nothing ended links elsewhere");
	}
	if (record->map_bits & VERITY_MAP_NO_CURRENT)
		record_finding(table, "map", record, NULL, NULL,
					   "the map says that the page holds no current record");
	if (record->truth == TRUTH_COMMITTED)
		table->current++;
	verify_tids_put(table, record, true);
}

/* The successor's TIDs and the superseded version's must lead to each other. */
static void
check_tids(VerifyTable *table, const VerifyRecord *record, const VerifyRecord *next)
{
	bool		deleted = next->kind == RECORD_TOMBSTONE;
	ItemPointerData forward = deleted ? record->tid : next->tid;
	ItemPointerData root = root_of(record);
	char		expected[32];
	char		found[32];

	if (!verify_same_tid(&record->ctid, &forward) &&
		!(deleted && ItemPointerIndicatesMovedPartitions(&record->ctid)))
	{
		tid_text(expected, sizeof(expected), &forward);
		tid_text(found, sizeof(found), &record->ctid);
		record_finding(table, "link", record, expected, found, "the link to the next version");
	}
	if (!verify_same_tid(&next->prev, &record->tid))
	{
		tid_text(expected, sizeof(expected), &record->tid);
		tid_text(found, sizeof(found), &next->prev);
		record_finding(table, "link", next, expected, found, "the link to the version before");
	}
	if (!deleted && !(next->flags & ENVELOPE_ROOT) &&
		!verify_same_tid(&next->root, &root))
	{
		tid_text(expected, sizeof(expected), &root);
		tid_text(found, sizeof(found), &next->root);
		record_finding(table, "link", next, expected, found, "the link to the root");
	}
}

/* A committed record supersedes this one. */
static void
check_ended(VerifyTable *table, const VerifyRecord *record, VerifyRecord *next)
{
	uint64		serial = next->super_serial;	/* of the successor itself */
	char		expected[32];
	char		found[32];

	if (verify_is_damaged(table, serial) || record->xmax_status == VX_BAD)
		return;
	verify_record_set_id(next->key, serial, next->super_sequence);
	if (!is_over(record))
	{
		if (record->truth == TRUTH_COMMITTED && next->truth == TRUTH_COMMITTED)
			record_finding(table, "envelope", record, "ended", status_name(record->xmax_status),
						   "a version that a committed one supersedes is shown as current");
		return;
	}
	if (record->marks & VR_XMAX_LIES)
		record_finding(table, "envelope", record, NULL, NULL, "pg_xact disagrees on xmax");
	if (record->ender != serial)
	{
		snprintf(expected, sizeof(expected), UINT64_FORMAT, serial);
		snprintf(found, sizeof(found), UINT64_FORMAT, record->ender);
		record_finding(table, "envelope", record, expected, found,
					   "the serial of who ended this version");
	}
	else if (TransactionIdIsNormal(record->updater) && next->xmin_status == VX_COMMITTED &&
			 record->updater != next->xmin)
	{
		snprintf(expected, sizeof(expected), "%u", next->xmin);
		snprintf(found, sizeof(found), "%u", record->updater);
		record_finding(table, "envelope", record, expected, found,
					   "xmax is not the transaction that ended this version");
	}
	check_tids(table, record, next);

	/* no root of the same key leads readers of the past to this row */
	if (record->truth == TRUTH_COMMITTED && next->truth == TRUTH_COMMITTED && next->position != 0 &&
		(next->kind == RECORD_TOMBSTONE || !(next->marks & VR_SAME_KEY)))
		verify_past_put(table, record, next->position);
}

/* One record with what supersedes it. */
static void
check_record(VerifyTable *table, const VerifyRecord *record, VerifyRecord *next, int successors)
{
	bool		ended_inside = successors > 0 && next->kind == RECORD_UPDATE &&
		!(next->flags & ENVELOPE_ROOT);

	if (verify_record_serial(record) == 0)
		return;
	if (record->truth != TRUTH_DEAD && !verify_is_damaged(table, verify_record_serial(record)))
	{
		check_xmin(table, record);
		check_flags(table, record);
		if (successors > 1)
			record_finding(table, "link", record, "one successor", NULL,
						   "two committed records supersede this one");
		else if (successors == 1)
			check_ended(table, record, next);
		else if (record->kind != RECORD_TOMBSTONE)
			check_current(table, record);
	}
	if (record->kind == RECORD_TOMBSTONE)
		return;					/* no index entry or hint leads to it */
	verify_tids_put(table, record, false);
	verify_roots_put(table, record, ended_inside);
}

/* A committed record names one that is not there. */
static void
check_orphan(VerifyTable *table, const VerifyRecord *ender)
{
	uint64		superseded = verify_record_serial(ender);
	VerifyRecord record = *ender;

	if (ender->truth != TRUTH_COMMITTED || verify_is_damaged(table, superseded) ||
		verify_is_damaged(table, ender->super_serial))
		return;
	verify_record_set_id(record.key, ender->super_serial, ender->super_sequence);
	record_finding(table, "link", &record, NULL, NULL,
				   "the record that this one supersedes is not in the table");
}

/* Walk all records in order beside those that supersede them. */
void
verify_links(VerifyTable *table)
{
	Size		len;
	const VerifyRecord *ender;

	if (BufFileSeek(table->matched, 0, 0L, SEEK_SET) != 0)
		elog(ERROR, "could not rewind a temporary file");
	verify_sort_perform(table->enders);
	ender = verify_sort_next(table->enders, &len);
	for (uint64 n = 0; n < table->matched_count; n++)
	{
		VerifyRecord record;
		VerifyRecord next;
		int			successors = 0;

		CHECK_FOR_INTERRUPTS();
		if (BufFileRead(table->matched, &record, sizeof(record)) != sizeof(record))
			elog(ERROR, "could not read a temporary file");
		for (; ender != NULL && memcmp(ender->key, record.key, sizeof(record.key)) < 0;
			 ender = verify_sort_next(table->enders, &len))
			check_orphan(table, ender);
		for (; ender != NULL && memcmp(ender->key, record.key, sizeof(record.key)) == 0;
			 ender = verify_sort_next(table->enders, &len))
		{
			if (verify_is_damaged(table, ender->super_serial) && successors > 0)
				continue;
			next = *ender;
			successors++;
		}
		check_record(table, &record, &next, successors);
	}
	for (; ender != NULL; ender = verify_sort_next(table->enders, &len))
		check_orphan(table, ender);
}
