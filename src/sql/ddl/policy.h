/*
 * policy.h
 *	  Protection of history, as the other parts of src/sql see it.
 */
#ifndef VERITY_POLICY_H
#define VERITY_POLICY_H

#include "postgres.h"

#include "chain/control.h"
#include "utils/rel.h"

/*
 * May the table's present storage not go away?  Any relation may be asked
 * about; the caller holds a lock on it.
 */
extern bool verity_is_protected(Relation rel);

/* Queue a schema entry of this transaction.  (schema.c) */
extern void verity_journal_schema(const control_schema *body);

#endif							/* VERITY_POLICY_H */
