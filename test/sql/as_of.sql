-- Reading the past: what verity.as_of takes and refuses, and what it changes.
-- Positions depend on what ran before in this database, so none is printed.
\set VERBOSITY default
SET max_parallel_workers_per_gather = 0;

CREATE TABLE doc (id int PRIMARY KEY, grp int NOT NULL DEFAULT 0, body text) USING verity;
CREATE INDEX doc_grp ON doc (grp);
CREATE TABLE plain (id int PRIMARY KEY, note text) USING heap;
CREATE SEQUENCE seq;
SELECT verity_position() AS p0 \gset
INSERT INTO doc VALUES (1, 1, 'one'), (2, 1, 'two'), (3, 2, 'three');
INSERT INTO plain VALUES (1, 'heap one'), (4, 'heap four');
SELECT verity_position() AS p1 \gset
UPDATE doc SET body = 'two, corrected' WHERE id = 2;
DELETE FROM doc WHERE id = 3;
SELECT verity_position() AS p2 \gset
INSERT INTO doc VALUES (3, 3, 'three, again'), (4, 3, 'four');
SELECT verity_position() AS p3 \gset

-- the setting
SHOW verity.as_of;
SET verity.as_of = :'p1';
SELECT current_setting('verity.as_of') = :'p1' AS shows_position;
SELECT * FROM doc ORDER BY id;
SET verity.as_of = :'p2';
SELECT * FROM doc ORDER BY id;
SET verity.as_of = :'p0';
SELECT * FROM doc ORDER BY id;
RESET verity.as_of;
SELECT * FROM doc ORDER BY id;
SET verity.as_of = '';
SELECT count(*) FROM doc;

-- what is no time and no position
SET verity.as_of = 'yesterdayish';
SET verity.as_of = '0';
SET verity.as_of = '-1';
SET verity.as_of = '12x';
SET verity.as_of = ' ';
\set VERBOSITY terse
SET verity.as_of = '900000000000000000';
SET verity.as_of = '99999999999999999999999999';
SET verity.as_of = '2999-01-01 00:00:00+00';
SET verity.as_of = '1999-01-01 00:00:00+00';
SET verity.as_of = 'infinity';
SET verity.as_of = '-infinity';
\set VERBOSITY default
SHOW verity.as_of;

-- a time is resolved to the last position at or before it
SELECT "time" AS t1, "time" + interval '1 microsecond' AS t1_after, "time" - interval '1 microsecond' AS t1_before
FROM verity.journal WHERE position = :p1 \gset
SET verity.as_of = :'t1';
SELECT current_setting('verity.as_of')::bigint = :p1 AS at_its_time;
SET verity.as_of = :'t1_after';
SELECT current_setting('verity.as_of')::bigint = :p1 AS after_it;
SET verity.as_of = :'t1_before';
SELECT current_setting('verity.as_of')::bigint = :p1 - 1 AS before_it;
SET verity.as_of = 'now';
SELECT current_setting('verity.as_of')::bigint = :p3 AS now;
RESET verity.as_of;
SELECT verity_position(:'t1') = :p1 AS at_its_time, verity_position(:'t1_after') = :p1 AS after_it,
	verity_position(:'t1_before') = :p1 - 1 AS before_it, verity_position('1999-01-01') IS NULL AS before_genesis,
	verity_position('infinity') = verity_position() AS last;
-- every entry's time leads back to its position
SELECT count(*) > 3 AS some, bool_and(verity_position("time") = position) AS found FROM verity.journal;

-- where it can be set: in sessions only
ALTER DATABASE postgres SET verity.as_of = '1';
ALTER ROLE ALL SET verity.as_of FROM CURRENT;
ALTER SYSTEM SET verity.as_of = '1';
ALTER SYSTEM RESET verity.as_of;

-- transactions
BEGIN;
SET LOCAL verity.as_of = :'p1';
SELECT count(*) FROM doc;
COMMIT;
SELECT count(*), current_setting('verity.as_of') AS as_of FROM doc;
BEGIN;
SET verity.as_of = :'p1';
SAVEPOINT s;
SET verity.as_of = :'p2';
SELECT count(*) FROM doc;
ROLLBACK TO s;
SELECT count(*) FROM doc;
ROLLBACK;
SELECT count(*), current_setting('verity.as_of') AS as_of FROM doc;
BEGIN;
INSERT INTO plain VALUES (5, 'written');
SET LOCAL verity.as_of = :'p1';
ROLLBACK;
BEGIN;
SELECT id FROM doc WHERE id = 1 FOR UPDATE;
SET LOCAL verity.as_of = :'p1';
ROLLBACK;
BEGIN;
INSERT INTO doc VALUES (5);
-- own changes are not in the past, and the transaction goes on
SELECT * FROM verity_query_at('SELECT id, body FROM doc ORDER BY id', :p2) AS t(id int, body text);
DELETE FROM doc WHERE id = 1;
SELECT * FROM verity_query_at('SELECT count(*) FROM doc', :p2) AS t(n bigint);
SELECT count(*) FROM doc;
ROLLBACK;

