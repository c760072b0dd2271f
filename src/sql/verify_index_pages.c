/*
 * verify_index_pages.c
 *	  The entries of an index, read from copies of its pages.
 *
 * Not by an index scan: the access methods trust their pages, and a forged
 * line pointer would take the server down.  A btree's leaves are walked from
 * left to right, which page splits do not disturb; hash, GiST and SP-GiST
 * pages are read in physical order, where a split may move an entry to behind
 * the reader, so that the caller looks again for what it misses.
 *
 * Entries that are marked dead are left out, as every scan does.
 */
#include "postgres.h"

#include "access/gist.h"
#include "access/hash.h"
#include "access/nbtree.h"
#include "access/spgist_private.h"
#include "catalog/pg_am.h"
#include "miscadmin.h"
#include "sql/verify.h"

#define BTREE_LEVELS_MAX 64

typedef struct IndexWalk
{
	Relation	index;
	BlockNumber nblocks;
	BufferAccessStrategy strategy;
	VerifyIndexEntry entry;
	void	   *arg;
	const char *damage;			/* static message, NULL: none */
	BlockNumber at;				/* the damaged block */
	PGAlignedBlock page;
} IndexWalk;

static bool
damaged(IndexWalk *walk, BlockNumber blkno, const char *why)
{
	if (walk->damage == NULL)
	{
		walk->damage = why;
		walk->at = blkno;
	}
	return false;
}

/* Copy a page and check its header and the size of its special space. */
static bool
load_page(IndexWalk *walk, BlockNumber blkno, Size special)
{
	PageHeader	header = (PageHeader) walk->page.data;
	VerifyPageState state;

	CHECK_FOR_INTERRUPTS();
	if (blkno >= walk->nblocks)
	{
		walk->nblocks = RelationGetNumberOfBlocks(walk->index);
		if (blkno >= walk->nblocks)
			return damaged(walk, blkno, "a link leads behind the end of the index");
	}
	state = verify_page_copy(walk->index, MAIN_FORKNUM, blkno, walk->strategy, walk->page.data, NULL, NULL);
	if (state == VP_NEW)
		return false;
	if (state != VP_OK ||
		header->pd_lower < SizeOfPageHeaderData || header->pd_lower > header->pd_upper ||
		header->pd_upper > header->pd_special || header->pd_special != BLCKSZ - MAXALIGN(special))
		return damaged(walk, blkno, "a damaged page header");
	return true;
}

/* The item, NULL when it is dead, unused or (with damage noted) impossible. */
static void *
load_item(IndexWalk *walk, BlockNumber blkno, OffsetNumber offnum, Size min, Size *len)
{
	PageHeader	header = (PageHeader) walk->page.data;
	ItemId		lp = PageGetItemId(walk->page.data, offnum);

	if (!ItemIdIsNormal(lp))
		return NULL;
	*len = ItemIdGetLength(lp);
	if (ItemIdGetOffset(lp) < header->pd_upper || *len < min ||
		ItemIdGetOffset(lp) + *len > header->pd_special ||
		ItemIdGetOffset(lp) != MAXALIGN(ItemIdGetOffset(lp)))
	{
		damaged(walk, blkno, "a damaged line pointer");
		return NULL;
	}
	return PageGetItem(walk->page.data, lp);
}

/* An index tuple whose size its own header and its line pointer agree on. */
static IndexTuple
load_tuple(IndexWalk *walk, BlockNumber blkno, OffsetNumber offnum, Size *len)
{
	IndexTuple	tuple = load_item(walk, blkno, offnum, sizeof(IndexTupleData), len);

	if (tuple == NULL)
		return NULL;
	if (IndexTupleSize(tuple) > *len || IndexTupleSize(tuple) < sizeof(IndexTupleData))
	{
		damaged(walk, blkno, "a damaged index tuple");
		return NULL;
	}
	*len = IndexTupleSize(tuple);
	return tuple;
}

/* --- btree --- */

