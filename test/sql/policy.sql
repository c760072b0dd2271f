--
-- Protection: what is refused, to whom, and how a release lifts it.
-- RULES 44, DESIGN section 9.
--
SELECT current_database() AS home \gset
CREATE DATABASE regress_verity_policy;
\c regress_verity_policy
SET verity.protect_history = on;
CREATE EXTENSION verity;
RESET verity.protect_history;
CREATE ROLE regress_verity_owner;
CREATE ROLE regress_verity_other;
CREATE SCHEMA pol AUTHORIZATION regress_verity_owner;
GRANT USAGE ON SCHEMA pol TO regress_verity_other;

SET ROLE regress_verity_owner;
CREATE TABLE pol.kept (id int PRIMARY KEY, v text) USING verity;
INSERT INTO pol.kept VALUES (1, 'one'), (2, 'two');

-- refused to the owner
DROP TABLE pol.kept;
TRUNCATE pol.kept;
ALTER TABLE pol.kept ALTER COLUMN id TYPE bigint;
ALTER TABLE pol.kept ADD COLUMN r double precision DEFAULT random();
ALTER TABLE pol.kept SET ACCESS METHOD heap;
DO $$
BEGIN
	EXECUTE 'ALTER TABLE pol.kept SET ACCESS METHOD ' ||
		CASE WHEN current_setting('server_version_num')::int < 170000 THEN 'heap' ELSE 'DEFAULT' END;
EXCEPTION WHEN OTHERS THEN
	RAISE NOTICE '%', SQLERRM;
END $$;
ALTER TABLE pol.kept SET UNLOGGED;
VACUUM FULL pol.kept;
CLUSTER pol.kept USING kept_pkey;
DROP OWNED BY regress_verity_owner;
DROP SCHEMA pol CASCADE;

-- and to a superuser
RESET ROLE;
DROP TABLE pol.kept;
TRUNCATE pol.kept;
DROP SCHEMA pol CASCADE;
ALTER TABLE pol.kept ALTER COLUMN id TYPE bigint;
SET allow_system_table_mods = on;
DROP TABLE pol.kept;
RESET allow_system_table_mods;

-- whoever is not the owner is told only that
SET ROLE regress_verity_other;
DROP TABLE pol.kept;
TRUNCATE pol.kept;
\set VERBOSITY sqlstate
CLUSTER pol.kept USING kept_pkey;
\set VERBOSITY default
ALTER TABLE pol.kept SET ACCESS METHOD heap;
SELECT verity_release('pol.kept', 'mine now');

-- a partition and a child are protected through their parent as well
SET ROLE regress_verity_owner;
CREATE TABLE pol.parent (a int) PARTITION BY LIST (a);
CREATE TABLE pol.part1 PARTITION OF pol.parent FOR VALUES IN (1) USING verity;
CREATE TABLE pol.elder (a int);
CREATE TABLE pol.child () INHERITS (pol.elder) USING verity;
INSERT INTO pol.parent VALUES (1);
INSERT INTO pol.child VALUES (1);
DROP TABLE pol.parent;
TRUNCATE pol.parent;
DROP TABLE pol.elder CASCADE;
TRUNCATE pol.elder;
ALTER TABLE pol.elder ALTER COLUMN a TYPE bigint;
CREATE RULE "_RETURN" AS ON SELECT TO pol.kept DO INSTEAD SELECT 1;

-- what may be released, and with what
SELECT verity_release('pol.kept', '  ');
SELECT verity_release('pol.kept', repeat('x', 1001));
SELECT verity_release('pol.parent', 'partitioned');
SELECT verity_release('pol.elder', 'a heap table');
SELECT verity_release('pol.kept', NULL);
SELECT verity_release(NULL, 'of nothing');
CREATE UNLOGGED TABLE pol.unlogged (a int) USING verity;
SELECT verity_release('pol.unlogged', 'never protected');
BEGIN READ ONLY;
SELECT verity_release('pol.kept', 'read only');
ROLLBACK;

-- a release that is rolled back lifts nothing
BEGIN;
SELECT verity_release('pol.kept', 'changed my mind');
ROLLBACK;
TRUNCATE pol.kept;
BEGIN;
SAVEPOINT s;
SELECT verity_release('pol.kept', 'changed my mind');
ROLLBACK TO s;
DROP TABLE pol.kept;
ROLLBACK;

