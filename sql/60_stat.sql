-- counters and figures

CREATE FUNCTION verity.stat(
    OUT datid oid,
    OUT records_sealed bigint, OUT bytes_sealed bigint,
    OUT records_opened bigint, OUT bytes_opened bigint, OUT records_from_pool bigint,
    OUT authentication_failures bigint,
    OUT journal_entries bigint, OUT journal_bytes bigint,
    OUT journal_lock_waits bigint, OUT journal_lock_wait_time double precision,
    OUT stats_reset timestamptz)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'verity_stat' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION verity.stat() IS 'rows of verity.stat';
REVOKE ALL ON FUNCTION verity.stat() FROM PUBLIC;

CREATE VIEW verity.stat AS
    SELECT s.datid, d.datname AS database, s.records_sealed, s.bytes_sealed, s.records_opened, s.bytes_opened, s.records_from_pool,
        s.authentication_failures, s.journal_entries, s.journal_bytes, s.journal_lock_waits,
        s.journal_lock_wait_time, s.stats_reset
    FROM verity.stat() s LEFT JOIN pg_catalog.pg_database d ON d.oid = s.datid;
COMMENT ON VIEW verity.stat IS
    'what the server''s processes did to verity tables, since its start or verity_stat_reset(): a row for each database, and one without a database for those that were dropped';
COMMENT ON COLUMN verity.stat.datid IS 'OID of the database; NULL: dropped ones';
COMMENT ON COLUMN verity.stat.database IS 'its name';
COMMENT ON COLUMN verity.stat.records_sealed IS 'records that were encrypted, in transactions that rolled back too';
COMMENT ON COLUMN verity.stat.bytes_sealed IS 'their plaintext, in bytes, compressed where it was';
COMMENT ON COLUMN verity.stat.records_opened IS 'records that were read and found authentic';
COMMENT ON COLUMN verity.stat.bytes_opened IS 'their plaintext, in bytes, compressed where it was';
COMMENT ON COLUMN verity.stat.records_from_pool IS 'those of them that verity.opened_pool had, so that they were not decrypted again';
COMMENT ON COLUMN verity.stat.authentication_failures IS 'records that were not authentic; anything but 0 calls for verity_verify()';
COMMENT ON COLUMN verity.stat.journal_entries IS 'entries written to the journal, control entries and void ones too';
COMMENT ON COLUMN verity.stat.journal_bytes IS 'their size, in bytes';
COMMENT ON COLUMN verity.stat.journal_lock_waits IS 'times that a process had to wait for the journal''s lock';
COMMENT ON COLUMN verity.stat.journal_lock_wait_time IS 'how long they waited, in milliseconds';
COMMENT ON COLUMN verity.stat.stats_reset IS 'since when all this is counted';

CREATE FUNCTION verity_stat_reset() RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION verity_stat_reset() IS 'set all counters of verity.stat to zero, for every database';
REVOKE ALL ON FUNCTION verity_stat_reset() FROM PUBLIC;

CREATE FUNCTION verity_table_stat(relation regclass,
    OUT pages bigint, OUT pages_without_current bigint, OUT map_coverage double precision,
    OUT "rows" bigint, OUT versions bigint, OUT versions_per_row double precision,
    OUT pages_read bigint)
    AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE PARALLEL SAFE COST 10000;
COMMENT ON FUNCTION verity_table_stat(regclass) IS
    'how much of a verity table is history, from its map and up to 2,000 of its pages; for who may SELECT from the table, and pg_stat_scan_tables';

-- the list first: the function is an error for what is no verity table
CREATE VIEW verity.table_stat AS
    WITH tables AS MATERIALIZED (
        SELECT c.oid, n.nspname, c.relname
        FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_catalog.pg_am a ON a.oid = c.relam
        WHERE a.amname = 'verity'
            AND c.relkind = ANY ('{r,m}'::"char"[])
            AND NOT pg_catalog.pg_is_other_temp_schema(n.oid)
            AND NOT (c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery())
            AND (pg_catalog.has_table_privilege(c.oid, 'SELECT')
                OR pg_catalog.pg_has_role('pg_stat_scan_tables', 'USAGE')))
    SELECT t.oid AS relid, t.nspname AS schema, t.relname AS "table",
        pg_catalog.pg_table_size(t.oid) AS bytes, pg_catalog.pg_indexes_size(t.oid) AS index_bytes,
        s.pages, s.pages_without_current, s.map_coverage, s."rows", s.versions, s.versions_per_row, s.pages_read
    FROM tables t, LATERAL @extschema@.verity_table_stat(t.oid) s;
COMMENT ON VIEW verity.table_stat IS
    'verity tables of this database that one may read or watch, and how much of each is history; exact where pages_read is pages, else scaled up from a sample';
COMMENT ON COLUMN verity.table_stat.bytes IS 'table, its TOAST table and maps, in bytes';
COMMENT ON COLUMN verity.table_stat.index_bytes IS 'its indexes, in bytes';
COMMENT ON COLUMN verity.table_stat.pages IS 'data pages of the table';
COMMENT ON COLUMN verity.table_stat.pages_without_current IS 'those that the map marks as without current records: scans of current data skip them';
COMMENT ON COLUMN verity.table_stat.map_coverage IS 'their share of the data pages, 0 to 1; VACUUM raises it';
COMMENT ON COLUMN verity.table_stat."rows" IS 'current rows';
COMMENT ON COLUMN verity.table_stat.versions IS 'committed versions of rows, current ones included';
COMMENT ON COLUMN verity.table_stat.versions_per_row IS 'versions for each current row; NULL without current rows';
COMMENT ON COLUMN verity.table_stat.pages_read IS 'data pages that were read to tell rows and versions';

-- as PostgreSQL's own statistics
GRANT USAGE ON SCHEMA verity TO pg_read_all_stats, pg_stat_scan_tables;
GRANT EXECUTE ON FUNCTION verity.stat() TO pg_read_all_stats;
GRANT SELECT ON verity.stat TO pg_read_all_stats;
GRANT SELECT ON verity.table_stat TO pg_stat_scan_tables;
