/*
 * place.c
 *	  Finding pages for records and putting records on them.
 *
 * RelationGetBufferForTuple (hio.c) chooses the page.  It knows nothing of
 * map pages: where it extends the relation onto a map page's number, that
 * page becomes one here, and it is asked again.  Nor does it know that the
 * meta data take some of block 0, which a fill factor is to count as free.
 * Lock order: data pages in block order, then the map page.
 */
#include "postgres.h"

#include "am/place.h"

#include "access/heapam.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "utils/rel.h"

#include "am/map.h"
#include "am/stop_point.h"
#include "compat.h"

/* A page with that much space counts as empty, whatever the fill factor (hio.c). */
#define NEARLY_EMPTY \
	(MaxHeapTupleSize - (MaxHeapTuplesPerPage / 8) * sizeof(ItemIdData))

/* Make the locked, empty page a map page. */
static void
make_map_page(Relation rel, Buffer buffer)
{
	START_CRIT_SECTION();
	verity_map_init_page(BufferGetPage(buffer));
	MarkBufferDirty(buffer);
	if (RelationNeedsWAL(rel))
		log_newpage_buffer(buffer, false);
	END_CRIT_SECTION();
}

void
verity_place_lock_map(Relation rel, VerityPlace *place)
{
	place->mapbuf = InvalidBuffer;
	if (!PageIsFull(BufferGetPage(place->buffer)))
		return;
	verity_map_pin(rel, BufferGetBlockNumber(place->buffer), &place->mapbuf);
	if (BufferIsValid(place->mapbuf))
		LockBuffer(place->mapbuf, BUFFER_LOCK_EXCLUSIVE);
}

Size
verity_place_keep_free(Relation rel, BlockNumber blkno)
{
	Size		keep_free = RelationGetTargetPageFreeSpace(rel, HEAP_DEFAULT_FILLFACTOR);

	return keep_free - Min(keep_free, verity_special_size(blkno));
}

/* Block 0 while it is where rows go, and has room by its own measure; locked. */
static bool
place_on_first(Relation rel, Size len, Buffer *buffer)
{
	BlockNumber target = RelationGetTargetBlock(rel);
	Size		keep_free = verity_place_keep_free(rel, 0);

	if (RelationGetTargetPageFreeSpace(rel, HEAP_DEFAULT_FILLFACTOR) == 0 ||
		(target != 0 && target != InvalidBlockNumber) || RelationGetNumberOfBlocks(rel) != 1)
		return false;
	*buffer = ReadBuffer(rel, 0);
	LockBuffer(*buffer, BUFFER_LOCK_EXCLUSIVE);
	if (PageGetHeapFreeSpace(BufferGetPage(*buffer)) >=
		Max(MAXALIGN(len), Min(MAXALIGN(len) + keep_free, NEARLY_EMPTY - VERITY_META_SIZE)))
	{
		RelationSetTargetBlock(rel, 0);
		return true;
	}
	UnlockReleaseBuffer(*buffer);
	return false;
}

void
verity_place_get(Relation rel, Size len, int options, BulkInsertState bistate, VerityPlace *place)
{
	/* HEAP_INSERT_FROZEN would make hio.c pin core's visibility map */
	int			hio_options = options & ~HEAP_INSERT_FROZEN;

	for (bool found = place_on_first(rel, len, &place->buffer); !found;)
	{
		Buffer		vmbuffer = InvalidBuffer;

		place->buffer = RelationGetBufferForTuple(rel, len, InvalidBuffer, hio_options,
												  bistate, &vmbuffer, NULL, 0);
		Assert(!BufferIsValid(vmbuffer));
		found = !verity_block_is_special(BufferGetBlockNumber(place->buffer));
		if (!found)
		{
			make_map_page(rel, place->buffer);
			UnlockReleaseBuffer(place->buffer);
		}
	}
	verity_place_lock_map(rel, place);
}

void
verity_place_clear_map(VerityPlace *place)
{
	if (!BufferIsValid(place->mapbuf))
		return;
	verity_map_clear_bits(BufferGetPage(place->mapbuf), BufferGetBlockNumber(place->buffer));
	PageClearFull(BufferGetPage(place->buffer));
	VERITY_STOP("map-cleared");
	MarkBufferDirty(place->mapbuf);
}

void
verity_place_release(VerityPlace *place)
{
	if (BufferIsValid(place->mapbuf))
		UnlockReleaseBuffer(place->mapbuf);
	if (BufferIsValid(place->buffer))
		UnlockReleaseBuffer(place->buffer);
	place->mapbuf = place->buffer = InvalidBuffer;
}

void
verity_place_item(Buffer buffer, VerityDraft *draft, ItemPointer tid)
{
	Page		page = BufferGetPage(buffer);
	VerityEnvelope *envelope = VerityGetEnvelope(draft->item);
	OffsetNumber offset;
	HeapTupleHeader item;

	offset = PageAddItem(page, (Item) draft->item, draft->len, InvalidOffsetNumber, false, true);
	if (offset == InvalidOffsetNumber)
		elog(PANIC, "failed to add a record to page");
	ItemPointerSet(tid, BufferGetBlockNumber(buffer), offset);
	item = (HeapTupleHeader) PageGetItem(page, PageGetItemId(page, offset));
	item->t_ctid = *tid;
	if (envelope->flags & ENVELOPE_ROOT)
		VerityGetEnvelope(item)->root = *tid;
}
