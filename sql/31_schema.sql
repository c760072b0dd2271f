CREATE FUNCTION verity.table_definition(relation regclass) RETURNS text
    AS 'MODULE_PATHNAME', 'verity_table_definition' LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION verity.table_definition(regclass) IS
    'canonical text of a verity table''s definition; its SHA-256 is the digest that the journal holds';
