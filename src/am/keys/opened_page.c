/*
 * opened_page.c
 *	  The opened records of one page, in the memory of who reads them.
 *
 * What the pool has of the page is copied once; a record is then found by its
 * line pointer and the same comparisons as in the pool (opened.c), and its
 * plaintext used where it stands.  A record that is not there is opened into
 * place.  When the reader goes on to another page, a page with something new
 * in it is brought to the pool: one copy, and one decision whether the pool
 * takes it.
 *
 * A record's schema digest and generation id follow from its header's schema
 * version, generation and key, 16 bytes that hardly change from one record to
 * the next.  So once they were compared for one record, comparing those bytes
 * is enough for the next, while the table's ledger is the same.
 */
#include "postgres.h"

#include "am/keys/opened_frame.h"
#include "am/keys/opened_page.h"

#define ORIGIN_AT 16			/* schema version, generation, key id */
#define ORIGIN_SIZE 16

struct OpenedPage
{
	bool		is_new;			/* has what the pool has not */
	bool		origin_known;
	uint8		origin_binding; /* what follows from origin */
	uint8		origin[ORIGIN_SIZE];
	int			asked;
	OpenedContent content;
};

StaticAssertDecl(offsetof(OpenedPage, content) % MAXIMUM_ALIGNOF == 0, "columns are read in place");
StaticAssertDecl(ORIGIN_AT + ORIGIN_SIZE == RECORD_HEADER_SIZE, "a header ends with the record's origin");

OpenedPage *
verity_page_make(void)
{
	OpenedPage *page = palloc(sizeof(OpenedPage));

	page->is_new = false;
	page->asked = 0;
	page->content.block = InvalidBlockNumber;
	return page;
}

/* Bring what is new to the pool. */
static void
page_leave(OpenedPage *page)
{
	if (page->is_new)
		verity_opened_store(&page->content);
	page->is_new = false;
}

void
verity_page_free(OpenedPage *page)
{
	page_leave(page);
	pfree(page);
}

int
verity_page_asked(const OpenedPage *page)
{
	return page->asked;
}

bool
verity_page_is(const OpenedPage *page, const VerityRel *vrel, BlockNumber block)
{
	return opened_is_of(&page->content, vrel->ledger, block);
}

void
verity_page_turn(OpenedPage *page, const VerityRel *vrel, BlockNumber block)
{
	page_leave(page);
	page->asked = 0;
	page->origin_known = false;
	if (!verity_opened_load(&page->content, vrel->ledger, block))
		opened_reset(&page->content, vrel->ledger, block);
}

/* The row of an entry. */
static inline void
row_of(const OpenedContent *content, const OpenedEntry *entry, Size header_len, OpenedRow *row)
{
	const uint8 *data = content->data + entry->at;

	Assert(entry->at + opened_plain_offset(header_len, entry->nulls) + entry->plain_len <= content->used);
	row->plain = data + opened_plain_offset(header_len, entry->nulls);
	row->plain_len = entry->plain_len;
	row->attributes = (uint16) data[2] << 8 | data[3];
}

bool
verity_page_find(OpenedPage *page, HeapTuple record, OpenedRow *row)
{
	int			item = ItemPointerGetOffsetNumberNoCheck(&record->t_self) - FirstOffsetNumber;
	const uint8 *header = VerityGetSealed(record->t_data);
	const OpenedEntry *entry;
	Size		header_len;
	Size		rest;

	page->asked++;
	if (item < 0 || item >= OPENED_RECORDS || !page->origin_known ||
		!opened_same_16(page->origin, header + ORIGIN_AT) ||
		VerityGetEnvelope(record->t_data)->hoff != VERITY_HOFF ||
		(VerityGetEnvelope(record->t_data)->flags & ENVELOPE_TOASTED) != 0)
		return false;
	entry = &page->content.entries[item];
	header_len = record_header_size((uint16) header[2] << 8 | header[3]);
	rest = verity_sealed_offset(record->t_data) + header_len + RECORD_TAG_SIZE;
	if (!entry->present || entry->binding != page->origin_binding ||
		rest + entry->plain_len != record->t_len)
		return false;
	if (!opened_same_sealed(page->content.data + entry->at, header, header_len,
							header + header_len + entry->plain_len))
		return false;
	row_of(&page->content, entry, header_len, row);
	return true;
}

/* Remember what follows from the origin of a record that is there. */
static void
remember_origin(OpenedPage *page, const OpenedRecord *record, const OpenedEntry *entry)
{
	memcpy(page->origin, record->header + ORIGIN_AT, ORIGIN_SIZE);
	page->origin_binding = entry->binding;
	page->origin_known = true;
}

/* The record's entry, if it may have one. */
static OpenedEntry *
entry_of(OpenedPage *page, const OpenedRecord *record)
{
	int			item = ItemPointerGetOffsetNumberNoCheck(&record->tid) - FirstOffsetNumber;

	return item >= 0 && item < OPENED_RECORDS ? &page->content.entries[item] : NULL;
}

bool
verity_page_look_up(OpenedPage *page, const OpenedRecord *record, OpenedRow *row)
{
	const OpenedEntry *entry = entry_of(page, record);

	if (entry == NULL || !entry->present || entry->plain_len != record->plain_len ||
		!opened_same_sealed(page->content.data + entry->at, record->header, record->header_len,
							record->cipher + record->plain_len) ||
		!opened_binding_is(&page->content.bindings[entry->binding], record))
		return false;
	remember_origin(page, record, entry);
	row_of(&page->content, entry, record->header_len, row);
	return true;
}

uint8 *
verity_page_room(OpenedPage *page, const OpenedRecord *record)
{
	return entry_of(page, record) != NULL ? opened_room(&page->content, record) : NULL;
}

void
verity_page_add(OpenedPage *page, const OpenedRecord *record, OpenedRow *row)
{
	OpenedEntry *entry = entry_of(page, record);

	opened_add(&page->content, record, entry - page->content.entries);
	page->is_new = true;
	remember_origin(page, record, entry);
	row_of(&page->content, entry, record->header_len, row);
}
