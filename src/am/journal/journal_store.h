/*
 * journal_store.h
 *	  What stands where in the journal's three relations, and the parts of the
 *	  journal's code as they see each other.
 *
 * verity.journal: block 0 is the meta page; every other block is an entry
 * page, a standard page with JournalPageSpecial behind its items.  An item is
 * a JournalItem followed by a fragment of a stored entry (chain/entry.h).
 * Items are never moved or removed.  An entry that fits stands whole on one
 * page; a larger one begins on a fresh page and takes as many as it needs.
 *
 * verity.journal_serials and verity.journal_heads: pages of cells of fixed
 * width, direct-mapped by serial - 1 and ledger number - 1, behind a
 * JournalCellHeader.  pd_lower covers all cells.  A page of zeros has no
 * cell set.
 */
#ifndef VERITY_JOURNAL_STORE_H
#define VERITY_JOURNAL_STORE_H

#include "am/journal/journal.h"

#include "access/tableam.h"
#include "compat.h"
#include "port/atomics.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/lwlock.h"
#include "utils/rel.h"

#define JOURNAL_FORMAT 1
#define JOURNAL_META_MAGIC 0x5672544E
#define JOURNAL_PAGE_MAGIC 0x5672544A
#define JOURNAL_SERIALS_MAGIC 0x56725453
#define JOURNAL_HEADS_MAGIC 0x56725448

#define JOURNAL_META_BLOCK 0
#define JOURNAL_FIRST_BLOCK 1

/* --- the meta page --- */

#define JOURNAL_META_GENERATIONS 980

typedef struct JournalMeta
{
	uint32		magic;
	uint16		version;
	uint8		protects;		/* verity.protect_history at genesis */
	uint8		unused;
	uint64		system_identifier;	/* of the cluster that wrote last */
	Oid			database;		/* likewise */
	uint32		ledger_count;	/* ledger numbers given out */
	uint64		reserved_serial;	/* serials up to this may be in use */
	uint8		token[16];		/* JournalShared.token of the last writer */
	uint8		journal_id[16];
	uint32		generation_count;
	uint32		unused2;
	uint64		generations[JOURNAL_META_GENERATIONS];	/* their entries'
														 * positions: number n
														 * at n - 1 */
} JournalMeta;

StaticAssertDecl(sizeof(JournalMeta) <= BLCKSZ - MAXALIGN(SizeOfPageHeaderData),
				 "the journal's meta page fits one page");

/* --- entry pages --- */

typedef struct JournalPageSpecial
{
	uint32		magic;
	uint32		version;
	uint64		first_position; /* of the first item; 0: no item */
} JournalPageSpecial;

typedef struct JournalItem
{
	uint64		position;
	TransactionId xid;			/* invalid: belongs to no transaction */
	uint32		total;			/* bytes of the stored entry */
	uint16		fragment;		/* 0 .. count - 1 */
	uint16		count;
	uint32		unused;
} JournalItem;

StaticAssertDecl(sizeof(JournalItem) == 24, "an item's head has no gaps");

#define JOURNAL_ITEM_MAX \
	MAXALIGN_DOWN(BLCKSZ - SizeOfPageHeaderData - sizeof(ItemIdData) - \
				  MAXALIGN(sizeof(JournalPageSpecial)))
#define JOURNAL_FRAGMENT_MAX (JOURNAL_ITEM_MAX - sizeof(JournalItem))
#define JOURNAL_ENTRY_MAX ((Size) JOURNAL_FRAGMENT_MAX * PG_UINT16_MAX)

#define JournalPageGetSpecial(page) ((JournalPageSpecial *) PageGetSpecialPointer(page))

/* --- cell pages --- */

typedef enum JournalCellKind
{
	CELL_SERIAL,
	CELL_HEAD
} JournalCellKind;

typedef struct JournalCellHeader
{
	uint32		magic;
	uint32		version;
} JournalCellHeader;

#define SERIAL_VOID UINT64CONST(0x8000000000000000)
#define SERIAL_POSITION(cell) ((cell) & ~SERIAL_VOID)

typedef struct JournalHead
{
	uint8		ledger[LEDGER_ID_SIZE];
	uint64		position;		/* of the last entry with an item; 0: none */
	hash256		hash;			/* of that item */
} JournalHead;

#define CELL_WIDTH(kind) ((kind) == CELL_SERIAL ? sizeof(uint64) : sizeof(JournalHead))
#define CELL_MAGIC(kind) ((kind) == CELL_SERIAL ? JOURNAL_SERIALS_MAGIC : JOURNAL_HEADS_MAGIC)
#define CELLS_PER_PAGE(kind) \
	((BLCKSZ - MAXALIGN(SizeOfPageHeaderData) - sizeof(JournalCellHeader)) / CELL_WIDTH(kind))
#define CELL_WIDTH_MAX sizeof(JournalHead)
#define SERIALS_PER_PAGE CELLS_PER_PAGE(CELL_SERIAL)

