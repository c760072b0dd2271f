-- verification

CREATE FUNCTION verity_verify(
    relation regclass DEFAULT NULL,
    from_position bigint DEFAULT NULL,
    to_position bigint DEFAULT NULL,
    workers integer DEFAULT NULL,
    with_keys boolean DEFAULT NULL,
    OUT severity text, OUT check_name text, OUT object text, OUT "position" bigint,
    OUT record text, OUT expected text, OUT found text, OUT detail text)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'verity_verify'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 10;
REVOKE ALL ON FUNCTION verity_verify(regclass, bigint, bigint, integer, boolean) FROM PUBLIC;
COMMENT ON FUNCTION verity_verify(regclass, bigint, bigint, integer, boolean) IS
    'recompute everything that the journal vouches for and compare: one row a finding, one info row an object';

CREATE FUNCTION verity.verify_progress(
    OUT pid integer, OUT datid oid, OUT started timestamptz, OUT phase text, OUT object text,
    OUT done bigint, OUT total bigint, OUT records bigint)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'verity_verify_progress'
    LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION verity.verify_progress() IS 'rows of verity.progress';

CREATE VIEW verity.progress AS
    SELECT p.pid, d.datname AS database, p.started, p.phase, p.object, p.done, p.total, p.records
    FROM verity.verify_progress() p LEFT JOIN pg_catalog.pg_database d ON d.oid = p.datid;
COMMENT ON VIEW verity.progress IS
    'running verifications; done and total are blocks of a table, or entries of the journal';
REVOKE ALL ON verity.progress FROM PUBLIC;
REVOKE ALL ON FUNCTION verity.verify_progress() FROM PUBLIC;
