/*
 * keystore.c
 *	  The keystore in memory: finding and adding keys and journals.
 *
 * The arrays stand in secmem, sorted, with room for the next power of two of
 * their count, so that the room follows from the count.  The file's bytes are
 * made and read in keystore_file.c.
 */
#include "keystore.h"

#include <stdlib.h>
#include <string.h>

#include "kdf.h"
#include "secmem.h"

/* Random ids up to this are left to keys that no keystore holds. */
#define KEY_ID_RESERVED UINT32_MAX

/* Entries that an array of this count has room for. */
static size_t
room_for(uint32_t count)
{
	size_t		room = 16;

	while (room < count)
		room *= 2;
	return room;
}

core_status
keystore_reserve(keystore *ks, uint32_t key_count, uint32_t journal_count)
{
	secmem_free(ks->keys);
	secmem_free(ks->journals);
	ks->key_count = 0;
	ks->journal_count = 0;
	ks->keys = secmem_alloc(room_for(key_count) * sizeof(keystore_key));
	ks->journals = secmem_alloc(room_for(journal_count) * sizeof(keystore_journal));
	return ks->keys != NULL && ks->journals != NULL ? CORE_OK : CORE_E_CRYPTO;
}

core_status
keystore_new(uint64_t system_identifier, keystore **out)
{
	keystore   *ks = NULL;

	*out = NULL;
	if (secmem_init() == CORE_OK)
		ks = calloc(1, sizeof(keystore));
	if (ks == NULL)
		return CORE_E_CRYPTO;
	if (keystore_reserve(ks, 0, 0) != CORE_OK)
	{
		keystore_free(ks);
		return CORE_E_CRYPTO;
	}
	ks->system_identifier = system_identifier;
	secmem_random(ks->id, sizeof(ks->id));
	*out = ks;
	return CORE_OK;
}

void
keystore_free(keystore *ks)
{
	if (ks == NULL)
		return;
	secmem_free(ks->keys);
	secmem_free(ks->journals);
	free(ks);
}

/* The place of a key id: of its entry, or where it would be put. */
static uint32_t
key_place(const keystore *ks, uint64_t key_id)
{
	uint32_t	low = 0;
	uint32_t	high = ks->key_count;

	while (low < high)
	{
		uint32_t	middle = low + (high - low) / 2;

		if (ks->keys[middle].id < key_id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static uint32_t
journal_place(const keystore *ks, const uint8_t journal_id[16])
{
	uint32_t	low = 0;
	uint32_t	high = ks->journal_count;

	while (low < high)
	{
		uint32_t	middle = low + (high - low) / 2;

		if (memcmp(ks->journals[middle].journal_id, journal_id, 16) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const keystore_key *
keystore_find_key(const keystore *ks, uint64_t key_id)
{
	uint32_t	place = key_place(ks, key_id);

	if (place < ks->key_count && ks->keys[place].id == key_id)
		return &ks->keys[place];
	return NULL;
}

keystore_journal *
keystore_find_journal(const keystore *ks, const uint8_t journal_id[16])
{
	uint32_t	place = journal_place(ks, journal_id);

	if (place < ks->journal_count &&
		memcmp(ks->journals[place].journal_id, journal_id, 16) == 0)
		return &ks->journals[place];
	return NULL;
}

/*
 * Open a gap of one entry at place, in new room where the old is full; the
 * caller fills and counts it.  Returns the array, or NULL (and the old array
 * stays as it is) when there is no memory.
 */
static void *
open_gap(void *entries, uint32_t count, uint32_t place, size_t entry_size)
{
	uint8_t    *from = entries;
	uint8_t    *to = from;
	size_t		before = place * entry_size;

	if (room_for(count) == count)
	{
		to = secmem_alloc(room_for(count + 1) * entry_size);
		if (to == NULL)
			return NULL;
		memcpy(to, from, before);
	}
	memmove(to + before + entry_size, from + before, (count - place) * entry_size);
	if (to != from)
		secmem_free(from);
	return to;
}

/* Put a key that is complete into its place. */
static core_status
insert_key(keystore *ks, const keystore_key *key)
{
	uint32_t	place = key_place(ks, key->id);
	keystore_key *keys = open_gap(ks->keys, ks->key_count, place, sizeof(keystore_key));

	if (keys == NULL)
		return CORE_E_CRYPTO;
	keys[place] = *key;
	ks->keys = keys;
	ks->key_count++;
	return CORE_OK;
}

core_status
keystore_add_key(keystore *ks, const uint8_t journal_id[16],
				 const uint8_t ledger[LEDGER_ID_SIZE], uint64_t *key_id)
{
	keystore_key made;
	core_status status;

	if (ks->key_count >= KEYSTORE_KEYS_MAX)
		return CORE_E_LIMIT;
	do
		secmem_random(&made.id, sizeof(made.id));
	while (made.id <= KEY_ID_RESERVED || keystore_find_key(ks, made.id) != NULL);
	memcpy(made.journal_id, journal_id, sizeof(made.journal_id));
	memcpy(made.ledger, ledger, LEDGER_ID_SIZE);
	secmem_random(made.key, sizeof(made.key));
	status = kdf_commitment(made.key, made.commitment);
	if (status == CORE_OK)
		status = insert_key(ks, &made);
	if (status == CORE_OK)
		*key_id = made.id;
	secmem_wipe(&made, sizeof(made));
	return status;
}

core_status
keystore_add_journal(keystore *ks, const uint8_t journal_id[16])
{
	uint32_t	place = journal_place(ks, journal_id);
	keystore_journal *journals;

	if (keystore_find_journal(ks, journal_id) != NULL)
		return CORE_OK;
	if (ks->journal_count >= KEYSTORE_JOURNALS_MAX)
		return CORE_E_LIMIT;
	journals = open_gap(ks->journals, ks->journal_count, place, sizeof(keystore_journal));
	if (journals == NULL)
		return CORE_E_CRYPTO;
	memset(&journals[place], 0, sizeof(keystore_journal));
	memcpy(journals[place].journal_id, journal_id, 16);
	secmem_random(journals[place].hmac_key, sizeof(journals[place].hmac_key));
	ks->journals = journals;
	ks->journal_count++;
	return CORE_OK;
}
