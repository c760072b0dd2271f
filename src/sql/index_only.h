/*
 * index_only.h
 *	  Index-only scans that take their values from records.
 */
#ifndef VERITY_INDEX_ONLY_H
#define VERITY_INDEX_ONLY_H

#include "nodes/parsenodes.h"

/*
 * May the tables of this query be read by index-only scans?  False where rows
 * may be locked or changed: a row that somebody else changed meanwhile is
 * tested again by a copy of the plan, which index_only.c does not reach.
 */
extern bool verity_index_only_allowed(Query *query);

extern void verity_index_only_init(void);

#endif							/* VERITY_INDEX_ONLY_H */
