--
-- DDL on verity tables: what works as on heap, what is refused, what is noted.
--
CREATE SCHEMA ddl;
SET search_path = ddl, public;

-- making tables from others
CREATE TABLE base (id int PRIMARY KEY, v text DEFAULT 'x', CHECK (id < 100)) USING verity;
INSERT INTO base SELECT g, 'row ' || g FROM generate_series(1, 5) g;
CREATE TABLE made USING verity AS SELECT * FROM base WHERE id > 2;
SELECT * FROM made ORDER BY id;
CREATE TABLE empty USING verity AS SELECT * FROM base WITH NO DATA;
SELECT count(*) FROM empty;
SET default_table_access_method = verity;
SELECT * INTO taken FROM base WHERE id < 3;
RESET default_table_access_method;
SELECT a.amname, t.id, t.v FROM taken t JOIN pg_class c ON c.oid = t.tableoid JOIN pg_am a ON a.oid = c.relam;
CREATE TABLE alike (LIKE base INCLUDING ALL) USING verity;
INSERT INTO alike (id) VALUES (1);
INSERT INTO alike (id) VALUES (100);
TABLE alike;

-- a parallel query may feed one
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
CREATE TABLE many (i int);
INSERT INTO many SELECT generate_series(1, 20000);
ANALYZE many;
CREATE TABLE fed USING verity AS SELECT i, i % 7 AS seven FROM many WHERE i % 2 = 0;
SELECT count(*), sum(seven) FROM fed;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

-- generated and identity columns, serial
CREATE TABLE gen (
	id int GENERATED ALWAYS AS IDENTITY,
	s serial,
	a int,
	b int GENERATED ALWAYS AS (a * 2) STORED
) USING verity;
INSERT INTO gen (a) VALUES (1), (2), (NULL);
INSERT INTO gen (id, a) VALUES (9, 9);
INSERT INTO gen (id, a) OVERRIDING SYSTEM VALUE VALUES (9, 9);
UPDATE gen SET b = 3;
UPDATE gen SET a = 10 WHERE a = 1;
TABLE gen ORDER BY id;

-- columns that come and go without a rewrite: old rows, new rows, changed rows
ALTER TABLE base ADD COLUMN n int;
ALTER TABLE base ADD COLUMN d int DEFAULT 42;
ALTER TABLE base ADD COLUMN t text NOT NULL DEFAULT 'constant';
TABLE base ORDER BY id;
UPDATE base SET v = 'changed' WHERE id = 2;
INSERT INTO base (id) VALUES (6);
ALTER TABLE base ALTER COLUMN d SET DEFAULT 43;
INSERT INTO base (id) VALUES (7);
ALTER TABLE base DROP COLUMN v;
ALTER TABLE base ADD COLUMN late timestamptz DEFAULT '2020-01-01 00:00:00+00';
TABLE base ORDER BY id;
DELETE FROM base WHERE id = 3;
UPDATE base SET d = d + 1 WHERE d = 42;
SELECT id, n, d, t, late = '2020-01-01 00:00:00+00' AS late FROM base ORDER BY id;
SELECT count(*) FROM base WHERE t = 'constant';

-- a rewrite, a type change without one, a volatile default
ALTER TABLE base ALTER COLUMN id TYPE bigint;
ALTER TABLE base ALTER COLUMN t TYPE varchar;
ALTER TABLE base ADD COLUMN r double precision DEFAULT random();
SELECT id, n, d, t, r BETWEEN 0 AND 1 AS r FROM base ORDER BY id;

-- constraints that are added to rows that are there
ALTER TABLE base ADD CONSTRAINT small CHECK (id < 7);
ALTER TABLE base ADD CONSTRAINT small CHECK (id < 8);
ALTER TABLE base ALTER COLUMN n SET NOT NULL;
ALTER TABLE base ADD CONSTRAINT u UNIQUE (d);
CREATE TABLE refers (id int REFERENCES base) USING verity;
INSERT INTO refers VALUES (1), (55);
INSERT INTO refers VALUES (1);
DELETE FROM base WHERE id = 1;

-- names, owners, schemas, tablespaces
ALTER TABLE base RENAME COLUMN t TO "T t";
ALTER TABLE base RENAME TO basis;
CREATE SCHEMA ddl2;
ALTER TABLE basis SET SCHEMA ddl2;
ALTER TABLE ddl2.basis SET (fillfactor = 70);
SELECT "T t" FROM ddl2.basis WHERE id = 1;

