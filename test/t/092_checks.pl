# pg_checksums and pg_amcheck: what they find in verity tables and their indexes, and what they say they cannot check.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $node = verity_node('main', protect => 1);
$node->safe_psql('postgres', q(
	CREATE EXTENSION amcheck;
	CREATE TABLE t (id int PRIMARY KEY, name text UNIQUE, n int, k int) USING verity;
	CREATE INDEX t_n ON t (n);
	CREATE INDEX t_expression ON t ((n % 10), name DESC);
	CREATE INDEX t_partial ON t (k) WHERE n > 500;
	CREATE INDEX t_hash ON t USING hash (n);
	INSERT INTO t SELECT g, 'name ' || g, g, 0 FROM generate_series(1, 2000) g;
	UPDATE t SET k = k + 1 WHERE id % 2 = 0;
	UPDATE t SET n = n + 5000 WHERE id % 7 = 0;
	DELETE FROM t WHERE id % 11 = 0;
	BEGIN; INSERT INTO t SELECT g, 'gone ' || g, g, 0 FROM generate_series(3001, 3100) g; ROLLBACK;
	INSERT INTO t SELECT 4000, string_agg(md5(g::text), ''), 1, 1 FROM generate_series(1, 40) g;
	CREATE TABLE plain (id int PRIMARY KEY) USING heap;
	INSERT INTO plain SELECT generate_series(1, 100);
));

# --- amcheck ---

my @all = ('--heapallindexed', '--parent-check', '--rootdescend');
my @indexes = qw(t_pkey t_name_key t_n t_expression t_partial);
my $checked = join '', map { qr/(?=.*checking btree index "postgres\.public\.$_")/s } @indexes;
for my $moment ('as written', 'vacuumed', 'reindexed', 'written again')
{
	$node->safe_psql('postgres', 'VACUUM (FREEZE, ANALYZE) t') if $moment eq 'vacuumed';
	$node->safe_psql('postgres', 'REINDEX TABLE CONCURRENTLY t') if $moment eq 'reindexed';
	$node->safe_psql('postgres', 'UPDATE t SET n = n - 1, k = k + 1 WHERE id < 1500') if $moment eq 'written again';
	$node->command_checks_all([ 'pg_amcheck', '-v', @all, '--index', 't_*', 'postgres' ], 0, [qr/^$/], [qr/$checked/],
		"$moment: pg_amcheck finds nothing in the btrees of a verity table");
	$node->command_ok([ 'pg_amcheck', '-v', @all, 'postgres' ], "$moment: nor in the whole database");
}
# it follows indexes from heap tables only, and says that it has none
$node->command_fails_like([ 'pg_amcheck', '--table', 't', 'postgres' ], qr/no heap tables to check matching "t"/,
	'pg_amcheck of a verity table by name says that it is no heap table');
my ($rc, $out, $err) = $node->psql('postgres', q(SELECT * FROM verify_heapam('t')));
like($err, qr/only heap AM is supported/, 'verify_heapam says so too');
($rc, $out, $err) = $node->psql('postgres', q(SELECT bt_index_check('t_hash', true)));
like($err, qr/only B-Tree indexes are supported|expected "btree" index/, 'and of other indexes, bt_index_check');
verify_is_clean($node, 'what was checked');

# a row that an index lacks: amcheck and verify find the same
$node->safe_psql('postgres', q(
	UPDATE pg_index SET indisready = false, indisvalid = false WHERE indexrelid = 't_n'::regclass;
	INSERT INTO t VALUES (7000, 'unseen', 7000, 1);
	UPDATE pg_index SET indisready = true, indisvalid = true WHERE indexrelid = 't_n'::regclass;
));
$node->command_checks_all([ 'pg_amcheck', @all, '--index', 't_n', 'postgres' ], 2,
	[qr/heap tuple \(\d+,\d+\) from table "t" lacks matching index tuple within index "t_n"/], [],
	'pg_amcheck finds the row that an index lacks');
is(join(', ', finding_names(verify_findings($node))), 'public.t_n: index', 'so does verify');
$node->safe_psql('postgres', 'REINDEX INDEX t_n');
$node->command_ok([ 'pg_amcheck', @all, '--index', 't_*', 'postgres' ], 'REINDEX repairs it');
verify_is_clean($node, 'after REINDEX');

# --- pg_checksums ---

my $file = relation_file($node, 't');
my $journal = relation_file($node, 'verity.journal');
$node->stop;
command_like([ 'pg_checksums', '--check', '-D', $node->data_dir ], qr/Bad checksums:  0\n/, 'pg_checksums finds no bad page');
for my $path ($file, $journal)
{
	my $page = read_page($path, 1);
	write_page($path, 1, substr($page, 0, 8000) . chr(1 ^ ord substr $page, 8000, 1) . substr($page, 8001));
	my ($name) = $path =~ m{/(base/.*)$};
	command_checks_all([ 'pg_checksums', '--check', '-D', $node->data_dir ], 1, [qr/Bad checksums:  1\n/],
		[qr/checksum verification failed in file ".*\Q$name\E", block 1/], 'pg_checksums finds a changed page');
	write_page($path, 1, $page);
}
command_ok([ 'pg_checksums', '--disable', '-D', $node->data_dir ], 'checksums off');
$node->start;
$node->safe_psql('postgres', 'UPDATE t SET k = k + 1 WHERE id < 100');
verify_is_clean($node, 'without checksums');
$node->stop;
command_ok([ 'pg_checksums', '--enable', '-D', $node->data_dir ], 'checksums on again');
command_like([ 'pg_checksums', '--check', '-D', $node->data_dir ], qr/Bad checksums:  0\n/, 'all pages have them');
$node->start;
is($node->safe_psql('postgres', 'SHOW data_checksums'), 'on', 'the server knows');
$node->safe_psql('postgres', 'UPDATE t SET k = k + 1 WHERE id < 100');
verify_is_clean($node, 'with checksums again');
$node->stop;
done_testing();
