# Logical replication: random changes of verity tables reach a subscriber's
# heap tables, a heap's reach verity tables, and verity's reach verity; through
# crashes, large transactions and lost keys; and none of it is in plain text in
# WAL or in the files that decoding spills.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StopPoints qw(meddling_tables);
use Test::More;
use VerityTest;

my $settings = q(
wal_level = logical
max_wal_senders = 8
max_replication_slots = 8
max_logical_replication_workers = 8
max_sync_workers_per_subscription = 4
logical_decoding_work_mem = 64kB
wal_retrieve_retry_interval = 100ms
wal_compression = off
);
my $publisher = verity_node('publisher', conf => $settings);
my $subscriber = verity_node('subscriber', conf => $settings);
my $source = $publisher->connstr . ' dbname=postgres';
# PostgreSQL 18 with assertions ends here with heap tables as well: pgoutput asserts that a transaction was streamed before
# a part of it is told to be aborted, which does not hold of one that had aborted before it was to be streamed.
my $rollback = $publisher->safe_psql('postgres', q(SELECT current_setting('server_version_num')::int >= 180000
	AND current_setting('debug_assertions')::bool)) eq 't' ? 'COMMIT' : 'ROLLBACK';
my @tables = qw(keyed to_heap to_verity whole named parts);

# Does a query give the same on both servers?
sub same
{
	my ($query, $what) = @_;
	my ($ours, $theirs) = map { $_->safe_psql('postgres', $query) } $publisher, $subscriber;
	return is($theirs, $ours, $what);
}

sub digest
{
	my ($table, $columns) = @_;
	$columns //= 't';
	return "SELECT count(*), md5(coalesce(string_agg(($columns)::text, '|' ORDER BY ($columns)::text), '')) FROM $table t";
}

sub same_rows
{
	my ($what) = @_;
	$publisher->wait_for_catchup('everything');
	same(digest($_), "$what: $_") for @tables;
	return;
}

# The tables, with the access methods that they have on one server.
sub make_tables
{
	my ($node, %am) = @_;
	$node->safe_psql('postgres', qq(
		CREATE TABLE keyed (id int PRIMARY KEY, v text, n numeric, b bytea, old int DEFAULT 3) USING verity;
		CREATE TABLE to_heap (id int PRIMARY KEY, v text, n numeric, b bytea) USING $am{to_heap};
		CREATE TABLE to_verity (id int PRIMARY KEY, v text, n numeric, b bytea) USING $am{to_verity};
		CREATE TABLE whole (id int, v text, n numeric, b bytea) USING verity;
		ALTER TABLE whole REPLICA IDENTITY FULL;
		CREATE TABLE named (id int NOT NULL, v text, n numeric, b bytea) USING verity;
		CREATE UNIQUE INDEX named_id ON named (id);
		ALTER TABLE named REPLICA IDENTITY USING INDEX named_id;
		CREATE TABLE parts (id int PRIMARY KEY, v text, n numeric, b bytea) PARTITION BY RANGE (id);
		CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (MINVALUE) TO (300) USING verity;
		CREATE TABLE parts2 PARTITION OF parts FOR VALUES FROM (300) TO (MAXVALUE) USING $am{to_heap};
		ALTER TABLE keyed ALTER v SET STORAGE EXTERNAL));
	return;
}

