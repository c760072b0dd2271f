/*
 * xact_ledger.h
 *	  What the current transaction did to each ledger: its Merkle state and
 *	  discarded ranges, with savepoints.
 */
#ifndef VERITY_XACT_LEDGER_H
#define VERITY_XACT_LEDGER_H

#include "postgres.h"

#include "chain/merkle.h"
#include "chain/record.h"

typedef struct LedgerRanges
{
	entry_range *list;
	uint32		count;
	uint32		capacity;
} LedgerRanges;

typedef struct LedgerSave LedgerSave;

typedef struct LedgerState
{
	uint8		ledger[LEDGER_ID_SIZE];	/* hash key */
	uint32		number;
	merkle_state merkle;
	int64		last_leaf;		/* sequence of the last leaf; -1: none */
	int64		last_touched;	/* of the last leaf or discarded record */
	int64		last_sealed;	/* of the last record that was sealed */
	LedgerRanges *ranges;
	LedgerSave *save;			/* innermost subtransaction that touched it */
} LedgerState;

/* context: lives as long as the transaction. */
extern void ledger_begin(MemoryContext context);
extern void ledger_reset(void);
extern void ledger_touch(const uint8 ledger[LEDGER_ID_SIZE], uint32 number, uint32 sequence);
extern void ledger_fold(const uint8 ledger[LEDGER_ID_SIZE], uint32 number, uint32 sequence, const hash256 *leaf);
extern void ledger_discard(const uint8 ledger[LEDGER_ID_SIZE], uint32 number, uint32 sequence);
extern void ledger_forget(const uint8 ledger[LEDGER_ID_SIZE]);
extern void ledger_subcommit(SubTransactionId subid, SubTransactionId parent);
extern void ledger_subabort(SubTransactionId subid);

/*
 * The items of the transaction's entry, sorted by ledger id, with their ledger
 * numbers; palloc'd.  Returns how many; *leaves counts their records.
 */
extern uint32 ledger_items(entry_item **items, uint32 **numbers, uint64 *leaves);

#endif							/* VERITY_XACT_LEDGER_H */
