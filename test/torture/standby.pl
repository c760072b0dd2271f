# A standby that is torn away and comes back, while its primary is loaded, and crashes too.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../t";
use Test::More;
use Time::HiRes qw(usleep);
use Torture;
use VerityTest;

torture_begin();
my $primary = torture_node('torture_primary', streaming => 1, conf => "shared_buffers = 2MB\nwal_keep_size = 1GB\n");
my $standby = verity_standby($primary, 'torture_standby');
my %next;
my $round = 0;

while (time_left())
{
	my @said;
	my $clients = load_begin($primary, \%next, transactions => 60);
	for (1 .. 1 + chance(3))
	{
		usleep(100_000 + chance(700_000));
		my $kind = ('server', 'immediate', 'redo', 'receiver', 'primary')[ chance(5) ];
		push @said, $kind;
		if ($kind eq 'server') { kill_server($standby); }
		elsif ($kind eq 'immediate') { $standby->stop('immediate'); }
		elsif ($kind eq 'receiver') { kill_one($standby, qr/walreceiver/); usleep(200_000); }
		elsif ($kind eq 'primary') { kill_one($primary, qr/walsender|\[local\]/); }
		else
		{
			kill_server($standby);
			$standby->append_conf('postgresql.conf', "verity.stop_action = 'kill'\nverity.stop_point = 'redo:" . (1 + chance(500)) . "'\n");
			$standby->start(fail_ok => 1);
			usleep(300_000);
			kill_server($standby);
			$standby->append_conf('postgresql.conf', "verity.stop_point = ''\n");
		}
		server_up($standby);
	}
	my $acked = load_end($clients);
	server_up($primary);
	my @wrong = everything_holds($primary, $acked, \%next);
	server_up($standby);
	$primary->wait_for_catchup($standby);
	push @wrong, map { "standby: $_" } everything_holds($standby, $acked);
	$round++;
	ok(!@wrong, "round $round, @said: " . scalar(@$acked) . ' acknowledged') or diag(join "\n", @wrong);
}
log_is_clean($_) for $primary, $standby;
$standby->promote;
$standby->safe_psql('postgres', 'INSERT INTO m VALUES (2)');
ok(!everything_holds($standby, []), 'the promoted standby');
$standby->stop;
$primary->stop;
done_testing();
