/*
 * dependents.c
 *	  The verity tables whose definition may name or contain an object.
 *
 * Follows pg_depend from the object to what depends on it, and from what
 * belongs to a table or domain (a constraint, default, trigger, rule or policy)
 * to that.  It may find too much, which costs a computation that changes
 * nothing; taking every table instead would wait for locks that others hold.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "am/rel.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_shdepend.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "sql/ddl/dependents.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"

/* Objects that were reached, and those whose dependents are still to be read. */
typedef struct Walk
{
	HTAB	   *seen;			/* of DependentObject */
	List	   *due;			/* of DependentObject * in seen */
	List	   *tables;			/* the result */
} Walk;

static void
reach(Walk *walk, Oid class, Oid object)
{
	DependentObject key = {class, object};
	DependentObject *entry;
	bool		found;

	entry = hash_search(walk->seen, &key, HASH_ENTER, &found);
	if (found)
		return;
	walk->due = lappend(walk->due, entry);
	if (class == RelationRelationId && verity_is_table_oid(object))
		walk->tables = lappend_oid(walk->tables, object);
}

/* The rows of a catalog of dependencies in which these two columns name the object. */
static SysScanDesc
scan_object(Relation catalog, Oid index, AttrNumber class_column, AttrNumber object_column,
			const DependentObject *object)
{
	ScanKeyData keys[2];

	/* the scan keeps a copy of the keys */
	ScanKeyInit(&keys[0], class_column, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object->class));
	ScanKeyInit(&keys[1], object_column, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object->object));
	return systable_beginscan(catalog, index, true, NULL, 2, keys);
}

/* Go on to everything that depends on the object. */
static void
reach_dependents(Walk *walk, Relation depend, const DependentObject *object)
{
	SysScanDesc scan;
	HeapTuple	row;

	scan = scan_object(depend, DependReferenceIndexId, Anum_pg_depend_refclassid, Anum_pg_depend_refobjid,
					   object);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(row);

		reach(walk, form->classid, form->objid);
	}
	systable_endscan(scan);
}

/* Go on to the table or type that the object is a part of. */
static void
reach_owner(Walk *walk, Relation depend, const DependentObject *object)
{
	SysScanDesc scan;
	HeapTuple	row;

	scan = scan_object(depend, DependDependerIndexId, Anum_pg_depend_classid, Anum_pg_depend_objid,
					   object);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(row);

		if (form->deptype != DEPENDENCY_NORMAL &&
			(form->refclassid == RelationRelationId || form->refclassid == TypeRelationId))
			reach(walk, form->refclassid, form->refobjid);
	}
	systable_endscan(scan);
}

/* Go on to what a role owns or is named in, in this database. */
static void
reach_of_role(Walk *walk, Oid role)
{
	DependentObject object = {AuthIdRelationId, role};
	Relation	shdepend = table_open(SharedDependRelationId, AccessShareLock);
	SysScanDesc scan;
	HeapTuple	row;

	scan = scan_object(shdepend, SharedDependReferenceIndexId, Anum_pg_shdepend_refclassid, Anum_pg_shdepend_refobjid,
					   &object);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		Form_pg_shdepend form = (Form_pg_shdepend) GETSTRUCT(row);

		if (form->dbid == MyDatabaseId)
			reach(walk, form->classid, form->objid);
	}
	systable_endscan(scan);
	table_close(shdepend, AccessShareLock);
}

/* Go on from an index to its table, from a composite type's columns to it. */
static void
reach_of_relation(Walk *walk, Oid relid)
{
	switch (get_rel_relkind(relid))
	{
		case RELKIND_INDEX:
		case RELKIND_PARTITIONED_INDEX:
			/* another session may have dropped it just now */
			reach(walk, RelationRelationId, IndexGetRelation(relid, true));
			break;
		case RELKIND_COMPOSITE_TYPE:
			reach(walk, TypeRelationId, get_rel_type_id(relid));
			break;
		default:
			break;
	}
}

List *
verity_dependent_tables(const DependentObject *objects, int count)
{
	HASHCTL		ctl = {.keysize = sizeof(DependentObject),.entrysize = sizeof(DependentObject),.hcxt = CurrentMemoryContext};
	Relation	depend;
	Walk		walk = {NULL, NIL, NIL};

	walk.seen = hash_create("verity dependents", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (int i = 0; i < count; i++)
		reach(&walk, objects[i].class, objects[i].object);

	depend = table_open(DependRelationId, AccessShareLock);
	for (int i = 0; i < list_length(walk.due); i++)
	{
		DependentObject object = *(DependentObject *) list_nth(walk.due, i);

		CHECK_FOR_INTERRUPTS();
		reach_dependents(&walk, depend, &object);
		if (object.class == RelationRelationId)
			reach_of_relation(&walk, object.object);
		else
			reach_owner(&walk, depend, &object);
		if (object.class == AuthIdRelationId)
			reach_of_role(&walk, object.object);
	}
	table_close(depend, AccessShareLock);
	hash_destroy(walk.seen);
	list_free(walk.due);
	return walk.tables;
}
