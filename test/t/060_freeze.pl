# Transaction ids may wrap around: rows, ended rows, links and the past stay as
# they were, as in a heap table beside it.  RULES A 4, A 5.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

# ids of one segment of pg_xact
use constant SEGMENT => 32 * BLCKSZ * 4;

my $node = verity_node('freeze', conf => "log_statement = none\nautovacuum = off\n");
my $sql = sub { return $node->safe_psql('postgres', $_[0]) };

$sql->(qq(
	ALTER DATABASE template0 ALLOW_CONNECTIONS true;
	CREATE TABLE heap_twin (id int PRIMARY KEY, v int, pad text);
	CREATE INDEX ON heap_twin (v);
	CREATE TABLE t (id int PRIMARY KEY, v int, pad text) USING verity;
	CREATE INDEX ON t (v);
	CREATE TABLE child (id int REFERENCES t) USING verity;
));

# The same changes to both tables: updates, deletes, new keys, rolled back ones, locks.
sub change_both
{
	my ($round) = @_;
	for my $table (qw(heap_twin t))
	{
		$sql->(qq(
			INSERT INTO $table SELECT $round * 1000 + g, 0, repeat('x', g % 50) FROM generate_series(1, 400) g;
			UPDATE $table SET v = v + 1 WHERE id % 2 = 0;
			UPDATE $table SET pad = 'round $round' WHERE id % 3 = 0;
			DELETE FROM $table WHERE id % 1000 BETWEEN 100 AND 120;
			UPDATE $table SET id = id + 500 WHERE id / 1000 = $round AND id % 1000 < 10;
			BEGIN; UPDATE $table SET v = -1; DELETE FROM $table WHERE id % 7 = 0 AND id % 1000 < 200;
			INSERT INTO $table SELECT -g FROM generate_series(1, 300) g; ROLLBACK;
			BEGIN; UPDATE $table SET v = 50 WHERE id % 11 = 0; SAVEPOINT s; DELETE FROM $table WHERE id % 1000 < 200; ROLLBACK TO s;
			UPDATE $table SET pad = 'after the savepoint' WHERE id % 22 = 0; COMMIT;
			BEGIN; SELECT count(*) FROM (SELECT 1 FROM $table WHERE id % 5 = 0 FOR UPDATE) x; COMMIT;
		));
	}
	$sql->("INSERT INTO child SELECT id FROM t WHERE id / 1000 = $round AND id % 1000 BETWEEN 200 AND 300");
	return;
}

# A multixact of two lockers, one of them an updater, on both tables.
sub lock_both
{
	for my $table (qw(heap_twin t))
	{
		my $locker = $node->background_psql('postgres');
		$locker->query_safe("BEGIN; SELECT id FROM $table WHERE id % 13 = 0 FOR KEY SHARE");
		$sql->("UPDATE $table SET v = v + 7 WHERE id % 26 = 0");
		$sql->("BEGIN; SELECT id FROM $table WHERE id % 39 = 0 FOR SHARE; COMMIT");
		$locker->query_safe('COMMIT');
		$locker->quit;
	}
	return;
}

# Let the next transaction id be far away, at the start of a segment.
sub drive_xids
{
	my ($xid, $epoch) = @_;
	$node->stop;
	system_or_bail('pg_resetwal', '-x', $xid, '-e', $epoch, '-D', $node->data_dir);
	my $path = sprintf '%s/pg_xact/%04X', $node->data_dir, int($xid / SEGMENT);
	if (!-e $path)
	{
		open my $fh, '>:raw', $path or die "$path: $!";
		print $fh "\0" x (SEGMENT / 4);
		close $fh or die "$path: $!";
	}
	$node->start;
	return;
}

sub contents
{
	my ($table) = @_;
	return $sql->("SELECT id, v, pad FROM $table ORDER BY id");
}

# Through each index, and the whole table.
sub same_as_heap
{
	my ($what) = @_;
	my ($twin, $table) = (contents('heap_twin'), contents('t'));
	ok($table eq $twin, "$what: the same rows as in heap");
	for my $where ('id BETWEEN 1000 AND 1300', 'id > 2000', 'v = 1', 'v = 50')
	{
		my @rows = map { $sql->(qq(SET enable_seqscan = off; SET enable_bitmapscan = off;
			SELECT string_agg(id || ':' || v, ',' ORDER BY id) FROM $_ WHERE $where)) } qw(heap_twin t);
		ok($rows[0] eq $rows[1], "$what: the same by an index, $where");
	}
	return;
}

my %past;
sub remember_past
{
	my $position = $sql->('SELECT verity_position()');
	$past{$position} = $sql->("SELECT md5(string_agg(t::text, ';' ORDER BY id)) FROM t");
	return;
}

