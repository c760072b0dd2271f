/*
 * vacuum.h
 *	  Vacuum's parts among themselves: freezing, reclaiming, their WAL records.
 */
#ifndef VERITY_VACUUM_H
#define VERITY_VACUUM_H

#include "am/journal/journal.h"
#include "am/layout.h"
#include "am/rel.h"
#include "compat.h"

#include "access/genam.h"
#include "access/multixact.h"
#include "access/transam.h"
#include "commands/vacuum.h"
#include "storage/buf.h"
#include "utils/snapmgr.h"

/* --- WAL records (vacuum_wal.c) --- */

/* What freezing makes of one record's header. */
typedef struct xl_verity_freeze_item
{
	TransactionId xmax;
	uint16		infomask;
	uint16		infomask2;
	OffsetNumber offnum;
	uint16		flags;			/* VERITY_FREEZE_… */
} xl_verity_freeze_item;

#define VERITY_FREEZE_XMIN_INVALID 0x0001	/* aborted and kept: no xid stays */
#define VERITY_FREEZE_CTID_SELF 0x0002	/* its ender aborted */

/* XLOG_VERITY_FREEZE; block 0: the page, with count items as data */
typedef struct xl_verity_freeze
{
	TransactionId horizon;		/* standby snapshots up to this conflict */
	uint16		count;
} xl_verity_freeze;

#define SizeOfVerityFreeze (offsetof(xl_verity_freeze, count) + sizeof(uint16))

/* A root's hint put elsewhere. */
typedef struct xl_verity_hint
{
	OffsetNumber offnum;
	ItemPointerData target;
} xl_verity_hint;

/*
 * XLOG_VERITY_RECLAIM; block 0, if any: the page.  Its data: line pointers
 * that become unused, records that become ENVELOPE_CLEANED, hints.  Without a
 * block it only carries the horizon of index entries about to be removed.
 */
typedef struct xl_verity_reclaim
{
	TransactionId horizon;
	RelFileLocator node;
	uint16		unused;
	uint16		cleaned;
	uint16		hints;
} xl_verity_reclaim;

#define SizeOfVerityReclaim (offsetof(xl_verity_reclaim, hints) + sizeof(uint16))

/* XLOG_VERITY_MAP_SET; block 0: the data page, block 1: the map page */
typedef struct xl_verity_map_set
{
	TransactionId horizon;
	uint8		bits;
} xl_verity_map_set;

#define SizeOfVerityMapSet (offsetof(xl_verity_map_set, bits) + sizeof(uint8))

StaticAssertDecl(sizeof(xl_verity_freeze_item) == 12, "freeze items have no padding");
StaticAssertDecl(sizeof(xl_verity_hint) == 8, "hints have no padding");

/* What is done to a page in one XLOG_VERITY_RECLAIM record. */
typedef struct VerityReclaim
{
	int			unused;
	int			cleaned;
	int			hints;
	OffsetNumber unused_offsets[MaxHeapTuplesPerPage];
	OffsetNumber cleaned_offsets[MaxHeapTuplesPerPage];
	xl_verity_hint hint_items[MaxHeapTuplesPerPage];
} VerityReclaim;

/*
 * Do it to a locked page, and log it.  With unused line pointers the lock must
 * be a cleanup lock: bytes move.
 */
extern void verity_reclaim_page(Relation rel, Buffer buffer, const VerityReclaim *what);

/* Make standby queries go that may still need index entries removed next. */
extern void verity_log_index_horizon(Relation rel, TransactionId horizon);

/* --- freeze.c --- */

typedef struct VerityCutoffs
{
	TransactionId oldest_xmin;	/* everything before has ended, for everybody */
	MultiXactId oldest_multi;
	TransactionId freeze_limit; /* xids before it must not stay */
	MultiXactId multi_limit;
} VerityCutoffs;

/* The oldest xids that stay in the table: candidates for pg_class. */
typedef struct VerityOldest
{
	TransactionId xid;
	MultiXactId multi;
	TransactionId frozen;		/* newest committed xid frozen since the caller
								 * cleared this */
} VerityOldest;

/*
 * Plan the freezing of one record of an exclusively locked page.  Returns
 * true when *item holds a change; moves *oldest back to what stays.  May
 * create a multixact: call it outside critical sections.
 */
extern bool verity_freeze_plan(HeapTuple record, Buffer buffer, const VerityCutoffs *cutoffs,
							   xl_verity_freeze_item *item, VerityOldest *oldest);

/* Apply one item; redo uses it too. */
extern void verity_freeze_apply(Page page, BlockNumber blkno, const xl_verity_freeze_item *item);

