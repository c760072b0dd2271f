/*
 * slot.c
 *	  Slots that hold a sealed record and open it when a column is asked for.
 *
 * A slot is in one of four states:
 *	  empty
 *	  virtual	 tts_values are somebody else's; no record, no row
 *	  record	 a pinned record, not opened: system columns, locks and row
 *				 counts need no more
 *	  row		 an opened heap tuple in the slot's own memory, besides the
 *				 pinned record if it was not materialized; or only its
 *				 columns, in the memory of the page that it is of
 *
 * Once a slot has given columns of a second record of a page, or of several of
 * the page before, it keeps the page's opened records together
 * (keys/opened_page.c), and reads columns there, without a copy of the row.
 *
 * The slot's memory is kept between rows.  Bytes of a record on a page are
 * read without a lock: the pin keeps them where they are, and what is sealed
 * never changes.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/tupmacs.h"
#include "access/xact.h"
#include "am/draft.h"
#include "am/scan.h"
#include "am/keys/seal.h"
#include "utils/memutils.h"

/* Row memory above this is given back when the slot is cleared. */
#define SLOT_SPACE_KEPT (1024 * 1024)

/* Records of a page that are asked for until the next page is read whole at once. */
#define SLOT_PAGE_ROWS 4

typedef struct VeritySlot
{
	TupleTableSlot base;

	VerityRel  *vrel;			/* table of the record */
	HeapTupleData record;		/* t_data is NULL when there is none */
	Buffer		buffer;			/* pinned page of the record */

	HeapTuple	row;			/* &rowdata when opened, else NULL */
	HeapTupleData rowdata;
	const char *data;			/* columns of the row, NULL when not opened */
	const bits8 *nulls;			/* its null bitmap, or NULL */
	int			natts;
	uint32		off;			/* saved state of slot_deform */

	OpenedPage *page;			/* opened records of a page, or NULL */
	OpenedRow	opened;			/* the row's place there, while row is NULL */
	BlockNumber last_block;		/* of the record opened last by itself */

	char	   *space;			/* memory of the row */
	Size		space_size;
	char	   *spare;			/* the next row is formed here: its values may
								 * point into space */
	Size		spare_size;
} VeritySlot;

/* --- opening --- */

/* Size of a row's header, from its beginning to the first column. */
static inline Size
row_header_size(uint16 attributes)
{
	if ((attributes & RECORD_HAS_NULLS) == 0)
		return MAXALIGN(SizeofHeapTupleHeader);
	return MAXALIGN(SizeofHeapTupleHeader + BITMAPLEN(attributes & RECORD_NATTS_MASK));
}

/* Where a heap tuple of these attributes holds the plaintext. */
static inline Size
plain_start(uint16 attributes, Size hoff)
{
	return (attributes & RECORD_HAS_NULLS) != 0 ? SizeofHeapTupleHeader : hoff;
}

/* Size of the opened row, and of its header. */
static Size
opened_size(const VeritySealedView *view, Size *hoff)
{
	uint16		attributes = view->header.attributes;
	Size		plain = view->cipher_len - RECORD_TAG_SIZE;

	*hoff = row_header_size(attributes);
	if (plain_start(attributes, *hoff) + plain < *hoff)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("record (" UINT64_FORMAT ",%u) is too short for its null bitmap",
						view->header.id.serial, view->header.id.sequence),
				 errhint("Run verity_verify() on the table.")));
	return plain_start(attributes, *hoff) + plain;
}

/* Get at the sealed part, or say that it is none. */
static void
view_record(VerityRel *vrel, HeapTuple record, VeritySealedView *view)
{
	const char *why;

	if (verity_sealed_view(record, view, &why))
	{
		if (view->cipher_len >= RECORD_TAG_SIZE)
			return;
		why = "its ciphertext is shorter than a tag";
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("record at (%u,%u) of table with OID %u cannot be read: %s",
					ItemPointerGetBlockNumberNoCheck(&record->t_self),
					ItemPointerGetOffsetNumberNoCheck(&record->t_self),
					vrel->relid, why),
			 errhint("Run verity_verify() on the table.")));
}