typedef struct JournalCell
{
	JournalCellKind kind;
	uint64		index;			/* serial - 1, or ledger number - 1 */
	union
	{
		uint64		serial;		/* position, with SERIAL_VOID */
		JournalHead head;
	}			value;
} JournalCell;

/* Cell pages that one WAL record changes at most. */
#define JOURNAL_CELL_PAGES 16

/* --- relations and pages: journal_store.c --- */

typedef struct JournalRels
{
	Relation	journal;
	Relation	serials;
	Relation	heads;
} JournalRels;

/* OID of verity.journal in this database (cached), InvalidOid: none. */
extern Oid	journal_oid(void);

/* OID of a relation of the extension's schema; an error where it is missing. */
extern Oid	journal_relation_oid(const char *name);

/*
 * Lock what verity_serial_outcome reads until the transaction ends, so that
 * no lock is waited for while a page is locked.
 */
extern void journal_lock_for_lookup(void);
extern void journal_rels_open(JournalRels *rels, LOCKMODE mode);
extern void journal_rels_close(JournalRels *rels, LOCKMODE mode);

extern void journal_page_init(Page page);
extern void journal_cell_page_init(Page page, JournalCellKind kind);
extern void *journal_cell_at(Page page, JournalCellKind kind, uint64 index);
extern bool journal_page_is_entries(Page page);

/* Errors when the meta page is not one. */
extern void journal_meta_read(Relation journal, JournalMeta *meta);
extern Size journal_meta_size(const JournalMeta *meta);

extern bool journal_has_block(Relation rel, uint64 blkno);

/* Read one cell; false when it was never set. */
extern bool journal_cell_read(Relation rel, JournalCell *cell);

/*
 * Copy of a block, without an error when it is damaged: false and *damage set
 * then.  For verify and for readers that must go on.
 */
extern bool journal_page_copy(Relation rel, BlockNumber blkno, char *page, const char **damage);

/* --- finding and reading entries: journal_read.c --- */

typedef struct JournalTail
{
	BlockNumber block;			/* last one with items; JOURNAL_META_BLOCK: none */
	uint64		position;		/* last complete entry; 0: none */
	BlockNumber incomplete_from;	/* blocks from here hold an entry without
									 * its end; InvalidBlockNumber: none */
} JournalTail;

extern void journal_find_tail(Relation journal, JournalTail *tail);

/* Place of an entry's first fragment; false when there is no such entry. */
extern bool journal_locate(Relation journal, uint64 position, BlockNumber *blkno, OffsetNumber *offnum);
extern VerityEntry *journal_entry_at(Relation journal, BlockNumber blkno, OffsetNumber offnum);
extern VerityEntry *journal_read_entry(Relation journal, uint64 position);

/* Decode raw bytes (palloc'd, taken over); NULL and *why when they are none. */
extern VerityEntry *journal_entry_decode(uint8 *raw, Size len, TransactionId xid, const char **why);

/* xid of an entry; false when there is no such entry. */
extern bool journal_entry_xid(Relation journal, uint64 position, TransactionId *xid);

/* --- shared state: journal_shared.c --- */

/* A transaction's entries, contiguous, of which the end is not known yet. */
typedef struct JournalRun
{
	uint64		first;
	uint64		last;
	uint64		serial;
	TransactionId xid;
} JournalRun;

#define JOURNAL_RUNS 512

/*
 * One a database.  lock protects everything but the serials, which have their
 * own; a holder of lock may take serial_lock, never the other way round.
 */
typedef struct JournalShared
{
	Oid			database;		/* InvalidOid: free */
	Oid			filenode;		/* of verity.journal */
	LWLock		lock;
	LWLock		serial_lock;
	pg_atomic_uint64 opened;	/* counts openings; 0: not open */
	bool		open;
	bool		copied;			/* what is open here is not what we opened */
	bool		broken;			/* an append stopped half-way */
	uint8		token[16];
	uint8		journal_id[16];
	VerityGeneration generation;

	uint64		last_position;
	int64		last_time;
	hash256		last_hash;
	XLogRecPtr	last_lsn;
	BlockNumber tail;
	bool		keyed;			/* the last entry has an HMAC */
	uint64		marked;			/* high-water mark in the keystore */
	TimestampTz marked_time;	/* when it was set */
	bool		mark_stays;		/* the keystore saw another history */
	int			run_first;
	int			run_count;
	JournalRun	runs[JOURNAL_RUNS];

	uint64		next_serial;
	uint64		reserved_serial;
} JournalShared;

/* This database's state, open or not; NULL where there is no journal. */
extern JournalShared *journal_shared(void);

/* The same, and whether it is open: if not, pages tell all there is. */
extern bool journal_is_open(JournalShared *shared);

/* Forget what shared memory knew: the journal is another file now. */
extern void journal_shared_reset(JournalShared *shared, Oid filenode);
extern bool journal_started_clean(void);

