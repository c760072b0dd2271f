# shellcheck shell=bash disable=SC2154
# How run and sweeps measure: sourced by them.  Makes a server with a database for each side, heap, verity and pgcrypto
# (what people do without verity), and measures the sides in turn.
#
# PAIRS    pairs of each measurement (5)       SECONDS_EACH  length of each pgbench run
# ONLY     a pattern: only the measurements whose name it matches
# RESULTS  where the results go: docs/performance for five pairs or more of everything, build/performance else
shopt -s inherit_errexit
. "$here/../../scripts/lib.sh"
pairs=${PAIRS:-5} port=56096
all_sides='heap verity pgcrypto' aims=$here/aims.tsv
sides='heap verity' x=- warming=''

bench_begin() {
	"$here/../../scripts/prerequisites" bench
	work_begin
	trap 'scratch_stop bench; work_end' EXIT
	cd "$work/src" || return
	server_build
	as_server_user make -s -C test/bench
	scratch_start bench "$port" --data-checksums <"$here/server.conf"
	raw=$work/raw.tsv
	printf '# x\tmeasurement\tunit\theap\tverity\tpgcrypto\n' >"$raw"
	results=$top/build/performance
	if [ -z "${QUICK:-}${ONLY:-}" ] && [ "$pairs" -ge 5 ]; then results=$top/docs/performance; fi
	results=${RESULTS:-$results}
	mkdir -p "$results"
}

at() { as_server_user env PGHOST="$work/bench/socket" PGPORT="$port" PGUSER=postgres PGDATABASE="$1" "${@:2}"; }
sql() { at "$1" "$bin/psql" -X -q -At -v ON_ERROR_STOP=1 "${@:2}"; }

databases_new() { # the sides' databases, empty
	local db
	for db in $all_sides; do
		sql postgres -c 'SET client_min_messages = warning' -c "DROP DATABASE IF EXISTS $db" -c "CREATE DATABASE $db"
		case $db in
			verity)
				sql verity -c 'CREATE EXTENSION verity' -c 'ALTER DATABASE verity SET default_table_access_method = verity'
				sql verity -f test/bench/schema.sql ;;
			heap) sql heap -f test/bench/schema.sql ;;
			pgcrypto) sql pgcrypto -f test/bench/pgcrypto/schema.sql ;;
		esac
	done
}

tpcb_make() { # tpcb_make SCALE SIDE…
	local db
	scale=$1
	for db in "${@:2}"; do
		at "$db" "$bin/pgbench" -i -q -s "$1" >"$work/init.log" 2>&1 || { cat "$work/init.log"; exit 1; }
	done
	if [[ " $* " == *' pgcrypto '* ]]; then sql pgcrypto -f test/bench/pgcrypto/tpcb_schema.sql; fi
}

# What the figures are of: to be read beside them.
machine() {
	local cpu memory
	cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)
	memory=$(awk '/^MemTotal/ {printf "%.0f GB", $2 / 1048576}' /proc/meminfo)
	echo "$(date -u '+%Y-%m-%d %H:%M UTC'), verity $(git -C "$top" describe --always --dirty 2>/dev/null || echo 1.0)"
	echo "$(nproc) cores of $cpu, $memory, Linux $(uname -r), load $(cut -d' ' -f1 /proc/loadavg) at start"
	echo "$("$bin/postgres" --version), $(openssl version | cut -d' ' -f1-2), verity.cipher_library = $(sql postgres -c 'SHOW verity.cipher_library')"
	echo "data checksums on, $(grep -v '^#' "$here/server.conf" | paste -sd, | sed 's/,/, /g')"
}

