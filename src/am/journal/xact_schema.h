/*
 * xact_schema.h
 *	  Tables whose definition may have changed in the current transaction.
 */
#ifndef VERITY_XACT_SCHEMA_H
#define VERITY_XACT_SCHEMA_H

#include "postgres.h"

extern bool xact_schema_any_dirty(void);

/* Compute the definitions of all that are dirty. */
extern void xact_schema_compute(void);
extern void xact_schema_reset(void);
extern void xact_schema_subcommit(SubTransactionId subid, SubTransactionId parent);
extern void xact_schema_subabort(SubTransactionId subid);

#endif							/* VERITY_XACT_SCHEMA_H */
