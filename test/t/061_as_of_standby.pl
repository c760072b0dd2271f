# Reading the past elsewhere than on the running primary: on a standby while
# the primary writes, with the wait bounded by verity.standby_wait; after
# promotion; after a crash whose journal has void positions; after VACUUM
# FREEZE.  A second table gives the expected state: the writer notes there
# what the sum was after each transaction.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $node = verity_node('past', streaming => 1, conf => "max_prepared_transactions = 0\n");
$node->safe_psql('postgres', q(
	CREATE TABLE t (id int PRIMARY KEY, n int, big text) USING verity;
	CREATE TABLE model (sum bigint) USING verity;
	INSERT INTO t SELECT i, 0, NULL FROM generate_series(1, 50) i;
	INSERT INTO model VALUES (0);
	ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL;
));
my $standby = verity_standby($node, 'past_standby');

# One transaction each: change rows (locked by a multixact now and then, in
# subtransactions, swapping keys, TOASTed) and note the new sum.
sub work
{
	my ($count) = @_;
	my $sql = '';
	for my $i (1 .. $count)
	{
		my ($a, $b) = map { 1 + int(rand(50)) } 1, 2;
		$sql .= "BEGIN; SELECT FROM t WHERE id = $a FOR KEY SHARE; SAVEPOINT s;\n"
		  . "UPDATE t SET n = n + 1000000 WHERE id = $a; ROLLBACK TO s;\n"
		  . "SAVEPOINT s2; UPDATE t SET n = n + $i WHERE id = $a; RELEASE s2;\n"
		  . ($i % 7 == 0 ? "UPDATE t SET id = -1 WHERE id = $a; UPDATE t SET id = $a WHERE id = $b AND $a <> $b; UPDATE t SET id = $b WHERE id = -1;\n" : '')
		  . ($i % 5 == 0 ? "DELETE FROM t WHERE id = $b; INSERT INTO t VALUES ($b, $i, repeat('x$i', 2000));\n" : '')
		  . ($i % 3 == 0 ? "INSERT INTO t VALUES ($a, 0) ON CONFLICT (id) DO UPDATE SET n = t.n + 1;\n" : '')
		  . "UPDATE model SET sum = (SELECT sum(n * id) FROM t); COMMIT;\n";
	}
	return $sql;
}

