-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION verity" to load this file. \quit

CREATE SCHEMA verity;
COMMENT ON SCHEMA verity IS 'journal, views and internals of the verity extension';

CREATE FUNCTION verity.verity_handler(internal) RETURNS table_am_handler
    AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION verity.verity_handler(internal) IS 'handler of the table access method verity';

CREATE ACCESS METHOD verity TYPE TABLE HANDLER verity.verity_handler;
COMMENT ON ACCESS METHOD verity IS 'encrypted, append-only records under a hash-chained journal';
