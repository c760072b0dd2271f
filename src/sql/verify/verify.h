/*
 * verify.h
 *	  verity_verify(): what its parts hold in common.
 *
 * The order of work, and which file does it:
 *	  verify.c			the SQL function; summaries; the guard that turns an
 *						error of one object into a finding
 *	  verify_report.c	findings as rows, with a limit for each kind
 *	  verify_progress.c the shared memory behind the view verity.progress
 *	  verify_journal.c	the journal from genesis to the decided horizon, and its
 *						tail after each table
 *	  verify_entry.c	checks of one entry against the ones before
 *	  verify_control.c	what control entries say
 *	  verify_serials.c	serials and heads: the journal's own maps
 *	  verify_idempotency.c	the ids that were committed
 *	  verify_catalog.c	the tables that the journal names against the catalogs
 *	  verify_sort.c		sorts of byte strings
 *	  verify_page.c		pages, read so that a damaged one is no error
 *	  verify_xid.c		what pg_xact says of the xids in an envelope
 *	  verify_scan.c		a table's pages -> one VerifyRecord for each record
 *	  verify_toast.c	leaves of records whose ciphertext is in TOAST
 *	  verify_fold.c		records, as they come, folded into stretches
 *	  verify_trial.c	stretches against journal items: is all as it should be?
 *	  verify_match.c	records against journal items: what is not?
 *	  verify_links.c	what is current, derived from the sealed links, against
 *						the envelopes
 *	  verify_roots.c	roots, hints and skip pointers
 *	  verify_tids.c		the roots that index entries may lead to
 *	  verify_index.c	index entries against roots and rows
 *	  verify_index_pages.c	index entries, read from copies of pages
 *
 * A table is tried first: nothing is found out but whether there is anything to
 * find, with little kept for each record.  Where there is, it is read again
 * with all that it takes to name it.
 *
 * Locks: AccessShareLock on the table at hand; pages are copied under share
 * locks and looked at afterwards.  Nothing is written, so that it works on a
 * standby.  Memory is bounded by maintenance_work_mem for each sort and a few
 * bytes for each transaction that commits while a table is read.
 */
#ifndef VERITY_VERIFY_H
#define VERITY_VERIFY_H

#include "postgres.h"

#include "am/journal/journal.h"
#include "am/table.h"
#include "chain/merkle_range.h"
#include "access/htup_details.h"
#include "access/itup.h"
#include "storage/buffile.h"
#include "utils/hsearch.h"
#include "utils/tuplesort.h"

/* --- findings --- */

typedef enum VerifySeverity
{
	VERIFY_INFO,
	VERIFY_WARNING,
	VERIFY_ERROR
} VerifySeverity;

/* Fixed size, so that a worker hands it over as it is. */
typedef struct VerifyFinding
{
	VerifySeverity severity;
	uint64		position;		/* 0: none */
	char		check[32];
	char		object[2 * NAMEDATALEN + 8];
	char		record[48];		/* empty: none; so with the others */
	char		expected[160];
	char		found[160];
	char		detail[320];
	BlockNumber block;			/* where a scan of a table found it, else 0 */
} VerifyFinding;

typedef struct VerifyReport VerifyReport;

extern VerifyReport *verify_report_begin(FunctionCallInfo fcinfo);
extern void verify_report_add(VerifyReport *report, const VerifyFinding *finding);
extern uint64 verify_report_errors(const VerifyReport *report);
extern void verify_report_end(VerifyReport *report);

extern void verify_finding_init(VerifyFinding *f, VerifySeverity severity, const char *check,
								const char *object, uint64 position);
extern void verify_hex(char *out, Size out_size, const void *bytes, Size len);

/* --- one record, as the table pass found it --- */

typedef enum VerifyXidStatus
{
	VX_NONE,					/* xmax only: not ended, or locked only */
	VX_COMMITTED,
	VX_FROZEN,
	VX_ABORTED,
	VX_IN_PROGRESS,
	VX_BAD						/* impossible; has its finding already */
} VerifyXidStatus;

