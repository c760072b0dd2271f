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

/* --- src/sql/asof.c --- */

/*
 * The position that a query planned or started now reads: 0 for the present,
 * also inside SECURITY DEFINER functions and internal queries.
 */
extern VerityPosition verity_asof_active(void);

/*
 * Planner: leave only the indexes that are right for the active position
 * (primary key and replica identity, complete since before it).
 */
struct RelOptInfo;
extern void verity_asof_relation_info(Relation rel, struct RelOptInfo *info);

/* Run a function's own query as of a position: begin, run, end. */
typedef struct VerityAsofScope
{
	int			nest_level;		/* of the settings */
	Oid			save_user;
	int			save_context;
	bool		save_forced;
} VerityAsofScope;

extern void verity_asof_scope_begin(VerityAsofScope *scope, VerityPosition position);
extern void verity_asof_scope_end(VerityAsofScope *scope);

/* Errors unless the position is in the journal; waits until it is decided. */
extern void verity_asof_check_position(VerityPosition position);

/* The position of a time; errors when it is in the future or before genesis. */
extern VerityPosition verity_asof_time_position(TimestampTz time);

#endif							/* VERITY_ASOF_H */
