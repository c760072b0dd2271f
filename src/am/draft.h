/*
 * draft.h
 *	  A record before it has a place: its item's bytes and its leaf.
 */
#ifndef VERITY_DRAFT_H
#define VERITY_DRAFT_H

#include "am/rel.h"
#include "executor/tuptable.h"

typedef struct VerityDraft
{
	char	   *item;			/* palloc'd: heap header, envelope, sealed part */
	Size		len;
	record_id	id;
	hash256		leaf;
} VerityDraft;

/*
 * Seal a row (flattened, compressed where its size asks for it) and move the
 * sealed part to TOAST where it is too long for a page.  flags are those of
 * the sealed header that the caller knows: RECORD_SAME_KEY.  supersedes may be
 * NULL.  tuple is NULL for a tombstone.  The heap header is left for
 * verity_draft_stamp; root, prev and skip for the caller.
 */
extern void verity_draft_make(Relation rel, VerityRel *vrel, record_kind kind, uint16 flags,
							  HeapTuple tuple, const record_id *supersedes, int options, VerityDraft *draft);

/* Fill in the heap header of a new version written by this transaction. */
extern void verity_draft_stamp(VerityDraft *draft, TransactionId xid, CommandId cid, bool frozen);

/* Errors with a clear message where a row would not fit into 1 GB. */
extern void verity_check_row_size(TupleTableSlot *slot);

/* The bytes of a heap tuple that are sealed, and what the sealed header says of them. */
extern const uint8 *verity_plain_bytes(HeapTuple tuple, uint16 *attributes, Size *len);

extern void verity_draft_free(VerityDraft *draft);

#endif							/* VERITY_DRAFT_H */
