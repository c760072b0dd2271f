/*
 * keys_master.c
 *	  Where the master key comes from: a file or a command.
 *
 * A master key is 32 bytes, written as 64 hexadecimal digits and at most one
 * newline.  Its text and value stand in secure memory only, and in no
 * message; a command's output is never logged.
 *
 * The file must be a regular file of the server's own user that neither group
 * nor others can touch.  A new one is written beside its place with mode 0600,
 * flushed, and linked there if nothing else is: after a crash it is whole or
 * not there, and it is on disk before the keystore that it seals is written.
 *
 * Each backend asks the provider at its first need of a key.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "am/keys/keys_internal.h"
#include "am/stop_point.h"
#include "common/string.h"
#include "crypto/secmem.h"
#include "miscadmin.h"
#include "port.h"
#include "storage/fd.h"

#define KEY_TEXT_MAX 128
#define KEY_DIGITS (2 * MASTER_KEY_SIZE)

#define HINT_KEY_TEXT "A master key is 64 hexadecimal digits, as \"openssl rand -hex 32\" prints them."

/* Describe a problem; returns false. */
bool
keys_problem(KeysProblem *problem, int sqlstate, const char *hint, const char *format,...)
{
	va_list		args;

	problem->sqlstate = sqlstate;
	problem->detail[0] = '\0';
	strlcpy(problem->hint, hint, sizeof(problem->hint));
	va_start(args, format);
	vsnprintf(problem->message, sizeof(problem->message), format, args);
	va_end(args);
	return false;
}

/* Describe a failed system call on a file, by errno; returns false. */
bool
keys_problem_file(KeysProblem *problem, const char *action, const char *path)
{
	int			save_errno = errno;

	keys_problem(problem, ERRCODE_CONFIG_FILE_ERROR,
				 "Check that the server's user owns the file and may use every directory on its path.",
				 "could not %s \"%s\": %s", action, path, strerror(save_errno));
	return false;
}

/* Raise a problem as an error. */
void
keys_problem_raise(const KeysProblem *problem)
{
	ereport(ERROR,
			(errcode(problem->sqlstate),
			 errmsg("%s", problem->message),
			 problem->detail[0] ? errdetail("%s", problem->detail) : 0,
			 errhint("%s", problem->hint)));
}

/* Read up to KEY_TEXT_MAX bytes of an open descriptor; -1 on failure. */
static ssize_t
read_text(int fd, char *text)
{
	size_t		used = 0;

	while (used < KEY_TEXT_MAX)
	{
		ssize_t		got = read(fd, text + used, KEY_TEXT_MAX - used);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		used += got;
	}
	return used;
}

/* Refuse a master key file that somebody else can touch. */
static bool
check_file(int fd, KeysProblem *problem)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return keys_problem_file(problem, "stat master key file", verity_master_key_file);
	if (!S_ISREG(st.st_mode))
		return keys_problem(problem, ERRCODE_CONFIG_FILE_ERROR,
							"Name a regular file in verity.master_key_file, or use verity.master_key_command.",
							"master key file \"%s\" is not a regular file", verity_master_key_file);
	if (st.st_uid != geteuid())
		return keys_problem(problem, ERRCODE_CONFIG_FILE_ERROR,
							"Make the server's user own the file, and run chmod 0600 on it.",
							"master key file \"%s\" is not owned by the server's user",
							verity_master_key_file);
	if (st.st_mode & (S_IRWXG | S_IRWXO))
		return keys_problem(problem, ERRCODE_CONFIG_FILE_ERROR,
							"Run chmod 0600 on the file; make a new key if others may have read this one.",
							"master key file \"%s\" has group or world access",
							verity_master_key_file);
	return true;
}

/* Read the text of a master key from the file. */
static bool
load_key_file(char *text, size_t *len, KeysProblem *problem)
{
	int			fd = OpenTransientFile(verity_master_key_file, O_RDONLY | O_NONBLOCK | PG_BINARY);
	ssize_t		got;
	bool		ok;

	if (fd < 0 && errno == ENOENT)
		return keys_problem(problem, ERRCODE_UNDEFINED_FILE,
							"Restore the file from its safe copy. For a cluster that has no keystore yet, call verity_init_keystore().",
							"master key file \"%s\" does not exist", verity_master_key_file);
	if (fd < 0)
		return keys_problem_file(problem, "open master key file", verity_master_key_file);

	ok = check_file(fd, problem);
	if (ok)
	{
		got = read_text(fd, text);
		ok = got >= 0 || keys_problem_file(problem, "read master key file", verity_master_key_file);
		*len = ok ? got : 0;
	}
	CloseTransientFile(fd);
	return ok;
}

/* Read the text of a master key from the command's output. */
static bool
load_command(char *text, size_t *len, KeysProblem *problem)
{
	FILE	   *pipe = OpenPipeStream(verity_master_key_command, "r");
	ssize_t		got;
	int			status;

	if (pipe == NULL)
		return keys_problem_file(problem, "execute", "verity.master_key_command");

	/* read the descriptor, not the stream: its buffer is not wiped */
	got = read_text(fileno(pipe), text);
	status = ClosePipeStream(pipe);

	/* a cancel went to the command, too: it is the reason, not the failure */
	CHECK_FOR_INTERRUPTS();
	if (got < 0 || status == -1)
		return keys_problem_file(problem, "read the output of", "verity.master_key_command");
	if (status != 0)
	{
		char	   *reason = wait_result_to_str(status);

		keys_problem(problem, ERRCODE_CONFIG_FILE_ERROR,
					 "Run the command as the server's user and see what it says; it must print the key and exit with 0.",
					 "verity.master_key_command failed: %s", reason);
		pfree(reason);
		return false;
	}
	*len = got;
	return true;
}

