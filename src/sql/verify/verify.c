/*
 * verify.c
 *	  verity_verify(): the order of its work, the guard around it, and the
 *	  summary of each table.
 *
 * First the decided horizon, then the journal up to it, then each table, then
 * the journal's tail.  What committed before the horizon was there before the
 * first table page was read, so it is checked strictly.
 */
#include "postgres.h"

#include "access/xact.h"
#include "am/keys/keys.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "sql/verify/verify.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#define WORKERS_MAX 64

/* Errors that are no finding: somebody wants this to stop. */
static bool
must_stop(int code)
{
	return code == ERRCODE_QUERY_CANCELED || code == ERRCODE_ADMIN_SHUTDOWN ||
		code == ERRCODE_CRASH_SHUTDOWN || code == ERRCODE_OUT_OF_MEMORY ||
		code == ERRCODE_DISK_FULL || code == ERRCODE_T_R_SERIALIZATION_FAILURE;
}

bool
verify_guard(VerifyWork work, void *arg, char *message, Size message_size)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool ok = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (must_stop(error->sqlerrcode))
			ReThrowError(error);
		strlcpy(message, error->message ? error->message : "an error", message_size);
		FreeErrorData(error);
		ok = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return ok;
}

/* --- one table --- */

static void
take_record(void *arg, const VerifyRecord *record)
{
	VerifyTable *table = arg;

	table->closed |= (record->marks & VR_TAG_FAILED) != 0;
	verify_sort_put(table->sorted, record, sizeof(*record));
}

static void
take_finding(void *arg, const VerifyFinding *finding)
{
	VerifyTable *table = arg;

	table->findings++;
	verify_report_add(table->ctx->report, finding);
}

