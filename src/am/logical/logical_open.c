/*
 * logical_open.c
 *	  From sealed tuples to the rows that an output plugin gets.
 *
 * The reorder buffer's callbacks are wrapped: a change of a verity table is
 * opened on its way to the plugin, into memory that is given back behind it.
 * The change in the buffer stays sealed, for it may still be spilled.
 *
 * Pieces of ciphertexts go to no plugin.  They are put together under their
 * record's id, and dropped once the reorder buffer says that no change needs
 * them any more: by a change that is the last to need them, by the end of a
 * speculation that was killed, and where a transaction or a part of it that is
 * streamed begins or ends.
 *
 * An error here ends the decoding, and the slot stays where it is: a change
 * is never left out.
 */
#include "postgres.h"

#include "replication/reorderbuffer.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "am/logical/logical.h"
#include "am/table.h"

/* Largest ciphertext of a record, of which rows are at most 1 GB. */
#define CIPHER_MAX ((uint64) MaxAllocSize)

/* A ciphertext that is being put together. */
typedef struct Cipher
{
	record_id	id;				/* hash key */
	uint64		total;
	uint64		have;
	char	   *bytes;
} Cipher;

/* State for one reorder buffer: this process decodes for one at a time. */
static struct
{
	ReorderBuffer *rb;			/* whose callbacks are wrapped */
	ReorderBufferApplyChangeCB apply_change;
	ReorderBufferStreamChangeCB stream_change;
	ReorderBufferBeginCB begin;
	ReorderBufferBeginCB begin_prepare;
	ReorderBufferCommitCB commit;
	ReorderBufferPrepareCB prepare;
	ReorderBufferStreamStartCB stream_start;
	ReorderBufferStreamStopCB stream_stop;
	MemoryContext row_context;	/* the opened change */
	MemoryContext cipher_context;	/* ciphers and their hash */
	HTAB	   *ciphers;		/* NULL: none */
	Size		cipher_bytes;	/* in them, and the most that there were */
	Size		cipher_bytes_max;
} opening;

/* --- ciphertexts in pieces --- */

static void
drop_ciphers(void)
{
	if (opening.ciphers != NULL)
		MemoryContextReset(opening.cipher_context);
	opening.ciphers = NULL;
	opening.cipher_bytes = 0;
}

