/*
 * verify_fold.c
 *	  Records, as they are read, folded into stretches.
 *
 * Most of a table is rows that were written in one go and stand in the order
 * in which they were written.  Of those nothing is kept but the Merkle
 * subtrees of their leaves and, for the indexes, a bit each.  A record of which
 * more is to be said (it was updated, or is an update) is passed on besides.
 *
 * Where in its transaction's tree a stretch begins can only be guessed here:
 * other tables take sequence numbers too.  A wrong guess costs reading again
 * (verify_trial.c), and proves nothing: a root comes out right only from the
 * leaves that were committed, each at its place.
 */
#include "postgres.h"

#include "am/map.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "sql/verify/verify.h"

/* Transactions whose records may stand mixed, as writers side by side leave them. */
#define STRETCHES_OPEN 8

/* Up to this many leaves are kept as they are, whatever their place. */
#define LEAVES_RAW 16

/* Leaves are folded in aligned blocks of so many. */
#define LEAVES_BLOCK 128
#define LEAVES_MAX (LEAVES_BLOCK + LEAVES_RAW)

typedef struct OpenStretch
{
	uint64		serial;			/* 0: not in use */
	uint64		first;			/* sequence */
	uint64		next;			/* sequence that would continue it */
	uint64		shift;			/* a leaf's place less its sequence, as guessed */
	uint8		xmin_status;
	TransactionId xmin;
	uint32		plain;
	BlockNumber first_block;
	BlockNumber last_block;
	int			leaf_count;		/* in leaves */
	int			leaf_room;		/* to be folded when there are so many */
	hash256		leaves[LEAVES_MAX];
	merkle_range range;			/* empty: all leaves are in "leaves" */
} OpenStretch;

struct VerifyFold
{
	VerifySink	in;
	VerifySink	out;
	bool		with_tids;
	bool		irregular;
	VerifyDoubt doubt;
	uint64		records;
	uint64		serial_max;		/* seen */
	int			at;				/* stretch that grew last */
	int			victim;			/* stretch that is to make room next */
	BlockNumber tid_block;		/* of "tids" */
	VerifyTidBlock tids;
	VerifyStretch *made;		/* scratch, of VERIFY_STRETCH_SIZE_MAX bytes */
	OpenStretch open[STRETCHES_OPEN];
};

/* --- stretches --- */

