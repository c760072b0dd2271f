/*
 * opened_page.h
 *	  The opened records of one page, for who reads many of them: found without
 *	  a copy of each, opened straight into place, and brought to the pool
 *	  together.
 */
#ifndef VERITY_OPENED_PAGE_H
#define VERITY_OPENED_PAGE_H

#include "am/keys/opened.h"

typedef struct OpenedPage OpenedPage;

/* An opened record: its plaintext stands in the page's memory until the next verity_page_turn. */
typedef struct OpenedRow
{
	const uint8 *plain;			/* as a heap tuple holds it: see opened_frame.h */
	Size		plain_len;
	uint16		attributes;		/* of the sealed header */
} OpenedRow;

/* In the current memory context.  Free with verity_page_free. */
extern OpenedPage *verity_page_make(void);
extern void verity_page_free(OpenedPage *page);

/* How many of the page's records were asked for so far. */
extern int	verity_page_asked(const OpenedPage *page);

/* Is it this page of that ledger? */
extern bool verity_page_is(const OpenedPage *page, const VerityRel *vrel, BlockNumber block);

/* Bring what is new to the pool, and go to another page. */
extern void verity_page_turn(OpenedPage *page, const VerityRel *vrel, BlockNumber block);

/*
 * Find a record of the page.  Only a record whose schema version, generation
 * and key are those of the one that was looked up last: others are for
 * verity_page_look_up, which needs to know the rest.
 */
extern bool verity_page_find(OpenedPage *page, HeapTuple record, OpenedRow *row);
extern bool verity_page_look_up(OpenedPage *page, const OpenedRecord *record, OpenedRow *row);

/* Where to open a record that was not found; NULL: there is no room. */
extern uint8 *verity_page_room(OpenedPage *page, const OpenedRecord *record);

/* It was opened there, and its tag holds. */
extern void verity_page_add(OpenedPage *page, const OpenedRecord *record, OpenedRow *row);

#endif							/* VERITY_OPENED_PAGE_H */