/* marks of a VerifyRecord */
#define VR_SUPERSEDES 0x0001
#define VR_UNREADABLE 0x0002	/* TOAST: no leaf could be computed */
#define VR_TAG_FAILED 0x0004	/* with keys: did not open */
#define VR_XMIN_LIES 0x0008		/* hint bits and pg_xact disagree on xmin */
#define VR_XMAX_LIES 0x0010
#define VR_XMIN_CLOG 0x0020		/* xmin's status came from pg_xact */
#define VR_XMAX_CLOG 0x0040
#define VR_XMAX_PRESENT 0x0080	/* raw xmax is not 0 */
#define VR_TOASTED 0x0100
#define VR_EXTRA 0x0200			/* more than its entry counts */
#define VR_SAME_KEY 0x0400		/* sealed: an update that left the key as it was */
#define VR_FOLDED 0x0800		/* its leaf is in a stretch */

/* what the journal makes of a record */
typedef enum VerifyTruth
{
	TRUTH_DEAD,					/* no committed entry covers it */
	TRUTH_COMMITTED,
	TRUTH_LATER					/* committed after the horizon or not checked
								 * strictly */
} VerifyTruth;

/*
 * key is big-endian serial and sequence, so that byte order is record order.
 * An item whose sealed header cannot be read has serial 0.
 */
typedef struct VerifyRecord
{
	uint8		key[12];
	uint8		kind;
	uint8		flags;			/* of the envelope */
	uint8		xmin_status;
	uint8		xmax_status;
	uint8		map_bits;
	uint8		truth;			/* VerifyTruth, set by verify_match */
	uint16		marks;
	ItemPointerData tid;
	ItemPointerData ctid;
	ItemPointerData root;
	ItemPointerData prev;
	ItemPointerData skip;
	uint8		skip_rank;
	uint8		skip_target_rank;
	TransactionId xmin;			/* raw */
	TransactionId updater;		/* raw updating xid of xmax, or 0 */
	uint32		super_sequence;
	uint64		super_serial;
	uint64		ender;
	uint64		entry_xid;		/* set by verify_match, with position */
	uint64		position;
	hash256		leaf;
} VerifyRecord;

extern uint64 verify_record_serial(const VerifyRecord *record);
extern uint32 verify_record_sequence(const VerifyRecord *record);
extern void verify_record_set_id(uint8 key[12], uint64 serial, uint32 sequence);
extern void verify_record_name(char *out, Size size, uint64 serial, uint32 sequence);

/* --- what folding makes of records: verify_fold.c --- */

/*
 * Records of one transaction that stood in the table in the order of their
 * sequence numbers, with none of those left out, written under one xid.  The
 * leaves themselves where they are few, else a merkle_range that begins at
 * leaf "start" of the tree, which is a guess.
 */
typedef struct VerifyStretch
{
	uint8		key[12];		/* id of the first record */
	uint8		xmin_status;
	bool		folded;			/* nodes are those of a merkle_range */
	uint16		node_count;
	uint32		count;			/* records */
	uint32		plain;			/* of them, rows that nothing else is to be said of */
	TransactionId xmin;
	BlockNumber first_block;
	BlockNumber last_block;
	uint64		start;
	hash256		nodes[FLEXIBLE_ARRAY_MEMBER];
} VerifyStretch;

#define VERIFY_STRETCH_SIZE(n) (offsetof(VerifyStretch, nodes) + (n) * sizeof(hash256))
#define VERIFY_STRETCH_SIZE_MAX VERIFY_STRETCH_SIZE(MERKLE_RANGE_NODES)

/* Which line pointers of a block are those of plain records. */
typedef struct VerifyTidBlock
{
	uint8		block[4];		/* big-endian */
	uint8		plain[(MaxHeapTuplesPerPage + 7) / 8];
} VerifyTidBlock;

/* --- sorts of binary keys --- */

typedef struct VerifySort VerifySort;

extern VerifySort *verify_sort_begin(Size size_max, int memory_kb);
extern void verify_sort_put(VerifySort *sort, const void *tuple, Size len);
extern void verify_sort_perform(VerifySort *sort);