/* Get the master key from its provider. */
bool
keys_master_load(uint8 key[MASTER_KEY_SIZE], KeysProblem *problem)
{
	bool		from_file = verity_master_key_file[0] != '\0';
	bool		from_command = verity_master_key_command[0] != '\0';
	static char *text = NULL;	/* kept, so that an error does not leak it */
	size_t		len = 0;
	bool		ok;

	if (from_file && from_command)
		return keys_problem(problem, ERRCODE_CONFIG_FILE_ERROR,
							"Set only one of them.",
							"verity.master_key_file and verity.master_key_command are both set");
	if (!from_file && !from_command)
		return keys_problem(problem, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
							"Set verity.master_key_file or verity.master_key_command, and reload the configuration.",
							"no master key is configured");

	if (text == NULL)
		text = secmem_alloc(KEY_TEXT_MAX);
	if (text == NULL)
		return keys_problem(problem, ERRCODE_OUT_OF_MEMORY,
							"Raise the limit of locked memory (ulimit -l).",
							"out of secure memory");
	ok = from_file ? load_key_file(text, &len, problem) : load_command(text, &len, problem);
	if (ok && keystore_parse_master_key(text, len, key) != CORE_OK)
		ok = keys_problem(problem, ERRCODE_CONFIG_FILE_ERROR, HINT_KEY_TEXT,
						  "%s gives no valid master key",
						  from_file ? "verity.master_key_file" : "verity.master_key_command");
	secmem_wipe(text, KEY_TEXT_MAX);
	if (ok)
		ereport(DEBUG1,
				(errmsg_internal("loaded the master key from %s",
								 from_file ? "verity.master_key_file" : "verity.master_key_command")));
	return ok;
}

/* Does verity.master_key_file name a file that does not exist? */
bool
keys_master_file_missing(void)
{
	struct stat st;

	return verity_master_key_file[0] != '\0' && verity_master_key_command[0] == '\0' &&
		stat(verity_master_key_file, &st) != 0 && errno == ENOENT;
}

/* Write the text of a new random key. */
static bool
write_new_key(int fd)
{
	static const char digits[] = "0123456789abcdef";
	uint8	   *key = secmem_alloc(MASTER_KEY_SIZE + KEY_DIGITS + 1);
	char	   *text = (char *) key + MASTER_KEY_SIZE;
	bool		ok;

	if (key == NULL)
	{
		errno = ENOMEM;
		return false;
	}
	secmem_random(key, MASTER_KEY_SIZE);
	for (int i = 0; i < MASTER_KEY_SIZE; i++)
	{
		text[2 * i] = digits[key[i] >> 4];
		text[2 * i + 1] = digits[key[i] & 0x0F];
	}
	text[KEY_DIGITS] = '\n';
	VERITY_STOP("master-key-opened");
	errno = 0;
	ok = write(fd, text, KEY_DIGITS + 1) == KEY_DIGITS + 1;
	if (!ok && errno == 0)
		errno = ENOSPC;
	secmem_free(key);
	return ok;
}

/* Raise the failure to make the master key file, by errno. */
static void
create_failed(const char *action, const char *hint)
{
	ereport(ERROR,
			(errcode_for_file_access(),
			 errmsg("could not %s master key file \"%s\": %m", action, verity_master_key_file),
			 errhint("%s", hint)));
}

/* Where a new key is written before it takes its place. */
static const char *
unfinished_path(void)
{
	static char path[MAXPGPATH];

	/* cut short it could be the key's own name */
	if (snprintf(path, MAXPGPATH, "%s.verity-unfinished", verity_master_key_file) >= MAXPGPATH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the path in verity.master_key_file is too long"),
				 errhint("Choose a path of at most %d bytes.",
						 (int) (MAXPGPATH - 1 - strlen(".verity-unfinished")))));
	return path;
}

/* Remove what a crash left, a second name of the key or a key of nothing. */
void
keys_master_file_tidy(void)
{
	if (verity_master_key_file[0] != '\0')
		(void) unlink(unfinished_path());
}

/* Write a new key to a file beside the master key file, durably. */
static void
write_beside(const char *path)
{
	int			fd;

	fd = OpenTransientFilePerm(path, O_WRONLY | O_CREAT | O_EXCL | PG_BINARY, 0600);
	if (fd < 0)
		create_failed("create", "Name a file in a directory that the server's user can write.");
	if (!write_new_key(fd) || pg_fsync(fd) != 0)
	{
		int			save_errno = errno;

		CloseTransientFile(fd);
		unlink(path);
		errno = save_errno;
		create_failed("write", "Make space on the disk and call verity_init_keystore() again.");
	}
	CloseTransientFile(fd);
}

/* Make the master key file. */
void
keys_master_file_create(void)
{
	char		parent[MAXPGPATH];
	const char *path = unfinished_path();

	write_beside(path);
	VERITY_STOP("master-key-written");
	/* unlike a rename, this replaces no key */
	if (link(path, verity_master_key_file) != 0)
	{
		int			save_errno = errno;

		unlink(path);
		errno = save_errno;
		create_failed("create", "Name a file in a directory that the server's user can write.");
	}
	VERITY_STOP("master-key-linked");
	(void) unlink(path);

	strlcpy(parent, verity_master_key_file, MAXPGPATH);
	get_parent_directory(parent);
	fsync_fname(parent[0] ? parent : ".", true);
}
