/*
 * keystore.c
 *	  SQL functions of the keystore, and what CREATE EXTENSION does last.
 */
#include "postgres.h"

#include "am/journal/journal.h"
#include "am/keys/keys.h"
#include "am/keys/seal.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "sql/settings.h"

PG_FUNCTION_INFO_V1(verity_init_keystore);
PG_FUNCTION_INFO_V1(verity_adopt_keystore);
PG_FUNCTION_INFO_V1(verity_accept_journal);
PG_FUNCTION_INFO_V1(verity_initialize);

/*
 * Was this database's journal written under a keystore?  Its last entry's
 * HMAC tells: without keys it is all zeros.
 */
static bool
journal_was_keyed(void)
{
	static const uint8 none[ENTRY_HMAC_SIZE];
	VerityEntry *entry;

	if (!verity_journal_exists())
		return false;
	entry = verity_journal_read(verity_journal_last());
	return entry != NULL && memcmp(entry->stored.hmac, none, ENTRY_HMAC_SIZE) != 0;
}

/* Make the cluster's keystore; false where there is one. */
Datum
verity_init_keystore(PG_FUNCTION_ARGS)
{
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to make the keystore"),
				 errhint("Ask a superuser to call verity_init_keystore().")));
	if (!verity_keystore_exists() && journal_was_keyed())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database's journal was written under a keystore that is not there"),
				 errdetail("A new keystore could open none of its records."),
				 errhint("Put the keystore back from its backup, or set verity.keystore_directory to where it is.")));
	PG_RETURN_BOOL(verity_keystore_init());
}

/* Make the keystore of the cluster before pg_upgrade this one's; false where it is. */
Datum
verity_adopt_keystore(PG_FUNCTION_ARGS)
{
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to adopt a keystore"),
				 errhint("Ask a superuser to call verity_adopt_keystore().")));
	PG_RETURN_BOOL(verity_keystore_adopt());
}

/* Take a restored journal for the right one, and say why in it. */
Datum
verity_accept_journal(PG_FUNCTION_ARGS)
{
	text	   *reason = PG_GETARG_TEXT_PP(0);
	control_policy body = {0};
	codec_writer writer;
	uint8		bytes[VERITY_REASON_MAX_BYTES + 64];
	const char *hint;
	const char *problem;

	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to accept a journal"),
				 errhint("Ask a superuser to call verity_accept_journal().")));
	if (VARSIZE_ANY_EXHDR(reason) == 0 || VARSIZE_ANY_EXHDR(reason) > VERITY_REASON_MAX_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("accepting a journal needs a reason of 1 to %d bytes", VERITY_REASON_MAX_BYTES),
				 errhint("Say which backup was restored, and why.")));
	problem = verity_keys_problem(&hint);
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the journal cannot be accepted: %s", problem),
				 errhint("%s", hint)));

	body.action = POLICY_ACCEPT;
	body.reason.data = VARDATA_ANY(reason);
	body.reason.len = VARSIZE_ANY_EXHDR(reason);
	codec_writer_init(&writer, bytes, sizeof(bytes));
	control_policy_encode(&writer, &body);
	if (writer.failed)
		elog(ERROR, "could not encode a policy entry");
	verity_journal_accept(bytes, writer.used);
	PG_RETURN_VOID();
}

/* Make the keystore where there is none and a key can be had, else warn. */
static void
ready_keystore(void)
{
	bool		configured = verity_master_key_file[0] != '\0' ||
		verity_master_key_command[0] != '\0';
	const char *problem;
	const char *hint;

	if (!verity_keystore_exists() && configured)
		(void) verity_keystore_init();

	problem = verity_keys_problem(&hint);
	if (problem != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("verity tables cannot be written yet: %s", problem),
				 errhint("%s", configured ? hint :
						 "Set verity.master_key_file or verity.master_key_command, reload the configuration, and call verity_init_keystore().")));
}

/* The last step of CREATE EXTENSION: keys, then the first journal entry. */
Datum
verity_initialize(PG_FUNCTION_ARGS)
{
	if (IsBinaryUpgrade)
		PG_RETURN_VOID();
	if (!creating_extension)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("verity.initialize() can only be called by CREATE EXTENSION"),
				 errhint("Use CREATE EXTENSION verity.")));
	ready_keystore();
	verity_journal_genesis();
	PG_RETURN_VOID();
}
