# DDL of one session is not disturbed by what others make and drop: no command
# fails for an object that is not its own, and none ends in a deadlock.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $seconds = $ENV{CHURN_SECONDS} // 6;
my $node = verity_node('churn', conf => "log_statement = none\n");
$node->safe_psql('postgres', q(
	CREATE TABLE t0 (a int, b int) USING verity;
	CREATE TABLE t1 (a int, b int) USING verity;
	CREATE TABLE t2 (a int, b int);
	CREATE TABLE t3 (a int, b int);
));

# every client has objects of its own
my %script = (
	indexes => q(
		CREATE INDEX i:client_id ON t:client_id (a, b);
		DROP INDEX i:client_id;),
	views => q(
		CREATE VIEW v:client_id AS SELECT 1 AS a;
		DROP VIEW v:client_id;),
	tables => q(
		CREATE TABLE m:client_id (a int PRIMARY KEY) USING verity;
		CREATE TABLE n:client_id (a int REFERENCES m:client_id) USING verity;
		DROP TABLE n:client_id, m:client_id;),
	nothing => 'ALTER INDEX IF EXISTS no_such_index RENAME TO another;');
my %clients = (indexes => 4, views => 3, tables => 2, nothing => 2);
my %run;

for my $name (sort keys %script)
{
	my $file = $node->basedir . "/$name.sql";
	append_to_file($file, $script{$name} =~ s/^\s+//mgr . "\n");
	my ($out, $err) = ('', '');
	$run{$name} = {
		out => \$out, err => \$err,
		handle => IPC::Run::start(
			[
				'pgbench', '-n', '-c', $clients{$name}, '-j', '1', '-T', $seconds, '-f', $file,
				'-h', $node->host, '-p', $node->port, 'postgres'
			], '>', \$out, '2>', \$err)
	};
}
for my $name (sort keys %run)
{
	IPC::Run::finish($run{$name}{handle});
	my ($done) = ${ $run{$name}{out} } =~ /number of transactions actually processed: (\d+)/;
	cmp_ok($done // 0, '>', 20, "$name: commands ran");
	is_deeply([ ${ $run{$name}{err} } =~ /ERROR: .*/g ], [], "$name: none failed");
}
verify_is_clean($node, 'after all');
$node->stop;
done_testing();