/* Make what is before the plaintext, of a record's envelope and sealed header. */
static void
form_header(HeapTupleHeader row, HeapTuple record, uint16 attributes, Size hoff)
{
	memset((char *) row + SizeofHeapTupleHeader, 0,
		   plain_start(attributes, hoff) - SizeofHeapTupleHeader);
	memcpy(row, record->t_data, SizeofHeapTupleHeader);
	row->t_infomask &= HEAP_XACT_MASK;
	row->t_infomask |= HEAP_HASVARWIDTH | ((attributes & RECORD_HAS_NULLS) != 0 ? HEAP_HASNULL : 0);
	HeapTupleHeaderSetNatts(row, attributes & RECORD_NATTS_MASK);
	row->t_hoff = hoff;
}

/* Decrypt into row, which has room for len bytes, and make it a heap tuple. */
static void
open_view(VerityRel *vrel, HeapTuple record, VeritySealedView *view,
		  HeapTupleHeader row, Size hoff)
{
	uint16		attributes = view->header.attributes;

	form_header(row, record, attributes, hoff);
	verity_open_record(vrel, &view->header, view->header_bytes,
					   view->cipher, view->cipher_len,
					   view->toasted ? NULL : &record->t_self,
					   (uint8 *) row + plain_start(attributes, hoff));
	if (view->toasted)
		pfree(view->toasted);
}

HeapTuple
verity_open_tuple(VerityRel *vrel, HeapTuple record)
{
	VeritySealedView view = {0};
	HeapTuple	result;
	Size		hoff;
	Size		len;

	view_record(vrel, record, &view);
	len = opened_size(&view, &hoff);
	result = (HeapTuple) palloc(HEAPTUPLESIZE + len);
	result->t_len = len;
	result->t_self = record->t_self;
	result->t_tableOid = record->t_tableOid;
	result->t_data = (HeapTupleHeader) ((char *) result + HEAPTUPLESIZE);
	open_view(vrel, record, &view, result->t_data, hoff);
	return result;
}

/* --- the slot's memory --- */

static void
slot_reserve(VeritySlot *slot, Size size)
{
	slot->row = NULL;
	slot->data = NULL;
	if (slot->space_size >= size)
		return;
	if (slot->space)
		pfree(slot->space);
	slot->space = NULL;
	slot->space_size = 0;
	size = Max(size, 256);
	slot->space = MemoryContextAlloc(slot->base.tts_mcxt, size);
	slot->space_size = size;
}

/* Make rowdata, whose bytes are in space, the slot's row. */
static void
slot_set_rowdata(VeritySlot *slot, Size len, const ItemPointerData *tid, Oid tableoid)
{
	slot->rowdata.t_len = len;
	slot->rowdata.t_self = *tid;
	slot->rowdata.t_tableOid = tableoid;
	slot->rowdata.t_data = (HeapTupleHeader) slot->space;
	slot->row = &slot->rowdata;
}

/* The same, with the columns there too. */
static void
slot_set_row(VeritySlot *slot, Size len, const ItemPointerData *tid, Oid tableoid)
{
	HeapTupleHeader row = (HeapTupleHeader) slot->space;

	slot_set_rowdata(slot, len, tid, tableoid);
	slot->data = (char *) row + row->t_hoff;
	slot->nulls = (row->t_infomask & HEAP_HASNULL) != 0 ? row->t_bits : NULL;
	slot->natts = HeapTupleHeaderGetNatts(row);
	slot->off = 0;
	slot->base.tts_nvalid = 0;
}

/* Take a copy of a heap tuple as the slot's row. */
static void
slot_copy_row(VeritySlot *slot, HeapTuple tuple)
{
	slot_reserve(slot, tuple->t_len);
	memcpy(slot->space, tuple->t_data, tuple->t_len);
	slot_set_row(slot, tuple->t_len, &tuple->t_self, tuple->t_tableOid);
}

/* --- rows in the memory of their page --- */

