/*
 * schema.h
 *	  The definition of a verity table: its canonical text, the text's digest,
 *	  and when it is noted in the table and in the journal.
 */
#ifndef VERITY_SCHEMA_H
#define VERITY_SCHEMA_H

#include "postgres.h"

#include "chain/hash.h"
#include "nodes/pg_list.h"
#include "utils/rel.h"

/*
 * The canonical text of a table's definition as this transaction sees it now
 * (a fresh catalog snapshot): one line a fact, names instead of OIDs, in an
 * order and under settings of its own.  palloc'd.  The caller holds a lock on
 * the table.  Errors where the catalogs are broken.  (schema.c)
 */
extern char *verity_schema_definition(Oid relid);

/* SHA-256 of such a text: what a record's associated data holds. */
extern void verity_schema_digest(const char *definition, hash256 *digest);

/* Schema-qualified name, quoted where it must be; palloc'd. */
extern char *verity_schema_name(Oid relid);

/*
 * The table that rel stands for: while ALTER TABLE, CLUSTER or REFRESH writes
 * new storage for a table, that belongs to a transient one.  Else rel's own
 * OID.
 */
extern Oid	verity_schema_subject(Relation rel);

/* OIDs of all verity tables of this database.  (ddl.c) */
extern List *verity_all_tables(void);

/* --- between schema.c, schema_table.c, schema_constraints.c and schema_types.c --- */

typedef struct SchemaText
{
	List	   *lines;			/* of char *, escaped, in order */
	List	   *types;			/* OIDs of types that are described or due */
	List	   *collations;		/* the same of collations */
} SchemaText;

extern void schema_line(SchemaText *def, const char *format,...) pg_attribute_printf(2, 3);

/* Put the lines from this index on in bytewise order. */
extern void schema_sort_from(SchemaText *def, int first);

/* Have the type, or the collation, described at the end of the text. */
extern void schema_need_type(SchemaText *def, Oid type);
extern void schema_need_collation(SchemaText *def, Oid collation);

extern void schema_put_table(SchemaText *def, Relation rel, const char *name);
extern void schema_put_constraints(SchemaText *def, Oid relid, Oid type);

/* Describe all that is noted as needed, and what that needs in turn. */
extern void schema_put_types(SchemaText *def);

/*
 * How a column's values lie in a row follows from its type.  Where it does
 * not, the definition says so, and is another; "what" names the column.
 */
extern void schema_put_layout(SchemaText *def, const char *what, Form_pg_attribute att);

/* " collate …" for a collation, "" for none; notes it as needed. */
extern char *schema_collate_clause(SchemaText *def, Oid collation);

#endif							/* VERITY_SCHEMA_H */
