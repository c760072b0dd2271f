# What leaves the server: pg_dump gives tables that restore as verity tables,
# and the server's log shows no row of one (RULES H 46).
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $canary = 'canary-7e1f';

my $node = verity_node('main', protect => 1, conf => "log_statement = none\nlog_min_error_statement = error\nlog_error_verbosity = verbose\n");
$node->safe_psql('postgres', qq(
	CREATE TYPE mood AS ENUM ('sad', 'ok');
	CREATE TABLE sealed (id int PRIMARY KEY, name text UNIQUE CHECK (length(name) < 40), m mood DEFAULT 'ok',
		n int NOT NULL DEFAULT 1, g int GENERATED ALWAYS AS (id * 2) STORED) USING verity;
	CREATE TABLE child (id int REFERENCES sealed DEFERRABLE INITIALLY DEFERRED, note text) USING verity;
	CREATE TABLE plain (id int, name text CHECK (length(name) < 40));
	INSERT INTO sealed (id, name) SELECT g, 'name ' || g FROM generate_series(1, 500) g;
	INSERT INTO child VALUES (1, 'note');
	CREATE MATERIALIZED VIEW seen USING verity AS SELECT count(*) FROM sealed;
	ALTER TABLE sealed ENABLE ROW LEVEL SECURITY;
	CREATE POLICY p ON sealed USING (m = 'ok');
));

# --- the log ---

my $long = $canary . 'x' x 40;
my %violations = (
	'a check' => "INSERT INTO sealed VALUES (1000, '$long')",
	'not null' => "INSERT INTO sealed VALUES (1000, '$canary', 'ok', NULL)",
	'a unique key' => "INSERT INTO sealed VALUES (1001, '$canary'), (1002, '$canary')",
	'a check in COPY' => "COPY sealed (id, name) FROM STDIN;\n1003\t$long\n\\.\n",
);
for my $what (sort keys %violations)
{
	my $from = -s $node->logfile;
	my ($rc, $out, $err) = $node->psql('postgres', $violations{$what});
	my $log = slurp_file($node->logfile, $from);
	isnt($rc, 0, "$what is violated");
	like($err, qr/$canary/, "$what: the client is shown the row");
	unlike($log, qr/$canary/, "$what: the log is not");
	like($log, qr/DETAIL:  The row is of a verity table and is not logged\./, "$what: the log says so");
	like($log, qr/ERROR:  23/, "$what: the error is logged");
}
{
	my $from = -s $node->logfile;
	$node->psql('postgres', "INSERT INTO plain VALUES (1, '$long')");
	like(slurp_file($node->logfile, $from), qr/DETAIL:  Failing row contains .*$canary/,
		'the row of a heap table is logged');
}

# --- pg_dump ---

my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, 'postgres' ], 'pg_dump');
like(slurp_file($dump), qr/SET default_table_access_method = verity;/, 'the dump names the access method');
$node->safe_psql('postgres', 'CREATE DATABASE copied');
$node->command_ok([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'copied' ], 'restore of a plain dump');

my $rows = q(SELECT md5(string_agg(s::text, ',' ORDER BY id)) FROM sealed s);
is($node->safe_psql('copied', $rows), $node->safe_psql('postgres', $rows), 'the rows are the same');
is($node->safe_psql('copied',
		q(SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE amname = 'verity')),
	'child sealed seen', 'the tables are verity tables');
is($node->safe_psql('copied', q(SELECT verity.table_definition('sealed'))),
	$node->safe_psql('postgres', q(SELECT verity.table_definition('sealed'))), 'so is the definition');
verify_is_clean($node, 'the restored database', database => 'copied');
verify_is_clean($node, 'the dumped database');

# custom format, parallel, in one go over a database with protected history
my $archive = $node->basedir . '/dump.d';
$node->command_ok([ 'pg_dump', '-Fd', '-j2', '-f', $archive, 'postgres' ], 'pg_dump, directory format, two jobs');
$node->safe_psql('postgres', 'CREATE DATABASE copied2');
$node->command_ok([ 'pg_restore', '-j2', '-d', 'copied2', $archive ], 'pg_restore, two jobs');
is($node->safe_psql('copied2', $rows), $node->safe_psql('postgres', $rows), 'the rows are the same');
verify_is_clean($node, 'the database restored by two jobs', database => 'copied2');
$node->command_fails_like([ 'pg_restore', '--clean', '-e', '-d', 'copied2', $archive ],
	qr/because its history is protected|because its journal protects history/, 'a restore over protected history is refused');

# --- where history is not protected, the extension may go ---

$node->safe_psql('postgres', 'CREATE DATABASE loose');
$node->safe_psql('loose', q(SET verity.protect_history = off; CREATE EXTENSION verity;
	CREATE TABLE t (a int) USING verity; INSERT INTO t VALUES (1)));
$node->safe_psql('loose', 'SET verity.protect_history = on; TRUNCATE t; INSERT INTO t VALUES (2)');
verify_is_clean($node, 'after a truncation', database => 'loose');
$node->safe_psql('loose', 'DROP EXTENSION verity CASCADE');
is($node->safe_psql('loose', q(SELECT count(*) FROM pg_class WHERE relname = 't')), '0', 'the table went with it');
$node->safe_psql('loose', 'CREATE EXTENSION verity; CREATE TABLE t (a int) USING verity; INSERT INTO t VALUES (1)');
verify_is_clean($node, 'after the extension was made anew', database => 'loose');
$node->safe_psql('postgres', 'DROP DATABASE loose');
$node->safe_psql('postgres', 'DROP DATABASE copied2');

$node->stop;
done_testing();