/* Make a row of the slot's page the slot's: its columns are read there. */
static inline void
slot_set_opened(VeritySlot *slot)
{
	uint16		attributes = slot->opened.attributes;
	const uint8 *plain = slot->opened.plain;
	bool		nulls = (attributes & RECORD_HAS_NULLS) != 0;

	slot->row = NULL;
	slot->nulls = nulls ? plain : NULL;
	slot->data = (const char *) plain + row_header_size(attributes) -
		plain_start(attributes, row_header_size(attributes));
	slot->natts = attributes & RECORD_NATTS_MASK;
	slot->off = 0;
	slot->base.tts_nvalid = 0;
}

/* Copy a row that is in its page's memory: its columns stay where they are. */
static void
slot_copy_opened(VeritySlot *slot)
{
	uint16		attributes = slot->opened.attributes;
	Size		hoff = row_header_size(attributes);
	Size		start = plain_start(attributes, hoff);
	const char *data = slot->data;

	slot_reserve(slot, start + slot->opened.plain_len);
	form_header((HeapTupleHeader) slot->space, &slot->record, attributes, hoff);
	memcpy(slot->space + start, slot->opened.plain, slot->opened.plain_len);
	slot_set_rowdata(slot, start + slot->opened.plain_len,
					 &slot->record.t_self, slot->record.t_tableOid);
	slot->data = data;
}

/* Does the slot keep the opened records of its record's page? */
static inline bool
slot_has_page(VeritySlot *slot)
{
	BlockNumber block = ItemPointerGetBlockNumberNoCheck(&slot->record.t_self);

	if (slot->page != NULL && verity_page_is(slot->page, slot->vrel, block))
		return true;
	if (slot->vrel->temporary)
		return false;
	if (block != slot->last_block &&
		(slot->page == NULL || verity_page_asked(slot->page) < SLOT_PAGE_ROWS))
	{
		slot->last_block = block;
		return false;
	}
	if (slot->page == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(slot->base.tts_mcxt);

		slot->page = verity_page_make();
		MemoryContextSwitchTo(old);
	}
	verity_page_turn(slot->page, slot->vrel, block);
	return true;
}

/* Open the slot's record in its page's memory; false: it is for itself. */
static bool
slot_open_on_page(VeritySlot *slot)
{
	VeritySealedView view;
	Size		hoff;

	if ((VerityGetEnvelope(slot->record.t_data)->flags & ENVELOPE_TOASTED) != 0 ||
		!slot_has_page(slot))
		return false;
	if (verity_page_find(slot->page, &slot->record, &slot->opened))
		verity_count_pooled(slot->opened.plain_len);
	else
	{
		view_record(slot->vrel, &slot->record, &view);
		(void) opened_size(&view, &hoff);
		if (!verity_open_on_page(slot->page, slot->vrel, &view.header, view.header_bytes,
								 view.cipher, view.cipher_len, &slot->record.t_self,
								 &slot->opened))
			return false;
	}
	slot_set_opened(slot);
	return true;
}

/* Open the slot's record. */
static void
slot_open(VeritySlot *slot)
{
	VeritySealedView view = {0};
	Size		hoff;
	Size		len;

	if (slot_open_on_page(slot))
		return;
	view_record(slot->vrel, &slot->record, &view);
	len = opened_size(&view, &hoff);
	slot_reserve(slot, len);
	open_view(slot->vrel, &slot->record, &view, (HeapTupleHeader) slot->space, hoff);
	slot_set_row(slot, len, &slot->record.t_self, slot->record.t_tableOid);
}

/* --- rows of the slot's own --- */

