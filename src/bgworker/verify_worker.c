/*
 * verify_worker.c
 *	  Parallel reading of a table for verity_verify().
 *
 * Workers take ranges of blocks from a shared counter, do the reading, hashing
 * and opening (verify_scan.c) and, in a trial, the folding (verify_fold.c), and
 * hand what comes of it over a queue each to the leader, which sorts.  An error
 * in a worker ends the attempt; the leader then reads the table again by
 * itself, where errors can be contained.
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
#include "storage/spin.h"
#include "utils/memutils.h"

#define KEY_SHARED 1
#define KEY_QUEUES 2
#define QUEUE_SIZE (256 * 1024)
#define MESSAGE_SIZE (24 * 1024)

/* How often the leader looks how far its workers are. */
#define PROGRESS_MS 100

/* Steps are long, for stretches end with them, unless there are too few then. */
#define BLOCKS_PER_STEP_MAX 128
#define STEPS_PER_WORKER 16

typedef struct WorkShared
{
	Oid			relid;
	BlockNumber nblocks;
	BlockNumber step;
	bool		with_keys;
	bool		folding;
	bool		with_tids;
	char		object[2 * NAMEDATALEN + 8];
	pg_atomic_uint64 next;
	pg_atomic_uint64 done;
	pg_atomic_uint64 bytes;
	pg_atomic_uint64 opened;
	pg_atomic_uint64 records;
	pg_atomic_uint64 irregular; /* not 0: a trial has failed */
	slock_t		mutex;
	VerifyDoubt doubt;			/* under the mutex: why */
} WorkShared;

typedef enum WorkKind
{
	WORK_RECORD = 1,
	WORK_FINDING,
	WORK_STRETCH,
	WORK_TIDS
} WorkKind;

/* A message is pieces: each a head, what it says, and padding. */
typedef struct WorkPiece
{
	uint32		kind;
	uint32		len;
} WorkPiece;

#define PIECE_HEAD MAXALIGN(sizeof(WorkPiece))

StaticAssertDecl(PIECE_HEAD + MAXALIGN(VERIFY_STRETCH_SIZE_MAX) <= MESSAGE_SIZE &&
				 PIECE_HEAD + MAXALIGN(sizeof(VerifyRecord)) <= MESSAGE_SIZE &&
				 PIECE_HEAD + MAXALIGN(sizeof(VerifyFinding)) <= MESSAGE_SIZE,
				 "a message has room for any piece");

typedef struct WorkerState
{
	shm_mq_handle *queue;
	Size		used;
	char	   *message;		/* MESSAGE_SIZE bytes */
} WorkerState;

extern PGDLLEXPORT void verity_verify_worker_main(dsm_segment *segment, shm_toc *toc);

/* --- in a worker --- */

