/*
 * tap.h
 *	  What the unit tests share: TAP output, hexadecimal, tampering.
 *
 * A test program calls ok() and is_status() and ends with
 * return tap_done().  Loops count what went wrong and report once.
 */
#ifndef VERITY_TAP_H
#define VERITY_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chain/status.h"

static int	tap_count;
static int	tap_failures;

__attribute__((format(printf, 2, 3)))
static inline bool
ok(bool holds, const char *format,...)
{
	va_list		args;

	printf("%sok %d - ", holds ? "" : "not ", ++tap_count);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	if (!holds)
		tap_failures++;
	return holds;
}

static inline bool
is_status(core_status got, core_status expected, const char *what)
{
	bool		holds = ok(got == expected, "%s", what);

	if (!holds)
		printf("#   got status %d, expected %d\n", (int) got, (int) expected);
	return holds;
}

static inline bool
is_count(unsigned long got, unsigned long expected, const char *what)
{
	bool		holds = ok(got == expected, "%s", what);

	if (!holds)
		printf("#   got %lu, expected %lu\n", got, expected);
	return holds;
}

static inline int
tap_done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failures == 0 ? 0 : 1;
}

/* What a test cannot go on without. */
static inline void
must(core_status status)
{
	if (status != CORE_OK)
	{
		printf("Bail out! a call that the test builds on gave status %d\n", (int) status);
		exit(1);
	}
}

/* Bytes of a hexadecimal literal; returns how many. */
static inline size_t
unhex(const char *hex, void *out)
{
	unsigned char *bytes = out;
	size_t		len = strlen(hex) / 2;

	for (size_t i = 0; i < len; i++)
	{
		unsigned int byte;

		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			abort();
		bytes[i] = (unsigned char) byte;
	}
	return len;
}

/*
 * A copy of exactly this size on the heap, so that the address sanitizer sees
 * a read past its end.  The caller frees it.
 */
static inline void *
heap_copy(const void *data, size_t len)
{
	void	   *copy = malloc(len > 0 ? len : 1);

	if (copy == NULL)
		abort();
	if (len > 0)
		memcpy(copy, data, len);
	return copy;
}

/* Reproducible garbage (xorshift). */
static inline unsigned long
garbage_next(unsigned long *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static inline void
garbage_fill(unsigned long *state, void *out, size_t len)
{
	unsigned char *bytes = out;

	for (size_t i = 0; i < len; i++)
		bytes[i] = (unsigned char) (garbage_next(state) >> 24);
}

#endif							/* VERITY_TAP_H */