sub past_is_right
{
	my ($what) = @_;
	for my $position (sort { $a <=> $b } keys %past)
	{
		is($sql->("SELECT md5(string_agg(x::text, ';' ORDER BY id)) FROM verity_as_of(NULL::t, $position) x"),
			$past{$position}, "$what: as of position $position");
	}
	return;
}

my @jumps = ([ 1000 * SEGMENT, 0 ], [ 2000 * SEGMENT, 0 ], [ 3500 * SEGMENT, 0 ], [ 700 * SEGMENT, 1 ],
	[ 1800 * SEGMENT, 1 ]);
my $round = 1;
for my $jump (@jumps)
{
	change_both($round);
	lock_both();
	remember_past();
	# by turns, with the default ages, at once, and index entries left alone
	my $vacuum = ('VACUUM', 'VACUUM (FREEZE)', 'VACUUM (INDEX_CLEANUP off)')[ $round % 3 ];
	$sql->("$vacuum t");
	same_as_heap("round $round, $vacuum");
	for my $database (qw(postgres template1 template0))
	{
		$node->safe_psql($database, 'VACUUM FREEZE');
	}
	is($sql->("SELECT count(*) FROM pg_class WHERE relname IN ('t', 'child') AND (age(relfrozenxid) > 100 OR mxid_age(relminmxid) > 100)"),
		0, "round $round: relfrozenxid and relminmxid went along");
	drive_xids(@$jump);
	same_as_heap("round $round, far away");
	past_is_right("round $round, far away");
	$round++;
}

# what was frozen can be changed
change_both($round);
lock_both();
same_as_heap('changed after it all');
$sql->('VACUUM FREEZE');
same_as_heap('frozen once more');
past_is_right('at the end');
verify_is_clean($node, 'at the end');

# locks that are held while their multixacts could be frozen still hold
{
	$sql->(q(INSERT INTO t SELECT g, 0, 'locked' FROM generate_series(90001, 90004) g));
	my @lockers = map { $node->background_psql('postgres') } 1 .. 2;
	# the updater's id is older than the lockers'
	my $updater = $node->background_psql('postgres');
	$updater->query_safe(q(BEGIN; INSERT INTO t VALUES (90009, 0, 'an id')));
	$_->query_safe(q(BEGIN; SELECT id FROM t WHERE id IN (90001, 90002) FOR KEY SHARE;
		SELECT id FROM t WHERE id = 90003 FOR SHARE)) for @lockers;
	$updater->query_safe(q(UPDATE t SET v = 1 WHERE id = 90002; COMMIT));
	$updater->quit;
	$sql->('VACUUM FREEZE t') for 1 .. 2;
	for my $id (90001 .. 90003)
	{
		my ($rc, $out, $err) = $node->psql('postgres', "SET lock_timeout = '200ms'; DELETE FROM t WHERE id = $id");
		like($err, qr/lock timeout/, "row $id is still locked after VACUUM FREEZE");
	}
	$lockers[0]->query_safe('COMMIT');
	$sql->('VACUUM FREEZE t');
	my ($rc, $out, $err) = $node->psql('postgres', "SET lock_timeout = '200ms'; UPDATE t SET v = 1 WHERE id = 90003");
	like($err, qr/lock timeout/, 'and by the other locker');
	$lockers[1]->query_safe('COMMIT');
	$_->quit for @lockers;
	$sql->('VACUUM FREEZE t');
	is($sql->("SELECT age(relfrozenxid) < 100 AND mxid_age(relminmxid) < 100 FROM pg_class WHERE relname = 't'"), 't',
		'nothing holds back what was locked');
	$sql->('DELETE FROM t WHERE id BETWEEN 90001 AND 90003');
	is($sql->('SELECT id, v FROM t WHERE id > 90000 ORDER BY id'), "90004|0\n90009|0", 'and the rows can be deleted');
	verify_is_clean($node, 'after locks');
}

# autovacuum freezes by itself when an age is reached
$node->append_conf('postgresql.conf', "autovacuum = on\nautovacuum_naptime = 1s\nautovacuum_freeze_max_age = 100000\n"
	  . "vacuum_freeze_min_age = 0\nvacuum_freeze_table_age = 0\nlog_autovacuum_min_duration = 0\n");
$node->restart;
$sql->("INSERT INTO t VALUES (-5, 0, 'old'); UPDATE t SET v = 1 WHERE id = -5");
$sql->('SET synchronous_commit = off;
	DO $$BEGIN FOR i IN 1..110000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END$$');
ok($node->poll_query_until('postgres', "SELECT age(relfrozenxid) < 100000 FROM pg_class WHERE relname = 't'"),
	'autovacuum advanced relfrozenxid');
like(slurp_file($node->logfile), qr/finished vacuuming "postgres\.public\.t": index scans: \d/, 'and told so in the log');
is($sql->('SELECT v FROM t WHERE id = -5'), 1, 'the row is there');
$node->stop;
done_testing();
