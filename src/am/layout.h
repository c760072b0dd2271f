/*
 * layout.h
 *	  What stands where in a verity table's file.
 *
 * Data pages are standard PostgreSQL pages.  Each item is a record:
 *
 *	  offset  size
 *	       0    23   HeapTupleHeader that says zero attributes, t_hoff 24: core's
 *	                 visibility, row locks and hint bits apply to it unchanged
 *	      23     1   envelope flags (the byte that heap pads with)
 *	      24     8   ender: serial of the transaction that ended this version;
 *	                 meaningful only while xmax is a committed, in-progress or
 *	                 frozen update (heap_lock_tuple rewrites xmax, not this)
 *	      32     6   root: TID of this version's root; in a root: the hint, TID
 *	                 of the newest version (itself at first)
 *	                 With ENVELOPE_FIRST the sealed part follows here, at 38
 *	      38     6   prev: TID of the version before (of the superseded root's
 *	                 last version in a root). A
 *	                 tombstone's is the version that it deletes
 *	      44     6   skip: TID of an older version of the same root, for
 *	                 O(log n) walks back; invalid in a root
 *	      50     1   skip rank: skip jumps over 2^rank - 1 versions
 *	      51     1   rank of the version that skip points at
 *	      52         sealed part (chain/record.h), or, with ENVELOPE_TOASTED,
 *	                 sealed header followed by a varatt_external that points
 *	                 at ciphertext || tag in the TOAST table
 *
 * Everything before the sealed part is the envelope: mutable, not hashed,
 * checked by verify against the sealed links.
 *
 * Block 0 is a data page whose special space holds the meta data: what the
 * table is, and notes on its row schemas and indexes.  Other data pages have
 * no special space.  An empty table is block 0 without items.
 *
 * Map pages stand at fixed block numbers (map.h), pages that the meta data go
 * on on wherever they were needed.  Both leave no free space, so that
 * RelationGetBufferForTuple never chooses them.
 *
 * PD_PAGE_FULL on a data page says that the map marks it: whoever adds a
 * record clears both, in one WAL record.
 */
#ifndef VERITY_LAYOUT_H
#define VERITY_LAYOUT_H

#include "postgres.h"

#include "access/htup_details.h"
#include "storage/bufpage.h"
#include "storage/itemptr.h"

#include "chain/record.h"

#define VERITY_HOFF 24

/* envelope flags */
#define ENVELOPE_ROOT 0x01		/* index entries point at it; root is the hint */
#define ENVELOPE_TOMBSTONE 0x02 /* reaches no scan, sampling or index build */
#define ENVELOPE_TOASTED 0x04
#define ENVELOPE_SAME_KEY 0x08	/* a root with a prev: key columns unchanged */
#define ENVELOPE_CLEANED 0x10	/* with SAME_KEY: vacuum has removed the
								 * superseded root's index entries */
#define ENVELOPE_FIRST 0x20		/* a row's first version, an insert: has no
								 * links back and no room for them */
#define ENVELOPE_FLAGS_VALID 0x3F

/*
 * Begins with the heap header's last byte, so that each field has an even
 * offset and none is misaligned.
 */
#pragma pack(push, 2)
typedef struct VerityEnvelope
{
	uint8		hoff;			/* the heap header's t_hoff */
	uint8		flags;
	uint64		ender;
	ItemPointerData root;
} VerityEnvelope;

/* What follows it in all but first versions. */
typedef struct VerityBackLinks
{
	ItemPointerData prev;
	ItemPointerData skip;
	uint8		skip_rank;
	uint8		skip_target_rank;
} VerityBackLinks;
#pragma pack(pop)

#define ENVELOPE_OFFSET 23
#define SEALED_OFFSET_FIRST (offsetof(HeapTupleHeaderData, t_hoff) + sizeof(VerityEnvelope))
#define SEALED_OFFSET (SEALED_OFFSET_FIRST + sizeof(VerityBackLinks))

StaticAssertDecl(SizeofHeapTupleHeader == ENVELOPE_OFFSET, "the envelope follows the heap header");
StaticAssertDecl(SEALED_OFFSET_FIRST == 38 && SEALED_OFFSET == 52, "the sealed part has one of two places");

StaticAssertDecl(offsetof(HeapTupleHeaderData, t_hoff) + offsetof(VerityEnvelope, flags) == ENVELOPE_OFFSET,
				 "the flags are the byte that heap pads with");

#define VerityGetEnvelope(htup) \
	((VerityEnvelope *) ((char *) (htup) + offsetof(HeapTupleHeaderData, t_hoff)))

static inline bool
verity_is_first(const HeapTupleHeaderData *record)
{
	return (VerityGetEnvelope(record)->flags & ENVELOPE_FIRST) != 0;
}

/* The links back as they can be written: not in a first version. */
static inline VerityBackLinks *
verity_back_links(HeapTupleHeader record)
{
	Assert(!verity_is_first(record));
	return (VerityBackLinks *) ((char *) record + SEALED_OFFSET_FIRST);
}