-- writing
SET verity.as_of = :'p1';
INSERT INTO doc VALUES (9);
UPDATE doc SET body = 'x';
DELETE FROM doc WHERE id = 1;
INSERT INTO plain VALUES (9);
MERGE INTO plain USING doc ON plain.id = doc.id WHEN MATCHED THEN DELETE;
WITH w AS (INSERT INTO plain VALUES (9) RETURNING id) SELECT * FROM w;
SELECT * FROM doc FOR UPDATE;
SELECT * FROM plain FOR KEY SHARE;
SELECT * FROM (SELECT * FROM doc FOR SHARE) s;
SELECT nextval('seq');
SELECT setval('seq', 5);
EXPLAIN (COSTS OFF) INSERT INTO doc VALUES (9);
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) CREATE TABLE sneaky AS SELECT 1;
CREATE TABLE sneaky (a int);
CREATE TEMP TABLE sneaky (a int);
CREATE TABLE sneaky AS SELECT 1;
SELECT 1 AS a INTO sneaky;
ALTER TABLE doc ADD COLUMN x int;
DROP TABLE plain;
TRUNCATE plain;
CREATE INDEX ON plain (note);
REINDEX TABLE plain;
VACUUM plain;
ANALYZE plain;
LOCK TABLE plain;
BEGIN; LOCK TABLE plain IN ROW SHARE MODE; ROLLBACK;
BEGIN; LOCK TABLE plain, doc IN ACCESS SHARE MODE; COMMIT; -- as pg_dump does
REFRESH MATERIALIZED VIEW no_such_view;
SET CONSTRAINTS ALL IMMEDIATE;
NOTIFY something;
DO $$ BEGIN PERFORM 1; END $$;
COPY doc TO STDOUT;
COPY doc FROM PROGRAM 'true';
COPY (SELECT * FROM doc ORDER BY id) TO STDOUT;
COPY (DELETE FROM doc RETURNING id) TO STDOUT;
PREPARE deleting AS DELETE FROM plain;
EXECUTE deleting;
DEALLOCATE deleting;
RESET verity.as_of;
CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql AS
	$$ BEGIN INSERT INTO plain VALUES (10, 'by a function'); RETURN 1; END $$;
CREATE FUNCTION writes_definer() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS
	$$ BEGIN INSERT INTO plain VALUES (10, 'by a function'); RETURN 1; END $$;
CREATE FUNCTION makes_table() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS
	$$ BEGIN CREATE TABLE sneaky (a int); RETURN 1; END $$;
CREATE FUNCTION turns_writable() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS
	$$ BEGIN SET LOCAL transaction_read_only = off; INSERT INTO plain VALUES (10); RETURN 1; END $$;
CREATE PROCEDURE procedure_writes() LANGUAGE sql AS $$ INSERT INTO plain VALUES (11) $$;
SET verity.as_of = :'p1';
\set VERBOSITY terse
SELECT writes();
SELECT writes_definer();
SELECT makes_table();
SELECT turns_writable();
CALL procedure_writes();
\set VERBOSITY default
RESET verity.as_of;
SELECT count(*) FROM plain;
INSERT INTO plain VALUES (12, 'the transaction is writable again');
DELETE FROM plain WHERE id = 12;

-- cursors keep their time, cached plans do not
BEGIN;
SET verity.as_of = :'p1';
DECLARE past CURSOR FOR SELECT id, body FROM doc ORDER BY id;
DECLARE held SCROLL CURSOR WITH HOLD FOR SELECT id, body FROM doc ORDER BY id;
FETCH 1 FROM past;
RESET verity.as_of;
DECLARE present CURSOR FOR SELECT id, body FROM doc ORDER BY id;
FETCH ALL FROM past;
SET verity.as_of = :'p2';
FETCH ALL FROM present;
COMMIT;
FETCH ALL FROM held;
RESET verity.as_of;
FETCH ABSOLUTE 3 FROM held;
CLOSE held;
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
PREPARE by_grp(int) AS SELECT id, body FROM doc WHERE grp = $1 ORDER BY id;
EXPLAIN (COSTS OFF) EXECUTE by_grp(1);
EXECUTE by_grp(1);
SET verity.as_of = :'p1';
EXPLAIN (COSTS OFF) EXECUTE by_grp(1);
EXECUTE by_grp(1);
EXECUTE by_grp(2);
SET verity.as_of = :'p2';
EXECUTE by_grp(2);
RESET verity.as_of;
EXECUTE by_grp(3);
EXPLAIN (COSTS OFF) EXECUTE by_grp(1);
DEALLOCATE by_grp;
RESET plan_cache_mode;
RESET enable_seqscan;

