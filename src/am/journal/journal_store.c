/*
 * journal_store.c
 *	  The journal's relations and their pages (layout: journal_store.h).
 *
 * Locks: readers share-lock one page at a time.  Writers hold the database's
 * journal lock (journal_shared.c) around everything, so that pages have one
 * writer at a time; each page is locked exclusively while it is changed.
 * WAL: journal_wal.c.  After a crash an entry page may be all zeros (extended
 * and never written) or hold the front of an entry without its end: both
 * stand behind the last complete entry, and journal_open.c clears them.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "am/rel.h"
#include "catalog/namespace.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/smgr.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "am/journal/journal_store.h"

#define JOURNAL_SCHEMA "verity"

/* Torn reads of a page that is just being written are tried again. */
#define PAGE_COPY_ATTEMPTS 5

static Oid	cached_oid = InvalidOid;
static bool callbacks_registered = false;

/* The journal's relations that a transaction is dropping. */
static Oid	dropped[3];
static int	dropped_count = 0;
static TransactionId dropped_in = InvalidTransactionId;

static void
forget_oid(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == cached_oid)
		cached_oid = InvalidOid;
}

static Oid
find_relation(const char *name)
{
	Oid			namespace_oid = get_namespace_oid(JOURNAL_SCHEMA, true);

	if (!OidIsValid(namespace_oid))
		return InvalidOid;
	return get_relname_relid(name, namespace_oid);
}

/* Is this a relation of our access method, not one that took its name? */
static bool
is_journal(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	bool		ours = rel->rd_tableam == verity_journal_am();

	table_close(rel, AccessShareLock);
	return ours;
}

/* Is a relation of the journal gone by a DROP EXTENSION of this transaction? */
static bool
is_dropped(void)
{
	if (dropped_count == 0 || dropped_in != GetTopTransactionIdIfAny())
		return false;
	for (int i = 0; i < dropped_count; i++)
	{
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(dropped[i])))
			return true;
	}
	return false;
}

void
journal_note_drop(Oid relid)
{
	TransactionId xid = GetTopTransactionId();

	if (dropped_in != xid)
		dropped_count = 0;
	dropped_in = xid;
	if (dropped_count < lengthof(dropped))
		dropped[dropped_count++] = relid;
}

/*
 * May this database be without a journal?  Where the extension is, and is not
 * being made or dropped, somebody hid its journal: as there is no telling then
 * what is protected, and no writing it down, nothing goes.
 */
static void
refuse_hidden(void)
{
	Oid			extension = get_extension_oid("verity", true);

	if (IsBinaryUpgrade || is_dropped() ||
		(!OidIsValid(extension) && !OidIsValid(verity_am_oid())) ||
		(creating_extension && CurrentExtensionObject == extension))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the journal of extension \"verity\" is not where it belongs"),
			 errdetail("Schema \"%s\" or a relation of the journal in it was renamed, moved, replaced or removed behind the extension.",
					   JOURNAL_SCHEMA),
			 errhint("Put back the names; until then verity tables can be neither written, nor read, nor dropped.")));
}

bool
journal_is_being_dropped(void)
{
	return is_dropped();
}

Oid
journal_oid(void)
{
	if (!callbacks_registered)
	{
		CacheRegisterRelcacheCallback(forget_oid, (Datum) 0);
		callbacks_registered = true;
	}
	if (!OidIsValid(cached_oid))
	{
		Oid			relid = find_relation("journal");

		if (OidIsValid(relid) && is_journal(relid))
			cached_oid = relid;
		else
			refuse_hidden();
	}
	return cached_oid;
}

Oid
journal_relation_oid(const char *name)
{
	Oid			relid = find_relation(name);

	if (!OidIsValid(relid))
		refuse_hidden();
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s.%s\" does not exist", JOURNAL_SCHEMA, name),
				 errhint("Run CREATE EXTENSION verity in this database.")));
	return relid;
}

void
journal_rels_open(JournalRels *rels, LOCKMODE mode)
{
	rels->journal = table_open(journal_relation_oid("journal"), mode);
	rels->serials = table_open(journal_relation_oid("journal_serials"), mode);
	rels->heads = table_open(journal_relation_oid("journal_heads"), mode);
	if (rels->journal->rd_tableam != verity_journal_am())
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s.journal\" is not the journal of the verity extension", JOURNAL_SCHEMA),
				 errhint("Drop or rename what took the journal's name, and put the journal back under it.")));
}

void
journal_rels_close(JournalRels *rels, LOCKMODE mode)
{
	table_close(rels->heads, mode);
	table_close(rels->serials, mode);
	table_close(rels->journal, mode);
}

void
journal_page_init(Page page)
{
	JournalPageSpecial *special;

	PageInit(page, BLCKSZ, sizeof(JournalPageSpecial));
	special = JournalPageGetSpecial(page);
	special->magic = JOURNAL_PAGE_MAGIC;
	special->version = JOURNAL_FORMAT;
	special->first_position = 0;
}

