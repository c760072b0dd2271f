/*
 * meta.c
 *	  The meta data of a verity table: identity, key, row schemas, index notes.
 *
 * They are the special space of block 0, which holds records too.  Changes are
 * rare, under the page's exclusive lock, and logged as a full image.  They are
 * not put back when a transaction aborts: a version number, key or note that
 * came from one is never used again, and does no harm.
 *
 * Locks: block 0, then the pages that its meta data go on on, in their order.
 * Who holds a lock on a data page never asks for meta data: it could be block
 * 0, or one that somebody waits for with block 0 locked.
 *
 * Those further pages stand wherever the relation was extended, and look like
 * empty data pages to scans: all of the page is special space.  TRUNCATE of a
 * table of the same transaction gathers them behind block 0, and cuts off the
 * rest: the journal states the row schemas on them, so that none may be lost.
 *
 * After a crash: storage without a valid block 0 belongs to a transaction that
 * never committed.  Each image is whole, with the records that stood there.
 * One that begins a further page is logged before the one that names it; where
 * only the first came through, that page is lost space and nothing else.
 */
#include "postgres.h"

#include "am/rel.h"

#include "access/xlog.h"
#include "access/xloginsert.h"
#include "catalog/storage.h"
#include "miscadmin.h"
#include "storage/buf_internals.h"
#include "storage/bufmgr.h"
#include "storage/freespace.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"

#include "am/map.h"
#include "am/journal/xact.h"
#include "am/stop_point.h"

/* A locked page of meta data, and what stands on it. */
typedef struct MetaPage
{
	Buffer		buffer;
	VerityMeta *head;
	VerityMetaSchema *schemas;
	VerityMetaIndex *indexes;
	int			schemas_max;
	int			indexes_max;
} MetaPage;

/* Make an empty page of meta data: block 0, or one that they go on on. */
static VerityMeta *
init_page(Page page, Size special_size)
{
	VerityMeta *meta;

	PageInit(page, BLCKSZ, special_size);
	meta = (VerityMeta *) PageGetSpecialPointer(page);
	meta->magic = VERITY_META_MAGIC;
	meta->version = VERITY_META_VERSION;
	meta->next = InvalidBlockNumber;
	return meta;
}

void
verity_meta_create(Relation rel, const RelFileLocator *node, ForkNumber fork, char persistence,
				   const uint8 ledger[LEDGER_ID_SIZE], uint32 ledger_number, bool journalled)
{
	SMgrRelation smgr = smgropen(*node, persistence == RELPERSISTENCE_TEMP ? rel->rd_backend : INVALID_PROC_NUMBER);
	PGIOAlignedBlock block;
	Page		page = (Page) block.data;
	VerityMeta *meta = init_page(page, VERITY_META_SIZE);

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
		log_newpage((RelFileLocator *) node, fork, 0, page, true);
	VERITY_STOP("meta-made");
	PageSetChecksumInplace(page, 0);
	smgrextend(smgr, fork, 0, block.data, false);
}

/* The version that a page of the format with a page for the meta data alone states, or 0. */
static uint16
older_version(Page page)
{
	struct
	{
		uint32		magic;
		uint16		version;
	}			older;

	memcpy(&older, PageGetContents(page), sizeof(older));
	return older.magic == VERITY_META_MAGIC ? older.version : 0;
}

/* Complain of a page that holds no meta data of this format. */
static void
check_meta(Relation rel, Page page, BlockNumber block, const VerityMeta *meta)
{
	uint16		version = meta ? meta->version : older_version(page);

	if (meta && version == VERITY_META_VERSION)
		return;
	if (version != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" has storage format %u, this library knows %u",
						RelationGetRelationName(rel), version, VERITY_META_VERSION),
				 errhint("Use the version of verity that made the table.")));
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("table \"%s\" has no valid meta data in block %u",
					RelationGetRelationName(rel), block),
			 errhint("The file is damaged or is not a verity table's. Run verity_verify().")));
}

#ifdef USE_ASSERT_CHECKING
static bool
is_locked_by_me(Buffer buffer)
{
	return !BufferIsLocal(buffer) &&
		LWLockHeldByMe(BufferDescriptorGetContentLock(GetBufferDescriptor(buffer - 1)));
}
#endif

/* Pin and lock a page of meta data; errors where it is not one. */
static MetaPage
lock_meta(Relation rel, BlockNumber block, int mode)
{
	MetaPage	result = {.buffer = ReadBuffer(rel, block)};
	Page		page = BufferGetPage(result.buffer);

	Assert(!is_locked_by_me(result.buffer));
	LockBuffer(result.buffer, mode);
	result.head = verity_page_meta(page, block);
	check_meta(rel, page, block, result.head);
	if (block == 0)
	{
		result.schemas = ((VerityMetaFirst *) result.head)->schemas;
		result.schemas_max = VERITY_META_SCHEMAS;
		result.indexes = ((VerityMetaFirst *) result.head)->indexes;
		result.indexes_max = VERITY_META_INDEXES;
	}
	else
	{
		result.schemas = ((VerityMetaMore *) result.head)->schemas;
		result.schemas_max = VERITY_META_MORE_SCHEMAS;
		result.indexes = ((VerityMetaMore *) result.head)->indexes;
		result.indexes_max = VERITY_META_MORE_INDEXES;
	}
	return result;
}

