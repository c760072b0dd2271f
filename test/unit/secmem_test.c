/*
 * secmem_test.c
 *	  Memory for secrets: alignment, guards, wiping, randomness.
 */
#include <signal.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/secmem.h"
#include "tap.h"

static void
test_alloc(void)
{
	unsigned long bad = 0;

	for (size_t size = 0; size <= 300; size++)
	{
		unsigned char *p = secmem_alloc(size);

		bad += p == NULL || (uintptr_t) p % 16 != 0;
		if (p != NULL)
			memset(p, 0x5a, size);
		secmem_free(p);
	}
	is_count(bad, 0, "blocks of any size are aligned and can be written");
	ok(secmem_alloc(SIZE_MAX) == NULL && secmem_alloc(SIZE_MAX - 15) == NULL,
	   "sizes that no memory has are refused");
	secmem_free(NULL);
}

/* True when writing at p kills the process. */
static bool
write_kills(volatile unsigned char *p)
{
	int			status;
	pid_t		child = fork();

	if (child == 0)
	{
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		*p = 1;
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return false;
	return WIFSIGNALED(status);
}

static void
test_guards(void)
{
	unsigned char *p = secmem_alloc(32);

	ok(!write_kills(p + 31), "the last byte of a block can be written");
	ok(write_kills(p + 32), "the byte behind a block cannot");
	secmem_free(p);
	ok(write_kills(p), "a block that was freed is gone");
}

static void
test_wipe_and_random(void)
{
	unsigned char a[64] = {1};
	unsigned char b[64] = {1};
	static const unsigned char zeros[64];

	secmem_random(a, sizeof(a));
	secmem_random(b, sizeof(b));
	ok(memcmp(a, b, sizeof(a)) != 0 && memcmp(a, zeros, sizeof(a)) != 0, "random bytes are random");
	secmem_wipe(a, sizeof(a));
	ok(memcmp(a, zeros, sizeof(a)) == 0, "wiped bytes are zero");
}

int
main(void)
{
	is_status(secmem_init(), CORE_OK, "libsodium starts");
	is_status(secmem_init(), CORE_OK, "starting it again does nothing");
	test_alloc();
	test_guards();
	test_wipe_and_random();
	return tap_done();
}