/* One leaf tuple, which may stand for many rows. */
static void
btree_tuple(IndexWalk *walk, BlockNumber blkno, IndexTuple tuple, Size len)
{
	if (BTreeTupleIsPivot(tuple))
		damaged(walk, blkno, "a pivot tuple on a leaf page");
	else if (!BTreeTupleIsPosting(tuple))
		walk->entry(walk->arg, &tuple->t_tid, tuple, len);
	else
	{
		Size		count = BTreeTupleGetNPosting(tuple);
		Size		at = BTreeTupleGetPostingOffset(tuple);

		if (at < sizeof(IndexTupleData) || at != MAXALIGN(at) ||
			at + count * sizeof(ItemPointerData) > len)
		{
			damaged(walk, blkno, "a damaged posting list");
			return;
		}
		for (Size i = 0; i < count; i++)
			walk->entry(walk->arg, BTreeTupleGetPostingN(tuple, i), tuple, at);
	}
}

/* The leftmost leaf; InvalidBlockNumber for an empty index or damage. */
static BlockNumber
btree_leftmost(IndexWalk *walk)
{
	BTMetaPageData *meta = BTPageGetMeta(walk->page.data);
	BlockNumber blkno;
	Size		len;

	if (!load_page(walk, BTREE_METAPAGE, sizeof(BTPageOpaqueData)))
		return InvalidBlockNumber;
	if (meta->btm_magic != BTREE_MAGIC)
	{
		damaged(walk, BTREE_METAPAGE, "a damaged meta page");
		return InvalidBlockNumber;
	}
	blkno = meta->btm_root;
	for (int level = 0; level < BTREE_LEVELS_MAX && blkno != P_NONE; level++)
	{
		BTPageOpaque opaque;
		IndexTuple	tuple;

		if (!load_page(walk, blkno, sizeof(BTPageOpaqueData)))
			break;
		opaque = BTPageGetOpaque(walk->page.data);
		if (P_ISLEAF(opaque))
			return blkno;
		if (P_IGNORE(opaque))
		{
			blkno = opaque->btpo_next;
			continue;
		}
		if (P_FIRSTDATAKEY(opaque) > PageGetMaxOffsetNumber(walk->page.data) ||
			(tuple = load_tuple(walk, blkno, P_FIRSTDATAKEY(opaque), &len)) == NULL)
			break;
		blkno = BTreeTupleGetDownLink(tuple);
	}
	if (blkno != P_NONE)
		damaged(walk, blkno, "no leaf is reached from the root");
	return InvalidBlockNumber;
}

static void
walk_btree(IndexWalk *walk)
{
	BlockNumber blkno = btree_leftmost(walk);
	uint64		pages = 0;

	while (blkno != InvalidBlockNumber && blkno != P_NONE && walk->damage == NULL)
	{
		BTPageOpaque opaque;
		OffsetNumber last;

		if (!load_page(walk, blkno, sizeof(BTPageOpaqueData)))
		{
			damaged(walk, blkno, "an empty page among the leaves");
			break;
		}
		opaque = BTPageGetOpaque(walk->page.data);
		if (!P_ISLEAF(opaque) || pages++ > (uint64) walk->nblocks + 1000)
		{
			damaged(walk, blkno, "the chain of leaves is broken");
			break;
		}
		last = P_IGNORE(opaque) ? InvalidOffsetNumber : PageGetMaxOffsetNumber(walk->page.data);
		for (OffsetNumber offnum = P_FIRSTDATAKEY(opaque); offnum <= last; offnum++)
		{
			Size		len;
			IndexTuple	tuple = load_tuple(walk, blkno, offnum, &len);

			if (tuple != NULL)
				btree_tuple(walk, blkno, tuple, len);
		}
		blkno = opaque->btpo_next;
	}
}

/* --- the others, in physical order --- */

/* Do this page's items stand for rows, as index tuples or SP-GiST's? */
static bool
holds_rows(IndexWalk *walk, Oid am)
{
	char	   *special = PageGetSpecialPointer(walk->page.data);

	if (am == HASH_AM_OID)
	{
		HashPageOpaque opaque = (HashPageOpaque) special;
		uint16		type = opaque->hasho_flag & LH_PAGE_TYPE;

		return opaque->hasho_page_id == HASHO_PAGE_ID &&
			(type == LH_BUCKET_PAGE || type == LH_OVERFLOW_PAGE);
	}
	if (am == GIST_AM_OID)
		return ((GISTPageOpaque) special)->gist_page_id == GIST_PAGE_ID &&
			GistPageIsLeaf(walk->page.data) && !GistPageIsDeleted(walk->page.data);
	return ((SpGistPageOpaque) special)->spgist_page_id == SPGIST_PAGE_ID &&
		SpGistPageIsLeaf(walk->page.data) && !SpGistPageIsDeleted(walk->page.data);
}