/* Is this record's ciphertext here, whole or not?  With total, make it. */
static Cipher *
find_cipher(uint64 serial, uint32 sequence, uint64 total)
{
	record_id	id;
	Cipher	   *cipher;
	bool		found = false;

	memset(&id, 0, sizeof(id));
	id.serial = serial;
	id.sequence = sequence;
	if (opening.ciphers == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(record_id),.entrysize = sizeof(Cipher),.hcxt = opening.cipher_context};

		opening.ciphers = hash_create("verity ciphertexts", 16, &control,
									  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	cipher = hash_search(opening.ciphers, &id, total > 0 ? HASH_ENTER : HASH_FIND, &found);
	if (cipher != NULL && !found)
	{
		cipher->total = total;
		cipher->have = 0;
		cipher->bytes = NULL;
		cipher->bytes = MemoryContextAlloc(opening.cipher_context, total);
		opening.cipher_bytes += total;
		opening.cipher_bytes_max = Max(opening.cipher_bytes_max, opening.cipher_bytes);
	}
	return cipher;
}

static void
add_piece(const SealedTuple *sealed)
{
	xl_verity_piece piece;
	Cipher	   *cipher;
	Size		len;

	if (sealed->len < sizeof(piece))
		elog(ERROR, "a piece of a logged record is too short");
	memcpy(&piece, sealed->bytes, sizeof(piece));
	len = sealed->len - sizeof(piece);
	if (piece.total == 0 || piece.total > CIPHER_MAX)
		elog(ERROR, "a piece of a logged record is of no valid length");
	cipher = find_cipher(piece.serial, piece.sequence, piece.total);
	if (piece.offset != cipher->have || piece.total != cipher->total ||
		len > cipher->total - cipher->have)
		elog(ERROR, "pieces of logged record " UINT64_FORMAT ".%u do not follow each other",
			 piece.serial, piece.sequence);
	memcpy(cipher->bytes + cipher->have, sealed->bytes + sizeof(piece), len);
	cipher->have += len;
}

/* --- rows --- */

/*
 * A heap tuple for a row of so many sealed bytes; *plain is where they go.
 * The bytes are those from the null bitmap on, or from the data on.
 */
static VerityChangeTuple
row_make(uint16 attributes, Size plain_len, uint8 **plain)
{
	uint16		natts = attributes & RECORD_NATTS_MASK;
	bool		nulls = (attributes & RECORD_HAS_NULLS) != 0;
	Size		hoff = MAXALIGN(SizeofHeapTupleHeader + (nulls ? BITMAPLEN(natts) : 0));
	Size		start = nulls ? SizeofHeapTupleHeader : hoff;
	VerityChangeTuple buf = palloc0(sizeof(*buf));
	HeapTuple	tuple = VerityChangeHeapTuple(buf);
	HeapTupleHeader header;

	if (start + plain_len < hoff)
		elog(ERROR, "a logged row is too short for its null bitmap");
	header = MemoryContextAllocHuge(CurrentMemoryContext, start + plain_len);
	memset(header, 0, hoff);
	header->t_hoff = hoff;
	header->t_infomask = HEAP_HASVARWIDTH | (nulls ? HEAP_HASNULL : 0);
	HeapTupleHeaderSetNatts(header, natts);
	tuple->t_data = header;
	tuple->t_len = start + plain_len;
	ItemPointerSetInvalid(&tuple->t_self);
	*plain = (uint8 *) header + start;
	return buf;
}

/* Take the base off the front of a sealed tuple; returns the bytes behind it. */
static const uint8 *
take_base(const SealedTuple *sealed, Size at_least, xl_verity_base *base, Size *len)
{
	if (sealed->len < sizeof(*base) + at_least)
		elog(ERROR, "a logged row is too short");
	memcpy(base, sealed->bytes, sizeof(*base));
	*len = sealed->len - sizeof(*base);
	return (const uint8 *) sealed->bytes + sizeof(*base);
}

/* Ciphertext and tag of a record that went to TOAST. */
static const uint8 *
whole_cipher(const record_header *header, Size *len)
{
	Cipher	   *cipher = find_cipher(header->id.serial, header->id.sequence, 0);

	if (cipher == NULL || cipher->have != cipher->total)
		elog(ERROR, "ciphertext of logged record " UINT64_FORMAT ".%u is not complete",
			 header->id.serial, header->id.sequence);
	*len = cipher->total;
	return (const uint8 *) cipher->bytes;
}

/* Error unless the row was logged for the storage that its WAL record names. */
static void
check_storage(RelFileLocator locator, uint64 key_id, const xl_verity_base *base, uint64 serial, uint32 sequence)
{
	if (!verity_storage_tag_holds(locator, key_id, base))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("logged record " UINT64_FORMAT ".%u was not written to the table that its WAL record names",
						serial, sequence),
				 errdetail("The tag of ledger and storage does not hold."),
				 errhint("The WAL was altered, or the keystore is another cluster's. Restore the WAL from an archive.")));
}

static VerityChangeTuple
open_row(const SealedTuple *sealed, RelFileLocator locator)
{
	VerityChangeTuple row;
	xl_verity_base base;
	record_header header;
	const uint8 *bytes;
	const uint8 *cipher;
	uint8	   *plain;
	Size		header_len;
	Size		len;

	bytes = take_base(sealed, RECORD_HEADER_SIZE, &base, &len);
	if (record_header_decode(bytes, len, &header) != CORE_OK)
		elog(ERROR, "a logged row has no valid header");
	check_storage(locator, header.key_id, &base, header.id.serial, header.id.sequence);
	header_len = record_header_size(header.attributes);
	cipher = bytes + header_len;
	len -= header_len;
	if (sealed->kind == SEALED_ROW_TOASTED)
		cipher = whole_cipher(&header, &len);
	if (len < RECORD_TAG_SIZE)
		elog(ERROR, "a logged row is shorter than its tag");
	row = row_make(header.attributes, len - RECORD_TAG_SIZE, &plain);
	verity_open_logged(&base, &header, bytes, cipher, len, plain);
	return row;
}

