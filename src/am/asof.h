/*
 * asof.h
 *	  Reading the past: the position that the running query is bound to.
 *
 * Bound by the executor hooks (src/sql/past/asof.c) for the time of a query's
 * start, run and finish; 0 otherwise, and always 0 for internal queries
 * (foreign keys, ALTER validation) and non-MVCC snapshots.
 */
#ifndef VERITY_ASOF_H
#define VERITY_ASOF_H

#include "am/journal/journal.h"
#include "utils/rel.h"
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

/* --- src/sql/past/asof_setting.c --- */

/*
 * The position that a query started now reads: 0 for the present, also inside
 * SECURITY DEFINER functions and internal queries.
 */
extern VerityPosition verity_asof_active(void);

/*
 * The position that verity.as_of says, whoever asks.  What is planned while it
 * is set must be right for it and for the present: a function's cached plan
 * may run in both.
 */
extern VerityPosition verity_asof_setting(void);

/* Would parallel workers that start now read the same position? */
extern bool verity_asof_workers_agree(VerityPosition position);

/*
 * Set verity.as_of for a function's own query, and put it back.  An error in
 * between puts it back with its (sub)transaction.
 */
extern int	verity_asof_scope_begin(VerityPosition position);
extern void verity_asof_scope_end(int nest_level);

/* Errors unless the position is in the journal; waits until it is decided. */
extern void verity_asof_check_position(VerityPosition position);

/* The position of a time; errors when it is in the future or before genesis. */
extern VerityPosition verity_asof_time_position(TimestampTz time);

#endif							/* VERITY_ASOF_H */
