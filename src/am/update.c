/*
 * update.c
 *	  UPDATE and DELETE: append a record, end the version before.
 *
 * Three pages can change: the new record's, the old version's, and the root's
 * (its hint).  They are locked in block order, so two updates cannot
 * deadlock.  The way there:
 *
 *	  1. lock the old version's page, check and wait (xmax.c), unlock it;
 *	  2. seal the new record, which can fail and must hold no buffer lock;
 *	  3. find a page for it, lock all pages in order, and look again: where the
 *		 old version's xmax changed or the room is gone, start over;
 *	  4. one critical section and one WAL record for all of it.
 *
 * A crash before 4 leaves nothing but a used sequence number; after it, redo
 * does all of it, and the transaction's outcome decides.
 *
 * DELETE of a journalled table appends a tombstone, which supersedes the
 * deleted version; t_ctid of that version stays on itself.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/heaptoast.h"
#include "access/xact.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/predicate.h"
#include "utils/datum.h"
#include "utils/rel.h"

#include "am/dml_wal.h"
#include "am/draft.h"
#include "am/place.h"
#include "am/keys/seal.h"
#include "am/logical/logical.h"
#include "am/table.h"
#include "am/wal.h"
#include "am/journal/xact.h"
#include "am/stop_point.h"
#include "am/xmax.h"

/* One UPDATE or DELETE under way. */
typedef struct Change
{
	Relation	rel;
	VerityRel  *vrel;
	VerityTarget target;		/* the old version */
	VerityDraft draft;			/* the new record */
	bool		has_draft;
	HeapTuple	logged_old;		/* the old row, where decoding needs it */
	VerityLogical logical;
	bool		is_delete;
	bool		moved;			/* to another partition */
	bool		new_root;
	CommandId	cid;			/* of this command, before combo */
	Buffer		root_buffer;	/* page of the hint; pinned, or InvalidBuffer */
	ItemPointerData root;		/* root of the old version */
	VerityPlace place;
	xl_verity_update xlrec;
} Change;

static HeapTupleHeader
item_at(Buffer buffer, const ItemPointerData *tid)
{
	Page		page = BufferGetPage(buffer);

	return (HeapTupleHeader) PageGetItem(page, PageGetItemId(page, ItemPointerGetOffsetNumber(tid)));
}

/* Pin the old version's page and find its record; errors when there is none. */
static void
change_begin(Change *change, Relation rel, ItemPointer tid, CommandId cid, bool is_delete)
{
	memset(change, 0, sizeof(*change));
	if (IsInParallelMode())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("cannot change verity table \"%s\" in a parallel operation",
						RelationGetRelationName(rel)),
				 errhint("Mark functions that write as PARALLEL UNSAFE.")));
	change->rel = rel;
	change->vrel = verity_rel(rel);
	verity_seal_prepare(rel, change->vrel);
	change->is_delete = is_delete;
	change->cid = cid;
	change->target.rel = rel;
	change->target.mode = LockTupleExclusive;
	if (!verity_fetch_record(rel, tid, &change->target.buffer, &change->target.tuple, false))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no record at (%u,%u) of table \"%s\"",
						ItemPointerGetBlockNumber(tid), ItemPointerGetOffsetNumber(tid),
						RelationGetRelationName(rel))));
}

static void
change_end(Change *change)
{
	if (BufferIsValid(change->root_buffer))
		ReleaseBuffer(change->root_buffer);
	ReleaseBuffer(change->target.buffer);
	if (change->has_draft)
		verity_draft_free(&change->draft);
	if (change->logged_old)
		heap_freetuple(change->logged_old);
	verity_logical_end(&change->logical);
	verity_target_unlock(&change->target);
}

/* Are these column values the same bytes? */
static bool
same_value(TupleDesc desc, AttrNumber attnum, HeapTuple old, HeapTuple new)
{
	bool		old_null;
	bool		new_null;
	Datum		old_value;
	Datum		new_value;
	Form_pg_attribute att;

	/* a whole-row reference, or a system column other than tableoid */
	if (attnum <= 0)
		return attnum == TableOidAttributeNumber;
	old_value = heap_getattr(old, attnum, desc, &old_null);
	new_value = heap_getattr(new, attnum, desc, &new_null);
	if (old_null || new_null)
		return old_null && new_null;
	att = TupleDescAttr(desc, attnum - 1);
	return datumIsEqual(old_value, new_value, att->attbyval, att->attlen);
}

