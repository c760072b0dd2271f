# Disks that run full or fail under data, WAL and keystore, under load: by the
# preloaded library (ENOSPC, EIO), and by small file systems where the driver
# could mount some (SMALL_DISKS).  Each way under each directory comes once, in
# random order, before any comes again, and again where no process met it; a full
# one is also there when the server starts.
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

# fsync on: a server that does not flush does not notice that it cannot; WAL is written to new files, not to old ones
my $node = torture_node('torture_disk', extra => ['--wal-segsize=1'],
	conf => "fsync = on\nshared_buffers = 1MB\ncheckpoint_timeout = 30s\nwal_recycle = off\nmin_wal_size = 2MB\nmax_wal_size = 16MB\n");
use_small_disks() if $small;
my %next;
my ($round, $acknowledged) = (0, 0);
my (@cases, %hit, %missed);

while (time_left() || @cases)
{
	@cases = all_cases() if !@cases;
	my $case = splice(@cases, chance(scalar @cases), 1);
	my ($where, $name, $how) = @$case;
	my $log = -s $node->logfile;
	my $clients = load_begin($node, \%next, transactions => 100);
	usleep(300_000 + chance(500_000));
	if ($how eq 'small') { fill($name); }
	else { append_to_file($flag, $how eq 'EIO' ? "$where " . (2 + chance($name eq 'keys' ? 5 : 100)) : $where); }
	usleep(500_000 + chance(1_000_000));
	start_while_full($node) if $how ne 'EIO' && chance(2);
	unlink $flag;
	unlink glob "$small/*/ballast" if $small;
	my $acked = load_end($clients);
	server_up($node);
	if (slurp_file($node->logfile, $log) =~ ($how eq 'EIO' ? qr/Input\/output error/ : qr/No space left/)) { $hit{"$how $name"}++; }
	elsif ($missed{"$how $name"}++ < 4) { push @cases, $case; }
	my @wrong = everything_holds($node, $acked, \%next);
	$acknowledged += @$acked;
	$round++;
	ok(!@wrong, "round $round, $how under $name: " . scalar(@$acked) . ' acknowledged') or diag(join "\n", @wrong);
}
cmp_ok($acknowledged, '>', 0, "$acknowledged commits in $round rounds");
for my $case (all_cases())
{
	my ($where, $name, $how) = @$case;
	ok($hit{"$how $name"}, "a process met $how under $name");
}
diag(join ', ', map { "$_: $hit{$_}" } sort keys %hit);
log_is_clean($node, but => qr/PANIC:  could not |signal 6/);
unlike(slurp_file($node->logfile), qr/TRAP/, 'no assertion failed');
$node->stop;
done_testing();

# [what a path contains, the directory's name, how it fails], for each.
sub all_cases
{
	my @all;
	for my $how ('full', 'EIO', $small ? 'small' : ())
	{
		push @all, map { [ @$_, $how ] } [ '/base/', 'data' ], [ '/pg_wal/', 'wal' ], [ 'keystore', 'keys' ];
	}
	return @all;
}

# All goes down, and is started where there is no room: that may fail, and must do no harm.
sub start_while_full
{
	my ($node) = @_;
	kill_server($node);
	$node->start(fail_ok => 1);
	usleep(300_000);
	kill_server($node);
	return;
}

# WAL, keys and the tables' data each on a small file system of its own.
sub use_small_disks
{
	$node->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '" . empty_directory('data/base') . "'");
	$node->safe_psql('postgres', "ALTER TABLE $_ SET TABLESPACE small") for 'v', 'h', 'm';
	$node->stop;
	for my $move ([ 'wal/pg_wal', $node->data_dir . '/pg_wal' ], [ 'keys/keystore', $node->basedir . '/keystore' ])
	{
		my $to = empty_directory($move->[0]);
		system_or_bail('cp', '-a', "$move->[1]/.", $to);
		system_or_bail('rm', '-rf', $move->[1]);
		symlink $to, $move->[1] or die "symlink: $!";
	}
	$node->start;
	return;
}

# With the name that the preloaded library looks for.
sub empty_directory
{
	my $dir = "$small/$_[0]";
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
