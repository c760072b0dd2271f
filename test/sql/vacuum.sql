-- VACUUM of verity tables: what it keeps, what it takes away, what it counts
CREATE EXTENSION pageinspect;

-- Data pages that the map marks (PD_PAGE_FULL mirrors the map's bits).
CREATE FUNCTION marked_pages(rel regclass) RETURNS bigint LANGUAGE sql AS
$$
	SELECT count(*)
	FROM generate_series(0, pg_relation_size(rel) / 8192 - 1) AS block,
		page_header(get_raw_page(rel::text, block::int)) AS h
	WHERE h.flags & 2 <> 0
$$;
-- Records on data pages, and those of them that hold a normal xid.
CREATE FUNCTION records(rel regclass, OUT records bigint, OUT unfrozen bigint) LANGUAGE sql AS
$$
	SELECT count(*), count(*) FILTER (WHERE (t_xmin::text::bigint > 2 AND t_infomask & 768 <> 768)
		OR t_xmax::text::bigint > 2 OR t_infomask & 4096 <> 0)
	FROM generate_series(0, pg_relation_size(rel) / 8192 - 1) AS block,
		heap_page_items(get_raw_page(rel::text, block::int))
	WHERE lp_flags = 1
$$;

-- Entries of a btree index.
CREATE FUNCTION entries(index regclass) RETURNS bigint LANGUAGE sql AS
$$
	SELECT sum(coalesce(cardinality(i.tids), 1))
	FROM generate_series(1, pg_relation_size(index) / 8192 - 1) AS block,
		bt_page_stats(index::text, block) AS s,
		bt_page_items(index::text, block) AS i
	WHERE s.type = 'l' AND NOT (i.itemoffset = 1 AND s.btpo_next <> 0)
$$;

-- Pages that a plan counts on reading, at one cost unit a page.
CREATE FUNCTION planned_pages(rel regclass) RETURNS numeric LANGUAGE plpgsql
SET cpu_tuple_cost = 0 SET seq_page_cost = 1 AS
$$
DECLARE
	plan json;
BEGIN
	EXECUTE format('EXPLAIN (FORMAT json) SELECT FROM %s', rel) INTO plan;
	RETURN plan -> 0 -> 'Plan' ->> 'Total Cost';
END
$$;

-- statistics tell of current rows
CREATE TABLE counted (id int PRIMARY KEY, v int) USING verity;
INSERT INTO counted SELECT g, 0 FROM generate_series(1, 1000) g;
UPDATE counted SET v = 1;
DELETE FROM counted WHERE id > 700;
VACUUM counted;
SELECT reltuples, relallvisible, relpages = pg_relation_size('counted') / 8192 AS pages_right
FROM pg_class WHERE relname = 'counted';
SELECT count(*), sum(v) FROM counted;
-- 1000 first versions, 1000 second ones, 300 tombstones: all still there
SELECT records FROM records('counted');
-- pages with first versions alone are marked, and frozen whole at once
SELECT marked_pages('counted') > 0 AS some, marked_pages('counted') < relpages - 1 AS not_all
FROM pg_class WHERE relname = 'counted';

-- a table of less than 33 pages has no map
CREATE TABLE marked (id int, filler text) USING verity;
INSERT INTO marked SELECT g, (SELECT string_agg(md5((g * 1000 + i)::text), '') FROM generate_series(1, 110) i)
FROM generate_series(1, 20) g;
DELETE FROM marked WHERE id < 19;
VACUUM marked;
SELECT pg_relation_size('marked') / 8192 AS pages, marked_pages('marked');
-- one of more pages has, with all of them in it but the map itself
INSERT INTO marked SELECT g, (SELECT string_agg(md5((g * 1000 + i)::text), '') FROM generate_series(1, 110) i)
FROM generate_series(21, 70) g;
DELETE FROM marked;
VACUUM marked;
SELECT pg_relation_size('marked') / 8192 AS pages, marked_pages('marked'), planned_pages('marked');
SELECT encode(substring(get_raw_page('marked', 32) FROM 33 FOR 2), 'hex') AS bits;
SELECT flags & 2 AS marked FROM page_header(get_raw_page('marked', 0));
SELECT count(*) FROM marked WHERE ctid = '(32,1)';
-- a mark goes when a page gets a record again
INSERT INTO marked VALUES (2, 'y');
SELECT pg_relation_size('marked') / 8192 AS pages, marked_pages('marked'), planned_pages('marked');
SELECT * FROM marked;
VACUUM marked;
SELECT pg_relation_size('marked') / 8192 AS pages, marked_pages('marked');

-- a long table, two records a page
CREATE TABLE long (id int PRIMARY KEY, filler text) USING verity;
INSERT INTO long SELECT g, (SELECT string_agg(md5((g * 1000 + i)::text), '') FROM generate_series(1, 110) i)
FROM generate_series(1, 8600) g;
DELETE FROM long WHERE id <= 8500;
VACUUM long;
SELECT encode(substring(get_raw_page('long', 32) FROM 33 FOR 2), 'hex') AS bits;
SELECT count(*), min(id), max(id) FROM long;
-- with the map, a scan reads less than a tenth of the pages
CREATE FUNCTION blocks_read(query text) RETURNS int LANGUAGE plpgsql AS
$$
	DECLARE plan jsonb;
	BEGIN
		EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT json) ' || query INTO plan;
		RETURN (plan #>> '{0,Plan,Shared Hit Blocks}')::int + (plan #>> '{0,Plan,Shared Read Blocks}')::int;
	END
$$;
SELECT blocks_read('SELECT * FROM long') * 10 < relpages AS cheap FROM pg_class WHERE relname = 'long';
INSERT INTO long SELECT g FROM generate_series(10001, 10100) g;
SELECT count(*), min(id), max(id) FROM long;
-- a scan that begins where another one stopped, among pages that are marked by now, ends there
SET enable_indexscan = off;
SET enable_bitmapscan = off;
SELECT id FROM long WHERE id = 8560 LIMIT 1;
RESET enable_indexscan;
RESET enable_bitmapscan;
DELETE FROM long WHERE id BETWEEN 8501 AND 8590;
VACUUM long;
SELECT count(*), min(id), max(id) FROM long;

-- aborted records are taken away, and their space is used again
CREATE TABLE aborted (id int PRIMARY KEY, filler text) USING verity;
INSERT INTO aborted VALUES (0, 'stays');
BEGIN;
INSERT INTO aborted SELECT g, 'goes' FROM generate_series(1, 5000) g;
UPDATE aborted SET filler = 'goes too' WHERE id < 100;
ROLLBACK;
SELECT pg_relation_size('aborted') AS size \gset
VACUUM aborted;
SELECT records FROM records('aborted');
SELECT entries('aborted_pkey');
BEGIN;
INSERT INTO aborted SELECT g, 'goes' FROM generate_series(1, 5000) g;
ROLLBACK;
SELECT pg_relation_size('aborted') = :size AS used_again;
VACUUM (INDEX_CLEANUP off) aborted;
SELECT records > 5000 AS roots_wait_for_their_index_entries FROM records('aborted');
VACUUM aborted;
SELECT records FROM records('aborted');
SELECT * FROM aborted;

-- hints to aborted versions are repaired
CREATE TABLE hinted (id int PRIMARY KEY, v int) USING verity;
INSERT INTO hinted SELECT g, 1 FROM generate_series(1, 100) g;
UPDATE hinted SET v = 2;
BEGIN;
UPDATE hinted SET v = 3;
UPDATE hinted SET v = 4;
ROLLBACK;
BEGIN;
SAVEPOINT s;
UPDATE hinted SET v = 5 WHERE id <= 50;
ROLLBACK TO s;
UPDATE hinted SET v = 6 WHERE id <= 10;
COMMIT;
VACUUM hinted;
SELECT records FROM records('hinted');
-- of each root (flag 1 at byte 23) the hint at byte 32 names a record
WITH items AS (
	SELECT block, lp, lp_flags, lp_off, get_raw_page('hinted', block::int) AS page
	FROM generate_series(0, pg_relation_size('hinted') / 8192 - 1) AS block,
		heap_page_items(get_raw_page('hinted', block::int))
), hints AS (
	SELECT get_byte(page, lp_off + 34) + 256 * get_byte(page, lp_off + 35) AS block,
		get_byte(page, lp_off + 36) + 256 * get_byte(page, lp_off + 37) AS lp
	FROM items WHERE lp_flags = 1 AND get_byte(page, lp_off + 23) & 1 = 1
)
SELECT count(*) AS hints, count(*) FILTER (WHERE EXISTS
	(SELECT FROM items i WHERE i.block = h.block AND i.lp = h.lp AND lp_flags = 1)) AS right_ones
FROM hints h;
INSERT INTO hinted SELECT g, 0 FROM generate_series(101, 300) g;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT v, count(*) FROM hinted WHERE id BETWEEN 1 AND 100 GROUP BY v ORDER BY v;
UPDATE hinted SET v = 7 WHERE id BETWEEN 5 AND 15;
SELECT v, count(*) FROM hinted WHERE id BETWEEN 1 AND 100 GROUP BY v ORDER BY v;
RESET enable_seqscan;
RESET enable_bitmapscan;

-- entries of superseded roots with the same key go, those of other ended rows stay
CREATE TABLE superseded (id int PRIMARY KEY, v int) USING verity;
CREATE INDEX superseded_v ON superseded (v);
INSERT INTO superseded SELECT g, 0 FROM generate_series(1, 100) g;
DO $$BEGIN FOR i IN 1..20 LOOP UPDATE superseded SET v = i; END LOOP; END$$;
VACUUM (INDEX_CLEANUP on) superseded;
SELECT entries('superseded_pkey') AS by_key, entries('superseded_v') AS by_v;
DELETE FROM superseded WHERE id <= 10;
UPDATE superseded SET id = id + 1000 WHERE id <= 20;
VACUUM (INDEX_CLEANUP on) superseded;
SELECT entries('superseded_pkey') AS by_key, entries('superseded_v') AS by_v;
SELECT count(*), min(v), max(v), max(id) FROM superseded;
-- the second time there is nothing to do
SELECT records FROM records('superseded');
VACUUM (INDEX_CLEANUP on) superseded;
SELECT records FROM records('superseded');

-- freezing
SELECT unfrozen > 0 AS before FROM records('superseded');
VACUUM FREEZE superseded;
SELECT * FROM records('superseded');
SELECT age(relfrozenxid) < 10 AS advanced, mxid_age(relminmxid) < 10 AS multi_advanced
FROM pg_class WHERE relname = 'superseded';
SELECT count(*), min(v), max(v), max(id) FROM superseded;
UPDATE superseded SET v = 99 WHERE id = 50;
SELECT * FROM superseded WHERE id = 50;
VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) superseded;
SELECT * FROM records('superseded');

