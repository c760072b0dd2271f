-- counters, figures of tables, EXPLAIN, progress
SET client_min_messages = warning;
CREATE ROLE stat_monitor;
CREATE ROLE stat_reader;
CREATE ROLE stat_nobody;
GRANT pg_monitor TO stat_monitor;
CREATE TABLE stat_t (id int PRIMARY KEY, v text) USING verity WITH (autovacuum_enabled = off);
CREATE TABLE stat_other (id int PRIMARY KEY, v text) USING verity WITH (autovacuum_enabled = off);
INSERT INTO stat_t SELECT g, 'value ' || g FROM generate_series(1, 2000) g;
GRANT SELECT ON stat_t TO stat_reader;
VACUUM ANALYZE stat_t;

-- what happened to the counters of this database since a moment; others may count too
CREATE FUNCTION stat_here() RETURNS verity.stat LANGUAGE sql
	AS 'SELECT * FROM verity.stat WHERE database = current_database()';
CREATE TABLE stat_before AS SELECT * FROM stat_here();
CREATE FUNCTION stat_since(OUT sealed bigint, OUT sealed_bytes bigint, OUT opened bigint, OUT opened_bytes bigint,
	OUT failures bigint, OUT entries bigint, OUT entry_bytes bigint) LANGUAGE plpgsql AS $$
DECLARE now verity.stat := stat_here();
BEGIN
	SELECT now.records_sealed - b.records_sealed, now.bytes_sealed - b.bytes_sealed,
		now.records_opened - b.records_opened, now.bytes_opened - b.bytes_opened,
		now.authentication_failures - b.authentication_failures,
		now.journal_entries - b.journal_entries, now.journal_bytes - b.journal_bytes
		INTO sealed, sealed_bytes, opened, opened_bytes, failures, entries, entry_bytes FROM stat_before b;
	DELETE FROM stat_before;
	INSERT INTO stat_before SELECT now.*;
END $$;
INSERT INTO stat_other SELECT g, 'value' FROM generate_series(1, 100) g;
SELECT sealed BETWEEN 100 AND 110 AS sealed, sealed_bytes BETWEEN 1000 AND 2000 AS bytes, opened < 10 AS none_opened,
	failures, entries BETWEEN 1 AND 4 AS entries, entry_bytes BETWEEN 200 AND 2000 AS entry_bytes FROM stat_since();
SELECT count(v) FROM stat_t;
SELECT opened BETWEEN 2000 AND 2200 AS opened, opened_bytes BETWEEN 20000 AND 60000 AS bytes, sealed FROM stat_since();
SELECT count(*) FROM stat_t;
SELECT opened < 100 AS count_opens_nothing FROM stat_since();
-- work that failed was done, too
DO $$ BEGIN
	INSERT INTO stat_other SELECT g, 'value' FROM generate_series(101, 150) g;
	RAISE 'no';
EXCEPTION WHEN raise_exception THEN
END $$;
INSERT INTO stat_other VALUES (201, 'x'), (202, 'y'), (1, 'there already');
SELECT sealed BETWEEN 52 AND 60 AS sealed FROM stat_since();

-- what was read just now comes out of the pool
SELECT v FROM stat_t WHERE id = 7;
SELECT records_from_pool AS pooled FROM stat_here() \gset
SELECT v FROM stat_t WHERE id = 7;
SELECT records_from_pool > :pooled AS from_pool FROM stat_here();
SELECT opened > 0 AS opened FROM stat_since();

-- parallel workers
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT count(v) FROM stat_t;
SELECT opened BETWEEN 2000 AND 2200 AS opened FROM stat_since();
SET parallel_leader_participation = off;
SELECT count(v) FROM stat_t;
SELECT opened BETWEEN 2000 AND 2200 AS opened FROM stat_since();

-- EXPLAIN: without times; only where verity tables are involved
CREATE FUNCTION stat_explain(query text, options text DEFAULT 'ANALYZE') RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE format('EXPLAIN (%s) %s', options, query) LOOP
		IF options ~ 'ANALYZE$' THEN
			IF line ~ 'Verity' THEN RETURN NEXT line; END IF;
		ELSE
			RETURN NEXT (regexp_match(line, 'Triggers.*?Execution'))[1];
		END IF;
	END LOOP;
END $$;
SELECT stat_explain('SELECT v FROM stat_t');
RESET parallel_leader_participation;
SELECT stat_explain('SELECT v FROM stat_t');
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
SELECT stat_explain('SELECT v FROM stat_t');
SELECT stat_explain('SELECT v FROM stat_t', 'ANALYZE, BUFFERS, FORMAT json');
SELECT stat_explain('SELECT v FROM stat_t', 'ANALYZE, FORMAT yaml');
SELECT stat_explain('SELECT v FROM stat_t', 'ANALYZE, FORMAT xml');
SELECT stat_explain('SELECT count(*) FROM stat_t');
SELECT stat_explain('SELECT count(*) FROM pg_class');
SELECT stat_explain('SELECT v FROM stat_t WHERE id = 5');
SELECT stat_explain('UPDATE stat_t SET v = upper(v) WHERE id BETWEEN 1 AND 5');
SELECT stat_explain('CREATE TABLE stat_copy USING verity AS SELECT * FROM stat_t');
SELECT stat_explain('DECLARE c CURSOR FOR SELECT v FROM stat_t');
SELECT stat_explain('SELECT v FROM stat_t', 'ANALYZE, SUMMARY off, TIMING off, COSTS off, ANALYZE');
-- a function that reads, and one that explains
CREATE FUNCTION stat_reads() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(v) FROM stat_t); END';
SELECT stat_explain('SELECT stat_reads()');
SELECT stat_explain($$SELECT stat_explain('SELECT v FROM stat_t WHERE id < 8')$$);
-- an error in between leaves nothing behind
SELECT stat_explain('SELECT 1 / (id - 5) FROM stat_t');
SELECT stat_explain('SELECT v FROM stat_t WHERE id < 3');

