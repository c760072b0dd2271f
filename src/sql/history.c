/*
 * history.c
 *	  verity_history: every committed version of a table's rows.
 *
 * Reads all pages in order; a tombstone is shown with the row that it
 * deleted.  Rows written in a transaction whose position is not decided yet
 * are not history, and left out.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/typcache.h"

#include "am/asof.h"
#include "am/map.h"
#include "am/table.h"

PG_FUNCTION_INFO_V1(verity_history_rows);

#define HISTORY_COLUMNS 7

typedef struct History
{
	Relation	rel;
	VerityRel  *vrel;
	TupleDesc	row_desc;		/* blessed */
	ReturnSetInfo *rsinfo;
	VerityEntry *entry;			/* of the last position asked for */
	MemoryContext entry_context;
} History;

/* Errors unless the caller may read all of the table. */
static void
check_privileges(Relation rel)
{
	if (!verity_is_table(rel))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a verity table", RelationGetRelationName(rel)),
				 errhint("History is kept by tables created USING verity.")));
	if (pg_class_aclcheck(RelationGetRelid(rel), GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, RelationGetRelationName(rel));
	if (check_enable_rls(RelationGetRelid(rel), InvalidOid, false) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("history of \"%s\" is not to be had under row security", RelationGetRelationName(rel)),
				 errhint("Read it as the owner or as a role that bypasses row security.")));
}

/* The entry at a position, kept for the records that follow. */
static VerityEntry *
entry_at(History *history, VerityPosition position)
{
	MemoryContext old;

	if (history->entry && history->entry->stored.core.position == position)
		return history->entry;
	MemoryContextReset(history->entry_context);
	old = MemoryContextSwitchTo(history->entry_context);
	history->entry = verity_journal_read(position);
	MemoryContextSwitchTo(old);
	if (history->entry == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("journal entry " UINT64_FORMAT " cannot be read", position),
				 errhint("Run verity_verify().")));
	return history->entry;
}

/* The row of a version as json. */
static Datum
row_json(History *history, HeapTuple record)
{
	HeapTuple	row = verity_open_tuple(history->vrel, record);
	Datum		values[MaxHeapAttributeNumber];
	bool		nulls[MaxHeapAttributeNumber];
	HeapTuple	formed;

	/* a version from before a column was added lacks it: form it anew */
	heap_deform_tuple(row, RelationGetDescr(history->rel), values, nulls);
	formed = heap_form_tuple(history->row_desc, values, nulls);
	return DirectFunctionCall1(row_to_json, HeapTupleGetDatum(formed));
}

/* The record whose row a tombstone shows: the version that it deleted. */
static Datum
deleted_row_json(History *history, HeapTuple tombstone)
{
	ItemPointerData prev = VerityGetEnvelope(tombstone->t_data)->prev;
	Buffer		buffer = InvalidBuffer;
	HeapTupleData deleted;
	Datum		result;

	if (!verity_fetch_record(history->rel, &prev, &buffer, &deleted, false))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the version that a tombstone of \"%s\" deleted is not there",
						RelationGetRelationName(history->rel)),
				 errhint("Run verity_verify().")));
	result = row_json(history, &deleted);
	ReleaseBuffer(buffer);
	return result;
}

static void
emit_version(History *history, HeapTuple record, VerityPosition position)
{
	static const char *const operations[] = {"", "insert", "update", "delete"};
	VerityEntry *entry = entry_at(history, position);
	entry_metadata *metadata = &entry->stored.metadata;
	Datum		values[HISTORY_COLUMNS];
	bool		nulls[HISTORY_COLUMNS] = {false};
	record_header header;

	if (record_header_decode(VerityGetSealed(record->t_data), record->t_len - SEALED_OFFSET,
							 &header) != CORE_OK)
		return;					/* asof_begin_position decoded it before */
	values[0] = Int64GetDatum((int64) position);
	values[1] = TimestampTzGetDatum(entry->stored.core.time);
	values[2] = CStringGetTextDatum(operations[header.kind]);
	nulls[3] = metadata->current_user == NULL;
	values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(metadata->current_user);
	nulls[4] = metadata->reason == NULL;
	values[4] = nulls[4] ? (Datum) 0 : CStringGetTextDatum(metadata->reason);
	values[5] = CStringGetTextDatum(psprintf("(" UINT64_FORMAT ",%u)", header.id.serial, header.id.sequence));
	values[6] = header.kind == RECORD_TOMBSTONE ? deleted_row_json(history, record) :
		row_json(history, record);
	tuplestore_putvalues(history->rsinfo->setResult, history->rsinfo->setDesc, values, nulls);
}

/* Emit the versions on one page; the page is read from a copy. */
static void
read_page(History *history, BlockNumber blkno)
{
	PGAlignedBlock copy;
	Page		page = (Page) copy.data;
	Buffer		buffer = ReadBuffer(history->rel, blkno);

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	memcpy(copy.data, BufferGetPage(buffer), BLCKSZ);
	UnlockReleaseBuffer(buffer);
	for (OffsetNumber off = FirstOffsetNumber; off <= PageGetMaxOffsetNumber(page); off++)
	{
		ItemId		lp = PageGetItemId(page, off);
		HeapTupleData record;
		VerityPosition position;

		if (!ItemIdIsNormal(lp))
			continue;
		record.t_data = (HeapTupleHeader) PageGetItem(page, lp);
		record.t_len = ItemIdGetLength(lp);
		record.t_tableOid = RelationGetRelid(history->rel);
		ItemPointerSet(&record.t_self, blkno, off);
		position = verity_asof_begin_position(record.t_data);
		if (position != 0)
			emit_version(history, &record, position);
	}
}

Datum
verity_history_rows(PG_FUNCTION_ARGS)
{
	History		history = {0};
	MemoryContext row_context;
	BlockNumber blocks;

	history.rel = table_open(PG_GETARG_OID(0), AccessShareLock);
	check_privileges(history.rel);
	history.vrel = verity_rel(history.rel);
	history.row_desc = BlessTupleDesc(CreateTupleDescCopy(RelationGetDescr(history.rel)));
	history.entry_context = AllocSetContextCreate(CurrentMemoryContext, "verity history entry",
												  ALLOCSET_DEFAULT_SIZES);
	row_context = AllocSetContextCreate(CurrentMemoryContext, "verity history page",
										ALLOCSET_DEFAULT_SIZES);
	InitMaterializedSRF(fcinfo, 0);
	history.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	blocks = RelationGetNumberOfBlocks(history.rel);
	for (BlockNumber blkno = 0; blkno < blocks; blkno++)
	{
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		if (verity_block_is_special(blkno))
			continue;
		old = MemoryContextSwitchTo(row_context);
		read_page(&history, blkno);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row_context);
	}
	table_close(history.rel, AccessShareLock);
	return (Datum) 0;
}