-- row locks alone leave nothing behind
BEGIN;
SELECT id FROM superseded WHERE id = 51 FOR UPDATE;
SAVEPOINT s;
SELECT id FROM superseded WHERE id = 52 FOR KEY SHARE;
COMMIT;
VACUUM FREEZE superseded;
SELECT * FROM records('superseded');

-- reading the past after all that
SELECT verity_position() AS now \gset
SELECT count(*), sum(v) FROM verity_as_of(NULL::superseded, :now);

-- tables that are not journalled
SET client_min_messages = warning;
CREATE TEMP TABLE temporary (id int PRIMARY KEY, v int) USING verity;
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY, v int) USING verity;
CREATE MATERIALIZED VIEW materialized USING verity AS SELECT g FROM generate_series(1, 10) g;
RESET client_min_messages;
INSERT INTO temporary SELECT g, 0 FROM generate_series(1, 500) g;
UPDATE temporary SET v = 1;
DELETE FROM temporary WHERE id > 100;
BEGIN; INSERT INTO temporary SELECT g, 0 FROM generate_series(1001, 1500) g; ROLLBACK;
INSERT INTO unlogged SELECT * FROM temporary;
INSERT INTO unlogged SELECT g, 0 FROM generate_series(2001, 6000) g;
DELETE FROM unlogged;
SELECT planned_pages('unlogged') > 0 AS planned;
VACUUM (FREEZE, PARALLEL 0) temporary, unlogged, materialized;
SELECT marked_pages('unlogged') > 0 AS marked, planned_pages('unlogged');
SELECT relname, reltuples FROM pg_class WHERE relname IN ('temporary', 'unlogged', 'materialized') ORDER BY 1;
SELECT records FROM records('temporary');
SELECT count(*) FROM temporary;
SELECT count(*) FROM unlogged;
SELECT count(*) FROM materialized;

