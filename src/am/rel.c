/*
 * rel.c
 *	  What a backend knows of a verity table.
 *
 * Entries live as long as the backend, since slots point at them; relcache's
 * rd_amcache says whether an entry is fresh, for it goes away with every
 * relcache invalidation of the table.
 */
#include "postgres.h"

#include "am/rel.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "nodes/bitmapset.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "am/table.h"

/* What rd_amcache points at. */
typedef struct RelCacheMark
{
	VerityRel  *vrel;
} RelCacheMark;

static HTAB *rels = NULL;

static VerityRel *
find_entry(Oid relid)
{
	bool		found;
	VerityRel  *vrel;

	if (rels == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(VerityRel),.hcxt = TopMemoryContext};

		rels = hash_create("verity tables", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	vrel = hash_search(rels, &relid, HASH_ENTER, &found);
	if (!found)
	{
		memset(vrel, 0, sizeof(*vrel));
		vrel->relid = relid;
	}
	return vrel;
}

/* Kept for the entry's life; what relcache needs to compute it is not. */
static Bitmapset *
index_bitmap(Relation rel, IndexAttrBitmapKind kind)
{
	Bitmapset  *computed = RelationGetIndexAttrBitmap(rel, kind);
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	Bitmapset  *result = bms_copy(computed);

	MemoryContextSwitchTo(old);
	bms_free(computed);
	return result;
}

static void
refresh_attrs(Relation rel, VerityRel *vrel)
{
	MemoryContext old;
	Bitmapset  *primary = NULL;
	Bitmapset  *identity;
	Bitmapset  *summarized;

	bms_free(vrel->index_attrs);
	bms_free(vrel->key_attrs);
	bms_free(vrel->identity_attrs);
	vrel->index_attrs = vrel->key_attrs = vrel->identity_attrs = NULL;
	vrel->index_attrs = index_bitmap(rel, INDEX_ATTR_BITMAP_HOT_BLOCKING);
	vrel->key_attrs = index_bitmap(rel, INDEX_ATTR_BITMAP_KEY);
	/* a deferrable key identifies no row, in whichever version it counts as one */
	if (OidIsValid(RelationGetPrimaryKeyIndex(rel, false)))
		primary = index_bitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	identity = index_bitmap(rel, INDEX_ATTR_BITMAP_IDENTITY_KEY);
	summarized = index_bitmap(rel, INDEX_ATTR_BITMAP_SUMMARIZED);
	old = MemoryContextSwitchTo(TopMemoryContext);
	vrel->identity_attrs = bms_add_members(primary, identity);
	vrel->index_attrs = bms_add_members(vrel->index_attrs, summarized);
	MemoryContextSwitchTo(old);
	bms_free(identity);
	bms_free(summarized);
}

static void
refresh(Relation rel, VerityRel *vrel)
{
	VerityMeta	meta;

	vrel->valid = false;
	vrel->prepared_serial = 0;
	vrel->marks.map_end = 0;
	verity_meta_read(rel, &meta);
	vrel->filenode = rel->rd_locator.relNumber;
	vrel->journalled = (meta.flags & VERITY_META_JOURNALLED) != 0;
	vrel->temporary = rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP;
	memcpy(vrel->ledger, meta.ledger, LEDGER_ID_SIZE);
	vrel->ledger_number = meta.ledger_number;
	memcpy(vrel->journal_id, meta.journal_id, sizeof(vrel->journal_id));
	vrel->key_id = meta.key_id;
	vrel->toastrelid = rel->rd_rel->reltoastrelid;
	refresh_attrs(rel, vrel);
	vrel->valid = true;
	verity_schema_load(rel, vrel);
}

VerityRel *
verity_rel(Relation rel)
{
	RelCacheMark *mark = rel->rd_amcache;

	if (mark && mark->vrel->valid && mark->vrel->filenode == rel->rd_locator.relNumber)
		return mark->vrel;
	if (mark == NULL)
	{
		mark = MemoryContextAlloc(CacheMemoryContext, sizeof(RelCacheMark));
		mark->vrel = find_entry(RelationGetRelid(rel));
		mark->vrel->valid = false;
		rel->rd_amcache = mark;
	}
	{
		VerityRel  *vrel = mark->vrel;

		/* reading catalogs below may invalidate the relcache entry */
		refresh(rel, vrel);
		return vrel;
	}
}

void
verity_rel_invalidate(Oid relid)
{
	HASH_SEQ_STATUS scan;
	VerityRel  *vrel;

	if (rels == NULL)
		return;
	hash_seq_init(&scan, rels);
	while ((vrel = hash_seq_search(&scan)) != NULL)
		if (!OidIsValid(relid) || vrel->relid == relid)
			vrel->valid = false;
}

bool
verity_is_table(Relation rel)
{
	return rel->rd_tableam == verity_table_am();
}

Oid
verity_am_oid(void)
{
	return get_table_am_oid("verity", true);
}

bool
verity_is_table_oid(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class class;
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	class = (Form_pg_class) GETSTRUCT(tuple);
	result = OidIsValid(class->relam) && class->relkind != RELKIND_INDEX &&
		class->relam == verity_am_oid();
	ReleaseSysCache(tuple);
	return result;
}

Relation
verity_open_argument(Oid relid, LOCKMODE lockmode)
{
	Relation	rel = try_relation_open(relid, lockmode);

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid),
				 errhint("Name the table by its name; it may have been dropped meanwhile.")));
	return rel;
}
