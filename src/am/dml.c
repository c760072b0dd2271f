/*
 * dml.c
 *	  INSERT, COPY and speculative insertion.
 *
 * A first version is its own root.  Order of things: seal (may fail), get a
 * page, one critical section that adds the record and logs it, then fold the
 * leaf into the transaction's Merkle state.  After a crash in between, the
 * record is there and its transaction is not committed.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/heapam.h"
#include "access/toast_internals.h"
#include "access/xact.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/predicate.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "am/dml_wal.h"
#include "am/draft.h"
#include "am/place.h"
#include "am/keys/seal.h"
#include "am/table.h"
#include "am/wal.h"
#include "am/journal/xact.h"
#include "am/stop_point.h"

/* Errors that no write may get past. */
static void
check_may_write(Relation rel)
{
	if (IsParallelWorker())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("cannot write verity table \"%s\" in a parallel operation",
						RelationGetRelationName(rel)),
				 errhint("Mark functions that write as PARALLEL UNSAFE.")));
}

/* The size of a variable-length value, wherever it is kept. */
static Size
value_size(Datum value)
{
	struct varatt_indirect indirect;

	/* toast_datum_size asserts that it is not given one of these */
	if (VARATT_IS_EXTERNAL_INDIRECT(DatumGetPointer(value)))
	{
		VARATT_EXTERNAL_GET_POINTER(indirect, (struct varlena *) DatumGetPointer(value));
		value = PointerGetDatum(indirect.pointer);
	}
	return toast_datum_size(value);
}

void
verity_check_row_size(TupleTableSlot *slot)
{
	TupleDesc	desc = slot->tts_tupleDescriptor;
	Size		total = 0;

	slot_getallattrs(slot);
	for (int i = 0; i < desc->natts; i++)
		if (TupleDescAttr(desc, i)->attlen == -1 && !slot->tts_isnull[i])
			total += value_size(slot->tts_values[i]);
	if (total > MaxAllocSize - 2 * BLCKSZ)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("row is too large for a verity table: %zu bytes", total),
				 errhint("A row can have at most 1 GB in all its columns together. Keep larger values as large objects or split them over rows.")));
}

/* Seal a slot's row as the first version of a row. */
static void
draft_slot(Relation rel, VerityRel *vrel, TupleTableSlot *slot, CommandId cid, int options,
		   VerityDraft *draft)
{
	bool		free_tuple;
	HeapTuple	tuple;

	/* slots of our own have looked when they formed the row */
	if (!TTS_IS_VERITY(slot))
		verity_check_row_size(slot);
	tuple = ExecFetchSlotHeapTuple(slot, false, &free_tuple);
	verity_draft_make(rel, vrel, RECORD_INSERT, 0, tuple, NULL, options, draft);
	verity_draft_stamp(draft, GetCurrentTransactionId(), cid, (options & HEAP_INSERT_FROZEN) != 0);
	VerityGetEnvelope(draft->item)->flags |= ENVELOPE_ROOT;
	if (free_tuple)
		heap_freetuple(tuple);
}

static VerityRel *
begin_write(Relation rel)
{
	VerityRel  *vrel = verity_rel(rel);

	check_may_write(rel);
	verity_seal_prepare(rel, vrel);
	return vrel;
}

/* Put one draft on a page and log it; speculative where token is not 0. */
static void
place_draft(Relation rel, VerityDraft *draft, const VerityLogical *logical, int options,
			BulkInsertState bistate, uint32 token, ItemPointer tid)
{
	int			flags = ((options & HEAP_INSERT_FROZEN) ? XLV_FROZEN : 0) | (token != 0 ? XLV_SPECULATIVE : 0);
	VerityPlace place;
	Page		page;

	verity_place_get(rel, draft->len, options, bistate, &place);
	CheckForSerializableConflictIn(rel, NULL, InvalidBlockNumber);
	page = BufferGetPage(place.buffer);

	START_CRIT_SECTION();
	verity_place_item(place.buffer, draft, tid);
	MarkBufferDirty(place.buffer);
	verity_place_clear_map(&place);
	if (token != 0)
		HeapTupleHeaderSetSpeculativeToken((HeapTupleHeader)
										   PageGetItem(page, PageGetItemId(page, ItemPointerGetOffsetNumber(tid))),
										   token);
	VERITY_STOP("insert-changed");
	if (RelationNeedsWAL(rel))
	{
		XLogRecPtr	recptr = verity_log_insert(&place, tid, draft->len, flags, logical);

		PageSetLSN(page, recptr);
		if (BufferIsValid(place.mapbuf))
			PageSetLSN(BufferGetPage(place.mapbuf), recptr);
	}
	VERITY_STOP("insert-logged");
	END_CRIT_SECTION();

	verity_place_release(&place);
	pgstat_count_heap_insert(rel, 1);
}