/* Log a changed page, in the critical section that changed it. */
static void
log_meta(Relation rel, Buffer buffer)
{
	VERITY_STOP("meta-changed");
	MarkBufferDirty(buffer);
	if (RelationNeedsWAL(rel))
		log_newpage_buffer(buffer, true);
	VERITY_STOP("meta-logged");
}

void
verity_meta_read(Relation rel, VerityMeta *out)
{
	MetaPage	meta = lock_meta(rel, 0, BUFFER_LOCK_SHARE);

	*out = *meta.head;
	UnlockReleaseBuffer(meta.buffer);
}

void
verity_meta_set_key(Relation rel, uint64 key_id, const uint8 journal_id[16])
{
	MetaPage	meta = lock_meta(rel, 0, BUFFER_LOCK_EXCLUSIVE);

	START_CRIT_SECTION();
	meta.head->key_id = key_id;
	memcpy(meta.head->journal_id, journal_id, sizeof(meta.head->journal_id));
	log_meta(rel, meta.buffer);
	END_CRIT_SECTION();
	UnlockReleaseBuffer(meta.buffer);
}

void
verity_meta_set_release(Relation rel, uint64 serial)
{
	MetaPage	meta = lock_meta(rel, 0, BUFFER_LOCK_EXCLUSIVE);

	START_CRIT_SECTION();
	meta.head->release = serial;
	log_meta(rel, meta.buffer);
	END_CRIT_SECTION();
	UnlockReleaseBuffer(meta.buffer);
}

/* Make a locked page at a map page's number one without marks; unlocks it. */
static void
clear_map_page(Relation rel, Buffer buffer)
{
	START_CRIT_SECTION();
	verity_map_init_page(BufferGetPage(buffer));
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
		clear_map_page(rel, buffer);
	}
}

/*
 * Have the meta data of this locked page go on on a new one.  Where that comes
 * directly behind block 0, rows are still to go there: what looks for a page
 * begins at the last.
 */
static void
add_page(Relation rel, MetaPage *last)
{
	Buffer		buffer = extend_for_meta(rel);
	Page		page = BufferGetPage(buffer);

	if (BufferGetBlockNumber(buffer) == 1)
		RecordPageWithFreeSpace(rel, 0, PageGetHeapFreeSpace(BufferGetPage(last->buffer)));

	START_CRIT_SECTION();
	(void) init_page(page, VERITY_META_MORE_SIZE);
	log_meta(rel, buffer);
	last->head->next = BufferGetBlockNumber(buffer);
	log_meta(rel, last->buffer);
	END_CRIT_SECTION();
	UnlockReleaseBuffer(buffer);
}

/* Is there room for one more schema (or index note) on this page? */
static bool
has_room(const MetaPage *meta, bool schema)
{
	return schema ? meta->head->schema_count < meta->schemas_max :
		meta->head->index_count < meta->indexes_max;
}

/* A page was added behind those before it: a link back is damage, and a ring. */
static void
check_next(Relation rel, const MetaPage *meta)
{
	if (meta->head->next > BufferGetBlockNumber(meta->buffer))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("meta data of table \"%s\" go back from block %u to %u", RelationGetRelationName(rel),
					BufferGetBlockNumber(meta->buffer), meta->head->next),
			 errhint("Run verity_verify() on the table.")));
}

void
verity_meta_remove_records(Relation rel)
{
	MetaPage	meta = lock_meta(rel, 0, BUFFER_LOCK_EXCLUSIVE);
	Page		page = BufferGetPage(meta.buffer);
	VerityMetaFirst kept = *(VerityMetaFirst *) meta.head;
	Size		space;

	START_CRIT_SECTION();
	PageInit(page, BLCKSZ, VERITY_META_SIZE);
	*(VerityMetaFirst *) meta.head = kept;
	log_meta(rel, meta.buffer);
	END_CRIT_SECTION();
	space = PageGetHeapFreeSpace(page);
	UnlockReleaseBuffer(meta.buffer);

	/* what looks for a page begins at the last, which holds meta data now */
	if (BlockNumberIsValid(kept.head.next))
		RecordPageWithFreeSpace(rel, 0, space);
}

/*
 * Write a copy of one page of meta data to an earlier block, whatever stands
 * there, and have the page before it name that one.
 */
static void
move_page(Relation rel, BlockNumber before, BlockNumber from, BlockNumber to)
{
	MetaPage	meta = lock_meta(rel, from, BUFFER_LOCK_SHARE);
	PGAlignedBlock copy;
	Buffer		buffer;

	memcpy(copy.data, BufferGetPage(meta.buffer), BLCKSZ);
	UnlockReleaseBuffer(meta.buffer);

	buffer = ReadBufferExtended(rel, MAIN_FORKNUM, to, RBM_ZERO_AND_LOCK, NULL);
	START_CRIT_SECTION();
	memcpy(BufferGetPage(buffer), copy.data, BLCKSZ);
	PageClearFull(BufferGetPage(buffer));
	log_meta(rel, buffer);
	END_CRIT_SECTION();
	UnlockReleaseBuffer(buffer);

	meta = lock_meta(rel, before, BUFFER_LOCK_EXCLUSIVE);
	START_CRIT_SECTION();
	meta.head->next = to;
	log_meta(rel, meta.buffer);
	END_CRIT_SECTION();
	UnlockReleaseBuffer(meta.buffer);
}

