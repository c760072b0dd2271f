# verity: provable tables for PostgreSQL
#
#   make demo [KEEP=1]   build, start a scratch server, show what verity does
#   make check           build and pass the tests of one server
#   make ecosystem       tools, drivers and ORMs on verity tables
#   make upgrade NEW_PG_CONFIG=…   pg_upgrade from PG_CONFIG's server to a newer one
#   make bench           speed, as ratios against heap; bench-sweeps: against sizes and clients; bench-report: both into docs/
#   make torture [TIME=600] [SEED=n] [TORTURE="kill disk"]   crashes, full disks, torn standbys, random SQL
#   make valgrind, make sanitize       the regression tests with memory watched
#   make install installcheck PG_CONFIG=…   as in any PGXS extension

EXTENSION = verity
MODULE_big = verity
DATA_built = verity--1.0.sql
PG_CONFIG ?= /usr/lib/postgresql/15/bin/pg_config

CORE_OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/chain/*.c src/crypto/*.c)))
OBJS = $(CORE_OBJS) $(patsubst %.c,%.o,$(sort $(wildcard src/am/*.c src/am/*/*.c src/sql/*.c src/sql/*/*.c src/bgworker/*.c)))

# the SQL script is one file a subject, in the order of their numbers
SQL_PARTS = $(sort $(wildcard sql/*.sql))

PG_CPPFLAGS = -Isrc -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-cast-function-type $(VERITY_CPPFLAGS)
SHLIB_LINK = -lcrypto -lsodium
EXTRA_CLEAN = build tmp_check results output_iso regression.diffs regression.out

# tests for a running server that preloads verity, with test/server.conf
REGRESS = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test --load-extension=verity
ISOLATION = $(patsubst test/isolation/specs/%.spec,%,$(sort $(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation --load-extension=verity

# these need no server, nor its headers: the scripts install what is missing
ifneq ($(filter check demo ecosystem upgrade bench bench-sweeps bench-report torture valgrind sanitize prerequisites,$(MAKECMDGOALS)),)

check:
	@PG_CONFIG='$(PG_CONFIG)' scripts/check
demo:
	@PG_CONFIG='$(PG_CONFIG)' KEEP='$(KEEP)' demo/run
ecosystem:
	@PG_CONFIG='$(PG_CONFIG)' PARTS=ecosystem scripts/check
upgrade:
	@PG_CONFIG='$(PG_CONFIG)' NEW_PG_CONFIG='$(NEW_PG_CONFIG)' scripts/check-upgrade
bench:
	@PG_CONFIG='$(PG_CONFIG)' test/bench/run
bench-sweeps:
	@PG_CONFIG='$(PG_CONFIG)' test/bench/sweeps
bench-report:
	@test/bench/report
torture:
	@PG_CONFIG='$(PG_CONFIG)' TIME='$(TIME)' SEED='$(SEED)' TORTURE='$(TORTURE)' test/torture/run
valgrind sanitize:
	@PG_CONFIG='$(PG_CONFIG)' test/torture/memory $@
prerequisites:
	@scripts/prerequisites check
.PHONY: check demo ecosystem upgrade bench bench-sweeps bench-report prerequisites torture valgrind sanitize

else

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

verity--1.0.sql: $(SQL_PARTS)
	cat $^ > $@

$(OBJS): $(wildcard src/*/*.h src/*/*/*.h)

endif
