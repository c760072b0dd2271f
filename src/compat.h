/*
 * compat.h
 *	  PostgreSQL 15 to 18, seen as one.
 *
 * The code is written for the newest names and shapes; this header gives them
 * to older versions.  A PG_VERSION_NUM elsewhere stands only where a callback
 * or a structure of PostgreSQL has another shape in each version.
 *
 * Include it after postgres.h.  Headers whose names are adapted here are
 * included first, so that a macro never meets the declaration it stands for.
 */
#ifndef VERITY_COMPAT_H
#define VERITY_COMPAT_H

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "verity supports PostgreSQL 15, 16, 17 and 18"
#endif

#include "access/heapam.h"
#include "access/hio.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "access/toast_internals.h"
#include "access/transam.h"
#include "access/tupmacs.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_database.h"
#include "commands/explain.h"
#include "commands/progress.h"
#include "commands/vacuum.h"
#include "pgstat.h"
#include "postmaster/autovacuum.h"
#include "storage/buf_internals.h"
#include "storage/bufpage.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/smgr.h"
#include "storage/standby.h"
#include "utils/acl.h"
#include "utils/datetime.h"
#include "utils/guc_tables.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"
#include "utils/tuplesort.h"

/* --- 16 --- */

#if PG_VERSION_NUM < 160000
#include "storage/relfilenode.h"

#define RelFileLocator RelFileNode
#define rd_locator rd_node
#define relNumber relNode
#define rd_firstRelfilelocatorSubid rd_firstRelfilenodeSubid
#define relation_set_new_filelocator relation_set_new_filenode

/* whether an UPDATE needs index entries; only all or none is asked for here */
typedef bool TU_UpdateIndexes;
#define TU_None false
#define TU_All true

/* every column of an index forces a new root, a summarizing one's too */
#define INDEX_ATTR_BITMAP_HOT_BLOCKING INDEX_ATTR_BITMAP_ALL
#define INDEX_ATTR_BITMAP_SUMMARIZED INDEX_ATTR_BITMAP_ALL

/* values and extras of settings are the C library's memory */
#define guc_malloc(elevel, size) malloc(size)
#define guc_strdup(elevel, text) strdup(text)
#define guc_free(pointer) free(pointer)

/* a change's relation, in the reorder buffer */
#define rlocator relnode
#define VerityLocatorDatabase(locator) ((locator).dbNode)
#define VerityLocatorSpace(locator) ((locator).spcNode)

typedef int DateTimeErrorExtra;
typedef PGAlignedBlock PGIOAlignedBlock;

struct VacuumCutoffs
{
	TransactionId relfrozenxid;
	MultiXactId relminmxid;
	TransactionId OldestXmin;
	MultiXactId OldestMxact;
	TransactionId FreezeLimit;
	MultiXactId MultiXactCutoff;
};

static inline bool
vacuum_get_cutoffs(Relation rel, const VacuumParams *params, struct VacuumCutoffs *cutoffs)
{
	cutoffs->relfrozenxid = rel->rd_rel->relfrozenxid;
	cutoffs->relminmxid = rel->rd_rel->relminmxid;
	return vacuum_set_xid_limits(rel, params->freeze_min_age, params->freeze_table_age,
								 params->multixact_freeze_min_age,
								 params->multixact_freeze_table_age,
								 &cutoffs->OldestXmin, &cutoffs->OldestMxact,
								 &cutoffs->FreezeLimit, &cutoffs->MultiXactCutoff);
}

/* where this flag is missing, VacuumCostActive alone stops cost-based delays */
#define VERITY_FAILSAFE_BEGIN() ((void) 0)

#define VERITY_SET_HEAPREL(info, rel) ((void) 0)

#define vacuum_xid_failsafe_check(cutoffs) \
	(vacuum_xid_failsafe_check)((cutoffs)->relfrozenxid, (cutoffs)->relminmxid)
#define object_ownercheck(classid, objectid, roleid) \
	(AssertMacro((classid) == RelationRelationId), pg_class_ownercheck(objectid, roleid))
#define InitBufferTag(tag, locator, fork, block) INIT_BUFFERTAG(*(tag), *(locator), fork, block)
#define tuplesort_getdatum(state, forward, copy, value, isnull, abbreviated) \
	(AssertMacro(copy), (tuplesort_getdatum)(state, forward, value, isnull, abbreviated))
#define RelationGetBufferForTuple(rel, len, other, options, bistate, vm, vm_other, pages) \
	(RelationGetBufferForTuple)(rel, len, other, options, bistate, vm, vm_other)
