/*
 * logical.h
 *	  Logical decoding: what WAL holds for it, and how it becomes rows.
 *
 * Where a table is logged logically, the WAL records of its changes have more
 * in them than replay needs, all of it sealed or public:
 *
 *	  xl_verity_base     what opens a record besides its key, so that decoding
 *	                     needs neither the table's storage, which may be gone,
 *	                     nor the journal
 *	  xl_verity_old      in an UPDATE or DELETE, the old row or its replica
 *	                     identity, sealed under a key of its own
 *	  xl_verity_piece    in WAL records of their own before the change: the
 *	                     ciphertext of a record that went to TOAST
 *
 * Decoding puts sealed tuples (SealedTuple) into the reorder buffer, so that
 * what it spills to disk stays sealed; they are opened when the change is
 * handed to the output plugin.
 *
 *	  logical_log.c     writes this
 *	  logical_decode.c  the resource manager's rm_decode
 *	  logical_open.c    from sealed tuples to rows
 *	  logical_check.c   whether a row can be one of the table that WAL names
 *	  logical_published.c  whether the plugin leaves a table out
 */
#ifndef VERITY_LOGICAL_H
#define VERITY_LOGICAL_H

#include "am/rel.h"
#include "compat.h"
#include "am/keys/seal_logical.h"
#include "replication/logical.h"
#include "replication/decode.h"

/* The most of a ciphertext that one WAL record holds. */
#define LOGICAL_PIECE_MAX (64 * 1024)

/* A piece of a ciphertext; its bytes follow. */
typedef struct xl_verity_piece
{
	RelFileLocator locator;
	uint32		sequence;		/* id of the record that it belongs to */
	uint64		serial;
	uint64		total;			/* bytes of the whole ciphertext and tag */
	uint64		offset;			/* of this piece */
} xl_verity_piece;

/* --- logical_log.c --- */

/* What a change adds to its WAL record; nothing where on is false. */
typedef struct VerityLogical
{
	bool		on;
	xl_verity_base base;
	char	   *old;			/* palloc'd: xl_verity_old, ciphertext, tag; or NULL */
	Size		old_len;
} VerityLogical;

/* Is this table's change to be decoded?  options are those of an insert, or 0. */
extern bool verity_logical_wanted(Relation rel, int options);

/* Fill in base, once the change's records are sealed. */
extern void verity_logical_begin(Relation rel, VerityRel *vrel, int options,
								 VerityLogical *logical);

/* Does a DELETE, or an UPDATE of identifying columns, log anything of the old row? */
extern bool verity_logical_needs_old(Relation rel);

/*
 * Seal what the table's replica identity says of the old row.  id is the new
 * record's: the nonce.  Needs verity_logical_begin before.
 */
extern void verity_logical_old(Relation rel, VerityRel *vrel, HeapTuple old, const record_id *id,
							   VerityLogical *logical);

/* Register all of it as the WAL record's next main data. */
extern void verity_logical_register(const VerityLogical *logical);

extern void verity_logical_end(VerityLogical *logical);

/* Log the ciphertext of a record that goes to TOAST. */
extern void verity_logical_log_cipher(Relation rel, const record_id *id,
									  const char *cipher, Size len);

/* --- logical_decode.c --- */

/* What a tuple in the reorder buffer is, until it is opened. */
typedef enum SealedKind
{
	SEALED_ROW,					/* base, then the sealed part */
	SEALED_ROW_TOASTED,			/* base, then the sealed header alone */
	SEALED_OLD,					/* base, then xl_verity_old, ciphertext, tag */
	SEALED_PIECE,				/* xl_verity_piece, then its bytes */
	SEALED_NOTHING				/* pieces before it are needed no more */
} SealedKind;

/* It stands behind a heap tuple header that says nothing. */
typedef struct SealedTuple
{
	uint32		magic;
	uint32		kind;
	uint64		len;			/* of what follows */
	char		bytes[FLEXIBLE_ARRAY_MEMBER];
} SealedTuple;

#define SEALED_TUPLE_MAGIC 0x56744C64
#define SEALED_TUPLE_OFFSET MAXALIGN(SizeofHeapTupleHeader)

extern void verity_decode(LogicalDecodingContext *ctx, XLogRecordBuffer *buf);

/* --- logical_open.c --- */

/* Have the sealed tuples of this reorder buffer opened. */
extern void verity_logical_open_changes(ReorderBuffer *rb);

/* --- logical_check.c --- */

/* Error unless a row's values, by the columns of rel, all lie within it. */
extern void verity_logical_check_row(Relation rel, HeapTuple row);

/* --- logical_published.c --- */

/* Is it certain that the slot's plugin sends nothing of this table's rows? */
extern bool verity_logical_is_left_out(LogicalDecodingContext *ctx, Relation rel);

#endif							/* VERITY_LOGICAL_H */