/* Form the row of the slot's values, as heap_form_tuple does, in the slot's memory. */
static void
slot_form(VeritySlot *slot)
{
	TupleDesc	desc = slot->base.tts_tupleDescriptor;
	Datum	   *values = slot->base.tts_values;
	bool	   *isnull = slot->base.tts_isnull;
	char	   *values_space = slot->space;
	Size		values_size = slot->space_size;
	bool		nulls = memchr(isnull, true, desc->natts) != NULL;
	Size		header = MAXALIGN(SizeofHeapTupleHeader + (nulls ? BITMAPLEN(desc->natts) : 0));
	Size		len;
	HeapTupleHeader row;

	len = header + heap_compute_data_size(desc, values, isnull);

	slot->space = slot->spare;
	slot->space_size = slot->spare_size;
	slot->spare = values_space;
	slot->spare_size = values_size;
	slot_reserve(slot, len);
	/* the gaps of alignment too */
	memset(slot->space, 0, len);
	row = (HeapTupleHeader) slot->space;
	ItemPointerSetInvalid(&row->t_ctid);
	HeapTupleHeaderSetNatts(row, desc->natts);
	row->t_hoff = header;
	heap_fill_tuple(desc, values, isnull, slot->space + header, len - header, &row->t_infomask,
					nulls ? row->t_bits : NULL);
	slot_set_row(slot, len, &slot->base.tts_tid, slot->base.tts_tableOid);
}

/* Give the slot a row, from its record or its values. */
static void
slot_need_row(VeritySlot *slot)
{
	if (slot->row)
		return;
	if (slot->record.t_data)
	{
		/* opening frees what it needed, which a sort's memory for tuples refuses */
		MemoryContext old = MemoryContextSwitchTo(slot->base.tts_mcxt);

		if (slot->data == NULL)
			slot_open(slot);
		if (slot->row == NULL)
			slot_copy_opened(slot);
		MemoryContextSwitchTo(old);
		return;
	}

	verity_check_row_size(&slot->base);
	slot_form(slot);
}

static void
slot_drop_record(VeritySlot *slot)
{
	slot->record.t_data = NULL;
	if (BufferIsValid(slot->buffer))
		ReleaseBuffer(slot->buffer);
	slot->buffer = InvalidBuffer;
}

/* --- TupleTableSlotOps --- */

static void
tts_verity_init(TupleTableSlot *slot)
{
	VeritySlot *vslot = (VeritySlot *) slot;

	vslot->buffer = InvalidBuffer;
	vslot->record.t_data = NULL;
	vslot->row = NULL;
	vslot->data = NULL;
	vslot->page = NULL;
	vslot->last_block = InvalidBlockNumber;
	vslot->space = vslot->spare = NULL;
	vslot->space_size = vslot->spare_size = 0;
}

/* Give back what of the slot's memory is larger than limit. */
static void
slot_shrink(VeritySlot *slot, Size limit)
{
	if (slot->space_size > limit)
	{
		pfree(slot->space);
		slot->space = NULL;
		slot->space_size = 0;
	}
	if (slot->spare_size > limit)
	{
		pfree(slot->spare);
		slot->spare = NULL;
		slot->spare_size = 0;
	}
}

static void
tts_verity_clear(TupleTableSlot *slot)
{
	VeritySlot *vslot = (VeritySlot *) slot;

	slot_drop_record(vslot);
	vslot->row = NULL;
	vslot->data = NULL;
	vslot->off = 0;
	slot_shrink(vslot, SLOT_SPACE_KEPT);

	slot->tts_nvalid = 0;
	slot->tts_flags |= TTS_FLAG_EMPTY;
	ItemPointerSetInvalid(&slot->tts_tid);
}

static void
tts_verity_release(TupleTableSlot *slot)
{
	VeritySlot *vslot = (VeritySlot *) slot;

	slot_shrink(vslot, 0);
	if (vslot->page != NULL)
		verity_page_free(vslot->page);
	vslot->page = NULL;
}

/*
 * Where column att stands, off being the end of the one before.  *slow once
 * offsets depend on the row, so that they may not be cached.
 */
static inline uint32
column_offset(CompactAttribute *att, const char *data, uint32 off, bool *slow)
{
	if (!*slow && att->attcacheoff >= 0)
		return att->attcacheoff;

	if (att->attlen == -1 && (*slow || off != att_nominal_alignby(off, att->attalignby)))
	{
		*slow = true;
		return att_pointer_alignby(off, att->attalignby, -1, data + off);
	}
	off = att_nominal_alignby(off, att->attalignby);
	if (!*slow)
		att->attcacheoff = off;
	return off;
}

