/*
 * xact.c
 *	  The current transaction's serial, sequence and control entries, and its
 *	  entry in the journal at pre-commit.
 *
 * At XACT_EVENT_PRE_COMMIT, in this order: changed table definitions are
 * computed, the idempotency id is claimed, the serializable check is taken,
 * and all entries are appended under the journal's lock.  What fails
 * afterwards leaves entries whose xid did not commit: the next appender finds
 * them at the front of the undecided ring and voids them, so nothing has to be
 * done here.
 *
 * Ledgers and savepoints: xact_ledger.c.  State lives in a context under
 * TopTransactionContext and is forgotten when the transaction ends.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/predicate.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"

#include "am/journal/idempotency.h"
#include "am/journal/journal_store.h"
#include "am/journal/xact.h"
#include "am/journal/xact_ledger.h"
#include "am/journal/xact_schema.h"
#include "am/stop_point.h"
#include "sql/settings.h"

typedef struct PendingControl
{
	struct PendingControl *before;
	struct PendingControl *next;
	SubTransactionId subid;
	entry_kind	kind;
	uint8	   *body;
	Size		len;
} PendingControl;

typedef struct XactState
{
	MemoryContext context;		/* NULL: no state */
	uint64		serial;
	uint64		next_sequence;
	bool		appended;		/* too late for any write */
	VerityPosition position;
	PendingControl *controls;	/* first and last */
	PendingControl *last_control;
} XactState;

static XactState xact;
static bool exit_registered = false;

static void
begin_state(void)
{
	if (xact.context != NULL)
		return;
	xact.context = AllocSetContextCreate(TopTransactionContext, "verity transaction",
										 ALLOCSET_DEFAULT_SIZES);
	ledger_begin(xact.context);
}

static void
end_state(void)
{
	/* the context goes with TopTransactionContext */
	memset(&xact, 0, sizeof(xact));
	ledger_reset();
	xact_schema_reset();
}

static void
check_writable(void)
{
	if (xact.appended)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot write to a verity table after the transaction's journal entry"),
				 errhint("Move the write before the commit, out of ON COMMIT actions and callbacks.")));
	if (IsParallelWorker())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("cannot write to a verity table during a parallel operation"),
				 errhint("Mark functions that write as PARALLEL UNSAFE.")));
}

uint64
verity_xact_serial(void)
{
	if (xact.serial != 0 && !xact.appended)
		return xact.serial;
	check_writable();
	begin_state();
	(void) GetTopTransactionId();
	xact.serial = journal_next_serial();
	return xact.serial;
}

uint64
verity_xact_serial_if_any(void)
{
	return xact.serial;
}

uint32
verity_xact_next_sequence(VerityRel *vrel)
{
	uint32		sequence;

	check_writable();
	if (xact.next_sequence > PG_UINT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a transaction cannot write more than 4294967296 records"),
				 errhint("Split the work into several transactions.")));
	sequence = (uint32) xact.next_sequence++;
	if (vrel->journalled)
		ledger_touch(vrel->ledger, vrel->ledger_number, sequence);
	return sequence;
}

void
verity_xact_fold(VerityRel *vrel, const record_id *id, const hash256 *leaf)
{
	if (!vrel->journalled)
		return;
	Assert(id->serial == xact.serial && id->sequence < xact.next_sequence);
	check_writable();
	ledger_fold(vrel->ledger, vrel->ledger_number, id->sequence, leaf);
}

void
verity_xact_discard(VerityRel *vrel, uint32 sequence)
{
	if (!vrel->journalled)
		return;
	Assert(xact.serial != 0 && sequence < xact.next_sequence);
	ledger_discard(vrel->ledger, vrel->ledger_number, sequence);
}

void
verity_xact_forget(const uint8 ledger[LEDGER_ID_SIZE])
{
	if (xact.context != NULL)
		ledger_forget(ledger);
}

void
verity_xact_control(entry_kind kind, const uint8 *body, Size len)
{
	PendingControl *control;

	check_writable();
	(void) verity_xact_serial();
	control = MemoryContextAllocZero(xact.context, sizeof(PendingControl));
	control->subid = GetCurrentSubTransactionId();
	control->kind = kind;
	control->len = len;
	control->body = MemoryContextAlloc(xact.context, Max(len, 1));
	memcpy(control->body, body, len);
	control->before = xact.last_control;
	if (xact.last_control != NULL)
		xact.last_control->next = control;
	else
		xact.controls = control;
	xact.last_control = control;
}

VerityPosition
verity_xact_position(void)
{
	return xact.position;
}

bool
verity_xact_wrote(void)
{
	return xact.serial != 0;
}

/* Controls of a subtransaction stand at the end: hand them up, or drop them. */
static void
end_sub_controls(SubTransactionId subid, SubTransactionId parent, bool commit)
{
	PendingControl *control = xact.last_control;

	for (; control != NULL && control->subid == subid; control = control->before)
	{
		if (commit)
			control->subid = parent;
		else
		{
			xact.last_control = control->before;
			if (xact.last_control != NULL)
				xact.last_control->next = NULL;
			else
				xact.controls = NULL;
		}
	}
}

