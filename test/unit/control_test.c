/*
 * control_test.c
 *	  Bodies of control entries: each comes back, cut short it is refused, and
 *	  every byte of it matters.
 */
#include "chain/control.h"
#include "tap.h"

#define BODY_MAX 512
#define MEMBERS_MAX 4

/* Any body, with the room that some need. */
typedef struct any_body
{
	union
	{
		control_genesis genesis;
		control_generation generation;
		control_void voided;
		control_schema schema;
		control_key key;
		control_policy policy;
	}			of;
	control_void_member members[MEMBERS_MAX];
} any_body;

typedef struct body_case
{
	const char *name;
	void		(*make) (any_body *body);
	void		(*encode) (codec_writer *w, const any_body *body);
	core_status (*decode) (const uint8_t *in, size_t len, any_body *body);
} body_case;

static control_text
text(const char *s)
{
	return (control_text) {s, (uint32_t) strlen(s)};
}

static void
make_genesis(any_body *body)
{
	control_genesis *genesis = &body->of.genesis;

	memset(genesis->journal_id, 0x11, 16);
	genesis->system_identifier = UINT64_C(7123456789012345678);
	genesis->database_oid = 16384;
	genesis->protect_history = 1;
	genesis->database_name = text("clinic");
}

static void
make_generation(any_body *body)
{
	control_generation *generation = &body->of.generation;

	generation->number = 3;
	generation->id = UINT64_MAX;
	memset(generation->salt, 0x22, GENERATION_SALT_SIZE);
	generation->cause = GENERATION_RECOVERY;
	generation->first_serial = 4097;
	generation->good = 10;
	generation->doubt_first = 11;
	generation->doubt_last = 12;
	generation->voided = 1;
}

static void
make_void(any_body *body)
{
	body->members[0] = (control_void_member) {9, 90};
	body->members[1] = (control_void_member) {7, 70};
	body->of.voided = (control_void) {2, body->members};
}

static void
make_schema(any_body *body)
{
	control_schema *schema = &body->of.schema;

	schema->action = SCHEMA_ALTER;
	memset(schema->ledger, 0x33, LEDGER_ID_SIZE);
	schema->ledger_number = 5;
	schema->relation_oid = 16400;
	schema->version = 2;
	memset(schema->digest.bytes, 0x44, HASH_SIZE);
	schema->name = text("public.patients");
	schema->definition = text("column 1 id uuid\n");
}

static void
make_key(any_body *body)
{
	body->of.key.key_id = 77;
	memset(body->of.key.commitment, 0x55, 32);
}

static void
make_policy(any_body *body)
{
	body->of.policy.action = POLICY_RELEASE;
	body->of.policy.reason = text("");
}

#define BODY_FUNCTIONS(kind) \
	static void \
	encode_##kind(codec_writer *w, const any_body *body) \
	{ \
		control_##kind##_encode(w, &body->of.kind); \
	} \
	static core_status \
	decode_##kind(const uint8_t *in, size_t len, any_body *body) \
	{ \
		return control_##kind##_decode(in, len, &body->of.kind); \
	}

BODY_FUNCTIONS(genesis)
BODY_FUNCTIONS(generation)
BODY_FUNCTIONS(schema)
BODY_FUNCTIONS(key)
BODY_FUNCTIONS(policy)

static void
encode_void(codec_writer *w, const any_body *body)
{
	control_void_encode(w, &body->of.voided);
}

static core_status
decode_void(const uint8_t *in, size_t len, any_body *body)
{
	return control_void_decode(in, len, &body->of.voided, body->members, MEMBERS_MAX);
}

static const body_case cases[] = {
	{"genesis", make_genesis, encode_genesis, decode_genesis},
	{"generation", make_generation, encode_generation, decode_generation},
	{"void", make_void, encode_void, decode_void},
	{"schema", make_schema, encode_schema, decode_schema},
	{"key", make_key, encode_key, decode_key},
	{"policy", make_policy, encode_policy, decode_policy},
};

static size_t
encode(const body_case *c, const any_body *body, uint8_t bytes[BODY_MAX])
{
	codec_writer w;

	codec_writer_init(&w, bytes, BODY_MAX);
	c->encode(&w, body);
	if (w.failed)
		abort();
	return w.used;
}