/* Valid until the next call; NULL at the end. */
extern const void *verify_sort_next(VerifySort *sort, Size *len);
extern void verify_sort_rewind(VerifySort *sort);
extern void verify_sort_end(VerifySort *sort);

/* --- the journal's results --- */

/* One item (or, with a zero ledger, one serial) as it is sorted. */
typedef struct VerifyItem
{
	uint8		ledger[LEDGER_ID_SIZE];
	uint8		serial[8];		/* big-endian */
	uint8		where[8];		/* position, big-endian */
	uint8		kind;
	uint64		xid;			/* with the journal's own count of wraparounds
								 * in its upper half; 0: none */
	uint32		count;
	uint32		range_count;
	hash256		root;
	/* entry_range ranges[range_count] follow */
} VerifyItem;

/* A data key that the journal gives a ledger; all of it is hashed. */
typedef struct VerifyKeyNote
{
	uint64		key_id;
	uint8		ledger[LEDGER_ID_SIZE];
} VerifyKeyNote;

/* A table as the journal knows it. */
typedef struct VerifyLedger
{
	uint8		ledger[LEDGER_ID_SIZE]; /* hash key */
	uint32		number;
	Oid			relid;
	uint8		action;			/* schema_action of the last entry */
	uint32		version;
	VerityPosition schema_position; /* 0: no schema entry seen */
	hash256		digest;
	char	   *name;			/* schema-qualified */
	uint64		gaps;			/* of the journal when the last item was read */
	VerityPosition item_position;	/* last item */
	hash256		item_hash;
	uint64		items;
	uint64		records;		/* of committed items up to the horizon */
	List	   *versions;		/* VerifySchema of each row-schema version */
	bool		meta_bad;		/* the meta data's versions are not these */
} VerifyLedger;

/* A schema entry, until it is known whether it turned out void. */
typedef struct VerifySchema
{
	VerityPosition position;
	uint64		serial;
	uint8		ledger[LEDGER_ID_SIZE];
	uint8		action;
	uint32		number;
	Oid			relid;
	uint32		version;
	hash256		digest;
	char	   *name;
} VerifySchema;

/* A name that a ledger had. */
typedef struct VerifyName
{
	uint8		ledger[LEDGER_ID_SIZE];
	char	   *name;
} VerifyName;

/* Where the chain of entries has got to. */
typedef struct VerifyChain
{
	VerityPosition last;		/* position of the entry before */
	hash256		hash;			/* its hash */
	int64		time;
	VerityPosition decided;
	uint64		generation;		/* id that entries must carry; 0 before */
	uint32		generation_number;
	uint64		serial_max;
	VerityPosition decided_last;	/* of the entry before, until it is settled */
	uint64		serial_last;
	VerifyFinding pending[4];	/* about the entry before */
	int			pending_count;
	uint8		journal_id[16];
	bool		have_journal_id;
	bool		have_hash;		/* hash can be compared with the next one */
	bool		last_reported;	/* the entry before has a finding already */
	const char *damage;			/* met behind the last entry, not yet reported */
	uint64		gaps;			/* times that entries could not be read */
	VerityPosition broken;		/* the link to this position from the one
								 * before is broken and not yet reported */
	VerityPosition unsigned_first;	/* run of entries whose HMAC failed */
	VerityPosition unsigned_last;
	uint64		keyed;			/* entries whose HMAC was checked */
	VerityPosition unkeyed;		/* up to here the cluster had no keystore */
} VerifyChain;

/* An xmin that must be a subtransaction's of its serial. */
typedef struct VerifySubxid
{
	uint64		xid;			/* hash key; see VerifyItem */
	uint64		serial;
	uint32		sequence;
	VerityPosition position;
	VerifyLedger *ledger;
} VerifySubxid;

/* A growing list of positions, sorted when it is searched. */
typedef struct VerifyPositions
{
	uint64		count;
	uint64		capacity;
	bool		sorted;
	VerityPosition *at;
} VerifyPositions;

