# Rounds of kill -9 in mid-load: recovery comes up, verify is clean, and every
# commit that a client saw acknowledged is in the table and in the journal.
# RULES C 19, C 20, D 27.
#
# ROUNDS=n for another number of rounds than 50.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use VerityTest;

my $rounds = $ENV{ROUNDS} // 50;
my $clients = 4;
my $per_round = 400;    # more than a client does before it is killed

my $node = verity_node('crash', conf => "log_statement = none\ncheckpoint_timeout = 30s\n");
$node->safe_psql('postgres', q(
	CREATE TABLE work (client int, n int, filler text, PRIMARY KEY (client, n)) USING verity;
	CREATE TABLE counters (client int PRIMARY KEY, n int) USING verity;
	INSERT INTO counters SELECT g, 0 FROM generate_series(1, 4) g;
));
my %next = map { $_ => 1 } 1 .. $clients;
my ($acknowledged, $unclean, $lost) = (0, 0, 0);

for my $round (1 .. $rounds)
{
	my @running = map { start_client($_, $round) } 1 .. $clients;
	usleep(250_000 + int rand 350_000);
	kill_server();
	my %acked = map { $_->{client} => finish_client($_) } @running;
	$node->start;
	$lost += check_clients($round, \%acked);
	my @findings = verify_findings($node);
	if (@findings)
	{
		diag("round $round: $_->{check_name} $_->{object} $_->{position} $_->{record} $_->{detail}") for @findings;
		$unclean++;
	}
}
is($unclean, 0, "verify is clean after each of $rounds rounds of kill -9");
is($lost, 0, "none of $acknowledged acknowledged commits is lost");
cmp_ok($acknowledged, '>', $rounds * 10, 'the rounds had load');
is($node->safe_psql('postgres', q(SELECT count(*) FROM verity.journal WHERE kind = 'generation')) > $rounds / 2 ? 1 : 0,
	1, 'generations went by');
$node->restart;
verify_is_clean($node, 'after a clean restart at the end');
$node->stop;
done_testing();

# A psql that commits numbered transactions, and prints each number once its commit is acknowledged.
sub start_client
{
	my ($client, $round) = @_;
	my $script = $node->basedir . "/client_$client.sql";
	open my $fh, '>', $script or die $!;
	for my $n ($next{$client} .. $next{$client} + $per_round)
	{
		my $savepoint = $n % 3 ? '' : "SAVEPOINT s; UPDATE counters SET n = -1 WHERE client = $client; ROLLBACK TO s;";
		my $abort = $n % 7 ? '' : "BEGIN; UPDATE counters SET n = -2 WHERE client = $client; ROLLBACK;";
		my $filler = $n % 11 ? "repeat('x', $n % 300)" : q((SELECT string_agg(md5(g::text), '') FROM generate_series(1, 200) g));
		print $fh "$abort BEGIN; SET LOCAL verity.reason = '$client-$n';"
		  . " INSERT INTO work VALUES ($client, $n, $filler); $savepoint"
		  . " UPDATE counters SET n = $n WHERE client = $client; COMMIT;\n\\echo $n\n";
	}
	close $fh;
	my %run = (client => $client, out => '', err => '');
	$run{harness} = IPC::Run::start(
		[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $script ],
		'<', \undef, '>', \$run{out}, '2>', \$run{err});
	return \%run;
}

# Last number that the client saw acknowledged, 0 for none in this round.
sub finish_client
{
	my ($run) = @_;
	$run->{harness}->finish;
	my @numbers = $run->{out} =~ /^(\d+)$/mg;
	$acknowledged += @numbers;
	return $numbers[-1] // 0;
}

# Kill every process of the server, and wait until they are gone.
sub kill_server
{
	open my $fh, '<', $node->data_dir . '/postmaster.pid' or die $!;
	chomp(my $postmaster = <$fh>);
	close $fh;
	my @children = split ' ', `ps -o pid= --ppid $postmaster`;
	kill 'KILL', $postmaster, @children;
	for my $pid ($postmaster, @children)
	{
		usleep(10_000) while kill 0, $pid;
	}
	$node->{_pid} = undef;
	return;
}

# Numbers that were acknowledged and are missing somewhere; also moves %next on.
sub check_clients
{
	my ($round, $acked) = @_;
	my $missing = 0;
	for my $client (1 .. $clients)
	{
		my ($max, $count, $counter, $entries) = split /\|/, $node->safe_psql('postgres', qq(
			SELECT coalesce(max(n), 0), count(*), (SELECT n FROM counters WHERE client = $client),
				(SELECT count(*) FROM verity.journal WHERE reason LIKE '$client-%' AND outcome = 'committed')
			FROM work WHERE client = $client));
		if ($max < $acked->{$client} || $count != $max || $counter != $max || $entries != $max)
		{
			diag("round $round client $client: acknowledged $acked->{$client}, last $max, rows $count, counter $counter, entries $entries");
			$missing++;
		}
		$next{$client} = $max + 1;
	}
	return $missing;
}
