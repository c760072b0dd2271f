/*
 * bitmap.c
 *	  Bitmap scans: each TID is a root, and gives at most one version.
 *
 * The roots of a page are looked at under one lock: those that are their own
 * newest version are decided there, as are most.  For the others the version
 * is looked for when its turn comes; it may stand on another page.
 */
#include "postgres.h"

#include "access/xact.h"
#include "am/map.h"
#include "am/scan.h"
#include "pgstat.h"
#include "storage/predicate.h"

/* Decide about one root of the locked page. */
static void
collect_root(VerityScan *scan, OffsetNumber offset)
{
	Relation	rel = scan->base.rs_rd;
	Snapshot	snapshot = scan->base.rs_snapshot;
	VerityEnvelope *envelope;
	HeapTupleData record;
	bool		walk;

	if (!verity_page_record(rel, scan->cbuf, offset, &record))
		return;
	envelope = VerityGetEnvelope(record.t_data);
	if ((envelope->flags & ENVELOPE_ROOT) == 0 || (envelope->flags & ENVELOPE_TOMBSTONE) != 0)
		return;

	walk = scan->asof != 0 || ItemPointerCompare(&envelope->root, &record.t_self) != 0;
	if (!walk)
	{
		bool		visible;

		visible = verity_record_visible_at(rel, &record, snapshot, scan->cbuf, 0);
		HeapCheckForSerializableConflictOut(visible, rel, &record, scan->cbuf, snapshot);
		if (!visible)
			return;
		PredicateLockTID(rel, &record.t_self, snapshot,
						 HeapTupleHeaderGetXmin(record.t_data));
	}
	scan->walk[scan->noffsets] = walk;
	scan->offsets[scan->noffsets++] = offset;
}

bool
verity_scan_bitmap_next_block(TableScanDesc sscan, TBMIterateResult *tbmres)
{
	VerityScan *scan = (VerityScan *) sscan;

	/*
	 * Pages added since the scan began hold nothing that it sees, but a
	 * serializable transaction must notice who wrote there.
	 */
	scan->noffsets = 0;
	scan->cindex = 0;
	if (verity_block_is_special(tbmres->blockno) ||
		(tbmres->blockno >= scan->nblocks && !IsolationIsSerializable()))
		return false;

	verity_scan_pin_page(scan, tbmres->blockno);
	LockBuffer(scan->cbuf, BUFFER_LOCK_SHARE);
	if (tbmres->ntuples >= 0)
	{
		for (int i = 0; i < tbmres->ntuples; i++)
			collect_root(scan, tbmres->offsets[i]);
	}
	else
	{
		OffsetNumber max = verity_page_max_offset(scan->cbuf);

		for (OffsetNumber offset = FirstOffsetNumber; offset <= max; offset++)
			collect_root(scan, offset);
	}
	LockBuffer(scan->cbuf, BUFFER_LOCK_UNLOCK);
	return scan->noffsets > 0;
}

/* Find the version of the root at place i of the current page. */
static bool
find_version(VerityScan *scan, int i)
{
	Relation	rel = scan->base.rs_rd;
	Snapshot	snapshot = scan->base.rs_snapshot;
	ItemPointerData root;

	ItemPointerSet(&root, scan->cblock, scan->offsets[i]);
	if (scan->asof != 0)
		return verity_root_fetch_at(rel, &root, snapshot, scan->asof,
									&scan->rowbuf, &scan->record);
	return verity_root_fetch(rel, &root, snapshot, &scan->rowbuf, &scan->record, NULL);
}

bool
verity_scan_bitmap_next_tuple(TableScanDesc sscan, TBMIterateResult *tbmres,
							  TupleTableSlot *slot)
{
	VerityScan *scan = (VerityScan *) sscan;

	while (scan->cindex < scan->noffsets)
	{
		int			i = scan->cindex++;
		Buffer		buffer;

		if (scan->walk[i])
		{
			if (!find_version(scan, i))
				continue;
			buffer = scan->rowbuf;
		}
		else
		{
			if (!verity_page_record(sscan->rs_rd, scan->cbuf, scan->offsets[i], &scan->record))
				continue;
			buffer = scan->cbuf;
		}
		pgstat_count_heap_fetch(sscan->rs_rd);
		verity_slot_store(slot, scan->vrel, &scan->record, buffer);
		return true;
	}
	return false;
}
