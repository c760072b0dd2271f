# Read paths, verification and memory: sourced by run, whose functions it uses.
#
# Where not heap and verity are compared, the name of the row says what stands in heap's column.  VERSIONS is how many a
# hot row has (100000), LOAD_ROWS how many rows one transaction loads where memory is measured (2000000).
if [ -n "${QUICK:-}" ]; then : "${VERSIONS:=12000}" "${LOAD_ROWS:=200000}"; fi
versions=${VERSIONS:-100000} load_rows=${LOAD_ROWS:-2000000} ago=10000

wanted() { [[ $1 =~ ${ONLY:-} ]]; }

# One measurement, as in run: a rate, more being better.
m_scan_with() { # m_scan_with DATABASE WORKERS
	per_second "$rows" "$(seconds_of "$1" "SET max_parallel_workers_per_gather = $2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
		SELECT sum(a), max(b), count(c) FROM wide")"
}
m_index() {
	sql "$1" -c 'SET client_min_messages = warning; DROP INDEX IF EXISTS wide_a'
	per_second "$rows" "$(seconds_of "$1" 'SET max_parallel_maintenance_workers = 0; CREATE INDEX wide_a ON wide (a)')"
}
m_updated() { # in heap's place: the fresh table
	local table=updated
	if [ "$1" = heap ]; then table=fresh; fi
	per_second "$((rows / 5))" "$(seconds_of verity "SET max_parallel_workers_per_gather = 0; SELECT sum(a), max(b), count(c) FROM $table")"
}
m_hot() { # in heap's place: the row with one version
	local id=1
	if [ "$1" = heap ]; then id=2; fi
	echo "SELECT v, pad FROM hot WHERE id = $id" >"$work/bench/hot.sql"
	tps_of verity 1 -f "$work/bench/hot.sql"
}
verify_rate() { per_second "$rows" "$(seconds_of verity "SELECT count(*) FROM verity_verify('wide', with_keys => false, workers => $1)")"; }
m_verify() { # in heap's place: hashing leaves of those records' size, and nothing else
	if [ "$1" = verity ]; then verify_rate 0; return; fi
	as_server_user test/bench/core_bench "$record_bytes" | awk '/^leaf_ns/ {print 1e9 / $2}'
}
m_workers() { if [ "$1" = heap ]; then verify_rate 1; else verify_rate 2; fi; }

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
	if ! wanted "$1"; then return 0; fi
	h=$(peak_mb heap "$2") v=$(peak_mb verity "$3")
	printf '%-36s %12.1f %12.1f  %-8s %+6.1f\n' "$1" "$h" "$v" MB "$(awk -v h="$h" -v v="$v" 'BEGIN {print v - h}')"
}

bench_read() {
	compare 'full scan reading columns, serial' rows/s m_scan_with 0
	compare 'full scan, two parallel workers' rows/s m_scan_with 2
	compare 'index build' rows/s m_index
	for db in heap verity; do sql "$db" -c 'DROP INDEX IF EXISTS wide_a' 2>"$work/notice.log"; done
	if wanted 'scan after 10 updates : fresh table'; then
		updated_make
		compare 'scan after 10 updates : fresh table' rows/s m_updated
	fi
	if wanted "row of $versions versions : fresh row" || wanted 'as of'; then
		hot_make
		compare "row of $versions versions : fresh row" tps m_hot
		printf '%-36s %25s  %-8s %6.3f\n' "by key as of $ago versions ago" '' ms "$(as_of_ms)"
	fi
	record_bytes=$(sql verity -c "SELECT split_part(found, ' ', 5)::bigint / split_part(found, ' ', 1)::bigint
		FROM verity_verify('wide', with_keys => false) WHERE object = 'public.wide' AND check_name = 'summary'")
	as_server_user make -s -C test/bench
	compare 'verify, one process : leaf hashes' rows/s m_verify
	compare 'verify, 2 workers : 1 worker' rows/s m_workers
	memory 'memory of verify : count(*)' 'SELECT count(*) FROM wide' "SELECT count(*) FROM verity_verify('wide', with_keys => true)"
	memory "memory, $load_rows rows at once" \
		"CREATE TABLE loaded AS SELECT g AS a, md5(g::text) AS b FROM generate_series(1, $load_rows) g" \
		"CREATE TABLE loaded AS SELECT g AS a, md5(g::text) AS b FROM generate_series(1, $load_rows) g"
}
