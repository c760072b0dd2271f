-- The read side of the table access method, with a heap twin as the oracle:
-- each statement runs on both tables, which must hold the same rows.
CREATE SCHEMA scan;
SET search_path = scan, public;

CREATE TABLE v (id int PRIMARY KEY, k int, t text, b box, p point, ts tsvector, a int[], n numeric) USING verity WITH (autovacuum_enabled = off);
CREATE TABLE h (id int PRIMARY KEY, k int, t text, b box, p point, ts tsvector, a int[], n numeric) USING heap WITH (autovacuum_enabled = off);

-- run a statement on both, with @t for the table
CREATE PROCEDURE twice(stmt text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE replace(stmt, '@t', 'v');
	EXECUTE replace(stmt, '@t', 'h');
END $$;

-- rows that one query gives for one of the tables only
CREATE FUNCTION differ(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	v text[];
	h text[];
	result bigint;
BEGIN
	EXECUTE format('SELECT coalesce(array_agg(x::text), ''{}'') FROM (%s) x', replace(query, '@t', 'v')) INTO v;
	EXECUTE format('SELECT coalesce(array_agg(x::text), ''{}'') FROM (%s) x', replace(query, '@t', 'h')) INTO h;
	SELECT count(*) INTO result FROM (
		(SELECT unnest(v) EXCEPT ALL SELECT unnest(h)) UNION ALL
		(SELECT unnest(h) EXCEPT ALL SELECT unnest(v))) d;
	RETURN result;
END $$;

-- the plan's scan nodes, without costs
CREATE FUNCTION scans(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		IF line ~ 'Scan' THEN
			RETURN NEXT regexp_replace(line, '^[ >-]*', '');
		END IF;
	END LOOP;
END $$;

CALL twice($$INSERT INTO @t SELECT i, i % 50, repeat(md5(i::text), 1 + i % 4),
	box(point(i, i), point(i + 5, i + 3)), point(i % 100, i / 100),
	to_tsvector('simple', 'w' || i % 30 || ' w' || i % 7), ARRAY[i % 11, i % 13],
	CASE WHEN i % 9 <> 0 THEN i / 7.0 END
	FROM generate_series(1, 3000) i$$);
SELECT differ('SELECT * FROM @t');

-- updates that touch no index stay under their root, others begin a new one
CREATE INDEX v_k ON v (k);
CREATE INDEX h_k ON h (k);
CALL twice('UPDATE @t SET t = t || id WHERE id % 5 = 0');
CALL twice('UPDATE @t SET t = ''x'' || id WHERE id % 10 = 0');
CALL twice('UPDATE @t SET k = k + 1 WHERE id % 7 = 0');
CALL twice('UPDATE @t SET id = id + 10000 WHERE id % 101 = 0');
CALL twice('DELETE FROM @t WHERE id % 17 = 0');
SELECT differ('SELECT * FROM @t');
SELECT count(*), sum(length(t)), sum(n)::numeric(12,2) FROM v;

-- all index access methods, made over rows with a history
CREATE INDEX v_hash ON v USING hash (t);
CREATE INDEX v_gin ON v USING gin (ts);
CREATE INDEX v_gin_a ON v USING gin (a);
CREATE INDEX v_gist ON v USING gist (b);
CREATE INDEX v_spgist ON v USING spgist (p);
CREATE INDEX v_brin ON v USING brin (n) WITH (pages_per_range = 4);
CREATE INDEX v_expr ON v ((k + length(t)));
CREATE INDEX v_part ON v (n) WHERE k < 10;
ANALYZE v;

CREATE TABLE query (name text PRIMARY KEY, sql text);
INSERT INTO query VALUES
	('primary key', 'SELECT * FROM @t WHERE id = 1234'),
	('key range', 'SELECT * FROM @t WHERE id BETWEEN 500 AND 700'),
	('moved keys', 'SELECT * FROM @t WHERE id > 10000'),
	('btree', 'SELECT * FROM @t WHERE k = 8'),
	('hash', 'SELECT * FROM @t WHERE t = ''x1230'''),
	('gin', 'SELECT * FROM @t WHERE ts @@ ''w3 & w4'''),
	('gin array', 'SELECT * FROM @t WHERE a @> ''{3,5}'''),
	('gist', 'SELECT id, k, t, n FROM @t WHERE b && box(point(100,100),point(140,140))'),
	('spgist', 'SELECT id, k, t, n FROM @t WHERE p <@ box(point(10,10),point(20,20))'),
	('brin', 'SELECT * FROM @t WHERE n BETWEEN 100 AND 120'),
	('expression', 'SELECT * FROM @t WHERE k + length(t) = 60'),
	('partial', 'SELECT * FROM @t WHERE n < 50 AND k < 10'),
	('nulls', 'SELECT * FROM @t WHERE n IS NULL'),
	('or', 'SELECT * FROM @t WHERE k = 3 OR id < 40'),
	('order', 'SELECT id FROM @t WHERE k < 3 ORDER BY id DESC LIMIT 20'),
	('join', 'SELECT x.id, y.t FROM @t x JOIN @t y ON y.id = x.k + 1'),
	('count', 'SELECT count(*) FROM @t'),
	('min max', 'SELECT min(id), max(id), min(n), max(k) FROM @t');

CREATE FUNCTION ask() RETURNS TABLE (wrong text, rows bigint) LANGUAGE sql AS
	'SELECT name, d FROM (SELECT name, differ(sql) d FROM query ORDER BY name) x WHERE d <> 0';

-- each kind of plan
SELECT * FROM ask();
SET enable_seqscan = off;
SELECT * FROM ask();
SET enable_bitmapscan = off;
SELECT * FROM ask();
SET enable_indexscan = off; SET enable_bitmapscan = on;
SELECT * FROM ask();
RESET enable_seqscan; RESET enable_indexscan; RESET enable_bitmapscan;

-- the indexes are used
SET enable_seqscan = off;
SELECT q.name, s FROM query q, scans(replace(q.sql, '@t', 'v')) s
	WHERE name IN ('btree', 'hash', 'gin', 'gin array', 'gist', 'spgist', 'brin', 'expression', 'partial')
	AND s ~ 'Index' ORDER BY 1, 2;

-- index-only scans
SET enable_bitmapscan = off;
SELECT scans('SELECT id FROM v WHERE id < 100');
SELECT scans('SELECT count(*) FROM v');
SELECT scans('SELECT k FROM v ORDER BY k');
SELECT scans('SELECT max(id) FROM v');
SELECT scans('SELECT id FROM h WHERE id < 100');
SELECT scans('SELECT id FROM v WHERE id < 100 AND k = (SELECT max(id) FROM v) FOR UPDATE');
SELECT scans('UPDATE v SET n = 0 WHERE id IN (SELECT id FROM v WHERE id < 100)');
SELECT scans('WITH gone AS (DELETE FROM v WHERE id < 5 RETURNING 1) SELECT max(id) FROM v');
CREATE FUNCTION locked(int) RETURNS SETOF int LANGUAGE sql STABLE AS 'SELECT id FROM v WHERE id = $1 FOR UPDATE';
SELECT scans('SELECT max(id) FROM v, locked(1)');
DROP FUNCTION locked;
CREATE TABLE covered (id int, v int, n name, bx box) USING verity;
INSERT INTO covered SELECT i, 10 * i, 'n' || i, box(point(i, i), point(0, 0)) FROM generate_series(1, 3) i;
CREATE INDEX covered_id ON covered (id);
CREATE INDEX covered_expression ON covered ((id + v), id, v, n);
CREATE INDEX covered_bx ON covered USING gist (bx);
CREATE INDEX covered_v ON covered (v);
SELECT scans('SELECT id + v, n FROM covered ORDER BY id + v DESC');
SELECT id + v, n FROM covered ORDER BY id + v DESC;
-- what an index has by an expression is computed by the query: the index owner's functions do not run as the reader
SELECT scans('SELECT id FROM covered WHERE id + v > 0 ORDER BY id + v');
SELECT scans('SELECT count(*) FROM covered WHERE id + v > 0');
SELECT scans('SELECT bx FROM covered WHERE bx && box ''(3,3),(2.5,2.5)''');
SELECT bx FROM covered WHERE bx && box '(3,3),(2.5,2.5)';
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id FROM covered ORDER BY id;
FETCH 2 FROM c;
FETCH BACKWARD 1 FROM c;
ROLLBACK;
CREATE FUNCTION fetches(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF) ' || query LOOP
		IF line ~ 'Heap Fetches' THEN RETURN NEXT trim(line); END IF;
	END LOOP;
END $$;
SELECT fetches('SELECT id FROM covered WHERE id > 1');
DROP FUNCTION fetches;

-- RULES B 18: their values are the records', whatever stands in the index
BEGIN;
UPDATE pg_index SET indkey = '2' WHERE indexrelid = 'covered_id'::regclass;
DROP INDEX covered_v, covered_expression;
SELECT scans('SELECT v FROM covered');
SELECT v FROM covered;
ROLLBACK;
DROP TABLE covered;
RESET enable_seqscan; RESET enable_bitmapscan;

-- changes with all indexes in place
CALL twice('UPDATE @t SET k = k - 1, t = ''y'' || id WHERE id % 3 = 0');
CALL twice('UPDATE @t SET ts = ''w3 w4'', a = ''{3,5}'' WHERE id % 40 = 1');
CALL twice('UPDATE @t SET n = n + 1000 WHERE id % 11 = 4');
CALL twice('UPDATE @t SET p = point(15, 15), b = box(point(120,120),point(121,121)) WHERE id % 77 = 5');
CALL twice('DELETE FROM @t WHERE id % 23 = 0');
CALL twice('INSERT INTO @t (id, k, n) SELECT i, 8, 110 FROM generate_series(20000, 20100) i');
DO $$
BEGIN
	CALL twice('UPDATE @t SET k = 8, t = ''gone''');
	CALL twice('DELETE FROM @t WHERE id < 1000');
	RAISE EXCEPTION 'away with it';
EXCEPTION WHEN raise_exception THEN NULL;
END $$;
SELECT * FROM ask();
SET enable_seqscan = off;
SELECT * FROM ask();
SET enable_bitmapscan = off;
SELECT * FROM ask();
RESET enable_seqscan; RESET enable_bitmapscan;

-- ordering by distance
SET enable_seqscan = off;
SELECT differ('SELECT p <-> point(50.2,3.1) AS d FROM @t ORDER BY 1 LIMIT 30');
RESET enable_seqscan;

-- a lossy bitmap: more pages than work_mem has room for
CREATE TABLE lossy_v (id int, k int, pad text) USING verity;
CREATE TABLE lossy_h (id int, k int, pad text) USING heap;
ALTER TABLE lossy_v ALTER pad SET STORAGE EXTERNAL;
INSERT INTO lossy_v SELECT i, i % 7, repeat('p', 500) FROM generate_series(1, 20000) i;
INSERT INTO lossy_h SELECT i, i % 7, repeat('p', 500) FROM generate_series(1, 20000) i;
CREATE INDEX ON lossy_v (k);
CREATE INDEX ON lossy_h (k);
UPDATE lossy_v SET pad = 'q' WHERE id % 50 = 0;
UPDATE lossy_h SET pad = 'q' WHERE id % 50 = 0;
SET work_mem = '64kB';
SET enable_seqscan = off; SET enable_indexscan = off;
SELECT count(*), sum(id), sum(length(pad)) FROM lossy_v WHERE k BETWEEN 2 AND 4;
SELECT count(*), sum(id), sum(length(pad)) FROM lossy_h WHERE k BETWEEN 2 AND 4;
DO $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)
		SELECT count(*) FROM lossy_v WHERE k BETWEEN 2 AND 4' LOOP
		IF line ~ 'lossy=[1-9]' THEN
			RAISE NOTICE 'the bitmap is lossy';
		END IF;
	END LOOP;
END $$;
RESET work_mem; RESET enable_seqscan; RESET enable_indexscan;

-- RULES A 7: TIDs name versions
CREATE TABLE tids (id int, note text) USING verity;
INSERT INTO tids SELECT i, 'n' || i FROM generate_series(1, 300) i;
SELECT scans('SELECT * FROM tids WHERE ctid = ''(0,2)''');
SELECT * FROM tids WHERE ctid = '(0,2)';
SELECT * FROM tids WHERE ctid = ANY (ARRAY['(0,2)', '(0,5)', '(0,0)', '(999,1)']::tid[]) ORDER BY id;
SELECT scans('SELECT * FROM tids WHERE ctid >= ''(0,1)'' AND ctid < ''(0,4)''');
SELECT * FROM tids WHERE ctid >= '(0,1)' AND ctid < '(0,4)';
SELECT count(*) FROM tids WHERE ctid > '(0,3)';
SELECT count(*) FROM tids WHERE ctid >= '(0,0)';
SELECT count(*) FROM tids WHERE ctid > '(5000,0)';
SELECT count(*) FROM tids WHERE ctid <= '(0,0)';
UPDATE tids SET note = 'changed' WHERE id = 2;
SELECT count(*) FROM tids WHERE ctid = '(0,2)';
SELECT note FROM tids t WHERE ctid = currtid2('tids', '(0,2)');
UPDATE tids SET note = 'by tid' WHERE ctid = '(0,3)' RETURNING id, note;
DELETE FROM tids WHERE ctid IN (SELECT ctid FROM tids WHERE id > 290);
SELECT count(*), max(id) FROM tids;
-- RULES A 6: no tombstone is a row, nor is what stands beside rows in block 0
SELECT count(*) FROM tids WHERE ctid IN (SELECT format('(%s,%s)', p, i)::tid FROM generate_series(0, 6) p, generate_series(1, 100) i);

-- cursors: forward, backward, with hold, current of
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id FROM tids;
FETCH 3 FROM c;
FETCH BACKWARD 2 FROM c;
FETCH LAST FROM c;
FETCH NEXT FROM c;
FETCH PRIOR FROM c;
FETCH ABSOLUTE 5 FROM c;
MOVE BACKWARD ALL FROM c;
FETCH NEXT FROM c;
UPDATE tids SET note = 'where current' WHERE CURRENT OF c;
FETCH NEXT FROM c;
DELETE FROM tids WHERE CURRENT OF c;
FETCH PRIOR FROM c;
COMMIT;
SELECT * FROM tids WHERE id IN (1, 3) OR note = 'where current' ORDER BY id;
BEGIN;
DECLARE ch CURSOR WITH HOLD FOR SELECT id, note FROM tids WHERE id < 8 ORDER BY id;
FETCH 1 FROM ch;
COMMIT;
DELETE FROM tids WHERE id < 8;
FETCH ALL FROM ch;
CLOSE ch;

-- a cursor over a range of TIDs that turns round finds each row of it, as one over sorted rows does
CREATE TABLE spread (id int, pad text) USING verity;
INSERT INTO spread SELECT i, repeat('r', 500) FROM generate_series(1, 1000) i;
SELECT scans('SELECT id FROM spread WHERE ctid >= ''(3,1)'' AND ctid < ''(60,1)''');
CREATE FUNCTION turns(steps int[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	by_tid SCROLL CURSOR FOR SELECT id FROM spread WHERE ctid >= '(3,1)' AND ctid < '(60,1)';
	sorted SCROLL CURSOR FOR SELECT id FROM spread WHERE ctid >= '(3,1)' AND ctid < '(60,1)' ORDER BY ctid;
	step int;
	one int;
	other int;
	hits int := 0;
BEGIN
	OPEN by_tid;
	OPEN sorted;
	FOREACH step IN ARRAY steps LOOP
		FETCH RELATIVE step FROM by_tid INTO one;
		FETCH RELATIVE step FROM sorted INTO other;
		hits := hits + (other IS NOT NULL)::int;
		IF one IS DISTINCT FROM other THEN
			RETURN NEXT format('%s: %s, not %s', step, one, other);
		END IF;
	END LOOP;
	RETURN NEXT format('%s of %s steps led to a row', hits, array_length(steps, 1));
END $$;
SELECT turns('{1,300,-250,200,-150,400,-490,-5,1,500,-400,400,-300,299}');
SELECT turns('{700,-600,650,-700,5}');
SELECT turns('{2000,-1,-700,700,-1}');
DROP FUNCTION turns;
DROP TABLE spread;

-- a cursor keeps seeing what its snapshot saw
BEGIN;
DECLARE c2 CURSOR FOR SELECT count(*) FROM v;
UPDATE v SET t = 'other' WHERE id < 500;
DELETE FROM v WHERE id > 2500;
FETCH c2;
ROLLBACK;
SELECT differ('SELECT * FROM @t');

-- system columns need nothing opened
SELECT count(DISTINCT xmin::text) > 1 AS xmins, bool_and(tableoid = 'v'::regclass) AS tableoid,
	count(DISTINCT ctid) = count(*) AS ctids, bool_and(cmin IS NOT NULL) AS cmin FROM v;
BEGIN;
INSERT INTO tids VALUES (1000, 'new') RETURNING xmin = pg_current_xact_id()::xid AS mine, xmax, cmin, tableoid::regclass;
SELECT cmin, xmax, xmin = pg_current_xact_id()::xid AS mine FROM tids WHERE id = 1000;
UPDATE tids SET note = 'newer' WHERE id = 1000 RETURNING xmin = pg_current_xact_id()::xid AS mine, xmax, cmin,
	ctid = (SELECT ctid FROM tids WHERE id = 1000) AS old_place;
ROLLBACK;

-- samples
SELECT count(*) = (SELECT count(*) FROM v) AS all_rows FROM v TABLESAMPLE SYSTEM (100);
SELECT count(*) = (SELECT count(*) FROM v) AS all_rows FROM v TABLESAMPLE BERNOULLI (100);
SELECT count(*) FROM v TABLESAMPLE BERNOULLI (0);
SELECT count(*) BETWEEN 1 AND 1500 AS some FROM v TABLESAMPLE BERNOULLI (25) REPEATABLE (1);
SELECT count(*) AS not_rows FROM (SELECT id, t FROM v TABLESAMPLE BERNOULLI (50) EXCEPT SELECT id, t FROM v) x;

-- RULES A 16: statistics count rows, not their history
ANALYZE v;
SELECT reltuples = (SELECT count(*) FROM v) AS live_rows FROM pg_class WHERE oid = 'v'::regclass;
SELECT null_frac > 0 AS nulls, n_distinct FROM pg_stats WHERE schemaname = 'scan' AND tablename = 'v' AND attname = 'k';

-- parallel scans and a parallel index build
SET min_parallel_table_scan_size = 0; SET min_parallel_index_scan_size = 0;
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
SET max_parallel_workers_per_gather = 2; SET parallel_leader_participation = off;
SELECT scans('SELECT count(*) FROM v');
SELECT * FROM ask();
SET enable_seqscan = off;
SELECT scans('SELECT sum(k) FROM v WHERE id > 10');
SELECT sum(k) FROM v WHERE id > 10;
SELECT sum(k) FROM h WHERE id > 10;
SET enable_indexscan = off;
SELECT scans('SELECT sum(k) FROM v WHERE id > 10');
SELECT sum(k) FROM v WHERE id > 10;
RESET enable_seqscan; RESET enable_indexscan;
RESET parallel_leader_participation; RESET parallel_setup_cost; RESET parallel_tuple_cost;
SET max_parallel_maintenance_workers = 2;
SET min_parallel_table_scan_size = 0;
ALTER TABLE v SET (parallel_workers = 2);
DROP INDEX v_k;
CREATE INDEX v_k ON v (k, id);
CREATE UNIQUE INDEX v_id2 ON v (id, k);
REINDEX TABLE v;
RESET max_parallel_maintenance_workers; RESET min_parallel_table_scan_size;
RESET min_parallel_index_scan_size; RESET max_parallel_workers_per_gather;
SET enable_seqscan = off;
SELECT * FROM ask();
RESET enable_seqscan;

-- RULES A 3: unique indexes and exclusion constraints see through histories
\set VERBOSITY terse
CREATE UNIQUE INDEX v_bad ON v (k);
\set VERBOSITY default
CREATE TABLE u (id int PRIMARY KEY, x int UNIQUE DEFERRABLE INITIALLY DEFERRED, r int4range,
	EXCLUDE USING gist (r WITH &&)) USING verity;
INSERT INTO u SELECT i, i, int4range(i * 10, i * 10 + 5) FROM generate_series(1, 5) i;
UPDATE u SET x = x + 1;
UPDATE u SET r = int4range(100, 110) WHERE id = 1;
INSERT INTO u VALUES (6, 60, int4range(105, 106));
INSERT INTO u VALUES (6, 60, int4range(10, 12));
INSERT INTO u VALUES (1, 61, NULL);
DELETE FROM u WHERE id = 1;
INSERT INTO u VALUES (1, 61, NULL);
BEGIN;
INSERT INTO u VALUES (7, 61, NULL);
COMMIT;
INSERT INTO u VALUES (1, 70, NULL) ON CONFLICT (id) DO UPDATE SET x = excluded.x RETURNING *;
INSERT INTO u VALUES (2, 71, NULL) ON CONFLICT DO NOTHING RETURNING *;
SELECT id, x, r FROM u ORDER BY id;

-- RULES A 9: concurrent builds
CREATE INDEX CONCURRENTLY v_cic ON v (t);
CREATE UNIQUE INDEX CONCURRENTLY v_cic_u ON v (id);
REINDEX INDEX CONCURRENTLY v_cic;
DROP INDEX CONCURRENTLY v_hash;
\set VERBOSITY terse
CREATE UNIQUE INDEX CONCURRENTLY v_cic_bad ON v (k);
\set VERBOSITY default
DROP INDEX v_cic_bad;
SELECT relname, indisvalid FROM pg_index JOIN pg_class c ON c.oid = indexrelid
	WHERE relname LIKE 'v\_cic%' ORDER BY 1;
SET enable_seqscan = off;
SELECT * FROM ask();
RESET enable_seqscan;

-- RULES A 7: BRIN summaries of pages added later
INSERT INTO v (id, n) SELECT i, 5000 + i FROM generate_series(30000, 31000) i;
INSERT INTO h (id, n) SELECT i, 5000 + i FROM generate_series(30000, 31000) i;
SELECT brin_summarize_new_values('v_brin') > 0 AS summarized;
SET enable_seqscan = off; SET enable_indexscan = off;
SELECT scans('SELECT * FROM v WHERE n BETWEEN 35100 AND 35200 AND k IS NULL');
SELECT differ('SELECT * FROM @t WHERE n BETWEEN 35100 AND 35200');
RESET enable_seqscan; RESET enable_indexscan;

-- RULES A 13: slots: rows with columns added later, wide rows, whole rows
ALTER TABLE v ADD COLUMN late int DEFAULT 7, ADD COLUMN later text;
ALTER TABLE h ADD COLUMN late int DEFAULT 7, ADD COLUMN later text;
CALL twice('UPDATE @t SET later = repeat(md5(id::text), 400) WHERE id % 100 = 3');
CALL twice('ALTER TABLE @t DROP COLUMN a');
SELECT differ('SELECT * FROM @t');
SELECT differ('SELECT id, late, length(later) FROM @t');
SELECT differ('SELECT row_to_json(x)::text FROM @t x');
SELECT count(*) FROM v x WHERE x IS NOT NULL;
DELETE FROM query WHERE name = 'gin array';
SELECT * FROM ask();

-- a trigger's row is put into a slot as plain values
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.t = upper(NEW.t);
	RETURN NEW;
END $$;
CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON v FOR EACH ROW EXECUTE FUNCTION shout();
CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON h FOR EACH ROW EXECUTE FUNCTION shout();
CALL twice('UPDATE @t SET k = k + 1 WHERE id % 13 = 0');
CALL twice('INSERT INTO @t (id, t) VALUES (40000, ''loud'')');
SELECT differ('SELECT * FROM @t');
SELECT t FROM v WHERE id = 40000;

-- RULES A 9: where a version that old snapshots see was superseded in its
-- root, they must not use an index that is made now
CREATE TABLE broken (id int PRIMARY KEY, x int) USING verity;
INSERT INTO broken VALUES (1, 1);
CREATE INDEX broken_inserts ON broken (id);
BEGIN;
UPDATE broken SET x = 2;
CREATE INDEX broken_x ON broken (x);
SET LOCAL enable_seqscan = off;
SELECT scans('SELECT * FROM broken WHERE x = 2');
SELECT * FROM broken WHERE x = 2;
COMMIT;
SELECT relname, indcheckxmin FROM pg_index JOIN pg_class c ON c.oid = indexrelid
	WHERE indrelid = 'broken'::regclass ORDER BY 1;

-- RULES A 10, B 17: a hot row is read as fast as any, and a scan leaves out
-- pages without a current record
CREATE FUNCTION pages_read(query text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT json) ' || query INTO plan;
	RETURN (plan #>> '{0,Plan,Shared Hit Blocks}')::int + (plan #>> '{0,Plan,Shared Read Blocks}')::int;
END $$;
CREATE TABLE hot (id int PRIMARY KEY, n int, k int) USING verity WITH (autovacuum_enabled = off);
CREATE INDEX ON hot (k);
INSERT INTO hot VALUES (1, 0, 0), (2, 0, 0);
DO $$
BEGIN
	FOR i IN 1 .. 3000 LOOP
		UPDATE hot SET n = i WHERE id = 1;
	END LOOP;
	FOR i IN 1 .. 1000 LOOP
		UPDATE hot SET k = i WHERE id = 2;
	END LOOP;
END $$;
SELECT pg_relation_size('hot') / 8192 > 60 AS has_history;
VACUUM hot;
SET enable_seqscan = off; SET enable_bitmapscan = off;
SELECT id, n, k FROM hot WHERE id IN (1, 2) ORDER BY id;
SELECT pages_read('SELECT * FROM hot WHERE id = 1') < 8 AS few;
SELECT pages_read('SELECT * FROM hot WHERE id = 2') < 12 AS few;
SELECT pages_read('SELECT * FROM hot WHERE k = 1000') < 8 AS few;
RESET enable_seqscan; RESET enable_bitmapscan;
SELECT pages_read('SELECT count(*) FROM hot') < 10 AS few;
SELECT count(*), sum(n), sum(k) FROM hot;

\set VERBOSITY terse
DROP SCHEMA scan CASCADE;
