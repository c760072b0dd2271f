# A crash at each named stop point: a process is killed there, with its last
# WAL on disk where there is some; the server recovers, what was acknowledged is
# there, what was not is there as a whole or not at all, and verify is clean,
# before and after the next write.  RULES C 19, C 20, C 26, D 27.
#
# POINT=name for one alone, ACTION=kill to lose the WAL that was not flushed.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use StopPoints;
use StopPointWork;
use VerityTest;

my %work = stop_point_work();
my %covered = map { s/:.*//r => 1 } keys %work;
is_deeply([ sort keys %covered ], [ stop_points_in_source() ], 'each stop point of the source has work that leads there');

my $node = verity_node('stop_points', conf => stop_settings());
$node->safe_psql('postgres', stop_tables());
my $state = stop_state($node);
for my $point (sort { "$work{$a} $a" cmp "$work{$b} $b" } grep { !$ENV{POINT} || $_ eq $ENV{POINT} } keys %work)
{
	my $action = $ENV{ACTION} // ($point =~ /-changed(?::\d+)?$/ ? 'kill' : 'flush');
	my @wrong = stop_and_check($state, $work{$point}, $point, $action);
	is(join("\n", @wrong), '', "$action at $point");
}
$node->restart;
verify_is_clean($node, 'after a clean restart at the end');
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|signal 11/, 'no assertion failed');
$node->stop;
done_testing();
