/*
 * verify_roots.c
 *	  The versions under each root: its hint, and their skip pointers.
 *
 * Versions of one root are looked at together, in the order of their chain,
 * which is that of their positions.  The hint must lead to the newest, or past
 * it to one that has not committed.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "sql/verify/verify.h"
#include "utils/memutils.h"

/* Below this many versions, looking one up is a walk. */
#define LINEAR_MAX 16

typedef struct RootMember
{
	ItemPointerData root;		/* with position and sequence: the sort's key */
	uint8		position[8];
	uint8		sequence[4];
	ItemPointerData tid;
	ItemPointerData hint;		/* of the root */
	ItemPointerData skip;
	uint8		truth;
	bool		is_root;
	bool		damaged;
	uint64		serial;
} RootMember;

typedef struct RootGroup
{
	RootMember *members;
	uint64		count;
	uint64		capacity;
	HTAB	   *by_tid;
	MemoryContext scratch;
} RootGroup;

typedef struct TidIndex
{
	ItemPointerData tid;		/* hash key */
	uint64		index;
} TidIndex;

/* Put a version in the sort, unless it is alone under its root. */
void
verify_roots_put(VerifyTable *table, const VerifyRecord *record, bool ended_inside)
{
	RootMember	member;
	bool		is_root = (record->flags & ENVELOPE_ROOT) != 0;
	uint64		position = record->truth == TRUTH_DEAD ? PG_UINT64_MAX : record->position;

	if (is_root && !ended_inside &&
		verify_same_tid(&record->root, &record->tid))
		return;
	memset(&member, 0, sizeof(member));
	position = pg_hton64(position);
	memcpy(member.position, &position, sizeof(position));
	memcpy(member.sequence, record->key + 8, sizeof(member.sequence));
	member.root = is_root ? record->tid : record->root;
	member.tid = record->tid;
	member.hint = record->root;
	member.skip = record->skip;
	member.truth = record->truth;
	member.is_root = is_root;
	member.serial = verify_record_serial(record);
	member.damaged = verify_is_damaged(table, member.serial) ||
		hash_search(table->reported, &record->tid, HASH_FIND, NULL) != NULL;
	verify_sort_put(table->roots, &member, sizeof(member));
}

/* Index of the member at this TID, -1 when there is none. */
static int64
find_member(RootGroup *group, const ItemPointerData *tid)
{
	TidIndex   *found;

	if (group->by_tid == NULL)
	{
		for (uint64 i = 0; i < group->count; i++)
			if (verify_same_tid(&group->members[i].tid, tid))
				return i;
		return -1;
	}
	found = hash_search(group->by_tid, tid, HASH_FIND, NULL);
	return found ? (int64) found->index : -1;
}

