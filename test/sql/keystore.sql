-- the keystore's function, the settings' limits, and what sealing refuses
SELECT verity_init_keystore() AS made_again;
SELECT verity_adopt_keystore() AS was_another_clusters;
SELECT proacl IS NOT NULL AS restricted FROM pg_proc WHERE proname = 'verity_init_keystore';
CREATE ROLE keystore_user;
SET ROLE keystore_user;
SELECT verity_init_keystore();
\set VERBOSITY sqlstate
SHOW verity.master_key_file;
SHOW verity.master_key_command;
SHOW verity.keystore_directory;
\set VERBOSITY default
SET verity.protect_history = off;
SET verity.as_of = '1';
SET verity.reason = 'an ordinary role may say why';
RESET ROLE;

-- settings
SELECT set_config('verity.reason', repeat('x', 1000), false) = repeat('x', 1000) AS longest;
\set VERBOSITY terse
DO $$
BEGIN
	PERFORM set_config('verity.reason', repeat('x', 1001), false);
EXCEPTION WHEN invalid_parameter_value THEN
	RAISE NOTICE 'a reason of 1001 bytes is refused';
END $$;
\set VERBOSITY default
SET verity.idempotency_id = 'not a uuid';
SET verity.idempotency_id = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1';
SET verity.idempotency_id = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a111';
SET verity.idempotency_id = '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11';
SET verity.idempotency_id = '{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}';
SET verity.idempotency_id = 'A0EEBC999C0B4EF8BB6D6BB9BD380A11';
SET verity.idempotency_id = '';
SET verity.no_such_setting = 1;
SET verity.master_key_file = '/tmp/key';
SET verity.keystore_directory = '/tmp/keys';
SELECT name, context FROM pg_settings WHERE name LIKE 'verity.%' AND name !~ 'nonce_log|stop_' ORDER BY 1;
SELECT count(*) AS undescribed FROM pg_settings WHERE name LIKE 'verity.%' AND (short_desc = '' OR extra_desc = '');

-- the genesis is for CREATE EXTENSION alone
SELECT count(*) AS left_behind FROM pg_proc WHERE proname = 'initialize' AND pronamespace = 'verity'::regnamespace;

-- temporary and unlogged tables are sealed without one
CREATE TEMP TABLE keystore_temporary (id int) USING verity;
CREATE UNLOGGED TABLE keystore_unlogged (id int) USING verity;
INSERT INTO keystore_temporary VALUES (1);
INSERT INTO keystore_unlogged VALUES (1);
SELECT * FROM keystore_temporary, keystore_unlogged;

DROP TABLE keystore_temporary, keystore_unlogged;
DROP ROLE keystore_user;
