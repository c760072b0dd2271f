/*
 * logical_decode.c
 *	  From WAL records to changes in the reorder buffer.
 *
 * The counterpart of replication/logical/decode.c for verity's own records.
 * Here is no catalog snapshot and perhaps no table any more: what is queued
 * are sealed tuples, made of nothing but the WAL record's bytes.
 *
 * Pieces of a ciphertext are queued as inserts of the same table, marked as
 * partial like TOAST chunks, so that none is streamed without its change.
 */
#include "postgres.h"

#include "access/xlogreader.h"
#include "replication/reorderbuffer.h"
#include "replication/snapbuild.h"

#include "am/dml_wal.h"
#include "am/logical/logical.h"
#include "am/wal.h"

/* Bytes that a sealed tuple is made of. */
typedef struct Part
{
	const char *bytes;
	Size		len;
} Part;

/* The record under way. */
typedef struct Decoding
{
	LogicalDecodingContext *ctx;
	XLogRecordBuffer *buf;
	XLogReaderState *record;
	RelFileLocator locator;
} Decoding;

/* What stands in WAL is not what verity logs. */
static void
damaged(XLogReaderState *record)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("a logged change of a verity table is too short to be decoded"),
			 errdetail("It is the WAL record at LSN %X/%X.", LSN_FORMAT_ARGS(record->ReadRecPtr)),
			 errhint("The WAL is damaged or was altered. Restore the WAL from an archive, and run verity_verify().")));
}

/* The record's main data, of which at least so many bytes are read. */
static char *
main_data(XLogReaderState *record, Size at_least)
{
	if (XLogRecGetDataLen(record) < at_least)
		damaged(record);
	return XLogRecGetData(record);
}

static VerityChangeTuple
sealed_tuple(Decoding *decoding, SealedKind kind, Part first, Part second)
{
	Size		len = SEALED_TUPLE_OFFSET + offsetof(SealedTuple, bytes) + first.len + second.len;
	VerityChangeTuple buf = ReorderBufferAllocTupleBuf(decoding->ctx->reorder,
													   len - SizeofHeapTupleHeader);
	HeapTuple	tuple = VerityChangeHeapTuple(buf);
	HeapTupleHeader header = tuple->t_data;
	SealedTuple *sealed = (SealedTuple *) ((char *) header + SEALED_TUPLE_OFFSET);

	/* padding too, since all of it is spilled */
	memset(tuple, 0, sizeof(*tuple));
	tuple->t_data = header;
	memset(header, 0, SEALED_TUPLE_OFFSET);
	header->t_hoff = SEALED_TUPLE_OFFSET;
	ItemPointerSetInvalid(&tuple->t_self);
	tuple->t_tableOid = InvalidOid;
	tuple->t_len = len;
	sealed->magic = SEALED_TUPLE_MAGIC;
	sealed->kind = kind;
	sealed->len = first.len + second.len;
	memcpy(sealed->bytes, first.bytes, first.len);
	memcpy(sealed->bytes + first.len, second.bytes, second.len);
	return buf;
}

/* The sealed tuple of a record that was logged from its envelope flags on. */
static VerityChangeTuple
sealed_row(Decoding *decoding, Part base, const char *logged, Size len)
{
	bool		toasted = len > 0 && (logged[0] & ENVELOPE_TOASTED) != 0;
	Size		trailer = toasted ? sizeof(varatt_external) : 0;
	Size		offset = len > 0 ? verity_logged_sealed(logged) : 0;
	Part		sealed;

	if (logged == NULL || len < offset + RECORD_HEADER_SIZE + trailer)
		damaged(decoding->record);
	sealed.bytes = logged + offset;
	sealed.len = len - offset - trailer;
	return sealed_tuple(decoding, toasted ? SEALED_ROW_TOASTED : SEALED_ROW, base, sealed);
}

/* The base in a record's main data, behind a struct of this size. */
static Part
base_behind(Decoding *decoding, Size offset)
{
	char	   *data = main_data(decoding->record, offset + sizeof(xl_verity_base));
	Part		base = {data + offset, sizeof(xl_verity_base)};

	return base;
}

