/*
 * schema_types.c
 *	  The types and collations that a table's columns need, and what these
 *	  need in turn, as a canonical definition states them.
 *
 * They come behind the table's facts, each once, sorted by their lines; what
 * has an order of its own (labels, attributes) carries its number.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_database.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_range.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "miscadmin.h"
#include "sql/ddl/schema.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

void
schema_need_type(SchemaText *def, Oid type)
{
	if (OidIsValid(type))
		def->types = list_append_unique_oid(def->types, type);
}

void
schema_need_collation(SchemaText *def, Oid collation)
{
	if (OidIsValid(collation))
		def->collations = list_append_unique_oid(def->collations, collation);
}

char *
schema_collate_clause(SchemaText *def, Oid collation)
{
	if (!OidIsValid(collation))
		return "";
	schema_need_collation(def, collation);
	return psprintf(" collate %s", generate_collation_name(collation));
}

static const char *
function_text(Oid function)
{
	return OidIsValid(function) ? format_procedure(function) : "none";
}

static const char *
kind_text(char kind)
{
	switch (kind)
	{
		case TYPTYPE_COMPOSITE:
			return "composite";
		case TYPTYPE_DOMAIN:
			return "domain";
		case TYPTYPE_ENUM:
			return "enum";
		case TYPTYPE_MULTIRANGE:
			return "multirange";
		case TYPTYPE_RANGE:
			return "range";
		default:
			return "base";
	}
}

/*
 * How values lie in storage and which functions read and write them.  For most
 * kinds PostgreSQL always makes these the same: a catalog that says otherwise
 * was altered.
 */
static void
put_storage(SchemaText *def, const char *name, Form_pg_type type)
{
	schema_line(def, "type %s %s length %d align %c%s input %s output %s", name,
				kind_text(type->typtype), type->typlen, type->typalign,
				type->typbyval ? " by value" : "",
				function_text(type->typinput), function_text(type->typoutput));
}

void
schema_put_layout(SchemaText *def, const char *what, Form_pg_attribute att)
{
	int16		length;
	bool		by_value;
	char		align;

	get_typlenbyvalalign(att->atttypid, &length, &by_value, &align);
	if (att->attlen != length || att->attbyval != by_value || att->attalign != align)
		schema_line(def, "%s %d length %d align %c%s", what, att->attnum, att->attlen,
					att->attalign, att->attbyval ? " by value" : "");
}

static void
put_enum(SchemaText *def, const char *name, Oid type)
{
	Relation	catalog = table_open(EnumRelationId, AccessShareLock);
	Relation	index = index_open(EnumTypIdSortOrderIndexId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;
	int			number = 0;

	ScanKeyInit(&key, Anum_pg_enum_enumtypid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(type));
	scan = systable_beginscan_ordered(catalog, index, NULL, 1, &key);
	while (HeapTupleIsValid(row = systable_getnext_ordered(scan, ForwardScanDirection)))
		schema_line(def, "type %s label %06d %s", name, ++number,
					quote_literal_cstr(NameStr(((Form_pg_enum) GETSTRUCT(row))->enumlabel)));
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(catalog, AccessShareLock);
}

static void
put_domain(SchemaText *def, const char *name, HeapTuple tuple)
{
	Form_pg_type type = (Form_pg_type) GETSTRUCT(tuple);
	bool		isnull;
	Datum		value;

	value = SysCacheGetAttr(TYPEOID, tuple, Anum_pg_type_typdefaultbin, &isnull);
	schema_line(def, "type %s domain over %s%s%s%s%s", name,
				format_type_with_typemod(type->typbasetype, type->typtypmod),
				schema_collate_clause(def, type->typcollation),
				type->typnotnull ? " not null" : "",
				isnull ? "" : " default ",
				isnull ? "" : deparse_expression(stringToNode(TextDatumGetCString(value)),
												 NIL, false, false));
	schema_need_type(def, type->typbasetype);
	schema_put_constraints(def, InvalidOid, type->oid);
}

static void
put_composite(SchemaText *def, const char *name, Oid relid)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	char	   *attribute = psprintf("type %s attribute", name);

	schema_line(def, "type %s composite of %d", name, desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			schema_line(def, "type %s attribute %d dropped length %d align %c", name, i + 1,
						att->attlen, att->attalign);
		else
			schema_line(def, "type %s attribute %d %s type %s%s", name, i + 1,
						quote_identifier(NameStr(att->attname)),
						format_type_with_typemod(att->atttypid, att->atttypmod),
						schema_collate_clause(def, att->attcollation));
		if (att->attisdropped)
			continue;
		schema_put_layout(def, attribute, att);
		schema_need_type(def, att->atttypid);
	}
	relation_close(rel, AccessShareLock);
}

