/*
 * verify_control.c
 *	  What control entries say, as the journal pass meets them: voids, tables'
 *	  definitions, keys, generations.
 */
#include "postgres.h"

#include "am/keys/keys.h"
#include "crypto/kdf.h"
#include "sql/verify/verify.h"
#include "utils/memutils.h"

/* A control entry whose body cannot be what it was. */
static void
bad_body(VerifyContext *ctx, VerityEntry *entry)
{
	verify_journal_finding(ctx, "entry", entry->stored.core.position, NULL, NULL,
						   "the body of a control entry cannot be read");
	verify_mark_doubtful(ctx, entry->stored.core.position);
}

/* Remember what was voided; only what was not decided yet may be. */
static void
control_void_entry(VerifyContext *ctx, VerityEntry *entry)
{
	const entry_core *core = &entry->stored.core;
	uint32		capacity = entry->stored.body_len / 16 + 1;
	control_void_member *members = palloc(capacity * sizeof(control_void_member));
	control_void body;

	if (control_void_decode(entry->stored.body, entry->stored.body_len, &body, members, capacity) != CORE_OK)
	{
		bad_body(ctx, entry);
		return;
	}
	for (uint32 i = 0; i < body.count; i++)
	{
		if (members[i].position >= core->position ||
			members[i].position <= ctx->journal->chain.decided)
			verify_journal_finding(ctx, "void", core->position, NULL, NULL,
								   "position " UINT64_FORMAT " is called void, but was decided before",
								   members[i].position);
		else
			verify_void_add(ctx, &members[i], core->position);
	}
	pfree(members);
}

static char *
copy_text(const control_text *text)
{
	return pnstrdup(text->data ? text->data : "", text->data ? text->len : 0);
}

/* Keep a schema entry until all is read. */
static void
control_schema_entry(VerifyContext *ctx, VerityEntry *entry)
{
	control_schema body;
	VerifySchema *schema;
	hash256		digest;
	MemoryContext old;

	if (control_schema_decode(entry->stored.body, entry->stored.body_len, &body) != CORE_OK)
	{
		bad_body(ctx, entry);
		return;
	}
	if (body.definition.len > 0 &&
		(hash_sha256(body.definition.data, body.definition.len, &digest) != CORE_OK ||
		 !hash_equal(&digest, &body.digest)))
		verify_journal_finding(ctx, "entry", entry->stored.core.position, NULL, NULL,
							   "a definition does not have the digest beside it");
	old = MemoryContextSwitchTo(ctx->memory);
	schema = palloc0(sizeof(VerifySchema));
	schema->position = entry->stored.core.position;
	schema->serial = entry->stored.core.serial;
	memcpy(schema->ledger, body.ledger, LEDGER_ID_SIZE);
	schema->action = body.action;
	schema->number = body.ledger_number;
	schema->relid = body.relation_oid;
	schema->version = body.version;
	schema->digest = body.digest;
	schema->name = copy_text(&body.name);
	ctx->schemas = lappend(ctx->schemas, schema);
	MemoryContextSwitchTo(old);
}

/* Whose the key is; with keys, whether it is the one that was committed to. */
static void
control_key_entry(VerifyContext *ctx, VerityEntry *entry)
{
	control_key body;
	VerifyKeyNote note = {0};
	const uint8 *key;
	uint8		commitment[32];

	if (control_key_decode(entry->stored.body, entry->stored.body_len, &body) != CORE_OK)
	{
		bad_body(ctx, entry);
		return;
	}
	note.key_id = body.key_id;
	memcpy(note.ledger, body.ledger, LEDGER_ID_SIZE);
	hash_search(ctx->keys, &note, HASH_ENTER, NULL);
	if (!ctx->with_keys)
		return;
	key = verity_key_get(body.key_id, true);
	if (key == NULL || kdf_commitment(key, commitment) != CORE_OK)
		return;
	if (memcmp(commitment, body.commitment, sizeof(commitment)) != 0)
		verify_journal_finding(ctx, "key", entry->stored.core.position, NULL, NULL,
							   "the key in the keystore is not the one that this entry commits to");
}

/* A generation whose recovery voided something is worth a row. */
static void
control_generation_entry(VerifyContext *ctx, VerityEntry *entry)
{
	control_generation body;
	VerifyFinding f;

	if (control_generation_decode(entry->stored.body, entry->stored.body_len, &body) != CORE_OK)
		return;
	ctx->journal->generations++;
	if (body.voided == 0)
		return;
	verify_finding_init(&f, VERIFY_INFO, "void", "verity.journal", entry->stored.core.position);
	snprintf(f.found, sizeof(f.found), "%u of positions " UINT64_FORMAT " to " UINT64_FORMAT " void",
			 body.voided, body.doubt_first, body.doubt_last);
	snprintf(f.detail, sizeof(f.detail),
			 "what was in doubt when generation %u began; if one of these was acknowledged to a client, it was lost or taken back",
			 body.number);
	verify_report_add(ctx->report, &f);
}

/* Take a control entry's body in. */
void
verify_control(VerifyContext *ctx, VerityEntry *entry)
{
	switch (entry->stored.core.kind)
	{
		case ENTRY_VOID:
			control_void_entry(ctx, entry);
			break;
		case ENTRY_SCHEMA:
			control_schema_entry(ctx, entry);
			break;
		case ENTRY_KEY:
			control_key_entry(ctx, entry);
			break;
		case ENTRY_GENERATION:
			control_generation_entry(ctx, entry);
			break;
		default:
			break;
	}
}
