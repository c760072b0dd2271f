/*
 * stat.c
 *	  Counters: a set for each process, and totals for each database.
 *
 * Each backend owns a slot in shared memory, found by its PGPROC's number,
 * and is its only writer: counting is a plain store, and survives errors.
 * When a process leaves it adds its slot to its database's totals.  A reader
 * adds the slots of running processes to these.  So nothing is ever flushed,
 * long transactions are seen as they go, and no counter is shared by two
 * processors.
 *
 * A parallel worker adds its counts to its leader's slot as well, before the
 * leader learns of its end: that is for EXPLAIN alone.
 *
 * Locks: VERITY_LOCK_STAT for the totals, held where a process starts or
 * ends counting and by readers; a reader sees running counters a little late.
 * Resetting keeps what was counted as a base to be taken off, since only its
 * owner may write a counter.  All of it starts anew with the server.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "am/stat.h"
#include "compat.h"
#include "miscadmin.h"
#include "sql/settings.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* What one process counted; padded, so that no two share a cache line. */
typedef struct StatSlot
{
	int			total;			/* its database's place in totals, -1: free */
	pg_atomic_uint64 own[VERITY_COUNTERS];
	pg_atomic_uint64 workers[VERITY_COUNTERS];	/* of its parallel workers */
} StatSlot;

typedef union StatSlotPadded
{
	StatSlot	slot;
	char		padding[TYPEALIGN(PG_CACHE_LINE_SIZE, sizeof(StatSlot))];
} StatSlotPadded;

/* What one database's processes counted that have left. */
typedef struct StatTotal
{
	Oid			database;
	TimestampTz reset;
	VerityCounts ended;
	VerityCounts base;			/* at the last reset */
} StatTotal;

/* The first of totals is for databases that are gone or found no place. */
#define TOTAL_REST 0
#define TOTALS (verity_max_databases + 1)

static StatTotal *totals = NULL;
static StatSlotPadded *slots = NULL;

pg_atomic_uint64 *verity_counters = NULL;
static StatSlot *my_slot = NULL;

/* For processes without a slot: what they count is seen by nobody. */
static pg_atomic_uint64 unseen[VERITY_COUNTERS];

/* --- shared memory --- */

Size
verity_stat_shmem_size(void)
{
	return add_size(mul_size(TOTALS, sizeof(StatTotal)),
					add_size(mul_size(MaxBackends, sizeof(StatSlotPadded)), PG_CACHE_LINE_SIZE));
}

static void
counters_init(pg_atomic_uint64 *counters)
{
	for (int i = 0; i < VERITY_COUNTERS; i++)
		pg_atomic_init_u64(&counters[i], 0);
}

void
verity_stat_shmem_init(void)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		found;

	totals = ShmemInitStruct("verity counters", verity_stat_shmem_size(), &found);
	slots = (StatSlotPadded *) TYPEALIGN(PG_CACHE_LINE_SIZE, totals + TOTALS);
	if (found)
		return;
	memset(totals, 0, TOTALS * sizeof(StatTotal));
	for (int i = 0; i < TOTALS; i++)
		totals[i].reset = now;
	for (int i = 0; i < MaxBackends; i++)
	{
		slots[i].slot.total = -1;
		counters_init(slots[i].slot.own);
		counters_init(slots[i].slot.workers);
	}
}

/* The slot of a process; NULL for those that are no backends. */
static StatSlot *
slot_of(PGPROC *proc)
{
	if (slots == NULL || proc == NULL || GetNumberFromPGProc(proc) >= MaxBackends)
		return NULL;
	return &slots[GetNumberFromPGProc(proc)].slot;
}

/* --- one process --- */

/* The place of this database, taken if need be; lock held. */
static int
find_or_take_total(void)
{
	int			vacant = TOTAL_REST;

	for (int i = TOTALS - 1; i > TOTAL_REST; i--)
	{
		if (totals[i].database == MyDatabaseId)
			return i;
		if (totals[i].database == InvalidOid)
			vacant = i;
	}
	if (vacant != TOTAL_REST)
		totals[vacant].database = MyDatabaseId;
	return vacant;
}

/* Leave this process's counts to its database. */
static void
leave(int code, Datum arg)
{
	StatTotal  *total = &totals[my_slot->total];

	LWLockAcquire(verity_lock(VERITY_LOCK_STAT), LW_EXCLUSIVE);
	for (int i = 0; i < VERITY_COUNTERS; i++)
		total->ended.n[i] += pg_atomic_read_u64(&my_slot->own[i]);
	counters_init(my_slot->own);
	counters_init(my_slot->workers);
	my_slot->total = -1;
	LWLockRelease(verity_lock(VERITY_LOCK_STAT));
	my_slot = NULL;
	verity_counters = unseen;
}