static VerityChangeTuple
open_old(const SealedTuple *sealed, RelFileLocator locator)
{
	VerityChangeTuple row;
	xl_verity_base base;
	xl_verity_old old;
	const uint8 *bytes;
	uint8	   *plain;
	Size		len;

	bytes = take_base(sealed, sizeof(old) + RECORD_TAG_SIZE, &base, &len);
	memcpy(&old, bytes, sizeof(old));
	check_storage(locator, old.key_id, &base, old.serial, old.sequence);
	len -= sizeof(old);
	row = row_make(old.attributes, len - RECORD_TAG_SIZE, &plain);
	verity_open_old(&base, &old, bytes + sizeof(old), len, plain);
	return row;
}

/* The sealed tuple in a change's tuple; errors where it is none. */
static const SealedTuple *
get_sealed(HeapTuple tuple)
{
	const SealedTuple *sealed = (const SealedTuple *) ((char *) tuple->t_data + SEALED_TUPLE_OFFSET);
	Size		fixed = SEALED_TUPLE_OFFSET + offsetof(SealedTuple, bytes);

	if (tuple->t_len < fixed || sealed->magic != SEALED_TUPLE_MAGIC ||
		sealed->len != tuple->t_len - fixed)
		elog(ERROR, "a change of a verity table is not sealed");
	return sealed;
}

/* The key that a sealed tuple needs; 0 where it needs none, or does not say. */
static uint64
key_of(const SealedTuple *sealed)
{
	const uint8 *bytes = (const uint8 *) sealed->bytes + sizeof(xl_verity_base);
	Size		len = sealed->len - sizeof(xl_verity_base);
	record_header header;
	xl_verity_old old;

	if (sealed->kind == SEALED_PIECE || sealed->kind == SEALED_NOTHING || sealed->len < sizeof(xl_verity_base))
		return 0;
	if (sealed->kind != SEALED_OLD)
		return record_header_decode(bytes, len, &header) == CORE_OK ? header.key_id : 0;
	if (len < sizeof(old))
		return 0;
	memcpy(&old, bytes, sizeof(old));
	return old.key_id;
}

/* Does a change's tuple need a key that is not there? */
static bool
lacks_key(VerityChangeTuple tuple)
{
	uint64		key_id = tuple ? key_of(get_sealed(VerityChangeHeapTuple(tuple))) : 0;

	return key_id != 0 && !verity_logged_key_exists(key_id);
}

/* --- callbacks --- */

/* A change on its way to the plugin. */
typedef struct Passing
{
	Relation	relation;
	const ReorderBufferChange *change;
} Passing;

static void
say_change(void *arg)
{
	Passing    *passing = arg;

	errcontext("logical decoding of a change of verity table \"%s\" at LSN %X/%X, in transaction %u",
			   RelationGetRelationName(passing->relation), LSN_FORMAT_ARGS(passing->change->lsn),
			   passing->change->txn->xid);
}

/* Open one of a change's tuples, as a row that the relation can have. */
static VerityChangeTuple
open_for(const Passing *passing, const SealedTuple *sealed,
		 VerityChangeTuple (*open) (const SealedTuple *, RelFileLocator))
{
	VerityChangeTuple row = open(sealed, passing->change->data.tp.rlocator);

	verity_logical_check_row(passing->relation, VerityChangeHeapTuple(row));
	return row;
}

/* Open a change's tuples into *opened; false: it was a piece, and is done with. */
static bool
open_change(Relation relation, const ReorderBufferChange *change, ReorderBufferChange *opened)
{
	Passing		passing = {.relation = relation,.change = change};
	ErrorContextCallback context = {.callback = say_change,.arg = &passing,.previous = error_context_stack};
	const SealedTuple *sealed = NULL;
	MemoryContext caller = MemoryContextSwitchTo(opening.row_context);
	bool		is_row = true;

	error_context_stack = &context;
	*opened = *change;
	if (change->data.tp.newtuple != NULL)
		sealed = get_sealed(VerityChangeHeapTuple(change->data.tp.newtuple));
	if (sealed != NULL && (sealed->kind == SEALED_PIECE || sealed->kind == SEALED_NOTHING))
	{
		if (sealed->kind == SEALED_PIECE)
			add_piece(sealed);
		is_row = false;
	}
	else if (sealed != NULL)
		opened->data.tp.newtuple = open_for(&passing, sealed, open_row);
	if (change->data.tp.oldtuple != NULL)
		opened->data.tp.oldtuple =
			open_for(&passing, get_sealed(VerityChangeHeapTuple(change->data.tp.oldtuple)), open_old);
	error_context_stack = context.previous;
	MemoryContextSwitchTo(caller);
	return is_row;
}