# At each transaction's position, does the table give what the model says of it?
my $compare = q(
	SELECT count(*), count(*) FILTER (WHERE q.found IS DISTINCT FROM q.expected OR q.by_key IS DISTINCT FROM q.expected)
	FROM verity.journal j, LATERAL verity_query_at(
		'SELECT (SELECT sum(n * id) FROM t)::numeric,
			(SELECT sum(k.n * k.id) FROM generate_series(1, 50) i, LATERAL (SELECT n, id FROM t WHERE id = i OFFSET 0) k)::numeric,
			(SELECT sum FROM model)::numeric', j.position) AS q(found numeric, by_key numeric, expected numeric)
	WHERE j.kind = 'transaction' AND j.outcome = 'committed' AND j.position >= FIRST);
my $first = $node->safe_psql('postgres', 'SELECT verity_position()');
$compare =~ s/FIRST/$first/;

sub compare
{
	my ($where, $what, $least) = @_;
	my ($count, $different) = split /\|/, $where->safe_psql('postgres', $compare);
	is($different, 0, "$what: every position gives the model's state");
	cmp_ok($count, '>=', $least, "$what: $count compared");
	return;
}

srand(61);
append_to_file($node->basedir . '/work.sql', work(120) . "VACUUM FREEZE t;\n" . work(60));
my $writer = IPC::Run::start([ 'psql', '-X', '-q', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1',
	'-f', $node->basedir . '/work.sql', '-d', $node->connstr('postgres') ]);
$standby->poll_query_until('postgres', "SELECT verity_position() > $first + 20");
compare($standby, 'standby while the primary writes', 20) for 1 .. 2;
ok($writer->finish, 'the writer ended well');
$node->wait_for_catchup($standby);
compare($node, 'primary', 180);
compare($standby, 'standby', 180);
$node->safe_psql('postgres', 'VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) t; VACUUM FREEZE model');
$node->wait_for_catchup($standby);
compare($node, 'primary after VACUUM FREEZE', 180);
compare($standby, 'standby after VACUUM FREEZE', 180);

# Times.
my $last = $node->safe_psql('postgres', 'SELECT max(position) FROM verity.journal');
my $time = $node->safe_psql('postgres', "SELECT \"time\" FROM verity.journal WHERE position = $last - 1");
is($standby->safe_psql('postgres', "SET verity.as_of = '$time'; SHOW verity.as_of"), $last - 1, 'a time between two entries on a standby');
my ($rc, $out, $err) = $standby->psql('postgres', "SET verity.as_of = '" . ($last + 1) . q('));
like($err, qr/position \d+ is in the future/, 'what the standby has not replayed is in its future');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
$node->safe_psql('postgres', 'BEGIN; UPDATE t SET n = n + 1 WHERE id = 1; UPDATE model SET sum = (SELECT sum(n * id) FROM t); COMMIT');
my $started = time;
($rc, $out, $err) = $standby->psql('postgres', "SET verity.standby_wait = '300ms'; SET verity.as_of = 'now'");
like($err, qr/the standby may not have replayed all of the journal/, 'a time that replay may not have reached is not guessed at');
cmp_ok(time - $started, '<', 20, 'and the wait is bounded');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
$node->wait_for_catchup($standby);

($rc, $out, $err) = $standby->psql('postgres', 'SET verity.as_of = 1; INSERT INTO t VALUES (1)');
like($err, qr/cannot write while verity.as_of is set/, 'no writing on a standby either');

# A void position, of a commit that fails after its entry was written, reads
# like the one before; after a crash too.
$node->safe_psql('postgres', 'CREATE TABLE later (id int) USING verity');
my $before = $node->safe_psql('postgres', 'SELECT verity_position()');
$node->psql('postgres', q(
	BEGIN;
	UPDATE t SET n = n + 5 WHERE id = 2;
	DELETE FROM t WHERE id = 3;
	INSERT INTO t VALUES (77, 77);
	CREATE TEMP TABLE emptied (id int PRIMARY KEY) ON COMMIT DELETE ROWS;
	CREATE TEMP TABLE refers (id int REFERENCES emptied);
	COMMIT;
));
my $one_more = 'BEGIN; UPDATE t SET n = n + 1 WHERE id = 3; UPDATE model SET sum = (SELECT sum(n * id) FROM t); COMMIT';
$node->safe_psql('postgres', $one_more);
$node->stop('immediate');
$node->start;
$node->safe_psql('postgres', $one_more);
compare($node, 'after voids and a crash', 180);
my $other = $node->safe_psql('postgres', qq(
	SELECT count(*) FILTER (WHERE outcome = 'void') || '|' || count(*) FILTER (WHERE outcome <> 'committed' AND
		(SELECT s FROM verity_query_at('SELECT sum(n * id) FROM t', j.position) AS q(s bigint)) IS DISTINCT FROM
		(SELECT s FROM verity_query_at('SELECT sum(n * id) FROM t', j.position - 1) AS q(s bigint)))
	FROM verity.journal j WHERE j.position > $before));
is($other, '1|0', 'positions of no committed transaction read like the ones before');

# After promotion.
$node->wait_for_catchup($standby);
my $digest = q(SELECT md5(string_agg(s::text, ',' ORDER BY p)) FROM generate_series(FIRST, LAST) p,
	LATERAL verity_query_at('SELECT sum(n * id) FROM t', p) AS q(s bigint));
$last = $node->safe_psql('postgres', 'SELECT verity_position()');
$digest =~ s/FIRST/$first/;
$digest =~ s/LAST/$last/;
my $expected = $node->safe_psql('postgres', $digest);
is($standby->safe_psql('postgres', $digest), $expected, 'the standby reads the same past');
$node->stop;
$standby->promote;
is($standby->safe_psql('postgres', $digest), $expected, 'and so it does after promotion');
$standby->safe_psql('postgres', 'UPDATE t SET n = n + 1 WHERE id = 4');
is($standby->safe_psql('postgres', $digest), $expected, 'and after it wrote');
verify_is_clean($standby, 'the promoted standby');
$standby->stop;
done_testing();
