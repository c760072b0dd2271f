/*
 * master_key_fuzz.c
 *	  Any text as a master key: what is taken is 64 hexadecimal digits.
 */
#include "fuzz.h"

#include <ctype.h>

#include "crypto/keystore.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t		key[32];

	if (keystore_parse_master_key((const char *) data, size, key) == CORE_OK)
	{
		holds(size == 64 || (size == 65 && data[64] == '\n'));
		for (int i = 0; i < 64; i++)
			holds(isxdigit(data[i]));
	}
	return 0;
}
