--
-- What PostgreSQL 18 added to definitions: virtual generated columns, constraints
-- that are not enforced, keys over periods, and named or unchecked NOT NULL.
-- RULES 35.
--
SELECT current_setting('server_version_num')::int < 180000 AS older \gset
\if :older
\echo nothing of this in older versions
\quit
\endif
CREATE SCHEMA def18;
CREATE TABLE def18.rooms (room int4range, during tstzrange, note text,
	PRIMARY KEY (room, during WITHOUT OVERLAPS)) USING verity;
CREATE TABLE def18.base (k int CONSTRAINT k_there NOT NULL);
CREATE TABLE def18.t (
	id int PRIMARY KEY,
	n int NOT NULL,
	twice int GENERATED ALWAYS AS (n * 2),
	thrice int GENERATED ALWAYS AS (n * 3) STORED,
	m int CONSTRAINT m_there NOT NULL NO INHERIT,
	room int4range,
	during tstzrange,
	CONSTRAINT small CHECK (n < 100) NOT ENFORCED,
	FOREIGN KEY (id) REFERENCES def18.t NOT ENFORCED,
	FOREIGN KEY (room, PERIOD during) REFERENCES def18.rooms (room, PERIOD during),
	CONSTRAINT apart UNIQUE (room, during WITHOUT OVERLAPS)
) INHERITS (def18.base) USING verity;
CREATE TABLE def18.v (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2),
	word text COLLATE "C" GENERATED ALWAYS AS ('n' || (n::text COLLATE "POSIX"))) USING verity;
CREATE FUNCTION def18.facts() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT replace(line, 'def18.', '') FROM regexp_split_to_table(verity.table_definition('def18.t'), '\n') line
	WHERE line ~ '^(constraint|column \d+ (generated|default|[a-z]+ type))'
$$;
\pset format unaligned
SELECT * FROM def18.facts();
\pset format aligned