/* What the journal pass knows beyond the chain: verify_journal.c */
typedef struct VerifyJournal
{
	VerifyChain chain;
	VerifyPositions *voids;
	VerifyPositions *doubtful;
	VerifyPositions *idempotent;	/* entries with an idempotency id */
	HTAB	   *tail;			/* serials that came after the horizon */
	uint64		xid;			/* of the last entry with one, see VerifyItem */
	uint64		entries;
	uint64		transactions;
	uint64		generations;
	uint64		bytes;
} VerifyJournal;

typedef struct VerifyContext
{
	VerifyReport *report;
	MemoryContext memory;		/* as long as the call */
	VerityPosition horizon;		/* strict up to here */
	VerityPosition from;
	VerityPosition to;
	bool		with_keys;
	int			workers;
	Oid			only;			/* one table, or InvalidOid */

	/* filled by the journal pass */
	VerifyJournal *journal;
	HTAB	   *ledgers;		/* VerifyLedger */
	List	   *names;			/* VerifyName, every name ever */
	List	   *schemas;		/* VerifySchema, not yet applied */
	HTAB	   *keys;			/* VerifyKeyNote */
	VerifySort *items;
	const VerifyItem *item;		/* read ahead */
	bool		item_used;		/* and given out */
	bool		journal_cut;
	bool		journal_mute;	/* its lookups are damaged */
	HTAB	   *subxids;		/* VerifySubxid: xmins other than their entry's xid */
	uint64		journal_errors;
} VerifyContext;

/* True when a finding about this position is asked for. */
static inline bool
verify_in_range(const VerifyContext *ctx, VerityPosition position)
{
	return position >= ctx->from && position <= ctx->to;
}

/* verify_journal.c */
extern void verify_journal_pass(VerifyContext *ctx);

extern VerifyPositions *verify_positions_begin(void);
extern void verify_positions_add(VerifyPositions *p, VerityPosition position);
extern bool verify_positions_has(VerifyPositions *p, VerityPosition position);

/* Read what was appended since; call it after a table was scanned. */
extern void verify_journal_tail(VerifyContext *ctx);

/* After the last table: heads, summary. */
extern void verify_journal_finish(VerifyContext *ctx);

/* verify_serials.c */
extern void verify_serials(VerifyContext *ctx);
extern void verify_heads(VerifyContext *ctx);
extern void verify_journal_meta(VerifyContext *ctx);
extern void verify_subxids(VerifyContext *ctx);

/* verify_idempotency.c */
extern void verify_idempotency(VerifyContext *ctx);

/* Position of a serial that was appended after the horizon, else 0. */
extern VerityPosition verify_tail_position(VerifyContext *ctx, uint64 serial);

/* Apply the schema entries read so far. */
extern void verify_schemas_apply(VerifyContext *ctx);

/* Did the entry at this position, read and decided, turn out void? */
extern bool verify_is_void(VerifyContext *ctx, VerityPosition position, uint64 serial);

/* Is this entry known to be altered, missing or cut off? */
extern bool verify_is_doubtful(VerifyContext *ctx, VerityPosition position);

/* verity_serial_outcome without its errors; position 0 where it has none. */
extern VerityOutcome verify_outcome(VerifyContext *ctx, uint64 serial, VerityPosition *position);

/* Last position, and the decided one; 0 where the pages do not say. */
extern VerityPosition verify_journal_end(VerifyContext *ctx, VerityPosition *decided);

/*
 * The next item of this ledger, in serial order; NULL at its end.  Ledgers are
 * asked for in the order of their ids, and one again only after a restart.
 */
extern const VerifyItem *verify_item_next(VerifyContext *ctx, const uint8 ledger[LEDGER_ID_SIZE]);
extern void verify_item_restart(VerifyContext *ctx);

/* verify_control.c: the bodies of control entries */
extern void verify_control(VerifyContext *ctx, VerityEntry *entry);
extern void verify_void_add(VerifyContext *ctx, const control_void_member *member, VerityPosition by);

