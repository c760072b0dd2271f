/*
 * keystore.c
 *	  SQL functions of the keystore, and what CREATE EXTENSION does last.
 */
#include "postgres.h"

#include "am/journal.h"
#include "am/keys.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"

PG_FUNCTION_INFO_V1(verity_init_keystore);
PG_FUNCTION_INFO_V1(verity_initialize);

/* Make the cluster's keystore; false where there is one. */
Datum
verity_init_keystore(PG_FUNCTION_ARGS)
{
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to make the keystore"),
				 errhint("Ask a superuser to call verity_init_keystore().")));
	PG_RETURN_BOOL(verity_keystore_init());
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
