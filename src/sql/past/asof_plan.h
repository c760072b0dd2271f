/*
 * asof_plan.h
 *	  Plans for the past: what the rest of as-of asks of them.
 */
#ifndef VERITY_ASOF_PLAN_H
#define VERITY_ASOF_PLAN_H

#include "am/asof.h"
#include "nodes/pathnodes.h"
#include "nodes/plannodes.h"

/* Was this plan made for reading that position? */
extern bool verity_plan_is_for(const PlannedStmt *plan, VerityPosition position);

/* Leave only the indexes that are right for the position that is planned for. */
extern void verity_asof_relation_info(Relation rel, RelOptInfo *info);

/* Take back what today's partition bounds say of the order of rows. */
extern void verity_asof_relation_paths(RelOptInfo *rel);

extern void verity_asof_plan_init(void);

#endif							/* VERITY_ASOF_PLAN_H */