/* All of a cell page is content: no hole for full-page images to drop. */
void
journal_cell_page_init(Page page, JournalCellKind kind)
{
	JournalCellHeader *header;

	PageInit(page, BLCKSZ, 0);
	header = (JournalCellHeader *) PageGetContents(page);
	header->magic = CELL_MAGIC(kind);
	header->version = JOURNAL_FORMAT;
	((PageHeader) page)->pd_lower = BLCKSZ;
	((PageHeader) page)->pd_upper = BLCKSZ;
}

void *
journal_cell_at(Page page, JournalCellKind kind, uint64 index)
{
	return PageGetContents(page) + sizeof(JournalCellHeader) +
		(index % CELLS_PER_PAGE(kind)) * CELL_WIDTH(kind);
}

bool
journal_page_is_entries(Page page)
{
	return !PageIsNew(page) &&
		PageGetSpecialSize(page) == MAXALIGN(sizeof(JournalPageSpecial)) &&
		JournalPageGetSpecial(page)->magic == JOURNAL_PAGE_MAGIC &&
		JournalPageGetSpecial(page)->version == JOURNAL_FORMAT;
}

/* Bytes of the struct in use: what a full-page image must hold. */
Size
journal_meta_size(const JournalMeta *meta)
{
	return offsetof(JournalMeta, generations) +
		Min(meta->generation_count, JOURNAL_META_GENERATIONS) * sizeof(uint64);
}

void
journal_meta_read(Relation journal, JournalMeta *meta)
{
	Buffer		buffer;

	if (RelationGetNumberOfBlocks(journal) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the journal is empty"),
				 errhint("Restore the database from a backup, and compare it with an outside checkpoint.")));
	buffer = ReadBuffer(journal, JOURNAL_META_BLOCK);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	memcpy(meta, PageGetContents(BufferGetPage(buffer)), sizeof(JournalMeta));
	UnlockReleaseBuffer(buffer);
	if (meta->magic != JOURNAL_META_MAGIC || meta->version != JOURNAL_FORMAT)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the journal's meta page is damaged"),
				 errhint("Run verity_verify(), and restore the database from a backup.")));
}

/* Does a relation of the journal have that block?  They grow only, so that what was known once holds. */
bool
journal_has_block(Relation rel, uint64 blkno)
{
	BlockNumber known = RelationGetSmgr(rel)->smgr_cached_nblocks[MAIN_FORKNUM];

	return (known != InvalidBlockNumber && blkno < known) || blkno < RelationGetNumberOfBlocks(rel);
}

bool
journal_cell_read(Relation rel, JournalCell *cell)
{
	static const JournalHead no_head = {{0}};
	uint64		blkno = cell->index / CELLS_PER_PAGE(cell->kind);
	Buffer		buffer;
	Page		page;

	memset(&cell->value, 0, sizeof(cell->value));
	if (!journal_has_block(rel, blkno))
		return false;
	buffer = ReadBuffer(rel, (BlockNumber) blkno);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	if (!PageIsNew(page))
		memcpy(&cell->value, journal_cell_at(page, cell->kind, cell->index), CELL_WIDTH(cell->kind));
	UnlockReleaseBuffer(buffer);
	return memcmp(&cell->value, &no_head, CELL_WIDTH(cell->kind)) != 0;
}

/* Is the block in shared buffers?  Reading it cannot fail then. */
static bool
page_is_cached(Relation rel, BlockNumber blkno)
{
	return BufferIsValid(PrefetchBuffer(rel, MAIN_FORKNUM, blkno).recent_buffer);
}

bool
journal_page_copy(Relation rel, BlockNumber blkno, char *page, const char **damage)
{
	Buffer		buffer;
	bool		good = page_is_cached(rel, blkno);

	/* what is on disk is checked first: ReadBuffer would end with an error */
	for (int attempt = 0; !good && attempt < PAGE_COPY_ATTEMPTS; attempt++)
	{
		if (attempt > 0)
			pg_usleep(1000L);
		verity_smgr_read(rel, MAIN_FORKNUM, blkno, page);
		good = PageIsVerified(page, blkno, 0, NULL) || page_is_cached(rel, blkno);
	}
	if (!good)
	{
		*damage = "the page is damaged";
		return false;
	}
	buffer = ReadBuffer(rel, blkno);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	memcpy(page, BufferGetPage(buffer), BLCKSZ);
	UnlockReleaseBuffer(buffer);
	return true;
}

void
journal_core_error(core_status status)
{
	if (status == CORE_E_CRYPTO)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("the cryptographic library failed"),
				 errhint("Check the server's memory and the OpenSSL installation.")));
	if (status == CORE_E_LIMIT)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a journal entry would be too large"),
				 errhint("Split the transaction.")));
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("a journal entry is not well-formed (status %d)", (int) status),
			 errhint("Run verity_verify() to see what is damaged.")));
}