#define pgstat_count_heap_update(rel, hot, newpage) (pgstat_count_heap_update)(rel, hot)
#define ResolveRecoveryConflictWithSnapshot(horizon, is_catalog, locator) \
	(AssertMacro(!(is_catalog)), (ResolveRecoveryConflictWithSnapshot)(horizon, locator))
#define DecodeDateTime(field, ftype, nf, dtype, tm, fsec, tz, extra) \
	((void) (extra), (DecodeDateTime)(field, ftype, nf, dtype, tm, fsec, tz))

static inline struct config_generic *
find_option(const char *name, bool create_placeholders, bool skip_errors, int elevel)
{
	struct config_generic **variables = get_guc_variables();

	for (int i = 0; i < GetNumConfigOptions(); i++)
	{
		if (strcmp(variables[i]->name, name) == 0)
			return variables[i];
	}
	return NULL;
}
#else
#define VerityLocatorDatabase(locator) ((locator).dbOid)
#define VerityLocatorSpace(locator) ((locator).spcOid)
#define VERITY_FAILSAFE_BEGIN() (VacuumFailsafeActive = true)
#define VERITY_SET_HEAPREL(info, rel) ((info)->heaprel = (rel))
#endif

/* --- 17 --- */

#if PG_VERSION_NUM < 170000
#include "storage/backendid.h"

/* a tuple in the reorder buffer */
#define VerityChangeTuple ReorderBufferTupleBuf *
#define VerityChangeHeapTuple(changed) (&(changed)->tuple)

#define GetNumberFromPGProc(proc) ((proc)->pgprocno)
#define AmAutoVacuumWorkerProcess() IsAutoVacuumWorkerProcess()
#define INVALID_PROC_NUMBER InvalidBackendId
#define TransamVariables ShmemVariableCache
#define Anum_pg_database_datlocale Anum_pg_database_daticulocale
#define Anum_pg_collation_colllocale Anum_pg_collation_colliculocale
#define CONSTRAINT_NOTNULL 'n'

#define VERITY_PROGRESS_DEAD_MAX(tids) \
	pgstat_progress_update_param(PROGRESS_VACUUM_MAX_DEAD_TUPLES, tids)
#define VERITY_PROGRESS_DEAD(tids) \
	pgstat_progress_update_param(PROGRESS_VACUUM_NUM_DEAD_TUPLES, tids)

/*
 * A stream of pages.  Here they are read one at a time, when their turn comes:
 * starting over and ending have nothing to give back but memory.
 */
typedef struct ReadStream ReadStream;
typedef BlockNumber (*ReadStreamBlockNumberCB) (ReadStream *stream, void *arg, void *page);

struct ReadStream
{
	BufferAccessStrategy strategy;
	Relation	rel;
	ForkNumber	fork;
	ReadStreamBlockNumberCB next_block;
	void	   *arg;
};

#define READ_STREAM_SEQUENTIAL 0x02

static inline ReadStream *
read_stream_begin_relation(int flags, BufferAccessStrategy strategy, Relation rel, ForkNumber fork,
						   ReadStreamBlockNumberCB next_block, void *arg, size_t page_size)
{
	ReadStream *stream = (ReadStream *) palloc(sizeof(ReadStream));

	Assert(page_size == 0);
	stream->strategy = strategy;
	stream->rel = rel;
	stream->fork = fork;
	stream->next_block = next_block;
	stream->arg = arg;
	return stream;
}

static inline Buffer
read_stream_next_buffer(ReadStream *stream, void **page)
{
	BlockNumber block = stream->next_block(stream, stream->arg, NULL);

	if (!BlockNumberIsValid(block))
		return InvalidBuffer;
	return ReadBufferExtended(stream->rel, stream->fork, block, RBM_NORMAL, stream->strategy);
}

#define read_stream_reset(stream) ((void) 0)
#define read_stream_end(stream) pfree(stream)

static inline bool
verity_lock_held(const LOCKTAG *tag, LOCKMODE mode, bool orstronger)
{
	bool		held = LockHeldByMe(tag, mode);

	while (!held && orstronger && ++mode <= MaxLockMode)
		held = LockHeldByMe(tag, mode);
	return held;
}
#define LockHeldByMe(tag, mode, orstronger) verity_lock_held(tag, mode, orstronger)
#else
#include "storage/read_stream.h"

#define VerityChangeTuple HeapTuple
#define VerityChangeHeapTuple(tuple) (tuple)
#define OldSnapshotThresholdActive() false