/* Which of these columns differ?  attrs is offset as relcache's bitmaps are. */
static bool
any_changed(TupleDesc desc, Bitmapset *attrs, HeapTuple old, HeapTuple new)
{
	int			member = -1;

	while ((member = bms_next_member(attrs, member)) >= 0)
		if (!same_value(desc, member + FirstLowInvalidHeapAttributeNumber, old, new))
			return true;
	return false;
}

/* Does an UPDATE tell a subscriber what the old row was, or was called? */
static bool
old_is_logged(Relation rel, HeapTuple old, HeapTuple new)
{
	Bitmapset  *columns;
	bool		changed;

	if (!verity_logical_needs_old(rel))
		return false;
	if (rel->rd_rel->relreplident == REPLICA_IDENTITY_FULL)
		return true;
	columns = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_IDENTITY_KEY);
	changed = any_changed(RelationGetDescr(rel), columns, old, new);
	bms_free(columns);
	return changed;
}

/* Decide lock strength, new root and same key from the changed columns. */
static void
compare_columns(Change *change, HeapTuple new, bool *same_key)
{
	VerityRel  *vrel = change->vrel;
	TupleDesc	desc = RelationGetDescr(change->rel);
	HeapTuple	old;

	*same_key = true;
	change->target.mode = LockTupleNoKeyExclusive;
	if (bms_is_empty(vrel->index_attrs) && bms_is_empty(vrel->identity_attrs) &&
		!verity_logical_needs_old(change->rel))
		return;
	old = verity_open_tuple(vrel, &change->target.tuple);
	if (any_changed(desc, vrel->key_attrs, old, new))
		change->target.mode = LockTupleExclusive;
	change->new_root = any_changed(desc, vrel->index_attrs, old, new);
	if (change->new_root)
		*same_key = !any_changed(desc, vrel->identity_attrs, old, new);
	if (old_is_logged(change->rel, old, new))
		change->logged_old = old;
	else
		heap_freetuple(old);
}

/* Seal what decoding needs beside the new record, once. */
static void
prepare_logical(Change *change)
{
	record_id	id = change->draft.id;

	if (change->logical.on)
		return;
	verity_logical_begin(change->rel, change->vrel, 0, &change->logical);
	if (!change->logical.on || !change->logged_old)
		return;
	if (!change->has_draft)
	{
		id.serial = verity_xact_serial();
		id.sequence = verity_xact_next_sequence(change->vrel);
	}
	verity_logical_old(change->rel, change->vrel, change->logged_old, &id, &change->logical);
}

/*
 * The skip pointer of a version that follows prev in the same root: jumps of
 * 2^k - 1 versions, by the skew-binary rule, need only what prev and its own
 * skip target say.  Both are fixed since their insertion.
 */
static void
set_skip(Change *change, VerityBackLinks *back)
{
	VerityBackLinks prev = verity_get_back_links(change->target.tuple.t_data);
	Buffer		buffer = InvalidBuffer;
	HeapTupleData target;

	back->skip = change->target.tuple.t_self;
	back->skip_rank = 1;
	back->skip_target_rank = prev.skip_rank;
	if (prev.skip_rank == 0 || prev.skip_rank != prev.skip_target_rank)
		return;
	if (verity_fetch_record(change->rel, &prev.skip, &buffer, &target, false))
	{
		VerityBackLinks far = verity_get_back_links(target.t_data);

		if (far.skip_rank == prev.skip_rank && ItemPointerIsValid(&far.skip))
		{
			back->skip = far.skip;
			back->skip_rank = prev.skip_rank + 1;
			back->skip_target_rank = far.skip_target_rank;
		}
	}
	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
}

/* Seal the new record and fill in its envelope. */
static void
make_draft(Change *change, HeapTuple row, bool same_key)
{
	HeapTupleHeader old = change->target.tuple.t_data;
	VerityEnvelope *old_envelope = VerityGetEnvelope(old);
	VerityEnvelope *envelope;
	VerityBackLinks *back;
	record_header old_header;

	if (record_header_decode(VerityGetSealed(old), change->target.tuple.t_len - verity_sealed_offset(old),
							 &old_header) != CORE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("damaged record at (%u,%u) of table \"%s\"",
						ItemPointerGetBlockNumber(&change->target.tuple.t_self),
						ItemPointerGetOffsetNumber(&change->target.tuple.t_self),
						RelationGetRelationName(change->rel)),
				 errhint("Run verity_verify() to see what else is damaged.")));
	verity_draft_make(change->rel, change->vrel, row ? RECORD_UPDATE : RECORD_TOMBSTONE,
					  row && same_key ? RECORD_SAME_KEY : 0, row, &old_header.id, 0, &change->draft);
	change->has_draft = true;
	verity_draft_stamp(&change->draft, GetCurrentTransactionId(), change->cid, false);
	envelope = VerityGetEnvelope(change->draft.item);
	back = verity_back_links((HeapTupleHeader) change->draft.item);
	back->prev = change->target.tuple.t_self;
	change->root = (old_envelope->flags & ENVELOPE_ROOT) ? change->target.tuple.t_self : old_envelope->root;
	if (change->new_root)
		envelope->flags |= ENVELOPE_ROOT | (same_key ? ENVELOPE_SAME_KEY : 0);
	else
	{
		envelope->root = change->root;
		if (row)
			set_skip(change, back);
	}
	if (row && !change->new_root)
		change->root_buffer = ReadBuffer(change->rel, ItemPointerGetBlockNumber(&change->root));
}

