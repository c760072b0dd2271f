# Shared by the scripts: a work directory that user postgres may read, and a private copy of the server in it.
#
# Nothing is installed into the system's PostgreSQL: its programs, libraries and shared files (45 MB) are copied to
# $work/server, where they find each other, and the extension is installed there.  Sourced, never run.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
pg_config=${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config}

# Run a command as the user that the servers run as: never root.
as_server_user() {
	if [ "$(id -u)" -eq 0 ]; then
		runuser -u postgres -- "$@"
	else
		"$@"
	fi
}

# Make $work: VERITY_WORK if that is set (kept, so that a second run builds only what changed), else a new one.
work_begin() {
	umask 022
	if [ -n "${VERITY_WORK:-}" ]; then
		work=$VERITY_WORK
		mkdir -p "$work"
	else
		work=$(mktemp -d /tmp/verity.XXXXXX)
	fi
	chmod 755 "$work"
	if [ "$(id -u)" -eq 0 ]; then chown postgres: "$work"; fi
	source_copy
}

work_end() {
	if [ -z "${VERITY_WORK:-}" ]; then rm -rf "$work"; fi
}

# Copy the sources to $work/src, keeping times so that make sees what changed; what is gone goes there too.
source_copy() {
	local file
	mkdir -p "$work/src"
	(cd "$work/src" && find . -type f \( -name '*.[ch]' -o -name '*.sql' -o -name '*.spec' -o -name '*.pl' \)) |
		while read -r file; do
			if [ ! -e "$top/$file" ]; then rm "$work/src/$file"; fi
		done
	tar -C "$top" -cf - --exclude=./.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' --exclude='./test/*/bin' \
		--exclude='./test/*/obj' --exclude=./verity--1.0.sql . | tar -C "$work/src" -xpf - --no-same-owner
	if [ "$(id -u)" -eq 0 ]; then chown -R postgres: "$work/src"; fi
}

make_extension() { # make_extension SOURCE [make arguments]
	local source=$1
	shift
	as_server_user make -s -C "$source" -j"$(nproc)" PG_CONFIG="$pg_config" with_llvm=no "$@"
}

# Build with the given make arguments, and install beside a copy of the server.  Sets $bin, $pgxs.
server_build() {
	local dir version
	version=$("$pg_config" --version)
	case $version in
		"PostgreSQL 15"* | "PostgreSQL 16"* | "PostgreSQL 17"* | "PostgreSQL 18"*) ;;
		*)
			echo "verity supports PostgreSQL 15, 16, 17 and 18; $pg_config is of $version" >&2
			return 1
			;;
	esac
	bin=$work/server$("$pg_config" --bindir)
	pgxs=$(dirname "$("$pg_config" --pgxs)")/../..
	if [ ! -x "$bin/postgres" ]; then
		for dir in "$("$pg_config" --bindir)" "$("$pg_config" --pkglibdir)" "$("$pg_config" --sharedir)"; do
			as_server_user mkdir -p "$work/server$dir"
			tar -C "$dir" -chf - --exclude=./bitcode --exclude=./pgxs . | as_server_user tar -C "$work/server$dir" -xf -
		done
	fi
	make_extension "$work/src" "$@"
	make_extension "$work/src" "$@" install DESTDIR="$work/server" >/dev/null
}

# Start a scratch server in $work/NAME with settings from standard input: its socket is $work/NAME/socket.
scratch_start() { # scratch_start NAME PORT [initdb arguments]
	local name=$1 port=$2 at=$work/$1
	shift 2
	as_server_user rm -rf "$at"
	as_server_user mkdir -p "$at/socket"
	as_server_user "$bin/initdb" -D "$at/data" -U postgres -A trust -E UTF8 --no-locale "$@" >/dev/null
	{
		echo "shared_preload_libraries = 'verity'"
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$at/socket'"
		echo "port = $port"
		echo "verity.master_key_file = '$at/master.key'"
		echo "verity.keystore_directory = '$at/keystore'"
		cat
	} | as_server_user tee -a "$at/data/postgresql.conf" >/dev/null
	# SERVER_PROGRAM: what is started in place of postgres, and starts it
	if ! as_server_user "$bin/pg_ctl" -w -s -t 300 -D "$at/data" -l "$at/server.log" ${SERVER_PROGRAM:+-p "$SERVER_PROGRAM"} start; then
		tail -20 "$at/server.log" >&2
		return 1
	fi
}

scratch_stop() { # scratch_stop NAME
	if [ -f "$work/$1/data/postmaster.pid" ]; then
		as_server_user "$bin/pg_ctl" -w -s -t 300 -D "$work/$1/data" -m fast stop
	fi
}
