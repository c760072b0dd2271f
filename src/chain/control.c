/*
 * control.c
 *	  Bodies of control entries.
 *
 * Each body is a version byte followed by its fields in the order of its
 * struct: integers big-endian, ids and hashes as their bytes, texts as blobs.
 * A body is hashed as part of its entry (entry_stored.c).
 */
#include "control.h"

#define CONTROL_VERSION 1
#define VOID_MEMBER_SIZE 16

static void
put_text(codec_writer *w, const control_text *text)
{
	codec_put_blob(w, text->data == NULL ? "" : text->data, text->len);
}

static void
get_text(codec_reader *r, control_text *text)
{
	size_t		len;

	text->data = (const char *) codec_get_blob(r, &len);
	text->len = (uint32_t) len;
	if (text->data == NULL)
		r->failed = true;
}

/* A byte from first to last. */
static uint8_t
get_enum(codec_reader *r, uint8_t first, uint8_t last)
{
	uint8_t		v = codec_get_u8(r);

	if (v < first || v > last)
		r->failed = true;
	return v;
}

static core_status
body_begin(codec_reader *r, const uint8_t *in, size_t len)
{
	codec_reader_init(r, in, len);
	if (codec_get_u8(r) == CONTROL_VERSION)
		return CORE_OK;
	return r->failed ? CORE_E_FORMAT : CORE_E_VERSION;
}

static core_status
body_end(const codec_reader *r)
{
	return codec_reader_done(r) ? CORE_OK : CORE_E_FORMAT;
}

void
control_genesis_encode(codec_writer *w, const control_genesis *body)
{
	codec_put_u8(w, CONTROL_VERSION);
	codec_put_bytes(w, body->journal_id, sizeof(body->journal_id));
	codec_put_u64(w, body->system_identifier);
	codec_put_u32(w, body->database_oid);
	codec_put_u8(w, body->protect_history);
	put_text(w, &body->database_name);
}

core_status
control_genesis_decode(const uint8_t *in, size_t len, control_genesis *body)
{
	codec_reader r;
	core_status status = body_begin(&r, in, len);

	if (status != CORE_OK)
		return status;
	codec_get_bytes(&r, body->journal_id, sizeof(body->journal_id));
	body->system_identifier = codec_get_u64(&r);
	body->database_oid = codec_get_u32(&r);
	body->protect_history = get_enum(&r, 0, 1);
	get_text(&r, &body->database_name);
	return body_end(&r);
}

void
control_generation_encode(codec_writer *w, const control_generation *body)
{
	codec_put_u8(w, CONTROL_VERSION);
	codec_put_u32(w, body->number);
	codec_put_u64(w, body->id);
	codec_put_bytes(w, body->salt, sizeof(body->salt));
	codec_put_u8(w, body->cause);
	codec_put_bytes(w, body->journal_id, sizeof(body->journal_id));
	codec_put_u64(w, body->system_identifier);
	codec_put_u32(w, body->database_oid);
	codec_put_u64(w, body->first_serial);
	codec_put_u64(w, body->good);
	codec_put_u64(w, body->doubt_first);
	codec_put_u64(w, body->doubt_last);
	codec_put_u32(w, body->voided);
}

core_status
control_generation_decode(const uint8_t *in, size_t len, control_generation *body)
{
	codec_reader r;
	core_status status = body_begin(&r, in, len);

	if (status != CORE_OK)
		return status;
	body->number = codec_get_u32(&r);
	body->id = codec_get_u64(&r);
	codec_get_bytes(&r, body->salt, sizeof(body->salt));
	body->cause = get_enum(&r, GENERATION_START, GENERATION_CLONE);
	codec_get_bytes(&r, body->journal_id, sizeof(body->journal_id));
	body->system_identifier = codec_get_u64(&r);
	body->database_oid = codec_get_u32(&r);
	body->first_serial = codec_get_u64(&r);
	body->good = codec_get_u64(&r);
	body->doubt_first = codec_get_u64(&r);
	body->doubt_last = codec_get_u64(&r);
	body->voided = codec_get_u32(&r);
	if (body->number == 0 || body->doubt_first > body->doubt_last)
		r.failed = true;
	return body_end(&r);
}

