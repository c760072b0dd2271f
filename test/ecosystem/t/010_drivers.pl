# Drivers and ORMs: the same program on heap tables and on verity tables gives the same output, error classes included, and
# that output is the one which all of them share (expected/common.out); then verity's own side (expected/verity.out).
#
# DRIVERS="node pgx"  only these
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../../t";
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $programs = "$FindBin::RealBin/..";
my $built = PostgreSQL::Test::Utils::tempdir();
my $jar = '/usr/share/java/postgresql.jar';

# build: what to compile first; run: the program; class: how its errors are told apart; SQLSTATE alone where it has one class
my %python2 = ('unique violation' => 'UniqueViolation', 'serialization failure' => 'SerializationFailure',
	'lock not available' => 'LockNotAvailable', 'truncate' => 'ObjectNotInPrerequisiteState',
	'prepare transaction' => 'FeatureNotSupported', 'write in the past' => 'ReadOnlySqlTransaction',
	'future' => 'InvalidParameterValue', 'a second time' => 'UniqueViolation');
my %family = ('unique violation' => 'IntegrityError', 'serialization failure' => 'OperationalError',
	'lock not available' => 'OperationalError', 'truncate' => 'OperationalError', 'prepare transaction' => 'NotSupportedError',
	'write in the past' => 'InternalError', 'future' => 'DataError', 'a second time' => 'IntegrityError');
my %orm = map { $_ => "$family{$_} of $python2{$_}" } keys %python2;
my @drivers = (
	{ name => 'libpq', build => [qw(gcc -std=gnu11 -Wall -Wextra -Werror -I/usr/include/postgresql -o), "$built/libpq", "$programs/libpq/program.c", '-lpq'],
		run => ["$built/libpq"] },
	{ name => 'psycopg2', run => [ '/usr/bin/python3', "$programs/psycopg2/program.py" ], class => \%python2 },
	{ name => 'psycopg', run => [ '/usr/bin/python3', "$programs/psycopg/program.py" ], class => \%python2 },
	{ name => 'sqlalchemy', run => [ '/usr/bin/python3', "$programs/sqlalchemy/program.py" ], class => \%orm },
	{ name => 'django', run => [ '/usr/bin/python3', "$programs/django/program.py" ], class => \%orm },
	{ name => 'perl', run => [ '/usr/bin/perl', "$programs/perl/program.pl" ], class => { map { $_ => 'DBI::db' } keys %family } },
	{ name => 'node', run => [ 'node', "$programs/node/program.js" ], class => { map { $_ => 'DatabaseError' } keys %family },
		env => { NODE_PATH => '/usr/share/nodejs:/usr/local/lib/node_modules' } },
	{ name => 'jdbc', build => [ qw(javac -Xlint:all -Werror -cp), $jar, '-d', $built, "$programs/jdbc/Program.java" ],
		run => [ 'java', '-cp', "$jar:$built", 'Program' ], class => { map { $_ => 'PSQLException' } keys %family }, tcp => 1 },
	{ name => 'pgx', build => [ qw(go build -p 2 -o), "$built/pgx", "$programs/pgx/program.go" ], run => ["$built/pgx"],
		class => { map { $_ => '*pgconn.PgError' } keys %family },
		env => { GO111MODULE => 'off', GOPATH => '/usr/share/gocode', GOCACHE => "$built/gocache" } });

# only JDBC needs TCP
my $node = verity_node('main', protect => 1, extension => 0, conf => "listen_addresses = '127.0.0.1'\n");
$ENV{PGUSER} = getpwuid $<;

# Make a database whose tables are of an access method.
sub database
{
	my ($driver, $am) = @_;
	my $name = "$driver->{name}_$am";
	$node->safe_psql('template1', "CREATE DATABASE $name");
	$node->safe_psql($name, "CREATE EXTENSION verity; ALTER DATABASE $name SET default_table_access_method = $am");
	return $name;
}

# Run a driver's program in a part and a database: what it prints.
sub output
{
	my ($driver, $database, $part) = @_;
	local @ENV{qw(PGHOST PGPORT PGDATABASE)} = ($driver->{tcp} ? '127.0.0.1' : $node->host, $node->port, $database);
	my ($out, $err);
	my $ok = IPC::Run::run([ @{ $driver->{run} }, $part ], '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(120));
	ok($ok, "$driver->{name}: $part in $database ends well") or diag($err);
	return $out;
}

# The output without what is a driver's own or differs from run to run.
sub shared
{
	my ($out) = @_;
	return $out =~ s/ \[[^\]\n]+\]$//gmr =~ s/at position \d+/at position N/r;
}

# The class that stands behind an error of the output.
sub class_of
{
	my ($out, $what) = @_;
	return $out =~ /^\Q$what\E: .* \[([^\]\n]+)\]$/m ? $1 : '';
}

my %expected = map { $_ => slurp_file("$programs/expected/$_.out") } qw(common verity);
for my $driver (@drivers)
{
	my $name = $driver->{name};
	next if $ENV{DRIVERS} && !grep { $_ eq $name } split ' ', $ENV{DRIVERS};
	local %ENV = (%ENV, %{ $driver->{env} // {} });
	command_ok($driver->{build}, "$name: the program builds") if $driver->{build};

	my $heap = output($driver, database($driver, 'heap'), 'common');
	my $database = database($driver, 'verity');
	my $common = output($driver, $database, 'common');
	is(shared($heap), $expected{common}, "$name: on heap tables");
	is($common, $heap, "$name: on verity tables, the same");
	is($node->safe_psql($database, q(SELECT string_agg(relname || ' ' || amname, ', ' ORDER BY relname)
		FROM pg_class c JOIN pg_am a ON a.oid = relam WHERE relname IN ('items', 'parts'))), 'items verity, parts verity', "$name: they are verity tables");
	my $own = output($driver, $database, 'verity');
	is(shared($own), $expected{verity}, "$name: the past, reasons, idempotency and refusals");
	for my $what (sort keys %{ $driver->{class} // {} })
	{
		is(class_of($common . $own, $what), $driver->{class}{$what}, "$name: the class of \"$what\"");
	}
	verify_is_clean($node, $name, database => $database);
}
$node->stop;
done_testing();
