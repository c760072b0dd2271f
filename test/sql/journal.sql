-- the journal: what a transaction leaves in it, voids, idempotency, refusals
-- (RULES C 19, C 20, C 22, C 24; G 44)
SET client_min_messages = warning;
CREATE TABLE journal_a (id int PRIMARY KEY, v text) USING verity;
CREATE TABLE journal_b (id int PRIMARY KEY, v text) USING verity;
INSERT INTO journal_a VALUES (0, 'makes the key');
INSERT INTO journal_b VALUES (0, 'makes the key');

-- positions are told relative to here
SELECT verity_position() AS base \gset
CREATE VIEW journal_since AS
	SELECT position - (SELECT max(position) FROM verity.journal WHERE reason = 'base') AS n, kind, outcome,
		regexp_replace(summary, '\d{3,}', 'N') AS summary, tables, records, reason, idempotency_id IS NOT NULL AS idempotent
	FROM verity.journal WHERE position > (SELECT max(position) FROM verity.journal WHERE reason = 'base');
BEGIN; SET LOCAL verity.reason = 'base'; INSERT INTO journal_a VALUES (1, 'base'); COMMIT;

-- what makes an entry, and what does not
BEGIN; INSERT INTO journal_a VALUES (2, 'a'); INSERT INTO journal_b VALUES (2, 'b'); UPDATE journal_a SET v = 'c' WHERE id = 2; COMMIT;
BEGIN; INSERT INTO journal_a VALUES (3, 'rolled back'); ROLLBACK;
BEGIN; SAVEPOINT s; INSERT INTO journal_a VALUES (3, 'rolled back'); ROLLBACK TO s; COMMIT;
BEGIN; SELECT count(*) FROM journal_a; COMMIT;
BEGIN; SAVEPOINT s; INSERT INTO journal_b VALUES (3, 'rolled back'); ROLLBACK TO s; INSERT INTO journal_a VALUES (3, 'stays'); COMMIT;
DELETE FROM journal_a WHERE id = 3;
BEGIN; SAVEPOINT s; INSERT INTO journal_a SELECT g, 'in' FROM generate_series(100, 199) g;
SAVEPOINT t; INSERT INTO journal_a SELECT g, 'out' FROM generate_series(200, 299) g; ROLLBACK TO t; RELEASE s;
INSERT INTO journal_a SELECT g, 'in' FROM generate_series(300, 309) g; COMMIT;
INSERT INTO journal_a VALUES (1, 'd') ON CONFLICT (id) DO UPDATE SET v = 'conflict';
COPY journal_b FROM stdin;
10	x
11	y
\.
SELECT * FROM journal_since ORDER BY n;

-- entries whose transaction fails after its entry was written are voided
BEGIN;
INSERT INTO journal_a VALUES (20, 'void');
CREATE TEMP TABLE journal_t1 (id int PRIMARY KEY) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE journal_t2 (id int REFERENCES journal_t1);
COMMIT;
SELECT kind, outcome, summary FROM verity.journal ORDER BY position DESC LIMIT 1;
INSERT INTO journal_a VALUES (20, 'not void');
SELECT kind, outcome, regexp_replace(summary, '\d{3,}|\d+$', 'N') FROM verity.journal ORDER BY position DESC LIMIT 3;
SELECT s.void, j.outcome, j.serial = s.serial AS same
	FROM verity.journal_serials s JOIN verity.journal j USING (position) WHERE j.outcome = 'void' ORDER BY position DESC LIMIT 1;

-- the chain, the clock, the horizon, the serial map
SELECT count(*) FILTER (WHERE previous <> before) AS broken, count(*) FILTER (WHERE "time" <= time_before) AS back,
	count(*) FILTER (WHERE position <> number) AS gaps, count(*) FILTER (WHERE decided >= position) AS early,
	count(*) FILTER (WHERE raw_time > "time") AS ahead
FROM (SELECT *, lag(hash) OVER w AS before, lag("time") OVER w AS time_before, row_number() OVER w AS number
	  FROM verity.journal WINDOW w AS (ORDER BY position)) j;
SELECT count(*) FROM verity.journal j WHERE kind = 'transaction'
	AND NOT EXISTS (SELECT FROM verity.journal_serials s WHERE s.serial = j.serial AND s.position = j.position);

-- time and position
SELECT count(*) FROM verity.journal WHERE verity_position("time") <> position;
SELECT count(*) FROM verity.journal WHERE verity_position("time" - interval '1 microsecond') IS NOT DISTINCT FROM position;
SELECT verity_position('2001-01-01') IS NULL AS before_all, verity_position('infinity') = verity_position() AS after_all;