static void
put_range(SchemaText *def, const char *name, Oid type)
{
	HeapTuple	tuple = SearchSysCache1(RANGETYPE, ObjectIdGetDatum(type));
	Form_pg_range range;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for range type %u", type);
	range = (Form_pg_range) GETSTRUCT(tuple);
	schema_line(def, "type %s range of %s%s opclass %s canonical %s difference %s", name,
				format_type_be(range->rngsubtype),
				schema_collate_clause(def, range->rngcollation),
				generate_opclass_name(range->rngsubopc),
				function_text(range->rngcanonical), function_text(range->rngsubdiff));
	schema_need_type(def, range->rngsubtype);
	ReleaseSysCache(tuple);
}

static void
put_type(SchemaText *def, Oid oid)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(oid));
	char	   *name = format_type_be(oid);
	Form_pg_type type;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", oid);
	type = (Form_pg_type) GETSTRUCT(tuple);
	put_storage(def, name, type);
	switch (type->typtype)
	{
		case TYPTYPE_ENUM:
			put_enum(def, name, oid);
			break;
		case TYPTYPE_DOMAIN:
			put_domain(def, name, tuple);
			break;
		case TYPTYPE_COMPOSITE:
			put_composite(def, name, type->typrelid);
			break;
		case TYPTYPE_RANGE:
			put_range(def, name, oid);
			break;
		case TYPTYPE_MULTIRANGE:
			schema_line(def, "type %s multirange of %s", name,
						format_type_be(get_multirange_range(oid)));
			schema_need_type(def, get_multirange_range(oid));
			break;
		default:
			if (OidIsValid(type->typelem))
			{
				schema_line(def, "type %s of elements %s", name, format_type_be(type->typelem));
				schema_need_type(def, type->typelem);
			}
	}
	ReleaseSysCache(tuple);
}

/* A text column of a row in a system cache, quoted; "none" when null. */
static char *
locale_text(int cache, HeapTuple tuple, AttrNumber column)
{
	bool		isnull;
	Datum		value = SysCacheGetAttr(cache, tuple, column, &isnull);

	return isnull ? "none" : quote_literal_cstr(TextDatumGetCString(value));
}

/* The database's own; its version is left out, as any database may note it. */
static void
put_default_collation(SchemaText *def)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for database %u", MyDatabaseId);
	schema_line(def, "collation \"default\" provider %c collate %s ctype %s icu %s",
				((Form_pg_database) GETSTRUCT(tuple))->datlocprovider,
				locale_text(DATABASEOID, tuple, Anum_pg_database_datcollate),
				locale_text(DATABASEOID, tuple, Anum_pg_database_datctype),
				locale_text(DATABASEOID, tuple, Anum_pg_database_datlocale));
	ReleaseSysCache(tuple);
}

static void
put_collation(SchemaText *def, Oid oid)
{
	HeapTuple	tuple;
	Form_pg_collation collation;

	if (oid == DEFAULT_COLLATION_OID)
	{
		put_default_collation(def);
		return;
	}
	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(oid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for collation %u", oid);
	collation = (Form_pg_collation) GETSTRUCT(tuple);
	schema_line(def, "collation %s provider %c%s collate %s ctype %s icu %s version %s",
				generate_collation_name(oid), collation->collprovider,
				collation->collisdeterministic ? "" : " nondeterministic",
				locale_text(COLLOID, tuple, Anum_pg_collation_collcollate),
				locale_text(COLLOID, tuple, Anum_pg_collation_collctype),
				locale_text(COLLOID, tuple, Anum_pg_collation_colllocale),
				locale_text(COLLOID, tuple, Anum_pg_collation_collversion));
	ReleaseSysCache(tuple);
}

void
schema_put_types(SchemaText *def)
{
	int			first = list_length(def->lines);

	/* both lists grow while they are described */
	for (int i = 0; i < list_length(def->types); i++)
	{
		CHECK_FOR_INTERRUPTS();
		put_type(def, list_nth_oid(def->types, i));
	}
	for (int i = 0; i < list_length(def->collations); i++)
		put_collation(def, list_nth_oid(def->collations, i));
	schema_sort_from(def, first);
}
