/*
 * keys_file.c
 *	  The keystore's directory: its file, its lock, what stands on disk.
 *
 *	  keystore       the sealed keystore (crypto/keystore.h), followed by the
 *	                 SHA-256 of it, so that damage is told from a wrong key
 *	  keystore.new   a successor that is being written
 *	  lock           flock()ed by whoever changes the directory
 *
 * The directory is outside the data directory by default (the data
 * directory's name with ".keystore" behind it): no backup of the data holds a
 * key, not even a sealed one.
 *
 * A change writes and flushes keystore.new and renames it: after a crash the
 * file is the old or the new one as a whole, and a key is on disk before
 * anything is sealed with it.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "access/xlog.h"
#include "am/keys/keys_internal.h"
#include "am/stop_point.h"
#include "miscadmin.h"
#include "port.h"
#include "storage/fd.h"

#define KEYSTORE_FILE_MAX (256 * 1024 * 1024)
#define LOCK_TRIES_MAX 100
#define LOCK_PAUSE_US 100000

#define HINT_RESTORE "Restore the keystore directory from its newest copy; it must hold every key that sealed a record."

/* The directory that holds the keystore. */
const char *
keys_directory(void)
{
	static char path[MAXPGPATH];

	if (verity_keystore_directory[0] != '\0')
		strlcpy(path, verity_keystore_directory, MAXPGPATH);
	else
		snprintf(path, MAXPGPATH, "%s.keystore", DataDir);
	canonicalize_path(path);
	return path;
}

/* The keystore's file. */
const char *
keys_file_path(void)
{
	static char path[MAXPGPATH];

	snprintf(path, MAXPGPATH, "%s/keystore", keys_directory());
	return path;
}

/* Does the directory lie where a backup of the data would take it along? */
bool
keys_directory_inside_data(void)
{
	char		data[PATH_MAX];
	char		keys[PATH_MAX];

	if (realpath(DataDir, data) == NULL || realpath(keys_directory(), keys) == NULL)
		return path_is_prefix_of_path(DataDir, keys_directory());
	return path_is_prefix_of_path(data, keys);
}

/* Make the directory with mode 0700, where it does not exist. */
void
keys_directory_create(void)
{
	const char *path = keys_directory();
	char		parent[MAXPGPATH];

	if (mkdir(path, S_IRWXU) != 0)
	{
		if (errno == EEXIST)
			return;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create keystore directory \"%s\": %m", path),
				 errhint("Set verity.keystore_directory to a directory that the server's user can make, outside the data directory.")));
	}
	strlcpy(parent, path, MAXPGPATH);
	get_parent_directory(parent);
	fsync_fname(parent[0] ? parent : ".", true);
}

/* Identity of the file now. */
bool
keys_file_stat(struct stat *st)
{
	return stat(keys_file_path(), st) == 0;
}

/* Read all of an open file. */
static bool
read_whole(int fd, uint8 **data, size_t *len, struct stat *st, KeysProblem *problem)
{
	size_t		used = 0;

	if (fstat(fd, st) != 0)
		return keys_problem_file(problem, "stat keystore", keys_file_path());
	if (st->st_size <= HASH_SIZE || st->st_size > KEYSTORE_FILE_MAX)
		return keys_problem(problem, ERRCODE_DATA_CORRUPTED, HINT_RESTORE,
							"keystore \"%s\" is damaged", keys_file_path());

	*len = st->st_size;
	*data = palloc(*len);
	while (used < *len)
	{
		ssize_t		got = read(fd, *data + used, *len - used);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return keys_problem_file(problem, "read keystore", keys_file_path());
		used += got;
	}
	return true;
}

