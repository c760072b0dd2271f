/*
 * secmem.c
 *	  Memory for secrets, by libsodium.
 *
 * A locked page count over the process's limit is not an error: the memory is
 * then guarded, left out of core dumps and wiped, but may be swapped.
 */
#include "secmem.h"

#include <sodium.h>

/* sodium_malloc puts the end of a block at the end of a page. */
#define SECMEM_ALIGN 16

core_status
secmem_init(void)
{
	return sodium_init() < 0 ? CORE_E_CRYPTO : CORE_OK;
}

void *
secmem_alloc(size_t size)
{
	if (size > SIZE_MAX - SECMEM_ALIGN || secmem_init() != CORE_OK)
		return NULL;
	return sodium_malloc((size + SECMEM_ALIGN - 1) / SECMEM_ALIGN * SECMEM_ALIGN);
}

void
secmem_free(void *p)
{
	sodium_free(p);
}

void
secmem_wipe(void *p, size_t size)
{
	sodium_memzero(p, size);
}

void
secmem_random(void *p, size_t size)
{
	randombytes_buf(p, size);
}
