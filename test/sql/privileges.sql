-- RULES F 43: what a role without any grant may do, and what a grant gives it.
\set VERBOSITY terse
CREATE ROLE verity_nobody;
CREATE ROLE verity_owner;
CREATE ROLE verity_auditor;
GRANT ALL ON SCHEMA public TO verity_owner;

-- what the extension gives to PUBLIC
SELECT p.oid::regprocedure AS callable_by_public FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'verity' AND d.deptype = 'e'
WHERE has_function_privilege('verity_nobody', p.oid, 'EXECUTE') AND p.prorettype <> 'table_am_handler'::regtype ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT p.oid::regprocedure AS revoked_from_public FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'verity' AND d.deptype = 'e'
WHERE NOT has_function_privilege('verity_nobody', p.oid, 'EXECUTE') ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT c.oid::regclass AS readable_by_public FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.classid = 'pg_class'::regclass
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'verity' AND d.deptype = 'e'
WHERE c.relkind IN ('r', 'v', 'm', 'S') AND (has_table_privilege('verity_nobody', c.oid, 'SELECT') OR has_schema_privilege('verity_nobody', c.relnamespace, 'USAGE')) ORDER BY 1;
SELECT has_schema_privilege('verity_nobody', 'verity', 'USAGE') AS usage, has_schema_privilege('verity_nobody', 'verity', 'CREATE') AS create;
SELECT name FROM pg_settings WHERE name LIKE 'verity.%' AND context = 'user' ORDER BY 1;

SET ROLE verity_owner;
CREATE TABLE secret (id int PRIMARY KEY, open text, hidden text) USING verity;
INSERT INTO secret VALUES (1, 'open one', 'HIDDEN-1'), (2, 'open two', 'HIDDEN-2');
SELECT verity_position() AS p1 \gset
UPDATE secret SET hidden = 'HIDDEN-3' WHERE id = 1;
GRANT SELECT (id, open) ON secret TO verity_auditor;

-- a role without any grant
SET ROLE verity_nobody;
SELECT * FROM verity.journal;
SELECT * FROM verity.progress;
SELECT * FROM verity_query_at('SELECT 1', 1) AS t(a int);
SELECT * FROM verity_query_at('SELECT 1', now()) AS t(a int);
SELECT * FROM verity_as_of(NULL::secret, 1);
SELECT * FROM verity_as_of(NULL::secret, now());
SELECT * FROM verity_history('secret');
SELECT * FROM verity_verify();
SELECT * FROM verity_verify('secret');
SELECT * FROM verity.definitions();
SELECT verity.table_definition('secret');
SELECT verity_release('secret', 'because');
SELECT verity_init_keystore();
SELECT verity_adopt_keystore();
SELECT verity_position() > 0 AS has_position, verity_committed('00000000-0000-0000-0000-000000000001');
SET verity.as_of = '1';
SET LOCAL verity.as_of = '1';
SELECT set_config('verity.as_of', '1', false);
UPDATE pg_settings SET setting = '1' WHERE name = 'verity.as_of';
SET verity.protect_history = off;
SET verity.master_key_file = '/tmp/x';
\set VERBOSITY sqlstate
SHOW verity.master_key_file;
SHOW verity.keystore_directory;
\set VERBOSITY terse
SHOW verity.as_of;
RESET verity.as_of;
SET verity.reason = 'anybody may say why';
RESET verity.reason;
SELECT * FROM secret;

-- the table's owner is no auditor by that
SET ROLE verity_owner;
SET verity.as_of = '1';
SELECT * FROM verity_history('secret');
SELECT * FROM verity_query_at('SELECT 1', 1) AS t(a int);
SELECT * FROM verity_verify('secret');
SELECT verity.table_definition('secret');
RESET ROLE;

-- an auditor with the grants, but with two of the columns only
GRANT EXECUTE ON FUNCTION verity_query_at(text, bigint), verity_query_at(text, timestamptz),
	verity_as_of(anyelement, bigint), verity_as_of(anyelement, timestamptz), verity_history(regclass, jsonb) TO verity_auditor;
GRANT SET ON PARAMETER verity.as_of TO verity_auditor;
SET ROLE verity_auditor;
SELECT * FROM verity_query_at('SELECT id, open FROM secret ORDER BY id', :p1) AS t(id int, open text);
SELECT * FROM verity_query_at('SELECT hidden FROM secret', :p1) AS t(hidden text);
SELECT * FROM verity_query_at('SELECT id FROM secret WHERE hidden = ''HIDDEN-1''', :p1) AS t(id int);
SELECT * FROM verity_query_at('SELECT count(*) FROM secret s WHERE s IS NOT NULL', :p1) AS t(n bigint);
SELECT * FROM verity_as_of(NULL::secret, :p1);
SELECT * FROM verity_history('secret');
SELECT * FROM verity_history('secret', '{"hidden": "HIDDEN-1"}');
SET verity.as_of = :'p1';
SELECT id, open FROM secret ORDER BY id;
SELECT hidden FROM secret;
RESET verity.as_of;
-- verity_query_at runs as the invoker, in the setting and after it
SELECT * FROM verity_query_at('SELECT current_user::text, session_user <> current_user', :p1) AS t(who text, other boolean);
SELECT current_user;

