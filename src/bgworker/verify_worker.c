/*
 * verify_worker.c
 *	  Parallel reading of a table for verity_verify().
 *
 * Workers take ranges of blocks from a shared counter, do the reading, hashing
 * and opening (verify_scan.c), and hand records and findings over a queue each
 * to the leader, which sorts.  An error in a worker ends the attempt; the
 * leader then reads the table again by itself, where errors can be contained.
 */
#include "postgres.h"

#include "compat.h"
#include "access/parallel.h"
#include "access/relation.h"
#include "access/xact.h"
#include "am/rel.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "sql/verify/verify.h"
#include "storage/latch.h"
#include "storage/shm_mq.h"
#include "storage/shm_toc.h"
#include "utils/memutils.h"

#define KEY_SHARED 1
#define KEY_QUEUES 2
#define QUEUE_SIZE (256 * 1024)
#define BLOCKS_PER_STEP 32
#define RECORDS_PER_MESSAGE 128

typedef struct WorkShared
{
	Oid			relid;
	BlockNumber nblocks;
	bool		with_keys;
	char		object[2 * NAMEDATALEN + 8];
	pg_atomic_uint64 next;
	pg_atomic_uint64 done;
	pg_atomic_uint64 bytes;
	pg_atomic_uint64 opened;
} WorkShared;

typedef enum WorkKind
{
	WORK_RECORDS = 1,
	WORK_FINDING
} WorkKind;

/* A message: records, or one finding. */
typedef struct WorkMessage
{
	uint32		kind;
	uint32		count;
	union
	{
		VerifyRecord records[RECORDS_PER_MESSAGE];
		VerifyFinding finding;
	}			u;
} WorkMessage;

typedef struct WorkerState
{
	shm_mq_handle *queue;
	WorkMessage batch;
} WorkerState;

extern PGDLLEXPORT void verity_verify_worker_main(dsm_segment *segment, shm_toc *toc);

/* --- in a worker --- */