static void
insert_one(Relation rel, TupleTableSlot *slot, CommandId cid, int options,
		   BulkInsertState bistate, uint32 token)
{
	VerityRel  *vrel = begin_write(rel);
	VerityLogical logical;
	VerityDraft draft;
	ItemPointerData tid;

	slot->tts_tableOid = RelationGetRelid(rel);
	draft_slot(rel, vrel, slot, cid, options, &draft);
	verity_logical_begin(rel, vrel, options, &logical);
	place_draft(rel, &draft, &logical, options, bistate, token, &tid);
	verity_slot_written(slot, &tid, draft.item);
	/* a speculative record counts when it is complete */
	if (token == 0 && vrel->journalled)
		verity_xact_fold(vrel, &draft.id, &draft.leaf);
	verity_draft_free(&draft);
}

void
verity_tuple_insert(Relation rel, TupleTableSlot *slot, CommandId cid,
					int options, BulkInsertState bistate)
{
	insert_one(rel, slot, cid, options, bistate, 0);
}

void
verity_tuple_insert_speculative(Relation rel, TupleTableSlot *slot, CommandId cid,
								int options, BulkInsertState bistate, uint32 token)
{
	Assert(token != 0);
	insert_one(rel, slot, cid, options, bistate, token);
	VERITY_STOP("speculation-placed");
}

/* The id, leaf and TOAST pointer of the record that a speculation placed. */
static void
read_placed(HeapTuple record, record_id *id, hash256 *leaf, struct varlena **toast_pointer)
{
	VeritySealedView view;
	const char *why;
	hash_part	parts[2];

	if (!verity_sealed_view(record, &view, &why))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("damaged record at (%u,%u): %s",
						ItemPointerGetBlockNumber(&record->t_self),
						ItemPointerGetOffsetNumber(&record->t_self), why),
				 errhint("Run verity_verify() to see what is damaged.")));
	*id = view.header.id;
	parts[0] = (hash_part) {view.header_bytes, view.header_len};
	parts[1] = (hash_part) {view.cipher, view.cipher_len};
	if (hash_parts(0x00, parts, 2, leaf) != CORE_OK)
		elog(ERROR, "could not hash a record");
	*toast_pointer = verity_toast_pointer(record->t_data, view.header_len);
	if (view.toasted)
		pfree(view.toasted);
}

/* Confirm or kill the speculative record on its page. */
static void
finish_on_page(Relation rel, Buffer buffer, HeapTuple record, bool succeeded)
{
	Page		page = BufferGetPage(buffer);

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	if (!HeapTupleHeaderIsSpeculative(record->t_data))
		elog(ERROR, "record is not speculative");

	START_CRIT_SECTION();
	record->t_data->t_ctid = record->t_self;
	if (!succeeded)
	{
		/* invisible to everyone at once, as in heap_abort_speculative */
		HeapTupleHeaderSetXmin(record->t_data, InvalidTransactionId);
		PageSetPrunable(page, TransactionXmin);
	}
	MarkBufferDirty(buffer);
	VERITY_STOP("speculation-changed");
	if (RelationNeedsWAL(rel))
	{
		xl_verity_speculative xlrec = {.offset = ItemPointerGetOffsetNumber(&record->t_self)};
		XLogRecPtr	recptr;

		/* executors speculate without options */
		xlrec.flags = verity_logical_wanted(rel, 0) ? XLV_LOGICAL : 0;
		XLogBeginInsert();
		XLogRegisterData((char *) &xlrec, sizeof(xlrec));
		XLogRegisterBuffer(0, buffer, REGBUF_STANDARD);
		XLogSetRecordFlags(XLOG_INCLUDE_ORIGIN);
		recptr = XLogInsert(VERITY_RMGR_ID, succeeded ? XLOG_VERITY_CONFIRM : XLOG_VERITY_KILL);
		PageSetLSN(page, recptr);
	}
	VERITY_STOP("speculation-logged");
	END_CRIT_SECTION();
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
}

