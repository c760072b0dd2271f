/*
 * history.c
 *	  verity_history: every committed version of a table's rows.
 *
 * Reads all pages, of each partition where the table has such, and sorts what
 * it found by position and place in the transaction.  A tombstone is shown
 * with the row that it deleted.  Rows written in a transaction whose position
 * is not decided yet are not history, and left out; so is, under verity.as_of,
 * what came later.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

#include "am/asof.h"
#include "am/map.h"
#include "am/table.h"
#include "sql/past/virtual_columns.h"

PG_FUNCTION_INFO_V1(verity_history);

#define HISTORY_COLUMNS 7
#define SORT_COLUMNS (HISTORY_COLUMNS + 1)	/* and the sequence number */

typedef struct History
{
	Relation	rel;			/* the table that is read now */
	VerityRel  *vrel;
	TupleDesc	row_desc;		/* its row type, blessed */
	VirtualColumns *virtual_columns;	/* NULL: none */
	Datum		filter;			/* jsonb that a row must contain */
	Tuplesortstate *sort;
	TupleTableSlot *slot;		/* what the sort takes and gives */
	VerityEntry *entry;			/* of the last position asked for */
	MemoryContext entry_context;
	MemoryContext page_context; /* reset with each page */
} History;

/* Errors unless the caller may read all of the table. */
static void
check_privileges(Relation rel)
{
	if (pg_class_aclcheck(RelationGetRelid(rel), GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(rel->rd_rel->relkind),
					   RelationGetRelationName(rel));
	if (check_enable_rls(RelationGetRelid(rel), InvalidOid, false) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("history of \"%s\" cannot be read under row security", RelationGetRelationName(rel)),
				 errhint("Read it as the owner or as a role that bypasses row security.")));
}

/* Errors unless the table keeps history. */
static void
check_keeps_history(Relation rel)
{
	if (!verity_is_table(rel))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a verity table", RelationGetRelationName(rel)),
				 errhint("History is kept by tables created USING verity.")));
	if (!verity_rel(rel)->journalled)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not journalled", RelationGetRelationName(rel)),
				 errhint("History is kept by permanent tables.")));
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

/* The row of a version as jsonb. */
static Datum
row_jsonb(History *history, HeapTuple record)
{
	HeapTuple	row = verity_open_tuple(history->vrel, record);
	Datum		values[MaxHeapAttributeNumber];
	bool		nulls[MaxHeapAttributeNumber];
	HeapTuple	formed;
	Datum		json;

	/* a version from before a column was added lacks it: form it anew */
	heap_deform_tuple(row, RelationGetDescr(history->rel), values, nulls);
	if (history->virtual_columns)
		virtual_columns_fill(history->virtual_columns, values, nulls);
	formed = heap_form_tuple(history->row_desc, values, nulls);
	json = DirectFunctionCall1(row_to_json, HeapTupleGetDatum(formed));
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(TextDatumGetCString(json)));
}

/* The record whose row a tombstone shows: the version that it deleted. */
static Datum
deleted_row_jsonb(History *history, HeapTuple tombstone)
{
	ItemPointerData prev = verity_get_back_links(tombstone->t_data).prev;
	Buffer		buffer = InvalidBuffer;
	HeapTupleData deleted;
	Datum		result;

	if (!verity_fetch_record(history->rel, &prev, &buffer, &deleted, false))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the version that a tombstone of \"%s\" deleted is not there",
						RelationGetRelationName(history->rel)),
				 errhint("Run verity_verify().")));
	result = row_jsonb(history, &deleted);
	ReleaseBuffer(buffer);
	return result;
}

/* The record id as text, as verity_verify writes it. */
static Datum
record_text(const record_id *id)
{
	return CStringGetTextDatum(psprintf("(" UINT64_FORMAT ",%u)", id->serial, id->sequence));
}

/* Give a version to the sort, if the filter lets it through. */
static void
put_version(History *history, HeapTuple record, VerityPosition position)
{
	static const char *const operations[] = {"", "insert", "update", "delete"};
	VerityEntry *entry = entry_at(history, position);
	entry_metadata *metadata = &entry->stored.metadata;
	Datum	   *values = history->slot->tts_values;
	bool	   *nulls = history->slot->tts_isnull;
	record_header header;
	Datum		row;

	if (record_header_decode(VerityGetSealed(record->t_data),
							 record->t_len - verity_sealed_offset(record->t_data), &header) != CORE_OK)
		return;					/* asof_begin_position decoded it before */
	row = header.kind == RECORD_TOMBSTONE ? deleted_row_jsonb(history, record) :
		row_jsonb(history, record);
	if (!DatumGetBool(DirectFunctionCall2(jsonb_contains, row, history->filter)))
		return;

	ExecClearTuple(history->slot);
	memset(nulls, 0, SORT_COLUMNS * sizeof(bool));
	values[0] = Int64GetDatum((int64) position);
	values[1] = TimestampTzGetDatum(entry->stored.core.time);
	values[2] = CStringGetTextDatum(operations[header.kind]);
	nulls[3] = metadata->current_user == NULL;
	values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(metadata->current_user);
	nulls[4] = metadata->reason == NULL;
	values[4] = nulls[4] ? (Datum) 0 : CStringGetTextDatum(metadata->reason);
	values[5] = record_text(&header.id);
	values[6] = row;
	values[7] = Int64GetDatum((int64) header.id.sequence);
	ExecStoreVirtualTuple(history->slot);
	tuplesort_puttupleslot(history->sort, history->slot);
}

