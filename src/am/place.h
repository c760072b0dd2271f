/*
 * place.h
 *	  Finding pages for records and putting records on them.
 */
#ifndef VERITY_PLACE_H
#define VERITY_PLACE_H

#include "am/draft.h"

#include "access/heapam.h"
#include "access/hio.h"
#include "storage/bufmgr.h"

/* Pages of one insertion; the map page only where a bit must be cleared. */
typedef struct VerityPlace
{
	Buffer		buffer;			/* pinned and exclusively locked */
	Buffer		mapbuf;			/* the same, or InvalidBuffer */
} VerityPlace;

/*
 * A data page with room for len bytes.  Turns an empty page that stands at a
 * map page's number into a map page on the way.
 */
extern void verity_place_get(Relation rel, Size len, int options, BulkInsertState bistate,
							 VerityPlace *place);

/* Space that the table's fill factor keeps free on a block, for versions to come. */
extern Size verity_place_keep_free(Relation rel, BlockNumber blkno);

/* Lock the map page of place->buffer where its page is marked in the map. */
extern void verity_place_lock_map(Relation rel, VerityPlace *place);

/* In the critical section: clear the map's bits. */
extern void verity_place_clear_map(VerityPlace *place);

/*
 * Do these records stand alone on their page, so that redo can make it anew?
 * Not block 0, which has the meta data.
 */
static inline bool
verity_place_is_new(Buffer buffer, const ItemPointerData *first, int count)
{
	return ItemPointerGetOffsetNumber(first) == FirstOffsetNumber &&
		PageGetMaxOffsetNumber(BufferGetPage(buffer)) == count && BufferGetBlockNumber(buffer) != 0;
}

extern void verity_place_release(VerityPlace *place);

/*
 * In the critical section: add the draft to the page; the root of a first
 * version is itself.  Returns the place through *tid.
 */
extern void verity_place_item(Buffer buffer, VerityDraft *draft, ItemPointer tid);

#endif							/* VERITY_PLACE_H */
