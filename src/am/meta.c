/*
 * meta.c
 *	  The meta page of a verity table: identity, key, row schemas, index notes.
 *
 * Changes are rare, under the page's exclusive lock, and logged as a full
 * image.  They are not put back when a transaction aborts: a version number,
 * key or note that came from one is never used again, and does no harm.
 *
 * Continuation pages hold more schemas and notes.  They stand wherever the
 * relation was extended, and look like empty data pages to scans: all of the
 * page is special space.
 */
#include "postgres.h"

#include "am/rel.h"

#include "access/xlog.h"
#include "access/xloginsert.h"
#include "catalog/storage.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"

#include "am/map.h"
#include "am/journal/xact.h"
#include "am/stop_point.h"

static void
init_meta_page(Page page)
{
	VerityMetaPage *meta;

	PageInit(page, BLCKSZ, 0);
	meta = VerityPageGetMeta(page);
	memset(meta, 0, sizeof(*meta));
	meta->magic = VERITY_META_MAGIC;
	meta->version = VERITY_META_VERSION;
	meta->next = InvalidBlockNumber;
	((PageHeader) page)->pd_lower = BLCKSZ;
}

void
verity_meta_create(Relation rel, const RelFileLocator *node, ForkNumber fork, char persistence,
				   const uint8 ledger[LEDGER_ID_SIZE], uint32 ledger_number, bool journalled)
{
	SMgrRelation smgr = smgropen(*node, persistence == RELPERSISTENCE_TEMP ? rel->rd_backend : INVALID_PROC_NUMBER);
	PGIOAlignedBlock block;
	Page		page = (Page) block.data;
	VerityMetaPage *meta;

	init_meta_page(page);
	meta = VerityPageGetMeta(page);
	meta->flags = journalled ? VERITY_META_JOURNALLED : 0;
	memcpy(meta->ledger, ledger, LEDGER_ID_SIZE);
	meta->ledger_number = ledger_number;
	if (verity_journal_exists())
		verity_journal_id(meta->journal_id);

	/*
	 * At wal_level = minimal new storage is synced at commit instead of
	 * logged: an image replayed later would undo what came after it.
	 */
	if (fork == INIT_FORKNUM || (persistence == RELPERSISTENCE_PERMANENT && XLogIsNeeded()))
		log_newpage((RelFileLocator *) node, fork, 0, page, false);
	VERITY_STOP("meta-made");
	PageSetChecksumInplace(page, 0);
	smgrextend(smgr, fork, 0, block.data, false);
}

/* Pin and lock a page of the meta chain; errors where it is not one. */
static Buffer
lock_meta(Relation rel, BlockNumber block, int mode)
{
	Buffer		buffer = ReadBuffer(rel, block);

	LockBuffer(buffer, mode);
	if (VerityPageGetMeta(BufferGetPage(buffer))->magic != VERITY_META_MAGIC)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table \"%s\" has no valid meta page in block %u",
						RelationGetRelationName(rel), block),
				 errhint("The file is damaged or is not a verity table's. Run verity_verify().")));
	if (VerityPageGetMeta(BufferGetPage(buffer))->version != VERITY_META_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" has storage format %u, this library knows %u",
						RelationGetRelationName(rel),
						VerityPageGetMeta(BufferGetPage(buffer))->version, VERITY_META_VERSION),
				 errhint("Use the version of verity that made the table.")));
	return buffer;
}

/* Log a changed meta page, in the critical section that changed it. */
static void
log_meta(Relation rel, Buffer buffer)
{
	VERITY_STOP("meta-changed");
	MarkBufferDirty(buffer);
	if (RelationNeedsWAL(rel))
		log_newpage_buffer(buffer, false);
	VERITY_STOP("meta-logged");
}

void
verity_meta_read(Relation rel, VerityMetaPage *out)
{
	Buffer		buffer = lock_meta(rel, 0, BUFFER_LOCK_SHARE);

	memcpy(out, VerityPageGetMeta(BufferGetPage(buffer)), sizeof(*out));
	UnlockReleaseBuffer(buffer);
}

