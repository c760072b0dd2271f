# A hot row stays cheap: reading by primary key a row that was updated 100,000
# times costs at most 1.3 times a fresh row; the same where an indexed column
# that is not in the key changed each time; and on a standby.  RULES A 8, A 10.
#
# UPDATES=n for another number of updates.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $updates = $ENV{UPDATES} // 100_000;
my $primary = verity_node('hot', streaming => 1,
	conf => "log_statement = none\nmax_connections = 20\nshared_buffers = 128MB\nmax_wal_size = 2GB\n");
$primary->safe_psql('postgres', q(
	CREATE TABLE plain (id int PRIMARY KEY, n int, pad text) USING verity;
	CREATE TABLE indexed (id int PRIMARY KEY, n int, pad text) USING verity;
	CREATE INDEX ON indexed (n);
));
for my $table (qw(plain indexed))
{
	$primary->safe_psql('postgres', "INSERT INTO $table SELECT g, 0, 'some text' FROM generate_series(1, 100) g");
	$primary->safe_psql('postgres', qq(DO \$\$
		BEGIN
			FOR i IN 1..$updates LOOP
				UPDATE $table SET n = i WHERE id = 50;
				IF i % 20 = 0 THEN COMMIT; END IF;
			END LOOP;
		END \$\$));
	is($primary->safe_psql('postgres', "SELECT n FROM $table WHERE id = 50"), $updates, "$table: $updates updates");
}
my $standby = verity_standby($primary, 'hot_standby');
$primary->wait_for_catchup($standby);

for my $node ($primary, $standby)
{
	is_cheap($node, $_) for qw(plain indexed);
}
$standby->stop;
$primary->stop;
done_testing();

sub is_cheap
{
	my ($node, $table) = @_;
	my $ratio = hot_to_fresh($node, $table);
	return cmp_ok($ratio, '<=', 1.3,
		sprintf '%s: a hot row of table %s costs %.2f times a fresh one', $node->name, $table, $ratio);
}

# Median of the ratios of latencies, hot row to fresh row: many short turns, so
# that what else the machine does meets both alike.
sub hot_to_fresh
{
	my ($node, $table) = @_;
	my @ratios;
	latency($node, $table, $_) for 50, 60;
	for (1 .. 41)
	{
		my $fresh = latency($node, $table, 60);
		push @ratios, latency($node, $table, 50) / $fresh;
	}
	return (sort { $a <=> $b } @ratios)[20];
}

# Mean latency of reading a row by its key.
sub latency
{
	my ($node, $table, $id) = @_;
	my $file = $node->basedir . "/read_${table}_$id.sql";
	if (!-e $file)
	{
		append_to_file($file, "SELECT n, pad FROM $table WHERE id = $id;\n");
	}
	my ($out, $err) = run_command(
		[ 'pgbench', '-n', '-M', 'prepared', '-t', '2000', '-f', $file, '-h', $node->host, '-p', $node->port, 'postgres' ]);
	my ($ms) = $out =~ /latency average = ([\d.]+) ms/ or die "pgbench: $out $err";
	return $ms;
}
