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
 *
 * Walking meets every entry in whatever order, but lookups bisect.  So a
 * btree's leaf must be in order, and a search for its first and for its last
 * item must come to it; then one for any between does as well, since it goes
 * with those two wherever they go the same way.
 */
#include "postgres.h"

#include "access/gist.h"
#include "access/hash.h"
#include "access/nbtree.h"
#include "access/itup.h"
#include "access/spgist_private.h"
#include "catalog/pg_am.h"
#include "miscadmin.h"
#include "sql/verify/verify.h"

#define BTREE_LEVELS_MAX 64

/* Pages that one search may visit, moves to the right included. */
#define SEARCH_STEPS_MAX 1000
#define SEARCH_TRIES 3

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

/* Can this many values of the tuple be read?  Each value must end within it. */
static bool
tuple_sound(TupleDesc desc, int natts, IndexTuple tuple, Size len)
{
	Size		at = IndexInfoFindDataOffset(tuple->t_info);
	const char *start = (const char *) tuple;

	if (at > len)
		return false;
	for (int i = 0; i < natts; i++)
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

/* Compare a key with an item, dead ones too; false when it cannot be read. */
static bool
btree_compare(IndexWalk *walk, BTScanInsert key, BlockNumber blkno, OffsetNumber offnum, int32 *order)
{
	PageHeader	header = (PageHeader) walk->page.data;
	ItemId		lp = PageGetItemId(walk->page.data, offnum);
	BTPageOpaque opaque = BTPageGetOpaque(walk->page.data);
	IndexTuple	tuple = (IndexTuple) PageGetItem(walk->page.data, lp);

	*order = 1;
	if (!P_ISLEAF(opaque) && offnum == P_FIRSTDATAKEY(opaque))
		return true;			/* before all keys */
	if (offnum > PageGetMaxOffsetNumber(walk->page.data) || !ItemIdHasStorage(lp) ||
		ItemIdGetOffset(lp) < header->pd_upper || ItemIdGetLength(lp) < sizeof(IndexTupleData) ||
		ItemIdGetOffset(lp) + ItemIdGetLength(lp) > header->pd_special ||
		ItemIdGetOffset(lp) != MAXALIGN(ItemIdGetOffset(lp)) ||
		IndexTupleSize(tuple) > ItemIdGetLength(lp) ||
		!_bt_check_natts(walk->index, key->heapkeyspace, walk->page.data, offnum) ||
		!tuple_sound(RelationGetDescr(walk->index), BTreeTupleGetNAtts(tuple, walk->index), tuple,
					 IndexTupleSize(tuple)))
		return damaged(walk, blkno, "a damaged index tuple");
	*order = _bt_compare(walk->index, key, walk->page.data, offnum);
	return true;
}

/* The child of an inner page that a search goes to; InvalidBlockNumber on damage. */
static BlockNumber
btree_child(IndexWalk *walk, BTScanInsert key, BlockNumber blkno)
{
	OffsetNumber low = P_FIRSTDATAKEY(BTPageGetOpaque(walk->page.data));
	OffsetNumber high = PageGetMaxOffsetNumber(walk->page.data) + 1;
	IndexTuple	tuple;
	Size		len;

	while (low < high)
	{
		OffsetNumber middle = low + (high - low) / 2;
		int32		order;

		if (!btree_compare(walk, key, blkno, middle, &order))
			return InvalidBlockNumber;
		if (order > 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low <= P_FIRSTDATAKEY(BTPageGetOpaque(walk->page.data)) ||
		(tuple = load_tuple(walk, blkno, low - 1, &len)) == NULL)
		return InvalidBlockNumber;
	return BTreeTupleGetDownLink(tuple);
}

/* The leaf that a search for the key comes to; InvalidBlockNumber: none. */
static BlockNumber
btree_search(IndexWalk *walk, BTScanInsert key)
{
	BlockNumber blkno = BTREE_METAPAGE;

	for (int step = 0; step < SEARCH_STEPS_MAX && blkno != InvalidBlockNumber; step++)
	{
		BTPageOpaque opaque = BTPageGetOpaque(walk->page.data);
		int32		order = 1;

		if (!load_page(walk, blkno, sizeof(BTPageOpaqueData)))
			break;
		if (blkno == BTREE_METAPAGE)
		{
			blkno = BTPageGetMeta(walk->page.data)->btm_fastroot;
			if (blkno == BTREE_METAPAGE)
				break;
			continue;
		}
		if (!P_RIGHTMOST(opaque) && !P_IGNORE(opaque) &&
			!btree_compare(walk, key, blkno, P_HIKEY, &order))
			break;
		if (!P_RIGHTMOST(opaque) && (P_IGNORE(opaque) || order > 0))
			blkno = opaque->btpo_next;
		else if (P_IGNORE(opaque) || P_ISLEAF(opaque))
			return P_IGNORE(opaque) ? InvalidBlockNumber : blkno;
		else
			blkno = btree_child(walk, key, blkno);
	}
	return InvalidBlockNumber;
}

/* The search key of a leaf's item; NULL when it cannot be had. */
static BTScanInsert
btree_key(IndexWalk *walk, BlockNumber blkno, OffsetNumber offnum)
{
	Size		len;
	IndexTuple	tuple = load_tuple(walk, blkno, offnum, &len);

	if (tuple == NULL || BTreeTupleIsPivot(tuple) ||
		(BTreeTupleIsPosting(tuple) && BTreeTupleGetPostingOffset(tuple) + sizeof(ItemPointerData) > len) ||
		!tuple_sound(RelationGetDescr(walk->index), RelationGetDescr(walk->index)->natts, tuple, len))
		return NULL;
	return _bt_mkscankey(walk->index, tuple);
}

/* Are a leaf's items in order?  ends: the keys of the first and last ones. */
static bool
btree_leaf_in_order(IndexWalk *walk, BlockNumber blkno, BTScanInsert ends[2])
{
	OffsetNumber first = P_FIRSTDATAKEY(BTPageGetOpaque(walk->page.data));

	ends[0] = ends[1] = NULL;
	for (OffsetNumber offnum = first; offnum <= PageGetMaxOffsetNumber(walk->page.data); offnum++)
	{
		BTScanInsert key = btree_key(walk, blkno, offnum);
		int32		order = 1;

		if (key == NULL)
			continue;
		if (offnum > first && !btree_compare(walk, key, blkno, offnum - 1, &order))
			return false;
		if (order < (key->heapkeyspace ? 1 : 0))
			return damaged(walk, blkno, "the items of a leaf are out of order");
		if (ends[0] == NULL)
			ends[0] = key;
		else if (ends[1] != NULL)
			pfree(ends[1]);
		if (ends[0] != key)
			ends[1] = key;
	}
	return true;
}

/*
 * Is the leaf that was just read in order, and do searches come to it?  One
 * that was split meanwhile is read again; walk's page may be another then.
 */
static void
btree_check_leaf(IndexWalk *walk, BlockNumber blkno)
{
	IndexWalk  *down = palloc(sizeof(IndexWalk));
	bool		found = false;

	for (int tries = 0; tries < SEARCH_TRIES && !found && walk->damage == NULL; tries++)
	{
		BTScanInsert ends[2];

		if (tries > 0 && !load_page(walk, blkno, sizeof(BTPageOpaqueData)))
			break;
		if (P_IGNORE(BTPageGetOpaque(walk->page.data)) || !P_ISLEAF(BTPageGetOpaque(walk->page.data)))
			break;
		if (!btree_leaf_in_order(walk, blkno, ends))
			break;
		found = true;
		for (int i = 0; i < 2; i++)
		{
			if (ends[i] == NULL)
				continue;
			*down = *walk;
			/* among equal keys without TIDs, a search comes to the first */
			found = found && (!ends[i]->heapkeyspace || btree_search(down, ends[i]) == blkno);
			pfree(ends[i]);
		}
		if (!found && tries == SEARCH_TRIES - 1)
			damaged(walk, blkno, "a search does not come to this leaf");
	}
	pfree(down);
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
		BlockNumber next;

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
		next = opaque->btpo_next;
		if (walk->damage == NULL && last != InvalidOffsetNumber)
			btree_check_leaf(walk, blkno);
		blkno = next;
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

/* Can this tuple be deformed? */
bool
verify_index_tuple_sound(TupleDesc desc, IndexTuple tuple, Size len)
{
	return tuple_sound(desc, desc->natts, tuple, len);
}
