/*
 * stat.h
 *	  Counting what is sealed, opened and journalled (stat.c).
 */
#ifndef VERITY_STAT_H
#define VERITY_STAT_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"

typedef enum VerityCounter
{
	COUNT_SEALED,				/* records */
	COUNT_SEALED_BYTES,			/* of plaintext */
	COUNT_OPENED,				/* records whose tag held */
	COUNT_OPENED_BYTES,			/* of plaintext */
	COUNT_POOLED,				/* opened records that the pool had */
	COUNT_AUTH_FAILURES,		/* records whose tag did not hold */
	COUNT_ENTRIES,				/* of the journal */
	COUNT_ENTRY_BYTES,			/* as they are stored */
	COUNT_LOCK_WAITS,			/* for the journal's lock */
	COUNT_LOCK_WAIT_US,			/* microseconds of them */
	VERITY_COUNTERS
} VerityCounter;

/* This process's own counters, in shared memory; NULL before the first. */
extern pg_atomic_uint64 *verity_counters;
extern void verity_counters_attach(void);

/* Add to a counter of this process: a plain store, as nobody else writes it. */
static inline void
verity_count(VerityCounter which, uint64 n)
{
	if (unlikely(verity_counters == NULL))
		verity_counters_attach();
	pg_atomic_write_u64(&verity_counters[which], pg_atomic_read_u64(&verity_counters[which]) + n);
}

typedef struct VerityCounts
{
	uint64		n[VERITY_COUNTERS];
} VerityCounts;

/* This process's counts so far, and those of its parallel workers that ended. */
extern void verity_counts_read(VerityCounts *out);

/* The counts of one database, as they are reported. */
typedef struct VerityDatabaseCounts
{
	Oid			database;		/* InvalidOid: dropped ones, and those without a place */
	TimestampTz reset;
	VerityCounts counts;
} VerityDatabaseCounts;

/* Every database that counted; palloc'd.  In a transaction. */
extern VerityDatabaseCounts *verity_counts_by_database(int *count);

/* Count from zero again, as it is reported. */
extern void verity_counts_reset(void);

#endif							/* VERITY_STAT_H */
