/*
 * seal_log.h
 *	  In builds with assertions: a log of every (key, generation, nonce) that
 *	  seals, for the test that none comes twice.
 */
#ifndef VERITY_SEAL_LOG_H
#define VERITY_SEAL_LOG_H

#include "postgres.h"

#include "chain/record.h"

#ifdef USE_ASSERT_CHECKING

/* verity.nonce_log_directory; empty: no log */
extern char *verity_nonce_log_directory;

/* Append a line to this process's file; generation tells equal numbers apart. */
extern void verity_log_nonce(const record_header *header, uint64 generation);

#else

static inline void
verity_log_nonce(const record_header *header, uint64 generation)
{
}

#endif

#endif							/* VERITY_SEAL_LOG_H */