-- idempotency: once for a role, also without a verity write
BEGIN; SET LOCAL verity.idempotency_id = '10addeed-9c0b-4ef8-bb6d-6bb9bd380a11'; CREATE TABLE journal_k (a int) USING verity; INSERT INTO journal_k VALUES (1); INSERT INTO journal_a VALUES (30, 'once'); COMMIT;
SELECT verity_committed('10addeed-9c0b-4ef8-bb6d-6bb9bd380a11') = verity_position() AS committed;
\set VERBOSITY sqlstate
BEGIN; SET LOCAL verity.idempotency_id = '10addeed-9c0b-4ef8-bb6d-6bb9bd380a11'; INSERT INTO journal_a VALUES (31, 'twice'); COMMIT;
\set VERBOSITY default
DO $$ BEGIN
	ASSERT NOT EXISTS (SELECT FROM journal_a WHERE id = 31);
END $$;
BEGIN; SET LOCAL verity.idempotency_id = '10addeed-9c0b-4ef8-bb6d-6bb9bd380a12'; INSERT INTO journal_a VALUES (32, 'no'); ROLLBACK;
SELECT verity_committed('10addeed-9c0b-4ef8-bb6d-6bb9bd380a12');
BEGIN; SET LOCAL verity.idempotency_id = '10addeed-9c0b-4ef8-bb6d-6bb9bd380a12'; COMMIT;
SELECT verity_committed('10addeed-9c0b-4ef8-bb6d-6bb9bd380a12') = verity_position() AS committed;
BEGIN READ ONLY; SET LOCAL verity.idempotency_id = '10addeed-9c0b-4ef8-bb6d-6bb9bd380a13'; COMMIT;
SELECT verity_committed('10addeed-9c0b-4ef8-bb6d-6bb9bd380a13');
SELECT kind, outcome, summary, idempotency_id FROM verity.journal WHERE idempotency_id::text LIKE '10addeed%' ORDER BY position;
-- every index of the ids is kept, for REINDEX CONCURRENTLY makes a second one
CREATE INDEX journal_ids_again ON verity.idempotency (serial);
BEGIN; SET LOCAL verity.idempotency_id = '10addeed-9c0b-4ef8-bb6d-6bb9bd380a99'; INSERT INTO journal_a VALUES (99, 'indexed'); COMMIT;
SET enable_seqscan = off; SET enable_sort = off;
SELECT id FROM verity.idempotency ORDER BY serial DESC LIMIT 1;
RESET enable_seqscan; RESET enable_sort;
DROP INDEX verity.journal_ids_again;
DELETE FROM journal_a WHERE id = 99;

-- a session's id is for its first transaction that writes
SET verity.idempotency_id = '10addeed-9c0b-4ef8-bb6d-6bb9bd380a14';
SELECT count(*) FROM journal_a;
SELECT verity_committed('10addeed-9c0b-4ef8-bb6d-6bb9bd380a14');
INSERT INTO journal_a VALUES (33, 'first');
\set VERBOSITY sqlstate
INSERT INTO journal_a VALUES (34, 'second');
\set VERBOSITY default
RESET verity.idempotency_id;
-- another role may use the same id
CREATE ROLE journal_user;
GRANT INSERT ON journal_a TO journal_user;
SET ROLE journal_user;
SELECT verity_committed('10addeed-9c0b-4ef8-bb6d-6bb9bd380a11');
BEGIN; SET LOCAL verity.idempotency_id = '10addeed-9c0b-4ef8-bb6d-6bb9bd380a11'; INSERT INTO journal_a VALUES (35, 'other role'); COMMIT;
SELECT verity_committed('10addeed-9c0b-4ef8-bb6d-6bb9bd380a11') IS NOT NULL AS committed;
SELECT count(*) FROM verity.journal;
SELECT count(*) FROM verity.idempotency;
RESET ROLE;
SELECT "current_user", "current_user" <> "session_user" AS changed, reason, client_address IS NOT NULL AS address
	FROM verity.journal ORDER BY position DESC LIMIT 1;

