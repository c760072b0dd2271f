# A disk that runs full while records, journal, WAL or keystore are written:
# the statement fails with a clear error (or, for WAL, the server restarts),
# nothing that was acknowledged is lost, nothing half-done is seen, and verify
# is clean. So it is when statements are cancelled and backends killed at
# random.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $shim = PostgreSQL::Test::Utils::tempdir() . '/full_disk.so';
PostgreSQL::Test::Utils::system_or_bail('gcc', '-shared', '-fPIC', '-O1', '-Wall', '-o', $shim, "$FindBin::RealBin/../fault/full_disk.c", '-ldl');
my $flag = PostgreSQL::Test::Utils::tempdir() . '/full';

my $node = verity_node('full_disk', start => 0,
	conf => "log_statement = none\nrestart_after_crash = on\nlog_error_verbosity = default\n");
{
	local $ENV{LD_PRELOAD} = $shim;
	local $ENV{FULL_DISK_FLAG} = $flag;
	$node->start;
}
$node->safe_psql('postgres', 'CREATE EXTENSION verity');
$node->safe_psql('postgres', q(
	CREATE TABLE t (id int PRIMARY KEY, payload text) USING verity;
	INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 100) g;
));

sub fill { my ($pattern) = @_; append_to_file($flag, $pattern); return; }
sub free { unlink $flag; return; }

# Rows written until the disk is full; every acknowledged one is counted.
sub insert_until_error
{
	my ($from) = @_;
	for my $id ($from .. $from + 5000)
	{
		my ($status, $out, $err) = $node->psql('postgres', "INSERT INTO t SELECT g, repeat(md5(g::text), 30) FROM generate_series($id * 100, $id * 100 + 99) g");
		return ($id - $from, $err) if $status != 0;
	}
	return (5001, '');
}

# data files
fill('/base/');
my ($done, $error) = insert_until_error(10);
like($error, qr/No space left on device/, 'a full data disk is said so');
unlike($error, qr/server closed/, 'and the server stays up');
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 100 + 100 * $done, 'what was acknowledged is there, and no more');
is($node->safe_psql('postgres', 'SELECT count(*) FROM t WHERE id <= 100'), 100, 'rows from before can be read');
free();
my $more = 1000;
$node->safe_psql('postgres', "INSERT INTO t SELECT g, 'after' FROM generate_series(1000000, 1000000 + $more - 1) g");
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 100 + 100 * $done + $more, 'with room again, writing goes on');
verify_is_clean($node, 'after a full data disk');

# the journal alone: small transactions until an entry finds no page
my $journal = $node->safe_psql('postgres', q(SELECT pg_relation_filepath('verity.journal')));
fill("/$journal");
my $committed = 0;
for my $id (2000001 .. 2000400)
{
	my ($status, $out, $err) = $node->psql('postgres', "INSERT INTO t VALUES ($id, 'j')");
	$error = $err;
	last if $status != 0;
	$committed++;
}
like($error, qr/No space left on device/, 'a journal that finds no room refuses the commit');
is($node->safe_psql('postgres', 'SELECT count(*) FROM t WHERE id > 2000000'), $committed, 'the refused transaction left nothing');
free();
$node->safe_psql('postgres', "INSERT INTO t VALUES (3000000, 'j')");
verify_is_clean($node, 'after a full journal');

# the keystore: a first write to a new table needs a key
fill('keystore');
my ($status, $out, $err) = $node->psql('postgres', 'CREATE TABLE u (a int) USING verity; INSERT INTO u VALUES (1)');
isnt($status, 0, 'a key that cannot be stored is an error');
like($err, qr/No space left on device/, 'which says why');
free();
$node->safe_psql('postgres', 'CREATE TABLE IF NOT EXISTS u (a int) USING verity; INSERT INTO u VALUES (2)');
is($node->safe_psql('postgres', 'SELECT sum(a) FROM u'), 2, 'and later it is made');
is($node->safe_psql('postgres', 'SELECT count(*) FROM t WHERE id <= 100'), 100, 'the keys from before are still there');
verify_is_clean($node, 'after a full keystore disk');

# WAL: the server goes down and comes back
fill('/pg_wal/');
my $acknowledged = 0;
for my $id (1 .. 200)
{
	my ($failed) = $node->psql('postgres', "INSERT INTO t SELECT g, repeat(md5(g::text), 60) FROM generate_series(4000000 + $id * 500, 4000000 + $id * 500 + 499) g");
	last if $failed;
	$acknowledged++;
}
cmp_ok($acknowledged, '<', 200, "a full WAL disk stops writing (after $acknowledged transactions)");
free();
$node->poll_query_until('postgres', 'SELECT true') or die 'the server did not come back';
is($node->safe_psql('postgres', 'SELECT count(*) FROM t WHERE id >= 4000500'), 500 * $acknowledged, 'what was acknowledged before is there');
verify_is_clean($node, 'after a full WAL disk');

# statements cancelled and backends killed at random
my $load = $node->basedir . '/load.sql';
append_to_file($load, q(
\set id random(1, 100)
BEGIN;
UPDATE t SET payload = md5(random()::text) WHERE id = :id;
SAVEPOINT s;
INSERT INTO t SELECT 9000000 + (random() * 1e8)::int, repeat('x', 3000) ON CONFLICT DO NOTHING;
ROLLBACK TO s;
DELETE FROM t WHERE id = 5000000 + :id;
INSERT INTO t VALUES (5000000 + :id, 'again') ON CONFLICT (id) DO UPDATE SET payload = 'conflict';
COMMIT;
));
my @clients = map {
	IPC::Run::start([ 'bash', '-c', "for i in 1 2 3 4 5 6 7 8 9 10; do pgbench -n -c 2 -T 1 -f $load -h '" . $node->host . "' -p " . $node->port . ' postgres; done' ],
		'>', '/dev/null', '2>', '/dev/null')
} 1 .. 3;
for (1 .. 80)
{
	$node->psql('postgres', q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgbench' ORDER BY random() LIMIT 1));
	$node->psql('postgres', q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgbench' ORDER BY random() LIMIT 1)) if $_ % 8 == 0;
	select(undef, undef, undef, 0.05);
}
$_->finish for @clients;
is($node->safe_psql('postgres', 'SELECT count(*) FROM t WHERE id <= 100'), 100, 'rows that were only updated are all there');
verify_is_clean($node, 'after cancelled statements and ended backends');

my $log = slurp_file($node->logfile);
unlike($log, qr/TRAP|Segmentation|signal 11/, 'no assertion failed and nothing crashed');
$node->stop;
done_testing();
