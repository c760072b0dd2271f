-- logical decoding: what test_decoding says of verity tables
SET timezone = 'UTC';
SELECT 'made' FROM pg_create_logical_replication_slot('regress_verity', 'test_decoding');
CREATE FUNCTION decoded() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT regexp_replace(data, '(.)\1{50,}', '\1…', 'g')
	FROM pg_logical_slot_get_changes('regress_verity', NULL, NULL, 'include-xids', '0', 'skip-empty-xacts', '1')
$$;

CREATE TABLE seen (id int PRIMARY KEY, v text, n numeric, big text) USING verity;
ALTER TABLE seen ALTER big SET STORAGE EXTERNAL;
INSERT INTO seen VALUES (1, 'one', 1.5, NULL), (2, NULL, NULL, NULL);
INSERT INTO seen SELECT g, 'row ' || g, g FROM generate_series(3, 5) g;
UPDATE seen SET v = 'two' WHERE id = 2;
UPDATE seen SET id = 20 WHERE id = 2;
DELETE FROM seen WHERE id IN (1, 3);
SELECT * FROM decoded();

-- page images do not take the place of rows
CHECKPOINT;
UPDATE seen SET v = 'imaged' WHERE id = 4;
CHECKPOINT;
INSERT INTO seen VALUES (6, 'imaged');
SELECT * FROM decoded();

-- rows that go to TOAST, alone and many at once
INSERT INTO seen VALUES (7, 'long', 7, repeat('x', 200000));
UPDATE seen SET v = 'still long' WHERE id = 7;
COPY seen FROM stdin;
30	c1	1	\N
31	\N	2	e
\.
INSERT INTO seen SELECT g, 'toasted', g, repeat(chr(64 + g), 20000) FROM generate_series(1, 3) g;
SELECT * FROM decoded();

-- savepoints, and what did not come about
BEGIN;
INSERT INTO seen VALUES (40, 'kept');
SAVEPOINT a;
INSERT INTO seen VALUES (41, 'dropped', 1, repeat('y', 20000));
ROLLBACK TO a;
UPDATE seen SET v = 'kept too' WHERE id = 40;
SAVEPOINT b;
DELETE FROM seen WHERE id = 5;
RELEASE b;
COMMIT;
BEGIN;
DELETE FROM seen;
ROLLBACK;
SELECT * FROM decoded();

-- speculative insertion: confirmed, turned into an update, and killed
INSERT INTO seen VALUES (50, 'new') ON CONFLICT DO NOTHING;
INSERT INTO seen VALUES (50, 'again', 0, repeat('z', 20000)) ON CONFLICT (id) DO UPDATE SET v = excluded.v, big = excluded.big;
CREATE TABLE ranges (r int4range, big text, EXCLUDE USING gist (r WITH &&)) USING verity;
ALTER TABLE ranges ALTER big SET STORAGE EXTERNAL;
INSERT INTO ranges VALUES ('[1,5)', 'first') ON CONFLICT DO NOTHING;
INSERT INTO ranges VALUES ('[2,3)', repeat('k', 20000)) ON CONFLICT DO NOTHING;
INSERT INTO ranges VALUES ('[7,8)', repeat('l', 20000)) ON CONFLICT DO NOTHING;
SELECT * FROM decoded();

-- columns that were added and dropped
ALTER TABLE seen ADD added int DEFAULT 7, DROP n;
UPDATE seen SET v = 'older' WHERE id = 4;
INSERT INTO seen (id, v) VALUES (60, 'younger');
SELECT * FROM decoded();

-- replica identities
CREATE TABLE ident (a int NOT NULL, b text NOT NULL, c text) USING verity;
CREATE UNIQUE INDEX ident_b ON ident (b);
INSERT INTO ident VALUES (1, 'one', NULL), (2, 'two', 'x'), (3, 'three', 'y');
UPDATE ident SET c = 'none' WHERE a = 1;
ALTER TABLE ident REPLICA IDENTITY USING INDEX ident_b;
UPDATE ident SET c = 'same key' WHERE a = 1;
UPDATE ident SET b = 'eins' WHERE a = 1;
DELETE FROM ident WHERE a = 1;
ALTER TABLE ident REPLICA IDENTITY FULL;
UPDATE ident SET c = repeat('f', 20000) WHERE a = 2;
ALTER TABLE ident ADD d int DEFAULT 9;
UPDATE ident SET c = 'short' WHERE a = 2;
DELETE FROM ident WHERE a = 2;
ALTER TABLE ident REPLICA IDENTITY NOTHING;
UPDATE ident SET c = 'z' WHERE a = 3;
DELETE FROM ident;
SELECT * FROM decoded();

