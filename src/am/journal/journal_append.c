/*
 * journal_append.c
 *	  Appending entries to the journal.
 *
 * Everything here runs between journal_begin and journal_end, which hold the
 * database's journal lock.  An entry that fits on a page goes into one WAL
 * record with the cells that belong to it (serial map, heads of its tables).
 * A larger one is written fragment by fragment, the last with the cells.
 * Cells on more than JOURNAL_CELL_PAGES pages follow in records of their own.
 *
 * shared->broken is set while an entry is only partly there.  An error leaves
 * it set, and the next appender repairs the journal as after a crash.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/timestamp.h"

#include "am/journal/journal_store.h"
#include "am/keys/keys.h"
#include "am/stat.h"
#include "am/stop_point.h"
#include "am/wal.h"
#include "chain/codec.h"

/* Wait for the transaction that blocks the ring, without the lock. */
static void
wait_for_room(JournalSession *session)
{
	TransactionId xid = journal_run(session->shared, 0)->xid;

	LWLockRelease(&session->shared->lock);
	XactLockTableWait(xid, NULL, NULL, XLTW_None);
	journal_lock(session->shared);
}

void
journal_begin(JournalSession *session)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot write the journal during recovery"),
				 errhint("Write on the primary server.")));
	session->shared = journal_shared();
	if (session->shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database has no journal"),
				 errhint("Run CREATE EXTENSION verity in this database.")));
	journal_rels_open(&session->rels, RowExclusiveLock);
	/* reading the keystore may take long: not with the lock held */
	if (session->shared->open)
		(void) verity_journal_key_prepare(session->shared->journal_id);
	journal_lock(session->shared);
	if (session->shared->filenode != session->rels.journal->rd_locator.relNumber)
		journal_shared_reset(session->shared, session->rels.journal->rd_locator.relNumber);
	if (!session->shared->open)
		journal_open(session);
	else if (session->shared->broken)
		journal_repair(session);
	journal_settle(session);
	while (session->shared->run_count >= JOURNAL_RUNS)
	{
		wait_for_room(session);
		journal_settle(session);
	}
}

void
journal_end(JournalSession *session)
{
	LWLockRelease(&session->shared->lock);
	journal_rels_close(&session->rels, RowExclusiveLock);
}

/* The locked buffer of a cell page, which may be new. */
static Buffer
cell_page(Relation rel, BlockNumber blkno)
{
	Buffer		buffer;

	/* only holders of the journal lock extend these relations */
	while (!journal_has_block(rel, blkno))
	{
		buffer = ReadBufferExtended(rel, MAIN_FORKNUM, P_NEW, RBM_NORMAL, NULL);
		ReleaseBuffer(buffer);
	}
	buffer = ReadBuffer(rel, blkno);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	return buffer;
}

static int
compare_cells(const void *a, const void *b)
{
	const JournalCell *left = a;
	const JournalCell *right = b;

	if (left->kind != right->kind)
		return left->kind < right->kind ? -1 : 1;
	if (left->index != right->index)
		return left->index < right->index ? -1 : 1;
	return 0;
}

/* Does this cell stand on the same page as the one before it? */
static bool
same_page(const JournalCell *a, const JournalCell *b)
{
	return a->kind == b->kind &&
		a->index / CELLS_PER_PAGE(a->kind) == b->index / CELLS_PER_PAGE(b->kind);
}

/*
 * Lock the pages of the first cells, of sorted ones, as many as one record
 * takes, and put the changes into write.  Returns how many cells went in.
 */
static int
add_cells(JournalSession *session, JournalWrite *write, const JournalCell *cells, int count)
{
	int			done = 0;

	while (done < count && write->page_count < JOURNAL_CELL_PAGES)
	{
		JournalPageWrite *one = &write->pages[write->page_count++];
		const JournalCell *first = &cells[done];
		int			n = 1;

		while (done + n < count && same_page(first, &first[n]))
			n++;
		one->kind = first->kind;
		one->buffer = cell_page(first->kind == CELL_SERIAL ? session->rels.serials : session->rels.heads,
								(BlockNumber) (first->index / CELLS_PER_PAGE(first->kind)));
		one->init = PageIsNew(BufferGetPage(one->buffer));
		one->data = palloc(n * JOURNAL_CELL_CHANGE_MAX);
		one->len = 0;
		for (int i = 0; i < n; i++)
			one->len += journal_cell_change(one->data + one->len, &first[i]);
		done += n;
	}
	return done;
}

