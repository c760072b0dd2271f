/*
 * logical_check.c
 *	  Whether an opened row can be one of the table that WAL names.
 *
 * A row's bytes are authentic, but the locator of its WAL record is not: it
 * may lead to a table of other columns.  The output plugin would then read
 * them where the row has ended.
 */
#include "postgres.h"

#include "am/logical/logical.h"

/* Where the value at this place ends, beyond len if it is none; at < len. */
static Size
value_end(Form_pg_attribute att, const char *data, Size at, Size len)
{
	const char *value = data + at;

	if (att->attlen > 0)
		return at + att->attlen;
	if (att->attlen == -2)
		return at + strnlen(value, len - at) + 1;
	/* rows are sealed with all of their values inline, some compressed */
	if (VARATT_IS_EXTERNAL(value))
		return len + 1;
	if (VARATT_IS_1B(value))
		return at + VARSIZE_1B(value);
	if (len - at < VARHDRSZ || VARSIZE_4B(value) < VARHDRSZ ||
		(VARATT_IS_4B_C(value) && VARSIZE_4B(value) < VARHDRSZ_COMPRESSED))
		return len + 1;
	return at + VARSIZE_4B(value);
}

/* Do all values lie within the row?  They are found as heap_deform_tuple finds them. */
static bool
row_fits(TupleDesc desc, HeapTuple row)
{
	HeapTupleHeader header = row->t_data;
	int			natts = HeapTupleHeaderGetNatts(header);
	bool		nulls = HeapTupleHasNulls(row);
	const char *data = (const char *) header + header->t_hoff;
	Size		at = 0;
	Size		len;

	if (natts > desc->natts || header->t_hoff > row->t_len ||
		header->t_hoff < SizeofHeapTupleHeader + (nulls ? BITMAPLEN(natts) : 0))
		return false;
	len = row->t_len - header->t_hoff;
	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (nulls && att_isnull(i, header->t_bits))
			continue;
		/* no value is empty, and a varlena's first byte says how it is aligned */
		if (at >= len)
			return false;
		at = att_align_pointer(at, att->attalign, att->attlen, data + at);
		if (at >= len)
			return false;
		at = value_end(att, data, at, len);
		if (at > len)
			return false;
	}
	return true;
}

void
verity_logical_check_row(Relation rel, HeapTuple row)
{
	if (!row_fits(RelationGetDescr(rel), row))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a logged row is none of table \"%s\"", RelationGetRelationName(rel)),
				 errdetail("Its values do not fit the table's columns."),
				 errhint("The WAL is damaged or was altered. Restore the WAL from an archive, and run verity_verify().")));
}
