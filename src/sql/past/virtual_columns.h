/*
 * virtual_columns.h
 *	  Virtual generated columns, whose values no record holds.
 */
#ifndef VERITY_VIRTUAL_COLUMNS_H
#define VERITY_VIRTUAL_COLUMNS_H

#include "postgres.h"

#include "utils/rel.h"

typedef struct VirtualColumns VirtualColumns;

/* Make ready to compute those of a table; NULL: it has none. */
extern VirtualColumns *virtual_columns_begin(Relation rel);

/*
 * Compute them from a row's other columns, by the expressions that the table
 * has now.  Their values are in the caller's memory context.  Errors where an
 * expression does.
 */
extern void virtual_columns_fill(VirtualColumns *columns, Datum *values, bool *nulls);

extern void virtual_columns_end(VirtualColumns *columns);

#endif							/* VERITY_VIRTUAL_COLUMNS_H */
