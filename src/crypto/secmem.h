/*
 * secmem.h
 *	  Memory for secrets, by libsodium: guarded, locked, left out of core
 *	  dumps, wiped when freed.
 */
#ifndef VERITY_SECMEM_H
#define VERITY_SECMEM_H

#include "../chain/status.h"
#include <stddef.h>

/* Once a process, before the others.  CORE_E_CRYPTO when libsodium fails. */
extern core_status secmem_init(void) CORE_WARN_UNUSED;

/* NULL when there is no memory. */
extern void *secmem_alloc(size_t size);
extern void secmem_free(void *p);
extern void secmem_wipe(void *p, size_t size);

/* Random bytes from the kernel. */
extern void secmem_random(void *p, size_t size);

#endif							/* VERITY_SECMEM_H */
