/*
 * verify_page.c
 *	  Copies of pages for verification, such that a damaged page is no error.
 *
 * ReadBuffer errors on a page with a wrong checksum, and asking it to zero
 * such pages would show other sessions an empty page.  So a block that is not
 * in shared buffers is read and checked by itself first; only a sound one goes
 * through shared buffers, where its latest state is.  A damaged one is handed
 * out as it stands in the file: what of it can be told is worth telling.
 */
#include "postgres.h"

#include "am/map.h"
#include "miscadmin.h"
#include "sql/verify/verify.h"
#include "storage/buf_internals.h"
#include "storage/bufmgr.h"
#include "storage/smgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* A page being written may be read torn: look again before believing it. */
#define READ_TRIES 5
#define READ_PAUSE_US 2000

static bool
in_shared_buffers(Relation rel, ForkNumber fork, BlockNumber blkno)
{
	BufferTag	tag;
	uint32		hash;
	LWLock	   *partition;
	int			id;

	if (RelationUsesLocalBuffers(rel))
		return true;
	InitBufferTag(&tag, &rel->rd_locator, fork, blkno);
	hash = BufTableHashCode(&tag);
	partition = BufMappingPartitionLock(hash);
	LWLockAcquire(partition, LW_SHARED);
	id = BufTableLookup(&tag, hash);
	LWLockRelease(partition);
	return id >= 0;
}

/* smgrread that answers false instead of an error (no locks are held). */
static bool
read_block(Relation rel, ForkNumber fork, BlockNumber blkno, char *page)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool ok = true;

	PG_TRY();
	{
		verity_smgr_read(rel, fork, blkno, page);
	}
	PG_CATCH();
	{
		int			code;

		MemoryContextSwitchTo(caller);
		code = geterrcode();
		if (code == ERRCODE_QUERY_CANCELED || code == ERRCODE_ADMIN_SHUTDOWN)
			PG_RE_THROW();
		FlushErrorState();
		ok = false;
	}
	PG_END_TRY();
	return ok;
}

/*
 * Is the block sound enough for ReadBuffer?  When not, or with *from_file, page
 * holds what the file has.
 */
static VerifyPageState
probe_block(Relation rel, ForkNumber fork, BlockNumber blkno, char *page, bool *from_file)
{
	VerifyPageState state = VP_OK;
	int			i;

	*from_file = false;
	for (i = 0; i < READ_TRIES; i++)
	{
		if (in_shared_buffers(rel, fork, blkno))
			return VP_OK;
		if (!read_block(rel, fork, blkno, page))
			state = VP_UNREADABLE;
		else if (PageIsVerified(page, blkno, 0, NULL))
		{
			*from_file = true;
			return VP_OK;
		}
		else
			state = VP_CHECKSUM;
		CHECK_FOR_INTERRUPTS();
		pg_usleep(READ_PAUSE_US);
	}
	return state;
}

/*
 * Copy a page.  With map_bits, they are read under the same page lock;
 * *mapbuf is a pin kept between calls.
 */
VerifyPageState
verify_page_copy(Relation rel, ForkNumber fork, BlockNumber blkno,
				 BufferAccessStrategy strategy, char *page, Buffer *mapbuf, uint8 *map_bits)
{
	bool		from_file;
	Buffer		buffer;
	VerifyPageState state = probe_block(rel, fork, blkno, page, &from_file);

	if (map_bits)
		*map_bits = 0;
	if (state != VP_OK)
		return state;
	buffer = ReadBufferExtended(rel, fork, blkno, RBM_NORMAL, strategy);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	memcpy(page, BufferGetPage(buffer), BLCKSZ);
	if (map_bits && !verity_block_is_special(blkno))
		*map_bits = verity_map_get(rel, blkno, mapbuf);
	UnlockReleaseBuffer(buffer);
	return PageIsNew((Page) page) ? VP_NEW : VP_OK;
}

/*
 * As verify_page_copy with map bits, but a page that is not in shared buffers
 * is taken from its file as it is, read once, without a lock: as it was at some
 * moment of the call, and torn perhaps where there are no checksums.  A map bit
 * counts that was set before and after.  For a trial, whose doubts are settled
 * by another look.
 */
VerifyPageState
verify_page_glance(Relation rel, BlockNumber blkno, BufferAccessStrategy strategy, char *page,
				   Buffer *mapbuf, uint8 *map_bits)
{
	bool		special = verity_block_is_special(blkno);
	uint8		before = special ? 0 : verity_map_get(rel, blkno, mapbuf);
	bool		from_file;
	VerifyPageState state = probe_block(rel, MAIN_FORKNUM, blkno, page, &from_file);

	if (state != VP_OK || !from_file)
		return verify_page_copy(rel, MAIN_FORKNUM, blkno, strategy, page, mapbuf, map_bits);
	*map_bits = special ? 0 : before & verity_map_get(rel, blkno, mapbuf);
	return PageIsNew((Page) page) ? VP_NEW : VP_OK;
}

/* How many blocks of a fork are damaged? */
BlockNumber
verify_fork_damage(Relation rel, ForkNumber fork, BlockNumber *first)
{
	PGAlignedBlock page;
	BlockNumber nblocks;
	BlockNumber damaged = 0;
	BlockNumber blkno;
	bool		from_file;

	*first = InvalidBlockNumber;
	if (!smgrexists(RelationGetSmgr(rel), fork))
		return 0;
	nblocks = RelationGetNumberOfBlocksInFork(rel, fork);
	for (blkno = 0; blkno < nblocks; blkno++)
	{
		CHECK_FOR_INTERRUPTS();
		if (probe_block(rel, fork, blkno, page.data, &from_file) == VP_OK)
			continue;
		if (damaged++ == 0)
			*first = blkno;
	}
	return damaged;
}
