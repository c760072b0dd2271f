/*
 * settings.c
 *	  Loading the library: settings, shared memory, and the parts' hooks.
 *
 * The library must be in shared_preload_libraries, for its resource manager
 * and its shared memory.  Where it is not, loading it is FATAL and not only an
 * error: psql and pg_restore go on after an error, and would restore verity
 * tables as plain ones.
 *
 * Shared memory is made at every start of the server, a restart after a
 * backend's crash included.
 */
#include "postgres.h"

#include "am/keys/keys.h"
#include "am/keys/opened.h"
#include "am/keys/seal.h"
#include "am/keys/seal_log.h"
#include "am/wal.h"
#include "am/journal/xact.h"
#include "am/stop_point.h"
#include "am/vacuum/vacuum.h"
#include "crypto/aead.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "sql/index_only.h"
#include "sql/settings.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

PG_MODULE_MAGIC;

/* Names of the locks, as wait events show them. */
static const char *const lock_names[VERITY_LOCK_COUNT] = {
	[VERITY_LOCK_KEYSTORE] = "VerityKeystore",
	[VERITY_LOCK_JOURNAL] = "VerityJournalTable",
	[VERITY_LOCK_VERIFY] = "VerityVerifyProgress",
	[VERITY_LOCK_STAT] = "VerityStat",
	[VERITY_TRANCHE_JOURNAL] = "VerityJournal",
	[VERITY_TRANCHE_SERIALS] = "VeritySerials",
};

void		_PG_init(void);

char	   *verity_master_key_file;
char	   *verity_master_key_command;
char	   *verity_keystore_directory;
int			verity_cipher_library;
bool		verity_protect_history;
char	   *verity_reason;
char	   *verity_idempotency_id;
char	   *verity_as_of;
int			verity_standby_wait_ms;
int			verity_verify_rate_limit_mb;
int			verity_max_databases;
#ifdef USE_ASSERT_CHECKING
char	   *verity_nonce_log_directory;
#endif

static const struct config_enum_entry cipher_libraries[] = {
	{"openssl", AEAD_OPENSSL, false},
	{"ipsec-mb", AEAD_IPSEC_MB, false},
	{NULL, 0, false}
};

static shmem_request_hook_type prev_shmem_request_hook;
static shmem_startup_hook_type prev_shmem_startup_hook;

/* The value of a hexadecimal digit, -1 where it is none. */
static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Parse a uuid: 32 digits, hyphens after any group of four, maybe braces. */
bool
verity_uuid_parse(const char *text, uint8 out[16])
{
	bool		braces = *text == '{';
	const char *p = text + braces;

	for (int i = 0; i < 16; i++)
	{
		int			high = hex_value(p[0]);
		int			low = high < 0 ? -1 : hex_value(p[1]);

		if (low < 0)
			return false;
		out[i] = (uint8) (high << 4 | low);
		p += 2;
		if (i % 2 == 1 && i < 15 && *p == '-')
			p++;
	}
	if (braces && *p++ != '}')
		return false;
	return *p == '\0';
}

/* A reason has a limit, for it stands in the journal for good. */
static bool
check_reason(char **newval, void **extra, GucSource source)
{
	if (strlen(*newval) <= VERITY_REASON_MAX_BYTES)
		return true;
	GUC_check_errdetail("A reason has at most %d bytes.", VERITY_REASON_MAX_BYTES);
	return false;
}

/* An idempotency id is a uuid. */
static bool
check_idempotency_id(char **newval, void **extra, GucSource source)
{
	uint8		uuid[16];

	if (**newval == '\0' || verity_uuid_parse(*newval, uuid))
		return true;
	GUC_check_errdetail("An idempotency id is a uuid, such as gen_random_uuid() makes.");
	return false;
}

