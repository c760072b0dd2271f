/*
 * xact.h
 *	  What the current transaction did to verity tables, and its entry.
 *
 * One state a top-level transaction: serial, next sequence, and for each
 * ledger a Merkle state with the ranges that were discarded.  A
 * subtransaction's first fold into a ledger saves that ledger's state; its
 * abort puts it back and adds the sequences between to the discarded ranges.
 * The sequence counter is never restored.
 *
 * At XACT_EVENT_PRE_COMMIT: pending schema changes are computed, the
 * serializable check is taken, then the control entries and the transaction's
 * entry are appended under the journal's lock.  Any write after that errors.
 */
#ifndef VERITY_XACT_H
#define VERITY_XACT_H

#include "am/journal/journal.h"
#include "am/rel.h"

/* Serial of this transaction; assigned (with an xid) on first call. */
extern uint64 verity_xact_serial(void);

/* The serial if one is assigned, else 0. */
extern uint64 verity_xact_serial_if_any(void);

/*
 * Next sequence number, for a record of this table; error at 2^32.  If the
 * record is not folded before its subtransaction aborts, it is discarded.
 */
extern uint32 verity_xact_next_sequence(VerityRel *vrel);

/* Fold a record's leaf into its table's Merkle state (journalled tables). */
extern void verity_xact_fold(VerityRel *vrel, const record_id *id, const hash256 *leaf);

/* A record that was placed but taken back (killed speculative insert). */
extern void verity_xact_discard(VerityRel *vrel, uint32 sequence);

/* The storage of a ledger made in this transaction is gone (truncate, drop). */
extern void verity_xact_forget(const uint8 ledger[LEDGER_ID_SIZE]);

/* A control entry that commits or dies with this (sub)transaction. */
extern void verity_xact_control(entry_kind kind, const uint8 *body, Size len);

/*
 * The table's definition may have changed: at pre-commit, or at the next
 * sealing into it, it is computed and journalled.  InvalidOid: all tables.
 */
extern void verity_xact_schema_dirty(Oid relid);

/*
 * Compute, note and journal the definition of a dirty table now.  Called by
 * verity_seal_prepare and at pre-commit.  Was it another?  (schema.c implements
 * it.)
 */
extern bool verity_schema_refresh(Relation rel, VerityRel *vrel);
extern bool verity_xact_schema_is_dirty(Oid relid);
extern void verity_xact_schema_clean(Oid relid);

/* Position of this transaction's entry after pre-commit, else 0. */
extern VerityPosition verity_xact_position(void);

/* True when this transaction wrote verity tables. */
extern bool verity_xact_wrote(void);

extern void verity_xact_init(void); /* registers the callbacks; _PG_init */

#endif							/* VERITY_XACT_H */
