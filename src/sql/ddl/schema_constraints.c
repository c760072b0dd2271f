/*
 * schema_constraints.c
 *	  The constraints of a table or domain, as a canonical definition states
 *	  them.
 *
 * pg_get_constraintdef is not used: it reads with the transaction's snapshot,
 * which under REPEATABLE READ may be older than the catalogs that hold now.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "compat.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "sql/ddl/schema.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

/* An array column of a constraint's row; NULL where it is null. */
static ArrayType *
array_column(Relation catalog, HeapTuple row, AttrNumber column)
{
	bool		isnull;
	Datum		value = heap_getattr(row, column, RelationGetDescr(catalog), &isnull);

	return isnull ? NULL : DatumGetArrayTypePCopy(value);
}

/* " word (a, b)" for an array of column numbers; "" where it is null. */
static char *
columns_clause(const char *word, ArrayType *numbers, Oid relid)
{
	StringInfoData out;

	if (numbers == NULL || ARR_NDIM(numbers) == 0)
		return "";
	initStringInfo(&out);
	appendStringInfo(&out, " %s (", word);
	for (int i = 0; i < ARR_DIMS(numbers)[0]; i++)
		appendStringInfo(&out, "%s%s", i > 0 ? ", " : "",
						 quote_identifier(get_attname(relid, ((int16 *) ARR_DATA_PTR(numbers))[i], false)));
	appendStringInfoChar(&out, ')');
	return out.data;
}

/* " word (pg_catalog.=(…), …)" for an array of operators. */
static char *
operators_clause(const char *word, ArrayType *operators)
{
	StringInfoData out;

	if (operators == NULL || ARR_NDIM(operators) == 0)
		return "";
	initStringInfo(&out);
	appendStringInfo(&out, " %s (", word);
	for (int i = 0; i < ARR_DIMS(operators)[0]; i++)
		appendStringInfo(&out, "%s%s", i > 0 ? ", " : "",
						 format_operator_qualified(((Oid *) ARR_DATA_PTR(operators))[i]));
	appendStringInfoChar(&out, ')');
	return out.data;
}

static char *
check_text(Relation catalog, HeapTuple row)
{
	Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(row);
	List	   *context = NIL;
	bool		isnull;
	Datum		value;

	value = heap_getattr(row, Anum_pg_constraint_conbin, RelationGetDescr(catalog), &isnull);
	if (isnull)
		elog(ERROR, "null conbin for constraint %u", form->oid);
	if (OidIsValid(form->conrelid))
		context = deparse_context_for(get_rel_name(form->conrelid), form->conrelid);
	return psprintf("check %s%s",
					deparse_expression(stringToNode(TextDatumGetCString(value)), context, false, false),
					form->connoinherit ? " no inherit" : "");
}

static char *
foreign_key_text(Relation catalog, HeapTuple row)
{
	Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(row);

	return psprintf("foreign key%s%s references %s%s match %c on update %c on delete %c%s%s",
					columns_clause("of", array_column(catalog, row, Anum_pg_constraint_conkey), form->conrelid),
					VerityConstraintHasPeriod(form) ? " period" : "",
					verity_schema_name(form->confrelid),
					columns_clause("columns", array_column(catalog, row, Anum_pg_constraint_confkey), form->confrelid),
					form->confmatchtype, form->confupdtype, form->confdeltype,
					columns_clause("setting", array_column(catalog, row, Anum_pg_constraint_confdelsetcols), form->conrelid),
					operators_clause("equal", array_column(catalog, row, Anum_pg_constraint_conpfeqop)));
}

