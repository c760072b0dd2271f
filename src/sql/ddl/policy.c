/*
 * policy.c
 *	  Protection of history: what may go away with its storage, and the release
 *	  that lifts it.
 *
 * Where the journal protects history (its genesis entry says so, for good),
 * the storage of a journalled table may be dropped, truncated or rewritten only
 * after its owner called verity_release().  That is a policy entry in the
 * journal for the ledger that the storage holds: new storage is a new ledger
 * and protected again.  Superusers are held to it like anybody.
 *
 * Whether a ledger is released is for the journal to say.  So that the whole
 * journal need not be read, the releasing transaction leaves its serial in the
 * table's meta data; that is a hint, believed only when a committed entry of
 * that serial says it.  A lost hint means that the table is protected, and can
 * be released again.  verity_release holds ShareUpdateExclusiveLock until its
 * transaction ends, so that no later release that aborts overwrites the hint
 * of one that commits.
 *
 * Storage that was made in the running transaction, and a ledger that no
 * transaction ever put a record into, hold nothing that was committed, and are
 * not protected: a restore truncates the tables that it has just made.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "am/table.h"
#include "am/journal/xact.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "sql/ddl/policy.h"
#include "sql/ddl/schema.h"
#include "sql/settings.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* A release that this transaction has queued. */
typedef struct QueuedRelease
{
	uint8		ledger[LEDGER_ID_SIZE];
	SubTransactionId subid;
} QueuedRelease;

static List *queued = NIL;		/* of QueuedRelease, in TopTransactionContext */
static bool callbacks_registered = false;

static void
policy_xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		queued = NIL;
}

static void
policy_subxact_callback(SubXactEvent event, SubTransactionId mySubid,
						SubTransactionId parentSubid, void *arg)
{
	ListCell   *lc;

	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	foreach(lc, queued)
	{
		QueuedRelease *release = lfirst(lc);

		if (release->subid != mySubid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			release->subid = parentSubid;
		else
			queued = foreach_delete_current(queued, lc);
	}
}

static void
remember_release(const uint8 *ledger)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	QueuedRelease *release = palloc(sizeof(QueuedRelease));

	if (!callbacks_registered)
	{
		RegisterXactCallback(policy_xact_callback, NULL);
		RegisterSubXactCallback(policy_subxact_callback, NULL);
		callbacks_registered = true;
	}
	memcpy(release->ledger, ledger, LEDGER_ID_SIZE);
	release->subid = GetCurrentSubTransactionId();
	queued = lappend(queued, release);
	MemoryContextSwitchTo(old);
}

/* Is this entry the release of that ledger? */
static bool
entry_releases(const VerityEntry *entry, const uint8 *ledger)
{
	control_policy body;

	return entry->stored.core.kind == ENTRY_POLICY &&
		control_policy_decode(entry->stored.body, entry->stored.body_len, &body) == CORE_OK &&
		body.action == POLICY_RELEASE &&
		memcmp(body.ledger, ledger, LEDGER_ID_SIZE) == 0;
}

/*
 * Do the entries of this serial hold a release of that ledger?  They stand
 * side by side, and its last position is the one that the serial leads to.
 */
static bool
journal_confirms(uint64 serial, const uint8 *ledger)
{
	VerityPosition position;
	bool		found = false;

	if (serial == 0 || verity_serial_outcome(serial, &position) != OUTCOME_COMMITTED)
		return false;
	for (; position > 0 && !found; position--)
	{
		VerityEntry *entry = verity_journal_read(position);

		if (entry == NULL)
			break;
		if (entry->stored.core.serial != serial)
		{
			verity_entry_free(entry);
			break;
		}
		found = entry_releases(entry, ledger);
		verity_entry_free(entry);
	}
	return found;
}

static bool
ledger_is_released(Relation rel, VerityRel *vrel)
{
	VerityMeta	meta;
	ListCell   *lc;

	foreach(lc, queued)
	{
		if (memcmp(((QueuedRelease *) lfirst(lc))->ledger, vrel->ledger, LEDGER_ID_SIZE) == 0)
			return true;
	}
	verity_meta_read(rel, &meta);
	return journal_confirms(meta.release, vrel->ledger);
}

/* Did a transaction ever put records into this ledger? */
static bool
ledger_has_items(VerityRel *vrel)
{
	uint8		ledger[LEDGER_ID_SIZE];
	VerityPosition position;
	hash256		hash;

	return !verity_head_get(vrel->ledger_number, ledger, &position, &hash) ||
		memcmp(ledger, vrel->ledger, LEDGER_ID_SIZE) != 0 || position != 0;
}

