/*
 * verify_scan.c
 *	  A table's pages, one after the other: page and item structure, and for
 *	  each record a VerifyRecord with its leaf recomputed from the bytes.
 *
 * What can only be told with the journal or with other records is left to
 * verify_match.c and verify_links.c.  Runs in the leader and in workers.
 */
#include "postgres.h"

#include <sodium.h>

#include "access/htup_details.h"
#include "am/map.h"
#include "am/keys/seal.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "sql/verify/verify.h"
#include "storage/bufmgr.h"

/* Scratch bigger than this is given back after the record. */
#define SCRATCH_KEEP (1024 * 1024)

uint64
verify_record_serial(const VerifyRecord *record)
{
	uint64		v;

	memcpy(&v, record->key, sizeof(v));
	return pg_ntoh64(v);
}

uint32
verify_record_sequence(const VerifyRecord *record)
{
	uint32		v;

	memcpy(&v, record->key + 8, sizeof(v));
	return pg_ntoh32(v);
}

void
verify_record_set_id(uint8 key[12], uint64 serial, uint32 sequence)
{
	uint64		s = pg_hton64(serial);
	uint32		q = pg_hton32(sequence);

	memcpy(key, &s, sizeof(s));
	memcpy(key + 8, &q, sizeof(q));
}

void
verify_scan_begin(VerifyScan *scan, Relation rel, const char *object,
				  const VerifySink *sink, bool with_keys, bool guarded)
{
	memset(scan, 0, offsetof(VerifyScan, page));
	scan->rel = rel;
	scan->vrel = verity_rel(rel);
	scan->object = object;
	scan->sink = sink;
	scan->with_keys = with_keys;
	scan->guarded = guarded;
	scan->mapbuf = InvalidBuffer;
	scan->strategy = GetAccessStrategy(BAS_BULKREAD);
	verify_xids_init(&scan->xids, rel);
}

