/*
 * kdf_test.c
 *	  HKDF-SHA256 (RFC 5869 appendix A.1 to A.3), HMAC-SHA256 (RFC 4231), and
 *	  that derived keys are separate.
 */
#include "crypto/kdf.h"
#include "tap.h"

static void
test_rfc5869(const char *name, const char *ikm_hex, const char *salt_hex, const char *info_hex,
			 const char *okm_hex)
{
	uint8_t		ikm[96];
	uint8_t		salt[96];
	uint8_t		info[96];
	uint8_t		expected[96];
	uint8_t		okm[96];
	size_t		ikm_len = unhex(ikm_hex, ikm);
	size_t		salt_len = unhex(salt_hex, salt);
	size_t		info_len = unhex(info_hex, info);
	size_t		len = unhex(okm_hex, expected);

	must(kdf_hkdf(ikm, ikm_len, salt_len > 0 ? salt : NULL, salt_len, info, info_len, okm, len));
	ok(memcmp(okm, expected, len) == 0, "RFC 5869 %s", name);
}

static void
test_hkdf_vectors(void)
{
	test_rfc5869("A.1", "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
				 "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9",
				 "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
				 "34007208d5b887185865");
	test_rfc5869("A.2",
				 "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
				 "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"
				 "404142434445464748494a4b4c4d4e4f",
				 "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f"
				 "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"
				 "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
				 "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecf"
				 "d0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeef"
				 "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
				 "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
				 "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
				 "cc30c58179ec3e87c14c01d5c1f3434f1d87");
	test_rfc5869("A.3", "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "",
				 "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
				 "9d201395faa4b61a96c8");
}

/* A key shorter than HMAC's block is padded with zeros, so 32 bytes serve. */
static void
test_hmac_vectors(void)
{
	uint8_t		key[32] = {0};
	uint8_t		expected[32];
	uint8_t		got[32];

	memset(key, 0x0b, 20);
	unhex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7", expected);
	must(kdf_hmac(key, "Hi There", 8, got));
	ok(memcmp(got, expected, 32) == 0, "RFC 4231 test case 1");

	memset(key, 0, sizeof(key));
	memcpy(key, "Jefe", 4);
	unhex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843", expected);
	must(kdf_hmac(key, "what do ya want for nothing?", 28, got));
	ok(memcmp(got, expected, 32) == 0, "RFC 4231 test case 2");
}

static void
test_uses_are_separate(void)
{
	static const char *const infos[] = {
		KDF_INFO_RECORDS, KDF_INFO_COMMITMENT, KDF_INFO_JOURNAL, KDF_INFO_KEYSTORE,
		KDF_INFO_INDEX, KDF_INFO_STATISTICS
	};
	enum { USES = sizeof(infos) / sizeof(infos[0]) };
	uint8_t		key[32] = {1};
	uint8_t		salt[2][32] = {{1}, {2}};
	uint8_t		derived[2 * USES][32];
	unsigned long same = 0;

	for (int i = 0; i < 2 * USES; i++)
		must(kdf_derive(key, salt[i % 2], 32, infos[i / 2], derived[i], 32));
	for (int i = 0; i < 2 * USES; i++)
	{
		for (int j = 0; j < i; j++)
			same += memcmp(derived[i], derived[j], 32) == 0;
	}
	is_count(same, 0, "each use and each salt gives another key");
}

static void
test_commitment(void)
{
	uint8_t		key[32] = {1};
	uint8_t		commitment[32];
	uint8_t		derived[32];
	uint8_t		other[32];

	must(kdf_commitment(key, commitment));
	must(kdf_derive(key, NULL, 0, KDF_INFO_COMMITMENT, derived, 32));
	ok(memcmp(commitment, derived, 32) == 0, "a commitment is derived with its own info");
	key[31] ^= 1;
	must(kdf_commitment(key, other));
	ok(memcmp(commitment, other, 32) != 0, "another key has another commitment");
}

static void
test_limits(void)
{
	static uint8_t out[255 * 32 + 1];
	uint8_t		key[32] = {1};

	is_status(kdf_derive(key, NULL, 0, "x", out, sizeof(out)), CORE_E_LIMIT, "HKDF gives at most 255 hashes");
	is_status(kdf_derive(key, NULL, 0, "x", out, sizeof(out) - 1), CORE_OK, "and it gives these");
	is_status(kdf_derive(key, NULL, 0, "x", out, 0), CORE_E_LIMIT, "no bytes cannot be asked for");
}

int
main(void)
{
	test_hkdf_vectors();
	test_hmac_vectors();
	test_uses_are_separate();
	test_commitment();
	test_limits();
	return tap_done();
}
