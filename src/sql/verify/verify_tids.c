/*
 * verify_tids.c
 *	  The roots that index entries may lead to, in the order of their TIDs.
 *
 * Those of plain records come from a trial as bits of their blocks, the others
 * one by one; both are merged when they are read.
 */
#include "postgres.h"

#include "port/pg_bswap.h"
#include "sql/verify/verify.h"

struct VerifyTids
{
	VerifyTable *table;
	const VerifyTid *single;	/* next of those that came one by one */
	bool		single_used;
	bool		have_block;
	VerifyTidBlock block;
	OffsetNumber offnum;		/* of the next bit to look at */
	bool		have_bit;		/* bit was found and not given yet */
	VerifyTid	bit;
	VerifyTid	out;
};

void
verify_tid_set(VerifyTid *out, const ItemPointerData *tid)
{
	uint32		block = pg_hton32(ItemPointerGetBlockNumberNoCheck(tid));
	uint16		offnum = pg_hton16(ItemPointerGetOffsetNumberNoCheck(tid));

	memset(out, 0, sizeof(*out));
	memcpy(out->block, &block, sizeof(block));
	memcpy(out->offnum, &offnum, sizeof(offnum));
}

int
verify_tid_compare(const VerifyTid *a, const VerifyTid *b)
{
	return memcmp(a, b, offsetof(VerifyTid, current));
}

/* Note a root, or (current) the root of a current row. */
void
verify_tids_put(VerifyTable *table, const VerifyRecord *record, bool current)
{
	bool		is_root = (record->flags & ENVELOPE_ROOT) != 0;
	VerifyTid	tid;

	if (!table->indexed || (current ? record->truth != TRUTH_COMMITTED : !is_root))
		return;
	verify_tid_set(&tid, is_root ? &record->tid : &record->root);
	tid.current = current ? 0 : 1;
	verify_sort_put(table->tids, &tid, sizeof(tid));
}

VerifyTids *
verify_tids_begin(VerifyTable *table)
{
	VerifyTids *tids = palloc0(sizeof(VerifyTids));

	tids->table = table;
	tids->single_used = true;
	verify_sort_rewind(table->tids);
	verify_sort_rewind(table->tid_blocks);
	return tids;
}

/* Find the next plain record, in this block or in one behind it. */
static void
find_bit(VerifyTids *tids)
{
	const VerifyTidBlock *block;
	Size		len;

	while (!tids->have_bit)
	{
		for (; tids->have_block && tids->offnum <= MaxHeapTuplesPerPage; tids->offnum++)
		{
			int			at = tids->offnum - FirstOffsetNumber;
			uint16		offnum = pg_hton16(tids->offnum);

			if (!(tids->block.plain[at / 8] & (1 << (at % 8))))
				continue;
			memset(&tids->bit, 0, sizeof(tids->bit));
			memcpy(tids->bit.block, tids->block.block, sizeof(tids->bit.block));
			memcpy(tids->bit.offnum, &offnum, sizeof(offnum));
			tids->have_bit = true;
			tids->offnum++;
			return;
		}
		block = verify_sort_next(tids->table->tid_blocks, &len);
		tids->have_block = block != NULL;
		if (block == NULL)
			return;
		tids->block = *block;
		tids->offnum = FirstOffsetNumber;
	}
}

const VerifyTid *
verify_tids_next(VerifyTids *tids)
{
	Size		len;

	if (tids->single_used)
		tids->single = verify_sort_next(tids->table->tids, &len);
	tids->single_used = false;
	find_bit(tids);
	if (tids->have_bit &&
		(tids->single == NULL || verify_tid_compare(&tids->bit, tids->single) <= 0))
	{
		tids->have_bit = false;
		tids->out = tids->bit;
		return &tids->out;
	}
	tids->single_used = tids->single != NULL;
	return tids->single;
}

void
verify_tids_end(VerifyTids *tids)
{
	pfree(tids);
}