static HTAB *
make_set(const char *name, Size keysize)
{
	HASHCTL		info = {0};

	info.keysize = keysize;
	info.entrysize = keysize;
	info.hcxt = CurrentMemoryContext;
	return hash_create(name, 64, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
table_begin(VerifyTable *table, VerifyContext *ctx, VerifyLedger *ledger, Relation rel)
{
	memset(table, 0, sizeof(*table));
	table->ctx = ctx;
	table->ledger = ledger;
	table->rel = rel;
	table->vrel = verity_rel(rel);
	strlcpy(table->object, ledger->name, sizeof(table->object));
	table->nblocks = RelationGetNumberOfBlocks(rel);
	table->indexed = RelationGetIndexList(rel) != NIL;
	table->sorted = verify_sort_begin(sizeof(VerifyRecord), maintenance_work_mem);
	table->stretches = verify_sort_begin(VERIFY_STRETCH_SIZE_MAX, maintenance_work_mem / 4);
	table->tid_blocks = verify_sort_begin(sizeof(VerifyTidBlock), maintenance_work_mem / 4);
	table->noted = verify_positions_begin();
	table->enders = verify_sort_begin(sizeof(VerifyRecord), maintenance_work_mem / 2);
	table->roots = verify_sort_begin(128, maintenance_work_mem / 4);
	table->tids = verify_sort_begin(16, maintenance_work_mem / 4);
	table->past = verify_sort_begin(verify_past_size(), maintenance_work_mem / 4);
	table->matched = BufFileCreateTemp(false);
	table->damaged = make_set("verity damaged serials", sizeof(uint64));
	table->reported = make_set("verity reported records", sizeof(ItemPointerData));
}

static void
table_end(VerifyTable *table)
{
	verify_sort_end(table->sorted);
	verify_sort_end(table->stretches);
	verify_sort_end(table->tid_blocks);
	verify_sort_end(table->enders);
	verify_sort_end(table->roots);
	verify_sort_end(table->tids);
	verify_sort_end(table->past);
	BufFileClose(table->matched);
}

/* Read all blocks in this process. */
static void
scan_serial(VerifyTable *table, const VerifySink *sink)
{
	VerifyScan *scan = palloc(sizeof(VerifyScan));
	BlockNumber blkno;

	verify_scan_begin(scan, table->rel, table->object, sink, table->ctx->with_keys, true);
	for (blkno = 0; blkno < table->nblocks; blkno++)
	{
		verify_scan_block(scan, blkno);
		verify_progress_add(1, 0);
	}
	table->bytes = scan->bytes;
	table->opened = scan->opened;
	verify_scan_end(scan);
	pfree(scan);
}

static void
table_summary(VerifyTable *table)
{
	VerifyFinding f;

	verify_finding_init(&f, VERIFY_INFO, "summary", table->object, table->ctx->horizon);
	snprintf(f.found, sizeof(f.found),
			 UINT64_FORMAT " records, " UINT64_FORMAT " transactions, " UINT64_FORMAT " bytes hashed",
			 table->records, table->transactions, table->bytes);
	snprintf(f.detail, sizeof(f.detail),
			 "%u blocks, " UINT64_FORMAT " current rows; transactions up to position " UINT64_FORMAT
			 " checked strictly; " UINT64_FORMAT " records opened%s",
			 table->nblocks, table->current, table->ctx->horizon, table->opened,
			 table->ctx->with_keys ? "" : " (no keys)");
	verify_report_add(table->ctx->report, &f);
}

/* Read the table with all that it takes to name what is wrong. */
static void
judge(VerifyTable *table)
{
	VerifyContext *ctx = table->ctx;
	VerifySink	sink = {take_record, take_finding, .arg = table};
	VerifyParallel parallel = PARALLEL_NONE;

	verify_progress_set("table", table->object, table->nblocks);
	if (ctx->workers > 0)
		parallel = verify_scan_parallel(table, &sink, ctx->workers);
	if (parallel == PARALLEL_FAILED)
	{
		verify_sort_end(table->sorted);
		table->sorted = verify_sort_begin(sizeof(VerifyRecord), maintenance_work_mem);
	}
	if (parallel != PARALLEL_DONE)
		scan_serial(table, &sink);
	verify_sort_perform(table->sorted);
	verify_journal_tail(ctx);
	verify_progress_set("records", table->object, 0);
	verify_match(table);
	table->records = table->matched_count;
	verify_progress_set("links", table->object, 0);
	verify_links(table);
	verify_roots(table);
}

/* After a trial that failed, as if it had not been. */
static void
forget_trial(VerifyTable *table)
{
	for (uint64 i = 0; i < table->noted->count; i++)
		(void) hash_search(table->ctx->subxids, &table->noted->at[i], HASH_REMOVE, NULL);
	verify_item_restart(table->ctx);
	table_end(table);
}

/*
 * A trial read altered bytes, and now they are as they were committed: a disk
 * or memory that cannot be relied on, or somebody who puts back what he
 * altered.  No finding, for without page checksums a page can be read while
 * half of it is written.
 */
static void
tell_doubt(const VerifyTable *table, const VerifyDoubt *doubt)
{
	static const char *const what[] = {
		[DOUBT_PAGE] = "a damaged page",
		[DOUBT_HEADER] = "a record whose sealed header cannot be read",
		[DOUBT_TAG] = "a record that does not open with the keys",
		[DOUBT_DUPLICATE] = "a record twice",
		[DOUBT_ROOT] = "sealed bytes that were not those committed",
	};

	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("blocks %u to %u of %s read differently a moment ago",
					doubt->first, doubt->last, table->object),
			 errdetail("The first reading had %s; the second one found nothing.", what[doubt->kind]),
			 errhint("Verify again. If it does not go away, or the database has page checksums, look for a failing disk, and for who writes to the data directory.")));
}

/* All of one table. */
static void
verify_table(VerifyContext *ctx, VerifyLedger *ledger, Relation rel)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "verity table",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(scratch);
	VerifyTable *table = palloc(sizeof(VerifyTable));
	uint64		records = ledger->records;
	uint64		errors = verify_report_errors(ctx->report);
	VerifyDoubt doubt;

	table_begin(table, ctx, ledger, rel);
	verify_progress_set("table", table->object, table->nblocks);
	if (!verify_trial(table))
	{
		ereport(DEBUG1,
				(errmsg_internal("verifying %s again, record by record", table->object)));
		doubt = table->doubt;
		forget_trial(table);
		ledger->records = records;
		table_begin(table, ctx, ledger, rel);
		judge(table);
		if (doubt.kind != DOUBT_NONE && !table->closed && verify_report_errors(ctx->report) == errors)
			tell_doubt(table, &doubt);
	}
	verify_indexes(table);
	table_summary(table);
	table_end(table);
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(scratch);
}

