/*
 * generation.c
 *	  Generations, by number and the one that seals now; what the journal says
 *	  of itself (its id, whether it protects history).
 *
 * A generation never changes once its entry stands in the journal, so a
 * backend keeps those it read.  The meta page names the positions of the
 * first JOURNAL_META_GENERATIONS ones; that is only a hint, checked against
 * the entry, and replaced by a search through the journal where it is wrong.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "am/journal/journal_store.h"
#include "am/journal/journal_summary.h"

typedef struct CachedGeneration
{
	uint32		number;			/* hash key */
	VerityGeneration generation;
} CachedGeneration;

static HTAB *cache = NULL;
static Oid	cache_journal = InvalidOid;

/* The generation that seals, as of the opening it was copied at. */
static VerityGeneration current;
static JournalShared *current_shared = NULL;
static uint64 current_opened = 0;

/* What the genesis entry says, for one journal relation. */
static Oid	genesis_journal = InvalidOid;
static bool genesis_protects = true;

static HTAB *
generation_cache(void)
{
	HASHCTL		ctl = {0};
	Oid			journal = journal_oid();

	if (cache != NULL && cache_journal == journal)
		return cache;
	if (cache != NULL)
		hash_destroy(cache);
	ctl.keysize = sizeof(uint32);
	ctl.entrysize = sizeof(CachedGeneration);
	ctl.hcxt = CacheMemoryContext;
	cache = hash_create("verity generations", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	cache_journal = journal;
	return cache;
}

static void
remember(const VerityGeneration *generation)
{
	CachedGeneration *cached = hash_search(generation_cache(), &generation->number, HASH_ENTER, NULL);

	cached->generation = *generation;
}

/* Take a generation from its entry; false when the entry is none. */
static bool
from_entry(const VerityEntry *entry, VerityGeneration *out)
{
	control_generation body;

	if (entry == NULL || entry->stored.core.kind != ENTRY_GENERATION ||
		control_generation_decode(entry->stored.body, entry->stored.body_len, &body) != CORE_OK)
		return false;
	out->number = body.number;
	out->id = body.id;
	memcpy(out->salt, body.salt, sizeof(out->salt));
	out->first_serial = body.first_serial;
	return true;
}

static bool
look_up_hint(Relation journal, uint32 number, VerityGeneration *out, bool *beyond)
{
	JournalMeta *meta = palloc(sizeof(JournalMeta));
	VerityEntry *entry = NULL;
	bool		found = false;

	journal_meta_read(journal, meta);
	*beyond = number == 0 || number > meta->generation_count;
	if (number >= 1 && number <= Min(meta->generation_count, JOURNAL_META_GENERATIONS))
		entry = journal_read_entry(journal, meta->generations[number - 1]);
	found = from_entry(entry, out) && out->number == number;
	verity_entry_free(entry);
	pfree(meta);
	return found;
}

/* Read the whole journal, remembering every generation that comes by. */
static bool
look_up_scan(uint32 number, VerityGeneration *out)
{
	VerityJournalReader *reader = verity_journal_reader_begin(1);
	VerityGeneration generation;
	VerityEntry *entry;
	const char *damage = NULL;
	VerityPosition at;
	bool		found = false;

	for (;;)
	{
		damage = NULL;
		entry = verity_journal_reader_next(reader, &damage, &at);
		if (entry == NULL && damage == NULL)
			break;
		if (from_entry(entry, &generation))
		{
			remember(&generation);
			if (generation.number == number && !found)
			{
				*out = generation;
				found = true;
			}
		}
		verity_entry_free(entry);
	}
	verity_journal_reader_end(reader);
	return found;
}

bool
verity_generation_get(uint32 number, VerityGeneration *out)
{
	CachedGeneration *cached;
	Relation	journal;
	bool		found;
	bool		beyond;

	if (!OidIsValid(journal_oid()))
		return false;
	cached = hash_search(generation_cache(), &number, HASH_FIND, NULL);
	if (cached != NULL)
	{
		*out = cached->generation;
		return true;
	}
	journal = table_open(journal_oid(), AccessShareLock);
	found = look_up_hint(journal, number, out, &beyond) || (!beyond && look_up_scan(number, out));
	table_close(journal, AccessShareLock);
	if (found)
		remember(out);
	return found;
}

uint32
journal_generation_number(uint64 id)
{
	static uint64 last_id = 0;
	static uint32 last_number = 0;
	VerityGeneration generation;

	if (id == last_id)
		return last_number;
	for (uint32 number = 1; verity_generation_get(number, &generation); number++)
	{
		if (generation.id != id)
			continue;
		last_id = id;
		last_number = number;
		return number;
	}
	return 0;
}

const VerityGeneration *
verity_generation_current(void)
{
	JournalShared *shared = journal_shared();
	JournalSession session;

	if (shared != NULL && shared == current_shared && journal_is_open(shared) &&
		pg_atomic_read_u64(&shared->opened) == current_opened)
		return &current;
	journal_begin(&session);
	current = session.shared->generation;
	current_shared = session.shared;
	current_opened = pg_atomic_read_u64(&session.shared->opened);
	journal_end(&session);
	remember(&current);
	return &current;
}

void
verity_journal_id(uint8 journal_id[16])
{
	JournalShared *shared = journal_shared();
	JournalMeta *meta;
	Relation	journal;

	if (shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database has no journal"),
				 errhint("Run CREATE EXTENSION verity in this database.")));
	if (journal_is_open(shared))
	{
		memcpy(journal_id, shared->journal_id, 16);
		return;
	}
	meta = palloc(sizeof(JournalMeta));
	journal = table_open(journal_oid(), AccessShareLock);
	journal_meta_read(journal, meta);
	table_close(journal, AccessShareLock);
	memcpy(journal_id, meta->journal_id, 16);
	pfree(meta);
}

bool
verity_journal_exists(void)
{
	return OidIsValid(MyDatabaseId) && OidIsValid(journal_oid());
}

bool
verity_journal_protects(void)
{
	VerityEntry *entry;
	control_genesis body;

	if (!verity_journal_exists())
		return false;
	if (genesis_journal == journal_oid())
		return genesis_protects;
	entry = verity_journal_read(1);
	if (entry == NULL)
		return true;
	/* a genesis entry that cannot be read must not lift protection */
	genesis_protects = entry->stored.core.kind != ENTRY_GENESIS ||
		control_genesis_decode(entry->stored.body, entry->stored.body_len, &body) != CORE_OK ||
		body.protect_history != 0;
	verity_entry_free(entry);
	genesis_journal = journal_oid();
	return genesis_protects;
}
