-- Ordinary SQL, the journal, a clean verification, the past.  Quiet psql, no pager.
\pset footer off
\set rosalia '''42c09e08-1dbf-546f-fe06-f8e92891c41e'''

\echo '== 12 tables USING verity, loaded by COPY. Ordinary SQL; the application sees nothing special:'
SELECT p.first, p.last, a.description AS allergy, a.severity1 AS severity, o.value || ' ' || o.units AS weight
FROM patients p JOIN allergies a ON a.patient = p.id JOIN observations o ON o.patient = p.id AND o.code = '29463-7'
WHERE p.id = :rosalia ORDER BY 3 DESC;
SELECT verity_position() AS loaded \gset

BEGIN;
SET LOCAL verity.reason = 'rash after second dose';
UPDATE allergies SET severity1 = 'MILD' WHERE patient = :rosalia AND description = 'Penicillin V';
COMMIT;
SELECT verity_position() AS before_correction \gset
BEGIN;
SET LOCAL verity.reason = 'typing error: it was anaphylaxis';
UPDATE allergies SET severity1 = 'SEVERE' WHERE patient = :rosalia AND description = 'Penicillin V';
UPDATE observations SET value = '49.4' WHERE patient = :rosalia AND code = '29463-7';
COMMIT;

\echo '== Two updates, each with its reason, and the journal has grown by two entries:'
SELECT position, to_char(time, 'HH24:MI:SS.US') AS time, kind, records, reason FROM verity.journal
WHERE position >= :loaded ORDER BY position;

\echo '== SELECT count(*) FROM verity_verify() WHERE severity <> ''info'':'
SELECT count(*) AS findings FROM verity_verify() WHERE severity <> 'info';

\echo '== The same record as of position' :before_correction', before the correction:'
SELECT * FROM verity_query_at(
	'SELECT description, severity1 FROM allergies WHERE patient = ''42c09e08-1dbf-546f-fe06-f8e92891c41e''',
	:before_correction) AS t (allergy text, severity text) ORDER BY 1 DESC;

\echo '== The history of her penicillin allergy:'
SELECT position, operation, author, reason, "row"->>'severity1' AS severity
FROM verity_history('allergies', '{"patient": "42c09e08-1dbf-546f-fe06-f8e92891c41e", "description": "Penicillin V"}');
