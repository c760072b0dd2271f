/*
 * handler.c
 *	  The table access method "verity": its routine.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/heaptoast.h"
#include "catalog/pg_am_d.h"
#include "fmgr.h"

#include "am/table.h"

PG_FUNCTION_INFO_V1(verity_handler);

static const TupleTableSlotOps *
verity_slot_callbacks(Relation rel)
{
	return &TTSOpsVerity;
}

static Oid
verity_relation_toast_am(Relation rel)
{
	/* chunks are ciphertext already */
	return HEAP_TABLE_AM_OID;
}

static const TableAmRoutine verity_routine = {
	.type = T_TableAmRoutine,

	.slot_callbacks = verity_slot_callbacks,

	.scan_begin = verity_scan_begin,
	.scan_end = verity_scan_end,
	.scan_rescan = verity_scan_rescan,
	.scan_getnextslot = verity_scan_getnextslot,
	.scan_set_tidrange = verity_scan_set_tidrange,
	.scan_getnextslot_tidrange = verity_scan_getnextslot_tidrange,

	.parallelscan_estimate = table_block_parallelscan_estimate,
	.parallelscan_initialize = table_block_parallelscan_initialize,
	.parallelscan_reinitialize = table_block_parallelscan_reinitialize,

	.index_fetch_begin = verity_index_fetch_begin,
	.index_fetch_reset = verity_index_fetch_reset,
	.index_fetch_end = verity_index_fetch_end,
	.index_fetch_tuple = verity_index_fetch_tuple,

	.tuple_insert = verity_tuple_insert,
	.tuple_insert_speculative = verity_tuple_insert_speculative,
	.tuple_complete_speculative = verity_tuple_complete_speculative,
	.multi_insert = verity_multi_insert,
	.tuple_delete = verity_tuple_delete,
	.tuple_update = verity_tuple_update,
	.tuple_lock = verity_tuple_lock,
	.finish_bulk_insert = verity_finish_bulk_insert,

	.tuple_fetch_row_version = verity_tuple_fetch_row_version,
	.tuple_get_latest_tid = verity_tuple_get_latest_tid,
	.tuple_tid_valid = verity_tuple_tid_valid,
	.tuple_satisfies_snapshot = verity_tuple_satisfies_snapshot,
	.index_delete_tuples = verity_index_delete_tuples,

	.relation_set_new_filelocator = verity_relation_set_new_filelocator,
	.relation_nontransactional_truncate = verity_relation_nontransactional_truncate,
	.relation_copy_data = verity_relation_copy_data,
	.relation_copy_for_cluster = verity_relation_copy_for_cluster,
	.relation_vacuum = verity_relation_vacuum,
	.scan_analyze_next_block = verity_scan_analyze_next_block,
	.scan_analyze_next_tuple = verity_scan_analyze_next_tuple,
	.index_build_range_scan = verity_index_build_range_scan,
	.index_validate_scan = verity_index_validate_scan,

	.relation_size = table_block_relation_size,
	.relation_needs_toast_table = verity_needs_toast_table,
	.relation_toast_am = verity_relation_toast_am,
	.relation_fetch_toast_slice = heap_fetch_toast_slice,
	.relation_estimate_size = verity_relation_estimate_size,

#if PG_VERSION_NUM < 180000
	.scan_bitmap_next_block = verity_scan_bitmap_next_block,
#endif
	.scan_bitmap_next_tuple = verity_scan_bitmap_next_tuple,
	.scan_sample_next_block = verity_scan_sample_next_block,
	.scan_sample_next_tuple = verity_scan_sample_next_tuple
};

const TableAmRoutine *
verity_table_am(void)
{
	return &verity_routine;
}

Datum
verity_handler(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(&verity_routine);
}
