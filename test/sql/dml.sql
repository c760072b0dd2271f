-- INSERT, UPDATE, DELETE, MERGE, ON CONFLICT, RETURNING, row locks, foreign
-- keys, triggers, savepoints: every result is compared with a heap twin's.
SET client_min_messages = warning;
CREATE SCHEMA dml;
SET search_path = dml, public;

-- run a statement on table v_* and its twin h_*; the results must be the same
CREATE FUNCTION in_both(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE v bigint; h bigint; verr text := 'ok'; herr text := 'ok';
BEGIN
    BEGIN
        EXECUTE replace(statement, '$', 'v'); GET DIAGNOSTICS v = ROW_COUNT;
    EXCEPTION WHEN OTHERS THEN verr := SQLSTATE || ' ' || regexp_replace(SQLERRM, '\mv_', 'x_', 'g');
    END;
    BEGIN
        EXECUTE replace(statement, '$', 'h'); GET DIAGNOSTICS h = ROW_COUNT;
    EXCEPTION WHEN OTHERS THEN herr := SQLSTATE || ' ' || regexp_replace(SQLERRM, '\mh_', 'x_', 'g');
    END;
    IF verr IS DISTINCT FROM herr OR v IS DISTINCT FROM h THEN
        RETURN format('DIFFERENT: verity %s (%s rows), heap %s (%s rows)', verr, v, herr, h);
    END IF;
    RETURN format('%s, %s rows', verr, v);
END $$;

-- rows that one of the twins has and the other lacks
CREATE FUNCTION differences(name text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM ((TABLE v_%1$s EXCEPT ALL TABLE h_%1$s) UNION ALL (TABLE h_%1$s EXCEPT ALL TABLE v_%1$s)) d', name) INTO n;
    RETURN n;
END $$;

CREATE TABLE v_t (id int PRIMARY KEY, a int, b text, c numeric DEFAULT 1.5) USING verity;
CREATE TABLE h_t (id int PRIMARY KEY, a int, b text, c numeric DEFAULT 1.5) USING heap;
CREATE INDEX ON v_t (a);
CREATE INDEX ON h_t (a);

SELECT in_both('INSERT INTO $_t SELECT i, i % 7, ''row '' || i FROM generate_series(1, 500) i');
SELECT in_both('UPDATE $_t SET b = b || '' again'' WHERE id % 3 = 0');
SELECT in_both('UPDATE $_t SET a = a + 1 WHERE id % 5 = 0');
SELECT in_both('UPDATE $_t SET id = id + 1000 WHERE id % 11 = 0');
SELECT in_both('DELETE FROM $_t WHERE id % 13 = 0');
SELECT in_both('INSERT INTO $_t VALUES (1, 1, ''again'')');
SELECT in_both('INSERT INTO $_t VALUES (13, NULL, NULL, NULL)');
SELECT differences('t');

-- ON CONFLICT
SELECT in_both('INSERT INTO $_t VALUES (1, 9, ''x''), (2, 9, ''y''), (9999, 9, ''z'') ON CONFLICT DO NOTHING');
SELECT in_both('INSERT INTO $_t AS t VALUES (1, 9, ''x''), (8888, 9, ''z'') ON CONFLICT (id) DO UPDATE SET a = t.a + excluded.a, b = t.b || excluded.b');
SELECT in_both('INSERT INTO $_t VALUES (7777, 1, ''p''), (7777, 2, ''q'') ON CONFLICT (id) DO UPDATE SET a = 1');
SELECT differences('t');

-- MERGE
SELECT in_both('MERGE INTO $_t t USING (SELECT i AS id, i * 2 AS a FROM generate_series(480, 520) i) s ON t.id = s.id
    WHEN MATCHED AND s.id % 2 = 0 THEN UPDATE SET a = s.a
    WHEN MATCHED THEN DELETE
    WHEN NOT MATCHED THEN INSERT (id, a, b) VALUES (s.id, s.a, ''merged'')');
SELECT differences('t');

-- RETURNING, and a statement that does not see its own rows
INSERT INTO v_t VALUES (20000, 1, 'r') RETURNING id, a, b, c, tableoid::regclass;
UPDATE v_t SET a = 2 WHERE id = 20000 RETURNING *;
DELETE FROM v_t WHERE id = 20000 RETURNING *;
SELECT in_both('INSERT INTO $_t SELECT id + 30000, a, b FROM $_t');
SELECT differences('t');

-- savepoints, and the same row changed more than once in a transaction
BEGIN;
UPDATE v_t SET b = 'one' WHERE id = 2;
SAVEPOINT s1;
UPDATE v_t SET b = 'two' WHERE id = 2;
SAVEPOINT s2;
DELETE FROM v_t WHERE id = 2;
ROLLBACK TO s2;
UPDATE v_t SET b = b || ' three' WHERE id = 2;
ROLLBACK TO s1;
UPDATE v_t SET b = b || ' four' WHERE id = 2;
SELECT b FROM v_t WHERE id = 2;
COMMIT;
SELECT b FROM v_t WHERE id = 2;
UPDATE h_t SET b = 'one four' WHERE id = 2;
SELECT differences('t');

-- row locks in their four strengths
BEGIN;
SELECT id FROM v_t WHERE id = 3 FOR KEY SHARE;
SELECT id FROM v_t WHERE id = 3 FOR SHARE;
SELECT id FROM v_t WHERE id = 3 FOR NO KEY UPDATE;
SELECT id FROM v_t WHERE id = 3 FOR UPDATE;
UPDATE v_t SET b = 'locked first' WHERE id = 3;
COMMIT;
SELECT b FROM v_t WHERE id = 3;
UPDATE h_t SET b = 'locked first' WHERE id = 3;

-- foreign keys, in both directions between verity and heap
CREATE TABLE v_child (id int PRIMARY KEY, t int REFERENCES v_t ON DELETE CASCADE ON UPDATE CASCADE) USING verity;
CREATE TABLE h_child (id int PRIMARY KEY, t int REFERENCES h_t ON DELETE CASCADE ON UPDATE CASCADE) USING heap;
CREATE TABLE v_mixed (id int PRIMARY KEY, t int REFERENCES v_t DEFERRABLE INITIALLY DEFERRED) USING heap;
CREATE TABLE h_mixed (id int PRIMARY KEY, t int REFERENCES h_t DEFERRABLE INITIALLY DEFERRED) USING heap;
SELECT in_both('INSERT INTO $_child SELECT i, i FROM generate_series(1, 10) i');
SELECT in_both('INSERT INTO $_child VALUES (99, -1)');
SELECT in_both('INSERT INTO $_mixed VALUES (1, 1)');
SELECT in_both('DELETE FROM $_t WHERE id = 4');
SELECT in_both('UPDATE $_t SET id = 555555 WHERE id = 5');
SELECT differences('child'), differences('t');
BEGIN;
DELETE FROM v_t WHERE id = 1;
COMMIT;
SELECT count(*) FROM v_t WHERE id = 1;

-- triggers
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.b := coalesce(NEW.b, '') || ' ' || TG_OP; RETURN NEW; END $$;
CREATE FUNCTION log_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO dml.%I VALUES ($1, $2, $3)', TG_ARGV[0]) USING TG_OP, to_jsonb(OLD), to_jsonb(NEW);
    RETURN NULL;
END $$;
CREATE TABLE v_log (op text, o jsonb, n jsonb) USING verity;
CREATE TABLE h_log (op text, o jsonb, n jsonb) USING heap;
CREATE TRIGGER t1 BEFORE INSERT OR UPDATE ON v_t FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TRIGGER t1 BEFORE INSERT OR UPDATE ON h_t FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TRIGGER t2 AFTER INSERT OR UPDATE OR DELETE ON v_t FOR EACH ROW EXECUTE FUNCTION log_change('v_log');
CREATE TRIGGER t2 AFTER INSERT OR UPDATE OR DELETE ON h_t FOR EACH ROW EXECUTE FUNCTION log_change('h_log');
SELECT in_both('INSERT INTO $_t VALUES (50001, 1, ''t''), (50002, 2, ''t'')');
SELECT in_both('UPDATE $_t SET a = 3 WHERE id >= 50001');
SELECT in_both('DELETE FROM $_t WHERE id = 50002');
SELECT differences('t'), differences('log');

-- large rows: compressed, TOASTed, and both changed and unchanged by UPDATE
CREATE TABLE v_big (id int PRIMARY KEY, a text, b text, n int) USING verity;
CREATE TABLE h_big (id int PRIMARY KEY, a text, b text, n int) USING heap;
SELECT in_both('INSERT INTO $_big SELECT i, repeat(''compressible '', 100 * i),
    (SELECT string_agg(md5(i::text || j), '''') FROM generate_series(1, 60 * i) j), i FROM generate_series(1, 20) i');
SELECT in_both('UPDATE $_big SET n = n + 1');
SELECT in_both('UPDATE $_big SET b = b || a WHERE id % 2 = 0');
SELECT in_both('DELETE FROM $_big WHERE id = 7');
SELECT differences('big');
SELECT max(length(b)), sum(n) FROM v_big;
-- a sort opens each row while its own memory, which frees nothing, is current
SELECT count(*), md5(string_agg(b, '' ORDER BY a DESC)) = (SELECT md5(string_agg(b, '' ORDER BY a DESC)) FROM h_big) AS same
FROM (SELECT * FROM v_big ORDER BY id DESC OFFSET 0) sorted;

-- RULES A 12: a TOAST pointer into another table is never sealed
CREATE TABLE source (id int, a text, r h_big) USING heap;
ALTER TABLE source ALTER a SET STORAGE EXTERNAL;
INSERT INTO source SELECT 1, repeat('elsewhere ', 2000), ROW(1, repeat('inside a row ', 2000), NULL, 1)::h_big;
CREATE TABLE v_copy (id int, a text, r h_big) USING verity;
INSERT INTO v_copy SELECT * FROM source;
UPDATE v_copy SET a = (SELECT a || 'x' FROM source);
DROP TABLE source;
SELECT length(a), length((r).a) FROM v_copy;

-- partitions: rows move between verity partitions, and to a heap one
CREATE TABLE v_part (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE v_part1 PARTITION OF v_part FOR VALUES FROM (0) TO (100) USING verity;
CREATE TABLE v_part2 PARTITION OF v_part FOR VALUES FROM (100) TO (200) USING verity;
CREATE TABLE v_part3 PARTITION OF v_part FOR VALUES FROM (200) TO (300) USING heap;
CREATE TABLE h_part (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE h_part1 PARTITION OF h_part FOR VALUES FROM (0) TO (300) USING heap;
SELECT in_both('INSERT INTO $_part SELECT i, ''p'' || i FROM generate_series(0, 299, 3) i');
SELECT in_both('UPDATE $_part SET k = (k + 100) % 300');
SELECT in_both('DELETE FROM $_part WHERE k % 2 = 0');
SELECT differences('part');

-- generated and identity columns, COPY, a cursor that updates
CREATE TABLE v_gen (id int GENERATED ALWAYS AS IDENTITY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED, CHECK (a < 1000)) USING verity;
CREATE TABLE h_gen (id int GENERATED ALWAYS AS IDENTITY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED, CHECK (a < 1000)) USING heap;
SELECT in_both('INSERT INTO $_gen (a) SELECT generate_series(1, 100)');
SELECT in_both('INSERT INTO $_gen (a) VALUES (1000)');
SELECT in_both('UPDATE $_gen SET a = a + 10 WHERE id > 50');
COPY v_gen (a) FROM stdin;
700
701
\.
COPY h_gen (a) FROM stdin;
700
701
\.
SELECT id - (SELECT max(id) FROM v_gen) AS from_last, a, twice FROM v_gen WHERE a >= 700 ORDER BY 1;
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM v_gen WHERE a < 5 FOR UPDATE;
FETCH 2 FROM c;
UPDATE v_gen SET a = 500 WHERE CURRENT OF c;
DELETE FROM v_gen WHERE id = 1;
COMMIT;
SELECT a, twice FROM v_gen WHERE a = 500;

-- a row that is too large for any page of a table without TOAST
SELECT in_both('UPDATE $_gen SET a = NULL WHERE id = 3');
SELECT string_agg(format('c%s char(200) NOT NULL DEFAULT ''x''', i), ', ') AS columns FROM generate_series(1, 20) i \gset
CREATE TABLE v_wide (:columns) USING verity;
INSERT INTO v_wide DEFAULT VALUES;
SELECT count(*), max(octet_length(c20)) FROM v_wide;

-- COPY seals a page ahead: no row is lost or placed twice where its batches and the pages end, and pages are as full
CREATE TABLE copied (id int, filler text) USING verity;
CREATE TABLE inserted (LIKE copied) USING verity;
\copy copied (id) FROM PROGRAM 'seq 1 5000'
\copy copied FROM PROGRAM 'for i in $(seq 5001 5400); do printf "%d\t%0*d\n" $i $((i % 37 * 100)) 0; done'
INSERT INTO inserted SELECT * FROM copied ORDER BY id;
SELECT count(*), count(DISTINCT id), sum(id), sum(length(filler)) FROM copied;
SELECT pg_relation_size('copied') <= pg_relation_size('inserted') AS full_pages;
SELECT count(*) AS out_of_order FROM (SELECT id, lag(id) OVER (ORDER BY ctid) AS before FROM copied WHERE id <= 5000) AS placed
WHERE id < before;

-- everything that was written is in the journal and sound
SELECT severity, check_name, object FROM verity_verify() WHERE severity <> 'info';
SET client_min_messages = error;
DROP SCHEMA dml CASCADE;
