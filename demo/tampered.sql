-- What the application sees after somebody wrote to the files, and what verify says.
\pset footer off
\set rosalia '''42c09e08-1dbf-546f-fe06-f8e92891c41e'''

\echo '== Her allergies now. The penicillin allergy is hidden, and PostgreSQL itself notices nothing:'
SELECT description AS allergy, severity1 AS severity FROM allergies WHERE patient = :rosalia;

\echo '== verity_verify() names both:'
SELECT severity, check_name, object, position, record, left(found, 44) AS found FROM verity_verify()
WHERE severity <> 'info' ORDER BY object, check_name;
