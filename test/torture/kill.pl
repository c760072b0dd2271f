# kill -9 of single processes, of the server, and of clients at random stop points, under load.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../t";
use StopPoints;
use Test::More;
use Time::HiRes qw(usleep);
use Torture;

torture_begin();
my $node = torture_node('torture_kill', conf => "checkpoint_timeout = 30s\nshared_buffers = 2MB\n");
my (%next, %rounds);
my ($round, $acknowledged) = (0, 0);

while (time_left())
{
	my $kind = ('backend', 'server', 'point', 'point', 'helper', 'immediate')[ chance(6) ];
	my %opt;
	if ($kind eq 'point')
	{
		my $action = ('kill', 'flush', 'server')[ chance(3) ];
		my @points = stop_points_in_source();
		my $point = chance(2) ? 'any:' . (1 + chance(2000)) : $points[ chance(scalar @points) ] . ':' . (1 + chance(30));
		$opt{arm} = script_header($point, $action);
		$kind = "$action at $point";
	}
	my $clients = load_begin($node, \%next, %opt);
	usleep(200_000 + chance(1_200_000));
	if ($kind eq 'backend') { kill_one($node, qr/\[local\]/); }
	elsif ($kind eq 'server') { kill_server($node); }
	elsif ($kind eq 'helper') { kill_one($node, qr/checkpointer|background writer|walwriter/); }
	elsif ($kind eq 'immediate') { $node->stop('immediate'); }
	else { usleep(800_000); }
	# the postmaster recovers from a backend's death by itself, half of the time; else all goes down
	usleep(200_000 + chance(500_000));
	kill_server($node) if $kind ne 'backend' || chance(2);
	my $acked = load_end($clients);
	server_up($node);
	my @wrong = everything_holds($node, $acked, \%next);
	$acknowledged += @$acked;
	$round++;
	ok(!@wrong, "round $round, $kind: " . scalar(@$acked) . ' acknowledged') or diag(join "\n", @wrong);
}
cmp_ok($acknowledged, '>', 0, "the load worked: $acknowledged commits in $round rounds");
$node->restart;
ok(!everything_holds($node, [], {}), 'after a clean restart');
log_is_clean($node);
$node->stop;
done_testing();
