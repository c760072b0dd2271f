# What vacuum does is replayed byte by byte, and a standby's query that still
# needs what vacuum takes away is cancelled, not answered wrongly.
# RULES A 10, A 13, A 14, B 17.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

# replay compares each page with an image of what the primary made of it
my $primary = verity_node('vacuum_primary', streaming => 1,
	conf => "log_statement = none\nwal_consistency_checking = 'all'\n");
my $sql = sub { return $primary->safe_psql('postgres', $_[0]) };

$sql->(q(
	CREATE TABLE t (id int PRIMARY KEY, v int, pad text) USING verity;
	CREATE INDEX ON t (v);
	CREATE TABLE gone (id int) USING verity;
));
my $standby = verity_standby($primary, 'vacuum_standby');
$standby->append_conf('postgresql.conf', "max_standby_streaming_delay = 0\nhot_standby_feedback = off\n");
$standby->reload;

my $compare = sub {
	my ($what) = @_;
	$primary->wait_for_catchup($standby);
	for my $query ('SELECT * FROM t ORDER BY id', 'SELECT count(*) FROM gone',
		'SET enable_seqscan = off; SELECT id, v FROM t WHERE id < 600 ORDER BY id',
		'SET enable_seqscan = off; SELECT id FROM t WHERE v = 3 ORDER BY id')
	{
		ok($standby->safe_psql('postgres', $query) eq $sql->($query), "$what: the standby says the same to $query");
	}
	return;
};

for my $round (1 .. 4)
{
	$sql->(qq(
		INSERT INTO t SELECT $round * 1000 + g, 0, repeat('x', g % 100) FROM generate_series(1, 1000) g;
		BEGIN; INSERT INTO t SELECT -g, 0, 'aborted' FROM generate_series(1, 1000) g;
		UPDATE t SET pad = 'aborted' WHERE id > 0; ROLLBACK;
		UPDATE t SET v = $round WHERE id % 3 = 0;
		UPDATE t SET pad = 'changed' WHERE id % 4 = 0;
		DELETE FROM t WHERE id % 10 = $round;
		BEGIN; SAVEPOINT s; UPDATE t SET v = -1 WHERE id % 5 = 0; ROLLBACK TO s; UPDATE t SET v = 3 WHERE id % 50 = 0; COMMIT;
		BEGIN; SELECT count(*) FROM (SELECT 1 FROM t WHERE id % 7 = 0 FOR SHARE) x; COMMIT;
		INSERT INTO gone SELECT g FROM generate_series(1, 500) g; DELETE FROM gone;
	));
	$sql->($round % 2 ? 'VACUUM t, gone' : 'VACUUM FREEZE t, gone');
	$compare->("round $round");
}

my $conflicts = 0;

# An old snapshot on the standby, and something that conflicts with it.
sub conflict
{
	my ($what, $change, $vacuum) = @_;
	$primary->wait_for_catchup($standby);
	my $reader = $standby->background_psql('postgres', on_error_stop => 0);
	$reader->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
	my $before = $reader->query('SELECT count(*), sum(v) FROM t');
	$sql->($change);
	$primary->wait_for_catchup($standby);
	is($reader->query('SELECT count(*), sum(v) FROM t'), $before, "$what: the standby's snapshot holds");
	$sql->($vacuum);
	$primary->wait_for_catchup($standby);
	$conflicts++;
	ok($standby->poll_query_until('postgres',
		"SELECT confl_snapshot = $conflicts FROM pg_stat_database_conflicts WHERE datname = 'postgres'"),
		"$what: its transaction is cancelled when vacuum is replayed");
	$reader->{run}->finish;
	return;
}
conflict('pages without current records', 'UPDATE t SET pad = $$all new$$', 'VACUUM t');
conflict('freezing', 'INSERT INTO t VALUES (70001, 5, $$frozen soon$$)', 'VACUUM FREEZE t');
conflict('index entries of superseded roots', 'UPDATE t SET v = 77 WHERE id = 70001', 'VACUUM (INDEX_CLEANUP on) t');
$compare->('after conflicts');

# replay from the start of it all, at a crash
$sql->(q(BEGIN; INSERT INTO t SELECT -g, 0, 'aborted' FROM generate_series(1, 500) g; ROLLBACK));
$sql->('UPDATE t SET v = v + 1; VACUUM FREEZE t');
my $rows = $sql->('SELECT md5(string_agg(t::text, $$;$$ ORDER BY id)) FROM t');
$primary->stop('immediate');
$primary->start;
is($sql->('SELECT md5(string_agg(t::text, $$;$$ ORDER BY id)) FROM t'), $rows, 'the rows are there after crash recovery');
$sql->('VACUUM (DISABLE_PAGE_SKIPPING) t');
is($sql->('SELECT md5(string_agg(t::text, $$;$$ ORDER BY id)) FROM t'), $rows, 'and after another vacuum');
$compare->('after a crash');

unlike(slurp_file($standby->logfile), qr/inconsistent page|PANIC/,
	'no page differed in replay');
verify_is_clean($primary, 'primary');
verify_is_clean($standby, 'standby');
$standby->stop;
$primary->stop;
done_testing();