-- a definer's function gives what its owner may read, as of then
SET ROLE verity_owner;
CREATE FUNCTION hidden_at(p bigint) RETURNS SETOF text LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS
	$$ SELECT hidden FROM verity_query_at('SELECT hidden FROM secret ORDER BY id', p) AS t(hidden text) $$;
CREATE FUNCTION hidden_now() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS
	$$ SELECT hidden FROM secret ORDER BY id $$;
SET ROLE verity_auditor;
SELECT hidden_at(:p1);
RESET ROLE;
GRANT EXECUTE ON FUNCTION verity_query_at(text, bigint) TO verity_owner;
SET ROLE verity_auditor;
SELECT hidden_at(:p1);
SET verity.as_of = :'p1';
SELECT hidden_now();
SELECT hidden_at(:p1);
RESET verity.as_of;
-- what a definer's function sets for itself ends with it
RESET ROLE;
CREATE FUNCTION past_of_definer() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
	PERFORM * FROM verity_query_at('SELECT id FROM secret', verity_position()) AS t(id int);
	RETURN current_setting('verity.as_of');
END $$;
SET ROLE verity_nobody;
SELECT past_of_definer() = '' AS unset, current_setting('verity.as_of') = '' AS unset_outside;
SET verity.as_of = '1';

-- row security
RESET ROLE;
GRANT SELECT ON secret TO verity_auditor;
SET ROLE verity_auditor;
SELECT count(*) FROM verity_as_of(NULL::secret, :p1);
SELECT count(*) FROM verity_history('secret');
SET ROLE verity_owner;
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible ON secret USING (hidden <> 'HIDDEN-1');
SET ROLE verity_auditor;
SELECT id, hidden FROM verity_as_of(NULL::secret, :p1);
SELECT * FROM verity_history('secret');
SET row_security = off;
SELECT id, hidden FROM verity_as_of(NULL::secret, :p1);
SELECT * FROM verity_history('secret');
RESET row_security;
-- a leaky function does not see what the policy hides, in the past neither
CREATE FUNCTION pg_temp.leak(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'leaked %', t; RETURN true; END $$;
SELECT * FROM verity_query_at('SELECT id FROM secret WHERE pg_temp.leak(hidden)', :p1) AS t(id int);
-- no message holds what the role may not read
SELECT * FROM verity_query_at('SELECT id FROM secret WHERE hidden::int = 1', :p1) AS t(id int);
RESET ROLE;
SET ROLE verity_owner;
SELECT count(*) FROM secret;
RESET ROLE;

-- names of the caller's do not get into the extension's functions
CREATE SCHEMA attack;
GRANT USAGE, CREATE ON SCHEMA attack TO verity_auditor;
SET ROLE verity_auditor;
CREATE FUNCTION attack.raise(a anyelement, b anyelement) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'attacked'; END $$;
CREATE FUNCTION attack.jsonb_contains(jsonb, jsonb) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'attacked'; END $$;
CREATE FUNCTION attack.count() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'attacked'; END $$;
CREATE OPERATOR attack.= (LEFTARG = anyelement, RIGHTARG = anyelement, FUNCTION = attack.raise);
CREATE OPERATOR attack.< (LEFTARG = anyelement, RIGHTARG = anyelement, FUNCTION = attack.raise);
CREATE OPERATOR attack.@> (LEFTARG = jsonb, RIGHTARG = jsonb, FUNCTION = attack.jsonb_contains);
CREATE TABLE attack.pg_class (oid oid, relname name);
CREATE TABLE attack.secret (id int, open text, hidden text);
CREATE TEMP TABLE pg_extension (oid oid, extname name);
RESET ROLE;
CREATE TABLE watched (id int PRIMARY KEY, a text) USING verity;
SET search_path = attack, pg_temp, pg_catalog, public;
INSERT INTO watched VALUES (1, 'x');
UPDATE watched SET a = 'y';
SELECT operation FROM verity_history('watched', '{"id": 1}');
SELECT n FROM verity_as_of(NULL::public.watched, verity_position()) AS t(i, n);
SELECT hidden FROM verity_as_of(NULL::public.secret, :p1);
SELECT verity_position('infinity') OPERATOR(pg_catalog.=) verity_position() AS same;
SELECT pg_catalog.count(*) FROM verity_verify('watched') WHERE severity OPERATOR(pg_catalog.<>) 'info';
ALTER TABLE watched ADD COLUMN b int;
SELECT position('attacked' IN verity.table_definition('watched')) OPERATOR(pg_catalog.=) 0 AS sound;
RESET search_path;

DROP FUNCTION pg_temp.leak;
DROP SCHEMA attack CASCADE;
DROP TABLE secret, watched;
DROP FUNCTION hidden_at, hidden_now, past_of_definer;
REVOKE ALL ON FUNCTION verity_query_at(text, bigint), verity_query_at(text, timestamptz),
	verity_as_of(anyelement, bigint), verity_as_of(anyelement, timestamptz), verity_history(regclass, jsonb) FROM verity_auditor, verity_owner;
REVOKE SET ON PARAMETER verity.as_of FROM verity_auditor;
REVOKE ALL ON SCHEMA public FROM verity_owner;
DROP TABLE pg_extension;
DROP ROLE verity_nobody, verity_owner, verity_auditor;
