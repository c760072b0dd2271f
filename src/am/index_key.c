/*
 * index_key.c
 *	  Which indexes readers of the past may use, and from which position on.
 *
 * A reader of the past that comes from an index entry finds its row's version
 * through roots that one key took over from each other (RULES A8).  So an
 * index serves it while each of its columns is an identity column: then every
 * root with other values in them is an end of that search.  From that time
 * on, and from when its storage was complete, it is right.
 *
 * The meta data note both in one position for each index's storage.  Where
 * the transaction that builds the index, or makes its columns identity ones,
 * wrote before, its own position counts, which its serial tells later.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "utils/relcache.h"

#include "am/journal/journal.h"
#include "am/rel.h"
#include "am/journal/xact.h"

/* Are the index's columns identity columns, and all rows in it? */
static bool
is_key(Relation rel, Relation index)
{
	Bitmapset  *identity = verity_rel(rel)->identity_attrs;
	Form_pg_index form = index->rd_index;

	if (!form->indisunique || RelationGetIndexPredicate(index) != NIL)
		return false;
	for (int i = 0; i < form->indnkeyatts; i++)
	{
		AttrNumber	column = form->indkey.values[i];

		if (column == 0 || !bms_is_member(column - FirstLowInvalidHeapAttributeNumber, identity))
			return false;
	}
	return true;
}

void
verity_index_built(Relation rel, Relation index)
{
	VerityMetaIndex note = {.relfilenode = index->rd_locator.relNumber};

	if (is_key(rel, index))
		note.flags |= VERITY_INDEX_KEY;
	if (verity_xact_wrote())
	{
		note.flags |= VERITY_INDEX_BY_SERIAL;
		note.valid_from = verity_xact_serial();
	}
	else
		note.valid_from = verity_journal_last() + 1;
	verity_meta_index_set(rel, &note);
}

/* The position of a note; 0 when its transaction has none (yet). */
static uint64
note_position(const VerityMetaIndex *note)
{
	VerityPosition position;

	if ((note->flags & VERITY_INDEX_BY_SERIAL) == 0)
		return note->valid_from;
	return verity_serial_outcome(note->valid_from, &position) == OUTCOME_COMMITTED ? position : 0;
}

/* Bring the note of one index up to date with what identifies a row now. */
static void
update_note(Relation rel, Relation index)
{
	VerityMetaIndex note;
	bool		known = verity_meta_index_get(rel, index->rd_locator.relNumber, &note);
	bool		was_key = known && (note.flags & VERITY_INDEX_KEY) != 0;

	if (!is_key(rel, index))
	{
		if (!was_key)
			return;
		note.flags &= ~VERITY_INDEX_KEY;
	}
	else
	{
		/* a savepoint's rollback would leave the note; sequential scans do then */
		if (GetCurrentTransactionNestLevel() > 1)
			return;
		if (was_key && (note_position(&note) != 0 ||
						((note.flags & VERITY_INDEX_BY_SERIAL) != 0 &&
						 note.valid_from == verity_xact_serial_if_any())))
			return;
		note.relfilenode = index->rd_locator.relNumber;
		note.flags = VERITY_INDEX_KEY | VERITY_INDEX_BY_SERIAL;
		note.valid_from = verity_xact_serial();
	}
	verity_meta_index_set(rel, &note);
}

void
verity_index_keys_changed(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	ListCell   *cell;

	if (verity_rel(rel)->journalled)
	{
		foreach(cell, RelationGetIndexList(rel))
		{
			Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

			if (index->rd_index->indisunique && index->rd_index->indisvalid)
				update_note(rel, index);
			index_close(index, AccessShareLock);
		}
	}
	table_close(rel, AccessShareLock);
}

uint64
verity_index_key_since(Relation rel, Relation index)
{
	VerityMetaIndex note;

	if (!verity_meta_index_get(rel, index->rd_locator.relNumber, &note) ||
		(note.flags & VERITY_INDEX_KEY) == 0)
		return 0;
	return note_position(&note);
}
