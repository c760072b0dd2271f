# Crashes in the middle of recovery: a small cache writes half-recovered pages, and recovery is killed again and again.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../t";
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use Torture;

torture_begin();
my $node = torture_node('torture_recovery', conf => "shared_buffers = 400kB\ncheckpoint_timeout = 1h\nmax_wal_size = 4GB\n");
my %next;
my ($round, $crashes) = (0, 0);

while (time_left())
{
	my $clients = load_begin($node, \%next);
	usleep(500_000 + chance(2_000_000));
	kill_server($node);
	my $acked = load_end($clients);
	# each time a little further, sometimes killed at any moment
	my $at = 0;
	for (1 .. 2 + chance(5))
	{
		$at += 1 + chance(400);
		my $point = ('redo', 'redo', 'redo-update', 'redo-journal')[ chance(4) ];
		$node->append_conf('postgresql.conf', "verity.stop_action = 'kill'\nverity.stop_point = '$point:$at'\n");
		my $log = -s $node->logfile;
		$node->start(fail_ok => 1);
		$crashes++ if slurp_file($node->logfile, $log) =~ /startup process .* was terminated by signal 9/;
		kill_server($node);
	}
	$node->append_conf('postgresql.conf', "verity.stop_point = ''\n");
	server_up($node);
	my @wrong = everything_holds($node, $acked, \%next);
	$round++;
	ok(!@wrong, "round $round: " . scalar(@$acked) . ' acknowledged') or diag(join "\n", @wrong);
}
cmp_ok($crashes, '>', 0, "$crashes crashes in recovery");
log_is_clean($node);
$node->stop;
done_testing();
