/*
 * entry_stored_fuzz.c
 *	  Any bytes into entry_stored_decode: what it accepts encodes to the same
 *	  bytes again, and can be checked and sealed.
 */
#include "fuzz.h"

#include "chain/entry.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t		arena_size = entry_arena_size(size);
	void	   *arena = malloc(arena_size);
	uint8_t    *again = malloc(size + 1);
	entry_stored entry;
	size_t		used;

	if (entry_stored_decode(data, size, &entry, arena, arena_size) == CORE_OK)
	{
		core_status status = entry_check(&entry);

		holds(status == CORE_OK || status == CORE_E_AUTH);
		holds(entry_stored_size(&entry) == size);
		holds(entry_stored_encode(&entry, again, size, &used) == CORE_OK);
		holds(used == size && memcmp(data, again, size) == 0);
		for (uint32_t i = 0; i < entry.item_count; i++)
			holds(entry_ranges_hash(entry.items[i].ranges, entry.items[i].range_count,
									&entry.items[i].discarded_hash) == CORE_OK);
		holds(entry_seal(&entry) == CORE_OK);
		holds(entry_check(&entry) == CORE_OK);
	}
	free(again);
	free(arena);
	return 0;
}
