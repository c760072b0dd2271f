/*
 * logical_log.c
 *	  What the WAL of a change holds for logical decoding.
 *
 * All of it is made before the change's critical section.  Pieces of a
 * ciphertext are WAL records of their own, which replay skips: where the
 * change does not come about after all, decoding drops them.
 *
 * What identifies the old row is chosen as heapam.c's ExtractReplicaIdentity
 * does, and sealed anew: the old record itself may be anywhere, long, or
 * sealed under a generation that this transaction knows nothing of.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/xact.h"
#include "access/xloginsert.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/relcache.h"

#include "am/draft.h"
#include "am/logical/logical.h"
#include "am/wal.h"

/* A WAL record that is longer than memory can hold could never be read. */
#define LOGICAL_OLD_MAX ((Size) 1000 * 1024 * 1024)

bool
verity_logical_wanted(Relation rel, int options)
{
	return RelationIsLogicallyLogged(rel) && !(options & HEAP_INSERT_NO_LOGICAL);
}

void
verity_logical_begin(Relation rel, VerityRel *vrel, int options, VerityLogical *logical)
{
	memset(logical, 0, sizeof(*logical));
	logical->on = verity_logical_wanted(rel, options);
	if (logical->on)
		verity_base_fill(rel, vrel, &logical->base);
}

void
verity_logical_end(VerityLogical *logical)
{
	if (logical->old)
		pfree(logical->old);
	logical->old = NULL;
}

/* The row with nothing but these columns. */
static HeapTuple
only_columns(TupleDesc desc, HeapTuple row, Bitmapset *columns)
{
	Datum		values[MaxHeapAttributeNumber];
	bool		nulls[MaxHeapAttributeNumber];

	heap_deform_tuple(row, desc, values, nulls);
	for (int i = 0; i < desc->natts; i++)
		if (!bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, columns))
			nulls[i] = true;
	return heap_form_tuple(desc, values, nulls);
}

/* Seal this row as the change's old row. */
static void
seal_row(Relation rel, VerityRel *vrel, HeapTuple row, const record_id *id, VerityLogical *logical)
{
	xl_verity_old header = {.key_id = vrel->key_id,.serial = id->serial,.sequence = id->sequence};
	const uint8 *plain;
	Size		len;

	plain = verity_plain_bytes(row, &header.attributes, &len);
	if (len > LOGICAL_OLD_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("old row of verity table \"%s\" is too long to be logged: %zu bytes",
						RelationGetRelationName(rel), len),
				 errhint("Give the table another replica identity than FULL.")));
	logical->old_len = sizeof(header) + len + RECORD_TAG_SIZE;
	logical->old = palloc(logical->old_len);
	memcpy(logical->old, &header, sizeof(header));
	verity_seal_old(&logical->base, &header, plain, len, (uint8 *) logical->old + sizeof(header));
}

bool
verity_logical_needs_old(Relation rel)
{
	char		identity = rel->rd_rel->relreplident;
	Bitmapset  *columns;
	bool		result;

	if (!verity_logical_wanted(rel, 0) || identity == REPLICA_IDENTITY_NOTHING)
		return false;
	if (identity == REPLICA_IDENTITY_FULL)
		return true;
	columns = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_IDENTITY_KEY);
	result = !bms_is_empty(columns);
	bms_free(columns);
	return result;
}

void
verity_logical_old(Relation rel, VerityRel *vrel, HeapTuple old, const record_id *id,
				   VerityLogical *logical)
{
	Bitmapset  *columns;
	HeapTuple	key;

	Assert(logical->on);
	if (rel->rd_rel->relreplident == REPLICA_IDENTITY_FULL)
	{
		seal_row(rel, vrel, old, id, logical);
		return;
	}
	columns = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_IDENTITY_KEY);
	/* the index may have been dropped while the row's lock was waited for */
	if (bms_is_empty(columns))
		return;
	key = only_columns(RelationGetDescr(rel), old, columns);
	seal_row(rel, vrel, key, id, logical);
	heap_freetuple(key);
	bms_free(columns);
}

void
verity_logical_register(const VerityLogical *logical)
{
	if (!logical->on)
		return;
	XLogRegisterData((char *) &logical->base, sizeof(logical->base));
	if (logical->old)
		XLogRegisterData(logical->old, logical->old_len);
}

void
verity_logical_log_cipher(Relation rel, const record_id *id, const char *cipher, Size len)
{
	xl_verity_piece piece = {.locator = rel->rd_locator,.sequence = id->sequence,.serial = id->serial,.total = len};

	(void) GetCurrentTransactionId();
	for (Size offset = 0; offset < len; offset += LOGICAL_PIECE_MAX)
	{
		CHECK_FOR_INTERRUPTS();
		piece.offset = offset;
		XLogBeginInsert();
		XLogRegisterData((char *) &piece, sizeof(piece));
		XLogRegisterData((char *) cipher + offset, Min(len - offset, LOGICAL_PIECE_MAX));
		XLogSetRecordFlags(XLOG_INCLUDE_ORIGIN);
		(void) XLogInsert(VERITY_RMGR_ID, XLOG_VERITY_PIECE);
	}
}
