/*
 * keystore_file_fuzz.c
 *	  Any bytes as a keystore file: nobody who lacks the master key can make
 *	  one that parses.
 */
#include "fuzz.h"

#include "crypto/keystore.h"

static const uint8_t master_key[32] = {7};

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	keystore   *ks;
	uint64_t	system;
	core_status peeked = keystore_peek(data, size, &system);
	core_status status = keystore_parse(data, size, master_key, &ks);

	holds(status != CORE_OK && status != CORE_E_CRYPTO && ks == NULL);
	holds(peeked == CORE_OK ? status == CORE_E_AUTH : status == peeked);
	return 0;
}