# Seconds that statements take, by psql's clock; what the session has to read of the catalogs first is not counted.
seconds_of() { # seconds_of DATABASE STATEMENT [SETTING…]
	local setting=()
	for s in "${@:3}"; do setting+=(-c "SET $s"); done
	sql "$1" "${setting[@]}" -c '\o /dev/null' -c 'SELECT * FROM wide LIMIT 1' -c '\o' -c '\timing on' -c "$2" |
		sed -nE 's/^Time: ([0-9.]+) ms.*/\1/p' | awk '{s += $1} END {print s / 1000}'
}
tps_of() { # tps_of DATABASE CLIENTS [pgbench arguments]
	at "$1" "$bin/pgbench" -n -c "$2" -j $(($2 < 2 ? $2 : 2)) -T "$seconds" "${@:3}" | sed -nE 's/^tps = ([0-9.]+) .*/\1/p'
}
per_second() { awk -v n="$1" -v s="$2" 'BEGIN {printf "%.1f\n", n / s}'; }
median() { sort -g | awk '{v[NR] = $1} END {print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
wanted() { [[ $1 =~ ${ONLY:-} ]]; }

# Measure a side at a time: before the pairs each once, not counted, so that caches are warm.  The functions print a
# rate, more being better; where they do not compare heap with verity, LABEL says what stands in heap's column.
compare() { # compare LABEL UNIT FUNCTION [arguments]
	local label=$1 unit=$2 i side turn seconds_kept=$seconds
	local -A rate=()
	shift 2
	wanted "$label" || return 0
	if [ -n "${warm-1}" ]; then
		warming=1 seconds=1
		for side in $sides; do "$1" "$side" "${@:2}" >"$work/warm"; done
		warming='' seconds=$seconds_kept
	fi
	for ((i = 0; i < pairs; i++)); do
		turn=$sides
		# who goes first has no advantage
		if ((i % 2)); then turn=$(tr ' ' '\n' <<<"$sides" | tac); fi
		for side in $turn; do rate[$side]=$("$1" "$side" "${@:2}"); done
		# a run too short for one transaction has no rate
		record "$label" "$unit" "${rate[heap]:--}" "${rate[verity]:--}" "${rate[pgcrypto]:--}"
	done
	show "$label"
}
record() { # record LABEL UNIT HEAP VERITY [PGCRYPTO]
	printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$x" "$1" "$2" "$3" "$4" "${5:--}" >>"$raw"
}
show() { # show LABEL: its line of the table
	awk -F '\t' -v x="$x" -v label="$1" '$1 == x && $2 == label' "$raw" | awk -f "$here/medians.awk" | awk -f "$here/table.awk" "$aims" -
}
show_head() { awk -v head=1 -f "$here/table.awk" /dev/null; }

m_tpcb() {
	if [ "$1" = pgcrypto ]; then tps_of "$1" "$2" -s "$scale" -f test/bench/pgcrypto/tpcb.sql; else tps_of "$1" "$2" -b tpcb-like; fi
}
m_select() {
	# twice, for the pool gives up what others have in use only when asked again
	if [ -n "$warming" ]; then
		for _ in 1 2; do sql "$1" -c 'SELECT sum(bid), count(abalance), count(filler) FROM pgbench_accounts'; done
	fi
	if [ "$1" = pgcrypto ]; then tps_of "$1" "$2" -s "$scale" -f test/bench/pgcrypto/select.sql; else tps_of "$1" "$2" -S; fi
}
m_insert() {
	if [ "$1" = pgcrypto ]; then tps_of "$1" "$2" -f test/bench/pgcrypto/insert.sql; else tps_of "$1" "$2" -f test/bench/insert.sql; fi
}

# Rows like those of the table wide, for each side; of a tenth as many for pgcrypto, which is slow.
rows_of() { if [ "$1" = pgcrypto ]; then echo $((rows / 10)); else echo "$rows"; fi; }
wide_make() {
	sql heap -c "COPY (SELECT g, md5(g::text), repeat(md5((g / 7)::text), 2), now() FROM generate_series(1, $rows) g) TO '$work/bench/heap.copy'"
	as_server_user ln -sf heap.copy "$work/bench/verity.copy"
	head -n "$(rows_of pgcrypto)" "$work/bench/heap.copy" | as_server_user tee "$work/bench/pgcrypto.copy" >/dev/null
}
m_copy() {
	sql "$1" -c 'TRUNCATE wide' -c 'CHECKPOINT'
	per_second "$(rows_of "$1")" "$(seconds_of "$1" "COPY wide FROM '$work/bench/$1.copy'")"
}
# Statements over a small table are repeated, for one takes less time than the clock and psql do.
repeated() { if [ "$rows" -lt 1000000 ]; then echo $((rows < 20000 ? 50 : 1000000 / rows)); else echo 1; fi; }
m_count() { wide_rate "$1" 'SELECT count(*) FROM wide'; }
m_scan() { # m_scan SIDE WORKERS
	local query='SELECT sum(a), max(b), count(c) FROM wide'
	if [ "$1" = pgcrypto ]; then query='SELECT sum(unseal(a)::int), max(unseal(b)), count(unseal(c)) FROM wide'; fi
	wide_rate "$1" "$query" "max_parallel_workers_per_gather = $2" 'parallel_setup_cost = 0' 'parallel_tuple_cost = 0' 'min_parallel_table_scan_size = 0'
}
wide_rate() { # wide_rate SIDE QUERY [SETTING…]: rows a second
	local n query
	n=$(repeated)
	query=$(for ((i = 0; i < n; i++)); do echo "$2;"; done)
	per_second "$(($(rows_of "$1") * n))" "$(seconds_of "$1" "$query" "${@:3}")"
}
m_index() {
	sql "$1" -c 'SET client_min_messages = warning' -c 'DROP INDEX IF EXISTS wide_a'
	per_second "$rows" "$(seconds_of "$1" 'CREATE INDEX wide_a ON wide (a)' 'max_parallel_maintenance_workers = 0')"
}

# Verification of one table: rows a second.  In heap's place: hashing leaves of those records' size, and nothing else.
verify_rate() { # verify_rate TABLE WORKERS KEYS
	per_second "$(sql verity -c "SELECT count(*) FROM $1")" "$(seconds_of verity "SELECT count(*) FROM verity_verify('$1', workers => $2, with_keys => $3)")"
}
record_bytes() { # record_bytes TABLE: hashed for a record of it
	sql verity -c "SELECT split_part(found, ' ', 5)::bigint / split_part(found, ' ', 1)::bigint
		FROM verity_verify('$1', with_keys => false) WHERE object = 'public.$1' AND check_name = 'summary'"
}
m_verify() { # m_verify SIDE TABLE KEYS RECORD-BYTES
	if [ "$1" = verity ]; then verify_rate "$2" 0 "$3"; return; fi
	as_server_user test/bench/core_bench "$4" | awk '/^leaf_ns/ {print 1e9 / $2}'
}
m_workers() { if [ "$1" = heap ]; then verify_rate wide 1 false; else verify_rate wide 2 false; fi; }
size_of() { sql "$1" -c 'SELECT pg_total_relation_size('\''wide'\'')'; }

# Wall time, to be compared with what was announced.
took() { echo "took $((SECONDS / 60)) min $((SECONDS % 60)) s"; }
