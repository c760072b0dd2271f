/*
 * dml_wal.h
 *	  WAL records of INSERT, UPDATE and DELETE.
 *
 * A record is logged from its envelope flags on (offset 23); redo makes the
 * heap header anew: xmin is the WAL record's xid, t_ctid the record itself.
 * Of a first version's envelope only the flags are logged: nothing ended it
 * yet, and it is its own root.
 */
#ifndef VERITY_DML_WAL_H
#define VERITY_DML_WAL_H

#include "am/draft.h"
#include "am/logical/logical.h"
#include "am/place.h"
#include "storage/itemptr.h"

/* flags of all of them */
#define XLV_INIT_PAGE 0x01		/* the record is alone on a new page */
#define XLV_FROZEN 0x02			/* COPY FREEZE */
#define XLV_CLEAR_MAP 0x04		/* a map page is registered */
#define XLV_DELETE 0x08			/* t_ctid of the old version is itself */
#define XLV_MOVED 0x10			/* … or says: moved to another partition */
#define XLV_NO_RECORD 0x20		/* a DELETE without a tombstone */
#define XLV_LOGICAL 0x40		/* followed by what decoding needs (logical.h) */
#define XLV_SPECULATIVE 0x80	/* counts once a CONFIRM says so */
#define XLV_LAST_IN_MULTI 0x100 /* of one multi-insert's records */

/* Block references of update and delete. */
#define XLV_BLOCK_NEW 0
#define XLV_BLOCK_OLD 1			/* absent where it is BLOCK_NEW */
#define XLV_BLOCK_ROOT 2		/* absent where it is one of those, or unchanged */
#define XLV_BLOCK_MAP 3

typedef struct xl_verity_insert
{
	OffsetNumber offset;
	uint16		flags;
} xl_verity_insert;

/* Behind it in block data: count times { len, bytes }, first at offset. */
typedef struct xl_verity_multi_insert
{
	uint16		flags;
	uint16		count;
	OffsetNumber offsets[FLEXIBLE_ARRAY_MEMBER];
} xl_verity_multi_insert;

#define SizeOfVerityMultiInsert offsetof(xl_verity_multi_insert, offsets)

/* The state that a version gets when it is ended. */
typedef struct xl_verity_end
{
	uint64		ender;
	TransactionId xmax;
	uint16		infomask;		/* bits of HEAP_XMAX_BITS */
	uint16		infomask2;		/* HEAP_KEYS_UPDATED */
	OffsetNumber offset;
	uint16		unused;
} xl_verity_end;

typedef struct xl_verity_update
{
	xl_verity_end old;
	TransactionId new_xmax;		/* lockers that the new version keeps */
	uint16		new_infomask;
	uint16		new_infomask2;
	OffsetNumber new_offset;
	OffsetNumber root_offset;	/* 0: no hint to set */
	uint16		flags;
	BlockNumber root_block;		/* the root's, where its page is not BLOCK_ROOT */
} xl_verity_update;

typedef struct xl_verity_speculative
{
	OffsetNumber offset;
	uint16		flags;
} xl_verity_speculative;

/* End a version on its page: shared by normal running and redo. */
extern void verity_end_version(HeapTupleHeader tuple, const xl_verity_end *end, CommandId cid,
							   bool iscombo, const ItemPointerData *successor, bool moved);

/* Bytes of a first version of that length that are logged, and their copy; the item is on its page. */
#define VERITY_LOGGED_FIRST(len) ((len) - SEALED_OFFSET_FIRST + sizeof(uint8))

extern void verity_logged_first(const char *item, Size len, char *to);

/* Where the sealed part begins in a record's logged bytes; it is the rest of them. */
static inline Size
verity_logged_sealed(const char *data)
{
	uint8		flags = *(const uint8 *) data;

	return (flags & ENVELOPE_FIRST) ? sizeof(flags) : SEALED_OFFSET - ENVELOPE_OFFSET;
}

extern XLogRecPtr verity_log_insert(const VerityPlace *place, ItemPointer tid, Size len, int flags,
									const VerityLogical *logical);

#endif							/* VERITY_DML_WAL_H */
