/*
 * status.h
 *	  Status codes of the pure core (src/chain, src/crypto).
 *
 * The core includes no postgres.h, does no I/O, reads no clock and never
 * longjmps: every function that can fail returns one of these.
 */
#ifndef VERITY_STATUS_H
#define VERITY_STATUS_H

#define CORE_WARN_UNUSED __attribute__((warn_unused_result))

typedef enum core_status
{
	CORE_OK = 0,
	CORE_E_CRYPTO,				/* the crypto library failed (memory, provider) */
	CORE_E_FORMAT,				/* bytes that are not a valid encoding */
	CORE_E_LIMIT,				/* a size or count over its limit */
	CORE_E_AUTH,				/* an authentication tag did not hold */
	CORE_E_VERSION				/* a format version that is not known */
} core_status;

#endif							/* VERITY_STATUS_H */