#define VERITY_PROGRESS_DEAD_MAX(tids) \
	pgstat_progress_update_param(PROGRESS_VACUUM_MAX_DEAD_TUPLE_BYTES, \
								 (int64) (tids) * sizeof(ItemPointerData))
#define VERITY_PROGRESS_DEAD(tids) \
	(pgstat_progress_update_param(PROGRESS_VACUUM_NUM_DEAD_ITEM_IDS, tids), \
	 pgstat_progress_update_param(PROGRESS_VACUUM_DEAD_TUPLE_BYTES, \
								  (int64) (tids) * sizeof(ItemPointerData)))
#endif

/* --- 18 --- */

#if PG_VERSION_NUM < 180000
#define pg_noreturn __attribute__((noreturn))
#define ATTRIBUTE_GENERATED_VIRTUAL 'v'
#define VerityConstraintIsEnforced(form) true
#define VerityConstraintHasPeriod(form) false
#define ReorderBufferAllocChange ReorderBufferGetChange
#define ReorderBufferAllocTupleBuf ReorderBufferGetTupleBuf
#define vacuum_delay_point(is_analyze) (vacuum_delay_point)()
#define vac_update_relstats(rel, pages, tuples, visible, frozen, has_index, xid, multi, \
							xid_updated, multi_updated, in_outer_xact) \
	(vac_update_relstats)(rel, pages, tuples, visible, has_index, xid, multi, \
						  xid_updated, multi_updated, in_outer_xact)
#define pgstat_report_vacuum(relid, shared, live, dead, start) \
	(pgstat_report_vacuum)(relid, shared, live, dead)
#define index_beginscan(rel, index, snapshot, instrument, nkeys, norderbys) \
	(index_beginscan)(rel, index, snapshot, nkeys, norderbys)
#define RelationGetPrimaryKeyIndex(rel, deferrable_ok) \
	(AssertMacro(!(deferrable_ok)), (RelationGetPrimaryKeyIndex)(rel))
#define ConditionalXactLockTableWait(xid, log_failure) (ConditionalXactLockTableWait)(xid)
#define minimal_tuple_from_heap_tuple(tuple, extra) (minimal_tuple_from_heap_tuple)(tuple)
#undef PageIsVerified
#define PageIsVerified(page, block, flags, failed) PageIsVerifiedExtended(page, block, flags)

/* what deforming needs of a column came to stand apart */
#define CompactAttribute FormData_pg_attribute
#define TupleDescCompactAttr(desc, i) TupleDescAttr(desc, i)
#define attalignby attalign
#define att_nominal_alignby(offset, alignby) att_align_nominal(offset, alignby)
#define att_pointer_alignby(offset, alignby, len, pointer) \
	att_align_pointer(offset, alignby, len, pointer)

static inline Snapshot
get_toast_snapshot(void)
{
	static SnapshotData snapshot;

	init_toast_snapshot(&snapshot);
	return &snapshot;
}

/* where an index-only scan counts its searches */
#define VERITY_INDEX_INSTRUMENT(node) NULL

#define VerityScanMinTid(scan) ((scan)->rs_mintid)
#define VerityScanMaxTid(scan) ((scan)->rs_maxtid)
#else
#include "commands/explain_format.h"
#include "commands/explain_state.h"

#define VERITY_INDEX_INSTRUMENT(node) (&(node)->ioss_Instrument)

#define VerityConstraintIsEnforced(form) ((form)->conenforced)
#define VerityConstraintHasPeriod(form) ((form)->conperiod)

#define VerityScanMinTid(scan) ((scan)->st.tidrange.rs_mintid)
#define VerityScanMaxTid(scan) ((scan)->st.tidrange.rs_maxtid)
#endif

/* What a process waits for, as pg_stat_activity shows it; from 17 on, by name. */
#if PG_VERSION_NUM >= 170000
#define VERITY_WAIT_EVENT(name) \
	({ \
		static uint32 event = 0; \
		if (event == 0) \
			event = WaitEventExtensionNew(name); \
		event; \
	})
#else
#define VERITY_WAIT_EVENT(name) PG_WAIT_EXTENSION
#endif

/* Read a block past shared buffers; from 16 on that needs memory aligned for direct I/O. */
static inline void
verity_smgr_read(Relation rel, ForkNumber fork, BlockNumber block, char *page)
{
	PGIOAlignedBlock aligned;

	smgrread(RelationGetSmgr(rel), fork, block, aligned.data);
	memcpy(page, aligned.data, BLCKSZ);
}

#endif							/* VERITY_COMPAT_H */