-- each of these changes the definition, and its rollback puts it back
CREATE FUNCTION def18.changes(command text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	before text[] := ARRAY(SELECT def18.facts());
	after text[];
BEGIN
	BEGIN
		EXECUTE command;
		after := ARRAY(SELECT def18.facts());
		RAISE EXCEPTION USING errcode = 'UVRTY';
	EXCEPTION WHEN SQLSTATE 'UVRTY' THEN
		IF ARRAY(SELECT def18.facts()) <> before THEN
			RAISE 'not put back: %', command;
		END IF;
	END;
	RETURN QUERY SELECT '- ' || line FROM unnest(before) line WHERE line <> ALL (after)
		UNION ALL SELECT '+ ' || line FROM unnest(after) line WHERE line <> ALL (before);
END $$;
\pset format unaligned
\pset tuples_only
SELECT def18.changes('ALTER TABLE def18.t ADD COLUMN half int GENERATED ALWAYS AS (n / 2) VIRTUAL');
SELECT def18.changes('ALTER TABLE def18.t ALTER CONSTRAINT t_id_fkey ENFORCED');
SELECT def18.changes('ALTER TABLE def18.t ADD CONSTRAINT room_there NOT NULL room NOT VALID');
SELECT def18.changes('ALTER TABLE def18.t ADD CONSTRAINT room_there NOT NULL room NOT VALID;
	ALTER TABLE def18.t VALIDATE CONSTRAINT room_there');
SELECT def18.changes('ALTER TABLE def18.t ALTER CONSTRAINT m_there INHERIT');
SELECT def18.changes('ALTER TABLE def18.t RENAME CONSTRAINT t_n_not_null TO n_there');
SELECT def18.changes('ALTER TABLE def18.t RENAME CONSTRAINT t_n_not_null TO t_n_not_null2');
SELECT def18.changes('ALTER TABLE def18.base RENAME CONSTRAINT k_there TO base_k_not_null');
SELECT def18.changes('ALTER TABLE def18.base RENAME CONSTRAINT k_there TO t_k_not_null');
SELECT def18.changes('ALTER TABLE def18.base ALTER COLUMN k DROP NOT NULL');
\pset tuples_only
\pset format aligned

-- a long name is cut as PostgreSQL cuts it
CREATE TABLE def18.a_table_with_a_name_that_is_as_long_as_names_may_possibly_be_ (a_column_with_a_name_that_is_long int NOT NULL) USING verity;
SELECT line FROM regexp_split_to_table(verity.table_definition('def18.a_table_with_a_name_that_is_as_long_as_names_may_possibly_be_'), '\n') line
	WHERE line ~ '^(column|constraint) ';

-- a domain's NOT NULL has a name as well
CREATE DOMAIN def18.given AS int CONSTRAINT surely NOT NULL;
CREATE DOMAIN def18.plain AS int NOT NULL;
CREATE TABLE def18.domains (a def18.given, b def18.plain) USING verity;
SELECT line FROM regexp_split_to_table(verity.table_definition('def18.domains'), '\n') line
	WHERE line ~ '^type def18.* (domain|constraint) ';

-- the tables work, and what their constraints say holds
INSERT INTO def18.rooms VALUES ('[1,2)', '[2020-01-01,2021-01-01)', 'a');
INSERT INTO def18.t (k, id, n, m, room, during) VALUES (1, 1, 500, 1, '[1,2)', '[2020-02-01,2020-03-01)');
\set VERBOSITY terse
INSERT INTO def18.rooms VALUES ('[1,2)', '[2020-12-01,2021-02-01)', 'overlaps');
INSERT INTO def18.t (k, id, n, m, room, during) VALUES (1, 2, 1, 1, '[1,2)', '[2020-02-10,2020-02-11)');
INSERT INTO def18.t (k, id, n, m, room, during) VALUES (1, 2, 1, 1, '[1,2)', '[2020-12-01,2021-02-01)');
DELETE FROM def18.rooms;
UPDATE def18.rooms SET during = '[2020-02-10,2021-01-01)';
INSERT INTO def18.t (k, id, n) VALUES (1, 3, 1);
\set VERBOSITY default
UPDATE def18.t SET n = 7;
SELECT id, n, twice, thrice FROM def18.t WHERE twice = 14;
UPDATE def18.rooms SET note = 'b';

-- unchecked NOT NULL: older rows may lack the value
CREATE TABLE def18.late (a int) USING verity;
INSERT INTO def18.late VALUES (NULL), (1);
ALTER TABLE def18.late ADD CONSTRAINT a_there NOT NULL a NOT VALID;
SELECT count(*) FROM def18.late WHERE a IS NULL;
INSERT INTO def18.late VALUES (NULL);
DELETE FROM def18.late WHERE a IS NULL;
ALTER TABLE def18.late VALIDATE CONSTRAINT a_there;

-- virtual columns follow today's expression, in the past as well
INSERT INTO def18.v VALUES (1, 5), (2, NULL);
SELECT verity_position() AS past \gset
SELECT md5(verity.table_definition('def18.v')) AS before \gset
ALTER TABLE def18.v ALTER COLUMN twice SET EXPRESSION AS (n * 20);
SELECT md5(verity.table_definition('def18.v')) = :'before' AS same;
UPDATE def18.v SET n = 8 WHERE id = 1;
ALTER TABLE def18.v ADD COLUMN more int GENERATED ALWAYS AS (coalesce(n, 0) + 1);
DELETE FROM def18.v WHERE id = 2;
SELECT * FROM def18.v;
SET verity.as_of = :past;
SELECT * FROM def18.v ORDER BY id;
SELECT id FROM def18.v WHERE word = 'n5';
RESET verity.as_of;
SELECT * FROM verity_query_at('SELECT id, twice, word FROM def18.v', :past) AS q(id int, twice int, word text) ORDER BY id;
SELECT * FROM verity_as_of(NULL::def18.v, :past) ORDER BY id;
SELECT operation, row FROM verity_history('def18.v');
SELECT operation, row FROM verity_history('def18.v', '{"word": "n8"}');
CREATE TABLE def18.copied USING verity AS SELECT v FROM def18.v;
SELECT * FROM def18.copied;

-- a changed name of the parent's constraint is journalled with the child
SELECT count(*) AS before FROM verity.definitions() WHERE relation = 'def18.t'::regclass \gset
ALTER TABLE def18.base RENAME CONSTRAINT k_there TO k_here;
SELECT count(*) - :before AS more FROM verity.definitions() WHERE relation = 'def18.t'::regclass;
ANALYZE def18.t;
SELECT severity, check_name, object, detail FROM verity_verify(with_keys => true) WHERE severity <> 'info';
SET client_min_messages = warning;
DROP SCHEMA def18 CASCADE;
