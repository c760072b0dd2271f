/*
 * verify_throttle.c
 *	  verity.verify_rate_limit: verification that leaves disks to others.
 *
 * Each process of a verification reads no faster than the limit, averaged
 * over a tenth of a second.  Statement cancel ends the wait.
 */
#include "postgres.h"

#include "compat.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "sql/settings.h"
#include "sql/verify/verify.h"
#include "storage/latch.h"
#include "utils/wait_event.h"

#define WINDOW_BLOCKS_MAX 12800 /* of a tenth of a second, at 1 GB/s */

static instr_time window_start;
static int	window_blocks = 0;

void
verify_throttle(void)
{
	instr_time	now;
	double		due_ms;

	if (likely(verity_verify_rate_limit_mb == 0))
		return;
	if (window_blocks == 0)
		INSTR_TIME_SET_CURRENT(window_start);
	due_ms = ++window_blocks * (double) BLCKSZ * 1000.0 / (verity_verify_rate_limit_mb * 1024.0 * 1024.0);
	if (due_ms < 100 && window_blocks < WINDOW_BLOCKS_MAX)
		return;
	for (;;)
	{
		double		spent_ms;

		INSTR_TIME_SET_CURRENT(now);
		INSTR_TIME_SUBTRACT(now, window_start);
		spent_ms = INSTR_TIME_GET_MILLISEC(now);
		if (spent_ms >= due_ms)
			break;
		/* again until it is due: a worker's queue sets the latch all the time */
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 (long) (due_ms - spent_ms) + 1, VERITY_WAIT_EVENT("VerityVerifyRate"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	window_blocks = 0;
}
