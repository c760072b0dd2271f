/*
 * journal.h
 *	  The journal: storage, appending, lookups, generations.
 *
 * Three relations, all written by the extension alone (access method
 * verity_journal, through which they can be read in SQL):
 *	  verity.journal          entries, in append-only pages
 *	  verity.journal_serials  serial -> position, eight bytes each, direct-mapped
 *	  verity.journal_heads    ledger number -> ledger id, last item's position
 *	                          and hash, direct-mapped
 */
#ifndef VERITY_JOURNAL_H
#define VERITY_JOURNAL_H

#include "postgres.h"

#include "chain/control.h"
#include "datatype/timestamp.h"
#include "access/htup_details.h"
#include "access/transam.h"

typedef uint64 VerityPosition;	/* 0: none */

/* What became of a transaction, by its serial. */
typedef enum VerityOutcome
{
	OUTCOME_NONE,				/* the journal has no entry of it */
	OUTCOME_UNDECIDED,			/* has an entry; still committing */
	OUTCOME_COMMITTED,
	OUTCOME_VOID
} VerityOutcome;

/*
 * True when this database has the extension's journal.  An error where it
 * should have one, and somebody hid it: a change that would pass without a
 * journal does not pass.
 */
extern bool verity_journal_exists(void);

/* A relation of the journal is about to be dropped, with the extension. */
extern void journal_note_drop(Oid relid);

/* Is the extension being dropped, and a part of its journal gone already? */
extern bool journal_is_being_dropped(void);

/* Create the genesis entry: from CREATE EXTENSION. */
extern void verity_journal_genesis(void);

extern void verity_journal_id(uint8 journal_id[16]);
extern bool verity_journal_protects(void);	/* from the genesis entry, cached */

/* Last appended position, and last decided one (reads pages on a standby). */
extern VerityPosition verity_journal_last(void);
extern VerityPosition verity_journal_decided(void);

/*
 * Wait until every position up to this is decided: by the writers' xids on a
 * primary, by polling on a standby (bounded by verity.standby_wait; errors
 * past it).  Interruptible.  Hold no buffer lock.
 */
extern void verity_journal_wait_decided(VerityPosition position);

/*
 * Outcome and position of a serial.  OUTCOME_UNDECIDED resolves the xid: it
 * becomes COMMITTED or VOID as soon as the transaction has ended.
 */
extern VerityOutcome verity_serial_outcome(uint64 serial, VerityPosition *position);

/* Has this xid, which stands beside an entry unhashed, not been given out yet? */
extern bool verity_xid_in_future(TransactionId xid);

/* The last position whose time is <= t; 0 when before genesis. */
extern VerityPosition verity_position_at(TimestampTz t);

/* One entry, decoded into the current memory context; NULL when none. */
typedef struct VerityEntry
{
	entry_stored stored;
	TransactionId xid;			/* of the writing transaction, or invalid */
	hash256		hash;			/* of the core, recomputed */
	uint8	   *raw;			/* stored bytes */
	Size		raw_len;
} VerityEntry;

extern VerityEntry *verity_journal_read(VerityPosition position);
extern void verity_entry_free(VerityEntry *entry);

/*
 * Sequential reading for verify and SQL: from a position on, page by page.
 * next returns NULL at the end.  A damaged entry or page does not error:
 * *damage is set to a static message and, where it is known, *at to the
 * position; the reader goes on behind it.
 */
typedef struct VerityJournalReader VerityJournalReader;
extern VerityJournalReader *verity_journal_reader_begin(VerityPosition from);
extern VerityEntry *verity_journal_reader_next(VerityJournalReader *reader,
											   const char **damage, VerityPosition *at);
extern void verity_journal_reader_end(VerityJournalReader *reader);

/* Append a control entry that belongs to no transaction (final at once). */
extern VerityPosition verity_journal_append_control(entry_kind kind, const uint8 *body, Size len);

/*
 * Take the journal as it is, although the keystore saw another: append this
 * ENTRY_POLICY body and move the keystore's high-water mark there.
 */
extern void verity_journal_accept(const uint8 *body, Size len);

/* Give out a ledger number for a new table (WAL-logged, never reused). */
extern uint32 verity_ledger_number_next(const uint8 ledger[LEDGER_ID_SIZE]);

/*
 * What verity.journal_heads holds of a ledger: its id, the position of its
 * last item and that item's hash (0 and zeros where it has none).  false when
 * the number was never given out.
 */
extern bool verity_head_get(uint32 ledger_number, uint8 ledger[LEDGER_ID_SIZE],
							VerityPosition *position, hash256 *hash);

/* --- generations --- */

typedef struct VerityGeneration
{
	uint32		number;
	uint64		id;
	uint8		salt[GENERATION_SALT_SIZE];
	uint64		first_serial;
} VerityGeneration;

/* A generation by number, from a backend cache or the journal; false: none. */
extern bool verity_generation_get(uint32 number, VerityGeneration *out);

/* The generation that seals now: started, journalled and flushed if need be. */
extern const VerityGeneration *verity_generation_current(void);

#endif							/* VERITY_JOURNAL_H */
