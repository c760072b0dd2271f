# shellcheck shell=bash disable=SC2154
# Loading, read paths, verification and memory: sourced by run, whose functions and settings it uses.

bench_load() {
	sides=$all_sides compare "COPY of $rows rows" rows/s m_copy
	# what follows needs those rows
	if ! wanted "COPY of $rows rows"; then for db in $all_sides; do m_copy "$db" >"$work/copied"; done; fi
	compare 'count(*)' rows/s m_count
	if wanted 'disk space'; then
		record 'disk space of those rows' bytes "$(size_of heap)" "$(size_of verity)"
		show 'disk space of those rows'
	fi
	bench_scans
	compare 'index build' rows/s m_index
	for db in heap verity; do sql "$db" -c 'SET client_min_messages = warning' -c 'DROP INDEX IF EXISTS wide_a'; done
	bench_verify
}

# Start the server anew with these lines besides its settings: buffers and pool are empty then, the system's cache is not.
restart_with() { # restart_with [LINE…]
	printf '%s\n' "$@" | as_server_user tee "$work/bench/data/postgresql.auto.conf" >"$work/settings"
	as_server_user "$bin/pg_ctl" -w -s -t 300 -D "$work/bench/data" -l "$work/bench/server.log" -m fast restart
}
m_scan_cold() { restart_with && m_scan "$1" 0; }

# What a scan reads decides its speed: all of it stands opened in the pool, nothing does, or the table is three times as
# large as the pool, which is what the default pool is to a table of 192 MB.
bench_scans() {
	local what='full scan reading columns' mb pool
	sides=$all_sides compare "$what, serial, pool warm" rows/s m_scan 0
	sides=$all_sides compare "$what, 2 workers, pool warm" rows/s m_scan 2
	if ! wanted "$what, serial, pool cold" && ! wanted "$what, serial, 3 pools"; then return 0; fi
	warm='' compare "$what, serial, pool cold" rows/s m_scan_cold
	mb=$(($(size_of verity) / 3 / 1048576))
	pool="verity.opened_pool = $((mb > 0 ? mb : 1))MB"
	restart_with "$pool"
	compare "$what, serial, 3 pools" rows/s m_scan 0
	compare "$what, 2 workers, 3 pools" rows/s m_scan 2
	if restart_with "$pool" "verity.cipher_library = 'ipsec-mb'" >"$work/no_ipsec" 2>&1; then
		compare "$what, serial, 3 pools, ipsec-mb" rows/s m_scan 0
	fi
	restart_with
}

# The journal has little in it yet but the load, so that it is the table's records that are verified.
bench_verify() {
	local bytes
	bytes=$(record_bytes wide)
	compare 'verify, one process, no keys : leaf hashes' rows/s m_verify wide false "$bytes"
	compare 'verify, one process, with keys : leaf hashes' rows/s m_verify wide true "$bytes"
	compare 'verify, 2 workers, no keys : 1 worker' rows/s m_workers
}

m_updated() { # in heap's place: the fresh table
	local table=updated
	if [ "$1" = heap ]; then table=fresh; fi
	per_second "$((rows / 5))" "$(seconds_of verity "SELECT sum(a), max(b), count(c) FROM $table" 'max_parallel_workers_per_gather = 0')"
}
m_hot() { # in heap's place: the row with one version
	local id=1
	if [ "$1" = heap ]; then id=2; fi
	echo "SELECT v, pad FROM hot WHERE id = $id" >"$work/bench/hot.sql"
	tps_of verity 1 -f "$work/bench/hot.sql"
}

# Current rows after ten updates of each, and a vacuum.
updated_make() {
	sql verity -c "CREATE TABLE fresh AS SELECT * FROM wide LIMIT $rows / 5" -c 'CREATE TABLE updated AS TABLE fresh' -c 'VACUUM fresh'
	for _ in 1 2 3 4 5 6 7 8 9 10; do sql verity -c "UPDATE updated SET d = d + interval '1 second'"; done
	sql verity -c 'VACUUM updated'
}

# A row of many versions, each a transaction's, beside one of one.
hot_make() {
	sql verity -c 'CREATE TABLE hot (id int PRIMARY KEY, v int, pad text)' -c "INSERT INTO hot SELECT g, 0, repeat('x', 80) FROM generate_series(1, 2) g"
	echo 'UPDATE hot SET v = v + 1 WHERE id = 1' >"$work/bench/update.sql"
	at verity env PGOPTIONS='-c synchronous_commit=off' "$bin/pgbench" -n -c 1 -t "$versions" -f "$work/bench/update.sql" >"$work/hot.log" 2>&1
	sql verity -c 'VACUUM ANALYZE hot'
}

# Milliseconds of reading the row by its key as of 10,000 versions ago, with the round trip of psql.
as_of_ms() {
	{
		echo "SET verity.as_of = '$(($(sql verity -c 'SELECT verity_position()') - ago))';"
		echo '\timing on'
		for _ in $(seq 1000); do echo 'SELECT v, pad FROM hot WHERE id = 1;'; done
	} >"$work/bench/as_of.sql"
	sql verity -f "$work/bench/as_of.sql" | sed -nE 's/^Time: ([0-9.]+) ms.*/\1/p' | median
}

bench_read() {
	if wanted 'scan after 10 updates : fresh table'; then
		updated_make
		compare 'scan after 10 updates : fresh table' rows/s m_updated
	fi
	if wanted "row of $versions versions : fresh row" || wanted 'by key as of'; then
		hot_make
		compare "row of $versions versions : fresh row" tps m_hot
		record "by key as of $ago versions ago" ms - "$(as_of_ms)"
		show "by key as of $ago versions ago"
	fi
}

# The most private memory, in MB, that a session and its workers have while they run a statement.
children_kb() {
	local child
	for child in $(cat "/proc/$1/task/$1/children"); do cat "/proc/$child/status" 2>/dev/null || true; done | awk '/^RssAnon/ {s += $2} END {print s + 0}'
}
peak_mb() { # peak_mb DATABASE STATEMENT
	local postmaster before most=0 now session
	postmaster=$(head -1 "$work/bench/data/postmaster.pid")
	before=$(children_kb "$postmaster")
	sql "$1" -c "$2" >"$work/peak.log" &
	session=$!
	while kill -0 "$session" 2>/dev/null; do
		now=$(children_kb "$postmaster")
		if [ "$now" -gt "$most" ]; then most=$now; fi
		sleep 0.05
	done
	wait "$session"
	awk -v a="$before" -v b="$most" 'BEGIN {printf "%.1f\n", (b > a ? b - a : 0) / 1024}'
}
memory() { # memory LABEL HEAP-STATEMENT VERITY-STATEMENT
	local h v
	wanted "$1" || return 0
	h=$(peak_mb heap "$2") v=$(peak_mb verity "$3")
	record "$1" MB "$h" "$v"
	show "$1"
}

bench_memory() {
	memory 'memory of verify : count(*)' 'SELECT count(*) FROM wide' "SELECT count(*) FROM verity_verify('wide', with_keys => true)"
	memory "memory, $load_rows rows at once" \
		"CREATE TABLE loaded AS SELECT g AS a, md5(g::text) AS b FROM generate_series(1, $load_rows) g" \
		"CREATE TABLE loaded AS SELECT g AS a, md5(g::text) AS b FROM generate_series(1, $load_rows) g"
}
