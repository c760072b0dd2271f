/*
 * verify_sort.c
 *	  Sorts of byte strings whose first bytes are the key.
 *
 * Most of what verification sorts comes in order, or nearly: records stand in
 * a table as they were written.  So a tuple that is not before the last of the
 * run is appended to the run, which is memory and then a file; only the others
 * go to PostgreSQL's external sort of bytea.  Reading merges the two.
 *
 * A sort belongs to the resource owner that began it, wherever it is filled:
 * its files outlive a guard's subtransaction (verify_guard).
 */
#include "postgres.h"

#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "sql/verify/verify.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* In the run each tuple stands behind its length, both aligned. */
#define RUN_HEADER MAXALIGN(sizeof(uint32))
#define RUN_INITIAL 1024

/* The tuple of a side that is to be given next. */
typedef struct SortSide
{
	const char *tuple;			/* NULL at its end */
	Size		len;
	bool		used;			/* was given: the next one is to be had */
} SortSide;

struct VerifySort
{
	ResourceOwner owner;
	MemoryContext memory;
	int			memory_kb;
	Size		size_max;

	char	   *run;			/* the run, or what of it is not in the file yet */
	Size		run_used;
	Size		run_size;
	Size		run_at;			/* reading: the next tuple */
	char	   *last;			/* the run's last tuple, while it grows */
	Size		last_len;
	BufFile    *file;			/* or NULL */
	char	   *file_out;		/* tuple read from it */

	Tuplesortstate *state;		/* what came out of order; NULL: nothing */
	MemoryContext scratch;		/* of the tuple that it gave */
	char	   *buffer;			/* varlena being put */
	char	   *out;			/* tuple that it gave, aligned */

	SortSide	from_run;
	SortSide	from_state;
};

/* Begin a sort of tuples of up to size_max bytes. */
VerifySort *
verify_sort_begin(Size size_max, int memory_kb)
{
	VerifySort *sort = palloc0(sizeof(VerifySort));

	sort->owner = CurrentResourceOwner;
	sort->memory = CurrentMemoryContext;
	sort->memory_kb = Max(memory_kb, 128) / 2;	/* for the run, and for the rest */
	sort->size_max = size_max;
	sort->run_size = RUN_INITIAL;
	sort->run = palloc(sort->run_size);
	sort->last = palloc(size_max);
	return sort;
}