void
verity_counters_attach(void)
{
	StatSlot   *slot = slot_of(MyProc);

	if (slot == NULL || !OidIsValid(MyDatabaseId))
	{
		counters_init(unseen);
		verity_counters = unseen;
		return;
	}
	LWLockAcquire(verity_lock(VERITY_LOCK_STAT), LW_EXCLUSIVE);
	slot->total = find_or_take_total();
	LWLockRelease(verity_lock(VERITY_LOCK_STAT));
	my_slot = slot;
	verity_counters = slot->own;
	on_shmem_exit(leave, (Datum) 0);
}

void
verity_counts_read(VerityCounts *out)
{
	if (verity_counters == NULL)
		verity_counters_attach();
	for (int i = 0; i < VERITY_COUNTERS; i++)
	{
		out->n[i] = pg_atomic_read_u64(&verity_counters[i]);
		if (my_slot != NULL)
			out->n[i] += pg_atomic_read_u64(&my_slot->workers[i]);
	}
}

/* A parallel worker's transaction ends: its leader may want to know. */
static void
tell_leader(XactEvent event, void *arg)
{
	StatSlot   *leader;

	if ((event != XACT_EVENT_PARALLEL_COMMIT && event != XACT_EVENT_PARALLEL_ABORT) ||
		my_slot == NULL)
		return;
	leader = slot_of(MyProc->lockGroupLeader);
	if (leader == NULL || leader == my_slot)
		return;
	for (int i = 0; i < VERITY_COUNTERS; i++)
		pg_atomic_fetch_add_u64(&leader->workers[i], pg_atomic_read_u64(&my_slot->own[i]));
}

void
verity_stat_init(void)
{
	RegisterXactCallback(tell_leader, NULL);
}

/* --- all of them --- */

/* Add what running processes of a database counted; lock held. */
static void
add_running(int total, VerityCounts *counts)
{
	for (int i = 0; i < MaxBackends; i++)
	{
		if (slots[i].slot.total != total)
			continue;
		for (int c = 0; c < VERITY_COUNTERS; c++)
			counts->n[c] += pg_atomic_read_u64(&slots[i].slot.own[c]);
	}
}

/* Hand what a dropped database counted to the rest. */
static void
fold_dropped(int place, Oid database)
{
	StatTotal  *total = &totals[place];

	LWLockAcquire(verity_lock(VERITY_LOCK_STAT), LW_EXCLUSIVE);
	if (total->database == database)
	{
		/* nobody runs in it: none of its counts are in slots */
		for (int i = 0; i < VERITY_COUNTERS; i++)
			totals[TOTAL_REST].ended.n[i] += total->ended.n[i] - total->base.n[i];
		memset(&total->ended, 0, sizeof(total->ended));
		memset(&total->base, 0, sizeof(total->base));
		total->database = InvalidOid;
	}
	LWLockRelease(verity_lock(VERITY_LOCK_STAT));
}

static void
fold_all_dropped(void)
{
	for (int i = TOTAL_REST + 1; i < TOTALS; i++)
	{
		Oid			database = totals[i].database;

		if (OidIsValid(database) &&
			!SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database)))
			fold_dropped(i, database);
	}
}

VerityDatabaseCounts *
verity_counts_by_database(int *count)
{
	VerityDatabaseCounts *out = palloc(TOTALS * sizeof(VerityDatabaseCounts));

	*count = 0;
	fold_all_dropped();
	LWLockAcquire(verity_lock(VERITY_LOCK_STAT), LW_SHARED);
	for (int i = 0; i < TOTALS; i++)
	{
		VerityDatabaseCounts *one = &out[*count];

		if (i != TOTAL_REST && !OidIsValid(totals[i].database))
			continue;
		one->database = totals[i].database;
		one->reset = totals[i].reset;
		one->counts = totals[i].ended;
		add_running(i, &one->counts);
		for (int c = 0; c < VERITY_COUNTERS; c++)
			one->counts.n[c] -= totals[i].base.n[c];
		(*count)++;
	}
	LWLockRelease(verity_lock(VERITY_LOCK_STAT));
	return out;
}

void
verity_counts_reset(void)
{
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(verity_lock(VERITY_LOCK_STAT), LW_EXCLUSIVE);
	for (int i = 0; i < TOTALS; i++)
	{
		totals[i].base = totals[i].ended;
		add_running(i, &totals[i].base);
		totals[i].reset = now;
	}
	LWLockRelease(verity_lock(VERITY_LOCK_STAT));
}