-- pages that are the same for everybody are counted for the planner, and stay counted
CREATE TABLE visible (id int, v int) USING verity;
INSERT INTO visible SELECT g * 7919 % 2003, g FROM generate_series(1, 2000) g;
VACUUM visible;
SELECT relallvisible > 0 AND relallvisible >= relpages - 1 FROM pg_class WHERE relname = 'visible';
CREATE INDEX visible_id ON visible (id);
ANALYZE visible;
SELECT relallvisible > 0 AND relallvisible >= relpages - 1 FROM pg_class WHERE relname = 'visible';
EXPLAIN (COSTS OFF) SELECT id FROM visible WHERE id < 300;
EXPLAIN (COSTS OFF) SELECT id, v FROM visible WHERE id < 300;
UPDATE visible SET v = 0 WHERE id = 1;
VACUUM visible;
SELECT relallvisible > 0 AND relallvisible >= relpages - 1 FROM pg_class WHERE relname = 'visible';
UPDATE visible SET v = 0;
BEGIN;
UPDATE visible SET v = 1;
ANALYZE visible;
ROLLBACK;
VACUUM (INDEX_CLEANUP OFF) visible;
SELECT relallvisible < relpages - 1 FROM pg_class WHERE relname = 'visible';
VACUUM visible;
EXPLAIN (COSTS OFF) SELECT id FROM visible WHERE id < 300;
-- the number is put back while the table is locked: not where the subtransaction that locked it was undone
BEGIN;
SAVEPOINT kept;
SAVEPOINT counted;
ANALYZE visible;
RELEASE counted;
RELEASE kept;
COMMIT;
SELECT relallvisible > 0 FROM pg_class WHERE relname = 'visible';
BEGIN;
SAVEPOINT undone;
SAVEPOINT counted;
ANALYZE visible;
RELEASE counted;
ROLLBACK TO undone;
COMMIT;
SELECT relallvisible FROM pg_class WHERE relname = 'visible';
VACUUM visible;
BEGIN;
ANALYZE visible;
SAVEPOINT undone;
ANALYZE visible;
ROLLBACK TO undone;
COMMIT;
SELECT relallvisible > 0 FROM pg_class WHERE relname = 'visible';

-- a temporary table's indexes are never vacuumed in parallel
CREATE UNIQUE INDEX ON temporary (v, id);
VACUUM (PARALLEL 1) temporary;

DROP MATERIALIZED VIEW materialized;
DROP TABLE visible, counted, marked, long, aborted, hinted, superseded, temporary, unlogged;
DROP FUNCTION blocks_read, marked_pages, records, entries;
DROP EXTENSION pageinspect;
