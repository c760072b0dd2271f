/*
 * stop_point.c
 *	  Stopping at a named point: the settings that arm one, and what happens.
 *
 * verity.stop_point is 'name', or 'name:n' for the n-th time that this process
 * comes there; 'any:n' counts every point.  The count begins anew when the
 * setting is given a value.
 *
 * A process may stop in a critical section and with locks held.  Nothing here
 * allocates, reports or takes a lock, but for the flush of WAL.
 */
#include "postgres.h"

#ifdef USE_ASSERT_CHECKING

#include <signal.h>
#include <unistd.h>

#include "access/xlog.h"
#include "am/stop_point.h"
#include "miscadmin.h"
#include "storage/pmsignal.h"
#include "utils/guc.h"

#define ANY_POINT "any"
#define WAIT_PAUSE_US 10000

char	   *verity_stop_point;
int			verity_stop_action = STOP_KILL;

static long passes_left = 1;

static const struct config_enum_entry actions[] = {
	{"kill", STOP_KILL, false},
	{"flush", STOP_FLUSH, false},
	{"server", STOP_SERVER, false},
	{"abort", STOP_ABORT, false},
	{"wait", STOP_WAIT, false},
	{NULL, 0, false}
};

/* Count anew from the number behind the colon, or from one. */
static void
assign_stop_point(const char *newval, void *extra)
{
	const char *colon = strchr(newval, ':');

	passes_left = colon != NULL ? Max(atol(colon + 1), 1) : 1;
}

void
verity_stop_point_init(void)
{
	DefineCustomStringVariable("verity.stop_point",
							   "The point at which a process is stopped.",
							   "For tests; only in builds with assertions.",
							   &verity_stop_point, "",
							   PGC_SUSET, GUC_SUPERUSER_ONLY | GUC_NOT_IN_SAMPLE,
							   NULL, assign_stop_point, NULL);
	DefineCustomEnumVariable("verity.stop_action",
							 "What happens to a process at its stop point.",
							 "For tests; only in builds with assertions.",
							 &verity_stop_action, STOP_KILL, actions,
							 PGC_SUSET, GUC_SUPERUSER_ONLY | GUC_NOT_IN_SAMPLE,
							 NULL, NULL, NULL);
}

/* Is this the point that is armed? */
static bool
is_armed(const char *name)
{
	size_t		len = strcspn(verity_stop_point, ":");

	return (strlen(name) == len && strncmp(name, verity_stop_point, len) == 0) ||
		(len == strlen(ANY_POINT) && strncmp(ANY_POINT, verity_stop_point, len) == 0);
}

void
verity_stop_at(const char *name)
{
	if (!is_armed(name) || --passes_left != 0)
		return;
	switch ((VerityStopAction) verity_stop_action)
	{
		case STOP_FLUSH:
			if (!RecoveryInProgress() && !XLogRecPtrIsInvalid(XactLastRecEnd))
				XLogFlush(XactLastRecEnd);
			break;
		case STOP_SERVER:
			kill(PostmasterPid, SIGKILL);
			break;
		case STOP_ABORT:
			abort();
		case STOP_WAIT:
			while (PostmasterIsAlive())
				pg_usleep(WAIT_PAUSE_US);
			break;
		case STOP_KILL:
			break;
	}
	kill(MyProcPid, SIGKILL);
	/* the signal may arrive a moment later */
	for (;;)
		pause();
}

#endif
