/*
 * record_header_fuzz.c
 *	  Any bytes into record_header_decode: what it accepts encodes to the same
 *	  bytes again.
 */
#include "fuzz.h"

#include "chain/record.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	record_header header;
	uint8_t		again[RECORD_HEADER_MAX];

	if (record_header_decode(data, size, &header) == CORE_OK)
	{
		size_t		used = record_header_encode(&header, again);

		holds(used <= size && used == record_header_size(header.attributes));
		holds(memcmp(data, again, used) == 0);
	}
	return 0;
}
