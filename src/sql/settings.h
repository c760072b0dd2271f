/*
 * settings.h
 *	  The settings of verity, its shared memory and its locks.
 *
 * settings.c defines every variable here, and _PG_init.  The key settings
 * stand in am/keys/keys.h.
 */
#ifndef VERITY_SETTINGS_H
#define VERITY_SETTINGS_H

#include "postgres.h"

#include "storage/lwlock.h"
#include "utils/guc.h"

#define VERITY_REASON_MAX_BYTES 1000

extern bool verity_protect_history; /* read at CREATE EXTENSION only */
extern char *verity_reason;		/* empty: none */
extern char *verity_idempotency_id; /* empty, or a checked uuid */
extern char *verity_as_of;		/* empty: the present */
extern int	verity_standby_wait_ms;
extern int	verity_verify_rate_limit_mb;	/* MB/s for each process; 0: none */
extern int	verity_max_databases;

/* False when text is no uuid; the forms that PostgreSQL's uuid type takes. */
extern bool verity_uuid_parse(const char *text, uint8 out[16]);

/* Hooks of verity.as_of (src/sql/past/asof.c). */
extern bool verity_asof_check(char **newval, void **extra, GucSource source);
extern void verity_asof_assign(const char *newval, void *extra);

/*
 * The fixed locks, each of a tranche of its own, whose name pg_stat_activity
 * shows.  Order: JOURNAL's own locks (embedded in its shared memory) before
 * KEYSTORE before STAT.
 */
typedef enum VerityLock
{
	VERITY_LOCK_KEYSTORE,		/* the keystore file is being changed */
	VERITY_LOCK_JOURNAL,		/* the journal's table of databases */
	VERITY_LOCK_VERIFY,			/* the progress slots of verify */
	VERITY_LOCK_STAT,			/* counters of processes that left */
	VERITY_TRANCHE_JOURNAL,		/* only their tranches are used: a database's */
	VERITY_TRANCHE_SERIALS,		/* journal, and its reserved serials */
	VERITY_LOCK_COUNT
} VerityLock;

extern LWLock *verity_lock(VerityLock which);

/* For LWLockInitialize of locks embedded in a subsystem's shared memory. */
extern int	verity_lock_tranche(VerityLock which);

/*
 * Shared memory of the subsystems: sizes are asked for before it is made,
 * init runs under AddinShmemInitLock at every start (a crash is one), and
 * does its own ShmemInitStruct.
 */
extern Size verity_journal_shmem_size(void);
extern void verity_journal_shmem_init(void);
extern Size verity_verify_shmem_size(void);
extern void verity_verify_shmem_init(void);
extern Size verity_stat_shmem_size(void);
extern void verity_stat_shmem_init(void);
extern Size verity_opened_shmem_size(void);
extern void verity_opened_shmem_init(void);

/* What _PG_init calls of the parts; verity_rmgr_init and _xact_init: am. */
extern void verity_planner_init(void);

/* publication.c */
extern void verity_publication_init(void);
extern void verity_ddl_init(void);
extern void verity_asof_init(void);
extern void verity_stat_init(void);
extern void verity_explain_init(void);

#endif							/* VERITY_SETTINGS_H */