-- one that commits lifts it for this storage, for everybody who may
SELECT verity_release('pol.kept', 'retention has ended');
SELECT verity_release('pol.kept', 'again');
SET ROLE regress_verity_other;
TRUNCATE pol.kept;
RESET ROLE;
\c
SET ROLE regress_verity_owner;
TRUNCATE pol.kept;
SELECT * FROM pol.kept;

-- new storage is protected anew
INSERT INTO pol.kept VALUES (3, 'three');
TRUNCATE pol.kept;
BEGIN;
SELECT verity_release('pol.kept', 'to be rewritten');
ALTER TABLE pol.kept ALTER COLUMN id TYPE bigint;
SELECT * FROM pol.kept;
COMMIT;
SELECT * FROM pol.kept;
ALTER TABLE pol.kept ALTER COLUMN id TYPE int;
SELECT verity_release('pol.kept', 'to be clustered');
VACUUM FULL pol.kept;
SELECT * FROM pol.kept;
CLUSTER pol.kept USING kept_pkey;
SELECT verity_release('pol.kept', 'to be heap');
ALTER TABLE pol.kept SET ACCESS METHOD heap;
SELECT * FROM pol.kept;
ALTER TABLE pol.kept SET ACCESS METHOD verity;
SELECT * FROM pol.kept;
BEGIN;
SELECT verity_release('pol.kept', 'to be dropped');
DROP TABLE pol.kept;
ROLLBACK;
SELECT * FROM pol.kept;
DROP TABLE pol.kept;
BEGIN;
SELECT verity_release('pol.kept', 'to be dropped');
DROP TABLE pol.kept;
COMMIT;

-- a table's history begins when it commits
BEGIN;
CREATE TABLE pol.short (a int) USING verity;
INSERT INTO pol.short VALUES (1);
TRUNCATE pol.short;
INSERT INTO pol.short VALUES (2);
SAVEPOINT s;
TRUNCATE pol.short;
ROLLBACK TO s;
SELECT * FROM pol.short;
ALTER TABLE pol.short ALTER COLUMN a TYPE bigint;
SELECT * FROM pol.short;
DROP TABLE pol.short;
COMMIT;
BEGIN;
CREATE TABLE pol.short (a int) USING verity;
INSERT INTO pol.short VALUES (1);
TRUNCATE pol.short;
INSERT INTO pol.short VALUES (2);
COMMIT;
SELECT * FROM pol.short;
DROP TABLE pol.short;

-- a ledger that never held a record holds no history; an emptied one does
CREATE TABLE pol.bare (a int) USING verity;
SELECT verity_release('pol.bare', 'nothing there');
TRUNCATE pol.bare;
ALTER TABLE pol.bare ALTER COLUMN a TYPE bigint;
BEGIN;
INSERT INTO pol.bare VALUES (1);
TRUNCATE pol.bare;
COMMIT;
DROP TABLE pol.bare;
CREATE TABLE pol.bare (a int) USING verity;
INSERT INTO pol.bare VALUES (1);
DELETE FROM pol.bare;
DROP TABLE pol.bare;

-- sealed tables without a ledger are not protected
DROP TABLE pol.unlogged;
CREATE TEMP TABLE gone (a int) USING verity;
TRUNCATE gone;
DROP TABLE gone;
CREATE MATERIALIZED VIEW pol.mv USING verity AS SELECT 1 AS one;
REFRESH MATERIALIZED VIEW pol.mv;
SELECT * FROM pol.mv;
DROP MATERIALIZED VIEW pol.mv;
RESET ROLE;


-- the journal and the extension, where history is protected
SET verity.protect_history = off;
DROP EXTENSION verity;
DROP EXTENSION verity CASCADE;
DROP SCHEMA verity CASCADE;
ALTER SCHEMA verity RENAME TO elsewhere;
DROP TABLE verity.journal;
TRUNCATE verity.journal;
ALTER TABLE verity.journal RENAME TO diary;
ALTER TABLE verity.journal SET SCHEMA public;
ALTER TABLE verity.journal ADD COLUMN x int;
ALTER TABLE verity.journal ENABLE ROW LEVEL SECURITY;
CREATE INDEX ON verity.journal (position);
CREATE TRIGGER t BEFORE INSERT ON verity.journal EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE RULE r AS ON SELECT TO verity.journal DO INSTEAD SELECT 1;
CREATE POLICY p ON verity.journal;
ALTER TABLE verity.journal OWNER TO regress_verity_owner;
ALTER TABLE verity.journal SET ACCESS METHOD heap;
VACUUM FULL verity.journal;
CLUSTER verity.journal;
ALTER EXTENSION verity DROP TABLE verity.journal;
ALTER EXTENSION verity DROP FUNCTION verity_release(regclass, text);
RESET verity.protect_history;

