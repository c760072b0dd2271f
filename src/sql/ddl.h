/*
 * ddl.h
 *	  The parts of what verity does at DDL.
 */
#ifndef VERITY_DDL_H
#define VERITY_DDL_H

#include "postgres.h"

#include "nodes/nodes.h"

/* Refuse what a utility command must not do, before it begins. */
extern void verity_refuse_utility(Node *statement);

/* Is this relation one of the journal's own? */
extern bool verity_is_journal_relation(Oid relid);

/* Errors when the journal protects history. */
extern void verity_refuse_journal_change(Oid relid, const char *operation);
extern void verity_refuse_extension_drop(Oid extension);

/* Keep rows of verity tables out of the server's log.  (log.c) */
extern void verity_log_init(void);

#endif							/* VERITY_DDL_H */
