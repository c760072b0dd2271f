/*
 * sha256_ipsec.c
 *	  Many SHA-256 hashes at once by Intel's multi-buffer library.
 *
 * It works on several messages side by side, in the lanes of wide registers or
 * with the processor's SHA instructions for two at a time.
 */
#include "sha256_ipsec.h"

#include <stdbool.h>

#include "aead_ipsec.h"

#if defined(__x86_64__) && __has_include(<intel-ipsec-mb.h>)

#include <intel-ipsec-mb.h>

core_status
sha256_ipsec(const hash_part *messages, size_t count, hash256 *out)
{
	IMB_MGR    *manager = aead_ipsec_manager();
	size_t		given = 0;
	size_t		done = 0;
	bool		sound = true;
	IMB_JOB    *job;

	for (; given < count; given++)
	{
		job = IMB_GET_NEXT_JOB(manager);
		job->cipher_mode = IMB_CIPHER_NULL;
		job->cipher_direction = IMB_DIR_ENCRYPT;
		job->chain_order = IMB_ORDER_HASH_CIPHER;
		job->hash_alg = IMB_AUTH_SHA_256;
		job->src = messages[given].data;
		job->hash_start_src_offset_in_bytes = 0;
		job->msg_len_to_hash_in_bytes = messages[given].len;
		job->auth_tag_output = out[given].bytes;
		job->auth_tag_output_len_in_bytes = HASH_SIZE;
		for (job = IMB_SUBMIT_JOB_NOCHECK(manager); job != NULL; job = IMB_GET_COMPLETED_JOB(manager))
		{
			sound = sound && job->status == IMB_STATUS_COMPLETED;
			done++;
		}
	}
	while ((job = IMB_FLUSH_JOB(manager)) != NULL)
	{
		sound = sound && job->status == IMB_STATUS_COMPLETED;
		done++;
	}
	return sound && done == count ? CORE_OK : CORE_E_CRYPTO;
}

#else

core_status
sha256_ipsec(const hash_part *messages, size_t count, hash256 *out)
{
	(void) messages, (void) count, (void) out;
	return CORE_E_CRYPTO;
}

#endif
