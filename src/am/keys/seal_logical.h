/*
 * seal_logical.h
 *	  Sealing and opening by what stands in WAL, for logical decoding.
 */
#ifndef VERITY_SEAL_LOGICAL_H
#define VERITY_SEAL_LOGICAL_H

#include "am/rel.h"
#include "chain/control.h"

#define STORAGE_TAG_SIZE 16

/* What opens a table's records besides the key: all of it is public. */
typedef struct xl_verity_base
{
	uint64		generation_id;
	uint8		ledger[LEDGER_ID_SIZE];
	uint8		schema_digest[HASH_SIZE];
	uint8		salt[GENERATION_SALT_SIZE];
	uint8		tag[STORAGE_TAG_SIZE];	/* seal_storage.c */
} xl_verity_base;

/*
 * An old row, or the columns of it that identify it: ciphertext and tag
 * follow.  The associated data is this struct and the base; the nonce is the
 * id of the record that superseded the row, under a key that seals nothing
 * but old rows.
 */
typedef struct xl_verity_old
{
	uint64		key_id;
	uint64		serial;
	uint32		sequence;
	uint16		attributes;		/* number of columns, RECORD_HAS_NULLS */
	uint16		unused;
} xl_verity_old;

/* The table's base now. */
extern void verity_base_fill(Relation rel, VerityRel *vrel, xl_verity_base *base);

/* Is the key of a logged row at hand?  No error, whatever is wrong with the keystore. */
extern bool verity_logged_key_exists(uint64 key_id);

/* Seal an old row; old has the key, nonce and attributes.  out has room for len and a tag. */
extern void verity_seal_old(const xl_verity_base *base, const xl_verity_old *old,
							const uint8 *plain, Size len, uint8 *out);

/*
 * Open what a decoded change holds; len is that of ciphertext and tag.  Errors
 * when there is no key (ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE) or the tag
 * does not hold (ERRCODE_DATA_CORRUPTED).
 */
extern void verity_open_old(const xl_verity_base *base, const xl_verity_old *old,
							const uint8 *cipher, Size len, uint8 *out);
extern void verity_open_logged(const xl_verity_base *base, const record_header *header,
							   const uint8 *header_bytes,
							   const uint8 *cipher, Size len, uint8 *out);

/* The DEK of logged rows; errors where there is none (ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE). */
extern const uint8 *verity_logged_key(uint64 key_id);

/* --- seal_storage.c --- */

typedef struct VerityStorageTag VerityStorageTag;

/* Set base->tag; the rest of it is filled in. */
extern void verity_storage_tag_set(RelFileLocator locator, VerityRel *vrel, xl_verity_base *base);

/*
 * Was a row with this base and key written to this storage?  Errors when there
 * is no key.
 */
extern bool verity_storage_tag_holds(RelFileLocator locator, uint64 key_id, const xl_verity_base *base);

#endif							/* VERITY_SEAL_LOGICAL_H */