/* Any single changed bit is refused or comes back when encoded again. */
static unsigned long
count_lost_bits(const body_case *c, uint8_t *bytes, size_t used)
{
	unsigned long lost = 0;

	for (size_t bit = 0; bit < used * 8; bit++)
	{
		any_body	back;
		uint8_t		again[BODY_MAX];

		bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
		if (c->decode(bytes, used, &back) == CORE_OK)
			lost += encode(c, &back, again) != used || memcmp(bytes, again, used) != 0;
		bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
	}
	return lost;
}

static void
test_body(const body_case *c)
{
	any_body	body;
	any_body	back;
	uint8_t		bytes[BODY_MAX];
	uint8_t		again[BODY_MAX];
	size_t		used;
	unsigned long accepted = 0;

	memset(&body, 0, sizeof(body));
	c->make(&body);
	used = encode(c, &body, bytes);
	ok(c->decode(bytes, used, &back) == CORE_OK, "%s decodes", c->name);
	ok(encode(c, &back, again) == used && memcmp(bytes, again, used) == 0, "%s comes back", c->name);

	for (size_t len = 0; len < used; len++)
	{
		uint8_t    *copy = heap_copy(bytes, len);

		accepted += c->decode(copy, len, &back) != CORE_E_FORMAT;
		free(copy);
	}
	ok(accepted == 0, "%s cut short anywhere is refused", c->name);
	bytes[used] = 0;
	ok(c->decode(bytes, used + 1, &back) == CORE_E_FORMAT, "%s with a byte too many is refused", c->name);
	ok(count_lost_bits(c, bytes, used) == 0, "no bit of %s is without meaning", c->name);
	bytes[0]++;
	ok(c->decode(bytes, used, &back) == CORE_E_VERSION, "a later version of %s is refused as such", c->name);
}

static void
test_fields(void)
{
	any_body	body;
	any_body	back;
	uint8_t		bytes[BODY_MAX];
	size_t		used;

	memset(&body, 0, sizeof(body));
	make_schema(&body);
	used = encode(&cases[3], &body, bytes);
	must(cases[3].decode(bytes, used, &back));
	ok(back.of.schema.name.len == 15 && memcmp(back.of.schema.name.data, "public.patients", 15) == 0,
	   "a text points into the body");
	ok(back.of.schema.relation_oid == 16400 && back.of.schema.version == 2, "numbers come back");

	make_void(&body);
	used = encode(&cases[2], &body, bytes);
	must(cases[2].decode(bytes, used, &back));
	ok(back.of.voided.count == 2 && back.of.voided.members[1].position == 7 &&
	   back.of.voided.members[1].serial == 70, "members of a void come back");
	is_status(control_void_decode(bytes, used, &back.of.voided, back.members, 1), CORE_E_LIMIT,
			  "more members than there is room for are refused");
}

/* Change one field, encode, and see that decoding refuses it. */
static void
test_values_refused(void)
{
	any_body	body;
	any_body	back;
	uint8_t		bytes[BODY_MAX];

#define REFUSED(index, change, what) \
	do { \
		memset(&body, 0, sizeof(body)); \
		cases[index].make(&body); \
		change; \
		is_status(cases[index].decode(bytes, encode(&cases[index], &body, bytes), &back), \
				  CORE_E_FORMAT, what); \
	} while (0)

	REFUSED(0, body.of.genesis.protect_history = 2, "protection is yes or no");
	REFUSED(1, body.of.generation.cause = 0, "a generation's cause is known");
	REFUSED(1, body.of.generation.number = 0, "generations count from one");
	REFUSED(1, body.of.generation.doubt_first = 13, "the range in doubt is not turned around");
	REFUSED(2, body.members[0].position = 0, "a void position is not zero");
	REFUSED(3, body.of.schema.action = 5, "a schema action is known");
	REFUSED(4, body.of.key.key_id = 0, "a key id is not zero");
	REFUSED(5, body.of.policy.action = 9, "a policy action is known");
}

int
main(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		test_body(&cases[i]);
	test_fields();
	test_values_refused();
	return tap_done();
}