-- a query that was planned before the setting is refused, not answered wrong
CREATE TABLE counting (setting text) USING heap;
CREATE RULE counts_too AS ON INSERT TO counting DO ALSO SELECT count(*) FROM doc;
INSERT INTO counting VALUES (set_config('verity.as_of', :'p1', false));
RESET verity.as_of;
DROP TABLE counting;
-- a function's statements are all planned first, until 18 plans each at its turn
CREATE FUNCTION sets_between() RETURNS bigint LANGUAGE sql AS
	$$ SELECT set_config('verity.as_of', '3', true); SELECT count(*) FROM doc $$;
DO $$ BEGIN
	ASSERT sets_between() = 0;
	RAISE object_not_in_prerequisite_state;
EXCEPTION WHEN object_not_in_prerequisite_state THEN
	RAISE NOTICE 'refused, or as of then';
END $$;
CREATE FUNCTION sets_itself(p text) RETURNS bigint LANGUAGE plpgsql AS
	$$ DECLARE n bigint;
	BEGIN PERFORM set_config('verity.as_of', p, true); SELECT count(*) INTO n FROM doc; RETURN n; END $$;
SELECT sets_itself(:'p1'), current_setting('verity.as_of') = :'p1' AS still_set;
BEGIN;
SELECT sets_itself(:'p0') AS n0, sets_itself(:'p1') AS n1, sets_itself(:'p2') AS n2, sets_itself(:'p3') AS n3;
ROLLBACK;
SET check_function_bodies = off;
SELECT set_config('test.p2', :'p2', false) = '' AS none;
DO $$ BEGIN
	EXECUTE format('CREATE FUNCTION always_p2() RETURNS bigint LANGUAGE sql SET verity.as_of = %L AS ''SELECT count(*) FROM doc''', current_setting('test.p2'));
	EXECUTE format('CREATE FUNCTION definer_p2() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET verity.as_of = %L AS ''SELECT count(*) FROM doc''', current_setting('test.p2'));
END $$;
RESET check_function_bodies;
SELECT always_p2(), definer_p2(), (SELECT count(*) FROM doc) AS present;

-- SECURITY DEFINER functions read the present, unless they ask for the past themselves
CREATE FUNCTION counts() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM doc); END $$;
CREATE FUNCTION counts_definer() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS
	$$ BEGIN RETURN (SELECT count(*) FROM doc) * 10 + counts(); END $$;
CREATE FUNCTION counts_at(p bigint) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS
	$$ BEGIN RETURN (SELECT n FROM verity_query_at('SELECT count(*) + 10 * counts() + 1000 * counts_definer() FROM doc', p) AS t(n bigint)); END $$;
SET verity.as_of = :'p2';
SELECT counts(), counts_definer(), counts();
SELECT count(*), counts(), counts_definer(), counts_at(:p0), counts_at(:p1) FROM doc;
RESET verity.as_of;
SELECT counts(), counts_definer(), counts_at(:p0), counts_at(:p1);

-- foreign keys and deferred triggers read the present
CREATE TABLE child (id int PRIMARY KEY, doc int REFERENCES doc DEFERRABLE INITIALLY DEFERRED) USING verity;
CREATE FUNCTION tells() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN RAISE NOTICE 'trigger sees % documents', (SELECT count(*) FROM doc); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER tells AFTER INSERT ON child DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tells();
BEGIN;
INSERT INTO child VALUES (1, 4);
SELECT n FROM verity_query_at('SELECT count(*) FROM doc', :p0) AS t(n bigint);
SET verity.as_of = :'p0';
ROLLBACK;
BEGIN;
INSERT INTO child VALUES (1, 4);
SELECT n FROM verity_query_at('SELECT count(*) FROM doc', :p0) AS t(n bigint);
COMMIT;

