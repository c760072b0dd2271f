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

/*
 * Errors, each.  The journal's relations are changed by nobody, and dropped
 * with the extension; the extension goes where history is not protected.
 */
extern void verity_refuse_journal_change(Oid relid, const char *operation);
extern void verity_refuse_journal_drop(Oid relid);
extern void verity_refuse_extension_change(Oid extension, const char *operation);

/* Keep rows of verity tables out of the server's log.  (log.c) */
extern void verity_log_init(void);

#endif							/* VERITY_DDL_H */