/* Take shared->lock exclusively, counting the wait; journal_end releases it. */
extern void journal_lock(JournalShared *shared);

extern JournalRun *journal_run(JournalShared *shared, int n);
extern void journal_run_add(JournalShared *shared, TransactionId xid, uint64 serial, uint64 position);
extern uint64 journal_shared_decided(JournalShared *shared);

/* --- appending: journal_append.c --- */

/* Relations open, lock held, journal open, ended transactions settled. */
typedef struct JournalSession
{
	JournalShared *shared;
	JournalRels rels;
} JournalSession;

extern void journal_begin(JournalSession *session);
extern void journal_end(JournalSession *session);

#define DECIDED_AS_KNOWN PG_UINT64_MAX

/* One entry to append. */
typedef struct JournalAppend
{
	entry_stored *entry;		/* kind, serial, items, body, metadata set */
	const uint32 *numbers;		/* ledger numbers of the items */
	TransactionId xid;			/* invalid: final at once */
	bool		map_serial;		/* the serial map points here */
	uint64		decided;		/* horizon to state, or DECIDED_AS_KNOWN */
	JournalMeta *meta;			/* new meta page, or NULL */
} JournalAppend;

extern uint64 journal_append(JournalSession *session, JournalAppend *append);

/*
 * Entries from before the cluster had a keystore have no HMAC.  Behind one
 * that has, there is none without: a server that lost its keystore writes no
 * entry.
 */
extern bool journal_has_hmac(const entry_stored *entry);

/* Write cells (sorted here), or a new meta page, in records of their own. */
extern void journal_write_cells(JournalSession *session, JournalCell *cells, int count);
extern void journal_write_meta(JournalSession *session, JournalMeta *meta);

/* Void entries of transactions that ended, where there are any. */
typedef struct JournalVoids
{
	control_void_member *members;
	int			count;
	int			capacity;
} JournalVoids;

extern void journal_voids_add(JournalVoids *voids, uint64 position, uint64 serial);
extern void journal_append_voids(JournalSession *session, JournalVoids *voids, uint64 decided);
extern void journal_settle(JournalSession *session);

/* A control entry of no transaction, with the session's metadata. */
extern uint64 journal_append_body(JournalSession *session, entry_kind kind, const uint8 *body,
								  Size len, JournalMeta *meta, uint64 decided);

/* The next serial of this database, reserved in WAL. */
extern uint64 journal_next_serial(void);

/* --- the keystore's high-water mark: journal_mark.c --- */

/* Keep the keystore's high-water mark near (journal_mark.c). */
typedef enum JournalMarkTime
{
	MARK_WRITING,
	MARK_LEAVING,
	MARK_TERMINATING
} JournalMarkTime;

extern void journal_mark(JournalShared *shared, JournalMarkTime when);

/* Does the journal, as it is opened, still hold what the mark says? */
extern bool journal_mark_holds(JournalSession *session, const uint8 journal_id[16]);

/* --- WAL: journal_wal.c --- */

/* A page's changes, as they are applied to it here and by redo. */
typedef struct JournalPageWrite
{
	Buffer		buffer;
	bool		init;
	JournalCellKind kind;
	char	   *data;			/* JournalCellChange array, packed */
	int			len;
} JournalPageWrite;

typedef struct JournalWrite
{
	Buffer		entry;			/* or InvalidBuffer */
	bool		entry_init;
	char	   *item;			/* JournalItem and payload; NULL: only init */
	int			item_len;
	Buffer		meta;			/* or InvalidBuffer */
	const JournalMeta *new_meta;
	int			page_count;
	JournalPageWrite pages[JOURNAL_CELL_PAGES];
} JournalWrite;

/* Change the locked pages and log it, in one critical section. */
extern XLogRecPtr journal_write(Relation journal, uint8 info, JournalWrite *write);

/* Append a cell's change to a page's data; returns bytes. */
extern int	journal_cell_change(char *at, const JournalCell *cell);
#define JOURNAL_CELL_CHANGE_MAX (sizeof(uint16) + CELL_WIDTH_MAX)

/* --- opening: journal_open.c --- */

/* Make the journal ready for appending; lock held. */
extern void journal_open(JournalSession *session);

/* Cut an unfinished entry off, put the last entry's cells in place. */
extern void journal_repair(JournalSession *session);

/* --- metadata: journal_metadata.c --- */

/* Who, from where and why, of this session; strings live in its memory. */
extern void journal_metadata(entry_metadata *metadata);

extern void journal_salt(uint8 salt[ENTRY_SALT_SIZE]);

/* --- the access method: journal_am.c --- */
extern const TableAmRoutine *verity_journal_am(void);

#define JOURNAL_CHECK(call) \
	do { \
		core_status journal_status = (call); \
		if (journal_status != CORE_OK) \
			journal_core_error(journal_status); \
	} while (0)
pg_noreturn extern void journal_core_error(core_status status);

#endif							/* VERITY_JOURNAL_STORE_H */
