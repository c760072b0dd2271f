# Before vacuum takes an "aborted" record away it asks the journal; with little
# memory it scans indexes several times; a crash at any point leaves a table
# that the next vacuum finishes.  RULES A 10, A 14, C 23.
use strict;
use warnings;

use FindBin;
use IPC::Run;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

use constant { XMIN_COMMITTED => 0x0100, XMIN_INVALID => 0x0200, INFOMASK_AT => 20 };

my $node = verity_node('aborted', checksums => 0, conf => "log_statement = none\n");
my $sql = sub { return $node->safe_psql('postgres', $_[0]) };

# Set and clear bits in the header of records on a stopped server's disk.
sub change_bits
{
	my ($file, $tids, $set, $clear) = @_;
	$node->stop;
	for my $tid (@$tids)
	{
		patch_file($file, record_at($file, $tid)->{offset} + INFOMASK_AT, 2,
			sub { return pack 'S<', (unpack('S<', $_[0]) & ~$clear) | $set });
	}
	$node->start;
	return;
}

sub vacuum_says
{
	my ($command) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $command);
	is($rc, 0, "$command works");
	return $err;
}

# committed records whose headers are forged to say "aborted"
$sql->(q(
	CREATE TABLE forged (id int PRIMARY KEY, v text) USING verity;
	INSERT INTO forged SELECT g, 'committed' FROM generate_series(1, 20) g;
	UPDATE forged SET v = 'version' WHERE id = 7;
	SELECT count(*) FROM forged;
	CHECKPOINT;
));
my $file = relation_file($node, 'forged');
my @tids = split /\n/, $sql->('SELECT ctid FROM forged WHERE id IN (3, 7) ORDER BY id');
change_bits($file, \@tids, XMIN_INVALID, XMIN_COMMITTED);
is($sql->('SELECT count(*) FROM forged WHERE id IN (3, 7) AND v = $$committed$$'), 0, 'the forged records are hidden');
for my $command ('VACUUM forged', 'VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) forged')
{
	my @warnings = vacuum_says($command) =~ /(WARNING:  table "forged" has committed records whose headers say that they were rolled back)/g;
	is(scalar(@warnings), 1, "$command: warns once");
}
isnt(scalar(verify_findings($node)), 0, 'verify finds them');
change_bits($file, \@tids, XMIN_COMMITTED | XMIN_INVALID, 0);
is($sql->('SELECT string_agg(id || v, $$,$$ ORDER BY id) FROM forged WHERE id IN (3, 7)'), '3committed,7version',
	'their bytes were kept: with the bits repaired the rows are back');
verify_is_clean($node, 'after the repair');

# records that a committed transaction discarded go; its others stay
$sql->(q(
	CREATE TABLE discarded (id int PRIMARY KEY, v int) USING verity;
	BEGIN;
	INSERT INTO discarded VALUES (1, 1);
	SAVEPOINT s; INSERT INTO discarded SELECT g, 2 FROM generate_series(2, 20) g; UPDATE discarded SET v = 2; ROLLBACK TO s;
	UPDATE discarded SET v = 3 WHERE id = 1;
	COMMIT;
));
is(vacuum_says('VACUUM discarded'), '', 'no warning for discarded records');
my @left = grep { $_->{flags} == 1 } page_items_flushed('discarded', 0);
is(scalar(@left), 2, 'the discarded records are gone');
is($sql->('TABLE discarded'), '1|3', 'the row is right');

# more aborted roots than fit in memory
$sql->(q(
	CREATE TABLE many (id int PRIMARY KEY, v int) USING verity;
	CREATE INDEX ON many (v);
	INSERT INTO many VALUES (0, 0);
	BEGIN; INSERT INTO many SELECT g, g FROM generate_series(1, 200000) g; ROLLBACK;
));
like(vacuum_says('SET maintenance_work_mem = 1024; VACUUM VERBOSE many'), qr/index scans: 3\n/, 'index scans as memory demands');
is($sql->('TABLE many'), '0|0', 'the row is right after several index scans');
is(vacuum_says('VACUUM many'), '', 'a second vacuum');
is($sql->('SELECT reltuples FROM pg_class WHERE relname = $$many$$'), 1, 'reltuples');

# killed in the middle of vacuum, again and again
$sql->(q(
	CREATE TABLE crashed (id int PRIMARY KEY, v int, pad text) USING verity;
	CREATE INDEX ON crashed (v);
	INSERT INTO crashed SELECT g, 0, repeat('x', 200) FROM generate_series(1, 2000) g;
));
my $expected = '';
for my $round (1 .. 6)
{
	$sql->(qq(
		UPDATE crashed SET v = $round WHERE id % 2 = 0;
		UPDATE crashed SET pad = '$round' WHERE id % 3 = 0;
		BEGIN; INSERT INTO crashed SELECT -g, 0 FROM generate_series(1, 3000) g; UPDATE crashed SET v = -1; ROLLBACK;
		CHECKPOINT;
	));
	$expected = $sql->('SELECT md5(string_agg(t::text, $$;$$ ORDER BY id)) FROM crashed t');
	my ($out, $err) = ('', '');
	my $vacuum = IPC::Run::start(
		[ 'psql', '-X', '-d', $node->connstr('postgres'), '-c', 'SET vacuum_cost_delay = 10',
			'-c', 'SET vacuum_cost_limit = 20', '-c', 'VACUUM FREEZE crashed' ],
		'>', \$out, '2>', \$err);
	$node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM pg_stat_progress_vacuum WHERE heap_blks_scanned > 10')
	  or die 'vacuum did not begin';
	select undef, undef, undef, 0.3 * ($round - 1);
	$node->stop('immediate');
	$vacuum->finish;
	isnt($err, '', "round $round: vacuum was interrupted");
	$node->start;
	is($sql->('SELECT md5(string_agg(t::text, $$;$$ ORDER BY id)) FROM crashed t'), $expected, "round $round: the rows are there");
	is($sql->('SET enable_seqscan = off; SELECT md5(string_agg(t::text, $$;$$ ORDER BY id)) FROM crashed t WHERE id < 3000'),
		$expected, "round $round: by the index too");
}
vacuum_says('VACUUM FREEZE crashed');
is($sql->('SELECT md5(string_agg(t::text, $$;$$ ORDER BY id)) FROM crashed t'), $expected, 'and after a whole vacuum');
verify_is_clean($node, 'at the end');
$node->stop;
done_testing();

# Items of a block, as the server has them now.
sub page_items_flushed
{
	my ($relation, $block) = @_;
	$sql->('CHECKPOINT');
	return page_items(relation_file($node, $relation), $block);
}
