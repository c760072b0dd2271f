/*
 * draft.c
 *	  From a row to a record: flatten, compress, seal, hash, move to TOAST.
 *
 * Everything here happens before a buffer is locked, since sealing and TOAST
 * can fail.  A draft that finds no place costs a sequence number and no more:
 * sequence numbers are never given back.
 */
#include "postgres.h"

#include "am/draft.h"

#include "access/detoast.h"
#include "access/heapam.h"
#include "access/heaptoast.h"
#include "access/toast_helper.h"
#include "access/toast_internals.h"
#include "utils/memutils.h"

#include "am/keys/seal.h"
#include "am/logical/logical.h"
#include "am/table.h"

/* From the null bitmap on, or from the data on where there is none. */
const uint8 *
verity_plain_bytes(HeapTuple tuple, uint16 *attributes, Size *len)
{
	HeapTupleHeader header = tuple->t_data;
	Size		offset = header->t_hoff;

	*attributes = HeapTupleHeaderGetNatts(header);
	if (HeapTupleHasNulls(tuple))
	{
		*attributes |= RECORD_HAS_NULLS;
		offset = SizeofHeapTupleHeader;
	}
	*len = tuple->t_len - offset;
	return (uint8 *) header + offset;
}

/* Compress the longest columns until the row is short or none is left. */
static HeapTuple
compress_row(Relation rel, HeapTuple tuple)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Datum		values[MaxHeapAttributeNumber];
	bool		nulls[MaxHeapAttributeNumber];
	ToastAttrInfo attrs[MaxHeapAttributeNumber];
	ToastTupleContext context;
	Size		overhead = MAXALIGN(SizeofHeapTupleHeader + BITMAPLEN(desc->natts));
	HeapTuple	result = tuple;

	heap_deform_tuple(tuple, desc, values, nulls);
	context.ttc_rel = rel;
	context.ttc_values = values;
	context.ttc_isnull = nulls;
	context.ttc_oldvalues = NULL;
	context.ttc_oldisnull = NULL;
	context.ttc_attr = attrs;
	toast_tuple_init(&context);
	while (overhead + heap_compute_data_size(desc, values, nulls) > TOAST_TUPLE_TARGET)
	{
		int			biggest = toast_tuple_find_biggest_attribute(&context, true, false);

		if (biggest < 0)
			break;
		/* EXTERNAL storage asks for no compression */
		if (TupleDescAttr(desc, biggest)->attstorage == TYPSTORAGE_EXTERNAL)
			attrs[biggest].tai_colflags |= TOASTCOL_INCOMPRESSIBLE;
		else
			toast_tuple_try_compression(&context, biggest);
	}
	if (context.ttc_flags & TOAST_NEEDS_CHANGE)
		result = heap_form_tuple(desc, values, nulls);
	toast_tuple_cleanup(&context);
	return result;
}

/* The row as it is sealed: no pointers to elsewhere.  May be tuple itself. */
static HeapTuple
flat_row(Relation rel, HeapTuple tuple)
{
	HeapTuple	flat = tuple;
	HeapTuple	compressed;

	if (HeapTupleHasExternal(tuple))
		flat = toast_flatten_tuple(tuple, RelationGetDescr(rel));
	if (flat->t_len <= TOAST_TUPLE_THRESHOLD)
		return flat;
	compressed = compress_row(rel, flat);
	if (compressed != flat && flat != tuple)
		heap_freetuple(flat);
	return compressed;
}

/* Put ciphertext || tag into the TOAST table and a pointer in its place. */
static void
move_to_toast(Relation rel, VerityDraft *draft, Size header_len, int options)
{
	char	   *place = (char *) VerityGetSealed((HeapTupleHeader) draft->item) + header_len;
	Size		cipher_len = draft->item + draft->len - place;
	bytea	   *value;
	Datum		pointer;

	value = (bytea *) MemoryContextAllocHuge(CurrentMemoryContext, VARHDRSZ + cipher_len);
	SET_VARSIZE(value, VARHDRSZ + cipher_len);
	memcpy(VARDATA(value), place, cipher_len);
	/* of the TOAST table's own WAL, decoding sees nothing */
	if (verity_logical_wanted(rel, options))
		verity_logical_log_cipher(rel, &draft->id, place, cipher_len);
	pointer = toast_save_datum(rel, PointerGetDatum(value), NULL,
							   (options & ~HEAP_INSERT_SPECULATIVE) | HEAP_INSERT_NO_LOGICAL);
	memcpy(place, VARDATA_EXTERNAL(DatumGetPointer(pointer)), sizeof(varatt_external));
	draft->len = place + sizeof(varatt_external) - draft->item;
	VerityGetEnvelope(draft->item)->flags |= ENVELOPE_TOASTED;
	pfree(value);
	pfree(DatumGetPointer(pointer));
}

