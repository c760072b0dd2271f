/*
 * stop_point.h
 *	  Named points at which a test stops a process, in builds with assertions.
 *
 * VERITY_STOP("name") stands between two steps where a crash must leave
 * nothing half-done.  It is nothing in other builds.  A test arms one point in
 * verity.stop_point, and says in verity.stop_action what happens there.
 */
#ifndef VERITY_STOP_POINT_H
#define VERITY_STOP_POINT_H

#ifdef USE_ASSERT_CHECKING

typedef enum VerityStopAction
{
	STOP_KILL,					/* SIGKILL to this process */
	STOP_FLUSH,					/* the same, with its WAL on disk */
	STOP_SERVER,				/* SIGKILL to the postmaster, too */
	STOP_ABORT,					/* SIGABRT, for a core */
	STOP_WAIT					/* until somebody kills this process */
} VerityStopAction;

extern char *verity_stop_point; /* empty: none armed */
extern int	verity_stop_action;

/* Define the two settings. */
extern void verity_stop_point_init(void);

/* Stop here, if this point is armed and its count has come. */
extern void verity_stop_at(const char *name);

#define VERITY_STOP(name) \
	do { \
		if (verity_stop_point[0] != '\0') \
			verity_stop_at(name); \
	} while (0)

#else

#define VERITY_STOP(name) ((void) 0)

#endif

#endif							/* VERITY_STOP_POINT_H */
