# Torture.pm
#	  Time, seed, load and checks of the torture programs.
#
# The load: clients that run transactions of StopPoints::write_sql(), each in
# numbers of its own, so that they never meet in a row; beside them one that
# vacuums, makes and drops tables.
package Torture;

use strict;
use warnings;

use Cwd ();
use Exporter 'import';
use FindBin;
use IPC::Run;
use PostgreSQL::Test::Utils;
use StopPoints;
use StopPointWork;
use Test::More;
use Time::HiRes qw(time usleep);
use VerityTest;

our @EXPORT = qw(
  torture_begin time_left chance torture_node load_begin load_end
  kill_server kill_one processes server_up everything_holds log_is_clean
);

use constant CLIENTS => 4;
use constant RANGE => 1_000_000;
use constant PER_ROUND => 400;

my $until;

sub torture_begin
{
	my $seed = $ENV{SEED} // int rand 2**30;
	srand $seed;
	$until = time() + ($ENV{TORTURE_TIME} // 60);
	diag("SEED=$seed");
	return $seed;
}

sub time_left { return $until - time() > 0; }

# A whole number below the limit.
sub chance { my ($limit) = @_; return int rand $limit; }

# A server that is used to crashes, with the tables of the load.
sub torture_node
{
	my ($name, %opt) = @_;
	my $conf = $opt{conf} // '';
	my $node = verity_node($name, %opt, conf => stop_settings() . "log_min_messages = error\n$conf");
	$node->safe_psql('postgres', stop_tables());
	return $node;
}

# Start the load.  arm: a client's first lines, as script_header() makes them.
sub load_begin
{
	my ($node, $next, %opt) = @_;
	my @clients;
	for my $client (1 .. CLIENTS)
	{
		$next->{$client} //= $client * RANGE;
		my $script = $client == 1 && $opt{arm} ? $opt{arm} : '';
		$script .= write_sql(++$next->{$client}) . ($_ % 7 ? '' : aborted_sql() . conflict_sql(++$next->{$client}))
		  for 1 .. ($opt{transactions} // PER_ROUND);
		push @clients, start_client($node, $script);
	}
	push @clients, start_client($node, house_sql() x 30) if !$opt{no_house};
	return \@clients;
}

sub aborted_sql { my $sql = write_sql(9 * RANGE); $sql =~ s/COMMIT;\n\\echo \d+/ROLLBACK;/; return $sql; }

sub house_sql
{
	return "VACUUM (INDEX_CLEANUP on) v; INSERT INTO m VALUES (1, repeat('x', 300)); DELETE FROM m; VACUUM (FREEZE) m, v;\n"
	  . "DROP TABLE IF EXISTS house; CREATE TABLE house (a int) USING verity; INSERT INTO house VALUES (1); TRUNCATE house;\n";
}

sub start_client
{
	my ($node, $script) = @_;
	my %run = (out => '', err => '');
	my $file = script_file($script);
	$run{harness} = IPC::Run::start(
		[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $file ],
		'<', \undef, '>', \$run{out}, '2>', \$run{err});
	return \%run;
}

# Wait for the clients; numbers that were acknowledged.  Moves the counters to what is there.
sub load_end
{
	my ($clients) = @_;
	my @acknowledged;
	for my $run (@$clients)
	{
		$run->{harness}->finish;
		push @acknowledged, $run->{out} =~ /^(\d+)$/mg;
		diag("a client: $run->{err}") if $run->{err} =~ /not authentic|damaged|does not know|unexpected page/;
	}
	return \@acknowledged;
}

# Processes of the server whose title matches: those that work in its data directory, orphans too.
sub processes
{
	my ($node, $pattern) = @_;
	my $dir = Cwd::realpath($node->data_dir);
	my @found;
	for my $proc (glob '/proc/[0-9]*')
	{
		next if (readlink("$proc/cwd") // '') ne $dir;
		my $title = -r "$proc/cmdline" ? slurp_file("$proc/cmdline") : '';
		push @found, $proc =~ /(\d+)$/ if $title =~ $pattern;
	}
	return @found;
}

# kill -9 of one process; false where there is none.
sub kill_one
{
	my ($node, $pattern) = @_;
	my @pids = processes($node, $pattern);
	return @pids ? kill('KILL', $pids[ chance(scalar @pids) ]) : 0;
}

# kill -9 of every process of the server.
sub kill_server
{
	my ($node) = @_;
	for (1 .. 500)
	{
		my @pids = processes($node, qr/postgres/) or last;
		kill 'KILL', @pids;
		usleep(10_000);
	}
	forget_server($node);
	return;
}

# No process is left; a zombie that waits to be reaped would keep the lock files.
sub forget_server
{
	my ($node) = @_;
	unlink $node->data_dir . '/postmaster.pid', $node->host . '/.s.PGSQL.' . $node->port . '.lock';
	$node->{_pid} = undef;
	return;
}

# Have the server up, however it went down.
sub server_up
{
	my ($node) = @_;
	for (1 .. 1200)
	{
		if (!processes($node, qr/postgres/))
		{
			forget_server($node);
			$node->start;
		}
		return if IPC::Run::run([ 'psql', '-X', '-q', '-d', $node->connstr('postgres'), '-c', 'SELECT' ],
			'<', \undef, '>', '/dev/null', '2>', '/dev/null');
		usleep(50_000);
	}
	die 'the server did not come back';
}

# What does not hold: a list of sentences.  Also moves the clients' numbers on.
sub everything_holds
{
	my ($node, $acknowledged, $next) = @_;
	my $list = join ',', @$acknowledged;
	my ($lost) = $node->safe_psql('postgres',
		"SELECT count(*) FROM unnest('{$list}'::bigint[]) a WHERE NOT EXISTS (SELECT FROM done WHERE n = a)");
	my @wrong = what_is_wrong($node, 0);
	push @wrong, "$lost acknowledged transactions are lost" if $lost != 0;
	for my $client (keys %{ $next // {} })
	{
		my ($from, $to) = ($client * RANGE, ($client + 1) * RANGE);
		$next->{$client} = $node->safe_psql('postgres', "SELECT coalesce(max(n), $from) FROM done WHERE n > $from AND n < $to");
	}
	return @wrong;
}

# No assertion failed, and nothing crashed but by our hand.
sub log_is_clean
{
	my ($node, %opt) = @_;
	my $log = slurp_file($node->logfile);
	my @bad = grep { $_ !~ ($opt{but} // qr/^\0/) } $log =~ /^(.*(?:TRAP|PANIC|signal (?:6|7|8|11)\b).*)$/mg;
	return is(join("\n", @bad), '', 'nothing in the log of ' . $node->name);
}

1;