/* verify_entry.c */
extern bool verify_entry(VerifyContext *ctx, VerifyChain *chain, VerityEntry *entry);
extern void verify_entry_end(VerifyContext *ctx, VerifyChain *chain);
extern void verify_journal_finding(VerifyContext *ctx, const char *check, VerityPosition position,
								   const char *expected, const char *found,
								   const char *detail,...) pg_attribute_printf(6, 7);
extern void verify_object_finding(VerifyContext *ctx, const char *object, const char *check,
								  VerityPosition position, const char *expected, const char *found,
								  const char *detail,...) pg_attribute_printf(7, 8);
extern void verify_mark_doubtful(VerifyContext *ctx, VerityPosition position);

/* --- one table --- */

typedef struct VerifySuspect
{
	ItemPointerData tid;
	TransactionId xmin;
	uint64		serial;
	uint32		sequence;
	const char *check;
	const char *why;
	bool		used;
} VerifySuspect;

typedef struct VerifyDeficit
{
	uint64		serial;
	VerityPosition position;
	TransactionId xid;
	uint32		expected;
	uint32		found;
	uint32		sequence;		/* of the first record there, if found > 0 */
} VerifyDeficit;

/*
 * What a trial read that no healthy table has, whatever else goes on in it.
 * Reading again settles it; it is kept for the case that nothing is there then.
 */
typedef enum VerifyDoubtKind
{
	DOUBT_NONE,
	DOUBT_PAGE,
	DOUBT_HEADER,
	DOUBT_TAG,
	DOUBT_DUPLICATE,
	DOUBT_ROOT
} VerifyDoubtKind;

typedef struct VerifyDoubt
{
	VerifyDoubtKind kind;
	BlockNumber first;			/* blocks that it is about */
	BlockNumber last;
} VerifyDoubt;

typedef struct VerifyTable
{
	VerifyContext *ctx;
	VerifyLedger *ledger;
	Relation	rel;
	VerityRel  *vrel;
	char		object[2 * NAMEDATALEN + 8];
	BlockNumber nblocks;
	bool		trial;			/* find out only whether anything is wrong */
	bool		irregular;		/* in a trial: something is, or may be */
	VerifyDoubt doubt;			/* in a trial: the first */
	bool		closed;			/* when judged: a record does not open, finding or not */
	bool		indexed;		/* TIDs are kept for its indexes */
	VerifySort *sorted;			/* VerifyRecord by id */
	VerifySort *stretches;		/* VerifyStretch by id, in a trial */
	BufFile    *matched;		/* VerifyRecord in order, with truth */
	uint64		matched_count;
	VerifySort *enders;			/* VerifyRecord behind the superseded id */
	VerifySort *roots;			/* members of roots, see verify_roots.c */
	VerifySort *tids;			/* roots for the indexes: see verify_tids.c */
	VerifySort *tid_blocks;		/* VerifyTidBlock, in a trial */
	VerifySort *past;			/* roots of deleted and re-keyed rows */
	VerifyPositions *noted;		/* keys that this table put in subxids */
	List	   *suspects;		/* VerifySuspect */
	List	   *deficits;		/* VerifyDeficit */
	HTAB	   *damaged;		/* serials that have a finding */
	HTAB	   *reported;		/* TIDs that have one about their envelope */
	uint64		findings;		/* of this table */
	uint64		records;		/* read */
	uint64		bytes;			/* hashed */
	uint64		opened;
	uint64		current;
	uint64		transactions;
} VerifyTable;

extern void verify_table_finding(VerifyTable *table, const char *check, VerityPosition position,
								 const char *record, const char *expected, const char *found,
								 const char *detail,...) pg_attribute_printf(7, 8);
extern void verify_mark_damaged(VerifyTable *table, uint64 serial);
extern bool verify_is_damaged(VerifyTable *table, uint64 serial);

/* verify_tids.c: a TID in memcmp order, with what is known of it */
typedef struct VerifyTid
{
	uint8		block[4];
	uint8		offnum[2];
	uint8		current;		/* of roots: 0 first, for current ones */
	uint8		unused;
	uint32		fingerprint;	/* of the indexed values */
} VerifyTid;

