/*
 * verify_match.h
 *	  What verify_match.c and verify_trial.c share: the records of one
 *	  transaction beside its journal item.
 */
#ifndef VERITY_VERIFY_MATCH_H
#define VERITY_VERIFY_MATCH_H

#include "chain/merkle.h"
#include "sql/verify/verify.h"

/* The records of one serial. */
typedef struct MatchGroup
{
	uint64		serial;
	VerityPosition position;	/* of its entry, 0: none */
	bool		have_item;
	bool		strict;
	bool		is_void;
	VerifyItem	item;
	entry_range *ranges;
	uint32		range;			/* next range that may apply */
	merkle_state merkle;
	uint32		covered;		/* leaves */
	uint32		unreadable;
	uint32		closed;			/* did not open */
	uint32		first;			/* sequence of the first, of the first unreadable */
	uint32		first_bad;
	uint32		first_closed;
	ItemPointerData tid;
	uint32		last_sequence;
	BlockNumber first_block;	/* of its stretches, in a trial */
	BlockNumber last_block;
	bool		any;
} MatchGroup;

/* Begin a serial, with its item if there is one. */
extern void verify_group_begin(VerifyTable *table, MatchGroup *group, uint64 serial,
							   const VerifyItem *item);

/*
 * Is this sequence number in the entry's discarded ranges?  Ask in the order of
 * sequence numbers.
 */
extern bool verify_group_discards(MatchGroup *group, uint32 sequence);

/* Pass a record on to verify_links.c. */
extern void verify_pass_on(VerifyTable *table, const VerifyRecord *record, const MatchGroup *group,
						   VerifyTruth truth);

extern uint64 verify_item_serial(const VerifyItem *item);

#endif							/* VERITY_VERIFY_MATCH_H */
