CREATE FUNCTION verity_release(relation regclass, reason text) RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE C PARALLEL UNSAFE;
COMMENT ON FUNCTION verity_release(regclass, text) IS
    'lift the protection of a verity table''s history, in the journal; for its owner';