/* A copy of them; those of a first version lead nowhere. */
static inline VerityBackLinks
verity_get_back_links(HeapTupleHeader record)
{
	VerityBackLinks none = {0};

	if (!verity_is_first(record))
		return *verity_back_links(record);
	ItemPointerSetInvalid(&none.prev);
	ItemPointerSetInvalid(&none.skip);
	return none;
}

static inline Size
verity_sealed_offset(const HeapTupleHeaderData *record)
{
	return verity_is_first(record) ? SEALED_OFFSET_FIRST : SEALED_OFFSET;
}

#define VerityGetSealed(htup) ((uint8 *) (htup) + verity_sealed_offset(htup))

/* Has an item of that length room for its envelope and a sealed header? */
static inline bool
verity_is_long_enough(const HeapTupleHeaderData *record, Size len)
{
	return len >= SEALED_OFFSET_FIRST + RECORD_HEADER_SIZE &&
		len >= verity_sealed_offset(record) + RECORD_HEADER_SIZE;
}

/* A record of which this much is inline goes to TOAST beyond. */
#define VERITY_INLINE_MAX \
	MAXALIGN_DOWN((BLCKSZ - MAXALIGN(SizeOfPageHeaderData + 2 * sizeof(ItemIdData))) / 2)

/*
 * The meta data: in the special space of block 0, with room for a few row
 * schemas and notes on indexes.  More go on on the page that next names, all
 * of which is special space; there only next and the counts of the head count.
 */
#define VERITY_META_MAGIC 0x56725479
#define VERITY_META_VERSION 2
#define VERITY_META_SCHEMAS 3	/* in block 0 */
#define VERITY_META_INDEXES 6
#define VERITY_META_MORE_SCHEMAS 100	/* on a page of their own */
#define VERITY_META_MORE_INDEXES 200

typedef struct VerityMetaSchema
{
	uint32		version;
	hash256		digest;
	uint64		serial;			/* of the transaction that added it */
} VerityMetaSchema;

typedef struct VerityMetaIndex
{
	Oid			relfilenode;	/* an index's storage */
	uint32		flags;			/* VERITY_INDEX_… */
	uint64		valid_from;		/* as-of positions from here on may use it */
} VerityMetaIndex;

#define VERITY_INDEX_KEY 0x0001 /* its columns are identity columns */
#define VERITY_INDEX_BY_SERIAL 0x0002	/* valid_from is the serial of the
										 * transaction whose position counts */

typedef struct VerityMeta
{
	uint32		magic;
	uint16		version;
	uint16		flags;			/* VERITY_META_JOURNALLED */
	uint8		ledger[LEDGER_ID_SIZE];
	uint32		ledger_number;	/* slot in verity.journal_heads; 0: none */
	uint32		schema_version; /* highest given out, of aborted transactions
								 * too; 0: none yet */
	uint64		key_id;			/* seals new records; 0: none yet */
	uint64		release;		/* serial of the transaction that lifted
								 * protection: a hint, the journal decides */
	uint8		journal_id[16]; /* journal that the ledger id and key belong to */
	BlockNumber next;			/* continuation, or InvalidBlockNumber */
	uint16		schema_count;
	uint16		index_count;
} VerityMeta;

#define VERITY_META_JOURNALLED 0x0001

typedef struct VerityMetaFirst
{
	VerityMeta	head;
	VerityMetaSchema schemas[VERITY_META_SCHEMAS];
	VerityMetaIndex indexes[VERITY_META_INDEXES];
} VerityMetaFirst;

typedef struct VerityMetaMore
{
	VerityMeta	head;
	VerityMetaSchema schemas[VERITY_META_MORE_SCHEMAS];
	VerityMetaIndex indexes[VERITY_META_MORE_INDEXES];
} VerityMetaMore;

/* The special space of block 0; of a page that the meta data go on on all but what PageInit wants left. */
#define VERITY_META_SIZE MAXALIGN(sizeof(VerityMetaFirst))
#define VERITY_META_MORE_SIZE (BLCKSZ - MAXALIGN(SizeOfPageHeaderData) - MAXIMUM_ALIGNOF)

StaticAssertDecl(sizeof(VerityMeta) == 72 && sizeof(VerityMetaFirst) == 312,
				 "the meta data have no padding");
StaticAssertDecl(sizeof(VerityMetaMore) <= VERITY_META_MORE_SIZE, "more meta data fit one page");
StaticAssertDecl(VERITY_INLINE_MAX + sizeof(ItemIdData) <=
				 BLCKSZ - SizeOfPageHeaderData - VERITY_META_SIZE,
				 "a record that is not in TOAST fits block 0");

/* The special space that a data page of that number has. */
static inline Size
verity_special_size(BlockNumber blkno)
{
	return blkno == 0 ? VERITY_META_SIZE : 0;
}

/* The meta data of a page, or NULL where its special space holds none. */
static inline VerityMeta *
verity_page_meta(char *page, BlockNumber blkno)
{
	Size		size = blkno == 0 ? VERITY_META_SIZE : VERITY_META_MORE_SIZE;
	VerityMeta *meta = (VerityMeta *) (page + BLCKSZ - size);

	if (((PageHeader) page)->pd_special != BLCKSZ - size || meta->magic != VERITY_META_MAGIC)
		return NULL;
	return meta;
}

#endif							/* VERITY_LAYOUT_H */
