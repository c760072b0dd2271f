-- reading the past

CREATE FUNCTION verity_query_at(sql text, "position" bigint) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'verity_query_at_position' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION verity_query_at(text, bigint) IS
'rows of one SELECT as of a journal position; declare the columns: SELECT * FROM verity_query_at(…) AS t(id int, …). Runs as the invoker. Errors: 22023 for a position that is not in the journal or for anything but one reading SELECT, 42804 when the declared columns differ';
REVOKE EXECUTE ON FUNCTION verity_query_at(text, bigint) FROM PUBLIC;

CREATE FUNCTION verity_query_at(sql text, "time" timestamptz) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'verity_query_at_time' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION verity_query_at(text, timestamptz) IS
'rows of one SELECT as of a time: the last journal position at or before it';
REVOKE EXECUTE ON FUNCTION verity_query_at(text, timestamptz) FROM PUBLIC;

CREATE FUNCTION verity_as_of("table" anyelement, "position" bigint) RETURNS SETOF anyelement
    AS 'MODULE_PATHNAME', 'verity_as_of_position' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION verity_as_of(anyelement, bigint) IS
'rows of one table as of a journal position: SELECT * FROM verity_as_of(NULL::patients, 42)';
REVOKE EXECUTE ON FUNCTION verity_as_of(anyelement, bigint) FROM PUBLIC;

CREATE FUNCTION verity_as_of("table" anyelement, "time" timestamptz) RETURNS SETOF anyelement
    AS 'MODULE_PATHNAME', 'verity_as_of_time' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION verity_as_of(anyelement, timestamptz) IS
'rows of one table as of a time: SELECT * FROM verity_as_of(NULL::patients, now() - interval ''1 day'')';
REVOKE EXECUTE ON FUNCTION verity_as_of(anyelement, timestamptz) FROM PUBLIC;

CREATE FUNCTION verity_history(relation regclass, filter jsonb DEFAULT '{}')
    RETURNS TABLE ("position" bigint, "time" timestamptz, operation text, author text, reason text,
                   record text, "row" jsonb)
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT COST 10000;
COMMENT ON FUNCTION verity_history(regclass, jsonb) IS
'every committed version of a table''s rows in journal order: position, time, operation (insert, update, delete), author (the current user then), reason, record id, the row as jsonb; filter keeps the rows that contain it: verity_history(''patients'', ''{"id": 7}''). Needs SELECT on the whole table; refused under row security';
REVOKE EXECUTE ON FUNCTION verity_history(regclass, jsonb) FROM PUBLIC;