# One transaction of random changes of a table, parts of it rolled back.
my $random_work = q(
CREATE FUNCTION below(most int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT (random() * most)::int';
CREATE FUNCTION some_text() RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT CASE WHEN random() < 0.1 THEN NULL
		WHEN random() < 0.9 THEN md5(random()::text)
		ELSE (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 50 + below(1000))) END $$;
CREATE PROCEDURE step(tab text) LANGUAGE plpgsql AS $$
DECLARE
	dice float := random();
BEGIN
	IF dice < 0.25 THEN
		EXECUTE format('INSERT INTO %I SELECT i, some_text(), random(), decode(md5(random()::text), ''hex'')
			FROM (SELECT DISTINCT below(500) FROM generate_series(1, below(8))) AS g(i)
			WHERE NOT EXISTS (SELECT 1 FROM %1$I WHERE id = i)', tab);
	ELSIF dice < 0.35 THEN
		EXECUTE format('INSERT INTO %I SELECT i, some_text() FROM (SELECT below(500)) AS g(i)
			WHERE %L <> ''whole'' ON CONFLICT DO NOTHING', tab, tab);
	ELSIF dice < 0.65 THEN
		EXECUTE format('UPDATE %I SET v = some_text() WHERE id BETWEEN %s AND %2$s + 5', tab, below(500));
	ELSIF dice < 0.75 THEN
		EXECUTE format('UPDATE %I SET n = n + 1 WHERE id %% 7 = %s', tab, below(7));
	ELSIF dice < 0.85 THEN
		EXECUTE format('UPDATE %I t SET id = %s WHERE id = %s
			AND NOT EXISTS (SELECT 1 FROM %1$I WHERE id = %2$s)', tab, below(500), below(500));
	ELSE
		EXECUTE format('DELETE FROM %I WHERE id BETWEEN %s AND %2$s + 3', tab, below(500));
	END IF;
END $$;
CREATE PROCEDURE work(tab text, steps int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. below(steps) LOOP
		BEGIN
			CALL step(tab);
			IF random() < 0.2 THEN
				CALL step(tab);
				RAISE division_by_zero;
			END IF;
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
		IF random() < 0.05 THEN
			[ROLLBACK];
		END IF;
	END LOOP;
END $$);
$random_work =~ s/\[ROLLBACK\]/$rollback/;

sub work
{
	my ($seed, $transactions) = @_;
	$publisher->safe_psql('postgres', "SELECT setseed($seed);\n"
		  . join("\n", map { "CALL work('" . $tables[ $_ % @tables ] . "', 12);" } 1 .. $transactions));
	return;
}

make_tables($publisher, to_heap => 'verity', to_verity => 'heap');
make_tables($subscriber, to_heap => 'heap', to_verity => 'verity');
$publisher->safe_psql('postgres', $random_work);
work(0.1, 24);

#
# Rows from before, and the journal's tables are not asked for
#
$publisher->safe_psql('postgres', 'CREATE PUBLICATION everything FOR ALL TABLES');
$subscriber->safe_psql('postgres',
	"CREATE SUBSCRIPTION everything CONNECTION '$source' PUBLICATION everything WITH (streaming = on)");
$subscriber->wait_for_subscription_sync($publisher, 'everything');
same_rows('copied');
is($subscriber->safe_psql('postgres',
		'SELECT string_agg(srrelid::regclass::text, $$ $$ ORDER BY srrelid::regclass::text) FROM pg_subscription_rel'),
	'keyed named parts1 parts2 to_heap to_verity whole', 'a subscriber is told of every table but the journal\'s');
is($publisher->safe_psql('postgres', q(SELECT count(*) > 0 FROM pg_publication_tables WHERE schemaname = 'verity')),
	't', 'which an ordinary session would list');

#
# Random changes
#
for my $round (1 .. 3)
{
	work(0.2 + $round / 10, 90);
	same_rows("random changes $round");
}
$publisher->safe_psql('postgres', q(
	SET verity.idempotency_id = '00000000-0000-0000-0000-00000000000a';
	INSERT INTO keyed VALUES (2000, 'once')));
same_rows('an idempotency id');

# many clients that insert the same keys, so that speculations are killed
my $script = $publisher->basedir . '/conflict.sql';
append_to_file($script, q(
\set a random(3000, 3060)
BEGIN;
INSERT INTO keyed VALUES (:a, repeat('long ', 2 * (:a % 2) * 1000), random()) ON CONFLICT DO NOTHING;
INSERT INTO to_heap VALUES (:a, 'short', random()) ON CONFLICT (id) DO UPDATE SET v = to_heap.v || 'er';
DELETE FROM keyed WHERE id = 3000 + (:a + 30) % 60;
COMMIT;
));
my ($out, $err) = run_command([ 'pgbench', '-n', '-c', '6', '-j', '2', '-t', '60', '--max-tries', '100', '-f', $script,
	'-h', $publisher->host, '-p', $publisher->port, 'postgres' ]);
cmp_ok(($out =~ /actually processed: (\d+)/)[0] // 0, '>', 300, 'clients that insert the same keys');
same_rows('conflicting inserts');

#
# Large transactions: streamed, spilled, rolled back in part
#
$publisher->safe_psql('postgres', q(
	BEGIN;
	INSERT INTO keyed SELECT g, repeat(md5(g::text), 200 * (g % 3)) FROM generate_series(10001, 10400) g;
	SAVEPOINT a;
	INSERT INTO keyed SELECT g, repeat(md5(g::text), 200 * (g % 3)) FROM generate_series(10401, 10800) g;
	ROLLBACK TO a;
	UPDATE keyed SET n = 1 WHERE id > 10300;
	INSERT INTO whole SELECT g, repeat(md5(g::text), 200 * (g % 3)) FROM generate_series(10001, 10100) g;
	COMMIT;
	BEGIN;
	DELETE FROM keyed;
	INSERT INTO keyed SELECT g, 'nothing' FROM generate_series(1, 3000) g;
	ROLLBACK));
same_rows('a large transaction');
cmp_ok($publisher->safe_psql('postgres', q(SELECT stream_count FROM pg_stat_replication_slots WHERE slot_name = 'everything')),
	'>', 1, 'it was streamed');

#
# Definitions change, tables are emptied
#
$_->safe_psql('postgres', 'ALTER TABLE keyed ADD added int DEFAULT 5, DROP old; ALTER TABLE whole ADD added text DEFAULT $$x$$')
  for $subscriber, $publisher;
$publisher->safe_psql('postgres', q(
	UPDATE keyed SET v = 'older row' WHERE id % 3 = 0;
	UPDATE whole SET v = 'older row' WHERE id % 3 = 0;
	INSERT INTO keyed (id, v) VALUES (20000, 'newer row');
	DELETE FROM whole WHERE id % 5 = 0));
same_rows('an added column');
$publisher->safe_psql('postgres', q(TRUNCATE to_heap, whole; INSERT INTO whole VALUES (1, 'after')));
same_rows('TRUNCATE');

#
# Row filters and column lists, into a table of another shape
#
$subscriber->safe_psql('postgres', 'CREATE DATABASE filtered');
$subscriber->safe_psql('filtered', 'CREATE EXTENSION verity; CREATE TABLE named (extra text DEFAULT $$own$$, v text, id int PRIMARY KEY) USING verity');
$publisher->safe_psql('postgres', 'CREATE PUBLICATION some_rows FOR TABLE named (id, v) WHERE (id % 2 = 0)');
$subscriber->safe_psql('filtered',
	"CREATE SUBSCRIPTION some_rows CONNECTION '$source' PUBLICATION some_rows");
$subscriber->wait_for_subscription_sync($publisher, 'some_rows', 'filtered');
$publisher->safe_psql('postgres', q(
	INSERT INTO named SELECT g, 'filtered' FROM generate_series(5001, 5100) g;
	UPDATE named SET id = id + 1000 WHERE id % 3 = 0 AND id > 5000;
	UPDATE named SET id = id + 3001 WHERE id % 7 = 0 AND id > 5000;
	DELETE FROM named WHERE id % 11 = 0));
$publisher->wait_for_catchup('some_rows');
is($subscriber->safe_psql('filtered', digest('named', 'ROW(id, v, extra)')),
	$publisher->safe_psql('postgres', digest(q((SELECT id, v, 'own' AS extra FROM named WHERE id % 2 = 0)), 'ROW(id, v, extra)')),
	'row filter and column list');
same_rows('beside a filtering publication');
$subscriber->safe_psql('filtered', 'DROP SUBSCRIPTION some_rows');

#
# The subscriber's journal; what came from elsewhere can be told apart
#
is($subscriber->safe_psql('postgres', q(SELECT count(*) > 100 FROM verity.journal
	WHERE kind = 'transaction' AND application LIKE 'logical replication %worker for subscription %')), 't', 'applied transactions are entries of the subscriber\'s journal');
$subscriber->safe_psql('postgres', q(SELECT pg_create_logical_replication_slot('onward', 'test_decoding')));
$publisher->safe_psql('postgres', q(INSERT INTO keyed (id, v) VALUES (20001, 'from afar')));
$publisher->wait_for_catchup('everything');
$subscriber->safe_psql('postgres', q(INSERT INTO keyed (id, v) VALUES (20002, 'from here')));
my $onward = q(SELECT string_agg(substring(data from 'from \w+'), ',') FROM pg_logical_slot_peek_changes('onward', NULL, NULL, 'only-local', '%s'));
is($subscriber->safe_psql('postgres', sprintf $onward, 0), 'from afar,from here', 'all changes of a subscriber');
is($subscriber->safe_psql('postgres', sprintf $onward, 1), 'from here', 'those without an origin');
$subscriber->safe_psql('postgres', q(SELECT pg_drop_replication_slot('onward'); DELETE FROM keyed WHERE id = 20002));

#
# Crashes of either side
#
for my $node ($publisher, $subscriber)
{
	work(0.6, 30);
	$node->stop('immediate');
	$node->start;
	work(0.7, 30);
	same_rows($node->name . ' crashed');
}

#
# No key, no rows: an error that says so, and the slot waits
#
my $keys = $publisher->basedir;
system_or_bail('cp', '-a', "$keys/keystore/keystore", "$keys/before");
$_->safe_psql('postgres', 'CREATE TABLE late (id int PRIMARY KEY, v text) USING verity') for $subscriber, $publisher;
$subscriber->safe_psql('postgres', 'ALTER SUBSCRIPTION everything REFRESH PUBLICATION');
$subscriber->wait_for_subscription_sync($publisher, 'everything');
$publisher->safe_psql('postgres', q(SELECT pg_create_logical_replication_slot('peek', 'test_decoding')));
$_->safe_psql('postgres', 'CREATE SCHEMA apart; CREATE TABLE apart.plain (id int) USING heap') for $subscriber, $publisher;
$publisher->safe_psql('postgres', q(SELECT pg_create_logical_replication_slot('published', 'pgoutput');
	CREATE PUBLICATION without_late FOR TABLE named; CREATE PUBLICATION with_late FOR TABLE named, late;
	CREATE PUBLICATION schema_of_late FOR TABLES IN SCHEMA public; CREATE PUBLICATION plain_alone FOR TABLES IN SCHEMA apart));
$subscriber->safe_psql('postgres', 'ALTER SUBSCRIPTION everything DISABLE');
$publisher->poll_query_until('postgres', q(SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'everything'));
$publisher->safe_psql('postgres', q(INSERT INTO late VALUES (1, 'locked away')));
$publisher->safe_psql('postgres', q(INSERT INTO named VALUES (4000, 'has its key'); DELETE FROM named WHERE id = 4000;
	INSERT INTO apart.plain VALUES (1)));

# Changes that pgoutput sends of a publication, or its error.
sub published
{
	my ($publication) = @_;
	my ($rc, $sent, $said) = $publisher->psql('postgres', qq(SELECT string_agg(chr(get_byte(data, 0)), '')
		FROM pg_logical_slot_peek_binary_changes('published', NULL, NULL, 'proto_version', '1', 'publication_names', '$publication')
		WHERE get_byte(data, 0) IN (ascii('I'), ascii('U'), ascii('D'))));
	return "$sent$said";
}

sub peek_error
{
	my ($pattern, $what) = @_;
	my ($rc, $peeked, $said) = $publisher->psql('postgres',
		"\\set VERBOSITY verbose\nSELECT data FROM pg_logical_slot_peek_changes('peek', NULL, NULL)");
	like($said, $pattern, $what);
	unlike("$peeked$said", qr/locked away/, "$what: nothing of the row is said");
	return;
}

# Another file in place of one, and that one again.
sub exchange
{
	my ($file, $other) = @_;
	rename("$keys/$file", "$keys/aside") or die "$file: $!";
	system_or_bail('cp', '-a', "$keys/$other", "$keys/$file");
	return;
}

sub put_back
{
	my ($file) = @_;
	rename("$keys/aside", "$keys/$file") or die "$file: $!";
	return;
}

exchange('keystore/keystore', 'before');
peek_error(qr/55000: a logged change of a verity table cannot be opened: data key \d+ is not in the keystore.*HINT:  Restore the keystore.*logical decoding of a change of verity table "late" at LSN [0-9A-F]+\/[0-9A-F]+, in transaction \d+/s,
	'a data key that is lost');
is(published('without_late'), 'ID', 'which no table of the publication needs');
is(published('plain_alone'), 'I', 'nor one without verity tables');
like(published($_), qr/data key \d+ is not in the keystore/, "$_: needed") for 'with_late', 'schema_of_late', 'without_late,schema_of_late';
my $log = -s $publisher->logfile;
$subscriber->safe_psql('postgres', 'ALTER SUBSCRIPTION everything ENABLE');
$publisher->wait_for_log(qr/ERROR:.*a logged change of a verity table cannot be opened/, $log);
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM late'), 0, 'the subscriber waits');
put_back('keystore/keystore');
same_rows('the key is back');
same('TABLE late', 'the key is back: late');

rename("$keys/keystore/keystore", "$keys/aside") or die $!;
peek_error(qr/ERROR:.*keystore.*HINT:/s, 'no keystore');
is(published('plain_alone'), 'I', 'which a publication without verity tables does not need');
like(published('without_late'), qr/ERROR:.*keystore/s, 'but another does');
rename("$keys/aside", "$keys/keystore/keystore") or die $!;
append_to_file("$keys/other.key", ('5a' x 32) . "\n");
chmod 0600, "$keys/other.key";
exchange('master.key', 'other.key');
peek_error(qr/F0000: the master key does not open keystore/, 'a wrong master key');
put_back('master.key');

# what cannot be read is passed by on purpose only
exchange('keystore/keystore', 'before');
$publisher->safe_psql('postgres', q(SELECT pg_replication_slot_advance('peek', pg_current_wal_lsn())));
put_back('keystore/keystore');
$publisher->safe_psql('postgres', q(INSERT INTO late VALUES (2, 'passed by')));
is($publisher->safe_psql('postgres', q(SELECT data FROM pg_logical_slot_get_changes('peek', NULL, NULL) WHERE data LIKE 'table%')),
	q(table public.late: INSERT: id[integer]:2 v[text]:'passed by'), 'a slot goes past what cannot be opened');
$publisher->safe_psql('postgres', q(SELECT pg_drop_replication_slot('peek'), pg_drop_replication_slot('published')));
$publisher->safe_psql('postgres', 'DROP SCHEMA apart CASCADE');

#
# No plain text: neither in WAL nor in what a walsender spills
#
my ($sealed, $plain) = ('canary-c6f2-sealed', 'canary-c6f2-plain');
$_->safe_psql('postgres', 'CREATE TABLE heap_notes (id int, note text)') for $subscriber, $publisher;
$subscriber->safe_psql('postgres', 'ALTER SUBSCRIPTION everything SET (streaming = off)');
$publisher->safe_psql('postgres', qq(
	INSERT INTO whole VALUES (77, '$sealed'), (78, repeat('$sealed ', 3000));
	UPDATE whole SET v = 'again $sealed' WHERE id = 77;
	UPDATE whole SET v = v || '$sealed' WHERE id = 78;
	DELETE FROM whole WHERE id IN (77, 78);
	INSERT INTO keyed (id, v) VALUES (30000, repeat('$sealed ', 3000)) ON CONFLICT DO NOTHING;
	INSERT INTO named VALUES (30001, '$sealed');
	DELETE FROM named WHERE id = 30001));
my $session = $publisher->background_psql('postgres');
$session->query_safe(qq(BEGIN;
	INSERT INTO keyed (id, v) SELECT g, 'spilled $sealed' FROM generate_series(40000, 42000) g;
	INSERT INTO keyed (id, v) SELECT g, repeat('$sealed ', 1000) FROM generate_series(42001, 42010) g;
	INSERT INTO heap_notes SELECT g, '$plain' FROM generate_series(1, 5000) g;));
my @spilled;
for (1 .. 600)
{
	last if @spilled = files_containing($publisher->data_dir . '/pg_replslot', $plain);
	select undef, undef, undef, 0.1;
}
cmp_ok(scalar(@spilled), '>', 0, 'the word of a heap table is in a file that decoding spilled');
is_deeply([ files_containing($publisher->data_dir, $sealed) ], [], 'the word of verity tables is in no file of the publisher');
$session->query_safe('COMMIT');
$session->quit;
same_rows('a spilled transaction');
$publisher->safe_psql('postgres', 'CHECKPOINT');
is_deeply([ files_containing($_->data_dir, $sealed) ], [], $_->name . ': nor is it after all') for $publisher, $subscriber;
cmp_ok(scalar(grep { m{^pg_wal/} } files_containing($publisher->data_dir, $plain)), '>', 0, 'that of a heap table is in the WAL');

$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION everything');

#
# Ciphertexts of speculative insertions that were killed go at once, not at the transaction's end
#
$publisher->safe_psql('postgres', meddling_tables());
$publisher->safe_psql('postgres', q(SELECT pg_create_logical_replication_slot('killed', 'test_decoding')));
$publisher->safe_psql('postgres', join "\n", 'BEGIN;', (
	map { "SET LOCAL test.calls = 0; INSERT INTO conflict_v SELECT $_, string_agg(md5(random()::text), '') FROM generate_series(1, 300) ON CONFLICT DO NOTHING;" }
	  1 .. 20), 'INSERT INTO heap_notes VALUES (0); COMMIT;');
my (undef, $killed, $debug) = $publisher->psql('postgres', "SET client_min_messages = debug2;
	SELECT count(*) FILTER (WHERE data LIKE 'table public.conflict_v: INSERT%-%'), count(*) FILTER (WHERE data LIKE 'table public.conflict_v: INSERT: id[bigint]:1 %')
	FROM pg_logical_slot_peek_changes('killed', NULL, NULL)");
is($killed, '20|0', 'speculative insertions were killed');
my ($most, $left) = $debug =~ /held (\d+) bytes of ciphertexts at most, (\d+) at the end/;
cmp_ok($most, '>', 2000, 'their ciphertexts were held');
cmp_ok($most, '<', 20000, 'one at a time');
is($left, 0, 'and dropped');
$publisher->safe_psql('postgres', q(SELECT pg_drop_replication_slot('killed')));
verify_is_clean($publisher, 'the publisher');
verify_is_clean($subscriber, 'the subscriber');
done_testing();
