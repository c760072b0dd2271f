/*
 * definitions.c
 *	  verity.definitions: the schema entries of the journal, as rows.
 *
 * Reads the journal from its beginning; for people and tests, not for hot
 * paths.  An entry that is damaged or void is left out: verity_verify names
 * the former, the journal itself shows the latter.
 */
#include "postgres.h"

#include "am/journal/journal.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#define DEFINITION_COLUMNS 8

static const char *
action_name(uint8 action)
{
	switch (action)
	{
		case SCHEMA_CREATE:
			return "create";
		case SCHEMA_ALTER:
			return "alter";
		case SCHEMA_DROP:
			return "drop";
		case SCHEMA_UNCOVERED:
			return "uncovered";
	}
	return "unknown";
}

static Datum
bytea_datum(const void *data, Size len)
{
	bytea	   *result = palloc(VARHDRSZ + len);

	SET_VARSIZE(result, VARHDRSZ + len);
	memcpy(VARDATA(result), data, len);
	return PointerGetDatum(result);
}

static bool
transaction_is_void(const VerityEntry *entry)
{
	VerityPosition position;

	return entry->stored.core.serial != 0 &&
		verity_serial_outcome(entry->stored.core.serial, &position) != OUTCOME_COMMITTED;
}

static void
put_definition(ReturnSetInfo *rsinfo, VerityPosition position, const control_schema *body)
{
	Datum		values[DEFINITION_COLUMNS];
	bool		nulls[DEFINITION_COLUMNS] = {false};

	values[0] = Int64GetDatum((int64) position);
	values[1] = CStringGetTextDatum(action_name(body->action));
	values[2] = PointerGetDatum(cstring_to_text_with_len(body->name.data, body->name.len));
	values[3] = ObjectIdGetDatum(body->relation_oid);
	values[4] = bytea_datum(body->ledger, LEDGER_ID_SIZE);
	values[5] = Int64GetDatum(body->version);
	values[6] = bytea_datum(body->digest.bytes, HASH_SIZE);
	values[7] = PointerGetDatum(cstring_to_text_with_len(body->definition.data, body->definition.len));
	nulls[7] = body->action == SCHEMA_DROP;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(verity_definitions);

/* SQL: verity.definitions() */
Datum
verity_definitions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	VerityJournalReader *reader;
	VerityEntry *entry;
	VerityPosition at;
	const char *damage;

	InitMaterializedSRF(fcinfo, 0);
	reader = verity_journal_reader_begin(1);
	for (;;)
	{
		control_schema body;

		CHECK_FOR_INTERRUPTS();
		damage = NULL;
		entry = verity_journal_reader_next(reader, &damage, &at);
		if (entry == NULL && damage == NULL)
			break;
		if (entry == NULL)
			continue;
		if (entry->stored.core.kind == ENTRY_SCHEMA && !transaction_is_void(entry) &&
			control_schema_decode(entry->stored.body, entry->stored.body_len, &body) == CORE_OK)
			put_definition(rsinfo, entry->stored.core.position, &body);
		verity_entry_free(entry);
	}
	verity_journal_reader_end(reader);
	return (Datum) 0;
}
