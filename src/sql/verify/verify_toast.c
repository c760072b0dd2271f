/*
 * verify_toast.c
 *	  Ciphertext of TOASTed records, fetched raw, chunk by chunk.
 *
 * Unlike toast_fetch_datum, a missing or misshapen chunk is not an error.  An
 * error below (a damaged TOAST index, an unreadable page) becomes a finding
 * too where the fetch may be rolled back, which it may not in a worker: then
 * the whole table is read again without workers.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/heaptoast.h"
#include "access/table.h"
#include "access/toast_internals.h"
#include "sql/verify/verify.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

typedef struct ToastFetch
{
	VerifyScan *scan;
	varatt_external pointer;
	Size		len;
	const char *why;
} ToastFetch;

/* Put one chunk in its place; false when its shape is wrong. */
static bool
take_chunk(ToastFetch *fetch, TupleDesc desc, HeapTuple tuple, int32 expected_seq)
{
	bool		isnull;
	int32		seq;
	struct varlena *chunk;
	Size		at = (Size) expected_seq * TOAST_MAX_CHUNK_SIZE;
	Size		want = Min(TOAST_MAX_CHUNK_SIZE, fetch->len - at);

	seq = DatumGetInt32(fastgetattr(tuple, 2, desc, &isnull));
	if (isnull || seq != expected_seq || at >= fetch->len)
		return false;
	chunk = (struct varlena *) DatumGetPointer(fastgetattr(tuple, 3, desc, &isnull));
	if (isnull || VARATT_IS_EXTERNAL(chunk) || VARATT_IS_COMPRESSED(chunk) ||
		VARSIZE_ANY_EXHDR(chunk) != want)
		return false;
	memcpy(fetch->scan->toast_buffer + at, VARDATA_ANY(chunk), want);
	return true;
}

/* Collect the chunks in order. */
static void
fetch_chunks(void *arg)
{
	ToastFetch *fetch = arg;
	Relation	toastrel = table_open(fetch->pointer.va_toastrelid, AccessShareLock);
	Relation   *indexes;
	int			nindexes;
	int			valid = toast_open_indexes(toastrel, AccessShareLock, &indexes, &nindexes);
	int32		total = (fetch->len + TOAST_MAX_CHUNK_SIZE - 1) / TOAST_MAX_CHUNK_SIZE;
	int32		next = 0;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(fetch->pointer.va_valueid));
	scan = systable_beginscan_ordered(toastrel, indexes[valid], get_toast_snapshot(), 1, &key);
	while ((tuple = systable_getnext_ordered(scan, ForwardScanDirection)) != NULL)
	{
		if (!take_chunk(fetch, RelationGetDescr(toastrel), tuple, next))
			break;
		next++;
	}
	if (tuple != NULL || next != total)
		fetch->why = "chunks are missing or misshapen in TOAST";
	systable_endscan_ordered(scan);
	toast_close_indexes(indexes, nindexes, AccessShareLock);
	table_close(toastrel, AccessShareLock);
}

/* No value is longer than the TOAST table, which may have grown since. */
static bool
fits_toast(VerifyScan *scan, Size len)
{
	Relation	toastrel;

	if (len <= scan->toast_limit)
		return true;
	toastrel = table_open(scan->rel->rd_rel->reltoastrelid, AccessShareLock);
	scan->toast_limit = (Size) RelationGetNumberOfBlocks(toastrel) * BLCKSZ;
	table_close(toastrel, AccessShareLock);
	return len <= scan->toast_limit;
}

/* Room for a value of that size. */
static void
reserve(VerifyScan *scan, Size len)
{
	if (len <= scan->toast_size)
		return;
	if (scan->toast_buffer)
		pfree(scan->toast_buffer);
	scan->toast_size = Max(len, 64 * 1024);
	scan->toast_buffer = MemoryContextAllocHuge(CurrentMemoryContext, scan->toast_size);
}

/*
 * The ciphertext || tag that a varatt_external (unaligned) points at; NULL
 * and *why when it cannot be had.  Valid until the next call.
 */
const uint8 *
verify_toast_fetch(VerifyScan *scan, const uint8 *pointer, Size *len, const char **why)
{
	ToastFetch	fetch = {scan};
	char		message[160];

	memcpy(&fetch.pointer, pointer, sizeof(varatt_external));
	fetch.len = VARATT_EXTERNAL_GET_EXTSIZE(fetch.pointer);
	*why = "the pointer to TOAST is damaged";
	if (fetch.pointer.va_toastrelid != scan->rel->rd_rel->reltoastrelid ||
		!OidIsValid(fetch.pointer.va_toastrelid) || fetch.len == 0 ||
		fetch.len != (Size) fetch.pointer.va_rawsize - VARHDRSZ ||
		VARATT_EXTERNAL_IS_COMPRESSED(fetch.pointer))
		return NULL;
	if (!fits_toast(scan, fetch.len))
		return NULL;
	reserve(scan, fetch.len);
	if (!scan->guarded)
		fetch_chunks(&fetch);
	else if (!verify_guard(fetch_chunks, &fetch, message, sizeof(message)))
		fetch.why = "TOAST cannot be read";
	*why = fetch.why;
	*len = fetch.len;
	return fetch.why ? NULL : (const uint8 *) scan->toast_buffer;
}