/*
 * Apply planned items to an exclusively locked page, and log them; horizon is
 * the newest committed xid among what they freeze.
 */
extern void verity_freeze_page(Relation rel, Buffer buffer, TransactionId horizon,
							   const xl_verity_freeze_item *items, int count);

/* Does no xid of the record need freezing any more? */
extern bool verity_record_is_frozen(HeapTupleHeader record);

/* --- index_delete.c --- */

/* What the index entries of a root are good for. */
typedef enum VerityRootState
{
	ROOT_NEEDED,				/* or not known: they stay */
	ROOT_ABORTED,
	ROOT_SUPERSEDED				/* by a root with the same key, for everybody */
} VerityRootState;

/*
 * State of the root at a TID.  *buffer is a pinned page kept between calls, or
 * InvalidBuffer; *ended_by is who superseded it (may be FrozenTransactionId).
 */
extern VerityRootState verity_root_state(Relation rel, ItemPointer root, GlobalVisState *vistest,
										 Buffer *buffer, TransactionId *ended_by);

/* --- one vacuum of one table --- */

/* Roots whose index entries are to be removed; sorted before indexes are scanned. */
typedef struct VerityDeadItems
{
	int			max_items;
	int			num_items;
	ItemPointerData items[FLEXIBLE_ARRAY_MEMBER];
} VerityDeadItems;

typedef struct VerityVacuum
{
	Relation	rel;
	VerityRel  *vrel;
	Relation   *indexes;
	int			index_count;
	IndexBulkDeleteResult **index_stats;
	BufferAccessStrategy strategy;
	struct VacuumCutoffs core_cutoffs;	/* as core computed them */
	VerityCutoffs cutoffs;
	VerityOldest oldest;		/* what stays: the new relfrozenxid, relminmxid */
	GlobalVisState *vistest;

	bool		skip_pages;		/* all-frozen pages are not read */
	bool		clean_indexes;	/* entries are removed from indexes */
	bool		may_bypass;		/* … unless there are few */
	bool		failsafe;
	int			message_level;	/* of what index AMs say */

	/*
	 * Index entries to remove, and for each the record that is finished with
	 * once they are gone: an aborted root itself, or the root that superseded
	 * the dead one.  pending is in the table's order.
	 */
	VerityDeadItems *dead;
	ItemPointerData *pending;
	BlockNumber pending_pages;
	TransactionId index_horizon;	/* last end of a superseded root among them */

	/* pages kept pinned between calls */
	Buffer		mapbuf;
	Buffer		otherbuf;
	BlockNumber blkno;			/* for error messages */

	/* the journal's last answer */
	uint64		asked_serial;
	int			asked_outcome;	/* VerityOutcome */
	VerityEntry *asked_entry;
	bool		warned;

	/* counts */
	BlockNumber pages;
	BlockNumber pages_scanned;
	BlockNumber all_visible;	/* pages not marked, the same for everybody */
	int			index_scans;
	int64		live;
	int64		ending;			/* ended, but somebody may still see them */
	int64		past;
	int64		reclaimed;
	int64		missed;			/* aborted, left for the next vacuum */
	int64		entries;		/* roots whose index entries were removed */
} VerityVacuum;

/* An aborted record found on a page. */
typedef struct VerityAborted
{
	OffsetNumber offnum;
	uint8		flags;
	bool		readable;		/* id is known */
	bool		reclaim;
	record_id	id;
	ItemPointerData root;
} VerityAborted;

/* vacuum_aborted.c: decide what may be reclaimed, repair hints to it */
extern void verity_vacuum_settle(VerityVacuum *vacuum, VerityAborted *aborted, int count);

/* vacuum_page.c: first and, for a page with pending records, second pass */
extern void verity_vacuum_page(VerityVacuum *vacuum, BlockNumber blkno);
extern void verity_vacuum_page_pending(VerityVacuum *vacuum, BlockNumber blkno,
									   const ItemPointerData *pending, int count);

/* vacuum_index.c */
extern void verity_vacuum_allocate(VerityVacuum *vacuum, int workers);
extern void verity_vacuum_collect(VerityVacuum *vacuum, ItemPointer dead, ItemPointer pending);
extern void verity_vacuum_flush(VerityVacuum *vacuum, bool last);
extern void verity_vacuum_cleanup_indexes(VerityVacuum *vacuum);

/* --- all_visible.c --- */

/* A command that will count the table's all-visible pages anew reads it. */
extern void verity_note_all_visible(Relation rel);

extern void verity_all_visible_init(void);

#endif							/* VERITY_VACUUM_H */
