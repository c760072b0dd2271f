/*
 * idempotency.h
 *	  verity.idempotency_id: a role commits once under one id.
 */
#ifndef VERITY_IDEMPOTENCY_H
#define VERITY_IDEMPOTENCY_H

#include "am/journal/journal.h"

/* columns of verity.idempotency */

#define IDEMPOTENCY_ROLE 1
#define IDEMPOTENCY_ID 2
#define IDEMPOTENCY_SERIAL 3
#define IDEMPOTENCY_COLUMNS 3

/* True when verity.idempotency_id is set. */
extern bool idempotency_wanted(void);

/*
 * Take the id that is set for the current role and this transaction's serial;
 * waits for a session that does the same.  Unique violation, naming the
 * position, where the role committed under it before.
 */
extern void idempotency_claim(uint64 serial);

/* Position of a role's committed transaction with this id; 0: none. */
extern VerityPosition idempotency_find(Oid role, const uint8 id[16]);

#endif							/* VERITY_IDEMPOTENCY_H */
