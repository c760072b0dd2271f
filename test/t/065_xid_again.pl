# A transaction id is given out a second time after a wraparound: what a frozen
# record has kept of the first says nothing of the second.  RULES A 4.
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

my $node = verity_node('xid_again', conf => "log_statement = none\nautovacuum = off\n");
my $sql = sub { return $node->safe_psql('postgres', $_[0]) };
my @databases = qw(postgres template1 template0);

# Let that be the next transaction id.
sub drive_xids
{
	my ($xid, $epoch) = @_;
	$node->stop;
	system_or_bail('pg_resetwal', '-x', $xid, '-e', $epoch, '-D', $node->data_dir);
	my $path = sprintf '%s/pg_xact/%04X', $node->data_dir, int($xid / SEGMENT);
	open my $fh, '>:raw', $path or die "$path: $!";
	print $fh "\0" x (SEGMENT / 4);
	close $fh or die "$path: $!";
	$node->start;
	return;
}

sub freeze { $node->safe_psql($_, 'VACUUM FREEZE') for @databases; return; }

$sql->($_) for 'ALTER DATABASE template0 ALLOW_CONNECTIONS true', 'CREATE TABLE t (id int) USING verity';
my $xid = 500 * SEGMENT;
freeze();
drive_xids($xid, 0);
$sql->('INSERT INTO t VALUES (1)');
is($sql->('SELECT xmin FROM t'), $xid, 'the first id');
for my $segment (1700, 3000)
{
	freeze();
	drive_xids($segment * SEGMENT, 0);
}
freeze();
drive_xids($xid, 1);

my $reader = $node->background_psql('postgres');
is($reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT id FROM t'), 1, 'a reader begins');
$sql->('INSERT INTO t VALUES (2)');
is($sql->('SELECT id, xmin FROM t ORDER BY id'), "1|$xid\n2|$xid", 'the same id, frozen and anew');
# what is locked is not visible at first sight
my $locker = $node->background_psql('postgres');
is($locker->query_safe('BEGIN; SELECT id FROM t WHERE id = 1 FOR UPDATE'), 1, 'the frozen row is locked');
is($reader->query_safe('SELECT id FROM t'), 1, 'the reader does not see what came after it began');
$reader->query_safe('COMMIT');
$reader->quit;
$locker->query_safe('COMMIT');
$locker->quit;
verify_is_clean($node, 'at the end');
$node->stop;
done_testing();
