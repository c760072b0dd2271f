/*
 * opened.h
 *	  The pool of opened records: what a record's bytes opened to, remembered.
 */
#ifndef VERITY_OPENED_H
#define VERITY_OPENED_H

#include "am/rel.h"

extern int	verity_opened_pool_mb;	/* 0: no pool */

/* A record on a page, and all that its opening depends on besides the key. */
typedef struct OpenedRecord
{
	const uint8 *ledger;		/* LEDGER_ID_SIZE bytes */
	const hash256 *digest;		/* of its schema version */
	uint64		generation_id;
	ItemPointerData tid;
	const uint8 *header;		/* the sealed part, as it stands on the page */
	Size		header_len;
	const uint8 *cipher;		/* ciphertext || tag */
	Size		plain_len;
} OpenedRecord;

/* Copy what these bytes opened to into out, where the pool has it. */
extern bool verity_opened_get(const OpenedRecord *record, uint8 *out);

/* Remember what they opened to, where the pool has room. */
extern void verity_opened_put(const OpenedRecord *record, const uint8 *plain);

#endif							/* VERITY_OPENED_H */