/* As memcmp, shorter ones first. */
static inline int
compare(const char *a, Size a_len, const char *b, Size b_len)
{
	int			order = memcmp(a, b, Min(a_len, b_len));

	return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

/* --- putting --- */

/* Write the run's memory to its file. */
static void
run_flush(VerifySort *sort)
{
	if (sort->file == NULL)
		sort->file = BufFileCreateTemp(false);
	BufFileWrite(sort->file, sort->run, sort->run_used);
	sort->run_used = 0;
}

/* Room for that many bytes behind what the run has. */
static char *
run_reserve(VerifySort *sort, Size size)
{
	Size		limit = (Size) sort->memory_kb * 1024;
	char	   *at;

	if (sort->run_used + size > sort->run_size && sort->run_used + size > limit)
		run_flush(sort);
	while (sort->run_used + size > sort->run_size)
	{
		sort->run_size *= 2;
		sort->run = repalloc_huge(sort->run, sort->run_size);
	}
	at = sort->run + sort->run_used;
	sort->run_used += size;
	return at;
}

static void
run_put(VerifySort *sort, const void *tuple, Size len)
{
	char	   *at = run_reserve(sort, RUN_HEADER + MAXALIGN(len));
	uint32		len32 = len;

	memset(at, 0, RUN_HEADER);
	memcpy(at, &len32, sizeof(len32));
	memcpy(at + RUN_HEADER, tuple, len);
	memset(at + RUN_HEADER + len, 0, MAXALIGN(len) - len);
	memcpy(sort->last, tuple, len);
	sort->last_len = len;
}

/* A tuple that comes out of order. */
static void
state_put(VerifySort *sort, const void *tuple, Size len)
{
	if (sort->state == NULL)
	{
		sort->buffer = palloc(VARHDRSZ + sort->size_max);
		sort->scratch = AllocSetContextCreate(CurrentMemoryContext, "verity sorted tuple",
											  ALLOCSET_SMALL_SIZES);
		sort->state = tuplesort_begin_datum(BYTEAOID, ByteaLessOperator, InvalidOid, false,
											Max(sort->memory_kb, 64), NULL, TUPLESORT_RANDOMACCESS);
	}
	SET_VARSIZE(sort->buffer, VARHDRSZ + len);
	memcpy(VARDATA(sort->buffer), tuple, len);
	tuplesort_putdatum(sort->state, PointerGetDatum(sort->buffer), false);
}

/* A longer tuple than was said: make room wherever one is kept. */
static void
raise_size_max(VerifySort *sort, Size len)
{
	sort->size_max = len;
	sort->last = repalloc(sort->last, len);
	if (sort->buffer)
		sort->buffer = repalloc(sort->buffer, VARHDRSZ + len);
}

/* Add a tuple. */
void
verify_sort_put(VerifySort *sort, const void *tuple, Size len)
{
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext memory = MemoryContextSwitchTo(sort->memory);

	CurrentResourceOwner = sort->owner;
	if (len > sort->size_max)
		raise_size_max(sort, len);
	if (compare(tuple, len, sort->last, sort->last_len) >= 0)
		run_put(sort, tuple, len);
	else
		state_put(sort, tuple, len);
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(memory);
}

/* --- reading --- */

/* Read from the first tuple on. */
static void
read_from_start(VerifySort *sort)
{
	sort->run_at = 0;
	if (sort->file != NULL && BufFileSeek(sort->file, 0, 0L, SEEK_SET) != 0)
		elog(ERROR, "could not rewind a temporary file");
	sort->from_run.used = true;
	sort->from_state.used = true;
	sort->from_state.tuple = NULL;
}

void
verify_sort_perform(VerifySort *sort)
{
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext memory = MemoryContextSwitchTo(sort->memory);

	CurrentResourceOwner = sort->owner;
	if (sort->file != NULL)
	{
		run_flush(sort);
		pfree(sort->run);
		sort->run = NULL;
		sort->file_out = palloc(sort->size_max);
	}
	if (sort->state != NULL)
	{
		sort->out = palloc(sort->size_max);
		tuplesort_performsort(sort->state);
	}
	read_from_start(sort);
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(memory);
}

/* The run's next tuple. */
static void
run_next(VerifySort *sort, SortSide *side)
{
	char		header[RUN_HEADER];
	uint32		len;
	Size		got;

	side->tuple = NULL;
	if (sort->file == NULL)
	{
		if (sort->run_at == sort->run_used)
			return;
		memcpy(&len, sort->run + sort->run_at, sizeof(len));
		side->tuple = sort->run + sort->run_at + RUN_HEADER;
		sort->run_at += RUN_HEADER + MAXALIGN(len);
	}
	else
	{
		char		padding[MAXIMUM_ALIGNOF];

		got = BufFileRead(sort->file, header, RUN_HEADER);
		if (got == 0)
			return;
		memcpy(&len, header, sizeof(len));
		if (got != RUN_HEADER || len > sort->size_max ||
			BufFileRead(sort->file, sort->file_out, len) != len ||
			BufFileRead(sort->file, padding, MAXALIGN(len) - len) != MAXALIGN(len) - len)
			elog(ERROR, "could not read a temporary file");
		side->tuple = sort->file_out;
	}
	side->len = len;
}

/* The next tuple of those that came out of order. */
static void
state_next(VerifySort *sort, SortSide *side)
{
	MemoryContext old;
	Datum		datum;
	bool		isnull;
	bool		found;

	side->tuple = NULL;
	if (sort->state == NULL)
		return;
	old = MemoryContextSwitchTo(sort->scratch);
	MemoryContextReset(sort->scratch);
	found = tuplesort_getdatum(sort->state, true, true, &datum, &isnull, NULL);
	MemoryContextSwitchTo(old);
	if (!found)
		return;
	side->len = VARSIZE_ANY_EXHDR(DatumGetPointer(datum));
	memcpy(sort->out, VARDATA_ANY(DatumGetPointer(datum)), side->len);
	side->tuple = sort->out;
}

/* The next tuple in order, aligned, valid until the call after. */
const void *
verify_sort_next(VerifySort *sort, Size *len)
{
	SortSide   *run = &sort->from_run;
	SortSide   *state = &sort->from_state;
	SortSide   *first;

	if (run->used)
		run_next(sort, run);
	if (state->used)
		state_next(sort, state);
	run->used = state->used = false;
	if (run->tuple == NULL)
		first = state;
	else if (state->tuple == NULL)
		first = run;
	else
		first = compare(run->tuple, run->len, state->tuple, state->len) <= 0 ? run : state;
	first->used = first->tuple != NULL;
	*len = first->len;
	return first->tuple;
}

/* Read from the first tuple again. */
void
verify_sort_rewind(VerifySort *sort)
{
	if (sort->state != NULL)
		tuplesort_rescan(sort->state);
	read_from_start(sort);
}

void
verify_sort_end(VerifySort *sort)
{
	if (sort->state != NULL)
	{
		tuplesort_end(sort->state);
		MemoryContextDelete(sort->scratch);
		pfree(sort->buffer);
	}
	if (sort->out)
		pfree(sort->out);
	if (sort->file != NULL)
		BufFileClose(sort->file);
	if (sort->file_out)
		pfree(sort->file_out);
	if (sort->run)
		pfree(sort->run);
	pfree(sort->last);
	pfree(sort);
}