/* Primary key, unique and exclusion: what their index enforces. */
static char *
index_text(Relation catalog, HeapTuple row)
{
	Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(row);
	Relation	index = relation_open(form->conindid, AccessShareLock);
	List	   *predicate = RelationGetIndexPredicate(index);
	char	   *result;

	result = psprintf("%s index %s (%s) keys %d%s%s%s%s%s",
					  form->contype == CONSTRAINT_PRIMARY ? "primary key" :
					  form->contype == CONSTRAINT_UNIQUE ? "unique" : "exclude",
					  quote_identifier(RelationGetRelationName(index)),
					  pg_get_indexdef_columns(form->conindid, false),
					  index->rd_index->indnkeyatts,
					  index->rd_index->indnullsnotdistinct ? " nulls not distinct" : "",
					  VerityConstraintHasPeriod(form) ? " without overlaps" : "",
					  operators_clause("with", array_column(catalog, row, Anum_pg_constraint_conexclop)),
					  predicate ? " where " : "",
					  predicate ? deparse_expression((Node *) make_ands_explicit(predicate),
													 deparse_context_for(get_rel_name(form->conrelid), form->conrelid),
													 false, false) : "");
	relation_close(index, AccessShareLock);
	return result;
}

/* The name of the table or domain that a constraint is of. */
static char *
owner_name(Form_pg_constraint form)
{
	HeapTuple	tuple;
	char	   *name;

	if (OidIsValid(form->conrelid))
		return get_rel_name(form->conrelid);
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(form->contypid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", form->contypid);
	name = pstrdup(NameStr(((Form_pg_type) GETSTRUCT(tuple))->typname));
	ReleaseSysCache(tuple);
	return name;
}

/* Is it a name that PostgreSQL chooses: that of the table, of the column, "not_null", a number? */
static bool
has_chosen_name(Form_pg_constraint form, const char *column)
{
	const char *name = NameStr(form->conname);
	const char *number = name + strlen(name);

	while (number > name && isdigit((unsigned char) number[-1]))
		number--;
	return strcmp(name, makeObjectName(owner_name(form), column, psprintf("not_null%s", number))) == 0;
}

/*
 * NULL where the column or domain says all of it.  Older versions have no row
 * for NOT NULL: it must not make the definition another when pg_upgrade gives
 * it one, under a name that is chosen then.
 */
static char *
not_null_text(Relation catalog, HeapTuple row)
{
	Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(row);
	ArrayType  *numbers = array_column(catalog, row, Anum_pg_constraint_conkey);
	char	   *column = NULL;

	if (OidIsValid(form->conrelid) && numbers != NULL && ARR_NDIM(numbers) > 0)
		column = get_attname(form->conrelid, ((int16 *) ARR_DATA_PTR(numbers))[0], false);
	if (has_chosen_name(form, column) && form->convalidated && !form->connoinherit)
		return NULL;
	return psprintf("not null%s%s", column ? columns_clause("of", numbers, form->conrelid) : "",
					form->connoinherit ? " no inherit" : "");
}

/* NULL for kinds that the definition states elsewhere (constraint triggers). */
static char *
constraint_text(Relation catalog, HeapTuple row)
{
	switch (((Form_pg_constraint) GETSTRUCT(row))->contype)
	{
		case CONSTRAINT_CHECK:
			return check_text(catalog, row);
		case CONSTRAINT_FOREIGN:
			return foreign_key_text(catalog, row);
		case CONSTRAINT_PRIMARY:
		case CONSTRAINT_UNIQUE:
		case CONSTRAINT_EXCLUSION:
			return index_text(catalog, row);
		case CONSTRAINT_NOTNULL:
			return not_null_text(catalog, row);
	}
	return NULL;
}

/*
 * The constraints of a table (relid) or of a domain (type), unsorted.  A
 * domain's lines begin with its name.
 */
void
schema_put_constraints(SchemaText *def, Oid relid, Oid type)
{
	Relation	catalog = table_open(ConstraintRelationId, AccessShareLock);
	char	   *prefix = OidIsValid(type) ? psprintf("type %s ", format_type_be(type)) : "";
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	row;

	ScanKeyInit(&keys[0], Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	ScanKeyInit(&keys[1], Anum_pg_constraint_contypid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(type));
	scan = systable_beginscan(catalog, ConstraintRelidTypidNameIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(row);
		char	   *what = constraint_text(catalog, row);

		if (what != NULL)
			schema_line(def, "%sconstraint %s %s%s%s%s%s", prefix,
						quote_identifier(NameStr(form->conname)), what,
						form->condeferrable ? " deferrable" : "",
						form->condeferred ? " initially deferred" : "",
						VerityConstraintIsEnforced(form) ? "" : " not enforced",
						form->convalidated ? "" : " not valid");
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}
