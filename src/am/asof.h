/*
 * asof.h
 *	  Reading the past: the position that the running query is bound to.
 *
 * Bound by the executor hooks (src/sql/asof.c) for the time of a query's
 * start, run and finish; 0 otherwise, and always 0 for internal queries
 * (foreign keys, ALTER validation) and non-MVCC snapshots.
 */
#ifndef VERITY_ASOF_H
#define VERITY_ASOF_H

#include "am/journal.h"
#include "access/htup_details.h"

/* The bound position, 0 for the present.  A scan reads it when it begins. */
extern VerityPosition verity_asof_bound;

/*
 * Under as-of: does the record (its page share-locked, not a tombstone) exist
 * at this position?  Its transaction is committed at or before it, and none
 * at or before it ended it.  (am/asof.c)
 */
extern bool verity_asof_visible(HeapTupleHeader record, VerityPosition position);

/* Position of the committed transaction that wrote it, 0 when none. */
extern VerityPosition verity_asof_begin_position(HeapTupleHeader record);

#endif							/* VERITY_ASOF_H */