-- verity_query_at
SELECT * FROM verity_query_at('SELECT id, body FROM doc WHERE id = 2', :p1) AS t(id int, body text);
SELECT * FROM verity_query_at('SELECT id, body FROM doc WHERE id = 2', :'t1'::timestamptz) AS t(id int, body text);
SELECT * FROM verity_query_at('TABLE doc', :p0) AS t(id int, grp int, body text);
SELECT * FROM verity_query_at('VALUES (1), (2)', :p0) AS t(id int);
SELECT * FROM verity_query_at('SELECT 1; SELECT 2', :p1) AS t(id int);
SELECT * FROM verity_query_at('', :p1) AS t(id int);
SELECT * FROM verity_query_at('SELECT 1 AS a INTO other', :p1) AS t(id int);
SELECT * FROM verity_query_at('INSERT INTO plain VALUES (9) RETURNING id', :p1) AS t(id int);
SELECT * FROM verity_query_at('WITH w AS (DELETE FROM plain RETURNING id) SELECT id FROM w', :p1) AS t(id int);
SELECT * FROM verity_query_at('SELECT id FROM doc FOR UPDATE', :p1) AS t(id int);
SELECT * FROM verity_query_at('SELECT id FROM (SELECT id FROM doc FOR SHARE) s', :p1) AS t(id int);
SELECT * FROM verity_query_at('EXPLAIN SELECT 1', :p1) AS t(id text);
SELECT * FROM verity_query_at('COMMIT', :p1) AS t(id int);
SELECT * FROM verity_query_at('COPY doc TO STDOUT', :p1) AS t(id int);
SELECT * FROM verity_query_at('SELEKT 1', :p1) AS t(id int);
SELECT * FROM verity_query_at('SELECT $1', :p1) AS t(id int);
SELECT * FROM verity_query_at('SELECT no_such FROM doc', :p1) AS t(id int);
SELECT * FROM verity_query_at('SELECT id FROM doc', :p1) AS t(id int, body text);
\set VERBOSITY terse
SELECT * FROM verity_query_at('SELECT id FROM doc', :p1) AS t(id bigint);
SELECT * FROM verity_query_at('SELECT id FROM doc', :p1);
\set VERBOSITY default
SELECT * FROM verity_query_at('SELECT writes()', :p1) AS t(id int);
SELECT * FROM verity_query_at('SELECT id FROM doc', 0) AS t(id int);
SELECT * FROM verity_query_at('SELECT id FROM doc', -5) AS t(id int);
SELECT * FROM verity_query_at('SELECT id FROM doc', NULL::bigint) AS t(id int);
\set VERBOSITY terse
SELECT * FROM verity_query_at('SELECT id FROM doc', 9223372036854775807) AS t(id int);
SELECT * FROM verity_query_at('SELECT id FROM doc', '2999-01-01'::timestamptz) AS t(id int);
SELECT * FROM verity_query_at('SELECT id FROM doc', '1999-01-01'::timestamptz) AS t(id int);
\set VERBOSITY default
SELECT count(*), current_setting('verity.as_of') AS as_of FROM doc;
-- nested, lateral, in a function, after an error that was caught
SELECT format('SELECT count(*), (SELECT n FROM verity_query_at(''SELECT count(*) FROM doc'', %s) AS t(n bigint)), (SELECT count(*) FROM doc) FROM doc', :p0) AS nested \gset
SELECT * FROM verity_query_at(:'nested', :p2) AS t(outside bigint, inside bigint, outside_again bigint);
SELECT p.name, t.n FROM (VALUES ('p0', :p0), ('p1', :p1), ('p2', :p2), ('p3', :p3)) AS p(name, at),
	LATERAL verity_query_at('SELECT count(*) FROM doc', p.at) AS t(n bigint) ORDER BY p.name;