/* Fold the leaves that are at hand. */
static void
fold_leaves(OpenStretch *s)
{
	uint64		end;

	if (s->range.count == 0)
		merkle_range_init(&s->range, s->first + s->shift);
	if (merkle_range_append(&s->range, s->leaves, s->leaf_count) != CORE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute a hash")));
	s->leaf_count = 0;
	end = s->range.start + s->range.count;
	s->leaf_room = LEAVES_BLOCK - (int) (end % LEAVES_BLOCK);
}

/* Give a stretch out, and forget it but for its transaction. */
static void
stretch_end(VerifyFold *fold, OpenStretch *s)
{
	VerifyStretch *made = fold->made;

	if (s->serial == 0 || s->next == s->first)
		return;
	memset(made, 0, offsetof(VerifyStretch, nodes));
	made->folded = s->range.count > 0 || s->leaf_count > LEAVES_RAW;
	if (made->folded && s->leaf_count > 0)
		fold_leaves(s);
	verify_record_set_id(made->key, s->serial, (uint32) s->first);
	made->xmin_status = s->xmin_status;
	made->xmin = s->xmin;
	made->count = (uint32) (s->next - s->first);
	made->plain = s->plain;
	made->first_block = s->first_block;
	made->last_block = s->last_block;
	made->start = s->range.start;
	made->node_count = made->folded ? s->range.node_count : s->leaf_count;
	memcpy(made->nodes, made->folded ? s->range.nodes : s->leaves, made->node_count * sizeof(hash256));
	s->first = s->next;
	fold->out.stretch(fold->out.arg, made);
}

/* Begin a stretch with this record. */
static void
stretch_begin(OpenStretch *s, const VerifyRecord *record)
{
	uint64		place;

	s->first = s->next = verify_record_sequence(record);
	s->xmin = record->xmin;
	s->xmin_status = record->xmin_status;
	s->plain = 0;
	s->first_block = ItemPointerGetBlockNumberNoCheck(&record->tid);
	s->leaf_count = 0;
	merkle_range_init(&s->range, 0);
	if (s->first + s->shift > PG_UINT32_MAX)
		s->shift = 0;			/* a guess that cannot be */
	place = s->first + s->shift;
	s->leaf_room = LEAVES_BLOCK - (int) (place % LEAVES_BLOCK);
	if (s->leaf_room < LEAVES_RAW)
		s->leaf_room += LEAVES_BLOCK;
}

static inline bool
continues(const OpenStretch *s, const VerifyRecord *record)
{
	return s->next == verify_record_sequence(record) && s->xmin == record->xmin &&
		s->xmin_status == record->xmin_status && s->next != s->first;
}

/* The stretch that this record is to be added to. */
static OpenStretch *
stretch_for(VerifyFold *fold, const VerifyRecord *record, uint64 serial)
{
	OpenStretch *s = &fold->open[fold->at];

	if (s->serial != serial)
	{
		int			i;

		for (i = 0; i < STRETCHES_OPEN && fold->open[i].serial != serial; i++)
			;
		if (i == STRETCHES_OPEN)
		{
			i = fold->victim;
			fold->victim = (i + 1) % STRETCHES_OPEN;
			stretch_end(fold, &fold->open[i]);
			fold->open[i].serial = serial;
			/* what is new here may well be its first; else no other table had any */
			fold->open[i].shift = 0;
			if (serial > fold->serial_max && fold->serial_max != 0)
				fold->open[i].shift = UINT64CONST(0) - verify_record_sequence(record);
			fold->open[i].first = fold->open[i].next = 0;
		}
		fold->at = i;
		fold->serial_max = Max(fold->serial_max, serial);
		s = &fold->open[i];
	}
	if (!continues(s, record))
	{
		stretch_end(fold, s);
		stretch_begin(s, record);
	}
	return s;
}

/* --- records --- */

/*
 * Is this a row of which all is said that verify_links.c would say: a first
 * version that nothing ended, with an envelope like that?
 */
static inline bool
is_plain(const VerifyRecord *record)
{
	const uint16 harmless = VR_XMIN_CLOG | VR_XMAX_CLOG | VR_XMAX_PRESENT | VR_TOASTED;

	return record->kind == RECORD_INSERT &&
		(record->flags & ~ENVELOPE_TOASTED) == (ENVELOPE_ROOT | ENVELOPE_FIRST) &&
		(record->marks & ~harmless) == 0 && record->xmax_status == VX_NONE &&
		((record->marks & VR_XMAX_PRESENT) || verify_same_tid(&record->ctid, &record->tid)) &&
		verify_same_tid(&record->root, &record->tid) &&
		!(record->map_bits & VERITY_MAP_NO_CURRENT) &&
		!((record->map_bits & VERITY_MAP_ALL_FROZEN) && record->xmin_status == VX_COMMITTED) &&
		ItemPointerGetOffsetNumberNoCheck(&record->tid) <= MaxHeapTuplesPerPage;
}

static void
tids_end(VerifyFold *fold)
{
	if (fold->tid_block != InvalidBlockNumber)
		fold->out.tids(fold->out.arg, &fold->tids);
	fold->tid_block = InvalidBlockNumber;
}

/* Set the bit of a plain record. */
static void
note_tid(VerifyFold *fold, const ItemPointerData *tid)
{
	BlockNumber block = ItemPointerGetBlockNumberNoCheck(tid);
	int			at = ItemPointerGetOffsetNumberNoCheck(tid) - FirstOffsetNumber;

	if (block != fold->tid_block)
	{
		uint32		sortable = pg_hton32(block);

		tids_end(fold);
		fold->tid_block = block;
		memset(&fold->tids, 0, sizeof(fold->tids));
		memcpy(fold->tids.block, &sortable, sizeof(sortable));
	}
	fold->tids.plain[at / 8] |= 1 << (at % 8);
}

static void
fold_record(void *arg, const VerifyRecord *record)
{
	VerifyFold *fold = arg;
	uint64		serial = verify_record_serial(record);
	const uint16 wrong = VR_UNREADABLE | VR_TAG_FAILED | VR_XMIN_LIES;
	bool		shown = record->xmin_status == VX_COMMITTED || record->xmin_status == VX_FROZEN;
	OpenStretch *s;
	VerifyRecord copy;

	fold->records++;
	if (serial == 0 || (record->marks & wrong))
	{
		BlockNumber block = ItemPointerGetBlockNumberNoCheck(&record->tid);

		fold->irregular = true;
		if (serial == 0)
			verify_doubt(&fold->doubt, DOUBT_HEADER, block, block);
		else if (shown && (record->marks & VR_TAG_FAILED))
			verify_doubt(&fold->doubt, DOUBT_TAG, block, block);
		return;
	}
	if (!shown)
	{
		fold->out.record(fold->out.arg, record);
		return;
	}
	s = stretch_for(fold, record, serial);
	s->leaves[s->leaf_count++] = record->leaf;
	s->next++;
	s->last_block = ItemPointerGetBlockNumberNoCheck(&record->tid);
	if (s->leaf_count == s->leaf_room)
		fold_leaves(s);
	if (is_plain(record))
	{
		s->plain++;
		if (fold->with_tids)
			note_tid(fold, &record->tid);
		return;
	}
	copy = *record;
	copy.marks |= VR_FOLDED;
	fold->out.record(fold->out.arg, &copy);
}

/* What was read has a finding: then the trial has failed. */
static void
fold_finding(void *arg, const VerifyFinding *finding)
{
	VerifyFold *fold = arg;

	fold->irregular = true;
	if (strcmp(finding->check, "page") == 0)
		verify_doubt(&fold->doubt, DOUBT_PAGE, finding->block, finding->block);
}

VerifyFold *
verify_fold_begin(const VerifySink *out, bool with_tids)
{
	VerifyFold *fold = palloc0(sizeof(VerifyFold));

	fold->in.record = fold_record;
	fold->in.finding = fold_finding;
	fold->in.arg = fold;
	fold->out = *out;
	fold->with_tids = with_tids;
	fold->tid_block = InvalidBlockNumber;
	fold->made = palloc(VERIFY_STRETCH_SIZE_MAX);
	return fold;
}

const VerifySink *
verify_fold_sink(VerifyFold *fold)
{
	return &fold->in;
}

bool
verify_fold_irregular(const VerifyFold *fold)
{
	return fold->irregular;
}

VerifyDoubt
verify_fold_doubt(const VerifyFold *fold)
{
	return fold->doubt;
}

/* Give out what is still open; how many records came. */
uint64
verify_fold_end(VerifyFold *fold)
{
	uint64		records = fold->records;

	for (int i = 0; i < STRETCHES_OPEN; i++)
		stretch_end(fold, &fold->open[i]);
	tids_end(fold);
	pfree(fold->made);
	pfree(fold);
	return records;
}