extern void verify_tid_set(VerifyTid *out, const ItemPointerData *tid);
extern int	verify_tid_compare(const VerifyTid *a, const VerifyTid *b);
extern void verify_tids_put(VerifyTable *table, const VerifyRecord *record, bool current);

/* The roots in order, from the first on; NULL at the end. */
typedef struct VerifyTids VerifyTids;
extern VerifyTids *verify_tids_begin(VerifyTable *table);
extern const VerifyTid *verify_tids_next(VerifyTids *tids);
extern void verify_tids_end(VerifyTids *tids);

/* verify_page.c: a copy of a page that never errors */
typedef enum VerifyPageState
{
	VP_OK,
	VP_NEW,						/* all zeros */
	VP_CHECKSUM,				/* copied, but the checksum or header is wrong */
	VP_UNREADABLE				/* the file could not be read there */
} VerifyPageState;

extern VerifyPageState verify_page_copy(Relation rel, ForkNumber fork, BlockNumber blkno,
										BufferAccessStrategy strategy, char *page,
										Buffer *mapbuf, uint8 *map_bits);

extern VerifyPageState verify_page_glance(Relation rel, BlockNumber blkno,
										  BufferAccessStrategy strategy, char *page,
										  Buffer *mapbuf, uint8 *map_bits);

/* Blocks of a fork that cannot be read soundly; *first is the first one. */
extern BlockNumber verify_fork_damage(Relation rel, ForkNumber fork, BlockNumber *first);

/* verify_xid.c */
typedef struct VerifyXids
{
	TransactionId relfrozenxid;
	MultiXactId relminmxid;
	TransactionId next;			/* as last read */
	TransactionId cached_xid;
	VerifyXidStatus cached_status;
} VerifyXids;

extern void verify_xids_init(VerifyXids *xids, Relation rel);

/* Sets xmin and xmax fields of *record; a static message when impossible. */
extern const char *verify_xids_record(VerifyXids *xids, HeapTupleHeader header, VerifyRecord *record);

/* verify_scan.c, verify_fold.c: where the results go; the last two from folding */
typedef struct VerifySink
{
	void		(*record) (void *arg, const VerifyRecord *record);
	void		(*finding) (void *arg, const VerifyFinding *finding);
	void		(*stretch) (void *arg, const VerifyStretch *stretch);
	void		(*tids) (void *arg, const VerifyTidBlock *tids);
	void	   *arg;
} VerifySink;

/* Leaves that are hashed together, each of up to so many bytes. */
#define VERIFY_BATCH 64
#define VERIFY_TEXT_MAX 512

typedef struct VerifyScan
{
	Relation	rel;
	VerityRel  *vrel;
	const char *object;
	const VerifySink *sink;
	VerifyXids	xids;
	BufferAccessStrategy strategy;
	Buffer		mapbuf;
	bool		with_keys;
	bool		guarded;		/* TOAST fetches may be rolled back */
	bool		envelopes_only; /* hash and open nothing */
	bool		glancing;		/* a trial's: see verify_page_glance */
	uint8		map_bits;		/* of the block at hand */
	char	   *toast_buffer;
	Size		toast_size;
	Size		toast_limit;	/* bytes of the TOAST table when first asked */
	uint8	   *plain;			/* scratch to open records into */
	Size		plain_size;
	uint64		bytes;
	uint64		opened;
	uint64		blocks;
	int			pending_count;	/* records whose leaves are hashed together */
	int			text_count;
	PGAlignedBlock page;
	VerifyRecord pending[VERIFY_BATCH];
	int			text_of[VERIFY_BATCH];	/* the record that a text is of */
	hash_part	texts[VERIFY_BATCH];	/* what its leaf is the hash of */
	hash256		leaves[VERIFY_BATCH];
	uint8		text[VERIFY_BATCH][VERIFY_TEXT_MAX];
} VerifyScan;