/* Make find_member fast where there are many. */
static void
index_members(RootGroup *group)
{
	HASHCTL		info = {0};

	group->by_tid = NULL;
	if (group->count <= LINEAR_MAX)
		return;
	info.keysize = sizeof(ItemPointerData);
	info.entrysize = sizeof(TidIndex);
	info.hcxt = group->scratch;
	group->by_tid = hash_create("verity root members", group->count, &info,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (uint64 i = 0; i < group->count; i++)
	{
		TidIndex   *entry = hash_search(group->by_tid, &group->members[i].tid, HASH_ENTER, NULL);

		entry->index = i;
	}
}

static void
link_finding(VerifyTable *table, const RootMember *member, const ItemPointerData *found_tid,
			 const char *detail)
{
	char		record[48];
	char		found[32];
	uint32		sequence;
	uint64		position;

	memcpy(&sequence, member->sequence, sizeof(sequence));
	memcpy(&position, member->position, sizeof(position));
	verify_record_name(record, sizeof(record), member->serial, pg_ntoh32(sequence));
	snprintf(found, sizeof(found), "(%u,%u)", ItemPointerGetBlockNumberNoCheck(found_tid),
			 ItemPointerGetOffsetNumberNoCheck(found_tid));
	verify_table_finding(table, "link", pg_ntoh64(position), record, NULL, found, "%s, at (%u,%u)",
						 detail, ItemPointerGetBlockNumber(&member->tid),
						 ItemPointerGetOffsetNumber(&member->tid));
}

/* Is this hint right now that of a version that came later than the scan? */
static bool
hint_is_later(VerifyTable *table, const RootMember *root)
{
	VerifyRecord record;
	VerityPosition position = 0;
	ItemPointerData hint = root->hint;

	if (!verify_live_record(table->rel, &hint, &record) || (record.flags & ENVELOPE_ROOT) ||
		!verify_same_tid(&record.root, &root->tid))
		return false;
	return verify_outcome(table->ctx, verify_record_serial(&record), &position) != OUTCOME_COMMITTED ||
		position > table->ctx->horizon;
}

/* The hint names the newest version, or one that is not committed. */
static void
check_hint(VerifyTable *table, RootGroup *group, const RootMember *root)
{
	int64		at = find_member(group, &root->hint);

	for (uint64 i = at + 1; at >= 0 && i < group->count; i++)
	{
		if (group->members[i].damaged)
			return;
		if (group->members[at].truth != TRUTH_DEAD && group->members[i].truth == TRUTH_COMMITTED)
		{
			link_finding(table, root, &root->hint, "the hint to the newest version leads to an older one");
			return;
		}
	}
	if (at < 0 && !hint_is_later(table, root))
		link_finding(table, root, &root->hint, "the hint leads to no version of this root");
}

/* Skip pointers lead to an older version of the same root. */
static void
check_skips(VerifyTable *table, RootGroup *group)
{
	for (uint64 i = 0; i < group->count; i++)
	{
		RootMember *member = &group->members[i];
		int64		at;

		if (member->is_root || member->truth != TRUTH_COMMITTED || member->damaged ||
			!ItemPointerIsValid(&member->skip))
			continue;
		at = find_member(group, &member->skip);
		if (at < 0 || at >= i || group->members[at].truth == TRUTH_DEAD)
			link_finding(table, member, &member->skip, "the skip pointer leads to no older version of this root");
	}
}

/* All versions of one root are here. */
static void
check_group(VerifyTable *table, RootGroup *group)
{
	RootMember *root = NULL;
	RootMember *committed = NULL;

	for (uint64 i = 0; i < group->count; i++)
	{
		if (group->members[i].is_root)
			root = &group->members[i];
		else if (group->members[i].truth == TRUTH_COMMITTED && !group->members[i].damaged)
			committed = &group->members[i];
	}
	index_members(group);
	if (root == NULL)
	{
		if (committed != NULL && hash_get_num_entries(table->damaged) == 0)
			link_finding(table, committed, &committed->root, "the version's root is not there");
	}
	else if (root->truth == TRUTH_COMMITTED && !root->damaged)
	{
		check_hint(table, group, root);
		check_skips(table, group);
	}
	MemoryContextReset(group->scratch);
	group->count = 0;
}

/* Go through all roots that have more than themselves. */
void
verify_roots(VerifyTable *table)
{
	RootGroup	group = {0};
	const RootMember *member;
	Size		len;

	group.capacity = 64;
	group.members = palloc(group.capacity * sizeof(RootMember));
	group.scratch = AllocSetContextCreate(CurrentMemoryContext, "verity root", ALLOCSET_DEFAULT_SIZES);
	verify_sort_perform(table->roots);
	while ((member = verify_sort_next(table->roots, &len)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (group.count > 0 &&
			!verify_same_tid(&group.members[0].root, &member->root))
			check_group(table, &group);
		if (group.count == group.capacity)
		{
			group.capacity *= 2;
			group.members = repalloc_huge(group.members, group.capacity * sizeof(RootMember));
		}
		group.members[group.count++] = *member;
	}
	if (group.count > 0)
		check_group(table, &group);
	MemoryContextDelete(group.scratch);
	pfree(group.members);
}