/* Put the versions on one page; the page is read from a copy. */
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
		if (ItemIdGetOffset(lp) + ItemIdGetLength(lp) > BLCKSZ ||
			!verity_is_long_enough((HeapTupleHeader) PageGetItem(page, lp), ItemIdGetLength(lp)))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("item (%u,%u) of table \"%s\" is no record", blkno, off,
							RelationGetRelationName(history->rel)),
					 errhint("Run verity_verify() on the table.")));
		record.t_data = (HeapTupleHeader) PageGetItem(page, lp);
		record.t_len = ItemIdGetLength(lp);
		record.t_tableOid = RelationGetRelid(history->rel);
		ItemPointerSet(&record.t_self, blkno, off);
		position = verity_asof_begin_position(record.t_data);
		if (position != 0 && (verity_asof_bound == 0 || position <= verity_asof_bound))
			put_version(history, &record, position);
	}
}

/* Put all versions of one table. */
static void
read_table(History *history, Oid relid)
{
	BlockNumber blocks;

	history->rel = relation_open(relid, AccessShareLock);
	check_keeps_history(history->rel);
	history->vrel = verity_rel(history->rel);
	history->row_desc = BlessTupleDesc(CreateTupleDescCopy(RelationGetDescr(history->rel)));
	history->virtual_columns = virtual_columns_begin(history->rel);
	blocks = RelationGetNumberOfBlocks(history->rel);
	for (BlockNumber blkno = 0; blkno < blocks; blkno++)
	{
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		if (verity_block_is_special(blkno))
			continue;
		old = MemoryContextSwitchTo(history->page_context);
		read_page(history, blkno);
		ExecClearTuple(history->slot);
		MemoryContextSwitchTo(old);
		MemoryContextReset(history->page_context);
	}
	if (history->virtual_columns)
		virtual_columns_end(history->virtual_columns);
	relation_close(history->rel, AccessShareLock);
}

/* Put all versions of the table, or of its partitions. */
static void
read_all(History *history, Oid relid)
{
	Relation	rel = verity_open_argument(relid, AccessShareLock);
	ListCell   *cell;

	check_privileges(rel);
	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		read_table(history, relid);
	else
	{
		foreach(cell, find_all_inheritors(relid, AccessShareLock, NULL))
		{
			if (get_rel_relkind(lfirst_oid(cell)) != RELKIND_PARTITIONED_TABLE)
				read_table(history, lfirst_oid(cell));
		}
	}
	relation_close(rel, AccessShareLock);
}

static void
begin_sort(History *history, TupleDesc result)
{
	TupleDesc	desc = CreateTemplateTupleDesc(SORT_COLUMNS);
	AttrNumber	columns[] = {1, SORT_COLUMNS};
	Oid			operators[] = {Int8LessOperator, Int8LessOperator};
	Oid			collations[] = {InvalidOid, InvalidOid};
	bool		nulls_first[] = {false, false};

	for (AttrNumber column = 1; column <= HISTORY_COLUMNS; column++)
		TupleDescCopyEntry(desc, column, result, column);
	TupleDescInitEntry(desc, SORT_COLUMNS, "sequence", INT8OID, -1, 0);
	history->slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	history->sort = tuplesort_begin_heap(desc, lengthof(columns), columns, operators, collations,
										 nulls_first, work_mem, NULL, TUPLESORT_NONE);
}

/* Hand out what was sorted. */
static void
return_sorted(History *history, ReturnSetInfo *rsinfo)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(history->slot->tts_tupleDescriptor,
													&TTSOpsMinimalTuple);

	tuplesort_performsort(history->sort);
	while (tuplesort_gettupleslot(history->sort, true, false, slot, NULL))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, slot->tts_values, slot->tts_isnull);
	}
	ExecDropSingleTupleTableSlot(slot);
	ExecDropSingleTupleTableSlot(history->slot);
	tuplesort_end(history->sort);
}

Datum
verity_history(PG_FUNCTION_ARGS)
{
	History		history = {0};

	InitMaterializedSRF(fcinfo, 0);
	history.filter = PG_GETARG_DATUM(1);
	history.entry_context = AllocSetContextCreate(CurrentMemoryContext, "verity history entry",
												  ALLOCSET_DEFAULT_SIZES);
	history.page_context = AllocSetContextCreate(CurrentMemoryContext, "verity history page",
												 ALLOCSET_DEFAULT_SIZES);
	begin_sort(&history, ((ReturnSetInfo *) fcinfo->resultinfo)->setDesc);
	read_all(&history, PG_GETARG_OID(0));
	return_sorted(&history, (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}