/* Lock the new, old and root pages in block order, each once. */
static void
lock_pages(Change *change)
{
	Buffer		buffers[3] = {change->place.buffer, change->target.buffer, change->root_buffer};

	for (int i = 0; i < 2; i++)
		for (int j = i + 1; j < 3; j++)
			if (BufferIsValid(buffers[j]) &&
				(!BufferIsValid(buffers[i]) ||
				 BufferGetBlockNumber(buffers[j]) < BufferGetBlockNumber(buffers[i])))
			{
				Buffer		swap = buffers[i];

				buffers[i] = buffers[j];
				buffers[j] = swap;
			}
	for (int i = 0; i < 3; i++)
		if (BufferIsValid(buffers[i]) && (i == 0 || buffers[i] != buffers[i - 1]))
			LockBuffer(buffers[i], BUFFER_LOCK_EXCLUSIVE);
}

static void
unlock_pages(Change *change)
{
	Buffer		new = change->place.buffer;
	Buffer		old = change->target.buffer;
	Buffer		root = change->root_buffer;

	if (BufferIsValid(change->place.mapbuf))
		UnlockReleaseBuffer(change->place.mapbuf);
	change->place.mapbuf = InvalidBuffer;
	if (BufferIsValid(new) && new != old && new != root)
		LockBuffer(new, BUFFER_LOCK_UNLOCK);
	if (BufferIsValid(root) && root != old)
		LockBuffer(root, BUFFER_LOCK_UNLOCK);
	LockBuffer(old, BUFFER_LOCK_UNLOCK);
	if (BufferIsValid(new))
		ReleaseBuffer(new);
	change->place.buffer = InvalidBuffer;
}

/*
 * Pin a page for the draft.  Where it has room that is the old version's, as
 * in heap, so that a fill factor serves what it is set for; whether there is
 * room still is asked again once the page is locked.
 */
static void
pin_place(Change *change)
{
	Buffer		old = change->target.buffer;

	if (PageGetHeapFreeSpace(BufferGetPage(old)) >= MAXALIGN(change->draft.len))
	{
		IncrBufferRefCount(old);
		change->place.buffer = old;
		return;
	}
	verity_place_get(change->rel, change->draft.len, 0, NULL, &change->place);
	if (BufferIsValid(change->place.mapbuf))
		UnlockReleaseBuffer(change->place.mapbuf);
	change->place.mapbuf = InvalidBuffer;
	LockBuffer(change->place.buffer, BUFFER_LOCK_UNLOCK);
}

/*
 * Get a page for the draft and lock everything.  False: the old version or the
 * room changed meanwhile; nothing is locked then.
 */
static bool
lock_change(Change *change)
{
	change->place.buffer = change->place.mapbuf = InvalidBuffer;
	if (change->has_draft)
		pin_place(change);
	lock_pages(change);
	if (verity_target_changed(&change->target) ||
		(change->has_draft &&
		 PageGetHeapFreeSpace(BufferGetPage(change->place.buffer)) < MAXALIGN(change->draft.len)))
	{
		unlock_pages(change);
		return false;
	}
	if (change->has_draft)
		verity_place_lock_map(change->rel, &change->place);
	return true;
}