/* Where keys live. */
static void
define_key_settings(void)
{
	DefineCustomStringVariable("verity.master_key_file",
							   "File that holds the master key.",
							   "64 hexadecimal digits; the server's user owns it, and nobody else can read it. "
							   "Set this or verity.master_key_command.",
							   &verity_master_key_file, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("verity.master_key_command",
							   "Shell command that prints the master key.",
							   "It prints 64 hexadecimal digits and exits with 0. "
							   "Each session that needs a key runs it once.",
							   &verity_master_key_command, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("verity.keystore_directory",
							   "Directory of the cluster's keystore.",
							   "Empty: beside the data directory, with \".keystore\" behind its name. "
							   "It should not be inside the data directory, where backups would take it along.",
							   &verity_keystore_directory, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomEnumVariable("verity.cipher_library",
							 "Library that encrypts and decrypts records.",
							 "openssl, which can be a FIPS provider, or Intel's ipsec-mb, "
							 "which spends less time on a short record. What is stored is the same.",
							 &verity_cipher_library, AEAD_OPENSSL, cipher_libraries,
							 PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("verity.opened_pool",
							"Shared memory that keeps records opened.",
							"What is in it is not decrypted again when it is read again. Zero is no pool.",
							&verity_opened_pool_mb, 64, 0, 1024 * 1024,
							PGC_POSTMASTER, GUC_UNIT_MB, NULL, NULL, NULL);
#ifdef USE_ASSERT_CHECKING
	DefineCustomStringVariable("verity.nonce_log_directory",
							   "Directory in which every nonce that seals a record is logged.",
							   "For tests; only in builds with assertions.",
							   &verity_nonce_log_directory, "",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY | GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
#endif
}

/* What a session says about its transactions, and which time it reads. */
static void
define_session_settings(void)
{
	DefineCustomStringVariable("verity.reason",
							   "Why this transaction writes, for its journal entry.",
							   "At most 1000 bytes. SET LOCAL gives it to one transaction.",
							   &verity_reason, "",
							   PGC_USERSET, 0, check_reason, NULL, NULL);
	DefineCustomStringVariable("verity.idempotency_id",
							   "A uuid that no other commit of this role may have.",
							   "SET LOCAL gives it to one transaction; a second commit with it fails, "
							   "and verity_committed() tells whether there was a first.",
							   &verity_idempotency_id, "",
							   PGC_USERSET, 0, check_idempotency_id, NULL, NULL);
	DefineCustomStringVariable("verity.as_of",
							   "The position or time as of which verity tables are read.",
							   "A journal position or a timestamp; empty reads the present. "
							   "Roles other than superusers need GRANT SET ON PARAMETER.",
							   &verity_as_of, "",
							   PGC_SUSET, 0, verity_asof_check, verity_asof_assign, NULL);
}

/* What the cluster's journals are. */
static void
define_journal_settings(void)
{
	DefineCustomBoolVariable("verity.protect_history",
							 "Whether a journal that is created protects its tables' history.",
							 "Read at CREATE EXTENSION only, and final in the genesis entry. "
							 "When off, verity tables can be dropped, truncated and rewritten like others.",
							 &verity_protect_history, true,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("verity.standby_wait",
							"How long a standby waits for a position to be decided.",
							"After it, reading as of that position is an error.",
							&verity_standby_wait_ms, 5000, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("verity.verify_rate_limit",
							"How much a process of a verification reads in a second.",
							"Zero is no limit.",
							&verity_verify_rate_limit_mb, 0, 0, 100000,
							PGC_USERSET, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("verity.max_databases",
							"How many databases of the cluster can have a journal in use.",
							"Each takes a slot in shared memory when it is first used after a start.",
							&verity_max_databases, 64, 1, 10000,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
}

/* Ask for shared memory and locks. */
static void
request_shared_memory(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	for (int i = 0; i < VERITY_LOCK_COUNT; i++)
		RequestNamedLWLockTranche(lock_names[i], 1);
	RequestAddinShmemSpace(verity_journal_shmem_size());
	RequestAddinShmemSpace(verity_verify_shmem_size());
	RequestAddinShmemSpace(verity_stat_shmem_size());
	RequestAddinShmemSpace(verity_opened_shmem_size());
}

/* Make shared memory. */
static void
startup_shared_memory(void)
{
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	verity_journal_shmem_init();
	verity_verify_shmem_init();
	verity_stat_shmem_init();
	verity_opened_shmem_init();
	LWLockRelease(AddinShmemInitLock);
}

/* The fixed lock of this name. */
LWLock *
verity_lock(VerityLock which)
{
	static LWLockPadded *locks[VERITY_LOCK_COUNT];

	Assert(which < VERITY_LOCK_COUNT);
	if (locks[which] == NULL)
		locks[which] = GetNamedLWLockTranche(lock_names[which]);
	return &locks[which]->lock;
}

/* The tranche of locks that are embedded elsewhere. */
int
verity_lock_tranche(VerityLock which)
{
	return verity_lock(which)->tranche;
}

/* Load the library. */
void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(FATAL,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("verity must be loaded via shared_preload_libraries"),
				 errhint("Add verity to shared_preload_libraries in postgresql.conf and restart the server.")));

	define_key_settings();
	define_session_settings();
	define_journal_settings();
#ifdef USE_ASSERT_CHECKING
	verity_stop_point_init();
#endif
	MarkGUCPrefixReserved("verity");
	verity_seal_init();

	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_shared_memory;

	verity_rmgr_init();
	verity_xact_init();
	verity_all_visible_init();
	verity_planner_init();
	verity_index_only_init();
	verity_publication_init();
	verity_ddl_init();
	verity_asof_init();
	verity_stat_init();
	verity_explain_init();
}
