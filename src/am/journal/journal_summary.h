/*
 * journal_summary.h
 *	  A journal entry in one line.
 */
#ifndef VERITY_JOURNAL_SUMMARY_H
#define VERITY_JOURNAL_SUMMARY_H

#include "am/journal/journal.h"

/* What an entry says, for people; palloc'd. */
extern const char *journal_summary(const VerityEntry *entry);

/* Records of a transaction's entry, and the tables that have some. */
extern uint64 journal_records(const VerityEntry *entry, uint32 *tables);

/* A generation's number by its random id; 0: not known. */
extern uint32 journal_generation_number(uint64 id);

#endif							/* VERITY_JOURNAL_SUMMARY_H */
