/*
 * full_disk.c
 *	  LD_PRELOAD shim: a disk that runs full, or fails, when a test says so.
 *
 * While the file named by FULL_DISK_FLAG exists, writes that would make a file
 * longer fail with ENOSPC, if the file's path contains the text that the flag
 * file holds ("/base/", "/pg_wal/", "keystore").  Overwriting goes on working,
 * as on a real full disk.
 *
 * "/base/ 20" in the flag file: of all reads, writes and flushes of such files,
 * one in 20 fails with EIO instead.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/*
 * Does the flag file speak of this descriptor's file?  *one_in is the number
 * behind the pattern, 0 where there is none.
 */
static int
is_meant(int fd, int *one_in)
{
	const char *flag = getenv("FULL_DISK_FLAG");
	char		pattern[64];
	char		link[64];
	char		path[4096];
	char	   *number;
	int			flag_fd;
	ssize_t		len;

	if (flag == NULL || (flag_fd = (int) syscall(SYS_openat, AT_FDCWD, flag, O_RDONLY, 0)) < 0)
		return 0;
	len = syscall(SYS_read, flag_fd, pattern, sizeof(pattern) - 1);
	syscall(SYS_close, flag_fd);
	if (len <= 0)
		return 0;
	pattern[len] = '\0';
	pattern[strcspn(pattern, "\n")] = '\0';
	number = strchr(pattern, ' ');
	*one_in = number == NULL ? 0 : atoi(number + 1);
	if (number != NULL)
		*number = '\0';
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len <= 0)
		return 0;
	path[len] = '\0';
	return strstr(path, pattern) != NULL;
}

static int
is_full(int fd)
{
	int			one_in;

	return is_meant(fd, &one_in) && one_in == 0;
}

/* Does this call fail? */
static int
fails(int fd)
{
	static unsigned int state;
	struct timespec now;
	int			one_in;

	if (!is_meant(fd, &one_in) || one_in == 0)
		return 0;
	if (state == 0)
	{
		clock_gettime(CLOCK_MONOTONIC, &now);
		state = (unsigned int) now.tv_nsec ^ (unsigned int) getpid();
	}
	if (rand_r(&state) % one_in != 0)
		return 0;
	errno = EIO;
	return 1;
}

/* Would a write up to here make the file longer, on a full disk? */
static int
no_room(int fd, off_t end)
{
	struct stat st;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || end <= st.st_size || !is_full(fd))
		return 0;
	errno = ENOSPC;
	return 1;
}

ssize_t
pwrite64(int fd, const void *buf, size_t count, off_t offset)
{
	if (fails(fd) || no_room(fd, offset + (off_t) count))
		return -1;
	return syscall(SYS_pwrite64, fd, buf, count, offset);
}

ssize_t
pread64(int fd, void *buf, size_t count, off_t offset)
{
	return fails(fd) ? -1 : syscall(SYS_pread64, fd, buf, count, offset);
}

ssize_t
pread(int fd, void *buf, size_t count, off_t offset)
{
	return pread64(fd, buf, count, offset);
}

ssize_t
read(int fd, void *buf, size_t count)
{
	return fails(fd) ? -1 : syscall(SYS_read, fd, buf, count);
}

int
fsync(int fd)
{
	return fails(fd) ? -1 : (int) syscall(SYS_fsync, fd);
}

int
fdatasync(int fd)
{
	return fails(fd) ? -1 : (int) syscall(SYS_fdatasync, fd);
}

ssize_t
pwrite(int fd, const void *buf, size_t count, off_t offset)
{
	return pwrite64(fd, buf, count, offset);
}

ssize_t
write(int fd, const void *buf, size_t count)
{
	off_t		at = lseek(fd, 0, SEEK_CUR);

	if (fails(fd) || (at >= 0 && no_room(fd, at + (off_t) count)))
		return -1;
	return syscall(SYS_write, fd, buf, count);
}

static ssize_t
vector_end(const struct iovec *iov, int count, off_t offset)
{
	for (int i = 0; i < count; i++)
		offset += (off_t) iov[i].iov_len;
	return offset;
}

ssize_t
pwritev64(int fd, const struct iovec *iov, int count, off_t offset)
{
	if (fails(fd) || no_room(fd, vector_end(iov, count, offset)))
		return -1;
	return syscall(SYS_pwritev, fd, iov, count, offset, 0);
}

ssize_t
pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
	return pwritev64(fd, iov, count, offset);
}

int
posix_fallocate64(int fd, off_t offset, off_t len)
{
	static int	(*next) (int, off_t, off_t);

	if (no_room(fd, offset + len))
		return ENOSPC;
	if (next == NULL)
		next = (int (*) (int, off_t, off_t)) dlsym(RTLD_NEXT, "posix_fallocate64");
	return next(fd, offset, len);
}

int
posix_fallocate(int fd, off_t offset, off_t len)
{
	return posix_fallocate64(fd, offset, len);
}
