-- the journal: its relations, and the functions that ask it

CREATE FUNCTION verity.verity_journal_handler(internal) RETURNS table_am_handler
    AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION verity.verity_journal_handler(internal) IS 'handler of the table access method verity_journal';

CREATE ACCESS METHOD verity_journal TYPE TABLE HANDLER verity.verity_journal_handler;
COMMENT ON ACCESS METHOD verity_journal IS 'the journal of verity tables, which can only be read';

CREATE TABLE verity.journal (
    position bigint,
    "time" timestamptz,
    kind text,
    outcome text,
    summary text,
    tables integer,
    records bigint,
    "session_user" text,
    "current_user" text,
    application text,
    client_address text,
    reason text,
    idempotency_id uuid,
    serial bigint,
    generation integer,
    decided bigint,
    raw_time timestamptz,
    previous bytea,
    hash bytea
) USING verity_journal;
COMMENT ON TABLE verity.journal IS 'every transaction that wrote verity tables, and every control event, in commit order';
COMMENT ON COLUMN verity.journal.position IS '1, 2, 3, … without gaps';
COMMENT ON COLUMN verity.journal."time" IS 'of the commit; later than that of every position before';
COMMENT ON COLUMN verity.journal.kind IS 'transaction, or a control event: genesis, generation, void, schema, key, policy, …';
COMMENT ON COLUMN verity.journal.outcome IS 'committed, void (did not commit after all), undecided (still committing), or final: belongs to no transaction';
COMMENT ON COLUMN verity.journal.summary IS 'what the entry says, in a line';
COMMENT ON COLUMN verity.journal.tables IS 'tables that the transaction wrote';
COMMENT ON COLUMN verity.journal.records IS 'records that it wrote: inserts, updates and deletes';
COMMENT ON COLUMN verity.journal."session_user" IS 'role that logged in';
COMMENT ON COLUMN verity.journal."current_user" IS 'role at commit';
COMMENT ON COLUMN verity.journal.application IS 'application_name at commit';
COMMENT ON COLUMN verity.journal.client_address IS 'address of the client; [local] on a Unix socket';
COMMENT ON COLUMN verity.journal.reason IS 'verity.reason at commit';
COMMENT ON COLUMN verity.journal.idempotency_id IS 'verity.idempotency_id at commit';
COMMENT ON COLUMN verity.journal.serial IS 'number of the transaction, which its records carry';
COMMENT ON COLUMN verity.journal.generation IS 'life of the server in which the entry was written';
COMMENT ON COLUMN verity.journal.decided IS 'positions up to this one were committed or void for good';
COMMENT ON COLUMN verity.journal.raw_time IS 'what the clock said';
COMMENT ON COLUMN verity.journal.previous IS 'hash of the entry before';
COMMENT ON COLUMN verity.journal.hash IS 'hash of the entry';

CREATE TABLE verity.journal_serials (
    serial bigint,
    position bigint,
    void boolean
) USING verity_journal;
COMMENT ON TABLE verity.journal_serials IS 'position of each transaction''s entry, by its serial';

CREATE TABLE verity.journal_heads (
    number integer,
    ledger uuid,
    position bigint,
    hash bytea
) USING verity_journal;
COMMENT ON TABLE verity.journal_heads IS 'last journal position of each verity table, and the hash of its item there';

CREATE TABLE verity.idempotency (
    role oid NOT NULL,
    id uuid NOT NULL,
    serial bigint NOT NULL,
    PRIMARY KEY (role, id)
) USING heap;
COMMENT ON TABLE verity.idempotency IS 'idempotency ids that were committed, and under which serial';

REVOKE ALL ON verity.journal, verity.journal_serials, verity.journal_heads, verity.idempotency FROM PUBLIC;

CREATE FUNCTION verity_position() RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION verity_position() IS 'last position of the journal';

CREATE FUNCTION verity_position(at timestamptz) RETURNS bigint
    AS 'MODULE_PATHNAME', 'verity_position_at_time' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION verity_position(timestamptz) IS 'last position at or before a time; NULL before the first';

CREATE FUNCTION verity_committed(id uuid) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION verity_committed(uuid) IS 'position at which the current role committed under this verity.idempotency_id; NULL: it did not';