/* Errors when a record of this size can stand nowhere. */
static void
check_size(Relation rel, Size item_len, bool *toast)
{
	bool		has_toast = OidIsValid(rel->rd_rel->reltoastrelid);

	*toast = item_len > VERITY_INLINE_MAX && has_toast;
	if (item_len > MaxAllocSize - BLCKSZ)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("row is too large for verity table \"%s\": %zu bytes",
						RelationGetRelationName(rel), item_len),
				 errhint("A row can have at most 1 GB in all its columns together. Keep larger values as large objects or split them over rows.")));
	if (!*toast && item_len > MaxHeapTupleSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("row is too big: size %zu, maximum size %zu",
						item_len, (Size) MaxHeapTupleSize),
				 errhint("Split the row: none of its columns can be stored out of line.")));
}

void
verity_draft_make(Relation rel, VerityRel *vrel, record_kind kind, uint16 flags,
				  HeapTuple tuple, const record_id *supersedes, int options, VerityDraft *draft)
{
	HeapTuple	flat = tuple ? flat_row(rel, tuple) : NULL;
	record_header header;
	const uint8 *plain = NULL;
	Size		plain_len = 0;
	Size		envelope_len = kind == RECORD_INSERT ? SEALED_OFFSET_FIRST : SEALED_OFFSET;
	Size		sealed_len;
	uint8	   *sealed;
	bool		toast;

	memset(&header, 0, sizeof(header));
	header.kind = kind;
	if (flat)
		plain = verity_plain_bytes(flat, &header.attributes, &plain_len);
	header.attributes |= flags;
	if (supersedes)
	{
		header.attributes |= RECORD_SUPERSEDES;
		header.supersedes = *supersedes;
	}
	draft->len = envelope_len + record_sealed_size(header.attributes, plain_len);
	check_size(rel, draft->len, &toast);
	draft->item = palloc(draft->len);
	memset(draft->item, 0, envelope_len);
	if (kind == RECORD_INSERT)
		VerityGetEnvelope(draft->item)->flags = ENVELOPE_FIRST;
	else if (kind == RECORD_TOMBSTONE)
		VerityGetEnvelope(draft->item)->flags = ENVELOPE_TOMBSTONE;
	sealed = (uint8 *) draft->item + envelope_len;
	sealed_len = verity_seal_record(vrel, &header, plain, plain_len, sealed);
	draft->id = header.id;
	if (hash_leaf(sealed, sealed_len, &draft->leaf) != CORE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not hash a record of table \"%s\"", RelationGetRelationName(rel)),
				 errhint("Check the server's memory and the OpenSSL installation.")));
	if (toast)
		move_to_toast(rel, draft, record_header_size(header.attributes), options);
	if (flat != tuple)
		heap_freetuple(flat);
}

void
verity_draft_stamp(VerityDraft *draft, TransactionId xid, CommandId cid, bool frozen)
{
	HeapTupleHeader tuple = (HeapTupleHeader) draft->item;
	VerityEnvelope *envelope = VerityGetEnvelope(draft->item);

	tuple->t_infomask2 = 0;
	tuple->t_infomask = HEAP_XMAX_INVALID;
	tuple->t_hoff = VERITY_HOFF;
	HeapTupleHeaderSetXmin(tuple, xid);
	HeapTupleHeaderSetCmin(tuple, cid);
	HeapTupleHeaderSetXmax(tuple, InvalidTransactionId);
	if (frozen)
		HeapTupleHeaderSetXminFrozen(tuple);
	ItemPointerSetInvalid(&envelope->root);
	if (!verity_is_first(tuple))
	{
		ItemPointerSetInvalid(&verity_back_links(tuple)->prev);
		ItemPointerSetInvalid(&verity_back_links(tuple)->skip);
	}
}

void
verity_draft_free(VerityDraft *draft)
{
	if (draft->item)
		pfree(draft->item);
	draft->item = NULL;
}
