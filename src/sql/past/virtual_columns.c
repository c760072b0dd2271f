/*
 * virtual_columns.c
 *	  Virtual generated columns of a row that was not read by a query.
 *
 * A query has the rewriter put the expression in the column's place; who reads
 * records otherwise computes it here.  PostgreSQL allows no functions of users
 * in these expressions, so that they can be run as whoever reads.
 */
#include "postgres.h"

#include "access/tupdesc.h"
#include "executor/executor.h"
#include "rewrite/rewriteHandler.h"

#include "compat.h"
#include "sql/past/virtual_columns.h"

struct VirtualColumns
{
	EState	   *estate;
	TupleTableSlot *slot;		/* the row */
	ExprState **expressions;	/* for each column; NULL: not a virtual one */
};

static bool
is_virtual(Form_pg_attribute att)
{
	return !att->attisdropped && att->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL;
}

VirtualColumns *
virtual_columns_begin(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	VirtualColumns *columns = NULL;

	for (int i = 0; i < desc->natts; i++)
	{
		if (!is_virtual(TupleDescAttr(desc, i)))
			continue;
		if (columns == NULL)
		{
			columns = palloc(sizeof(VirtualColumns));
			columns->estate = CreateExecutorState();
			columns->slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
			columns->slot->tts_tableOid = RelationGetRelid(rel);
			columns->expressions = palloc0(desc->natts * sizeof(ExprState *));
		}
		columns->expressions[i] = ExecPrepareExpr((Expr *) build_column_default(rel, i + 1),
												  columns->estate);
	}
	return columns;
}

void
virtual_columns_fill(VirtualColumns *columns, Datum *values, bool *nulls)
{
	ExprContext *econtext = GetPerTupleExprContext(columns->estate);
	TupleTableSlot *slot = columns->slot;
	int			natts = slot->tts_tupleDescriptor->natts;

	ExecClearTuple(slot);
	memcpy(slot->tts_values, values, natts * sizeof(Datum));
	memcpy(slot->tts_isnull, nulls, natts * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	ResetExprContext(econtext);
	econtext->ecxt_scantuple = slot;
	for (int i = 0; i < natts; i++)
	{
		if (columns->expressions[i] != NULL)
			values[i] = ExecEvalExpr(columns->expressions[i], econtext, &nulls[i]);
	}
}

void
virtual_columns_end(VirtualColumns *columns)
{
	ExecDropSingleTupleTableSlot(columns->slot);
	FreeExecutorState(columns->estate);
	pfree(columns->expressions);
	pfree(columns);
}
