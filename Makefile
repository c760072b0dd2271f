# verity: provable tables for PostgreSQL
#
#   make demo            build, start a scratch server, show what verity does
#   make check           build and pass every test
#   make bench           speed, as ratios against heap
#   make install installcheck PG_CONFIG=…   as in any PGXS extension

EXTENSION = verity
MODULE_big = verity
DATA = verity--1.0.sql
PG_CONFIG ?= /usr/lib/postgresql/15/bin/pg_config

CORE_OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/chain/*.c src/crypto/*.c)))
OBJS = $(CORE_OBJS) $(patsubst %.c,%.o,$(sort $(wildcard src/am/*.c src/sql/*.c src/bgworker/*.c)))

# the SQL script is one file a subject, in the order of their numbers
SQL_PARTS = $(sort $(wildcard sql/*.sql))

PG_CPPFLAGS = -Isrc -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-cast-function-type $(VERITY_CPPFLAGS)
SHLIB_LINK = -lcrypto -lsodium
EXTRA_CLEAN = verity--1.0.sql build tmp_check results regression.diffs regression.out

REGRESS = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test --expecteddir=. --load-extension=verity

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

all: verity--1.0.sql
verity--1.0.sql: $(SQL_PARTS)
	cat $^ > $@

$(OBJS): $(wildcard src/*/*.h)
