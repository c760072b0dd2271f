/*
 * idempotency.c
 *	  verity.idempotency_id: a role commits once under one id.
 *
 * verity.idempotency is an ordinary heap table with a unique index on
 * (role, id).  Its row is written in the committing transaction itself, so
 * that it is there exactly when the commit is; it names the serial, from
 * which the serial map leads to the position.  A lock on the hash of role and
 * id is held to the transaction's end, so that a second session with the same
 * id waits, then sees the row and is told the first one's position.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "am/journal/idempotency.h"
#include "am/journal/journal_store.h"
#include "sql/settings.h"

bool
idempotency_wanted(void)
{
	return verity_idempotency_id != NULL && verity_idempotency_id[0] != '\0';
}

/* The serial under which a role committed this id; 0: none did. */
static uint64
find_serial(Relation rel, Oid role, const uint8 id[16])
{
	pg_uuid_t	uuid;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	uint64		serial = 0;

	memcpy(uuid.data, id, sizeof(uuid.data));
	ScanKeyInit(&keys[0], IDEMPOTENCY_ROLE, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(role));
	ScanKeyInit(&keys[1], IDEMPOTENCY_ID, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(&uuid));
	scan = systable_beginscan(rel, journal_relation_oid("idempotency_pkey"), true, NULL, 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;

		serial = (uint64) DatumGetInt64(heap_getattr(tuple, IDEMPOTENCY_SERIAL, RelationGetDescr(rel), &isnull));
	}
	systable_endscan(scan);
	return serial;
}

/* One at a time for a role and id; released when the transaction ends. */
static void
lock_id(Oid relid, Oid role, const uint8 id[16])
{
	uint32		hash = hash_combine(hash_bytes(id, 16), hash_bytes_uint32(role));

	LockDatabaseObject(relid, hash, 0, ExclusiveLock);
}

/*
 * Add the row: as a catalog's, but so that logical decoding does not see it.
 * There can be more indexes than the key's: REINDEX CONCURRENTLY makes another
 * and relies on every writer.
 */
static void
insert_row(Relation rel, Datum values[IDEMPOTENCY_COLUMNS], bool nulls[IDEMPOTENCY_COLUMNS])
{
	HeapTuple	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	ListCell   *lc;

	heap_insert(rel, tuple, GetCurrentCommandId(true), HEAP_INSERT_NO_LOGICAL, NULL);
	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), RowExclusiveLock);
		IndexInfo  *info = BuildIndexInfo(index);
		Datum		keys[INDEX_MAX_KEYS];
		bool		key_nulls[INDEX_MAX_KEYS];

		for (int i = 0; i < info->ii_NumIndexAttrs; i++)
		{
			int			column = info->ii_IndexAttrNumbers[i] - 1;

			if (column < 0 || info->ii_Predicate != NIL)
				elog(ERROR, "verity.idempotency has an index on more than its columns");
			keys[i] = values[column];
			key_nulls[i] = nulls[column];
		}
		if (info->ii_ReadyForInserts)
			index_insert(index, keys, key_nulls, &tuple->t_self, rel,
						 info->ii_Unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO, false, info);
		index_close(index, NoLock);
	}
	heap_freetuple(tuple);
}

void
idempotency_claim(uint64 serial)
{
	Relation	rel = table_open(journal_relation_oid("idempotency"), RowExclusiveLock);
	Datum		values[IDEMPOTENCY_COLUMNS];
	bool		nulls[IDEMPOTENCY_COLUMNS] = {false};
	uint8		id[16];
	uint64		earlier;

	if (!verity_uuid_parse(verity_idempotency_id, id))
		elog(ERROR, "verity.idempotency_id is not a uuid");
	lock_id(RelationGetRelid(rel), GetUserId(), id);
	earlier = find_serial(rel, GetUserId(), id);
	if (earlier != 0)
	{
		VerityPosition position = 0;

		(void) verity_serial_outcome(earlier, &position);
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("idempotency id \"%s\" was already committed at position " UINT64_FORMAT,
						verity_idempotency_id, position),
				 errhint("The earlier transaction took effect: do not repeat it. Use a new id for new work.")));
	}
	values[IDEMPOTENCY_ROLE - 1] = ObjectIdGetDatum(GetUserId());
	values[IDEMPOTENCY_ID - 1] = UUIDPGetDatum((pg_uuid_t *) id);
	values[IDEMPOTENCY_SERIAL - 1] = Int64GetDatum((int64) serial);
	insert_row(rel, values, nulls);
	table_close(rel, NoLock);
}

VerityPosition
idempotency_find(Oid role, const uint8 id[16])
{
	Relation	rel = table_open(journal_relation_oid("idempotency"), AccessShareLock);
	uint64		serial = find_serial(rel, role, id);
	VerityPosition position = 0;

	table_close(rel, AccessShareLock);
	if (serial != 0)
		(void) verity_serial_outcome(serial, &position);
	return position;
}