void
verity_meta_set_key(Relation rel, uint64 key_id, const uint8 journal_id[16])
{
	Buffer		buffer = lock_meta(rel, 0, BUFFER_LOCK_EXCLUSIVE);
	VerityMetaPage *meta = VerityPageGetMeta(BufferGetPage(buffer));

	START_CRIT_SECTION();
	meta->key_id = key_id;
	memcpy(meta->journal_id, journal_id, sizeof(meta->journal_id));
	log_meta(rel, buffer);
	END_CRIT_SECTION();
	UnlockReleaseBuffer(buffer);
}

void
verity_meta_set_release(Relation rel, uint64 serial)
{
	Buffer		buffer = lock_meta(rel, 0, BUFFER_LOCK_EXCLUSIVE);

	START_CRIT_SECTION();
	VerityPageGetMeta(BufferGetPage(buffer))->release = serial;
	log_meta(rel, buffer);
	END_CRIT_SECTION();
	UnlockReleaseBuffer(buffer);
}

void
verity_meta_forget_map(Relation rel)
{
	Buffer		buffer = lock_meta(rel, 0, BUFFER_LOCK_EXCLUSIVE);

	START_CRIT_SECTION();
	memset(VerityPageGetMeta(BufferGetPage(buffer))->map, 0, VERITY_META_MAP_BYTES);
	log_meta(rel, buffer);
	END_CRIT_SECTION();
	UnlockReleaseBuffer(buffer);
}

/* A new page at the relation's end that is not a map page's; locked. */
static Buffer
extend_for_meta(Relation rel)
{
	Buffer		buffer;

	for (;;)
	{
		LockRelationForExtension(rel, ExclusiveLock);
		buffer = ReadBufferExtended(rel, MAIN_FORKNUM, P_NEW, RBM_ZERO_AND_LOCK, NULL);
		UnlockRelationForExtension(rel, ExclusiveLock);
		if (!verity_block_is_special(BufferGetBlockNumber(buffer)))
			return buffer;
		START_CRIT_SECTION();
		verity_map_init_page(BufferGetPage(buffer));
		log_meta(rel, buffer);
		END_CRIT_SECTION();
		UnlockReleaseBuffer(buffer);
	}
}

/* Make a continuation page behind the locked page; returns it locked. */
static Buffer
add_continuation(Relation rel, Buffer last)
{
	Buffer		buffer = extend_for_meta(rel);
	Page		page = BufferGetPage(buffer);
	PageHeader	header = (PageHeader) page;

	START_CRIT_SECTION();
	init_meta_page(page);
	header->pd_lower = header->pd_upper = header->pd_special = MAXALIGN(SizeOfPageHeaderData);
	log_meta(rel, buffer);
	VerityPageGetMeta(BufferGetPage(last))->next = BufferGetBlockNumber(buffer);
	log_meta(rel, last);
	END_CRIT_SECTION();
	return buffer;
}

/* Is there room for one more schema (or index note) on this page? */
static bool
has_room(const VerityMetaPage *meta, bool schema)
{
	return schema ? meta->schema_count < VERITY_META_SCHEMAS : meta->index_count < VERITY_META_INDEXES;
}

/* From the locked first page on, the page with room, locked; unlocks others. */
static Buffer
lock_room(Relation rel, Buffer first, bool schema)
{
	Buffer		buffer = first;

	while (!has_room(VerityPageGetMeta(BufferGetPage(buffer)), schema))
	{
		BlockNumber next = VerityPageGetMeta(BufferGetPage(buffer))->next;
		Buffer		following = BlockNumberIsValid(next) ?
			lock_meta(rel, next, BUFFER_LOCK_EXCLUSIVE) : add_continuation(rel, buffer);

		if (buffer != first)
			UnlockReleaseBuffer(buffer);
		buffer = following;
	}
	return buffer;
}

uint32
verity_meta_add_schema(Relation rel, const hash256 *digest)
{
	uint64		serial = verity_xact_serial();
	Buffer		first = lock_meta(rel, 0, BUFFER_LOCK_EXCLUSIVE);
	Buffer		buffer = lock_room(rel, first, true);
	VerityMetaPage *meta = VerityPageGetMeta(BufferGetPage(buffer));
	VerityMetaPage *head = VerityPageGetMeta(BufferGetPage(first));
	uint32		version = head->schema_version + 1;
	VerityMetaSchema *schema = &meta->schemas[meta->schema_count];

	START_CRIT_SECTION();
	head->schema_version = version;
	schema->version = version;
	schema->digest = *digest;
	schema->serial = serial;
	meta->schema_count++;
	log_meta(rel, buffer);
	if (buffer != first)
		log_meta(rel, first);
	END_CRIT_SECTION();
	if (buffer != first)
		UnlockReleaseBuffer(buffer);
	UnlockReleaseBuffer(first);
	return version;
}