-- two-phase commit
BEGIN; INSERT INTO journal_a VALUES (40, 'prepared'); PREPARE TRANSACTION 'journal';
BEGIN; SET LOCAL verity.idempotency_id = '10addeed-9c0b-4ef8-bb6d-6bb9bd380a15'; PREPARE TRANSACTION 'journal';
BEGIN; ALTER TABLE journal_a ADD COLUMN late int; PREPARE TRANSACTION 'journal';
BEGIN; SELECT count(*) FROM journal_a; PREPARE TRANSACTION 'journal'; ROLLBACK PREPARED 'journal';

-- nobody but the extension writes it
INSERT INTO verity.journal (position) VALUES (1);
UPDATE verity.journal SET position = 1;
DELETE FROM verity.journal;
COPY verity.journal (position) FROM stdin;
1
\.
SELECT * FROM verity.journal FOR UPDATE;
SELECT * FROM verity.journal TABLESAMPLE SYSTEM (10);
CREATE INDEX ON verity.journal (position);
CREATE TABLE journal_c (a int) USING verity_journal;

-- cursors in both directions, parallel plans
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT position FROM verity.journal;
FETCH 2 FROM c;
FETCH BACKWARD 1 FROM c;
MOVE FORWARD ALL IN c;
FETCH BACKWARD 1 FROM c \gset last_
SELECT :last_position = verity_position() AS last;
COMMIT;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT count(outcome) FROM verity.journal;
SELECT count(outcome) = verity_position() AS all_there FROM verity.journal;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

-- VACUUM states the horizon and moves relfrozenxid
INSERT INTO journal_a VALUES (50, 'last');
VACUUM (FREEZE) verity.journal;
SELECT kind, summary FROM verity.journal ORDER BY position DESC LIMIT 1;
SELECT age(relfrozenxid) < 10 AS young FROM pg_class WHERE oid = 'verity.journal'::regclass;
ANALYZE verity.journal;

-- a database created as a copy of another begins a generation, with its own keys
SELECT verity_position() AS last \gset
CREATE DATABASE journal_clone TEMPLATE :"DBNAME";
SELECT current_database() AS origin \gset
\connect journal_clone
INSERT INTO journal_a VALUES (60, 'in the clone');
SELECT position - :last AS n, kind, split_part(summary, ':', 1) ~ 'clone' AS clone FROM verity.journal WHERE position > :last AND kind IN ('generation', 'transaction') ORDER BY 1;
SELECT count(*) FROM journal_a WHERE id IN (50, 60);
\connect :origin
SELECT verity_position() = :last AS untouched;
DROP DATABASE journal_clone;

-- verify holds the ids' table against the journal
CREATE VIEW journal_findings AS SELECT severity, check_name, object, position IS NOT NULL AS named, detail FROM verity_verify() WHERE check_name = 'idempotency';
SELECT * FROM journal_findings;
CREATE TEMP TABLE journal_saved AS SELECT * FROM verity.idempotency;
DELETE FROM verity.idempotency WHERE id = '10addeed-9c0b-4ef8-bb6d-6bb9bd380a12';
SELECT * FROM journal_findings;
UPDATE verity.idempotency SET id = '10addeed-9c0b-4ef8-bb6d-6bb9bd380a1f' WHERE id = '10addeed-9c0b-4ef8-bb6d-6bb9bd380a14';
SELECT * FROM journal_findings;
TRUNCATE verity.idempotency;
INSERT INTO verity.idempotency SELECT * FROM journal_saved;
SELECT * FROM journal_findings;
-- a role that has another name now keeps its ids
ALTER ROLE journal_user RENAME TO journal_former;
SELECT * FROM journal_findings;
-- an id that was given to another role can be committed again, which shows: in a copy, for its journal stays so
CREATE DATABASE journal_twice TEMPLATE :"DBNAME";
\connect journal_twice
UPDATE verity.idempotency SET role = 'journal_former'::regrole WHERE id = '10addeed-9c0b-4ef8-bb6d-6bb9bd380a12';
SELECT * FROM journal_findings;
BEGIN; SET LOCAL verity.idempotency_id = '10addeed-9c0b-4ef8-bb6d-6bb9bd380a12'; INSERT INTO journal_a VALUES (36, 'again'); COMMIT;
SELECT * FROM journal_findings;
-- and shows also where the first row is gone
DELETE FROM verity.idempotency WHERE role = 'journal_former'::regrole AND id = '10addeed-9c0b-4ef8-bb6d-6bb9bd380a12';
SELECT * FROM journal_findings;

\connect :origin
DROP DATABASE journal_twice;

DROP VIEW journal_since, journal_findings;
DROP TABLE journal_a, journal_b, journal_k;
DROP OWNED BY journal_former;
DROP ROLE journal_former;