SELECT d.id, (SELECT body FROM verity_query_at(format('SELECT body FROM doc WHERE id = %s', d.id), :p1) AS t(body text)) AS was FROM doc d ORDER BY id;
CREATE FUNCTION catches(p bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM * FROM verity_query_at('SELECT 1 / (count(*) - count(*)) FROM doc', p) AS t(n bigint);
	RETURN 'no error';
EXCEPTION WHEN division_by_zero THEN
	RETURN (SELECT count(*) FROM doc) || ' as of now';
END $$;
SELECT catches(:p1), current_setting('verity.as_of') AS as_of;
SET verity.as_of = :'p2';
SELECT catches(:p1), (SELECT count(*) FROM doc), current_setting('verity.as_of') = :'p2' AS unchanged;
RESET verity.as_of;
INSERT INTO plain VALUES (20, 'writable') RETURNING note;

-- joins with heap tables, which know only the present
SET verity.as_of = :'p1';
SELECT doc.id, body, note FROM doc JOIN plain USING (id) ORDER BY 1;
SELECT plain.id, body FROM doc RIGHT JOIN plain USING (id) ORDER BY 1;
SELECT body FROM doc TABLESAMPLE BERNOULLI (100) ORDER BY id;
SELECT body FROM doc WHERE ctid = ANY (ARRAY(SELECT ctid FROM doc WHERE id = 2));
RESET verity.as_of;

-- verity_as_of
SELECT * FROM verity_as_of(NULL::doc, :p1) ORDER BY id;
SELECT id FROM verity_as_of(NULL::doc, :'t1'::timestamptz) ORDER BY id;
SELECT * FROM verity_as_of(NULL::doc, NULL::bigint);
SELECT * FROM verity_as_of(NULL::doc, NULL::timestamptz);
SELECT * FROM verity_as_of(NULL::doc, 0);
SELECT * FROM verity_as_of(NULL::plain, :p1) ORDER BY id;
SELECT * FROM verity_as_of(1, :p1);
CREATE TYPE pair AS (a int, b int);
SELECT * FROM verity_as_of(NULL::pair, :p1);
CREATE VIEW long AS SELECT id, upper(body) AS loud FROM doc WHERE length(body) > 3;
SELECT * FROM verity_as_of(NULL::long, :p1) ORDER BY id;
CREATE SCHEMA "odd schema";
CREATE TABLE "odd schema"."odd ""table" (a int) USING verity;
INSERT INTO "odd schema"."odd ""table" VALUES (1);
SELECT * FROM verity_as_of(NULL::"odd schema"."odd ""table", verity_position());
DROP SCHEMA "odd schema" CASCADE;

-- definitions that changed since
CREATE TABLE shape (id int, gone text, old_name text, amount int) USING verity;
INSERT INTO shape VALUES (1, 'g', 'n', NULL), (1, 'g2', 'n2', -5), (2, 'g3', 'n3', 7);
SELECT verity_position() AS s1 \gset
DELETE FROM shape WHERE amount IS NULL OR amount < 0;
ALTER TABLE shape DROP COLUMN gone;
ALTER TABLE shape RENAME COLUMN old_name TO new_name;
ALTER TABLE shape ADD COLUMN added text DEFAULT 'default';
ALTER TABLE shape ALTER COLUMN amount SET NOT NULL;
ALTER TABLE shape ADD CONSTRAINT positive CHECK (amount > 0);
ALTER TABLE shape ADD PRIMARY KEY (id);
ANALYZE shape;
SET constraint_exclusion = on;
SET verity.as_of = :'s1';
SELECT * FROM shape ORDER BY new_name;
SELECT * FROM shape WHERE amount IS NULL;
SELECT * FROM shape WHERE amount < 0;
SELECT count(*) FROM shape a LEFT JOIN shape b ON a.id = b.id;
SELECT id, new_name, count(*) FROM shape GROUP BY id, new_name ORDER BY 2;
SELECT s.id, s.new_name, count(*) FROM (SELECT * FROM shape) s GROUP BY s.id, s.new_name ORDER BY 2;
SELECT id, new_name FROM shape GROUP BY id;
SELECT count(*) FROM doc JOIN shape s ON s.id = doc.id;
RESET verity.as_of;
SELECT * FROM verity_as_of(NULL::shape, :s1) ORDER BY new_name;
SELECT id, new_name FROM shape GROUP BY id;
SELECT verity_position() AS s2 \gset
SELECT * FROM verity_query_at('SELECT id, new_name, count(*) FROM shape GROUP BY id', :s2) AS t(id int, n text, c bigint);
RESET constraint_exclusion;

-- indexes: keys only, and only where they are as old as the position
-- the plan, without the line by which 18 says that enable_seqscan is off
CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
	DECLARE line text;
	BEGIN FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		IF line !~ 'Disabled' THEN RETURN NEXT line; END IF;
	END LOOP; END $$;
CREATE TABLE idx (id int NOT NULL, code int NOT NULL, b text) USING verity;
INSERT INTO idx SELECT i, i, 'b' || i FROM generate_series(1, 20) i;
CREATE UNIQUE INDEX idx_code ON idx (code);
CREATE UNIQUE INDEX idx_id ON idx (id);
UPDATE idx SET b = 'first' WHERE id = 5;
SELECT verity_position() AS i1 \gset
UPDATE idx SET code = 1000 + code WHERE id IN (5, 6);
UPDATE idx SET id = 700 WHERE id = 7;
SELECT verity_position() AS i2 \gset
ALTER TABLE idx REPLICA IDENTITY USING INDEX idx_code;
ALTER TABLE idx ADD CONSTRAINT idx_pk PRIMARY KEY USING INDEX idx_id;
UPDATE idx SET code = 2000 + code WHERE id = 6;
SELECT verity_position() AS i3 \gset
SET enable_seqscan = off;
SET verity.as_of = :'i1';
SELECT plan('SELECT * FROM idx WHERE code = 5');
SELECT * FROM idx WHERE code = 5;
SELECT * FROM idx WHERE code = 6;
SELECT * FROM idx WHERE id = 7;
SET verity.as_of = :'i3';
SELECT plan('SELECT * FROM idx WHERE code = 3006');
SELECT * FROM idx WHERE code = 3006;
SELECT * FROM idx WHERE code = 1006;
SELECT plan('SELECT * FROM idx WHERE id = 700');
SELECT * FROM idx WHERE id = 700;
RESET verity.as_of;
UPDATE idx SET code = 5000 + code WHERE id = 6;
ALTER TABLE idx REPLICA IDENTITY DEFAULT;
UPDATE idx SET code = 10000 + code WHERE id = 6;
ALTER TABLE idx REPLICA IDENTITY USING INDEX idx_code;
SELECT verity_position() AS i4 \gset
UPDATE idx SET code = 6 WHERE id = 6;
SET verity.as_of = :'i3';
SELECT plan('SELECT * FROM idx WHERE code = 3006');
SELECT * FROM idx WHERE code = 3006;
SET verity.as_of = :'i4';
SELECT plan('SELECT * FROM idx WHERE code = 18006');
SELECT * FROM idx WHERE code = 18006;
SELECT * FROM idx WHERE code = 6;
RESET verity.as_of;
REINDEX TABLE CONCURRENTLY idx;
INSERT INTO idx VALUES (800, 800, 'later');
SELECT verity_position() AS i5 \gset
UPDATE idx SET b = 'latest', code = 801 WHERE id = 800;
SET verity.as_of = :'i4';
SELECT plan('SELECT * FROM idx WHERE id = 6');
SET verity.as_of = :'i5';
SELECT plan('SELECT * FROM idx WHERE id = 800');
SELECT * FROM idx WHERE id = 800;
RESET verity.as_of;
-- a transaction that writes, then builds: from its own position on
BEGIN;
DELETE FROM idx WHERE id = 800;
REINDEX TABLE idx;
COMMIT;
SELECT verity_position() AS i6 \gset
SET verity.as_of = :'i6';
SELECT plan('SELECT * FROM idx WHERE id = 800');
SELECT * FROM idx WHERE id = 800;
RESET verity.as_of;
-- a rolled back change of the key leaves no trace
BEGIN;
SAVEPOINT s;
ALTER TABLE idx REPLICA IDENTITY USING INDEX idx_pk;
ROLLBACK TO s;
COMMIT;
BEGIN;
ALTER TABLE idx REPLICA IDENTITY NOTHING;
ROLLBACK;
SET verity.as_of = :'i6';
SELECT plan('SELECT * FROM idx WHERE id = 6');
SELECT * FROM idx WHERE id = 6;
RESET verity.as_of;
RESET enable_seqscan;

-- partitioned tables whose bounds changed
CREATE TABLE part (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE part_a PARTITION OF part FOR VALUES FROM (0) TO (10) USING verity;
CREATE TABLE part_b PARTITION OF part FOR VALUES FROM (10) TO (20) USING verity;
ALTER TABLE part ADD PRIMARY KEY (k);
INSERT INTO part SELECT i, 'v' || i FROM generate_series(0, 19) i;
SELECT verity_position() AS b1 \gset
UPDATE part SET k = k + 10, v = 'moved' WHERE k = 3 AND false;
DELETE FROM part WHERE k IN (0, 15);
UPDATE part SET k = 15, v = 'moved' WHERE k = 5;
DELETE FROM part_a WHERE k < 5;
DELETE FROM part_b WHERE k < 15;
ALTER TABLE part DETACH PARTITION part_a;
ALTER TABLE part DETACH PARTITION part_b;
ALTER TABLE part ATTACH PARTITION part_a FOR VALUES FROM (5) TO (15);
ALTER TABLE part ATTACH PARTITION part_b FOR VALUES FROM (15) TO (30);
SET enable_partitionwise_join = on;
SET verity.as_of = :'b1';
SELECT * FROM part WHERE k = 3;
SELECT * FROM part WHERE k = 12;
SELECT count(*), count(*) FILTER (WHERE v = 'moved') FROM part;
SELECT count(*) FROM part a JOIN part b USING (k);
SELECT array_agg(k) FROM (SELECT k FROM part ORDER BY k) s;
SET enable_sort = off;
SET enable_seqscan = off;
SELECT array_agg(k) FROM (SELECT k FROM part ORDER BY k) s;
RESET enable_sort;
RESET enable_seqscan;
RESET verity.as_of;
RESET enable_partitionwise_join;
SELECT count(*), count(*) FILTER (WHERE v = 'moved') FROM part;
SELECT count(*) FROM verity_as_of(NULL::part, :b1);
SELECT array_agg(k ORDER BY k) FROM verity_as_of(NULL::part_a, :b1);

-- tables that are no ledger, and views, read the present or through
CREATE TEMP TABLE scratch (a int PRIMARY KEY) USING verity;
INSERT INTO scratch VALUES (1);
CREATE MATERIALIZED VIEW counted USING verity AS SELECT count(*) AS n FROM doc;
SET verity.as_of = :'p1';
SELECT (SELECT a FROM scratch WHERE a = 1), (SELECT n FROM counted), (SELECT count(*) FROM long) AS through_view;
RESET verity.as_of;

-- parallel workers read the same position
CREATE TABLE big (id int PRIMARY KEY, v int) USING verity;
INSERT INTO big SELECT i, 0 FROM generate_series(1, 3000) i;
SELECT verity_position() AS g1 \gset
UPDATE big SET v = 1 WHERE id % 3 = 0;
DELETE FROM big WHERE id % 5 = 0;
SELECT verity_position() AS g2 \gset
CREATE FUNCTION slow_count(p text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE result text;
BEGIN
	PERFORM set_config('verity.as_of', p, true);
	SELECT count(*) || ' ' || sum(v) INTO result FROM big;
	RETURN result;
END $$;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SET parallel_leader_participation = off;
EXPLAIN (COSTS OFF) SELECT count(*), sum(v) FROM big;
SET verity.as_of = :'g1';
EXPLAIN (COSTS OFF) SELECT count(*), sum(v) FROM big;
SELECT count(*), sum(v) FROM big;
SELECT * FROM verity_query_at('SELECT count(*), sum(v) FROM big', :g2) AS t(n bigint, s bigint);
SELECT * FROM verity_query_at('SELECT slow_count(''' || :'g1' || ''')', :g2) AS t(r text);
RESET verity.as_of;
BEGIN;
SELECT slow_count(:'g1');
ROLLBACK;
BEGIN;
-- the generic plan of one time is not used in another
SET LOCAL plan_cache_mode = force_generic_plan;
SET LOCAL verity.as_of = :'g1';
PREPARE big_past AS SELECT count(*), sum(v) FROM big;
EXECUTE big_past;
RESET verity.as_of;
EXECUTE big_past;
ROLLBACK;
SELECT count(*), sum(v) FROM big;
RESET max_parallel_workers_per_gather;
RESET parallel_leader_participation;
DEALLOCATE ALL;

-- row security applies as of now; a policy that would look into the past is refused
CREATE ROLE verity_reader;
CREATE TABLE rls_doc (id int PRIMARY KEY, owner text) USING verity;
CREATE TABLE rls_who (name text) USING verity;
INSERT INTO rls_doc VALUES (1, 'verity_reader'), (2, 'nobody'), (3, 'verity_reader');
INSERT INTO rls_who VALUES ('verity_reader');
SELECT verity_position() AS r1 \gset
UPDATE rls_doc SET owner = 'nobody' WHERE id = 3;
GRANT SELECT ON rls_doc, rls_who TO verity_reader;
GRANT SET ON PARAMETER verity.as_of TO verity_reader;
ALTER TABLE rls_doc ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON rls_doc USING (owner = current_user);
SET ROLE verity_reader;
SELECT id FROM rls_doc ORDER BY id;
SET verity.as_of = :'r1';
SELECT id FROM rls_doc ORDER BY id;
RESET verity.as_of;
RESET ROLE;
DROP POLICY own ON rls_doc;
CREATE POLICY looks ON rls_doc USING (EXISTS (SELECT 1 FROM rls_who WHERE name = current_user));
SET ROLE verity_reader;
SELECT count(*) FROM rls_doc;
SET verity.as_of = :'r1';
SELECT count(*) FROM rls_doc;
SELECT count(*) FROM (SELECT * FROM rls_doc) s WHERE id IN (SELECT id FROM rls_doc);
RESET verity.as_of;
RESET ROLE;
SET verity.as_of = :'r1';
SELECT count(*) FROM rls_doc;
RESET verity.as_of;
DROP POLICY looks ON rls_doc;
CREATE FUNCTION knows(who text) RETURNS boolean LANGUAGE sql SECURITY DEFINER AS
	$$ SELECT EXISTS (SELECT 1 FROM rls_who WHERE name = who) $$;
CREATE POLICY asks ON rls_doc USING (knows(current_user));
DELETE FROM rls_who;
SET ROLE verity_reader;
SET verity.as_of = :'r1';
SELECT count(*) FROM rls_doc;
RESET verity.as_of;
SELECT * FROM verity_history('rls_doc');
RESET ROLE;

-- verity_history
CREATE TABLE hist (id int PRIMARY KEY, a text, b int) USING verity;
CREATE FUNCTION history(t regclass, f jsonb DEFAULT '{}') RETURNS TABLE (pos bigint, operation text, author text, reason text, "row" jsonb)
	LANGUAGE sql AS $$ SELECT dense_rank() OVER (ORDER BY position), operation, author, reason, "row" FROM verity_history(t, f) $$;
CREATE ROLE verity_writer;
GRANT INSERT, UPDATE, DELETE, SELECT ON hist TO verity_writer;
BEGIN;
SET LOCAL verity.reason = 'first load';
INSERT INTO hist VALUES (1, 'a', 1), (2, 'b', 2);
SAVEPOINT s;
INSERT INTO hist VALUES (3, 'never', 3);
UPDATE hist SET a = 'never' WHERE id = 1;
ROLLBACK TO s;
UPDATE hist SET a = 'aa' WHERE id = 1;
COMMIT;
SELECT verity_position() AS h1 \gset
SET ROLE verity_writer;
UPDATE hist SET id = 20 WHERE id = 2;
DELETE FROM hist WHERE id = 1;
RESET ROLE;
INSERT INTO hist VALUES (1, 'reborn', NULL);
ALTER TABLE hist DROP COLUMN b;
ALTER TABLE hist ADD COLUMN c int DEFAULT 7;
UPDATE hist SET c = 8 WHERE id = 1;
BEGIN;
INSERT INTO hist VALUES (99, 'uncommitted');
SELECT * FROM history('hist');
ROLLBACK;
SELECT * FROM history('hist', '{"id": 1}');
SELECT * FROM history('hist', '{"id": 1, "a": "reborn"}');
SELECT * FROM history('hist', '{"nothing": 1}');
SELECT bool_and("time" = j.t AND record ~ '^\(\d+,\d+\)$') FROM verity_history('hist') h JOIN (SELECT position, "time" t FROM verity.journal) j USING (position);
SET verity.as_of = :'h1';
SELECT * FROM history('hist');
RESET verity.as_of;
BEGIN;
INSERT INTO hist SELECT i, 'many' FROM generate_series(101, 112) i;
COMMIT;
SELECT array_agg("row" ->> 'id') FROM verity_history('hist', '{"a": "many"}');
SELECT * FROM verity_history('plain');
SELECT * FROM verity_history('long');
SELECT * FROM verity_history('scratch');
SELECT * FROM verity_history('counted');
SELECT * FROM verity_history('doc_grp');
SELECT * FROM verity_history('no_such_table');
SELECT * FROM verity_history(NULL);
SELECT operation, count(*) FROM verity_history('part') GROUP BY 1 ORDER BY 1;
CREATE TABLE part_c PARTITION OF part FOR VALUES FROM (30) TO (40) USING heap;
SELECT * FROM verity_history('part');

-- what looking serials up reads is locked before any page is
SELECT verity_position() AS position \gset
BEGIN;
SET LOCAL verity.as_of = :'position';
SELECT relation::regclass, mode FROM pg_locks
	WHERE pid = pg_backend_pid() AND relation IN ('verity.journal'::regclass, 'verity.journal_serials'::regclass)
	ORDER BY 1;
COMMIT;

DROP TABLE part, big, hist, idx, shape, child, scratch, rls_doc, rls_who;
DROP MATERIALIZED VIEW counted;
DROP VIEW long;
DROP TABLE doc, plain;
DROP FUNCTION plan, writes, writes_definer, makes_table, turns_writable, sets_between, sets_itself, always_p2, definer_p2, counts, counts_definer, counts_at, tells, catches, slow_count, knows, history;
DROP PROCEDURE procedure_writes;
DROP SEQUENCE seq;
DROP TYPE pair;
REVOKE SET ON PARAMETER verity.as_of FROM verity_reader;
DROP ROLE verity_reader, verity_writer;