/* Everything that the critical section needs and that can fail. */
static void
prepare_xlrec(Change *change, CommandId *cmax, bool *iscombo)
{
	xl_verity_update *xlrec = &change->xlrec;
	HeapTupleHeader old = change->target.tuple.t_data;

	CheckForSerializableConflictIn(change->rel, &change->target.tuple.t_self,
								   BufferGetBlockNumber(change->target.buffer));
	*cmax = change->cid;
	HeapTupleHeaderAdjustCmax(old, cmax, iscombo);
	MultiXactIdSetOldestMember();
	verity_compute_xmax(old, GetCurrentTransactionId(), change->target.mode,
						&xlrec->old.xmax, &xlrec->old.infomask, &xlrec->old.infomask2);
	verity_inherit_xmax(&change->target, &xlrec->new_xmax, &xlrec->new_infomask, &xlrec->new_infomask2);
	if (change->is_delete)
	{
		xlrec->new_xmax = InvalidTransactionId;
		xlrec->new_infomask = HEAP_XMAX_INVALID;
		xlrec->new_infomask2 = 0;
	}
	xlrec->old.ender = verity_xact_serial();
	xlrec->old.offset = ItemPointerGetOffsetNumber(&change->target.tuple.t_self);
	xlrec->flags = (change->is_delete ? XLV_DELETE : 0) | (change->moved ? XLV_MOVED : 0) |
		(change->has_draft ? 0 : XLV_NO_RECORD);
	if (BufferIsValid(change->root_buffer))
	{
		xlrec->root_offset = ItemPointerGetOffsetNumber(&change->root);
		xlrec->root_block = ItemPointerGetBlockNumber(&change->root);
	}
}

/* Log the change; everything is on the pages already. */
static void
log_change(Change *change, const ItemPointerData *new_tid)
{
	Buffer		new = change->place.buffer;
	Buffer		old = change->target.buffer;
	Buffer		root = change->root_buffer;
	uint8		bufflags = REGBUF_STANDARD;
	XLogRecPtr	recptr;

	if (change->has_draft && verity_place_is_new(new, new_tid, 1))
	{
		change->xlrec.flags |= XLV_INIT_PAGE;
		bufflags |= REGBUF_WILL_INIT;
	}
	if (BufferIsValid(change->place.mapbuf))
		change->xlrec.flags |= XLV_CLEAR_MAP;
	if (change->logical.on)
	{
		change->xlrec.flags |= XLV_LOGICAL;
		bufflags |= REGBUF_KEEP_DATA;
	}
	change->xlrec.new_offset = change->has_draft ? ItemPointerGetOffsetNumber(new_tid) : InvalidOffsetNumber;
	XLogBeginInsert();
	XLogRegisterData((char *) &change->xlrec, sizeof(change->xlrec));
	verity_logical_register(&change->logical);
	XLogRegisterBuffer(XLV_BLOCK_NEW, change->has_draft ? new : old, bufflags);
	if (change->has_draft)
	{
		XLogRegisterBufData(XLV_BLOCK_NEW, (char *) item_at(new, new_tid) + ENVELOPE_OFFSET,
							change->draft.len - ENVELOPE_OFFSET);
		if (old != new)
			XLogRegisterBuffer(XLV_BLOCK_OLD, old, REGBUF_STANDARD);
	}
	if (BufferIsValid(root) && root != new && root != old)
		XLogRegisterBuffer(XLV_BLOCK_ROOT, root, REGBUF_STANDARD);
	if (BufferIsValid(change->place.mapbuf))
		XLogRegisterBuffer(XLV_BLOCK_MAP, change->place.mapbuf, 0);
	XLogSetRecordFlags(XLOG_INCLUDE_ORIGIN);
	recptr = XLogInsert(VERITY_RMGR_ID, change->is_delete ? XLOG_VERITY_DELETE : XLOG_VERITY_UPDATE);
	PageSetLSN(BufferGetPage(old), recptr);
	if (BufferIsValid(new))
		PageSetLSN(BufferGetPage(new), recptr);
	if (BufferIsValid(root))
		PageSetLSN(BufferGetPage(root), recptr);
	if (BufferIsValid(change->place.mapbuf))
		PageSetLSN(BufferGetPage(change->place.mapbuf), recptr);
}

