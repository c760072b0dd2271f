/*
 * asof_setting.c
 *	  verity.as_of: from its text to the position that is read.
 *
 * A position is checked, and a time resolved to one, when the setting is made:
 * where waiting for an undecided position holds no lock of the query yet, and
 * so that SHOW and parallel workers say and read the very same position.
 *
 * The setting applies to the security context in which it was made, and to
 * ordinary ones: a SECURITY DEFINER function reads the present, unless it made
 * the setting itself.  Context and position are the setting's "extra", which
 * the GUC machinery restores with the text.
 */
#include "postgres.h"

#include "compat.h"
#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/walreceiver.h"
#include "storage/latch.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/plancache.h"
#include "utils/timestamp.h"

#include "am/asof.h"
#include "am/journal/xact.h"
#include "sql/settings.h"

#define STANDBY_POLL_MS 10

/*
 * Between reading the clock and being in WAL a commit takes a moment; what a
 * standby heard this much later proves that nothing earlier is on its way.
 */
#define STANDBY_MARGIN_MS 1000

#define OTHER_CONTEXTS (SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION)

typedef struct AsofSetting
{
	VerityPosition position;	/* 0: the present */
	Oid			user;			/* who made the setting, */
	int			context;		/* and in which security context */
} AsofSetting;

static AsofSetting current;

/* Set by verity_asof_scope_begin for the one check that it causes. */
static bool checking_own_query = false;

void
verity_asof_check_position(VerityPosition position)
{
	VerityPosition last;

	if (!verity_journal_exists())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database has no journal"),
				 errhint("Run CREATE EXTENSION verity in this database.")));
	last = verity_journal_last();
	if (position > last)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("position " UINT64_FORMAT " is in the future", position),
				 errdetail("The journal's last position is " UINT64_FORMAT ".", last),
				 errhint("Use a position from verity.journal, or a time that has passed.")));
	verity_journal_wait_decided(position);
}

/* --- times --- */

/* Has a standby replayed every entry up to this time? */
static bool
replayed_past(TimestampTz time)
{
	TimestampTz later = TimestampTzPlusMilliseconds(time, STANDBY_MARGIN_MS);
	TimestampTz heard;
	XLogRecPtr	end;

	/* times in the journal only rise */
	if (verity_position_at(time) < verity_journal_last() || GetLatestXTime() > later)
		return true;

	/* an idle primary: all that it had when it last spoke is replayed */
	SpinLockAcquire(&WalRcv->mutex);
	heard = WalRcv->lastMsgSendTime;
	end = WalRcv->latestWalEnd;
	SpinLockRelease(&WalRcv->mutex);
	return heard > later && end != InvalidXLogRecPtr && GetXLogReplayRecPtr(NULL) >= end;
}

static void
wait_replayed(TimestampTz time)
{
	TimestampTz start = GetCurrentTimestamp();

	while (RecoveryInProgress() && !replayed_past(time))
	{
		if (TimestampDifferenceExceeds(start, GetCurrentTimestamp(), verity_standby_wait_ms))
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("the standby may not have replayed all of the journal up to %s",
							timestamptz_to_str(time)),
					 errhint("Try again, raise verity.standby_wait, or give a position.")));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 STANDBY_POLL_MS, VERITY_WAIT_EVENT("VerityStandbyReplay"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

VerityPosition
verity_asof_time_position(TimestampTz time)
{
	VerityPosition position;

	if (!verity_journal_exists())
		verity_asof_check_position(0);
	if (time > GetCurrentTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time %s is in the future", timestamptz_to_str(time)),
				 errhint("Use a position from verity.journal, or a time that has passed.")));
	wait_replayed(time);
	position = verity_position_at(time);
	if (position == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time %s is before the journal's beginning", timestamptz_to_str(time)),
				 errhint("SELECT min(\"time\") FROM verity.journal tells when it began.")));
	verity_journal_wait_decided(position);
	return position;
}

/* As timestamptz's input function, but false instead of an error. */
static bool
parse_time(const char *text, TimestampTz *time)
{
	char		work[MAXDATELEN + MAXDATEFIELDS];
	char	   *field[MAXDATEFIELDS];
	int			ftype[MAXDATEFIELDS];
	int			fields;
	int			dtype;
	struct pg_tm tm;
	fsec_t		fsec;
	int			tz;
	DateTimeErrorExtra extra;

	if (ParseDateTime(text, work, sizeof(work), field, ftype, MAXDATEFIELDS, &fields) != 0 ||
		DecodeDateTime(field, ftype, fields, &dtype, &tm, &fsec, &tz, &extra) != 0)
		return false;
	switch (dtype)
	{
		case DTK_DATE:
			return tm2timestamp(&tm, fsec, &tz, time) == 0;
		case DTK_EPOCH:
			*time = SetEpochTimestamp();
			return true;
		case DTK_LATE:
			TIMESTAMP_NOEND(*time);
			return true;
		case DTK_EARLY:
			TIMESTAMP_NOBEGIN(*time);
			return true;
		default:
			return false;
	}
}

