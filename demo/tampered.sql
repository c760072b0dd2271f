-- What the application sees after somebody wrote to the files, and what verify says.
\pset footer off
\set rosalia '''42c09e08-1dbf-546f-fe06-f8e92891c41e'''

\echo '== Her allergies now. The penicillin allergy is hidden, and PostgreSQL itself notices nothing:'
SELECT description AS allergy, severity1 AS severity FROM allergies WHERE patient = :rosalia;

\echo '== Her weight now. A value that does not authenticate is never returned:'
\set ON_ERROR_STOP off
SELECT value FROM observations WHERE patient = :rosalia AND code = '29463-7';
\set ON_ERROR_STOP on

\echo
\echo '== verity_verify() names both, and nothing else:'
SELECT check_name, object, position, record, detail FROM verity_verify() WHERE severity <> 'info' ORDER BY object;