static void
release_all(JournalWrite *write)
{
	if (BufferIsValid(write->entry))
		UnlockReleaseBuffer(write->entry);
	if (BufferIsValid(write->meta))
		UnlockReleaseBuffer(write->meta);
	for (int i = 0; i < write->page_count; i++)
	{
		UnlockReleaseBuffer(write->pages[i].buffer);
		pfree(write->pages[i].data);
	}
}

void
journal_write_cells(JournalSession *session, JournalCell *cells, int count)
{
	int			done = 0;

	qsort(cells, count, sizeof(JournalCell), compare_cells);
	while (done < count)
	{
		JournalWrite write = {0};

		done += add_cells(session, &write, cells + done, count - done);
		session->shared->last_lsn = journal_write(session->rels.journal, XLOG_VERITY_JOURNAL_HEADS, &write);
		release_all(&write);
	}
}

static Buffer
meta_page(Relation journal)
{
	Buffer		buffer;

	if (RelationGetNumberOfBlocks(journal) == 0)
		buffer = ReadBufferExtended(journal, MAIN_FORKNUM, P_NEW, RBM_NORMAL, NULL);
	else
		buffer = ReadBuffer(journal, JOURNAL_META_BLOCK);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	return buffer;
}

void
journal_write_meta(JournalSession *session, JournalMeta *meta)
{
	JournalWrite write = {0};

	write.meta = meta_page(session->rels.journal);
	write.new_meta = meta;
	session->shared->last_lsn = journal_write(session->rels.journal, XLOG_VERITY_JOURNAL_META, &write);
	release_all(&write);
}

/* The block behind the tail, locked; it is new or was cut empty. */
static Buffer
next_entry_page(JournalSession *session, BlockNumber *blkno)
{
	Relation	journal = session->rels.journal;
	Buffer		buffer;

	*blkno = session->shared->tail + 1;
	if (*blkno < RelationGetNumberOfBlocks(journal))
		buffer = ReadBuffer(journal, *blkno);
	else
		buffer = ReadBufferExtended(journal, MAIN_FORKNUM, P_NEW, RBM_NORMAL, NULL);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	if (BufferGetBlockNumber(buffer) != *blkno ||
		(!PageIsNew(BufferGetPage(buffer)) &&
		 (!journal_page_is_entries(BufferGetPage(buffer)) ||
		  PageGetMaxOffsetNumber(BufferGetPage(buffer)) != 0)))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the journal has an unexpected page behind its end, block %u", *blkno),
				 errhint("Run verity_verify() to see what is damaged.")));
	return buffer;
}

/* Lock the page that an item of this size goes to. */
static void
lock_entry_page(JournalSession *session, JournalWrite *write, bool fresh, BlockNumber *blkno)
{
	if (!fresh && session->shared->tail != JOURNAL_META_BLOCK)
	{
		*blkno = session->shared->tail;
		write->entry = ReadBuffer(session->rels.journal, *blkno);
		LockBuffer(write->entry, BUFFER_LOCK_EXCLUSIVE);
		if (PageGetFreeSpace(BufferGetPage(write->entry)) >= MAXALIGN(write->item_len))
			return;
		UnlockReleaseBuffer(write->entry);
		write->entry = InvalidBuffer;
	}
	write->entry = next_entry_page(session, blkno);
	write->entry_init = true;
}

/* Write the stored entry, its cells and meta page; returns cells written. */
static int
write_entry(JournalSession *session, JournalAppend *append, uint8 *raw, Size len,
			const JournalCell *cells, int cell_count)
{
	JournalItem item = {append->entry->core.position, append->xid, (uint32) len, 0, 0, 0};
	char	   *bytes = palloc(JOURNAL_ITEM_MAX);
	int			cells_done = 0;

	item.count = (uint16) ((len + JOURNAL_FRAGMENT_MAX - 1) / JOURNAL_FRAGMENT_MAX);
	for (; item.fragment < item.count; item.fragment++)
	{
		Size		from = (Size) item.fragment * JOURNAL_FRAGMENT_MAX;
		Size		n = Min(len - from, JOURNAL_FRAGMENT_MAX);
		JournalWrite write = {0};
		BlockNumber blkno;

		memcpy(bytes, &item, sizeof(item));
		memcpy(bytes + sizeof(item), raw + from, n);
		write.item = bytes;
		write.item_len = (int) (sizeof(item) + n);
		lock_entry_page(session, &write, item.count > 1, &blkno);
		if (item.fragment + 1 == item.count)
		{
			cells_done = add_cells(session, &write, cells, cell_count);
			if (append->meta != NULL)
			{
				write.meta = meta_page(session->rels.journal);
				write.new_meta = append->meta;
			}
		}
		VERITY_STOP("entry-fragment");
		session->shared->last_lsn = journal_write(session->rels.journal, XLOG_VERITY_JOURNAL_APPEND, &write);
		session->shared->tail = blkno;
		release_all(&write);
	}
	pfree(bytes);
	return cells_done;
}

