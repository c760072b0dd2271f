/*
 * fuzz.h
 *	  What the fuzz targets share.  holds() is an assertion that stays in any
 *	  build; a target only says what has to hold of what was accepted.
 */
#ifndef VERITY_FUZZ_H
#define VERITY_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define holds(condition) \
	do { \
		if (!(condition)) \
		{ \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif							/* VERITY_FUZZ_H */