/*
 * After each step all of the meta data can be read: of the pages in their
 * order, the first stands at block 1 or behind, the second behind that, so
 * that what a copy overwrites is never one that is still to be moved.  Map
 * pages between them forget what they marked.
 */
BlockNumber
verity_meta_gather(Relation rel)
{
	BlockNumber place = 0;

	for (;;)
	{
		MetaPage	meta = lock_meta(rel, place, BUFFER_LOCK_SHARE);
		BlockNumber next = meta.head->next;
		BlockNumber to = place + 1;

		check_next(rel, &meta);
		UnlockReleaseBuffer(meta.buffer);
		if (!BlockNumberIsValid(next))
			return place + 1;
		if (verity_block_is_special(to))
			clear_map_page(rel, ReadBufferExtended(rel, MAIN_FORKNUM, to++, RBM_ZERO_AND_LOCK, NULL));
		if (next != to)
			move_page(rel, place, next, to);
		place = to;
	}
}

/* From the locked first page on, the page with room, locked; unlocks others. */
static MetaPage
lock_room(Relation rel, MetaPage first, bool schema)
{
	MetaPage	meta = first;

	while (!has_room(&meta, schema))
	{
		MetaPage	following;

		if (!BlockNumberIsValid(meta.head->next))
			add_page(rel, &meta);
		check_next(rel, &meta);
		following = lock_meta(rel, meta.head->next, BUFFER_LOCK_EXCLUSIVE);
		if (meta.buffer != first.buffer)
			UnlockReleaseBuffer(meta.buffer);
		meta = following;
	}
	return meta;
}

uint32
verity_meta_add_schema(Relation rel, const hash256 *digest)
{
	uint64		serial = verity_xact_serial();
	MetaPage	first = lock_meta(rel, 0, BUFFER_LOCK_EXCLUSIVE);
	MetaPage	meta = lock_room(rel, first, true);
	uint32		version = first.head->schema_version + 1;
	VerityMetaSchema *schema = &meta.schemas[meta.head->schema_count];

	START_CRIT_SECTION();
	first.head->schema_version = version;
	schema->version = version;
	schema->digest = *digest;
	schema->serial = serial;
	meta.head->schema_count++;
	log_meta(rel, meta.buffer);
	if (meta.buffer != first.buffer)
		log_meta(rel, first.buffer);
	END_CRIT_SECTION();
	if (meta.buffer != first.buffer)
		UnlockReleaseBuffer(meta.buffer);
	UnlockReleaseBuffer(first.buffer);
	return version;
}

/* Find a schema version on the locked page. */
static bool
find_schema(const MetaPage *meta, uint32 version, VerityMetaSchema *out)
{
	for (int i = Min(meta->head->schema_count, meta->schemas_max) - 1; i >= 0; i--)
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
		MetaPage	meta = lock_meta(rel, block, BUFFER_LOCK_SHARE);

		found = find_schema(&meta, version, out);
		block = meta.head->next;
		UnlockReleaseBuffer(meta.buffer);
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
find_note(const MetaPage *meta, Oid relfilenode)
{
	for (int i = 0; i < Min(meta->head->index_count, meta->indexes_max); i++)
		if (meta->indexes[i].relfilenode == relfilenode)
			return &meta->indexes[i];
	return NULL;
}

/* The page that notes this index; its note in *out. */
static BlockNumber
note_block(Relation rel, Oid relfilenode, VerityMetaIndex *out)
{
	BlockNumber block = 0;

	for (BlockNumber pages = RelationGetNumberOfBlocks(rel);
		 BlockNumberIsValid(block) && pages > 0; pages--)
	{
		MetaPage	meta = lock_meta(rel, block, BUFFER_LOCK_SHARE);
		VerityMetaIndex *note = find_note(&meta, relfilenode);
		BlockNumber next = meta.head->next;

		if (note)
			*out = *note;
		UnlockReleaseBuffer(meta.buffer);
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
	MetaPage	first = lock_meta(rel, is_known ? block : 0, BUFFER_LOCK_EXCLUSIVE);
	MetaPage	meta = is_known ? first : lock_room(rel, first, false);
	VerityMetaIndex *place;

	START_CRIT_SECTION();
	place = is_known ? find_note(&meta, note->relfilenode) : &meta.indexes[meta.head->index_count++];
	*place = *note;
	log_meta(rel, meta.buffer);
	END_CRIT_SECTION();
	if (meta.buffer != first.buffer)
		UnlockReleaseBuffer(meta.buffer);
	UnlockReleaseBuffer(first.buffer);
}
