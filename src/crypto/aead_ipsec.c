/*
 * aead_ipsec.c
 *	  AES-256-GCM by Intel's multi-buffer library (libIPSec_MB).
 *
 * One call does a whole record, without what OpenSSL's EVP spends on each
 * step; for a record of 100 bytes that is most of the time.  The library is
 * loaded when it is asked for, so that nothing needs it where it is not used;
 * its header says how its table of functions looks.
 */
#include "aead_ipsec.h"

#include <stdbool.h>

#include "secmem.h"

#if defined(__x86_64__) && __has_include(<intel-ipsec-mb.h>)

#include <dlfcn.h>
#include <intel-ipsec-mb.h>

#define LIBRARY "libIPSec_MB.so.1"
#define KEY_ALIGN 64			/* of gcm_key_data: its tables are read 64 bytes at a time */

struct aead_ipsec_key
{
	_Alignas(KEY_ALIGN) struct gcm_key_data data;
};

_Static_assert(sizeof(struct aead_ipsec_key) % KEY_ALIGN == 0,
			   "secure memory ends with a page, so that a key of whole lines begins with one");
_Static_assert(IMB_GCM_256_KEY_LEN == AEAD_KEY_SIZE, "AES-256");

typedef unsigned (*get_version_t) (void);
typedef IMB_MGR *(*alloc_t) (uint64_t flags);
typedef void (*init_t) (IMB_MGR *manager, IMB_ARCH *arch);

static IMB_MGR *manager;

/* Set up the manager of a library that was found. */
static core_status
manager_make(void *library)
{
	get_version_t get_version = (get_version_t) dlsym(library, "imb_get_version");
	alloc_t		alloc = (alloc_t) dlsym(library, "alloc_mb_mgr");
	init_t		init = (init_t) dlsym(library, "init_mb_mgr_auto");
	IMB_MGR    *made;

	/* the table of functions only ever grew within one major version */
	if (get_version == NULL || alloc == NULL || init == NULL || get_version() < IMB_VERSION_NUM)
		return CORE_E_CRYPTO;
	made = alloc(0);
	if (made == NULL)
		return CORE_E_CRYPTO;
	init(made, NULL);
	if ((made->features & IMB_FEATURE_SELF_TEST) && !(made->features & IMB_FEATURE_SELF_TEST_PASS))
		return CORE_E_CRYPTO;
	if ((made->features & IMB_CPUFLAGS_SSE) != IMB_CPUFLAGS_SSE)
		return CORE_E_CRYPTO;
	manager = made;
	return CORE_OK;
}

core_status
aead_ipsec_load(void)
{
	void	   *library;

	if (manager != NULL)
		return CORE_OK;
	library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (library == NULL)
		return CORE_E_CRYPTO;
	if (manager_make(library) == CORE_OK)
		return CORE_OK;
	dlclose(library);
	return CORE_E_CRYPTO;
}

void *
aead_ipsec_manager(void)
{
	return manager;
}

aead_ipsec_key *
aead_ipsec_new(const uint8_t key[AEAD_KEY_SIZE])
{
	aead_ipsec_key *made = secmem_alloc(sizeof(aead_ipsec_key));

	if (made == NULL)
		return NULL;
	IMB_AES256_GCM_PRE(manager, key, &made->data);
	return made;
}

void
aead_ipsec_free(aead_ipsec_key *key)
{
	secmem_free(key);
}

void
aead_ipsec_seal(const aead_ipsec_key *key, const uint8_t nonce[AEAD_NONCE_SIZE],
				const uint8_t *aad, size_t aad_len,
				const uint8_t *plain, size_t len,
				uint8_t *out, uint8_t tag[AEAD_TAG_SIZE])
{
	struct gcm_context_data state;

	IMB_AES256_GCM_ENC(manager, &key->data, &state, out, plain, len, nonce, aad, aad_len,
					   tag, AEAD_TAG_SIZE);
}

void
aead_ipsec_open(const aead_ipsec_key *key, const uint8_t nonce[AEAD_NONCE_SIZE],
				const uint8_t *aad, size_t aad_len,
				const uint8_t *cipher, size_t len,
				uint8_t *out, uint8_t tag[AEAD_TAG_SIZE])
{
	struct gcm_context_data state;

	IMB_AES256_GCM_DEC(manager, &key->data, &state, out, cipher, len, nonce, aad, aad_len,
					   tag, AEAD_TAG_SIZE);
}

#else

core_status
aead_ipsec_load(void)
{
	return CORE_E_CRYPTO;
}

void *
aead_ipsec_manager(void)
{
	return NULL;
}

aead_ipsec_key *
aead_ipsec_new(const uint8_t key[AEAD_KEY_SIZE])
{
	(void) key;
	return NULL;
}

void
aead_ipsec_free(aead_ipsec_key *key)
{
	(void) key;
}

void
aead_ipsec_seal(const aead_ipsec_key *key, const uint8_t nonce[AEAD_NONCE_SIZE],
				const uint8_t *aad, size_t aad_len,
				const uint8_t *plain, size_t len,
				uint8_t *out, uint8_t tag[AEAD_TAG_SIZE])
{
	(void) key, (void) nonce, (void) aad, (void) aad_len;
	(void) plain, (void) len, (void) out, (void) tag;
}

void
aead_ipsec_open(const aead_ipsec_key *key, const uint8_t nonce[AEAD_NONCE_SIZE],
				const uint8_t *aad, size_t aad_len,
				const uint8_t *cipher, size_t len,
				uint8_t *out, uint8_t tag[AEAD_TAG_SIZE])
{
	(void) key, (void) nonce, (void) aad, (void) aad_len;
	(void) cipher, (void) len, (void) out, (void) tag;
}

#endif