void
verity_tuple_complete_speculative(Relation rel, TupleTableSlot *slot, uint32 token, bool succeeded)
{
	VerityRel  *vrel = verity_rel(rel);
	Buffer		buffer = InvalidBuffer;
	HeapTupleData record;
	struct varlena *toast_pointer;
	record_id	id;
	hash256		leaf;

	VERITY_STOP("speculation-indexed");
	if (!verity_fetch_record(rel, &slot->tts_tid, &buffer, &record, false))
		elog(ERROR, "speculative record is gone");
	read_placed(&record, &id, &leaf, &toast_pointer);
	finish_on_page(rel, buffer, &record, succeeded);
	ReleaseBuffer(buffer);
	if (succeeded)
	{
		if (vrel->journalled)
			verity_xact_fold(vrel, &id, &leaf);
		return;
	}
	VERITY_STOP("speculation-killed");
	if (toast_pointer)
		toast_delete_datum(rel, PointerGetDatum(toast_pointer), true);
	if (vrel->journalled)
		verity_xact_discard(vrel, id.sequence);
	pgstat_count_heap_delete(rel);
	VERITY_STOP("speculation-discarded");
}

/* Gather the logged bytes of the drafts on a page, each behind its length, for one reference. */
static Size
gather_multi_insert(Page page, const VerityDraft *drafts, const OffsetNumber *offsets, int count,
					char *to)
{
	Size		used = 0;

	for (int i = 0; i < count; i++)
	{
		char	   *item = (char *) PageGetItem(page, PageGetItemId(page, offsets[i]));
		uint16		len = VERITY_LOGGED_FIRST(drafts[i].len);

		memcpy(to + used, &len, sizeof(len));
		verity_logged_first(item, drafts[i].len, to + used + sizeof(len));
		used += sizeof(len) + len;
	}
	/* the envelope that is left out is longer than the length */
	Assert(used <= BLCKSZ);
	return used;
}

/* Log drafts that are on the page. */
static XLogRecPtr
log_multi_insert(const VerityPlace *place, VerityDraft *drafts, ItemPointerData *tids,
				 int count, int flags, const VerityLogical *logical)
{
	PGAlignedBlock header;
	PGAlignedBlock bytes;
	xl_verity_multi_insert *xlrec = (xl_verity_multi_insert *) header.data;
	Page		page = BufferGetPage(place->buffer);
	uint8		bufflags = REGBUF_STANDARD;

	xlrec->flags = flags;
	xlrec->count = count;
	for (int i = 0; i < count; i++)
		xlrec->offsets[i] = ItemPointerGetOffsetNumber(&tids[i]);
	if (verity_place_is_new(place->buffer, &tids[0], count))
	{
		xlrec->flags |= XLV_INIT_PAGE;
		bufflags |= REGBUF_WILL_INIT;
	}
	if (BufferIsValid(place->mapbuf))
		xlrec->flags |= XLV_CLEAR_MAP;
	if (logical->on)
	{
		xlrec->flags |= XLV_LOGICAL;
		bufflags |= REGBUF_KEEP_DATA;
	}
	XLogBeginInsert();
	XLogRegisterData(header.data, SizeOfVerityMultiInsert + count * sizeof(OffsetNumber));
	verity_logical_register(logical);
	XLogRegisterBuffer(XLV_BLOCK_NEW, place->buffer, bufflags);
	XLogRegisterBufData(XLV_BLOCK_NEW, bytes.data,
						gather_multi_insert(page, drafts, xlrec->offsets, count, bytes.data));
	if (BufferIsValid(place->mapbuf))
		XLogRegisterBuffer(XLV_BLOCK_MAP, place->mapbuf, 0);
	XLogSetRecordFlags(XLOG_INCLUDE_ORIGIN);
	return XLogInsert(VERITY_RMGR_ID, XLOG_VERITY_MULTI_INSERT);
}