extern void verify_scan_begin(VerifyScan *scan, Relation rel, const char *object,
							  const VerifySink *sink, bool with_keys, bool guarded);
/* Gives out what waits to be hashed with others. */
extern void verify_scan_end(VerifyScan *scan);
/* Wait where this process reads faster than verity.verify_rate_limit. */
extern void verify_throttle(void);

extern void verify_scan_block(VerifyScan *scan, BlockNumber blkno);

/* The record that is at tid now; false when there is none. */
/* ItemPointerEquals, which asserts that both are valid; forged ones need not be. */
static inline bool
verify_same_tid(const ItemPointerData *a, const ItemPointerData *b)
{
	return ItemPointerCompare(unconstify(ItemPointerData *, a), unconstify(ItemPointerData *, b)) == 0;
}

extern bool verify_live_record(Relation rel, ItemPointer tid, VerifyRecord *record);

/* verify_toast.c: pieces of a TOASTed record's ciphertext || tag */
extern const uint8 *verify_toast_fetch(VerifyScan *scan, const uint8 *pointer, Size *len,
									   const char **why);

/*
 * verify_fold.c: a sink that folds, in front of another one.  Irregular is what
 * a trial cannot accept; no more need be read then.
 */
typedef struct VerifyFold VerifyFold;
extern VerifyFold *verify_fold_begin(const VerifySink *out, bool with_tids);
extern const VerifySink *verify_fold_sink(VerifyFold *fold);
extern bool verify_fold_irregular(const VerifyFold *fold);
extern VerifyDoubt verify_fold_doubt(const VerifyFold *fold);
extern uint64 verify_fold_end(VerifyFold *fold);	/* records folded or passed on */

/* verify.c: run work; false and its message on error */
typedef void (*VerifyWork) (void *arg);
extern bool verify_guard(VerifyWork work, void *arg, char *message, Size message_size);

/* verify_trial.c: true when there is nothing to find in the table's records */
extern bool verify_trial(VerifyTable *table);
extern void verify_doubt(VerifyDoubt *doubt, VerifyDoubtKind kind, BlockNumber first, BlockNumber last);

/* verify_match.c, verify_links.c, verify_roots.c, verify_index.c */
extern void verify_match(VerifyTable *table);
extern void verify_links(VerifyTable *table);
extern void verify_note_subxid(VerifyTable *table, const VerifyRecord *record);
extern void verify_roots_put(VerifyTable *table, const VerifyRecord *record, bool ended_inside);
extern void verify_roots(VerifyTable *table);
extern void verify_past_put(VerifyTable *table, const VerifyRecord *record, VerityPosition ended);
extern Size verify_past_size(void);
extern void verify_indexes(VerifyTable *table);

/* verify_index_pages.c: tuple is NULL for SP-GiST */
typedef void (*VerifyIndexEntry) (void *arg, ItemPointer tid, IndexTuple tuple, Size len);
extern bool verify_index_known(Relation index);
extern const char *verify_index_walk(Relation index, VerifyIndexEntry entry, void *arg, BlockNumber *at);
extern bool verify_index_tuple_sound(TupleDesc desc, IndexTuple tuple, Size len);

/* verify_catalog.c: calls back for each table that can be verified */
extern void verify_catalog_pass(VerifyContext *ctx, void (*table) (VerifyContext *, VerifyLedger *, Relation));

/* bgworker/verify_worker.c: scan all blocks of a table with workers */
typedef enum VerifyParallel
{
	PARALLEL_DONE,
	PARALLEL_NONE,				/* no worker could be had */
	PARALLEL_FAILED				/* an error; the sink has part of the results */
} VerifyParallel;

extern VerifyParallel verify_scan_parallel(VerifyTable *table, const VerifySink *sink, int workers);

/* verify_progress.c */
extern void verify_progress_begin(void);
extern void verify_progress_set(const char *phase, const char *object, uint64 total);
extern void verify_progress_add(uint64 done, uint64 records);
extern void verify_progress_end(void);

#endif							/* VERITY_VERIFY_H */