static ReorderBufferChange *
new_change(Decoding *decoding, ReorderBufferChangeType action)
{
	ReorderBufferChange *change = ReorderBufferAllocChange(decoding->ctx->reorder);

	change->action = action;
	change->origin_id = XLogRecGetOrigin(decoding->record);
	change->data.tp.rlocator = decoding->locator;
	change->data.tp.clear_toast_afterwards = true;
	return change;
}

static void
queue(Decoding *decoding, ReorderBufferChange *change, bool partial)
{
	ReorderBufferQueueChange(decoding->ctx->reorder, XLogRecGetXid(decoding->record),
							 decoding->buf->origptr, change, partial);
}

static void
decode_insert(Decoding *decoding)
{
	xl_verity_insert *xlrec = (xl_verity_insert *) main_data(decoding->record, sizeof(*xlrec));
	ReorderBufferChange *change;
	Part		base;
	char	   *data;
	Size		len;

	if (!(xlrec->flags & XLV_LOGICAL))
		return;
	base = base_behind(decoding, sizeof(*xlrec));
	data = XLogRecGetBlockData(decoding->record, XLV_BLOCK_NEW, &len);
	change = new_change(decoding, (xlrec->flags & XLV_SPECULATIVE) ?
						REORDER_BUFFER_CHANGE_INTERNAL_SPEC_INSERT : REORDER_BUFFER_CHANGE_INSERT);
	change->data.tp.newtuple = sealed_row(decoding, base, data, len);
	queue(decoding, change, false);
}

static void
decode_multi_insert(Decoding *decoding)
{
	xl_verity_multi_insert *xlrec = (xl_verity_multi_insert *) main_data(decoding->record, SizeOfVerityMultiInsert);
	Part		base;
	char	   *data;
	char	   *end;
	Size		total;

	if (!(xlrec->flags & XLV_LOGICAL))
		return;
	base = base_behind(decoding, SizeOfVerityMultiInsert + xlrec->count * sizeof(OffsetNumber));
	data = XLogRecGetBlockData(decoding->record, XLV_BLOCK_NEW, &total);
	end = data + total;
	for (int i = 0; i < xlrec->count; i++)
	{
		ReorderBufferChange *change = new_change(decoding, REORDER_BUFFER_CHANGE_INSERT);
		uint16		len;

		if (data == NULL || end - data < sizeof(len))
			damaged(decoding->record);
		memcpy(&len, data, sizeof(len));
		data += sizeof(len);
		if (end - data < len)
			damaged(decoding->record);
		change->data.tp.newtuple = sealed_row(decoding, base, data, len);
		/* the pieces of all rows came before the first of these records */
		change->data.tp.clear_toast_afterwards =
			(xlrec->flags & XLV_LAST_IN_MULTI) && i == xlrec->count - 1;
		queue(decoding, change, false);
		data += len;
	}
}

static void
decode_update(Decoding *decoding, bool is_delete)
{
	xl_verity_update *xlrec = (xl_verity_update *) main_data(decoding->record, sizeof(*xlrec));
	Size		fixed = sizeof(*xlrec) + sizeof(xl_verity_base);
	ReorderBufferChange *change;
	Part		base;
	Part		old;

	if (!(xlrec->flags & XLV_LOGICAL))
		return;
	base = base_behind(decoding, sizeof(*xlrec));
	change = new_change(decoding, is_delete ? REORDER_BUFFER_CHANGE_DELETE : REORDER_BUFFER_CHANGE_UPDATE);
	old.bytes = XLogRecGetData(decoding->record) + fixed;
	old.len = XLogRecGetDataLen(decoding->record) - fixed;
	if (old.len > 0)
		change->data.tp.oldtuple = sealed_tuple(decoding, SEALED_OLD, base, old);
	if (!is_delete)
	{
		Size		len;
		char	   *data = XLogRecGetBlockData(decoding->record, XLV_BLOCK_NEW, &len);

		change->data.tp.newtuple = sealed_row(decoding, base, data, len);
	}
	queue(decoding, change, false);
}