/* Take columns up to natts out of the row, from where the last call stopped. */
static void
slot_deform(VeritySlot *vslot, int natts)
{
	TupleTableSlot *slot = &vslot->base;
	const char *data = vslot->data;
	const bits8 *nulls = vslot->nulls;
	int			attnum = slot->tts_nvalid;
	uint32		off = attnum > 0 ? vslot->off : 0;
	bool		slow = attnum > 0 && TTS_SLOW(slot);

	natts = Min(vslot->natts, natts);
	for (; attnum < natts; attnum++)
	{
		CompactAttribute *att = TupleDescCompactAttr(slot->tts_tupleDescriptor, attnum);

		if (nulls != NULL && att_isnull(attnum, nulls))
		{
			slot->tts_values[attnum] = (Datum) 0;
			slot->tts_isnull[attnum] = true;
			slow = true;
			continue;
		}
		off = column_offset(att, data, off, &slow);
		slot->tts_isnull[attnum] = false;
		slot->tts_values[attnum] = fetchatt(att, data + off);
		off = att_addlength_pointer(off, att->attlen, data + off);
		if (att->attlen <= 0)
			slow = true;
	}

	slot->tts_nvalid = attnum;
	vslot->off = off;
	if (slow)
		slot->tts_flags |= TTS_FLAG_SLOW;
	else
		slot->tts_flags &= ~TTS_FLAG_SLOW;
}

static void
tts_verity_getsomeattrs(TupleTableSlot *slot, int natts)
{
	VeritySlot *vslot = (VeritySlot *) slot;

	Assert(!TTS_EMPTY(slot));
	if (vslot->data == NULL)
		slot_open(vslot);
	slot_deform(vslot, natts);
}

/* xmin, cmin, xmax, cmax stand in the envelope: nothing is opened for them. */
static Datum
tts_verity_getsysattr(TupleTableSlot *slot, int attnum, bool *isnull)
{
	VeritySlot *vslot = (VeritySlot *) slot;
	HeapTuple	tuple = vslot->record.t_data ? &vslot->record : vslot->row;

	Assert(!TTS_EMPTY(slot));
	if (!tuple)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot retrieve a system column in this context")));
	return heap_getsysattr(tuple, attnum, slot->tts_tupleDescriptor, isnull);
}

#if PG_VERSION_NUM >= 170000
static bool
tts_verity_is_current_xact_tuple(TupleTableSlot *slot)
{
	VeritySlot *vslot = (VeritySlot *) slot;
	HeapTuple	tuple = vslot->record.t_data ? &vslot->record : vslot->row;

	Assert(!TTS_EMPTY(slot));
	if (!tuple)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("don't have transaction information for this type of tuple")));
	return TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetRawXmin(tuple->t_data));
}
#endif

static void
tts_verity_materialize(TupleTableSlot *slot)
{
	VeritySlot *vslot = (VeritySlot *) slot;

	Assert(!TTS_EMPTY(slot));
	slot_need_row(vslot);
	slot_drop_record(vslot);
}

static void
tts_verity_copyslot(TupleTableSlot *dstslot, TupleTableSlot *srcslot)
{
	VeritySlot *dst = (VeritySlot *) dstslot;
	VeritySlot *src = (VeritySlot *) srcslot;
	ItemPointerData tid = srcslot->tts_tid;
	HeapTuple	copy;

	if (dstslot == srcslot)
		return;

	if (TTS_IS_VERITY(srcslot) && src->record.t_data)
		verity_slot_store(dstslot, src->vrel, &src->record, src->buffer);
	else
		tts_verity_clear(dstslot);

	if (TTS_IS_VERITY(srcslot) && src->data != NULL)
	{
		slot_need_row(src);
		slot_copy_row(dst, src->row);
	}
	else if (dst->record.t_data == NULL)
	{
		verity_check_row_size(srcslot);
		copy = ExecCopySlotHeapTuple(srcslot);
		slot_copy_row(dst, copy);
		heap_freetuple(copy);
	}
	dstslot->tts_flags &= ~TTS_FLAG_EMPTY;
	dstslot->tts_tid = tid;
}