/*
 * Put as many drafts as fit on one page; returns how many.  last: no more
 * drafts of this multi-insert follow.
 */
static int
place_page(Relation rel, VerityDraft *drafts, const VerityLogical *logical, ItemPointerData *tids,
		   int count, bool last, int options, BulkInsertState bistate)
{
	VerityPlace place;
	Size		keep_free;
	Page		page;
	int			done = 0;

	verity_place_get(rel, drafts[0].len, options, bistate, &place);
	keep_free = verity_place_keep_free(rel, BufferGetBlockNumber(place.buffer));
	page = BufferGetPage(place.buffer);

	START_CRIT_SECTION();
	do
	{
		verity_place_item(place.buffer, &drafts[done], &tids[done]);
		done++;
	} while (done < count && done < MaxHeapTuplesPerPage &&
			 PageGetHeapFreeSpace(page) >= MAXALIGN(drafts[done].len) + keep_free);
	MarkBufferDirty(place.buffer);
	verity_place_clear_map(&place);
	VERITY_STOP("multi-insert-changed");
	if (RelationNeedsWAL(rel))
	{
		int			flags = ((options & HEAP_INSERT_FROZEN) ? XLV_FROZEN : 0) |
			(last && done == count ? XLV_LAST_IN_MULTI : 0);
		XLogRecPtr	recptr = log_multi_insert(&place, drafts, tids, done, flags, logical);

		PageSetLSN(page, recptr);
		if (BufferIsValid(place.mapbuf))
			PageSetLSN(BufferGetPage(place.mapbuf), recptr);
	}
	VERITY_STOP("multi-insert-logged");
	END_CRIT_SECTION();
	verity_place_release(&place);
	return done;
}

/* What a draft takes on a page. */
static Size
page_room(const VerityDraft *draft)
{
	return MAXALIGN(draft->len) + sizeof(ItemIdData);
}

/* A record of a multi-insert is on its page: tell its slot and the journal. */
static void
finish_draft(VerityRel *vrel, TupleTableSlot *slot, ItemPointer tid, VerityDraft *draft)
{
	verity_slot_written(slot, tid, draft->item);
	if (vrel->journalled)
		verity_xact_fold(vrel, &draft->id, &draft->leaf);
	verity_draft_free(draft);
}

/*
 * Rows are sealed as many ahead as fill a page, so that each page is locked
 * and logged once, while drafts stay in the processor's cache and their memory
 * is used again.  Where decoding is on, all of them are: it wants the pieces
 * of long rows before the first record (logical_decode.c).
 */
void
verity_multi_insert(Relation rel, TupleTableSlot **slots, int nslots,
					CommandId cid, int options, BulkInsertState bistate)
{
	VerityRel  *vrel = begin_write(rel);
	VerityDraft *drafts = palloc(nslots * sizeof(VerityDraft));
	ItemPointerData *tids = palloc(nslots * sizeof(ItemPointerData));
	VerityLogical logical;
	Size		waiting = 0;	/* bytes of drafts without a place */
	int			drafted = 0;

	verity_logical_begin(rel, vrel, options, &logical);
	CheckForSerializableConflictIn(rel, NULL, InvalidBlockNumber);
	for (int placed = 0; placed < nslots;)
	{
		int			end;

		CHECK_FOR_INTERRUPTS();
		for (; drafted < nslots && (logical.on || waiting < BLCKSZ); drafted++)
		{
			slots[drafted]->tts_tableOid = RelationGetRelid(rel);
			draft_slot(rel, vrel, slots[drafted], cid, options, &drafts[drafted]);
			waiting += page_room(&drafts[drafted]);
		}
		end = placed + place_page(rel, drafts + placed, &logical, tids + placed, drafted - placed,
								  drafted == nslots, options, bistate);
		for (; placed < end; placed++)
		{
			waiting -= page_room(&drafts[placed]);
			finish_draft(vrel, slots[placed], &tids[placed], &drafts[placed]);
		}
	}
	CheckForSerializableConflictIn(rel, NULL, InvalidBlockNumber);
	pfree(tids);
	pfree(drafts);
	pgstat_count_heap_insert(rel, nslots);
}

void
verity_finish_bulk_insert(Relation rel, int options)
{
	/* every record is in shared buffers and WAL already */
}