-- positions that verify cannot begin at
SELECT verity_position() AS last \gset
\set VERBOSITY sqlstate
SELECT * FROM verity_verify(from_position => :last + 1);
\set VERBOSITY default
SELECT * FROM verity_verify(from_position => 1000000, to_position => 10);
DO $$ BEGIN
	PERFORM verity_verify(from_position => 1000000);
EXCEPTION WHEN invalid_parameter_value THEN
	RAISE NOTICE '%', regexp_replace(sqlerrm, '[0-9]+$', 'N');
END $$;
SELECT count(*) FROM verity_verify(from_position => :last) WHERE severity <> 'info';
SELECT count(*) FROM verity_verify(from_position => -5, to_position => :last + 100) WHERE severity <> 'info';
SELECT * FROM verity_verify(workers => 65);

-- arguments that name no verity table
CREATE TABLE parts (a int) PARTITION BY LIST (a);
\set VERBOSITY sqlstate
SELECT verity_release(0::regclass, 'gone');
SELECT verity_history(0::regclass);
SELECT verity.table_definition(0::regclass);
SELECT * FROM verity_verify(0::regclass);
\set VERBOSITY default
SELECT * FROM verity_verify(0::regclass);
SELECT * FROM verity_verify('parts');
SELECT * FROM verity_verify('pg_class');

SELECT severity, check_name, object, detail FROM verity_verify() WHERE severity <> 'info';

-- a journal that a superuser hid behind the extension: nothing passes without it
CREATE TABLE hidden (a int PRIMARY KEY, b text) USING verity;
INSERT INTO hidden VALUES (1, 'one');
CREATE TABLE shown (a int) USING heap;
SELECT current_database() AS here \gset
UPDATE pg_namespace SET nspname = 'elsewhere' WHERE nspname = 'verity';
\c :here
INSERT INTO hidden VALUES (2, 'two');
\set VERBOSITY terse
UPDATE hidden SET b = 'two';
DELETE FROM hidden;
SELECT * FROM hidden FOR UPDATE;
COPY hidden FROM stdin;
3	three
\.
CREATE TABLE hidden_too (a int) USING verity;
TRUNCATE hidden;
DROP TABLE hidden;
ALTER TABLE hidden ALTER a TYPE bigint;
ALTER TABLE hidden SET ACCESS METHOD heap;
VACUUM FULL hidden;
CLUSTER hidden USING hidden_pkey;
DROP EXTENSION verity;
DROP EXTENSION verity CASCADE;
SELECT * FROM verity_verify();
SELECT verity_release('hidden', 'because');
BEGIN; SET LOCAL verity.idempotency_id = '10addeed-9c0b-4ef8-bb6d-6bb9bd380a11'; INSERT INTO shown VALUES (1); COMMIT;
-- a table that took its name is not the journal
CREATE SCHEMA verity;
CREATE TABLE verity.journal (position bigint) USING heap;
INSERT INTO hidden VALUES (4, 'four');
DROP TABLE hidden;
DROP TABLE verity.journal;
DROP SCHEMA verity;
-- what is no verity table goes on
INSERT INTO shown VALUES (2);
ALTER TABLE shown ADD COLUMN b int;
DROP TABLE shown;
-- the name put back, all is as it was
ALTER SCHEMA elsewhere RENAME TO verity;
INSERT INTO hidden VALUES (5, 'five');
SELECT * FROM hidden ORDER BY 1;
DROP TABLE hidden;
\set VERBOSITY default
UPDATE pg_class SET relname = 'journal_gone' WHERE oid = 'verity.journal'::regclass;
\c :here
INSERT INTO hidden VALUES (6, 'six');
UPDATE pg_class SET relname = 'serials_gone' WHERE oid = 'verity.journal_serials'::regclass;
UPDATE pg_class SET relname = 'journal' WHERE relname = 'journal_gone';
\c :here
INSERT INTO hidden VALUES (6, 'six');
UPDATE pg_class SET relname = 'journal_serials' WHERE relname = 'serials_gone';
INSERT INTO hidden VALUES (6, 'six');
SELECT severity, check_name, object, detail FROM verity_verify() WHERE severity <> 'info';

\c :home
DROP DATABASE regress_verity_policy;
DROP ROLE regress_verity_owner, regress_verity_other;
