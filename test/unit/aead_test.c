/*
 * aead_test.c
 *	  AES-256-GCM: vectors of the GCM specification that NIST published
 *	  (test cases 13, 14 and 16), tampering, contexts that are used again; by
 *	  each library, and by one what the other sealed.
 */
#include "crypto/aead.h"
#include "tap.h"

#define TEXT_MAX 128

typedef struct gcm_vector
{
	const char *name;
	const char *key;
	const char *nonce;
	const char *aad;
	const char *plain;
	const char *cipher;
	const char *tag;
} gcm_vector;

static const gcm_vector vectors[] = {
	{"test case 13, no text",
		"0000000000000000000000000000000000000000000000000000000000000000",
	"000000000000000000000000", "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
	{"test case 14, one block",
		"0000000000000000000000000000000000000000000000000000000000000000",
		"000000000000000000000000", "", "00000000000000000000000000000000",
	"cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"},
	{"test case 16, associated data",
		"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
		"cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
		"d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
		"1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
		"522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
		"8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
	"76fc6ece0f4e1768cddf8853bb2d551b"},
};

static void
test_vector(const gcm_vector *v)
{
	uint8_t		key[AEAD_KEY_SIZE];
	uint8_t		nonce[AEAD_NONCE_SIZE];
	uint8_t		aad[TEXT_MAX];
	uint8_t		plain[TEXT_MAX];
	uint8_t		cipher[TEXT_MAX];
	uint8_t		tag[AEAD_TAG_SIZE];
	uint8_t		out[TEXT_MAX];
	uint8_t		out_tag[AEAD_TAG_SIZE];
	size_t		aad_len = unhex(v->aad, aad);
	size_t		len = unhex(v->plain, plain);
	aead_context *context;

	unhex(v->key, key);
	unhex(v->nonce, nonce);
	unhex(v->cipher, cipher);
	unhex(v->tag, tag);
	must(aead_new(key, &context));

	/* twice each, so that the kept contexts are used again */
	for (int i = 0; i < 2; i++)
	{
		is_status(aead_seal(context, nonce, aad, aad_len, plain, len, out, out_tag), CORE_OK, v->name);
		ok(memcmp(out, cipher, len) == 0 && memcmp(out_tag, tag, sizeof(tag)) == 0, "seals as published");
		is_status(aead_open(context, nonce, aad, aad_len, cipher, len, tag, out), CORE_OK, v->name);
		ok(memcmp(out, plain, len) == 0, "opens as published");
	}
	memcpy(out, plain, len);
	must(aead_seal(context, nonce, aad, aad_len, out, len, out, out_tag));
	ok(memcmp(out, cipher, len) == 0 && memcmp(out_tag, tag, sizeof(tag)) == 0, "seals in place");
	must(aead_open(context, nonce, aad, aad_len, out, len, out_tag, out));
	ok(memcmp(out, plain, len) == 0, "opens in place");
	aead_free(context);
}

static const uint8_t sample_key[AEAD_KEY_SIZE] = {1, 2, 3};

/* What a record is made of, all of which has to be right to open it. */
typedef struct sealed
{
	uint8_t		nonce[AEAD_NONCE_SIZE];
	uint8_t		aad[20];
	uint8_t		cipher[33];
	uint8_t		tag[AEAD_TAG_SIZE];
} sealed;

static core_status
open_sealed(aead_context *context, const sealed *s, uint8_t out[sizeof(s->cipher)])
{
	return aead_open(context, s->nonce, s->aad, sizeof(s->aad), s->cipher, sizeof(s->cipher), s->tag, out);
}

static void
test_tampering(void)
{
	static const uint8_t plain[sizeof(((sealed *) 0)->cipher)] = "a value that is nobody's concern";
	static const uint8_t zeros[sizeof(plain)];
	aead_context *context;
	sealed		s = {0};
	uint8_t	   *bytes = (uint8_t *) &s;
	uint8_t		out[sizeof(plain)];
	unsigned long opened = 0;
	unsigned long released = 0;

	must(aead_new(sample_key, &context));
	must(aead_seal(context, s.nonce, s.aad, sizeof(s.aad), plain, sizeof(plain), s.cipher, s.tag));
	for (size_t bit = 0; bit < sizeof(s) * 8; bit++)
	{
		bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
		memset(out, 0xee, sizeof(out));
		opened += open_sealed(context, &s, out) != CORE_E_AUTH;
		released += memcmp(out, zeros, sizeof(out)) != 0;
		bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
	}
	is_count(opened, 0, "a change of any bit of nonce, associated data, text or tag is found");
	is_count(released, 0, "nothing unverified is released");
	is_status(open_sealed(context, &s, out), CORE_OK, "after failures the context still opens");
	ok(memcmp(out, plain, sizeof(plain)) == 0, "and opens the right text");

	opened = 0;
	for (size_t len = 0; len < sizeof(s.cipher); len++)
		opened += aead_open(context, s.nonce, s.aad, sizeof(s.aad), s.cipher, len, s.tag, out) != CORE_E_AUTH;
	for (size_t len = 0; len < sizeof(s.aad); len++)
		opened += aead_open(context, s.nonce, s.aad, len, s.cipher, sizeof(s.cipher), s.tag, out) != CORE_E_AUTH;
	is_count(opened, 0, "text or associated data cut short is found");
	aead_free(context);
}

static void
test_other_key(void)
{
	uint8_t		other_key[AEAD_KEY_SIZE] = {1, 2, 4};
	aead_context *context;
	aead_context *other;
	sealed		s = {0};
	uint8_t		out[sizeof(s.cipher)];

	must(aead_new(sample_key, &context));
	must(aead_new(other_key, &other));
	must(aead_seal(context, s.nonce, s.aad, sizeof(s.aad), s.cipher, sizeof(s.cipher), s.cipher, s.tag));
	is_status(open_sealed(other, &s, out), CORE_E_AUTH, "another key does not open");
	aead_free(context);
	is_status(open_sealed(other, &s, out), CORE_E_AUTH, "freeing one context leaves another alone");
	aead_free(other);
	aead_free(NULL);
}

/* Sealing and opening by turns: neither direction disturbs the other. */
static void
test_turns(void)
{
	aead_context *context;
	unsigned long state = 7;
	unsigned long wrong = 0;

	must(aead_new(sample_key, &context));
	for (int i = 0; i < 2000; i++)
	{
		sealed		s;
		size_t		len = garbage_next(&state) % (sizeof(s.cipher) + 1);
		uint8_t		plain[sizeof(s.cipher)];
		uint8_t		out[sizeof(s.cipher)];

		garbage_fill(&state, &s, sizeof(s));
		garbage_fill(&state, plain, sizeof(plain));
		must(aead_seal(context, s.nonce, s.aad, sizeof(s.aad), plain, len, s.cipher, s.tag));
		if (i % 3 == 0)
			wrong += aead_open(context, s.nonce, s.aad, sizeof(s.aad) - 1, s.cipher, len, s.tag, out) != CORE_E_AUTH;
		wrong += aead_open(context, s.nonce, s.aad, sizeof(s.aad), s.cipher, len, s.tag, out) != CORE_OK;
		wrong += memcmp(plain, out, len) != 0;
	}
	is_count(wrong, 0, "sealing and opening by turns is right every time");
	aead_free(context);
}

static void
test_limits(void)
{
	aead_context *context;
	uint8_t		tag[AEAD_TAG_SIZE] = {0};
	uint8_t		byte = 0;

	must(aead_new(sample_key, &context));
	is_status(aead_seal(context, tag, NULL, 0, &byte, (size_t) 1 << 31, &byte, tag), CORE_E_LIMIT,
			  "a text over 2 GB is not sealed");
	is_status(aead_open(context, tag, &byte, (size_t) 1 << 31, &byte, 1, tag, &byte), CORE_E_LIMIT,
			  "associated data over 2 GB is not taken");
	is_status(aead_seal(context, tag, NULL, 0, NULL, 0, NULL, tag), CORE_OK, "nothing at all can be sealed");
	aead_free(context);
}

/* Texts of every length up to some blocks, sealed by one library and opened by the other. */
static void
test_both(void)
{
	aead_context *context[2];
	unsigned long state = 11;
	unsigned long wrong = 0;

	must(aead_use(AEAD_OPENSSL));
	must(aead_new(sample_key, &context[0]));
	must(aead_use(AEAD_IPSEC_MB));
	must(aead_new(sample_key, &context[1]));
	for (size_t len = 0; len < 3000; len++)
	{
		uint8_t		nonce[AEAD_NONCE_SIZE];
		uint8_t		aad[TEXT_MAX];
		uint8_t		plain[3000];
		uint8_t		cipher[2][3000];
		uint8_t		tag[2][AEAD_TAG_SIZE];
		size_t		aad_len = len % sizeof(aad);

		garbage_fill(&state, nonce, sizeof(nonce));
		garbage_fill(&state, aad, aad_len);
		garbage_fill(&state, plain, len);
		for (int i = 0; i < 2; i++)
			must(aead_seal(context[i], nonce, aad, aad_len, plain, len, cipher[i], tag[i]));
		wrong += memcmp(cipher[0], cipher[1], len) != 0 || memcmp(tag[0], tag[1], sizeof(tag[0])) != 0;
		for (int i = 0; i < 2; i++)
			wrong += aead_open(context[i], nonce, aad, aad_len, cipher[!i], len, tag[!i], cipher[!i]) != CORE_OK ||
				memcmp(cipher[!i], plain, len) != 0;
	}
	is_count(wrong, 0, "both libraries write the same bytes, and open each other's");
	aead_free(context[0]);
	aead_free(context[1]);
}

static void
test_library(void)
{
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
		test_vector(&vectors[i]);
	test_tampering();
	test_other_key();
	test_turns();
	test_limits();
}

int
main(void)
{
	test_library();
#ifdef __x86_64__
	must(aead_use(AEAD_IPSEC_MB));
	test_library();
	test_both();
#endif
	return tap_done();
}