static void
send_message(WorkerState *state, const WorkMessage *message, Size len)
{
	if (shm_mq_send(state->queue, len, message, false, true) != SHM_MQ_SUCCESS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the verification that this worker belongs to has ended")));
}

static void
flush_batch(WorkerState *state)
{
	if (state->batch.count > 0)
		send_message(state, &state->batch,
					 offsetof(WorkMessage, u) + state->batch.count * sizeof(VerifyRecord));
	state->batch.count = 0;
}

static void
worker_record(void *arg, const VerifyRecord *record)
{
	WorkerState *state = arg;

	state->batch.u.records[state->batch.count++] = *record;
	if (state->batch.count == RECORDS_PER_MESSAGE)
		flush_batch(state);
}

static void
worker_finding(void *arg, const VerifyFinding *finding)
{
	WorkerState *state = arg;
	WorkMessage message;

	message.kind = WORK_FINDING;
	message.count = 1;
	message.u.finding = *finding;
	send_message(state, &message, offsetof(WorkMessage, u) + sizeof(VerifyFinding));
}

/* Take steps of blocks until there are none. */
static void
work(WorkShared *shared, VerifyScan *scan)
{
	for (;;)
	{
		uint64		first = pg_atomic_fetch_add_u64(&shared->next, BLOCKS_PER_STEP);
		uint64		last = Min(first + BLOCKS_PER_STEP, shared->nblocks);

		if (first >= shared->nblocks)
			break;
		for (uint64 blkno = first; blkno < last; blkno++)
			verify_scan_block(scan, (BlockNumber) blkno);
		pg_atomic_fetch_add_u64(&shared->done, last - first);
	}
	pg_atomic_fetch_add_u64(&shared->bytes, scan->bytes);
	pg_atomic_fetch_add_u64(&shared->opened, scan->opened);
}

void
verity_verify_worker_main(dsm_segment *segment, shm_toc *toc)
{
	WorkShared *shared = shm_toc_lookup(toc, KEY_SHARED, false);
	char	   *queues = shm_toc_lookup(toc, KEY_QUEUES, false);
	shm_mq	   *mq = (shm_mq *) (queues + (Size) ParallelWorkerNumber * QUEUE_SIZE);
	WorkerState *state = palloc(sizeof(WorkerState));
	VerifySink	sink = {worker_record, worker_finding, state};
	VerifyScan *scan = palloc(sizeof(VerifyScan));
	Relation	rel;

	shm_mq_set_sender(mq, MyProc);
	state->queue = shm_mq_attach(mq, segment, NULL);
	state->batch.kind = WORK_RECORDS;
	state->batch.count = 0;

	rel = relation_open(shared->relid, AccessShareLock);
	verify_scan_begin(scan, rel, shared->object, &sink, shared->with_keys, false);
	work(shared, scan);
	verify_scan_end(scan);
	flush_batch(state);
	relation_close(rel, AccessShareLock);
	shm_mq_detach(state->queue);
}

/* --- in the leader --- */

typedef struct ParallelScan
{
	VerifyTable *table;
	const VerifySink *sink;
	int			workers;
	int			launched;
	List	   *findings;		/* given out only when all went well */
	WorkShared *shared;
	shm_mq_handle **queues;
} ParallelScan;

/* Make the shared segment and start the workers. */
static ParallelContext *
start_workers(ParallelScan *scan)
{
	ParallelContext *pcxt = CreateParallelContext("verity", "verity_verify_worker_main", scan->workers);
	Size		queue_bytes = mul_size(QUEUE_SIZE, pcxt->nworkers);
	char	   *queues;

	shm_toc_estimate_chunk(&pcxt->estimator, sizeof(WorkShared));
	shm_toc_estimate_chunk(&pcxt->estimator, queue_bytes);
	shm_toc_estimate_keys(&pcxt->estimator, 2);
	InitializeParallelDSM(pcxt);
	if (pcxt->seg == NULL)
		return pcxt;
	scan->shared = shm_toc_allocate(pcxt->toc, sizeof(WorkShared));
	memset(scan->shared, 0, sizeof(WorkShared));
	scan->shared->relid = RelationGetRelid(scan->table->rel);
	scan->shared->nblocks = scan->table->nblocks;
	scan->shared->with_keys = scan->table->ctx->with_keys;
	strlcpy(scan->shared->object, scan->table->object, sizeof(scan->shared->object));
	pg_atomic_init_u64(&scan->shared->next, 0);
	pg_atomic_init_u64(&scan->shared->done, 0);
	pg_atomic_init_u64(&scan->shared->bytes, 0);
	pg_atomic_init_u64(&scan->shared->opened, 0);
	shm_toc_insert(pcxt->toc, KEY_SHARED, scan->shared);
	queues = shm_toc_allocate(pcxt->toc, queue_bytes);
	shm_toc_insert(pcxt->toc, KEY_QUEUES, queues);
	scan->queues = palloc0(pcxt->nworkers * sizeof(shm_mq_handle *));
	for (int i = 0; i < pcxt->nworkers; i++)
	{
		shm_mq	   *mq = shm_mq_create(queues + (Size) i * QUEUE_SIZE, QUEUE_SIZE);

		shm_mq_set_receiver(mq, MyProc);
		scan->queues[i] = shm_mq_attach(mq, pcxt->seg, NULL);
	}
	LaunchParallelWorkers(pcxt);
	scan->launched = pcxt->nworkers_launched;
	for (int i = 0; i < scan->launched; i++)
		shm_mq_set_handle(scan->queues[i], pcxt->worker[i].bgwhandle);
	return pcxt;
}

/* Take one message in. */
static void
take_message(ParallelScan *scan, const void *data)
{
	const WorkMessage *message = data;

	if (message->kind == WORK_RECORDS)
	{
		for (uint32 i = 0; i < message->count; i++)
			scan->sink->record(scan->sink->arg, &message->u.records[i]);
		return;
	}
	scan->findings = lappend(scan->findings,
							 memcpy(palloc(sizeof(VerifyFinding)), &message->u.finding,
									sizeof(VerifyFinding)));
}

/* Drain the queues until every worker has detached. */
static void
drain(ParallelScan *scan)
{
	int			open = scan->launched;
	uint64		shown = 0;

	while (open > 0)
	{
		bool		idle = true;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < scan->launched; i++)
		{
			Size		len;
			void	   *data;
			shm_mq_result result;

			if (scan->queues[i] == NULL)
				continue;
			result = shm_mq_receive(scan->queues[i], &len, &data, true);
			if (result == SHM_MQ_SUCCESS)
				take_message(scan, data);
			else if (result == SHM_MQ_DETACHED)
			{
				scan->queues[i] = NULL;
				open--;
			}
			if (result != SHM_MQ_WOULD_BLOCK)
				idle = false;
		}
		if (idle)
		{
			uint64		done = pg_atomic_read_u64(&scan->shared->done);

			verify_progress_add(done - shown, 0);
			shown = done;
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, 0, VERITY_WAIT_EVENT("VerityVerifyWorkers"));
			ResetLatch(MyLatch);
		}
	}
}

/* The whole parallel attempt; runs under the guard. */
static void
scan_with_workers(void *arg)
{
	ParallelScan *scan = arg;
	ParallelContext *pcxt;

	EnterParallelMode();
	pcxt = start_workers(scan);
	if (scan->launched > 0)
	{
		drain(scan);
		WaitForParallelWorkersToFinish(pcxt);
		scan->table->bytes = pg_atomic_read_u64(&scan->shared->bytes);
		scan->table->opened = pg_atomic_read_u64(&scan->shared->opened);
	}
	DestroyParallelContext(pcxt);
	ExitParallelMode();
}

/* Read the table with workers; false when it has to be read without. */
bool
verify_scan_parallel(VerifyTable *table, const VerifySink *sink, int workers)
{
	ParallelScan scan = {table, sink, workers};
	char		message[160];
	ListCell   *lc;

	if (!verify_guard(scan_with_workers, &scan, message, sizeof(message)))
	{
		ereport(DEBUG1,
				(errmsg_internal("verifying %s without workers: %s", table->object, message)));
		verify_sort_end(table->sorted);
		table->sorted = verify_sort_begin(sizeof(VerifyRecord), maintenance_work_mem);
		return false;
	}
	if (scan.launched == 0)
		return false;
	foreach(lc, scan.findings)
		sink->finding(sink->arg, lfirst(lc));
	return true;
}
