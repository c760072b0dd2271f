/*
 * toast.c
 *	  TOAST over ciphertext.
 *
 * A record too long for its page keeps its sealed header inline; ciphertext
 * and tag are one value in the table's TOAST table (a heap), so that it holds
 * no plain text.  The chunks belong to the writing transaction as the record
 * does, and are never deleted once it commits.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/heaptoast.h"
#include "access/toast_internals.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "am/table.h"

struct varlena *
verity_toast_pointer(HeapTupleHeader record, Size header_size)
{
	struct varlena *pointer;

	if (!(VerityGetEnvelope(record)->flags & ENVELOPE_TOASTED))
		return NULL;
	pointer = palloc(TOAST_POINTER_SIZE);
	SET_VARTAG_EXTERNAL(pointer, VARTAG_ONDISK);
	memcpy(VARDATA_EXTERNAL(pointer), VerityGetSealed(record) + header_size,
		   sizeof(varatt_external));
	return pointer;
}

uint8 *
verity_toast_fetch(HeapTuple record, Size header_size, Size *len)
{
	struct varlena *pointer = verity_toast_pointer(record->t_data, header_size);
	struct varlena *value = detoast_external_attr(pointer);

	pfree(pointer);
	*len = VARSIZE(value) - VARHDRSZ;
	return (uint8 *) value;
}

/* Point *view at the ciphertext, inline or fetched. */
static bool
view_cipher(HeapTuple record, VeritySealedView *view, const char **why)
{
	Size		inline_len = record->t_len - verity_sealed_offset(record->t_data) - view->header_len;

	if (VerityGetEnvelope(record->t_data)->flags & ENVELOPE_TOASTED)
	{
		if (inline_len != sizeof(varatt_external))
		{
			*why = "TOAST pointer of the wrong size";
			return false;
		}
		view->toasted = verity_toast_fetch(record, view->header_len, &view->cipher_len);
		view->cipher = (uint8 *) VARDATA(view->toasted);
	}
	else
	{
		view->cipher = view->header_bytes + view->header_len;
		view->cipher_len = inline_len;
	}
	if (view->cipher_len < RECORD_TAG_SIZE)
	{
		*why = "sealed part is too short";
		return false;
	}
	return true;
}

bool
verity_sealed_view(HeapTuple record, VeritySealedView *view, const char **why)
{
	Size		len;

	view->toasted = NULL;
	if (!verity_is_long_enough(record->t_data, record->t_len) || record->t_data->t_hoff != VERITY_HOFF)
	{
		*why = "record is too short or has no envelope";
		return false;
	}
	len = record->t_len - verity_sealed_offset(record->t_data);
	view->header_bytes = VerityGetSealed(record->t_data);
	if (record_header_decode(view->header_bytes, len, &view->header) != CORE_OK)
	{
		*why = "sealed header is not valid";
		return false;
	}
	view->header_len = record_header_size(view->header.attributes);
	if (len < view->header_len)
	{
		*why = "sealed header is cut short";
		return false;
	}
	return view_cipher(record, view, why);
}

/* The longest that a row of these columns can be, or false for no limit. */
static bool
longest_row(TupleDesc desc, Size *longest)
{
	Size		data = 0;
	bool		nullable = false;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		int32		max;

		if (att->attisdropped)
			continue;
		nullable = nullable || !att->attnotnull;
		data = att_align_nominal(data, att->attalign);
		max = att->attlen > 0 ? att->attlen : type_maximum_size(att->atttypid, att->atttypmod);
		if (max < 0)
			return false;
		data += max;
	}
	*longest = MAXALIGN(SizeofHeapTupleHeader + (nullable ? BITMAPLEN(desc->natts) : 0)) + MAXALIGN(data);
	return true;
}

/*
 * Is each column of varying length to be kept in place, against its type's
 * habit?  Then rows must fit pages, as PLAIN has it in heap.
 */
static bool
is_kept_in_place(TupleDesc desc)
{
	bool		asked = false;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || att->attlen != -1)
			continue;
		if (att->attstorage != TYPSTORAGE_PLAIN)
			return false;
		asked = asked || get_typstorage(att->atttypid) != TYPSTORAGE_PLAIN;
	}
	return asked;
}

bool
verity_needs_toast_table(Relation rel)
{
	Size		longest;

	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ||
		is_kept_in_place(RelationGetDescr(rel)))
		return false;
	if (!longest_row(RelationGetDescr(rel), &longest))
		return true;
	return longest + SEALED_OFFSET + RECORD_HEADER_MAX + RECORD_TAG_SIZE > TOAST_TUPLE_THRESHOLD;
}
