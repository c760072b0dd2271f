/*
 * control_fuzz.c
 *	  Any bytes into the decoders of control bodies, chosen by the first byte:
 *	  what one accepts encodes to the same bytes again.
 */
#include "fuzz.h"

#include "chain/control.h"

#define MEMBERS_MAX 8

static bool
round_trip(uint8_t which, const uint8_t *in, size_t len, codec_writer *w)
{
#define ROUND_TRIP(kind) \
	do { \
		control_##kind body; \
		if (control_##kind##_decode(in, len, &body) != CORE_OK) \
			return false; \
		control_##kind##_encode(w, &body); \
		return true; \
	} while (0)

	switch (which % 6)
	{
		case 0:
			ROUND_TRIP(genesis);
		case 1:
			ROUND_TRIP(generation);
		case 2:
			ROUND_TRIP(schema);
		case 3:
			ROUND_TRIP(key);
		case 4:
			ROUND_TRIP(policy);
		default:
			{
				control_void_member members[MEMBERS_MAX];
				control_void body;

				if (control_void_decode(in, len, &body, members, MEMBERS_MAX) != CORE_OK)
					return false;
				control_void_encode(w, &body);
				return true;
			}
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t    *again;
	codec_writer w;

	if (size == 0)
		return 0;
	again = malloc(size);
	codec_writer_init(&w, again, size - 1);
	if (round_trip(data[0], data + 1, size - 1, &w))
		holds(!w.failed && w.used == size - 1 && memcmp(data + 1, again, size - 1) == 0);
	free(again);
	return 0;
}