-- tables: history grows, the map covers it after VACUUM
DROP TABLE stat_copy;
CREATE VIEW stat_tables AS SELECT "table", bytes > 0 AS bytes, index_bytes > 0 AS index_bytes, pages > 0 AS pages,
	pages_without_current > 0 AS marked, round(map_coverage::numeric, 1) AS coverage, "rows", versions,
	round(versions_per_row::numeric, 2) AS per_row, pages_read = pages AS exact
	FROM verity.table_stat WHERE "table" LIKE 'stat%' ORDER BY 1;
SELECT * FROM stat_tables;
UPDATE stat_t SET v = v || '+';
UPDATE stat_t SET v = v || '+';
DELETE FROM stat_t WHERE id > 1500;
DELETE FROM stat_other;
BEGIN; INSERT INTO stat_t VALUES (0, 'rolled back'); ROLLBACK;
VACUUM stat_t;
SELECT * FROM stat_tables;
-- past the sample, an estimate
CREATE TABLE stat_large (id int, filler text) USING verity WITH (autovacuum_enabled = off);
INSERT INTO stat_large SELECT g, repeat('x', 1900) FROM generate_series(1, 5000) g;
ALTER TABLE stat_large ALTER filler SET STORAGE EXTERNAL;
UPDATE stat_large SET filler = repeat('y', 1900);
VACUUM stat_large;
SELECT pages > 2000 AS large, pages_read BETWEEN 700 AND 2000 AS sampled, "rows" BETWEEN 4900 AND 5100 AS "rows",
	versions BETWEEN 9800 AND 10200 AS versions, map_coverage BETWEEN 0.45 AND 0.52 AS coverage FROM verity_table_stat('stat_large');
SELECT verity_table_stat('pg_class');
SELECT verity_table_stat(0);

-- privileges
SELECT has_function_privilege('stat_monitor', 'verity_stat_reset()', 'EXECUTE') AS monitor_resets;
SET ROLE stat_monitor;
SELECT count(*) > 0 AS rows FROM verity.stat;
SELECT count(*) FROM verity.table_stat WHERE "table" IN ('stat_t', 'stat_other');
SELECT "rows" FROM verity_table_stat('stat_other');
SELECT verity_stat_reset();
SELECT count(*) FROM verity.journal;
SET ROLE stat_reader;
SELECT "rows" FROM verity_table_stat('stat_t');
SELECT verity_table_stat('stat_other');
SELECT * FROM verity.stat;
SELECT * FROM verity.table_stat;
RESET ROLE;
GRANT USAGE ON SCHEMA verity TO stat_reader;
GRANT SELECT ON verity.table_stat TO stat_reader;
SET ROLE stat_reader;
SELECT "table" FROM verity.table_stat WHERE "table" LIKE 'stat%';
SET ROLE stat_nobody;
SELECT verity_table_stat('stat_t');
SELECT verity_stat_reset();
RESET ROLE;

-- reset
SELECT verity_stat_reset();
SELECT records_sealed, journal_entries, stats_reset > now() - interval '1 minute' AS just_now FROM stat_here();
INSERT INTO stat_other VALUES (1, 'again');
SELECT records_sealed, journal_entries FROM stat_here();

-- a dropped database's work stays in the sums
SELECT current_database() AS origin \gset
CREATE DATABASE stat_dropped;
\connect stat_dropped
SET client_min_messages = warning;
CREATE EXTENSION verity;
CREATE TABLE far (id int) USING verity;
INSERT INTO far SELECT generate_series(1, 777);
SELECT records_sealed FROM verity.stat WHERE database = 'stat_dropped';
\connect :origin
DROP DATABASE stat_dropped;
SELECT count(*) FILTER (WHERE database IS NULL) AS rest, max(records_sealed) FILTER (WHERE database IS NULL) AS sealed FROM verity.stat;

-- progress of an index build, as its expression sees it
CREATE FUNCTION stat_probe(id int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE p record;
BEGIN
	IF id IN (1, 4000) THEN
		PERFORM pg_stat_clear_snapshot();
		SELECT phase, blocks_total > 2000 AS total, blocks_done < 100 AS at_start, blocks_done > 900 AS later INTO p
			FROM pg_stat_progress_create_index WHERE pid = pg_backend_pid();
		RAISE WARNING '%', p;
	END IF;
	RETURN id;
END $$;
\set VERBOSITY terse
CREATE INDEX ON stat_large (stat_probe(id)) WHERE filler > 'y';
CREATE INDEX CONCURRENTLY ON stat_large (stat_probe(id));

DROP VIEW stat_tables;
DROP FUNCTION stat_since, stat_here, stat_explain, stat_reads;
DROP TABLE stat_t, stat_other, stat_large, stat_before;
DROP FUNCTION stat_probe;
DROP OWNED BY stat_monitor, stat_reader, stat_nobody;
DROP ROLE stat_monitor, stat_reader, stat_nobody;