static Size
special_size(Oid am)
{
	if (am == HASH_AM_OID)
		return sizeof(HashPageOpaqueData);
	return am == GIST_AM_OID ? sizeof(GISTPageOpaqueData) : sizeof(SpGistPageOpaqueData);
}

static void
physical_page(IndexWalk *walk, Oid am, BlockNumber blkno)
{
	OffsetNumber last = PageGetMaxOffsetNumber(walk->page.data);
	Size		len;

	for (OffsetNumber offnum = FirstOffsetNumber; offnum <= last; offnum++)
	{
		if (am == SPGIST_AM_OID)
		{
			SpGistLeafTuple leaf = load_item(walk, blkno, offnum, sizeof(SpGistLeafTupleData), &len);

			if (leaf != NULL && leaf->tupstate == SPGIST_LIVE)
				walk->entry(walk->arg, &leaf->heapPtr, NULL, 0);
		}
		else
		{
			IndexTuple	tuple = load_tuple(walk, blkno, offnum, &len);

			if (tuple != NULL)
				walk->entry(walk->arg, &tuple->t_tid, tuple, len);
		}
	}
}

static void
walk_physical(IndexWalk *walk, Oid am)
{
	for (BlockNumber blkno = 0; blkno < walk->nblocks; blkno++)
	{
		if (load_page(walk, blkno, special_size(am)) && holds_rows(walk, am))
			physical_page(walk, am, blkno);
	}
}

/* Are the entries of this kind of index known here? */
bool
verify_index_known(Relation index)
{
	Oid			am = index->rd_rel->relam;

	return am == BTREE_AM_OID || am == HASH_AM_OID || am == GIST_AM_OID || am == SPGIST_AM_OID;
}

/* Give every entry to the callback; a message and a block where it is damaged. */
const char *
verify_index_walk(Relation index, VerifyIndexEntry entry, void *arg, BlockNumber *at)
{
	IndexWalk  *walk = palloc0(sizeof(IndexWalk));
	const char *damage;

	walk->index = index;
	walk->nblocks = RelationGetNumberOfBlocks(index);
	walk->strategy = GetAccessStrategy(BAS_BULKREAD);
	walk->entry = entry;
	walk->arg = arg;
	if (index->rd_rel->relam == BTREE_AM_OID)
		walk_btree(walk);
	else
		walk_physical(walk, index->rd_rel->relam);
	*at = walk->at;
	damage = walk->damage;
	FreeAccessStrategy(walk->strategy);
	pfree(walk);
	return damage;
}

/* Can this tuple be deformed?  Each value must end within it. */
bool
verify_index_tuple_sound(TupleDesc desc, IndexTuple tuple, Size len)
{
	Size		at = IndexInfoFindDataOffset(tuple->t_info);
	const char *start = (const char *) tuple;

	if (at > len)
		return false;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (IndexTupleHasNulls(tuple) &&
			att_isnull(i, (bits8 *) (start + sizeof(IndexTupleData))))
			continue;
		at = att_align_pointer(at, att->attalign, att->attlen, start + Min(at, len - 1));
		if (at >= len)
			return false;
		if (att->attlen > 0)
			at += att->attlen;
		else if (att->attlen == -2)
			at += strnlen(start + at, len - at) + 1;
		else if (VARATT_IS_EXTERNAL(start + at) ||
				 (!VARATT_IS_1B(start + at) && len - at < VARHDRSZ) ||
				 VARSIZE_ANY(start + at) < (VARATT_IS_1B(start + at) ? VARHDRSZ_SHORT : VARHDRSZ))
			return false;
		else
			at += VARSIZE_ANY(start + at);
		if (at > len)
			return false;
	}
	return true;
}