static HeapTuple
tts_verity_get_heap_tuple(TupleTableSlot *slot)
{
	VeritySlot *vslot = (VeritySlot *) slot;

	Assert(!TTS_EMPTY(slot));
	slot_need_row(vslot);
	return vslot->row;
}

static HeapTuple
tts_verity_copy_heap_tuple(TupleTableSlot *slot)
{
	return heap_copytuple(tts_verity_get_heap_tuple(slot));
}

#if PG_VERSION_NUM >= 180000
static MinimalTuple
tts_verity_copy_minimal_tuple(TupleTableSlot *slot, Size extra)
{
	return minimal_tuple_from_heap_tuple(tts_verity_get_heap_tuple(slot), extra);
}
#else
static MinimalTuple
tts_verity_copy_minimal_tuple(TupleTableSlot *slot)
{
	return minimal_tuple_from_heap_tuple(tts_verity_get_heap_tuple(slot), 0);
}
#endif

const TupleTableSlotOps TTSOpsVerity = {
	.base_slot_size = sizeof(VeritySlot),
	.init = tts_verity_init,
	.release = tts_verity_release,
	.clear = tts_verity_clear,
	.getsomeattrs = tts_verity_getsomeattrs,
	.getsysattr = tts_verity_getsysattr,
#if PG_VERSION_NUM >= 170000
	.is_current_xact_tuple = tts_verity_is_current_xact_tuple,
#endif
	.materialize = tts_verity_materialize,
	.copyslot = tts_verity_copyslot,
	.get_heap_tuple = tts_verity_get_heap_tuple,
	.get_minimal_tuple = NULL,
	.copy_heap_tuple = tts_verity_copy_heap_tuple,
	.copy_minimal_tuple = tts_verity_copy_minimal_tuple
};

void
verity_slot_store(TupleTableSlot *slot, VerityRel *vrel, HeapTuple record, Buffer buffer)
{
	VeritySlot *vslot = (VeritySlot *) slot;

	Assert(TTS_IS_VERITY(slot));
	Assert(BufferIsValid(buffer));

	/* rows often come from one page after the other: keep its pin */
	if (vslot->buffer != buffer)
	{
		if (BufferIsValid(vslot->buffer))
			ReleaseBuffer(vslot->buffer);
		vslot->buffer = buffer;
		IncrBufferRefCount(buffer);
	}
	vslot->vrel = vrel;
	vslot->record = *record;
	vslot->row = NULL;
	vslot->data = NULL;
	vslot->off = 0;

	slot->tts_nvalid = 0;
	slot->tts_flags &= ~TTS_FLAG_EMPTY;
	slot->tts_tid = record->t_self;
	slot->tts_tableOid = record->t_tableOid;
}

HeapTuple
verity_slot_record(TupleTableSlot *slot, Buffer *buffer)
{
	VeritySlot *vslot = (VeritySlot *) slot;

	Assert(TTS_IS_VERITY(slot));
	*buffer = vslot->buffer;
	return vslot->record.t_data ? &vslot->record : NULL;
}

bool
verity_slot_is_open(TupleTableSlot *slot)
{
	VeritySlot *vslot = (VeritySlot *) slot;

	return TTS_IS_VERITY(slot) && vslot->record.t_data != NULL && vslot->data != NULL;
}

void
verity_slot_written(TupleTableSlot *slot, ItemPointer tid, const void *record)
{
	VeritySlot *vslot = (VeritySlot *) slot;
	const HeapTupleHeaderData *header = record;
	HeapTupleHeader row;

	slot->tts_tid = *tid;
	if (!TTS_IS_VERITY(slot) || !vslot->row)
		return;

	vslot->row->t_self = *tid;
	vslot->row->t_tableOid = slot->tts_tableOid;
	row = vslot->row->t_data;
	row->t_choice = header->t_choice;
	row->t_ctid = *tid;
	row->t_infomask &= ~HEAP_XACT_MASK;
	row->t_infomask |= header->t_infomask & HEAP_XACT_MASK;
}