/* Position, times and links of the next entry. */
static void
fill_core(JournalSession *session, JournalAppend *append)
{
	JournalShared *shared = session->shared;
	entry_core *core = &append->entry->core;

	core->version = ENTRY_VERSION;
	core->position = shared->last_position + 1;
	core->raw_time = GetCurrentTimestamp();
	core->time = Max(core->raw_time, shared->last_time + 1);
	core->generation = shared->generation.id;
	core->decided = append->decided == DECIDED_AS_KNOWN ?
		journal_shared_decided(shared) : append->decided;
	core->previous = shared->last_hash;
}

/* Link each item to its table's item before, which the heads hold. */
static void
link_items(JournalSession *session, JournalAppend *append)
{
	entry_stored *entry = append->entry;

	for (uint32 i = 0; i < entry->item_count; i++)
	{
		JournalCell cell = {CELL_HEAD, append->numbers[i] - 1};

		if (!journal_cell_read(session->rels.heads, &cell) ||
			memcmp(cell.value.head.ledger, entry->items[i].ledger, LEDGER_ID_SIZE) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("the journal does not know ledger number %u of a table", append->numbers[i]),
					 errhint("Run verity_verify() to see what is damaged.")));
		entry->items[i].previous = cell.value.head.hash;
	}
}

/* The cells that change with the entry: its serial's, and its tables' heads. */
static int
make_cells(JournalAppend *append, JournalCell *cells)
{
	entry_stored *entry = append->entry;
	int			count = 0;

	if (append->map_serial)
	{
		cells[count].kind = CELL_SERIAL;
		cells[count].index = entry->core.serial - 1;
		cells[count++].value.serial = entry->core.position;
	}
	for (uint32 i = 0; i < entry->item_count; i++)
	{
		JournalCell *cell = &cells[count++];

		cell->kind = CELL_HEAD;
		cell->index = append->numbers[i] - 1;
		memcpy(cell->value.head.ledger, entry->items[i].ledger, LEDGER_ID_SIZE);
		cell->value.head.position = entry->core.position;
		JOURNAL_CHECK(entry_item_hash(&entry->items[i], &cell->value.head.hash));
	}
	qsort(cells, count, sizeof(JournalCell), compare_cells);
	return count;
}

/* Was there a key when the entry was written? */
bool
journal_has_hmac(const entry_stored *entry)
{
	static const uint8 none[ENTRY_HMAC_SIZE];

	return memcmp(entry->hmac, none, ENTRY_HMAC_SIZE) != 0;
}

/* Seal, authenticate and encode; palloc'd. */
static uint8 *
encode_entry(JournalSession *session, entry_stored *entry, hash256 *hash, Size *len)
{
	uint8		core[ENTRY_CORE_SIZE];
	size_t		used;
	uint8	   *raw;

	JOURNAL_CHECK(entry_seal(entry));
	JOURNAL_CHECK(entry_hash(&entry->core, hash));
	entry_core_encode(&entry->core, core);
	verity_journal_hmac(session->shared->journal_id, core, sizeof(core), entry->hmac);
	if (session->shared->keyed && !journal_has_hmac(entry))
		verity_keys_require();
	*len = entry_stored_size(entry);
	if (*len > JOURNAL_ENTRY_MAX)
		JOURNAL_CHECK(CORE_E_LIMIT);
	raw = palloc_extended(*len, MCXT_ALLOC_HUGE);
	JOURNAL_CHECK(entry_stored_encode(entry, raw, *len, &used));
	Assert(used == *len);
	return raw;
}

uint64
journal_append(JournalSession *session, JournalAppend *append)
{
	JournalShared *shared = session->shared;
	entry_core *core = &append->entry->core;
	JournalCell *cells = palloc0((1 + append->entry->item_count) * sizeof(JournalCell));
	hash256		hash;
	uint8	   *raw;
	Size		len;
	int			count;
	int			done;

	Assert(LWLockHeldByMeInMode(&shared->lock, LW_EXCLUSIVE));
	fill_core(session, append);
	link_items(session, append);
	raw = encode_entry(session, append->entry, &hash, &len);
	count = make_cells(append, cells);

	shared->broken = true;
	done = write_entry(session, append, raw, len, cells, count);
	VERITY_STOP("entry-written");
	shared->last_position = core->position;
	shared->last_time = core->time;
	shared->last_hash = hash;
	shared->keyed = journal_has_hmac(append->entry);
	if (TransactionIdIsValid(append->xid))
		journal_run_add(shared, append->xid, core->serial, core->position);
	if (done < count)
		journal_write_cells(session, cells + done, count - done);
	VERITY_STOP("entry-whole");
	shared->broken = false;
	verity_count(COUNT_ENTRIES, 1);
	verity_count(COUNT_ENTRY_BYTES, len);

	pfree(raw);
	pfree(cells);
	return core->position;
}

