CREATE FUNCTION verity.table_definition(relation regclass) RETURNS text
    AS 'MODULE_PATHNAME', 'verity_table_definition' LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION verity.table_definition(regclass) IS
    'canonical text of a verity table''s definition; its SHA-256 is the digest that the journal holds';

CREATE FUNCTION verity.definitions(
    OUT "position" bigint,
    OUT action text,
    OUT name text,
    OUT relation oid,
    OUT ledger bytea,
    OUT version bigint,
    OUT digest bytea,
    OUT definition text)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'verity_definitions' LANGUAGE C STRICT STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION verity.definitions() IS
    'the definitions of verity tables that the journal holds, in the order of their positions';
REVOKE ALL ON FUNCTION verity.definitions() FROM PUBLIC;