/* --- the SQL function --- */

/* Errors unless this is a table that can be verified. */
static void
check_table(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid),
				 errhint("Name the table by its name; it may have been dropped meanwhile.")));
	if (!verity_is_table_oid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a verity table", name),
				 errhint(get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE ?
						 "Verify its partitions one by one, or call verity_verify() without a table to verify all of them." :
						 "Call verity_verify() without a table to verify all of them.")));
}

/* Arguments as C has them; NULLs are defaults. */
static void
read_arguments(FunctionCallInfo fcinfo, VerifyContext *ctx)
{
	int			workers = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT32(3);
	VerityPosition last;
	const char *problem;
	const char *hint;

	ctx->only = InvalidOid;
	if (!PG_ARGISNULL(0))
		check_table(ctx->only = PG_GETARG_OID(0));
	ctx->from = PG_ARGISNULL(1) ? 1 : (VerityPosition) Max(PG_GETARG_INT64(1), 1);
	ctx->to = PG_ARGISNULL(2) ? PG_UINT64_MAX : (VerityPosition) Max(PG_GETARG_INT64(2), 0);
	ctx->with_keys = PG_ARGISNULL(4) ? verity_keys_available() : PG_GETARG_BOOL(4);
	if (ctx->from > ctx->to)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("from_position is greater than to_position"),
				 errhint("Exchange the two positions.")));
	/* asked of the journal only where it matters: a damaged one is for findings */
	if (ctx->from > 1 && ctx->from > (last = verity_journal_last()))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("from_position " UINT64_FORMAT " is behind the journal's end, position " UINT64_FORMAT,
						ctx->from, last),
				 errhint("Nothing would be judged. If the journal did reach that position once, its end was cut off: verify without from_position.")));
	if (workers < 0 || workers > WORKERS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("workers must be between 0 and %d", WORKERS_MAX),
				 errhint("0 verifies in the session's own process.")));
	if (ctx->with_keys && (problem = verity_keys_problem(&hint)) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot verify with keys: %s", problem),
				 errhint("%s", hint)));
	ctx->workers = workers;
}

/* Keys that are set up, and yet are not to be had, may not pass unnoticed. */
static void
report_missing_keys(VerifyContext *ctx)
{
	VerifyFinding finding;
	const char *hint;

	verify_finding_init(&finding, VERIFY_WARNING, "keys", "keystore", 0);
	snprintf(finding.detail, sizeof(finding.detail),
			 "verified without keys, although a master key is configured: %s",
			 verity_keys_problem(&hint));
	verify_report_add(ctx->report, &finding);
}

/* The passes, in order. */
static void
run(VerifyContext *ctx)
{
	HASHCTL		info = {0};

	info.keysize = sizeof(uint64);
	info.entrysize = sizeof(VerifySubxid);
	info.hcxt = ctx->memory;
	ctx->subxids = hash_create("verity subtransactions", 64, &info,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	(void) verify_journal_end(ctx, &ctx->horizon);
	verify_journal_pass(ctx);
	verify_catalog_pass(ctx, verify_table);
	verify_subxids(ctx);
	verify_journal_finish(ctx);
	verify_sort_end(ctx->items);
	verify_report_end(ctx->report);
}

PG_FUNCTION_INFO_V1(verity_verify);

Datum
verity_verify(PG_FUNCTION_ARGS)
{
	VerifyContext *ctx = palloc0(sizeof(VerifyContext));

	if (!verity_journal_exists())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database has no journal"),
				 errhint("Run CREATE EXTENSION verity.")));
	read_arguments(fcinfo, ctx);
	ctx->memory = CurrentMemoryContext;
	ctx->report = verify_report_begin(fcinfo);
	if (PG_ARGISNULL(4) && !ctx->with_keys &&
		(verity_master_key_file[0] != '\0' || verity_master_key_command[0] != '\0'))
		report_missing_keys(ctx);
	verify_progress_begin();
	PG_TRY();
	{
		run(ctx);
	}
	PG_FINALLY();
	{
		verify_progress_end();
	}
	PG_END_TRY();
	return (Datum) 0;
}