uint64
journal_append_body(JournalSession *session, entry_kind kind, const uint8 *body, Size len,
					JournalMeta *meta, uint64 decided)
{
	entry_stored entry = {0};
	JournalAppend append = {0};

	entry.core.kind = kind;
	entry.body = body;
	entry.body_len = len;
	journal_metadata(&entry.metadata);
	append.entry = &entry;
	append.meta = meta;
	append.decided = decided;
	return journal_append(session, &append);
}

VerityPosition
verity_journal_append_control(entry_kind kind, const uint8 *body, Size len)
{
	JournalSession session;
	VerityPosition position;

	journal_begin(&session);
	position = journal_append_body(&session, kind, body, len, NULL, DECIDED_AS_KNOWN);
	journal_end(&session);
	ereport(DEBUG1,
			(errmsg_internal("wrote journal entry " UINT64_FORMAT " (%s), final at once",
							 position, entry_kind_name(kind))));
	return position;
}

void
journal_voids_add(JournalVoids *voids, uint64 position, uint64 serial)
{
	if (voids->count == voids->capacity)
	{
		voids->capacity = Max(16, voids->capacity * 2);
		if (voids->members == NULL)
			voids->members = palloc(voids->capacity * sizeof(control_void_member));
		else
			voids->members = repalloc(voids->members, voids->capacity * sizeof(control_void_member));
	}
	voids->members[voids->count].position = position;
	voids->members[voids->count].serial = serial;
	voids->count++;
}

/* Mark the members' serials.  Aborted is final, so this may come first. */
static void
mark_void_serials(JournalSession *session, const JournalVoids *voids)
{
	JournalCell *cells = palloc0(Max(voids->count, 1) * sizeof(JournalCell));
	int			count = 0;

	for (int i = 0; i < voids->count; i++)
	{
		/* a transaction's members are contiguous: its last one counts */
		if (i + 1 < voids->count && voids->members[i + 1].serial == voids->members[i].serial)
			continue;
		cells[count].kind = CELL_SERIAL;
		cells[count].index = voids->members[i].serial - 1;
		cells[count++].value.serial = voids->members[i].position | SERIAL_VOID;
	}
	journal_write_cells(session, cells, count);
	pfree(cells);
}

void
journal_append_voids(JournalSession *session, JournalVoids *voids, uint64 decided)
{
	control_void body = {(uint32) voids->count, voids->members};
	codec_writer writer;
	uint8	   *bytes;

	mark_void_serials(session, voids);
	VERITY_STOP("void-serials-marked");
	codec_writer_init(&writer, NULL, 0);
	control_void_encode(&writer, &body);
	bytes = palloc(writer.used);
	codec_writer_init(&writer, bytes, writer.used);
	control_void_encode(&writer, &body);
	journal_append_body(session, ENTRY_VOID, bytes, writer.used, NULL, decided);
	pfree(bytes);
}

/*
 * Drop ended transactions from the front of the ring.  Those that did not
 * commit are named in a void entry first, which states the new horizon.
 */
void
journal_settle(JournalSession *session)
{
	JournalShared *shared = session->shared;
	JournalVoids voids = {0};
	int			ended = 0;

	for (; ended < shared->run_count; ended++)
	{
		JournalRun *run = journal_run(shared, ended);

		if (TransactionIdIsInProgress(run->xid))
			break;
		if (TransactionIdDidCommit(run->xid))
			continue;
		for (uint64 position = run->first; position <= run->last; position++)
			journal_voids_add(&voids, position, run->serial);
	}
	if (voids.count > 0)
	{
		ereport(DEBUG1,
				(errmsg_internal("voiding %d journal entries from position " UINT64_FORMAT
								 ": their transactions did not commit",
								 voids.count, voids.members[0].position)));
		/* the ring is cut only when the entry is there: an error must not lose it */
		journal_append_voids(session, &voids, ended < shared->run_count ?
							 journal_run(shared, ended)->first - 1 : shared->last_position);
		VERITY_STOP("void-written");
		pfree(voids.members);
	}
	shared->run_first = (shared->run_first + ended) % JOURNAL_RUNS;
	shared->run_count -= ended;
}
