-- last: the keystore where it can be made, and the journal's first entry

CREATE FUNCTION verity.initialize() RETURNS void
    AS 'MODULE_PATHNAME', 'verity_initialize' LANGUAGE C VOLATILE;
SELECT verity.initialize();
DROP FUNCTION verity.initialize();
