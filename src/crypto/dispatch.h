/*
 * dispatch.h
 *	  The functions by which an OpenSSL provider implements an algorithm.
 *
 * EVP's layer in front of them looks parameters up by name and checks states
 * at each call, which costs as much as hashing or sealing a short record does.
 * They are the public interface between libcrypto and its providers
 * (provider(7), openssl/core_dispatch.h), the FIPS provider's too.
 */
#ifndef VERITY_DISPATCH_H
#define VERITY_DISPATCH_H

#include <openssl/core_dispatch.h>
#include <openssl/provider.h>

/*
 * The table of a fetched algorithm: operation is OSSL_OP_…, name the one that
 * it was fetched by.  NULL when the provider does not offer it.  The table is
 * the provider's, and stays while the fetched algorithm is kept.
 */
extern const OSSL_DISPATCH *dispatch_table(const OSSL_PROVIDER *provider, int operation,
										   const char *name);

typedef void (*dispatch_function) (void);

/* The function of that id; NULL when the table has none. */
extern dispatch_function dispatch_get(const OSSL_DISPATCH *table, int id);

#endif							/* VERITY_DISPATCH_H */
