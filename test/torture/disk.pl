# Disks that run full or fail under data, WAL and keystore, under load: by the
# preloaded library (ENOSPC, EIO), and by small file systems where the driver
# could mount some (SMALL_DISKS).
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../t";
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use Torture;
use VerityTest;

torture_begin();
my $small = $ENV{SMALL_DISKS};
my $shim = PostgreSQL::Test::Utils::tempdir() . '/full_disk.so';
system_or_bail('gcc', '-shared', '-fPIC', '-O1', '-Wall', '-o', $shim, "$FindBin::RealBin/../fault/full_disk.c", '-ldl');
my $flag = PostgreSQL::Test::Utils::tempdir() . '/flag';
$ENV{LD_PRELOAD} = $shim;
$ENV{FULL_DISK_FLAG} = $flag;

# fsync on: a server that does not flush does not notice that it cannot
my $node = torture_node('torture_disk',
	conf => "fsync = on\nshared_buffers = 1MB\ncheckpoint_timeout = 30s\nmin_wal_size = 32MB\nmax_wal_size = 32MB\n");
use_small_disks() if $small;
my %next;
my ($round, $acknowledged, $unfit) = (0, 0, 0);

while (time_left())
{
	my ($where, $name) = @{ ([ '/base/', 'data' ], [ '/pg_wal/', 'wal' ], [ 'keystore', 'keys' ])[ chance(3) ] };
	my $how = ('full', 'EIO', $small ? 'small' : 'full')[ chance(3) ];
	my $clients = load_begin($node, \%next, transactions => 100);
	usleep(300_000 + chance(500_000));
	if ($how eq 'small') { fill($name); }
	else { append_to_file($flag, $how eq 'EIO' ? "$where " . (5 + chance(200)) : $where); }
	usleep(500_000 + chance(1_000_000));
	unlink $flag;
	unlink glob "$small/*/ballast" if $small;
	my $acked = load_end($clients);
	server_up($node);
	my @wrong = everything_holds($node, $acked, \%next);
	$acknowledged += @$acked;
	$round++;
	ok(!@wrong, "round $round, $how under $name: " . scalar(@$acked) . ' acknowledged') or diag(join "\n", @wrong);
}
cmp_ok($acknowledged, '>', 0, "$acknowledged commits in $round rounds");
log_is_clean($node, but => qr/PANIC:  could not |signal 6/);
unlike(slurp_file($node->logfile), qr/TRAP/, 'no assertion failed');
$node->stop;
done_testing();

# WAL, keys and the tables' data each on a small file system of its own.
sub use_small_disks
{
	$node->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '" . empty_directory('data') . "'");
	$node->safe_psql('postgres', "ALTER TABLE $_ SET TABLESPACE small") for 'v', 'h', 'm';
	$node->stop;
	for my $move ([ 'wal', $node->data_dir . '/pg_wal' ], [ 'keys', $node->basedir . '/keystore' ])
	{
		my $to = empty_directory($move->[0]);
		system_or_bail('cp', '-a', "$move->[1]/.", $to);
		system_or_bail('rm', '-rf', $move->[1]);
		symlink $to, $move->[1] or die "symlink: $!";
	}
	$node->start;
	return;
}

sub empty_directory
{
	my $dir = "$small/$_[0]/here";
	system_or_bail('rm', '-rf', $dir);
	mkdir $dir, 0700 or die "$dir: $!";
	return $dir;
}

# Leave no room, with nothing between our file and the file system.
sub fill
{
	local $ENV{LD_PRELOAD};
	system("cat /dev/zero >$small/$_[0]/ballast 2>/dev/null");
	return;
}
