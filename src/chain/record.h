/*
 * record.h
 *	  The sealed part of a record: its header, as it is hashed, authenticated
 *	  and stored, and what is authenticated with it.
 *
 *	  offset  size
 *	       0     1   format version (1)
 *	       1     1   kind
 *	       2     2   attributes: number of columns in the low 11 bits,
 *	                 RECORD_HAS_NULLS, RECORD_SUPERSEDES, RECORD_SAME_KEY above
 *	       4     4   sequence
 *	       8     8   serial
 *	      16     4   row-schema version
 *	      20     4   generation number
 *	      24     8   key id
 *	      32    12   serial and sequence of the superseded record
 *	                 (only with RECORD_SUPERSEDES)
 *	       …         ciphertext, as long as the plaintext
 *	       …    16   tag
 *
 * All integers are big-endian, so that the sealed part is the same bytes on
 * every machine.  The nonce is serial || sequence (12 bytes).  The associated
 * data is: the header as stored || plaintext length (4 bytes) || the table's
 * ledger id || the schema digest || the generation's random id.
 *
 * The leaf of a record is hash_leaf(header || ciphertext || tag).
 */
#ifndef VERITY_RECORD_H
#define VERITY_RECORD_H

#include "entry.h"

#define RECORD_VERSION 1
#define RECORD_HEADER_SIZE 32
#define RECORD_SUPERSEDES_SIZE 12
#define RECORD_HEADER_MAX (RECORD_HEADER_SIZE + RECORD_SUPERSEDES_SIZE)
#define RECORD_TAG_SIZE 16
#define RECORD_NONCE_SIZE 12
#define RECORD_AAD_MAX (RECORD_HEADER_MAX + 4 + LEDGER_ID_SIZE + HASH_SIZE + 8)

#define RECORD_NATTS_MASK 0x07FF
#define RECORD_HAS_NULLS 0x8000
#define RECORD_SUPERSEDES 0x4000
#define RECORD_SAME_KEY 0x2000	/* an update that left the columns of primary
								 * key and replica identity as they were */

typedef enum record_kind
{
	RECORD_INSERT = 1,
	RECORD_UPDATE = 2,
	RECORD_TOMBSTONE = 3
} record_kind;

typedef struct record_id
{
	uint64_t	serial;
	uint32_t	sequence;
} record_id;

typedef struct record_header
{
	uint8_t		version;
	uint8_t		kind;
	uint16_t	attributes;
	record_id	id;
	uint32_t	schema_version;
	uint32_t	generation;		/* number, see control_generation */
	uint64_t	key_id;
	record_id	supersedes;		/* with RECORD_SUPERSEDES, else zeros */
} record_header;

static inline size_t
record_header_size(uint16_t attributes)
{
	return RECORD_HEADER_SIZE + ((attributes & RECORD_SUPERSEDES) ? RECORD_SUPERSEDES_SIZE : 0);
}

/* Size of the whole sealed part for a plaintext of plain_len bytes. */
static inline size_t
record_sealed_size(uint16_t attributes, size_t plain_len)
{
	return record_header_size(attributes) + plain_len + RECORD_TAG_SIZE;
}

/* Writes record_header_size(header->attributes) bytes; returns that size. */
extern size_t record_header_encode(const record_header *header, uint8_t out[RECORD_HEADER_MAX]);

/*
 * Decode and check the header at the front of len bytes (len covers the whole
 * sealed part, or at least the header where the rest is elsewhere):
 * CORE_E_FORMAT, CORE_E_VERSION.
 */
extern core_status record_header_decode(const uint8_t *in, size_t len, record_header *header) CORE_WARN_UNUSED;

extern void record_nonce(const record_id *id, uint8_t out[RECORD_NONCE_SIZE]);

/* Build the associated data; returns its length. */
extern size_t record_aad(const uint8_t *header, size_t header_len, uint32_t plain_len,
						 const uint8_t ledger[LEDGER_ID_SIZE], const hash256 *schema_digest,
						 uint64_t generation_id, uint8_t out[RECORD_AAD_MAX]);

#endif							/* VERITY_RECORD_H */
