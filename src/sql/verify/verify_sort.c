/*
 * verify_sort.c
 *	  Sorts of byte strings whose first bytes are the key: PostgreSQL's
 *	  external sort of bytea, without a palloc for each tuple put.
 */
#include "postgres.h"

#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "sql/verify/verify.h"
#include "utils/memutils.h"

struct VerifySort
{
	Tuplesortstate *state;
	MemoryContext scratch;		/* of the tuple that next gave */
	Size		size_max;
	char	   *buffer;			/* varlena being put */
	char	   *out;			/* tuple given last, aligned */
	Size		out_size;
};

/* Begin a sort of tuples of up to size_max bytes. */
VerifySort *
verify_sort_begin(Size size_max, int memory_kb)
{
	VerifySort *sort = palloc0(sizeof(VerifySort));

	sort->size_max = size_max;
	sort->buffer = palloc(VARHDRSZ + size_max);
	sort->scratch = AllocSetContextCreate(CurrentMemoryContext, "verity sorted tuple",
										  ALLOCSET_SMALL_SIZES);
	sort->state = tuplesort_begin_datum(BYTEAOID, ByteaLessOperator, InvalidOid, false,
										Max(memory_kb, 64), NULL, TUPLESORT_RANDOMACCESS);
	return sort;
}

/* Add a tuple. */
void
verify_sort_put(VerifySort *sort, const void *tuple, Size len)
{
	if (len > sort->size_max)
	{
		sort->size_max = len;
		sort->buffer = repalloc(sort->buffer, VARHDRSZ + len);
	}
	SET_VARSIZE(sort->buffer, VARHDRSZ + len);
	memcpy(VARDATA(sort->buffer), tuple, len);
	tuplesort_putdatum(sort->state, PointerGetDatum(sort->buffer), false);
}

void
verify_sort_perform(VerifySort *sort)
{
	tuplesort_performsort(sort->state);
}

/* The next tuple in order, aligned, valid until the call after. */
const void *
verify_sort_next(VerifySort *sort, Size *len)
{
	MemoryContext old = MemoryContextSwitchTo(sort->scratch);
	Datum		datum;
	bool		isnull;
	bool		found;

	MemoryContextReset(sort->scratch);
	found = tuplesort_getdatum(sort->state, true, true, &datum, &isnull, NULL);
	MemoryContextSwitchTo(old);
	if (!found)
		return NULL;
	*len = VARSIZE_ANY_EXHDR(DatumGetPointer(datum));
	if (*len > sort->out_size)
	{
		sort->out_size = Max(*len, sort->size_max);
		sort->out = sort->out ? repalloc(sort->out, sort->out_size) :
			MemoryContextAlloc(GetMemoryChunkContext(sort), sort->out_size);
	}
	memcpy(sort->out, VARDATA_ANY(DatumGetPointer(datum)), *len);
	return sort->out;
}

/* Read from the first tuple again. */
void
verify_sort_rewind(VerifySort *sort)
{
	tuplesort_rescan(sort->state);
}

void
verify_sort_end(VerifySort *sort)
{
	tuplesort_end(sort->state);
	MemoryContextDelete(sort->scratch);
	pfree(sort->buffer);
	if (sort->out)
		pfree(sort->out);
	pfree(sort);
}