/* Check a file's checksum, format and, unless any will do, cluster; *len loses the checksum. */
static bool
check_whole(const uint8 *data, size_t *len, bool any_cluster, KeysProblem *problem)
{
	uint64		system_identifier;
	hash256		checksum;
	core_status status;

	*len -= HASH_SIZE;
	if (hash_sha256(data, *len, &checksum) != CORE_OK)
		return keys_problem(problem, ERRCODE_INTERNAL_ERROR,
							"Check the OpenSSL installation and its providers.",
							"could not compute SHA-256");
	if (memcmp(checksum.bytes, data + *len, HASH_SIZE) != 0)
		return keys_problem(problem, ERRCODE_DATA_CORRUPTED, HINT_RESTORE,
							"keystore \"%s\" is damaged", keys_file_path());

	status = keystore_peek(data, *len, &system_identifier);
	if (status == CORE_E_VERSION)
		return keys_problem(problem, ERRCODE_FEATURE_NOT_SUPPORTED,
							"Install a version of verity that is at least as new as the one that wrote it.",
							"keystore \"%s\" has an unknown format version", keys_file_path());
	if (status != CORE_OK)
		return keys_problem(problem, ERRCODE_DATA_CORRUPTED, HINT_RESTORE,
							"\"%s\" is not a keystore", keys_file_path());
	if (!any_cluster && system_identifier != GetSystemIdentifier())
	{
		keys_problem(problem, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					 "Set verity.keystore_directory to this cluster's own keystore. After pg_upgrade, call verity_adopt_keystore() as a superuser.",
					 "keystore \"%s\" belongs to another cluster", keys_file_path());
		snprintf(problem->detail, sizeof(problem->detail),
				 "Its system identifier is " UINT64_FORMAT ", this cluster's is " UINT64_FORMAT ".",
				 system_identifier, GetSystemIdentifier());
		return false;
	}
	return true;
}

/* Read the sealed keystore. */
bool
keys_file_read(bool any_cluster, uint8 **sealed, size_t *len, struct stat *st, KeysProblem *problem)
{
	int			fd = OpenTransientFile(keys_file_path(), O_RDONLY | PG_BINARY);
	bool		ok;

	*sealed = NULL;
	if (fd < 0 && errno == ENOENT)
		return keys_problem(problem, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
							"Set verity.keystore_directory to the cluster's keystore. If there never was one, call verity_init_keystore() as a superuser.",
							"keystore \"%s\" does not exist", keys_file_path());
	if (fd < 0)
		return keys_problem_file(problem, "open keystore", keys_file_path());

	ok = read_whole(fd, sealed, len, st, problem) && check_whole(*sealed, len, any_cluster, problem);
	CloseTransientFile(fd);
	if (!ok && *sealed != NULL)
	{
		pfree(*sealed);
		*sealed = NULL;
	}
	return ok;
}

/* Raise the failure to write a new keystore, by errno. */
static void
write_failed(int fd, const char *path)
{
	int			save_errno = errno != 0 ? errno : ENOSPC;

	if (fd >= 0)
		CloseTransientFile(fd);
	unlink(path);
	errno = save_errno;
	ereport(ERROR,
			(errcode_for_file_access(),
			 errmsg("could not write keystore \"%s\": %m", path),
			 errhint("Check that the server's user can write the keystore directory and that its disk has space.")));
}

/* Replace the keystore's file, durably. */
void
keys_file_write(const uint8 *sealed, size_t len)
{
	char		path[MAXPGPATH];
	hash256		checksum;
	int			fd;

	snprintf(path, MAXPGPATH, "%s/keystore.new", keys_directory());
	if (hash_sha256(sealed, len, &checksum) != CORE_OK)
		elog(ERROR, "could not compute SHA-256");

	fd = OpenTransientFilePerm(path, O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY, 0600);
	errno = fd < 0 ? errno : 0;
	if (fd < 0 || write(fd, sealed, len) != (ssize_t) len)
		write_failed(fd, path);
	VERITY_STOP("keystore-partial");
	if (write(fd, checksum.bytes, HASH_SIZE) != HASH_SIZE)
		write_failed(fd, path);
	VERITY_STOP("keystore-written");
	if (CloseTransientFile(fd) != 0)
		write_failed(-1, path);

	VERITY_STOP("keystore-closed");
	/* flushes the file before the rename and the directory after it */
	(void) durable_rename(path, keys_file_path(), ERROR);
	VERITY_STOP("keystore-renamed");
}

/* Lock the directory; waits a bounded time. */
int
keys_file_lock(void)
{
	char		path[MAXPGPATH];
	int			fd;

	snprintf(path, MAXPGPATH, "%s/lock", keys_directory());
	fd = OpenTransientFilePerm(path, O_RDWR | O_CREAT | PG_BINARY, 0600);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open keystore lock file \"%s\": %m", path),
				 errhint("Check that the server's user can write the keystore directory.")));

	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; i++)
	{
		if (i >= LOCK_TRIES_MAX)
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("keystore \"%s\" is locked by another process", keys_directory()),
					 errhint("See which other server or tool uses this keystore directory.")));
		pg_usleep(LOCK_PAUSE_US);
	}
	return fd;
}

/* Closing the lock file unlocks it. */
void
keys_file_unlock(int fd)
{
	CloseTransientFile(fd);
}