void
control_void_encode(codec_writer *w, const control_void *body)
{
	codec_put_u8(w, CONTROL_VERSION);
	codec_put_u32(w, body->count);
	for (uint32_t i = 0; i < body->count; i++)
	{
		codec_put_u64(w, body->members[i].position);
		codec_put_u64(w, body->members[i].serial);
	}
}

core_status
control_void_decode(const uint8_t *in, size_t len, control_void *body,
					control_void_member *members, uint32_t capacity)
{
	codec_reader r;
	core_status status = body_begin(&r, in, len);

	if (status != CORE_OK)
		return status;
	body->count = codec_get_u32(&r);
	body->members = members;
	if (r.failed || body->count > (r.len - r.used) / VOID_MEMBER_SIZE)
		return CORE_E_FORMAT;
	if (body->count > capacity)
		return CORE_E_LIMIT;
	for (uint32_t i = 0; i < body->count; i++)
	{
		members[i].position = codec_get_u64(&r);
		members[i].serial = codec_get_u64(&r);
		if (members[i].position == 0)
			r.failed = true;
	}
	return body_end(&r);
}

void
control_schema_encode(codec_writer *w, const control_schema *body)
{
	codec_put_u8(w, CONTROL_VERSION);
	codec_put_u8(w, body->action);
	codec_put_bytes(w, body->ledger, sizeof(body->ledger));
	codec_put_u32(w, body->ledger_number);
	codec_put_u32(w, body->relation_oid);
	codec_put_u32(w, body->version);
	codec_put_bytes(w, body->digest.bytes, HASH_SIZE);
	codec_put_bytes(w, body->last_item.bytes, HASH_SIZE);
	put_text(w, &body->name);
	put_text(w, &body->definition);
}

core_status
control_schema_decode(const uint8_t *in, size_t len, control_schema *body)
{
	codec_reader r;
	core_status status = body_begin(&r, in, len);

	if (status != CORE_OK)
		return status;
	body->action = get_enum(&r, SCHEMA_CREATE, SCHEMA_UNCOVERED);
	codec_get_bytes(&r, body->ledger, sizeof(body->ledger));
	body->ledger_number = codec_get_u32(&r);
	body->relation_oid = codec_get_u32(&r);
	body->version = codec_get_u32(&r);
	codec_get_bytes(&r, body->digest.bytes, HASH_SIZE);
	codec_get_bytes(&r, body->last_item.bytes, HASH_SIZE);
	get_text(&r, &body->name);
	get_text(&r, &body->definition);
	return body_end(&r);
}

void
control_key_encode(codec_writer *w, const control_key *body)
{
	codec_put_u8(w, CONTROL_VERSION);
	codec_put_u64(w, body->key_id);
	codec_put_bytes(w, body->ledger, sizeof(body->ledger));
	codec_put_bytes(w, body->commitment, sizeof(body->commitment));
}

core_status
control_key_decode(const uint8_t *in, size_t len, control_key *body)
{
	codec_reader r;
	core_status status = body_begin(&r, in, len);

	if (status != CORE_OK)
		return status;
	body->key_id = codec_get_u64(&r);
	codec_get_bytes(&r, body->ledger, sizeof(body->ledger));
	codec_get_bytes(&r, body->commitment, sizeof(body->commitment));
	if (body->key_id == 0)
		r.failed = true;
	return body_end(&r);
}

void
control_policy_encode(codec_writer *w, const control_policy *body)
{
	codec_put_u8(w, CONTROL_VERSION);
	codec_put_u8(w, body->action);
	codec_put_bytes(w, body->ledger, sizeof(body->ledger));
	put_text(w, &body->reason);
}

core_status
control_policy_decode(const uint8_t *in, size_t len, control_policy *body)
{
	codec_reader r;
	core_status status = body_begin(&r, in, len);

	if (status != CORE_OK)
		return status;
	body->action = get_enum(&r, POLICY_RELEASE, POLICY_ACCEPT);
	codec_get_bytes(&r, body->ledger, sizeof(body->ledger));
	get_text(&r, &body->reason);
	return body_end(&r);
}
