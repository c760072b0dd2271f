/*
 * rel.h
 *	  What a backend knows of a verity table, and its meta data.
 */
#ifndef VERITY_REL_H
#define VERITY_REL_H

#include "am/layout.h"
#include "compat.h"
#include "utils/rel.h"

struct VerityStorageTag;

/* How many pages the map marks, and at which state of the map (estimate.c). */
typedef struct VerityMarks
{
	uint64		map_end;		/* the first block behind the map pages; 0: not counted yet */
	BlockNumber count;
	uint64		version;		/* sum of the map pages' LSNs */
} VerityMarks;

/*
 * Cached for each verity table that this backend touched.  The pointer stays
 * good for the backend's life (slots keep it); the fields are refreshed by
 * verity_rel after a relcache invalidation or a change of storage.
 */
typedef struct VerityRel
{
	Oid			relid;			/* hash key */
	bool		valid;
	Oid			filenode;		/* storage that the fields below describe */
	bool		journalled;		/* false: temporary, unlogged, materialized */
	bool		temporary;
	uint8		ledger[LEDGER_ID_SIZE];
	uint32		ledger_number;
	uint8		journal_id[16];
	uint32		schema_version; /* current */
	hash256		schema_digest;	/* of schema_version */
	uint64		key_id;			/* current, 0: none yet */
	Oid			toastrelid;
	uint64		prepared_serial;	/* readied to be sealed into by this
									 * transaction (seal.c); 0 after a refresh */
	VerityMarks marks;
	Bitmapset  *index_attrs;	/* columns of any index, offset by
								 * FirstLowInvalidHeapAttributeNumber */
	Bitmapset  *key_attrs;		/* columns that a foreign key may reference
								 * (INDEX_ATTR_BITMAP_KEY): decide the lock */
	Bitmapset  *identity_attrs; /* columns of primary key and replica identity:
								 * decide ENVELOPE_SAME_KEY */
	struct VerityStorageTag *storage_tag;	/* last made (seal_storage.c), or NULL */
} VerityRel;

extern VerityRel *verity_rel(Relation rel);

/* Have verity_rel read this table's facts again; InvalidOid: every table's. */
extern void verity_rel_invalidate(Oid relid);

/* True when rel is a table whose access method is verity. */
extern bool verity_is_table(Relation rel);
extern bool verity_is_table_oid(Oid relid);

/* The OID of access method "verity", InvalidOid where it is not installed. */
extern Oid	verity_am_oid(void);

/* --- meta data --- */

/* Write block 0 of new storage, without records. */
extern void verity_meta_create(Relation rel, const RelFileLocator *node, ForkNumber fork,
							   char persistence, const uint8 ledger[LEDGER_ID_SIZE],
							   uint32 ledger_number, bool journalled);

/* Copy of the head, under share lock. */
extern void verity_meta_read(Relation rel, VerityMeta *out);

extern void verity_meta_set_key(Relation rel, uint64 key_id, const uint8 journal_id[16]);

/*
 * Note a new row schema under the next version, with this transaction's
 * serial (verity_xact_serial).  It is not taken back when the transaction
 * aborts: which version is current is for verity_schema_load to say.
 */
extern uint32 verity_meta_add_schema(Relation rel, const hash256 *digest);

/*
 * Set vrel->schema_version and schema_digest to the newest version whose
 * transaction committed or is this one; version 0 where there is none.
 * verity_rel calls it whenever it fills the struct.  (sql/ddl/schema.c)
 */
extern void verity_schema_load(Relation rel, VerityRel *vrel);

/* What was noted of a version; false when there is none. */
extern bool verity_meta_schema_get(Relation rel, uint32 version, VerityMetaSchema *out);

/* Open the relation that a function's argument names; an error where there is none. */
extern Relation verity_open_argument(Oid relid, LOCKMODE lockmode);

/* Leave the hint to the transaction that lifts this table's protection. */
extern void verity_meta_set_release(Relation rel, uint64 serial);

/*
 * For a table that is locked and being emptied: have all meta data stand on
 * the first pages, whose number is returned, for the rest to be cut off; then
 * leave block 0 without records.
 */
extern BlockNumber verity_meta_gather(Relation rel);
extern void verity_meta_remove_records(Relation rel);

/* Digest of a schema version; false when the version is not known. */
extern bool verity_meta_schema_digest(Relation rel, uint32 version, hash256 *digest);
extern bool verity_rel_schema_digest(VerityRel *vrel, uint32 version, hash256 *digest);

/* What is noted of an index's storage; false: nothing. */
extern bool verity_meta_index_get(Relation rel, Oid relfilenode, VerityMetaIndex *out);
extern void verity_meta_index_set(Relation rel, const VerityMetaIndex *note);

/* --- index_key.c: which indexes readers of the past may use --- */

/* An index of the table was built, or validated: it is complete from here on. */
extern void verity_index_built(Relation rel, Relation index);

/* A command that may have changed which columns identify a row has ended. */
extern void verity_index_keys_changed(Oid relid);

/* The position from which on the index serves readers of the past, 0: none. */
extern uint64 verity_index_key_since(Relation rel, Relation index);

#endif							/* VERITY_REL_H */