bool
verity_is_protected(Relation rel)
{
	VerityRel  *vrel;

	if (!verity_is_table(rel) || rel->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		return false;
	if (rel->rd_createSubid != InvalidSubTransactionId ||
		rel->rd_firstRelfilelocatorSubid != InvalidSubTransactionId)
		return false;
	vrel = verity_rel(rel);
	return vrel->journalled && verity_journal_protects() && ledger_has_items(vrel) &&
		!ledger_is_released(rel, vrel);
}

void
verity_check_storage_change(Relation rel, const char *operation)
{
	Oid			subject;

	if (!verity_is_protected(rel))
		return;
	subject = verity_schema_subject(rel);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot %s table \"%s\" because its history is protected",
					operation, get_rel_name(subject)),
			 errhint("The owner can lift the protection with verity_release(%s, 'reason'), which is journalled.",
					 quote_literal_cstr(verity_schema_name(subject)))));
}

/* Queue the entry that a ledger ends here. */
static void
journal_end(Relation rel, VerityRel *vrel)
{
	Oid			subject = verity_schema_subject(rel);
	char	   *name = verity_schema_name(subject);
	control_schema body = {0};
	VerityPosition position;
	uint8		ledger[LEDGER_ID_SIZE];

	body.action = SCHEMA_DROP;
	memcpy(body.ledger, vrel->ledger, LEDGER_ID_SIZE);
	body.ledger_number = vrel->ledger_number;
	body.relation_oid = subject;
	body.version = vrel->schema_version;
	body.digest = vrel->schema_digest;
	body.name.data = name;
	body.name.len = strlen(name);
	body.definition.data = "";
	if (!verity_head_get(vrel->ledger_number, ledger, &position, &body.last_item) ||
		memcmp(ledger, vrel->ledger, LEDGER_ID_SIZE) != 0)
		memset(&body.last_item, 0, sizeof(hash256));
	verity_journal_schema(&body);
	pfree(name);
}

void
verity_storage_drop(Relation rel, const char *operation)
{
	VerityRel  *vrel;

	/* nor could another session's temporary table be read */
	if (rel->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		return;
	verity_check_storage_change(rel, operation);
	vrel = verity_rel(rel);
	if (!vrel->journalled)
		return;
	verity_xact_forget(vrel->ledger);

	/* a ledger that the journal never heard of needs no end */
	if (vrel->schema_version != 0)
		journal_end(rel, vrel);
}

/* Queue the policy entry, and leave the hint. */
static void
release_ledger(Relation rel, VerityRel *vrel, const char *reason)
{
	control_policy body = {0};
	codec_writer w;
	uint8	   *buffer;

	body.action = POLICY_RELEASE;
	memcpy(body.ledger, vrel->ledger, LEDGER_ID_SIZE);
	body.reason.data = reason;
	body.reason.len = strlen(reason);

	codec_writer_init(&w, NULL, 0);
	control_policy_encode(&w, &body);
	buffer = palloc(w.used);
	codec_writer_init(&w, buffer, w.used);
	control_policy_encode(&w, &body);
	Assert(!w.failed);
	verity_xact_control(ENTRY_POLICY, buffer, w.used);
	pfree(buffer);

	verity_meta_set_release(rel, verity_xact_serial());
	remember_release(vrel->ledger);
}

static void
require_owner(Oid relid)
{
	if (!object_ownercheck(RelationRelationId, relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relid)),
					   get_rel_name(relid));
}

/* Errors unless this relation can have a protected history. */
static void
require_verity_table(Relation rel)
{
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a partitioned table and holds no history of its own",
						RelationGetRelationName(rel)),
				 errhint("Release its partitions one by one.")));
	if (!verity_is_table(rel))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a verity table", RelationGetRelationName(rel)),
				 errhint("Only tables that were created USING verity have a protected history.")));
}

/* The reason, checked. */
static char *
reason_argument(char *reason)
{
	if (strspn(reason, " \t\r\n") == strlen(reason))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a release needs a reason"),
				 errhint("Say why the history may go; the journal keeps it.")));
	if (strlen(reason) > VERITY_REASON_MAX_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the reason is longer than %d bytes", VERITY_REASON_MAX_BYTES),
				 errhint("Shorten it.")));
	return reason;
}

PG_FUNCTION_INFO_V1(verity_release);

/* SQL: verity_release(regclass, text); false when there was nothing to lift. */
Datum
verity_release(PG_FUNCTION_ARGS)
{
	Oid			relid;
	char	   *reason;
	Relation	rel;
	bool		released = false;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	relid = PG_GETARG_OID(0);
	reason = reason_argument(PG_ARGISNULL(1) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(1)));
	PreventCommandIfReadOnly("verity_release()");
	PreventCommandIfParallelMode("verity_release()");

	if (get_rel_name(relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid),
				 errhint("Name the table by its name; it may have been dropped meanwhile.")));

	/* asked before the lock, so that others cannot lock the table by asking */
	require_owner(relid);
	rel = relation_open(relid, ShareUpdateExclusiveLock);
	require_owner(relid);
	require_verity_table(rel);
	if (verity_is_protected(rel))
	{
		release_ledger(rel, verity_rel(rel), reason);
		released = true;
	}
	else
		ereport(NOTICE,
				(errmsg("table \"%s\" is not protected", RelationGetRelationName(rel))));

	/* the lock stays until the transaction has ended */
	relation_close(rel, NoLock);
	PG_RETURN_BOOL(released);
}
