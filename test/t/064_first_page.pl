# What shares a table's first page, and the map pages behind it: rows begin at
# (0,1), meta data that outgrow the page leave it to rows, a map page stands at
# each multiple of 32,000, and a file of another format is refused.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Tamper;
use Test::More;
use VerityTest;

my $node = verity_node('first_page', checksums => 0, conf => "log_statement = none\n");
my $sql = sub { return $node->safe_psql('postgres', $_[0]) };

# --- rows and meta data on one page ---
$sql->('CREATE TABLE t (id int, v text) USING verity');
is($sql->(q(SELECT pg_relation_size('t'))), BLCKSZ, 'a table without rows is one page');
is($sql->('VACUUM t; SELECT relpages FROM pg_class WHERE relname = $$t$$'), 0, 'and said to have none, as heap');
is($sql->(q(INSERT INTO t VALUES (1, 'x') RETURNING ctid)), '(0,1)', 'the first row');
is($sql->(q(SELECT pg_relation_size('t'))), BLCKSZ, 'it is on that page');
$sql->("ALTER TABLE t ADD c$_ int DEFAULT $_; INSERT INTO t VALUES ($_)") for 2 .. 6;
is($sql->(q(SELECT pg_relation_size('t'))), 2 * BLCKSZ, 'meta data go on on another');
is($sql->('SELECT count(*), max(ctid) FROM t'), '6|(0,6)', 'rows stay where there is room');
$node->stop('immediate');
$node->start;
is($sql->('SELECT count(*), max(ctid), sum(c6) FROM t'), '6|(0,6)|36', 'after a crash as before');
is($sql->('BEGIN; CREATE TABLE cut (id int) USING verity; INSERT INTO cut VALUES (1), (2); TRUNCATE cut;
	INSERT INTO cut VALUES (3) RETURNING ctid; COMMIT') =~ /\(.*\)/ ? $& : '', '(0,1)', 'TRUNCATE leaves no row on the page');
$node->stop('immediate');
$node->start;
is($sql->('TABLE cut'), '3', 'nor after a crash');
# the same, of one whose meta data went on behind its rows
$sql->('BEGIN; CREATE TABLE grown (id int) USING verity; INSERT INTO grown SELECT generate_series(1, 1000);'
	. join('', map { "ALTER TABLE grown ADD c$_ int DEFAULT $_; INSERT INTO grown VALUES ($_);" } 1 .. 5)
	. 'TRUNCATE grown; INSERT INTO grown SELECT generate_series(1, 1000); COMMIT');
$node->stop('immediate');
$node->start;
is($sql->('SELECT count(*), sum(c5), min(ctid) FROM grown'), '1000|5000|(0,1)', 'nor are meta data lost behind the rows that it cut off');
# a row alone on the page, and nothing of the meta data logged behind it
$sql->('CREATE TABLE empty (id int) USING verity');
$sql->('BEGIN; INSERT INTO empty VALUES (1); ROLLBACK');
$sql->('VACUUM empty');
$sql->('CHECKPOINT');
$sql->('INSERT INTO empty VALUES (2)');
$node->stop('immediate');
$node->start;
is($sql->('TABLE empty'), '2', 'a row that was alone on the page when the server crashed');
# the meta data are never asked for while the page is locked for a row of it
$sql->(q(CREATE EXTENSION dblink;
	CREATE TABLE past (id int) USING verity;
	INSERT INTO past VALUES (1), (2), (3);
	CREATE FUNCTION forget() RETURNS bool LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM dblink_exec(format('dbname=%s host=%s port=%s', current_database(),
			current_setting('unix_socket_directories'), current_setting('port')), 'GRANT SELECT ON past TO public');
		EXECUTE 'SELECT FROM empty';
		RETURN true;
	END $$));
is($sql->(q(SELECT verity_position() AS p \gset
	SET verity.as_of = :p;
	SELECT count(*) FROM past WHERE ctid IN ('(0,1)', '(0,2)', '(0,3)') AND forget())), '3',
	'rows of the past by TID, while the table changes');
verify_is_clean($node, 'so far');

# --- rows beyond 32,000 pages; those between are a hole in the file ---
$sql->('CREATE TABLE far (id int, v text) USING verity; INSERT INTO far VALUES (0)');
my $far = relation_file($node, 'far');
$node->stop;
truncate $far, 31_998 * BLCKSZ or die $!;
$node->start;
$sql->(q(INSERT INTO far SELECT g, (SELECT string_agg(md5((g * 1000 + i)::text), '') FROM generate_series(1, 110) i) FROM generate_series(1, 12) g));
is($sql->(q(SELECT string_agg(DISTINCT (ctid::text::point)[0]::text, ',') FROM far WHERE id > 0)),
	'31997,31998,31999,32001,32002,32003', 'rows pass over the page that is to map them');
$sql->('DELETE FROM far WHERE id > 0; VACUUM far; CHECKPOINT');
is(unpack('H*', read_bytes($far, 32_000 * BLCKSZ + 24 + 8, 1)), 'fc', 'the map page has their marks');
is($sql->('SELECT count(*) FROM far'), 1, 'the row before is still found');
verify_is_clean($node, 'with a far map page');

# --- another format: a page for the meta data alone ---
my $file = relation_file($node, 'cut');
$node->stop;
my $page = read_page($file, 0);
write_page($file, 0, pack('x12 S<4 x4 V v x2', BLCKSZ, BLCKSZ, BLCKSZ, 8196, 0x56725479, 1) . "\0" x (BLCKSZ - 32));
$node->start;
my ($rc, $out, $err) = $node->psql('postgres', 'TABLE cut');
like($err, qr/table "cut" has storage format 1, this library knows 2/, 'a file of format 1 is refused');
is(join(', ', finding_names(verify_findings($node))), 'public.cut: meta', 'and named by verify');
$node->stop;
write_page($file, 0, $page);
$node->start;
is($sql->('TABLE cut'), '3', 'put back, it is read');
$node->stop;
done_testing();