/* Find a schema version on the locked page. */
static bool
find_schema(const VerityMetaPage *meta, uint32 version, VerityMetaSchema *out)
{
	for (int i = Min(meta->schema_count, VERITY_META_SCHEMAS) - 1; i >= 0; i--)
		if (meta->schemas[i].version == version)
		{
			*out = meta->schemas[i];
			return true;
		}
	return false;
}

bool
verity_meta_schema_get(Relation rel, uint32 version, VerityMetaSchema *out)
{
	BlockNumber block = 0;
	bool		found = false;

	/* a damaged chain could be a ring: no more pages than the relation has */
	for (BlockNumber pages = RelationGetNumberOfBlocks(rel);
		 !found && BlockNumberIsValid(block) && pages > 0; pages--)
	{
		Buffer		buffer = lock_meta(rel, block, BUFFER_LOCK_SHARE);
		VerityMetaPage *meta = VerityPageGetMeta(BufferGetPage(buffer));

		found = find_schema(meta, version, out);
		block = meta->next;
		UnlockReleaseBuffer(buffer);
	}
	return found;
}

bool
verity_meta_schema_digest(Relation rel, uint32 version, hash256 *digest)
{
	VerityMetaSchema schema;

	if (!verity_meta_schema_get(rel, version, &schema))
		return false;
	*digest = schema.digest;
	return true;
}

bool
verity_rel_schema_digest(VerityRel *vrel, uint32 version, hash256 *digest)
{
	Relation	rel;
	bool		found;

	if (version == vrel->schema_version)
	{
		*digest = vrel->schema_digest;
		return true;
	}
	rel = RelationIdGetRelation(vrel->relid);
	if (!RelationIsValid(rel))
		return false;
	found = verity_meta_schema_digest(rel, version, digest);
	RelationClose(rel);
	return found;
}

/* The note of an index's storage on this page, or NULL. */
static VerityMetaIndex *
find_note(VerityMetaPage *meta, Oid relfilenode)
{
	for (int i = 0; i < Min(meta->index_count, VERITY_META_INDEXES); i++)
		if (meta->indexes[i].relfilenode == relfilenode)
			return &meta->indexes[i];
	return NULL;
}

/* The page of the meta chain that notes this index; its note in *out. */
static BlockNumber
note_block(Relation rel, Oid relfilenode, VerityMetaIndex *out)
{
	BlockNumber block = 0;

	for (BlockNumber pages = RelationGetNumberOfBlocks(rel);
		 BlockNumberIsValid(block) && pages > 0; pages--)
	{
		Buffer		buffer = lock_meta(rel, block, BUFFER_LOCK_SHARE);
		VerityMetaIndex *note = find_note(VerityPageGetMeta(BufferGetPage(buffer)), relfilenode);
		BlockNumber next = VerityPageGetMeta(BufferGetPage(buffer))->next;

		if (note)
			*out = *note;
		UnlockReleaseBuffer(buffer);
		if (note)
			return block;
		block = next;
	}
	return InvalidBlockNumber;
}

bool
verity_meta_index_get(Relation rel, Oid relfilenode, VerityMetaIndex *out)
{
	return BlockNumberIsValid(note_block(rel, relfilenode, out));
}

void
verity_meta_index_set(Relation rel, const VerityMetaIndex *note)
{
	VerityMetaIndex known;
	BlockNumber block = note_block(rel, note->relfilenode, &known);
	bool		is_known = BlockNumberIsValid(block);
	Buffer		first = lock_meta(rel, is_known ? block : 0, BUFFER_LOCK_EXCLUSIVE);
	Buffer		buffer = is_known ? first : lock_room(rel, first, false);
	VerityMetaPage *meta = VerityPageGetMeta(BufferGetPage(buffer));
	VerityMetaIndex *place;

	START_CRIT_SECTION();
	place = is_known ? find_note(meta, note->relfilenode) : &meta->indexes[meta->index_count++];
	*place = *note;
	log_meta(rel, buffer);
	END_CRIT_SECTION();
	if (buffer != first)
		UnlockReleaseBuffer(buffer);
	UnlockReleaseBuffer(first);
}
