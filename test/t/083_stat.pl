# What a server shows of itself: counters, waits, progress of VACUUM, log lines.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $node = verity_node('stat', checksums => 0, conf => "log_min_messages = debug1\nlog_statement = none\n");
$node->safe_psql('postgres', q(
	CREATE TABLE t (id int PRIMARY KEY, v text) USING verity;
	INSERT INTO t SELECT g, 'plain-canary-' || g FROM generate_series(1, 5000) g;
));

sub counter
{
	my ($name) = @_;
	return $node->safe_psql('postgres', "SELECT $name FROM verity.stat WHERE database = 'postgres'");
}

# --- counters of processes that left, and of running ones ---
is(counter('records_sealed'), 5000, 'what a backend sealed stays counted when it has left');
my $writer = $node->background_psql('postgres');
$writer->query_safe('BEGIN; INSERT INTO t SELECT g FROM generate_series(5001, 5100) g');
is(counter('records_sealed'), 5100, 'a transaction is counted while it runs');
$writer->query_safe('ROLLBACK');
is(counter('records_sealed'), 5100, 'and stays so when it is rolled back');
$node->psql('postgres', 'INSERT INTO t SELECT 6000; SELECT pg_terminate_backend(pg_backend_pid())');
is(counter('records_sealed'), 5101, 'so does what a terminated backend did');
$writer->quit;

# --- waits for the journal's lock ---
my ($out, $err) = ('', '');
$node->safe_psql('postgres', 'CREATE TABLE w (id int, v int) USING verity');
my $script = $node->basedir . '/insert.sql';
append_to_file($script, "INSERT INTO w VALUES (1, 1);\n");
my $bench = IPC::Run::start([ 'pgbench', '-n', '-c', '8', '-j', '2', '-T', '60', '-f', $script, $node->connstr('postgres') ],
	'>', \$out, '2>', \$err);
is($node->safe_psql('postgres', q(
	SET client_min_messages = error;
	DO $$
	BEGIN
		FOR i IN 1 .. 50000 LOOP
			PERFORM pg_stat_clear_snapshot();
			PERFORM FROM pg_stat_activity WHERE wait_event_type = 'LWLock' AND wait_event = 'VerityJournal';
			IF FOUND THEN
				RETURN;
			END IF;
		END LOOP;
		RAISE 'not seen';
	END $$;
	SELECT 'seen')), 'seen', 'pg_stat_activity names the journal lock');
ok($node->poll_query_until('postgres', q(SELECT journal_lock_waits > 0 AND journal_lock_wait_time > 0 FROM verity.stat WHERE database = 'postgres')),
	'its waits are counted and timed');
$bench->signal('INT');
eval { $bench->finish };

# --- other waits have names where PostgreSQL can give them ---
my $verify = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'SET verity.verify_rate_limit = 1',
		'-c', 'SELECT count(*) FROM verity_verify()' ], '>', \$out, '2>', \$err);
ok($node->poll_query_until('postgres', q(
	SELECT count(*) > 0 FROM pg_stat_activity WHERE query ~ '^SELECT count' AND wait_event_type = 'Extension' AND
		wait_event = CASE WHEN current_setting('server_version_num')::int >= 170000 THEN 'VerityVerifyRate' ELSE 'Extension' END)),
	'a verification that keeps its rate limit shows it');
$node->safe_psql('postgres', q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query ~ '^SELECT count.*verity_verify' AND pid <> pg_backend_pid()));
eval { $verify->finish };

# --- VACUUM as pg_stat_progress_vacuum shows it ---
$node->safe_psql('postgres', q(
	CREATE TABLE p (id int PRIMARY KEY, v text) USING verity;
	INSERT INTO p SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g;
	BEGIN; INSERT INTO p SELECT g, repeat('x', 100) FROM generate_series(20001, 40000) g; ROLLBACK;));
my $collected = $node->pg_version < 17 ? 'num_dead_tuples > 0 AND max_dead_tuples > num_dead_tuples'
	: 'num_dead_item_ids > 0 AND max_dead_tuple_bytes > dead_tuple_bytes';
my $vacuum = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'SET vacuum_cost_delay = 5',
		'-c', 'SET vacuum_cost_limit = 20', '-c', 'VACUUM p' ], '>', \$out, '2>', \$err);
for my $seen (
	[ "phase = 'scanning heap' AND heap_blks_scanned > 0 AND heap_blks_scanned < heap_blks_total", 'the scan, and how far it is' ],
	[ $collected, 'index entries to remove' ],
	[ "phase = 'vacuuming indexes'", 'the pass over an index' ],
	[ "phase = 'vacuuming heap' AND index_vacuum_count = 1 AND heap_blks_vacuumed > 0", 'the second pass' ])
{
	ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_progress_vacuum WHERE relid = 'p'::regclass AND $seen->[0]"),
		"VACUUM shows $seen->[1]");
}
$vacuum->finish;
is($err, '', 'VACUUM ended well');

# --- a record that is not authentic ---
is(counter('authentication_failures'), 0, 'no failures so far');
my $tid = $node->safe_psql('postgres', 'CHECKPOINT; SELECT ctid FROM t WHERE id = 7');
my $file = relation_file($node, 't');
$node->stop;
my $item = record_at($file, $tid);
patch_file($file, $item->{offset} + $item->{len} - 1, 1, sub { chr(ord($_[0]) ^ 1) });
$node->start;
is(counter('coalesce(max(records_sealed), 0)'), 0, 'counters begin anew with the server');
for (1 .. 3)
{
	my ($status) = $node->psql('postgres', 'SELECT v FROM t WHERE id = 7');
	isnt($status, 0, 'an altered record is an error');
}
is(counter('authentication_failures'), 3, 'each time is counted, although its transaction failed');
$node->safe_psql('postgres', 'INSERT INTO w VALUES (2, 2)');
$node->stop;

# --- the log ---
my $log = slurp_file($node->logfile);
for my $line (
	qr/DEBUG:  loaded the master key from verity\.master_key_file/,
	qr/DEBUG:  opened keystore ".*keystore"/,
	qr/DEBUG:  loaded data key \d+ for generation 1/,
	qr/DEBUG:  began generation 2 at journal position \d+: start, 0 entries void/,
	qr/DEBUG:  definition 1 of table public\.t will be journalled/,
	qr/DEBUG:  wrote journal entry \d+ \(key\), final at once/,
	qr/DEBUG:  wrote journal entry \d+ of serial \d+, 1 tables; decided up to \d+/,
	qr/DEBUG:  vacuumed table "p": \d+ of \d+ pages read, 20000 current records, 20000 records reclaimed, 20000 index entries removed/)
{
	like($log, $line, "the log has $line");
}
unlike($log, qr/plain-canary/, 'no row is logged');
my $key = slurp_file($node->basedir . '/master.key');
chomp $key;
is(length $key, 64, 'the master key has its length');
unlike($log, qr/\Q$key\E/i, 'no key is logged');
done_testing();