static void
flush_message(WorkerState *state)
{
	if (state->used > 0 &&
		shm_mq_send(state->queue, state->used, state->message, false, true) != SHM_MQ_SUCCESS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the verification that this worker belongs to has ended")));
	state->used = 0;
}

static void
put_piece(WorkerState *state, WorkKind kind, const void *data, Size len)
{
	WorkPiece	head = {kind, len};

	if (state->used + PIECE_HEAD + MAXALIGN(len) > MESSAGE_SIZE)
		flush_message(state);
	memcpy(state->message + state->used, &head, sizeof(head));
	memcpy(state->message + state->used + PIECE_HEAD, data, len);
	state->used += PIECE_HEAD + MAXALIGN(len);
}

static void
worker_record(void *arg, const VerifyRecord *record)
{
	put_piece(arg, WORK_RECORD, record, sizeof(*record));
}

static void
worker_finding(void *arg, const VerifyFinding *finding)
{
	put_piece(arg, WORK_FINDING, finding, sizeof(*finding));
}

static void
worker_stretch(void *arg, const VerifyStretch *stretch)
{
	put_piece(arg, WORK_STRETCH, stretch, VERIFY_STRETCH_SIZE(stretch->node_count));
}

static void
worker_tids(void *arg, const VerifyTidBlock *tids)
{
	put_piece(arg, WORK_TIDS, tids, sizeof(*tids));
}

/* This trial has failed. */
static void
share_doubt(WorkShared *shared, VerifyDoubt doubt)
{
	pg_atomic_write_u64(&shared->irregular, 1);
	SpinLockAcquire(&shared->mutex);
	verify_doubt(&shared->doubt, doubt.kind, doubt.first, doubt.last);
	SpinLockRelease(&shared->mutex);
}

/* Take steps of blocks until there are none, or there is no use in more. */
static void
work(WorkShared *shared, VerifyScan *scan, const VerifyFold *fold)
{
	while (pg_atomic_read_u64(&shared->irregular) == 0)
	{
		uint64		first = pg_atomic_fetch_add_u64(&shared->next, shared->step);
		uint64		last = Min(first + shared->step, shared->nblocks);

		if (first >= shared->nblocks)
			break;
		for (uint64 blkno = first; blkno < last; blkno++)
		{
			verify_scan_block(scan, (BlockNumber) blkno);
			pg_atomic_fetch_add_u64(&shared->done, 1);
		}
		if (fold && verify_fold_irregular(fold))
			pg_atomic_write_u64(&shared->irregular, 1);
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
	WorkerState *state = palloc0(sizeof(WorkerState));
	VerifySink	sink = {worker_record, worker_finding, worker_stretch, worker_tids, state};
	VerifyFold *fold = shared->folding ? verify_fold_begin(&sink, shared->with_tids) : NULL;
	VerifyScan *scan = palloc(sizeof(VerifyScan));
	Relation	rel;

	shm_mq_set_sender(mq, MyProc);
	state->queue = shm_mq_attach(mq, segment, NULL);
	state->message = palloc0(MESSAGE_SIZE);

	rel = relation_open(shared->relid, AccessShareLock);
	verify_scan_begin(scan, rel, shared->object, fold ? verify_fold_sink(fold) : &sink,
					  shared->with_keys, false);
	scan->glancing = shared->folding;
	work(shared, scan, fold);
	verify_scan_end(scan);
	if (fold && verify_fold_irregular(fold))
		share_doubt(shared, verify_fold_doubt(fold));
	if (fold)
		pg_atomic_fetch_add_u64(&shared->records, verify_fold_end(fold));
	flush_message(state);
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
	scan->shared->step = Min(Max(scan->table->nblocks / (scan->workers * STEPS_PER_WORKER), 1),
							 BLOCKS_PER_STEP_MAX);
	scan->shared->with_keys = scan->table->ctx->with_keys;
	scan->shared->folding = scan->table->trial;
	scan->shared->with_tids = scan->table->indexed;
	strlcpy(scan->shared->object, scan->table->object, sizeof(scan->shared->object));
	pg_atomic_init_u64(&scan->shared->next, 0);
	pg_atomic_init_u64(&scan->shared->done, 0);
	pg_atomic_init_u64(&scan->shared->bytes, 0);
	pg_atomic_init_u64(&scan->shared->opened, 0);
	pg_atomic_init_u64(&scan->shared->records, 0);
	pg_atomic_init_u64(&scan->shared->irregular, 0);
	SpinLockInit(&scan->shared->mutex);
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

/* Take one piece in. */
static void
take_piece(ParallelScan *scan, uint32 kind, const void *data)
{
	const VerifySink *sink = scan->sink;

	switch ((WorkKind) kind)
	{
		case WORK_RECORD:
			sink->record(sink->arg, data);
			break;
		case WORK_FINDING:
			scan->findings = lappend(scan->findings,
									 memcpy(palloc(sizeof(VerifyFinding)), data, sizeof(VerifyFinding)));
			break;
		case WORK_STRETCH:
			sink->stretch(sink->arg, data);
			break;
		case WORK_TIDS:
			sink->tids(sink->arg, data);
			break;
	}
}

/* Take one message in. */
static void
take_message(ParallelScan *scan, const char *data, Size len)
{
	Size		at = 0;

	while (at < len)
	{
		WorkPiece	head;

		memcpy(&head, data + at, sizeof(head));
		take_piece(scan, head.kind, data + at + PIECE_HEAD);
		at += PIECE_HEAD + MAXALIGN(head.len);
	}
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
				take_message(scan, data, len);
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
			/* folding workers may have nothing to say for long */
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, PROGRESS_MS,
							 VERITY_WAIT_EVENT("VerityVerifyWorkers"));
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
		scan->table->records = pg_atomic_read_u64(&scan->shared->records);
		scan->table->irregular |= pg_atomic_read_u64(&scan->shared->irregular) != 0;
		scan->table->doubt = scan->shared->doubt;
	}
	DestroyParallelContext(pcxt);
	ExitParallelMode();
}

/* Read the table with workers; in a trial, folding. */
VerifyParallel
verify_scan_parallel(VerifyTable *table, const VerifySink *sink, int workers)
{
	ParallelScan scan = {table, sink, workers};
	char		message[160];
	ListCell   *lc;

	if (!verify_guard(scan_with_workers, &scan, message, sizeof(message)))
	{
		ereport(DEBUG1,
				(errmsg_internal("verifying %s without workers: %s", table->object, message)));
		return PARALLEL_FAILED;
	}
	if (scan.launched == 0)
		return PARALLEL_NONE;
	foreach(lc, scan.findings)
		sink->finding(sink->arg, lfirst(lc));
	return PARALLEL_DONE;
}
