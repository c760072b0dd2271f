-- the keystore

CREATE FUNCTION verity_init_keystore() RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE;
REVOKE EXECUTE ON FUNCTION verity_init_keystore() FROM PUBLIC;
COMMENT ON FUNCTION verity_init_keystore() IS 'make the cluster''s keystore, and the master key file where the setting names one that does not exist; false when there is a keystore';

CREATE FUNCTION verity_adopt_keystore() RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE;
REVOKE EXECUTE ON FUNCTION verity_adopt_keystore() FROM PUBLIC;
COMMENT ON FUNCTION verity_adopt_keystore() IS 'after pg_upgrade: make the keystore of the cluster before it this cluster''s; false when it is already';

CREATE FUNCTION verity_accept_journal(reason text) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT;
REVOKE EXECUTE ON FUNCTION verity_accept_journal(text) FROM PUBLIC;
COMMENT ON FUNCTION verity_accept_journal(text) IS 'after an older backup was restored on purpose: take its journal for the right one, although the keystore saw a later one; an entry says so';
