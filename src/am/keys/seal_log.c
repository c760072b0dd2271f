/*
 * seal_log.c
 *	  The log of nonces, in builds with assertions only.
 *
 * One file a process, "nonces.<pid>", opened for appending, so that a process
 * id that comes again loses nothing.  A line is: key id, generation id,
 * serial, sequence.  It is written before the record is sealed, unbuffered,
 * so that a killed process leaves no sealing out.
 */
#include "postgres.h"

#ifdef USE_ASSERT_CHECKING

#include <fcntl.h>
#include <unistd.h>

#include "am/keys/seal_log.h"
#include "miscadmin.h"

static int	log_fd = -1;

/* Append a line to this process's file. */
void
verity_log_nonce(const record_header *header, uint64 generation)
{
	char		line[128];
	int			len;

	if (verity_nonce_log_directory[0] == '\0')
		return;
	if (log_fd < 0)
	{
		char		path[MAXPGPATH];

		snprintf(path, MAXPGPATH, "%s/nonces.%d", verity_nonce_log_directory, MyProcPid);
		log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	}
	len = snprintf(line, sizeof(line),
				   UINT64_FORMAT " " UINT64_FORMAT " " UINT64_FORMAT " %u\n",
				   header->key_id, generation, header->id.serial, header->id.sequence);
	if (log_fd < 0 || write(log_fd, line, len) != len)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write the nonce log: %m"),
				 errhint("Set verity.nonce_log_directory to a directory that the server can write.")));
}

#endif