/* --- the setting --- */

/* Parse the text: digits are a position, all else a time (*position is 0 then). */
static bool
parse_setting(const char *text, VerityPosition *position, TimestampTz *time)
{
	*position = 0;
	if (strspn(text, "0123456789") == strlen(text))
	{
		errno = 0;
		*position = strtou64(text, NULL, 10);
		if (errno != 0)
			*position = PG_UINT64_MAX;	/* surely in the future */
		if (*position == 0)
		{
			GUC_check_errdetail("Positions begin at 1.");
			GUC_check_errhint("RESET verity.as_of reads the present.");
			return false;
		}
		return true;
	}
	if (parse_time(text, time))
		return true;
	GUC_check_errdetail("It is neither a journal position nor a time.");
	GUC_check_errhint("Use a position from verity.journal, or a time such as '2026-01-31 12:00+00'.");
	return false;
}

/* May the setting be made here and now?  own_query: by a function for its query. */
static bool
may_set(GucSource source, bool own_query)
{
	if (source < PGC_S_CLIENT || !IsTransactionState() || !OidIsValid(MyDatabaseId))
	{
		GUC_check_errdetail("It can be set in a session only.");
		return false;
	}
	if (!own_query && TransactionIdIsValid(GetTopTransactionIdIfAny()))
	{
		GUC_check_errcode(ERRCODE_ACTIVE_SQL_TRANSACTION);
		GUC_check_errmsg("cannot set verity.as_of in a transaction that has written");
		GUC_check_errhint("Commit first, or read the past through verity_query_at().");
		return false;
	}
	return true;
}

/* Put the resolved position in the text's place. */
static bool
replace_text(char **newval, VerityPosition position)
{
	char		text[32];
	char	   *copy;

	snprintf(text, sizeof(text), UINT64_FORMAT, position);
	copy = guc_strdup(LOG, text);
	if (copy == NULL)
		return false;
	guc_free(*newval);
	*newval = copy;
	return true;
}

bool
verity_asof_check(char **newval, void **extra, GucSource source)
{
	bool		own_query = checking_own_query;
	AsofSetting setting = {0};
	TimestampTz time = 0;

	checking_own_query = false;
	if (**newval != '\0')
	{
		if (!parse_setting(*newval, &setting.position, &time))
			return false;
		/* of a worker the leader has checked it; PGC_S_TEST is for later use */
		if (!InitializingParallelWorker && source != PGC_S_TEST)
		{
			if (!may_set(source, own_query))
				return false;
			if (setting.position == 0)
				setting.position = verity_asof_time_position(time);
			else
				verity_asof_check_position(setting.position);
			if (!replace_text(newval, setting.position))
				return false;
			GetUserIdAndSecContext(&setting.user, &setting.context);
		}
	}
	*extra = guc_malloc(LOG, sizeof(AsofSetting));
	if (*extra == NULL)
		return false;
	memcpy(*extra, &setting, sizeof(AsofSetting));
	return true;
}

void
verity_asof_assign(const char *newval, void *extra)
{
	VerityPosition before = current.position;

	if (extra)
		current = *(AsofSetting *) extra;
	else
		memset(&current, 0, sizeof(current));
	/* plans were made for the indexes and proofs of another time */
	if (current.position != before)
		ResetPlanCache();
}

VerityPosition
verity_asof_setting(void)
{
	return current.position;
}

VerityPosition
verity_asof_active(void)
{
	Oid			user;
	int			context;

	if (likely(current.position == 0))
		return 0;
	GetUserIdAndSecContext(&user, &context);
	if ((context & OTHER_CONTEXTS) == 0 ||
		(user == current.user && context == current.context))
		return current.position;
	return 0;
}

bool
verity_asof_workers_agree(VerityPosition position)
{
	Oid			user;
	int			context;

	if (likely(current.position == 0))
		return position == 0;
	GetUserIdAndSecContext(&user, &context);
	if ((current.context & OTHER_CONTEXTS) != 0)
		return false;
	return position == ((context & OTHER_CONTEXTS) == 0 ? current.position : 0);
}

int
verity_asof_scope_begin(VerityPosition position)
{
	int			nest_level = NewGUCNestLevel();
	char		text[32];

	snprintf(text, sizeof(text), UINT64_FORMAT, position);
	checking_own_query = true;
	(void) set_config_option("verity.as_of", text, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	return nest_level;
}

void
verity_asof_scope_end(int nest_level)
{
	AtEOXact_GUC(true, nest_level);
}