-- partitions, TRUNCATE, rewriting, and a table that is gone when it is decoded
CREATE TABLE parts (k int PRIMARY KEY, v text) PARTITION BY RANGE (k);
CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (0) TO (10) USING verity;
CREATE TABLE parts2 PARTITION OF parts FOR VALUES FROM (10) TO (20) USING verity;
INSERT INTO parts VALUES (1, 'moves');
UPDATE parts SET k = 11;
TRUNCATE parts;
CREATE TABLE gone (id int PRIMARY KEY, v text) USING verity;
INSERT INTO gone VALUES (1, 'before'), (2, repeat('g', 30000));
ALTER TABLE gone ALTER id TYPE bigint;
INSERT INTO gone VALUES (3, 'rewritten');
UPDATE gone SET v = 'shorter' WHERE id = 2;
TRUNCATE gone;
INSERT INTO gone VALUES (4, 'emptied');
BEGIN;
CREATE TABLE fleeting USING verity AS SELECT 1 AS a;
ALTER TABLE fleeting ADD b float DEFAULT random();
ALTER TABLE fleeting DROP b;
INSERT INTO fleeting VALUES (2);
COMMIT;
DROP TABLE gone, fleeting;
SELECT * FROM decoded();

-- temporary and unlogged tables are not decoded; a materialized view is, as heap's:
-- from PostgreSQL 17 on, making one fills it as REFRESH does, which is not decoded
CREATE TEMP TABLE mine (a int) USING verity;
CREATE UNLOGGED TABLE light (a int) USING verity;
INSERT INTO mine VALUES (1);
INSERT INTO light VALUES (1);
CREATE MATERIALIZED VIEW shown USING verity AS SELECT id FROM seen WHERE id < 5 ORDER BY id;
CREATE MATERIALIZED VIEW twin USING heap AS SELECT id FROM seen WHERE id < 5 ORDER BY id;
SELECT count(*) FILTER (WHERE line LIKE '%shown: INSERT%') = count(*) FILTER (WHERE line LIKE '%twin: INSERT%') AS same
FROM decoded() AS line;
DROP MATERIALIZED VIEW twin;
CREATE UNIQUE INDEX ON shown (id);
DELETE FROM seen WHERE id = 4;
REFRESH MATERIALIZED VIEW CONCURRENTLY shown;
SELECT * FROM decoded();

-- two queries of the same slot give the same rows; the journal is not decoded
INSERT INTO seen VALUES (70, 'peeked', repeat('p', 20000));
SET verity.idempotency_id = '00000000-0000-0000-0000-00000000000d';
INSERT INTO seen VALUES (71, 'once');
RESET verity.idempotency_id;
SELECT count(*), md5(string_agg(data, E'\n')) = (
	SELECT md5(string_agg(data, E'\n')) FROM pg_logical_slot_peek_changes('regress_verity', NULL, NULL)) AS same
FROM pg_logical_slot_peek_changes('regress_verity', NULL, NULL);
SELECT * FROM decoded();

-- a change that is changed by its own transaction; a moved row; MERGE
MERGE INTO seen USING (VALUES (70, 'merged'), (80, 'missing')) AS s(id, v) ON seen.id = s.id
	WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT (id, v) VALUES (s.id, s.v);
BEGIN;
INSERT INTO seen VALUES (90, 'a');
UPDATE seen SET v = 'b', big = repeat('b', 20000) WHERE id = 90;
UPDATE seen SET v = 'c' WHERE id = 90;
DELETE FROM seen WHERE id = 90;
COMMIT;
SELECT * FROM decoded();

-- large transactions, streamed and spilled
SET logical_decoding_work_mem = '64kB';
BEGIN;
INSERT INTO seen SELECT g, 'many', repeat('m', 3000 * (g % 4)) FROM generate_series(1001, 1400) g;
SAVEPOINT s;
INSERT INTO seen SELECT g, 'dropped', repeat('d', 3000 * (g % 4)) FROM generate_series(1401, 1500) g;
ROLLBACK TO s;
UPDATE seen SET v = 'updated' WHERE id > 1300;
COMMIT;
SELECT count(*), count(DISTINCT data) FROM pg_logical_slot_peek_changes('regress_verity', NULL, NULL, 'include-xids', '0')
WHERE data LIKE 'table%';
-- (what a savepoint took back may have been streamed before)
SELECT count(*) FILTER (WHERE data LIKE 'streaming change%') BETWEEN 500 AND 600 AS changes,
	count(*) FILTER (WHERE data LIKE 'opening a streamed%') > 1 AS blocks
FROM pg_logical_slot_get_changes('regress_verity', NULL, NULL, 'include-xids', '0', 'stream-changes', '1');
RESET logical_decoding_work_mem;

-- user catalog tables
CREATE TABLE catalogue (a int) USING verity WITH (user_catalog_table = true);
CREATE TABLE catalogue (a int) USING verity;
ALTER TABLE catalogue SET (user_catalog_table = true);
ALTER TABLE catalogue SET (user_catalog_table = false, fillfactor = 70);
CREATE TABLE heap_catalogue (a int) USING heap WITH (user_catalog_table = true);
ALTER TABLE heap_catalogue SET ACCESS METHOD verity;
DROP TABLE catalogue, heap_catalogue;

SELECT severity, check_name, object, detail FROM verity_verify() WHERE severity <> 'info';
SELECT pg_drop_replication_slot('regress_verity');
DROP FUNCTION decoded();
DROP TABLE seen, ranges, ident, parts, light, mine CASCADE;