/* Give out what waits, with its leaves. */
static void
flush_pending(VerifyScan *scan)
{
	if (hash_many(scan->texts, scan->text_count, scan->leaves) != CORE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute a hash")));
	for (int i = 0; i < scan->text_count; i++)
		scan->pending[scan->text_of[i]].leaf = scan->leaves[i];
	for (int i = 0; i < scan->pending_count; i++)
		scan->sink->record(scan->sink->arg, &scan->pending[i]);
	scan->text_count = scan->pending_count = 0;
}

void
verify_scan_end(VerifyScan *scan)
{
	flush_pending(scan);
	if (BufferIsValid(scan->mapbuf))
		ReleaseBuffer(scan->mapbuf);
	if (scan->strategy)
		FreeAccessStrategy(scan->strategy);
	if (scan->toast_buffer)
		pfree(scan->toast_buffer);
	if (scan->plain)
		pfree(scan->plain);
}

/* Hand a finding about a page or an item to the sink. */
static void
scan_finding(VerifyScan *scan, const char *check, BlockNumber blkno, OffsetNumber offnum,
			 const VerifyRecord *record, const char *found)
{
	VerifyFinding f;

	verify_finding_init(&f, VERIFY_ERROR, check, scan->object, 0);
	strlcpy(f.found, found, sizeof(f.found));
	f.block = blkno;
	if (record && verify_record_serial(record) != 0)
		verify_record_name(f.record, sizeof(f.record), verify_record_serial(record),
						   verify_record_sequence(record));
	if (offnum == InvalidOffsetNumber)
		snprintf(f.detail, sizeof(f.detail), "block %u", blkno);
	else
		snprintf(f.detail, sizeof(f.detail), "item (%u,%u)", blkno, offnum);
	scan->sink->finding(scan->sink->arg, &f);
}

/* The envelope's fields, and what its xids say. */
static void
read_envelope(VerifyScan *scan, HeapTupleHeader header, VerifyRecord *record,
			  BlockNumber blkno, OffsetNumber offnum)
{
	const VerityEnvelope *envelope = VerityGetEnvelope(header);
	VerityBackLinks back = verity_get_back_links(header);
	const char *why = verify_xids_record(&scan->xids, header, record);

	record->flags = envelope->flags;
	record->ender = envelope->ender;
	record->root = envelope->root;
	record->prev = back.prev;
	record->skip = back.skip;
	record->skip_rank = back.skip_rank;
	record->skip_target_rank = back.skip_target_rank;
	record->ctid = header->t_ctid;
	ItemPointerSet(&record->tid, blkno, offnum);
	if (why)
		scan_finding(scan, "envelope", blkno, offnum, record, why);
	if (HeapTupleHeaderGetNatts(header) != 0 || header->t_hoff != VERITY_HOFF ||
		(header->t_infomask & HEAP_MOVED) ||
		(envelope->flags & ~ENVELOPE_FLAGS_VALID))
		scan_finding(scan, "envelope", blkno, offnum, record,
					 "flags that no record has");
}

/* With keys: does the record open? */
static void
try_open(VerifyScan *scan, VerifyRecord *record, const record_header *header,
		 const uint8 *header_bytes, const uint8 *cipher, Size cipher_len)
{
	const char *why = NULL;

	if (cipher_len > scan->plain_size)
	{
		if (scan->plain)
			pfree(scan->plain);
		scan->plain_size = Max(cipher_len, BLCKSZ);
		scan->plain = MemoryContextAllocHuge(CurrentMemoryContext, scan->plain_size);
	}
	if (verity_try_open_record(scan->vrel, header, header_bytes, cipher, cipher_len,
							   scan->plain, &why))
		scan->opened++;
	else
		record->marks |= VR_TAG_FAILED;
	sodium_memzero(scan->plain, cipher_len);
	if (scan->plain_size > SCRATCH_KEEP)
	{
		pfree(scan->plain);
		scan->plain = NULL;
		scan->plain_size = 0;
	}
}

/* Compute the leaf of the record that comes to wait next, or have it computed with the others. */
static void
hash_sealed(VerifyScan *scan, VerifyRecord *record, const uint8 *header, Size header_len,
			const uint8 *cipher, Size cipher_len)
{
	Size		len = 1 + header_len + cipher_len;
	hash_part	parts[2] = {{header, header_len}, {cipher, cipher_len}};
	uint8	   *text = scan->text[scan->text_count];

	scan->bytes += header_len + cipher_len;
	if (len > VERIFY_TEXT_MAX)
	{
		if (hash_parts(HASH_TYPE_LEAF, parts, 2, &record->leaf) != CORE_OK)
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not compute a hash")));
		return;
	}
	text[0] = HASH_TYPE_LEAF;
	memcpy(text + 1, header, header_len);
	memcpy(text + 1 + header_len, cipher, cipher_len);
	scan->texts[scan->text_count].data = text;
	scan->texts[scan->text_count].len = len;
	scan->text_of[scan->text_count++] = scan->pending_count;
}

/* Hash the sealed part, and open it where that is asked for. */
static void
read_sealed(VerifyScan *scan, VerifyRecord *record, const record_header *header,
			const uint8 *sealed, Size sealed_len)
{
	Size		header_len = record_header_size(header->attributes);
	const uint8 *cipher = sealed + header_len;
	Size		cipher_len = sealed_len - header_len;

	if (record->flags & ENVELOPE_TOASTED)
	{
		const char *why = NULL;

		record->marks |= VR_TOASTED;
		if (cipher_len == sizeof(varatt_external))
			cipher = verify_toast_fetch(scan, cipher, &cipher_len, &why);
		else
			cipher = NULL;
		if (cipher == NULL)
		{
			record->marks |= VR_UNREADABLE;
			return;
		}
	}
	if (cipher_len < RECORD_TAG_SIZE)
	{
		record->marks |= VR_UNREADABLE;
		return;
	}
	hash_sealed(scan, record, sealed, header_len, cipher, cipher_len);
	if (scan->with_keys)
		try_open(scan, record, header, sealed, cipher, cipher_len);
}

/* One item of the page copy. */
static void
scan_item(VerifyScan *scan, BlockNumber blkno, OffsetNumber offnum, ItemId lp)
{
	Page		page = scan->page.data;
	HeapTupleHeader header = (HeapTupleHeader) PageGetItem(page, lp);
	Size		len = ItemIdGetLength(lp);
	VerifyRecord *record = &scan->pending[scan->pending_count];
	record_header sealed;
	const uint8 *bytes;
	Size		sealed_len;

	memset(record, 0, sizeof(*record));
	record->map_bits = scan->map_bits;
	if (!verity_is_long_enough(header, len))
	{
		scan_finding(scan, "record", blkno, offnum, NULL, "an item that is too short for a record");
		return;
	}
	bytes = VerityGetSealed(header);
	sealed_len = len - verity_sealed_offset(header);
	if (record_header_decode(bytes, sealed_len, &sealed) == CORE_OK && sealed.id.serial != 0)
	{
		verify_record_set_id(record->key, sealed.id.serial, sealed.id.sequence);
		record->kind = sealed.kind;
		if (sealed.attributes & RECORD_SAME_KEY)
			record->marks |= VR_SAME_KEY;
		if (sealed.attributes & RECORD_SUPERSEDES)
		{
			record->marks |= VR_SUPERSEDES;
			record->super_serial = sealed.supersedes.serial;
			record->super_sequence = sealed.supersedes.sequence;
		}
		read_envelope(scan, header, record, blkno, offnum);
		if (!scan->envelopes_only)
			read_sealed(scan, record, &sealed, bytes, sealed_len);
	}
	else
	{
		read_envelope(scan, header, record, blkno, offnum);
		record->marks |= VR_UNREADABLE;
	}
	if (++scan->pending_count == VERIFY_BATCH)
		flush_pending(scan);
}

/* A page that the meta data go on on: no line pointers, and no room. */
static bool
is_more_meta(char *page, BlockNumber blkno)
{
	const PageHeaderData *header = (const PageHeaderData *) page;

	return blkno != 0 && header->pd_lower == MAXALIGN(SizeOfPageHeaderData) &&
		header->pd_upper == header->pd_special && verity_page_meta(page, blkno) != NULL;
}

/* Page header and line pointers; false when items cannot be found. */
static bool
scan_page_header(VerifyScan *scan, BlockNumber blkno, uint8 map_bits)
{
	PageHeader	header = (PageHeader) scan->page.data;

	if (PageGetPageSize(scan->page.data) != BLCKSZ ||
		PageGetPageLayoutVersion(scan->page.data) != PG_PAGE_LAYOUT_VERSION ||
		header->pd_lower < SizeOfPageHeaderData || header->pd_lower > header->pd_upper ||
		header->pd_upper > header->pd_special ||
		header->pd_special != BLCKSZ - verity_special_size(blkno))
	{
		scan_finding(scan, "page", blkno, InvalidOffsetNumber, NULL, "a damaged page header");
		return false;
	}
	if (PageIsAllVisible(scan->page.data))
		scan_finding(scan, "map", blkno, InvalidOffsetNumber, NULL,
					 "a page marked all-visible, which verity never does");
	if ((map_bits & VERITY_MAP_BITS) && !PageIsFull(scan->page.data))
		scan_finding(scan, "map", blkno, InvalidOffsetNumber, NULL,
					 "map bits that the page does not mirror");
	return true;
}

/* Can this line pointer's item be looked at? */
static bool
item_sound(VerifyScan *scan, BlockNumber blkno, OffsetNumber offnum, ItemId lp)
{
	PageHeader	header = (PageHeader) scan->page.data;

	if (ItemIdIsRedirected(lp))
	{
		scan_finding(scan, "link", blkno, offnum, NULL, "a redirecting line pointer");
		return false;
	}
	if (!ItemIdIsNormal(lp))
		return false;
	if (ItemIdGetOffset(lp) < header->pd_upper ||
		ItemIdGetOffset(lp) + ItemIdGetLength(lp) > header->pd_special ||
		ItemIdGetOffset(lp) != MAXALIGN(ItemIdGetOffset(lp)))
	{
		scan_finding(scan, "page", blkno, offnum, NULL, "a line pointer that points outside the items");
		return false;
	}
	return true;
}

/* Read one block of the table; the sink gets what it holds, at the latest in verify_scan_end. */
void
verify_scan_block(VerifyScan *scan, BlockNumber blkno)
{
	uint8		map_bits;
	VerifyPageState state;
	OffsetNumber offnum;
	OffsetNumber last;

	CHECK_FOR_INTERRUPTS();
	verify_throttle();
	scan->blocks++;
	if (scan->glancing)
		state = verify_page_glance(scan->rel, blkno, scan->strategy, scan->page.data,
								   &scan->mapbuf, &map_bits);
	else
		state = verify_page_copy(scan->rel, MAIN_FORKNUM, blkno, scan->strategy, scan->page.data,
								 &scan->mapbuf, &map_bits);
	if (state == VP_NEW)
		return;
	if (state != VP_OK)
		scan_finding(scan, "page", blkno, InvalidOffsetNumber, NULL,
					 state == VP_CHECKSUM ? "a page whose checksum or header is wrong" :
					 "a block that cannot be read");
	if (state == VP_UNREADABLE || verity_block_is_special(blkno) ||
		is_more_meta(scan->page.data, blkno) || !scan_page_header(scan, blkno, map_bits))
		return;
	last = PageGetMaxOffsetNumber(scan->page.data);
	scan->map_bits = map_bits;
	for (offnum = FirstOffsetNumber; offnum <= last; offnum++)
	{
		ItemId		lp = PageGetItemId(scan->page.data, offnum);

		if (item_sound(scan, blkno, offnum, lp))
			scan_item(scan, blkno, offnum, lp);
	}
}

/* Sink of verify_live_record: keep the record at one place. */
typedef struct LiveTarget
{
	OffsetNumber offnum;
	bool		found;
	VerifyRecord record;
} LiveTarget;

static void
live_record(void *arg, const VerifyRecord *record)
{
	LiveTarget *target = arg;

	if (ItemPointerGetOffsetNumber(&record->tid) == target->offnum)
	{
		target->record = *record;
		target->found = true;
	}
}

static void
live_finding(void *arg, const VerifyFinding *finding)
{
}

bool
verify_live_record(Relation rel, ItemPointer tid, VerifyRecord *record)
{
	LiveTarget	target = {ItemPointerGetOffsetNumber(tid), false};
	VerifySink	sink = {live_record, live_finding, .arg = &target};
	VerifyScan *scan;

	if (!ItemPointerIsValid(tid) ||
		ItemPointerGetBlockNumber(tid) >= RelationGetNumberOfBlocks(rel))
		return false;
	scan = palloc(sizeof(VerifyScan));
	verify_scan_begin(scan, rel, "", &sink, false, false);
	scan->envelopes_only = true;
	verify_scan_block(scan, ItemPointerGetBlockNumber(tid));
	verify_scan_end(scan);
	pfree(scan);
	*record = target.record;
	return target.found;
}