/* Was the id set for this transaction only?  A read then makes an entry too. */
static bool
idempotency_is_local(void)
{
	struct config_generic *setting = find_option("verity.idempotency_id", false, false, ERROR);
	GucStack   *stack = setting ? setting->stack : NULL;

	return stack != NULL && (stack->state == GUC_LOCAL || stack->state == GUC_SET_LOCAL);
}

/* Does this transaction take the idempotency id that is set? */
static bool
takes_idempotency_id(uint64 leaves)
{
	if (!idempotency_wanted() || RecoveryInProgress() || !verity_journal_exists())
		return false;
	return leaves > 0 || xact.controls != NULL || (!XactReadOnly && idempotency_is_local());
}

static void
append_controls(JournalSession *session, TransactionId xid, const entry_metadata *metadata, bool map_last)
{
	for (PendingControl *control = xact.controls; control != NULL; control = control->next)
	{
		entry_stored entry = {0};
		JournalAppend append = {0};

		entry.core.kind = control->kind;
		entry.core.serial = xact.serial;
		entry.body = control->body;
		entry.body_len = control->len;
		entry.metadata = *metadata;
		entry.metadata.has_idempotency_id = false;
		memset(entry.metadata.idempotency_id, 0, ENTRY_UUID_SIZE);
		journal_salt(entry.metadata.salt);
		append.entry = &entry;
		append.xid = xid;
		append.map_serial = map_last && control->next == NULL;
		append.decided = DECIDED_AS_KNOWN;
		xact.position = journal_append(session, &append);
	}
}

/* Keep the keystore's mark near when a backend leaves that wrote. */
static void
mark_at_exit(int code, Datum arg)
{
	journal_mark((JournalShared *) DatumGetPointer(arg), code != 0 ? MARK_TERMINATING : MARK_LEAVING);
}

static void
append_all(entry_stored *entry, const uint32 *numbers, bool with_transaction)
{
	JournalSession session;
	JournalAppend append = {0};
	TransactionId xid = GetTopTransactionId();
	uint64		decided;

	journal_begin(&session);
	xact.appended = true;
	append_controls(&session, xid, &entry->metadata, !with_transaction);
	if (with_transaction)
	{
		append.entry = entry;
		append.numbers = numbers;
		append.xid = xid;
		append.map_serial = true;
		append.decided = DECIDED_AS_KNOWN;
		xact.position = journal_append(&session, &append);
	}
	decided = journal_shared_decided(session.shared);
	journal_end(&session);
	ereport(DEBUG1,
			(errmsg_internal("wrote journal entry " UINT64_FORMAT " of serial " UINT64_FORMAT
							 ", %u tables; decided up to " UINT64_FORMAT,
							 xact.position, xact.serial, entry->item_count, decided)));
	if (!exit_registered)
	{
		before_shmem_exit(mark_at_exit, PointerGetDatum(session.shared));
		exit_registered = true;
	}
}

static void
pre_commit(void)
{
	entry_stored entry = {0};
	uint32	   *numbers;
	uint64		leaves = 0;
	bool		idempotent;

	/* gone with DROP EXTENSION in this transaction */
	if (!verity_journal_exists())
		return;
	xact_schema_compute();
	entry.item_count = ledger_items(&entry.items, &numbers, &leaves);
	idempotent = takes_idempotency_id(leaves);
	if (leaves == 0 && xact.controls == NULL && !idempotent)
		return;

	entry.core.kind = ENTRY_TRANSACTION;
	entry.core.serial = verity_xact_serial();
	if (idempotent)
		idempotency_claim(xact.serial);
	VERITY_STOP("idempotency-claimed");
	PreCommit_CheckForSerializationFailure();
	journal_metadata(&entry.metadata);
	if (idempotent)
	{
		entry.metadata.has_idempotency_id =
			verity_uuid_parse(verity_idempotency_id, entry.metadata.idempotency_id);
		entry.metadata.idempotency_role = GetUserId();
	}
	journal_mark(journal_shared(), MARK_WRITING);
	VERITY_STOP("pre-commit");
	append_all(&entry, numbers, entry.item_count > 0 || idempotent);
	VERITY_STOP("entry-appended");
}

static void
pre_prepare(void)
{
	/* PostgreSQL refuses this itself, and says why */
	if ((MyXactFlags & XACT_FLAGS_ACCESSEDTEMPNAMESPACE) != 0)
		return;
	/* a definition that changed takes a serial for its entry */
	xact_schema_compute();
	if (xact.serial == 0 && !takes_idempotency_id(0))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot PREPARE a transaction that wrote to verity tables"),
			 errhint("Use COMMIT, or keep verity tables out of two-phase transactions.")));
}

static void
xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (xact.context != NULL || xact_schema_any_dirty() || idempotency_wanted())
				pre_commit();
			break;
		case XACT_EVENT_PRE_PREPARE:
			pre_prepare();
			break;
		case XACT_EVENT_COMMIT:
			VERITY_STOP("committed");
			/* FALLTHROUGH */
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			end_state();
			break;
		default:
			/* parallel workers write nothing */
			break;
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		end_sub_controls(subid, parent, true);
		ledger_subcommit(subid, parent);
		xact_schema_subcommit(subid, parent);
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		end_sub_controls(subid, parent, false);
		ledger_subabort(subid);
		xact_schema_subabort(subid);
	}
}

void
verity_xact_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}