/* The end of a speculation.  One that was killed leaves pieces that nothing else would drop. */
static void
decode_speculative(Decoding *decoding, bool confirmed)
{
	xl_verity_speculative *xlrec = (xl_verity_speculative *) main_data(decoding->record, sizeof(*xlrec));
	Part		nothing = {"", 0};
	ReorderBufferChange *change;

	if (!(xlrec->flags & XLV_LOGICAL))
		return;
	queue(decoding,
		  new_change(decoding, confirmed ? REORDER_BUFFER_CHANGE_INTERNAL_SPEC_CONFIRM :
					 REORDER_BUFFER_CHANGE_INTERNAL_SPEC_ABORT),
		  false);
	if (confirmed)
		return;
	change = new_change(decoding, REORDER_BUFFER_CHANGE_INSERT);
	change->data.tp.newtuple = sealed_tuple(decoding, SEALED_NOTHING, nothing, nothing);
	queue(decoding, change, false);
}

static void
decode_piece(Decoding *decoding)
{
	ReorderBufferChange *change = new_change(decoding, REORDER_BUFFER_CHANGE_INSERT);
	Part		piece = {XLogRecGetData(decoding->record), XLogRecGetDataLen(decoding->record)};
	Part		nothing = {"", 0};

	change->data.tp.newtuple = sealed_tuple(decoding, SEALED_PIECE, piece, nothing);
	change->data.tp.clear_toast_afterwards = false;
	queue(decoding, change, true);
}

/* Queue what the record says, if the slot wants to know. */
static void
decode_change(LogicalDecodingContext *ctx, XLogRecordBuffer *buf, uint8 info)
{
	XLogReaderState *record = buf->record;
	Decoding	decoding = {.ctx = ctx,.buf = buf,.record = record};

	if (info == XLOG_VERITY_PIECE)
		decoding.locator = ((xl_verity_piece *) main_data(record, sizeof(xl_verity_piece)))->locator;
	else
		XLogRecGetBlockTag(record, 0, &decoding.locator, NULL, NULL);
	if (VerityLocatorDatabase(decoding.locator) != ctx->slot->data.database)
		return;
	if (ctx->callbacks.filter_by_origin_cb != NULL &&
		filter_by_origin_cb_wrapper(ctx, XLogRecGetOrigin(record)))
		return;

	verity_logical_open_changes(ctx->reorder);
	switch (info)
	{
		case XLOG_VERITY_INSERT:
			decode_insert(&decoding);
			break;
		case XLOG_VERITY_MULTI_INSERT:
			decode_multi_insert(&decoding);
			break;
		case XLOG_VERITY_UPDATE:
		case XLOG_VERITY_DELETE:
			decode_update(&decoding, info == XLOG_VERITY_DELETE);
			break;
		case XLOG_VERITY_CONFIRM:
		case XLOG_VERITY_KILL:
			decode_speculative(&decoding, info == XLOG_VERITY_CONFIRM);
			break;
		case XLOG_VERITY_PIECE:
			decode_piece(&decoding);
			break;
	}
}

void
verity_decode(LogicalDecodingContext *ctx, XLogRecordBuffer *buf)
{
	uint8		info = XLogRecGetInfo(buf->record) & ~XLR_INFO_MASK;
	TransactionId xid = XLogRecGetXid(buf->record);

	ReorderBufferProcessXid(ctx->reorder, xid, buf->origptr);
	if (SnapBuildCurrentState(ctx->snapshot_builder) < SNAPBUILD_FULL_SNAPSHOT)
		return;
	/* vacuum's records and the journal's are nobody's rows */
	if (info > XLOG_VERITY_KILL && info != XLOG_VERITY_PIECE)
		return;
	if (SnapBuildProcessChange(ctx->snapshot_builder, xid, buf->origptr) && !ctx->fast_forward)
		decode_change(ctx, buf, info);
}

void
verity_desc_piece(StringInfo buf, XLogReaderState *record)
{
	xl_verity_piece *piece = (xl_verity_piece *) XLogRecGetData(record);

	if (XLogRecGetDataLen(record) < sizeof(*piece))
	{
		appendStringInfoString(buf, "too short for a piece");
		return;
	}
	appendStringInfo(buf, "record " UINT64_FORMAT ".%u offset " UINT64_FORMAT " of " UINT64_FORMAT,
					 piece->serial, piece->sequence, piece->offset, piece->total);
}