/* Hand a change to the plugin, opened. */
static void
hand_over(ReorderBufferApplyChangeCB callback, ReorderBuffer *rb, ReorderBufferTXN *txn,
		  Relation relation, ReorderBufferChange *change)
{
	ReorderBufferChange opened;

	if (!verity_is_table(relation))
		callback(rb, txn, relation, change);
	else if ((!lacks_key(change->data.tp.newtuple) && !lacks_key(change->data.tp.oldtuple)) ||
			 !verity_logical_is_left_out(rb->private_data, relation))
	{
		if (open_change(relation, change, &opened))
			callback(rb, txn, relation, &opened);
		MemoryContextReset(opening.row_context);
	}
	if (change->data.tp.clear_toast_afterwards)
		drop_ciphers();
}

static void
apply_change(ReorderBuffer *rb, ReorderBufferTXN *txn, Relation relation, ReorderBufferChange *change)
{
	hand_over(opening.apply_change, rb, txn, relation, change);
}

static void
stream_change(ReorderBuffer *rb, ReorderBufferTXN *txn, Relation relation, ReorderBufferChange *change)
{
	hand_over(opening.stream_change, rb, txn, relation, change);
}

/* Where changes begin or end, no pieces are waited for. */
static void
begin(ReorderBuffer *rb, ReorderBufferTXN *txn)
{
	drop_ciphers();
	opening.begin(rb, txn);
}

static void
begin_prepare(ReorderBuffer *rb, ReorderBufferTXN *txn)
{
	drop_ciphers();
	opening.begin_prepare(rb, txn);
}

static void
commit(ReorderBuffer *rb, ReorderBufferTXN *txn, XLogRecPtr lsn)
{
	drop_ciphers();
	opening.commit(rb, txn, lsn);
}

static void
prepare(ReorderBuffer *rb, ReorderBufferTXN *txn, XLogRecPtr lsn)
{
	drop_ciphers();
	opening.prepare(rb, txn, lsn);
}

static void
stream_start(ReorderBuffer *rb, ReorderBufferTXN *txn, XLogRecPtr lsn)
{
	drop_ciphers();
	opening.stream_start(rb, txn, lsn);
}

static void
stream_stop(ReorderBuffer *rb, ReorderBufferTXN *txn, XLogRecPtr lsn)
{
	drop_ciphers();
	opening.stream_stop(rb, txn, lsn);
}

/* The reorder buffer goes, and our contexts with it. */
static void
forget(void *arg)
{
	elog(DEBUG2, "logical decoding held %zu bytes of ciphertexts at most, %zu at the end",
		 opening.cipher_bytes_max, opening.cipher_bytes);
	memset(&opening, 0, sizeof(opening));
}

/* Put our callbacks before the buffer's own. */
static void
wrap_callbacks(ReorderBuffer *rb)
{
	opening.apply_change = rb->apply_change;
	opening.stream_change = rb->stream_change;
	opening.begin = rb->begin;
	opening.begin_prepare = rb->begin_prepare;
	opening.commit = rb->commit;
	opening.prepare = rb->prepare;
	opening.stream_start = rb->stream_start;
	opening.stream_stop = rb->stream_stop;
	rb->apply_change = apply_change;
	rb->stream_change = stream_change;
	rb->begin = begin;
	rb->begin_prepare = begin_prepare;
	rb->commit = commit;
	rb->prepare = prepare;
	rb->stream_start = stream_start;
	rb->stream_stop = stream_stop;
}

void
verity_logical_open_changes(ReorderBuffer *rb)
{
	MemoryContextCallback *callback;

	if (opening.rb == rb)
		return;
	Assert(opening.rb == NULL);
	callback = MemoryContextAllocZero(rb->context, sizeof(MemoryContextCallback));
	callback->func = forget;
	MemoryContextRegisterResetCallback(rb->context, callback);
	opening.row_context = AllocSetContextCreate(rb->context, "verity decoded change",
												ALLOCSET_DEFAULT_SIZES);
	opening.cipher_context = AllocSetContextCreate(rb->context, "verity decoded ciphertexts",
												   ALLOCSET_DEFAULT_SIZES);
	wrap_callbacks(rb);
	opening.rb = rb;
}
