/*
 * verify_progress.c
 *	  What running verifications are doing: the view verity.progress.
 *
 * A slot for each in shared memory, claimed and released under
 * VERITY_LOCK_VERIFY; its counters are written by the owner alone.  A slot
 * whose process is gone counts as free.
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "sql/settings.h"
#include "sql/verify/verify.h"
#include "storage/ipc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define PROGRESS_SLOTS 16
#define PROGRESS_COLUMNS 8

typedef struct ProgressSlot
{
	int			pid;			/* 0: free */
	Oid			database;
	TimestampTz started;
	char		phase[NAMEDATALEN];
	char		object[2 * NAMEDATALEN + 8];
	pg_atomic_uint64 total;
	pg_atomic_uint64 done;
	pg_atomic_uint64 records;
} ProgressSlot;

static ProgressSlot *progress_slots = NULL;
static ProgressSlot *my_slot = NULL;

Size
verity_verify_shmem_size(void)
{
	return MAXALIGN(sizeof(ProgressSlot) * PROGRESS_SLOTS);
}

void
verity_verify_shmem_init(void)
{
	bool		found;
	int			i;

	progress_slots = ShmemInitStruct("verity verify progress", verity_verify_shmem_size(), &found);
	if (found)
		return;
	memset(progress_slots, 0, verity_verify_shmem_size());
	for (i = 0; i < PROGRESS_SLOTS; i++)
	{
		pg_atomic_init_u64(&progress_slots[i].total, 0);
		pg_atomic_init_u64(&progress_slots[i].done, 0);
		pg_atomic_init_u64(&progress_slots[i].records, 0);
	}
}

/* Claim a slot; without a free one the run is just not shown. */
void
verify_progress_begin(void)
{
	int			i;

	LWLockAcquire(verity_lock(VERITY_LOCK_VERIFY), LW_EXCLUSIVE);
	my_slot = NULL;
	for (i = 0; i < PROGRESS_SLOTS && my_slot == NULL; i++)
	{
		ProgressSlot *slot = &progress_slots[i];

		if (slot->pid != 0 && slot->pid != MyProcPid && BackendPidGetProc(slot->pid) != NULL)
			continue;
		my_slot = slot;
		slot->pid = MyProcPid;
		slot->database = MyDatabaseId;
		slot->started = GetCurrentTimestamp();
		slot->phase[0] = slot->object[0] = '\0';
	}
	LWLockRelease(verity_lock(VERITY_LOCK_VERIFY));
}

/* A new phase; total is in blocks for tables, in entries for the journal. */
void
verify_progress_set(const char *phase, const char *object, uint64 total)
{
	if (my_slot == NULL)
		return;
	LWLockAcquire(verity_lock(VERITY_LOCK_VERIFY), LW_EXCLUSIVE);
	strlcpy(my_slot->phase, phase, sizeof(my_slot->phase));
	strlcpy(my_slot->object, object, sizeof(my_slot->object));
	pg_atomic_write_u64(&my_slot->total, total);
	pg_atomic_write_u64(&my_slot->done, 0);
	pg_atomic_write_u64(&my_slot->records, 0);
	LWLockRelease(verity_lock(VERITY_LOCK_VERIFY));
}

void
verify_progress_add(uint64 done, uint64 records)
{
	if (my_slot == NULL)
		return;
	pg_atomic_fetch_add_u64(&my_slot->done, done);
	pg_atomic_fetch_add_u64(&my_slot->records, records);
}

void
verify_progress_end(void)
{
	if (my_slot == NULL)
		return;
	LWLockAcquire(verity_lock(VERITY_LOCK_VERIFY), LW_EXCLUSIVE);
	my_slot->pid = 0;
	LWLockRelease(verity_lock(VERITY_LOCK_VERIFY));
	my_slot = NULL;
}

PG_FUNCTION_INFO_V1(verity_verify_progress);

/* The rows of verity.progress. */
Datum
verity_verify_progress(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ProgressSlot copy[PROGRESS_SLOTS];
	int			i;

	InitMaterializedSRF(fcinfo, 0);
	LWLockAcquire(verity_lock(VERITY_LOCK_VERIFY), LW_SHARED);
	memcpy(copy, progress_slots, sizeof(copy));
	LWLockRelease(verity_lock(VERITY_LOCK_VERIFY));
	for (i = 0; i < PROGRESS_SLOTS; i++)
	{
		Datum		values[PROGRESS_COLUMNS];
		bool		nulls[PROGRESS_COLUMNS] = {0};

		if (copy[i].pid == 0 || BackendPidGetProc(copy[i].pid) == NULL)
			continue;
		values[0] = Int32GetDatum(copy[i].pid);
		values[1] = ObjectIdGetDatum(copy[i].database);
		values[2] = TimestampTzGetDatum(copy[i].started);
		values[3] = CStringGetTextDatum(copy[i].phase);
		values[4] = CStringGetTextDatum(copy[i].object);
		values[5] = Int64GetDatum((int64) pg_atomic_read_u64(&copy[i].done));
		values[6] = Int64GetDatum((int64) pg_atomic_read_u64(&copy[i].total));
		values[7] = Int64GetDatum((int64) pg_atomic_read_u64(&copy[i].records));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