-- partitions and children
CREATE TABLE parted (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE parted1 PARTITION OF parted FOR VALUES FROM (0) TO (10) USING verity;
CREATE TABLE parted2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
CREATE TABLE parted3 (k int, v text) USING verity;
INSERT INTO parted3 VALUES (25, 'before');
ALTER TABLE parted ATTACH PARTITION parted3 FOR VALUES FROM (20) TO (30);
INSERT INTO parted VALUES (1, 'one'), (11, 'eleven'), (21, 'twenty-one');
UPDATE parted SET k = k + 10 WHERE k IN (1, 11);
SELECT tableoid::regclass, * FROM parted ORDER BY k, v;
UPDATE parted SET k = 5 WHERE k = 25;
SELECT tableoid::regclass, * FROM parted ORDER BY k, v;
ALTER TABLE parted DETACH PARTITION parted1;
CREATE TABLE elder (a int, b text);
CREATE TABLE child (c int) INHERITS (elder) USING verity;
INSERT INTO child VALUES (1, 'b', 2);
ALTER TABLE elder ADD COLUMN d int DEFAULT 5;
ALTER TABLE elder RENAME COLUMN b TO bee;
SELECT tableoid::regclass, * FROM elder;
TABLE child;

-- sealed, but no ledger
CREATE TEMP TABLE passing (a int) USING verity;
CREATE UNLOGGED TABLE light (a int) USING verity;
CREATE MATERIALIZED VIEW seen USING verity AS SELECT id FROM ddl2.basis;
INSERT INTO passing VALUES (1);
INSERT INTO light VALUES (1);
CREATE UNIQUE INDEX ON seen (id);
REFRESH MATERIALIZED VIEW seen;
REFRESH MATERIALIZED VIEW CONCURRENTLY seen;
SELECT * FROM passing, light, seen ORDER BY id;
ALTER TABLE light SET LOGGED;
INSERT INTO light VALUES (2);
TABLE light;

-- verity by default only: nobody asked for history
SET default_table_access_method = verity;
CREATE TEMP TABLE passing_default (a int);
CREATE UNLOGGED TABLE light_default (a int);
CREATE MATERIALIZED VIEW seen_default AS SELECT id FROM ddl2.basis;
RESET default_table_access_method;
SELECT count(*) FROM pg_class c JOIN pg_am a ON a.oid = c.relam
  WHERE relname IN ('passing_default', 'light_default', 'seen_default') AND amname = 'verity';
DROP TABLE passing_default, light_default;
DROP MATERIALIZED VIEW seen_default;

-- CLUSTER by a sort
CREATE TABLE sorted (k int, v text, gone int) USING verity;
INSERT INTO sorted SELECT (i * 37) % 100, repeat(i::text, i), i FROM generate_series(0, 99) i;
ALTER TABLE sorted DROP COLUMN gone;
UPDATE sorted SET v = v || '!' WHERE k < 5;
DELETE FROM sorted WHERE k = 50;
CREATE INDEX sorted_k ON sorted (k);
SET enable_indexscan = off;
CLUSTER sorted USING sorted_k;
RESET enable_indexscan;
SELECT count(*), bool_and(k > before) AS in_order, md5(string_agg(v, ',' ORDER BY k))
  FROM (SELECT k, v, lag(k, 1, -1) OVER (ORDER BY ctid) AS before FROM sorted) s;

-- an update stays on its page where the fill factor left room
CREATE TABLE roomy (id int, v int) USING verity WITH (fillfactor = 10);
INSERT INTO roomy SELECT i, i FROM generate_series(1, 50) i;
CREATE TEMP TABLE places USING heap AS SELECT id, split_part(ctid::text, ',', 1) AS page FROM roomy;
UPDATE roomy SET v = v + 1;
SELECT count(*) FROM roomy r JOIN places p USING (id) WHERE split_part(r.ctid::text, ',', 1) = page;
DROP TABLE sorted, roomy, places;

-- what PostgreSQL refuses itself
CREATE TEMP TABLE prepared (a int) USING verity;
BEGIN;
INSERT INTO prepared VALUES (1);
PREPARE TRANSACTION 'with a temporary table';

-- an empty table becomes a view, where PostgreSQL has that still (15)
CREATE TABLE viewed (id int, v text) USING verity;
DO $$
BEGIN
	IF current_setting('server_version_num')::int < 160000 THEN
		BEGIN
			CREATE RULE "_RETURN" AS ON SELECT TO taken DO INSTEAD SELECT 1 AS id, 'x'::text AS v;
			RAISE 'a table with rows became a view';
		EXCEPTION WHEN object_not_in_prerequisite_state THEN NULL;
		END;
		CREATE RULE "_RETURN" AS ON SELECT TO viewed DO INSTEAD SELECT 1 AS id, 'x'::text AS v;
		ASSERT (SELECT v = 'x' FROM viewed);
		DROP VIEW viewed;
	ELSE
		DROP TABLE viewed;
	END IF;
END $$;
SELECT count(*) FROM taken;

-- publications
CREATE PUBLICATION regress_verity_pub FOR TABLE taken, elder;
ALTER PUBLICATION regress_verity_pub ADD TABLE verity.journal;
ALTER PUBLICATION regress_verity_pub SET TABLE taken, verity.idempotency;
ALTER PUBLICATION regress_verity_pub ADD TABLES IN SCHEMA verity;
CREATE PUBLICATION regress_verity_pub2 FOR TABLES IN SCHEMA public, verity;
SET search_path = verity;
CREATE PUBLICATION regress_verity_pub2 FOR TABLES IN SCHEMA CURRENT_SCHEMA;
ALTER PUBLICATION regress_verity_pub ADD TABLES IN SCHEMA CURRENT_SCHEMA;
SET search_path = '';
CREATE PUBLICATION regress_verity_pub2 FOR TABLES IN SCHEMA CURRENT_SCHEMA;
SET search_path = ddl, public;
CREATE PUBLICATION regress_verity_pub2 FOR TABLE verity.journal_heads;
SELECT tablename FROM pg_publication_tables WHERE pubname = 'regress_verity_pub' ORDER BY 1;
DROP PUBLICATION regress_verity_pub;

-- the row of a failed check reaches the client as PostgreSQL decides
ALTER TABLE child ADD CONSTRAINT c_small CHECK (c < 10);
INSERT INTO child VALUES (3, 'shown', 11);

-- the newest definition that the journal holds is the one that there is
CREATE VIEW stale AS
SELECT c.oid::regclass AS relation
FROM pg_class c JOIN pg_am a ON a.oid = c.relam AND a.amname = 'verity'
LEFT JOIN LATERAL (
	SELECT d.definition FROM verity.definitions() d
	WHERE d.relation = c.oid AND d.action <> 'drop' ORDER BY d.position DESC LIMIT 1) d ON true
WHERE c.relkind = 'r' AND c.relpersistence = 'p'
	AND d.definition IS DISTINCT FROM verity.table_definition(c.oid);
TABLE stale;
SELECT action, name, version FROM verity.definitions() WHERE name ~ 'ddl2?[.]basi?[se]' ORDER BY position;
CREATE TYPE mood AS ENUM ('negative', 'positive');
CREATE DOMAIN feeling AS mood;
CREATE TABLE host (x int);
CREATE TABLE moody (m mood, f feeling, h host) USING verity;
INSERT INTO moody VALUES ('negative', 'positive');
ALTER TYPE mood RENAME VALUE 'negative' TO 'bad';
TABLE stale;
ALTER DOMAIN feeling SET NOT NULL;
ALTER DOMAIN feeling DROP NOT NULL;
ALTER TABLE host ADD COLUMN y int;
TABLE stale;

-- what a definition takes from elsewhere, through as many steps as it takes
CREATE FUNCTION fits(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 < 100';
CREATE DOMAIN size AS int CHECK (fits(value));
CREATE TYPE crate AS (w size, h size);
CREATE TYPE reach AS RANGE (subtype = size);
CREATE ROLE regress_verity_a;
CREATE TABLE goal (id int PRIMARY KEY);
CREATE VIEW goals AS SELECT id FROM goal;
CREATE SEQUENCE counter;
CREATE TABLE far (
	id int DEFAULT nextval('counter') REFERENCES goal,
	b crate[],
	r reach,
	e int CONSTRAINT odd CHECK (fits(e)),
	EXCLUDE ((fits(id)::text) WITH =)
) USING verity;
CREATE POLICY near ON far TO regress_verity_a USING (id IN (SELECT id FROM goals));
ALTER FUNCTION fits(int) RENAME TO fitting;
TABLE stale;
ALTER DOMAIN size RENAME CONSTRAINT size_check TO fine;
TABLE stale;
ALTER DOMAIN size ADD CONSTRAINT more CHECK (value > 0) NOT VALID;
TABLE stale;
ALTER DOMAIN size DROP CONSTRAINT more;
TABLE stale;
ALTER TYPE crate RENAME ATTRIBUTE w TO wide;
TABLE stale;
ALTER TYPE crate ADD ATTRIBUTE d size;
TABLE stale;
ALTER TYPE reach RENAME TO stretch;
TABLE stale;
ALTER ROLE regress_verity_a RENAME TO regress_verity_b;
TABLE stale;
ALTER TABLE goal RENAME COLUMN id TO number;
TABLE stale;
ALTER VIEW goals RENAME TO aims;
TABLE stale;
ALTER SEQUENCE counter RENAME TO teller;
TABLE stale;
ALTER SCHEMA ddl RENAME TO ddl1;
SET search_path = ddl1, public;
TABLE stale;
ALTER SCHEMA ddl1 RENAME TO ddl;
SET search_path = ddl, public;
TABLE stale;
DROP FUNCTION fitting(int) CASCADE;
TABLE stale;
DROP TYPE crate CASCADE;
TABLE stale;
SELECT count(*) FROM verity.definitions() WHERE name ~ '[.]far$';
DROP TABLE far;
DROP ROLE regress_verity_b;

ALTER TYPE mood ADD VALUE 'neutral';
ALTER SCHEMA ddl2 RENAME TO ddl3;
CREATE POLICY p ON moody USING (m = 'bad');
ALTER TABLE moody ENABLE ROW LEVEL SECURITY;
TABLE stale;
BEGIN;
ALTER TABLE moody ADD COLUMN gone int;
INSERT INTO moody VALUES ('bad', 'bad', NULL, 1);
ROLLBACK;
INSERT INTO moody VALUES ('bad', 'bad', NULL);
TABLE stale;
BEGIN;
INSERT INTO moody VALUES ('bad', 'bad', NULL);
SAVEPOINT s;
ALTER TABLE moody ADD COLUMN gone int;
INSERT INTO moody VALUES ('bad', 'bad', NULL, 1);
ROLLBACK TO s;
INSERT INTO moody VALUES ('positive', 'bad', NULL);
ALTER TABLE moody ADD COLUMN stays int;
INSERT INTO moody VALUES ('positive', 'bad', NULL, 4);
COMMIT;
TABLE stale;

-- a definition whose entry goes with a savepoint, and which stays or goes itself
BEGIN;
ALTER TABLE moody ADD COLUMN kept int;
SAVEPOINT s;
INSERT INTO moody (m, f, kept) VALUES ('bad', 'bad', 1);
ROLLBACK TO s;
INSERT INTO moody (m, f, kept) VALUES ('bad', 'bad', 2);
COMMIT;
BEGIN;
INSERT INTO host VALUES (1);
SAVEPOINT s;
ALTER TABLE moody ADD COLUMN gone int;
INSERT INTO moody (m, f, gone) VALUES ('bad', 'bad', 1);
ROLLBACK TO s;
COMMIT;
BEGIN;
CREATE TABLE late (a int) USING verity;
SAVEPOINT s;
INSERT INTO late VALUES (1);
ROLLBACK TO s;
INSERT INTO late VALUES (2);
COMMIT;
TABLE stale;
TABLE late;
TABLE moody;
SELECT action, name, version, length(digest) FROM verity.definitions() WHERE name = 'ddl.moody' ORDER BY position;

-- more versions than fit with the first page, and on a page of their own
CREATE TABLE restless (id int) USING verity;
DO $$
BEGIN
	FOR i IN 1..110 LOOP
		EXECUTE format('ALTER TABLE restless ADD COLUMN c%s int DEFAULT %s', i, i);
		EXECUTE format('INSERT INTO restless (id) VALUES (%s)', i);
	END LOOP;
END $$;
SELECT count(*), sum(c1), sum(c50), sum(c100), max(version)
FROM restless, (SELECT max(version) AS version FROM verity.definitions() WHERE name = 'ddl.restless') d;
VACUUM restless;
INSERT INTO restless (id) SELECT generate_series(1, 1000);
SELECT count(*) FROM restless;

-- TRUNCATE of a table of the same transaction keeps meta data that outgrew the first page
BEGIN;
CREATE TABLE uniques (a int UNIQUE, b int UNIQUE, c int UNIQUE, d int UNIQUE, e int UNIQUE, f int UNIQUE, g int UNIQUE, h int UNIQUE)
	USING verity;
TRUNCATE uniques;
INSERT INTO uniques SELECT i, i, i, i, i, i, i, i FROM generate_series(1, 1000) i;
TRUNCATE uniques;
INSERT INTO uniques VALUES (1, 1, 1, 1, 1, 1, 1, 1) RETURNING ctid;
COMMIT;
INSERT INTO uniques SELECT i, i, i, i, i, i, i, i FROM generate_series(2, 1000) i;
SELECT count(*), sum(h) FROM uniques WHERE h < 500;
BEGIN;
CREATE TABLE emptied (id int) USING verity;
INSERT INTO emptied SELECT generate_series(1, 300);
DO $$
BEGIN
	FOR i IN 1..110 LOOP
		EXECUTE format('ALTER TABLE emptied ADD COLUMN c%s int DEFAULT %s', i, i);
		EXECUTE format('INSERT INTO emptied (id) VALUES (%s)', i);
	END LOOP;
END $$;
SELECT pg_relation_size('emptied') / 8192 > 10 AS filled;
TRUNCATE emptied;
SELECT pg_relation_size('emptied') / 8192 AS pages, count(*) FROM emptied;
INSERT INTO emptied (id) VALUES (1) RETURNING ctid;
SAVEPOINT s;
ALTER TABLE emptied ADD COLUMN lost int;
INSERT INTO emptied (id) VALUES (2);
ROLLBACK TO s;
INSERT INTO emptied (id) SELECT generate_series(2, 1000);
TRUNCATE emptied;
INSERT INTO emptied (id) SELECT generate_series(1, 1000);
COMMIT;
SELECT count(*), sum(id), sum(c110) FROM emptied;
CREATE TEMP TABLE short_lived (id int) USING verity ON COMMIT DELETE ROWS;
DO $$
BEGIN
	FOR i IN 1..5 LOOP
		EXECUTE format('ALTER TABLE short_lived ADD COLUMN c%s int DEFAULT %s', i, i);
		INSERT INTO short_lived (id) SELECT generate_series(1, 100);
	END LOOP;
END $$;
BEGIN;
INSERT INTO short_lived (id) SELECT generate_series(1, 1000);
SELECT count(*), sum(c5) FROM short_lived;
COMMIT;
SELECT count(*) FROM short_lived;

-- what a session keeps of a table does not grow with each of its changes
CREATE TABLE kept (id int PRIMARY KEY, v text) USING verity;
CREATE INDEX ON kept ((v || 'x')) WHERE id > 0;
SELECT sum(used_bytes) AS before FROM pg_backend_memory_contexts WHERE name = 'TopMemoryContext' \gset
DO $$ BEGIN
	FOR i IN 1..300 LOOP
		EXECUTE format('ALTER TABLE kept ALTER v SET STATISTICS %s', i);
		PERFORM FROM kept WHERE id = 1;
	END LOOP;
END $$;
SELECT sum(used_bytes) - :before < 100000 AS stays FROM pg_backend_memory_contexts WHERE name = 'TopMemoryContext';

-- where history is not protected, the journal's own relations still are members
DROP TABLE verity.journal;
DROP SCHEMA ddl3 CASCADE;

SELECT severity, check_name, object, detail FROM verity_verify() WHERE severity <> 'info';
SET client_min_messages = warning;
DROP SCHEMA ddl CASCADE;
SELECT severity, check_name, object, detail FROM verity_verify() WHERE severity <> 'info';

-- rows whose columns are to stay in place have no TOAST table, whatever their length
CREATE TABLE elsewhere (id int, t text) USING verity;
ALTER TABLE elsewhere ALTER COLUMN t SET STORAGE PLAIN;
CREATE TABLE in_place (LIKE elsewhere INCLUDING STORAGE) USING verity;
SELECT relname, reltoastrelid <> 0 AS has_toast FROM pg_class WHERE relname IN ('elsewhere', 'in_place') ORDER BY 1;
INSERT INTO in_place VALUES (1, repeat('x', 7000));
\set VERBOSITY terse
INSERT INTO in_place VALUES (2, repeat('x', 9000));
\set VERBOSITY default
SELECT id, length(t) FROM in_place;
DROP TABLE elsewhere, in_place;
