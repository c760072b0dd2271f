/*
 * seal.h
 *	  Sealing and opening records: finds the key, builds nonce and associated
 *	  data, keeps cipher contexts for (key id, generation).
 */
#ifndef VERITY_SEAL_H
#define VERITY_SEAL_H

#include "am/keys/opened_page.h"
#include "am/rel.h"

/* Load the library that verity.cipher_library names; FATAL where it is not to be had. */
extern void verity_seal_init(void);

/*
 * Ready a table for sealing in this transaction: a serial, a live generation,
 * a schema version, a DEK.  Errors when the master key is missing or the
 * transaction may not write.  Cheap when all is there.  Never call it, or
 * anything that may ereport, while holding a buffer lock.
 */
extern void verity_seal_prepare(Relation rel, VerityRel *vrel);

/*
 * Seal plain into out, which has room for record_sealed_size().  The caller
 * sets kind, attributes and supersedes in *header; id (the transaction's
 * serial, the next sequence), schema, generation and key are filled in here.
 * Returns bytes written.  Needs verity_seal_prepare before.
 */
extern Size verity_seal_record(VerityRel *vrel, record_header *header,
							   const uint8 *plain, Size plain_len, uint8 *out);

/*
 * Open a sealed part: header_bytes is the header as stored, cipher the
 * ciphertext followed by the tag, cipher_len the length of both.  Writes
 * cipher_len - RECORD_TAG_SIZE bytes.  ERRCODE_DATA_CORRUPTED when the tag
 * does not hold, naming table and record id; never returns wrong data.  tid is
 * where the bytes stand, for the pool of opened records (opened.h); NULL where
 * they stand on no page.
 */
extern void verity_open_record(VerityRel *vrel, const record_header *header,
							   const uint8 *header_bytes,
							   const uint8 *cipher, Size cipher_len,
							   const ItemPointerData *tid, uint8 *plain_out);

/*
 * The same for a record on a page that others of the page are opened besides:
 * the row stands in the page's memory.  false: there is no room for it.
 */
extern bool verity_open_on_page(OpenedPage *page, VerityRel *vrel, const record_header *header,
								const uint8 *header_bytes,
								const uint8 *cipher, Size cipher_len,
								const ItemPointerData *tid, OpenedRow *row);

/* A row was given out that was not opened for it. */
extern void verity_count_pooled(Size plain_len);

/*
 * The same without an error: false when the tag does not hold or the key is
 * not to be had (*why is a static message then).  For verify.
 */
extern bool verity_try_open_record(VerityRel *vrel, const record_header *header,
								   const uint8 *header_bytes,
								   const uint8 *cipher, Size cipher_len, uint8 *plain_out,
								   const char **why);

#endif							/* VERITY_SEAL_H */