/* The critical section.  All pages are locked. */
static void
apply_change(Change *change, ItemPointer new_tid)
{
	HeapTupleHeader old = change->target.tuple.t_data;
	ItemPointerData successor = change->target.tuple.t_self;
	CommandId	cmax;
	bool		iscombo;

	prepare_xlrec(change, &cmax, &iscombo);

	START_CRIT_SECTION();
	ItemPointerSetInvalid(new_tid);
	if (change->has_draft)
	{
		HeapTupleHeader new = (HeapTupleHeader) change->draft.item;

		new->t_infomask = change->xlrec.new_infomask;
		new->t_infomask2 = change->xlrec.new_infomask2;
		HeapTupleHeaderSetXmax(new, change->xlrec.new_xmax);
		verity_place_item(change->place.buffer, &change->draft, new_tid);
		MarkBufferDirty(change->place.buffer);
		verity_place_clear_map(&change->place);
	}
	if (!change->is_delete)
		successor = *new_tid;
	verity_end_version(old, &change->xlrec.old, cmax, iscombo, &successor, change->moved);
	PageSetPrunable(BufferGetPage(change->target.buffer), GetCurrentTransactionId());
	MarkBufferDirty(change->target.buffer);
	if (BufferIsValid(change->root_buffer))
	{
		VerityGetEnvelope(item_at(change->root_buffer, &change->root))->root = *new_tid;
		MarkBufferDirty(change->root_buffer);
	}
	VERITY_STOP("update-changed");
	if (RelationNeedsWAL(change->rel))
		log_change(change, new_tid);
	VERITY_STOP("update-logged");
	END_CRIT_SECTION();

	unlock_pages(change);
}

/* Steps 1 to 4 of the file's head. */
static TM_Result
run_change(Change *change, HeapTuple row, bool same_key, Snapshot crosscheck, bool wait,
		   TM_FailureData *tmfd, ItemPointer new_tid)
{
	for (;;)
	{
		TM_Result	result;

		CHECK_FOR_INTERRUPTS();
		LockBuffer(change->target.buffer, BUFFER_LOCK_EXCLUSIVE);
		result = verity_target_check(&change->target, change->cid, crosscheck, wait,
									 change->is_delete ? XLTW_Delete : XLTW_Update, tmfd);
		LockBuffer(change->target.buffer, BUFFER_LOCK_UNLOCK);
		if (result == TM_Invisible)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("attempted to %s invisible tuple", change->is_delete ? "delete" : "update")));
		if (result != TM_Ok)
			return result;
		if (!change->has_draft && (row || change->vrel->journalled))
			make_draft(change, row, same_key);
		prepare_logical(change);
		if (lock_change(change))
			break;
	}
	apply_change(change, new_tid);
	if (change->has_draft && change->vrel->journalled)
		verity_xact_fold(change->vrel, &change->draft.id, &change->draft.leaf);
	return TM_Ok;
}

TM_Result
verity_tuple_delete(Relation rel, ItemPointer tid, CommandId cid,
					Snapshot snapshot, Snapshot crosscheck, bool wait,
					TM_FailureData *tmfd, bool changingPart)
{
	ItemPointerData tombstone;
	Change		change;
	TM_Result	result;

	change_begin(&change, rel, tid, cid, true);
	change.moved = changingPart;
	if (verity_logical_needs_old(rel))
		change.logged_old = verity_open_tuple(change.vrel, &change.target.tuple);
	result = run_change(&change, NULL, false, crosscheck, wait, tmfd, &tombstone);
	change_end(&change);
	if (result == TM_Ok)
		pgstat_count_heap_delete(rel);
	return result;
}

TM_Result
verity_tuple_update(Relation rel, ItemPointer otid, TupleTableSlot *slot,
					CommandId cid, Snapshot snapshot, Snapshot crosscheck,
					bool wait, TM_FailureData *tmfd,
					LockTupleMode *lockmode, TU_UpdateIndexes *update_indexes)
{
	ItemPointerData new_tid;
	Change		change;
	TM_Result	result;
	HeapTuple	row;
	HeapTuple	flat;
	bool		free_row;
	bool		same_key;

	change_begin(&change, rel, otid, cid, false);
	if (!TTS_IS_VERITY(slot))
		verity_check_row_size(slot);
	row = ExecFetchSlotHeapTuple(slot, false, &free_row);
	slot->tts_tableOid = RelationGetRelid(rel);
	flat = HeapTupleHasExternal(row) ? toast_flatten_tuple(row, RelationGetDescr(rel)) : row;
	compare_columns(&change, flat, &same_key);
	*lockmode = change.target.mode;
	if (change.target.mode == LockTupleNoKeyExclusive)
		MultiXactIdSetOldestMember();
	result = run_change(&change, flat, same_key, crosscheck, wait, tmfd, &new_tid);
	*update_indexes = TU_None;
	if (result == TM_Ok)
	{
		verity_slot_written(slot, &new_tid, change.draft.item);
		*update_indexes = change.new_root ? TU_All : TU_None;
		pgstat_count_heap_update(rel, !change.new_root,
								 change.new_root && ItemPointerGetBlockNumber(&new_tid) !=
								 ItemPointerGetBlockNumber(otid));
	}
	change_end(&change);
	if (flat != row)
		heap_freetuple(flat);
	if (free_row)
		heap_freetuple(row);
	return result;
}
