/*
 * idempotency.h
 *	  Columns of verity.idempotency.
 */
#ifndef VERITY_IDEMPOTENCY_H
#define VERITY_IDEMPOTENCY_H

#define IDEMPOTENCY_ROLE 1
#define IDEMPOTENCY_ID 2
#define IDEMPOTENCY_SERIAL 3
#define IDEMPOTENCY_COLUMNS 3

#endif							/* VERITY_IDEMPOTENCY_H */
