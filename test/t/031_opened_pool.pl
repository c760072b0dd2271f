# The pool of opened records never gives a row that is not the one on the page:
# not while rows change, abort and are vacuumed away, not when the file is
# altered under the running server, not to who has no key, and not under
# another definition of the table.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Tamper;
use Test::More;
use VerityTest;

# few buffers, so that pages are read from the file again
my $node = verity_node('pool', checksums => 0,
	conf => "shared_buffers = 1MB\nverity.opened_pool = 1MB\nmax_parallel_workers_per_gather = 0\n");
my $sql = sub { return $node->safe_psql('postgres', $_[0]) };

# --- the same rows as heap, whatever happens, in a pool that is too small ---

$sql->(q(
	CREATE TABLE twin (id int PRIMARY KEY, v int, pad text, n bigint, s smallint, m numeric);
	CREATE TABLE t (id int PRIMARY KEY, v int, pad text, n bigint, s smallint, m numeric) USING verity;
));
for my $round (1 .. 6)
{
	for my $table (qw(twin t))
	{
		$sql->(qq(
			BEGIN; INSERT INTO $table SELECT -g, g, repeat('a', (g * $round) % 300) FROM generate_series(1, 3000) g;
			SELECT count(pad) FROM $table; ROLLBACK;
			INSERT INTO $table SELECT $round * 10000 + g, g, repeat(chr(64 + $round), (g * 7) % 500) FROM generate_series(1, 2000) g;
			UPDATE $table SET v = v + $round WHERE id % 3 = 0;
			UPDATE $table SET n = id * 1000000007::bigint, m = id / 7.0 WHERE id % 5 = $round % 5;
			UPDATE $table SET s = id % 100, pad = NULL WHERE id % 11 = $round;
			DELETE FROM $table WHERE id % 17 = $round;
		));
		$sql->("VACUUM $table");
	}
	$sql->('ALTER TABLE t RENAME COLUMN pad TO pad2; ALTER TABLE t RENAME COLUMN pad2 TO pad') if $round == 3;
	my $rows = "SELECT md5(string_agg(x::text, ',' ORDER BY id)) FROM (SELECT id, v, pad, n, s, m FROM %s) x";
	for my $again (1 .. 2)
	{
		is($sql->(sprintf $rows, 't'), $sql->(sprintf $rows, 'twin'), "round $round: the rows are heap's, read $again");
	}
	# rows that are kept while others of their page and of other pages are read
	my $kept = "SET enable_hashjoin = off; SET enable_nestloop = off;
		SELECT md5(string_agg(a::text || b::text, ',' ORDER BY a.id)) FROM %1\$s a JOIN %1\$s b ON a.id = b.id + 1
			WHERE a.pad IS DISTINCT FROM b.pad";
	is($sql->(sprintf $kept, 't'), $sql->(sprintf $kept, 'twin'), "round $round: joined to themselves");
	my $cursor = "BEGIN; DECLARE c SCROLL CURSOR FOR SELECT * FROM %s WHERE id > 0 ORDER BY id; MOVE 700 IN c;
		FETCH BACKWARD 3 FROM c; FETCH ABSOLUTE 3 FROM c; FETCH RELATIVE 300 FROM c";
	is($sql->(sprintf $cursor, 't'), $sql->(sprintf $cursor, 'twin'), "round $round: through a cursor");
}

# --- a table that is larger than the pool has its share in it ---

$sql->(q(CREATE TABLE larger (id int, v text) USING verity;
	INSERT INTO larger SELECT g, repeat('v', 100) FROM generate_series(1, 12000) g));
cmp_ok($sql->(q(SELECT pg_relation_size('larger') / (1024 * 1024))), '>=', 2, 'twice as large at least');
$sql->('SELECT count(v) FROM larger') for 1 .. 6;
my $pooled = q(SELECT records_from_pool FROM verity.stat WHERE database = current_database());
my $already = $sql->($pooled);
$sql->('SELECT count(v) FROM larger');
my $hits = $sql->($pooled) - $already;
note("$hits of 12000 rows out of the pool");
cmp_ok($hits, '>=', 2000, 'rows come out of the pool');
cmp_ok($hits, '<', 12000, 'not all of them do');

# --- pages are read ahead, until a cursor turns ---

my $turns = q(SET synchronize_seqscans = off; BEGIN; DECLARE c SCROLL CURSOR FOR SELECT id FROM larger; MOVE 5000 IN c;
	MOVE BACKWARD 700 IN c; FETCH 2 FROM c; MOVE 300 IN c; FETCH BACKWARD 1 FROM c; MOVE FORWARD ALL IN c;
	FETCH BACKWARD 1 FROM c; MOVE BACKWARD ALL IN c; FETCH 1 FROM c);
is($sql->($turns), "4301\n4302\n4601\n12000\n1", 'a cursor that turns finds the same rows');

# --- the file is altered while the pool has its records ---

$sql->(q(
	CREATE TABLE other (id int, v text) USING verity;
	INSERT INTO other SELECT g, 'other ' || g FROM generate_series(1, 20) g;
	CREATE TABLE small (id int, v text) USING verity;
	INSERT INTO small SELECT g, 'small ' || g FROM generate_series(1, 20) g;
	CHECKPOINT;
));
my ($file, $other) = map { relation_file($node, $_) } qw(small other);
my $rows = q(SELECT string_agg(v, ',' ORDER BY id) FROM small);
my $before = $sql->($rows);
# what was in their place is protected for a while
$sql->($rows) for 1 .. 6;
$already = $sql->($pooled);
$sql->($rows);
is($sql->($pooled) - $already, 20, 'the pool has the rows');
my $sound = read_page($file, 0);

# Put what every buffer holds out of memory: an index scan uses no ring.
sub evict { return $sql->('CHECKPOINT; SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT sum(length(pad)) FROM twin WHERE id > 0') }

# Read the table with its file changed: the error, or nothing.
sub read_changed
{
	my ($what, $change) = @_;
	write_page($file, 0, $sound);
	evict();
	is($sql->($rows), $before, "before $what");
	evict();
	$change->();
	my ($rc, $out, $err) = $node->psql('postgres', $rows);
	ok($rc != 0 || $out eq $before, "$what: no row that was not sealed") or diag($out);
	evict();
	return $err;
}

# Let a record reach into the padding behind it, with its tag at the new end.
sub lengthen
{
	my ($path, $from) = @_;
	my @items = page_items($path, 0);
	my ($item) = grep { $_->{len} % 8 } @items[$from .. $#items];
	my $more = 8 - $item->{len} % 8;
	my $tag_at = $item->{offset} + $item->{len} - 16;
	write_bytes($path, $tag_at + $more, read_bytes($path, $tag_at, 16));
	write_bytes($path, $item->{pointer}, pack 'L<', $item->{at} | 1 << 15 | ($item->{len} + $more) << 17);
	return;
}

my $pages = 2 * $sql->(q(SELECT setting FROM pg_settings WHERE name = 'shared_buffers'));
cmp_ok($sql->(q(SELECT pg_relation_size('twin') / 8192)), '>', $pages, 'reading the twin leaves no buffer as it was');

# the first record of a page is looked up by itself, others with their page
for my $i (0, 7)
{
	my $tid = (records($file))[$i]->{tid};
	like(read_changed("a changed tag of record $i", sub { flip_byte($file, $tid, -1) }), qr/not authentic/,
		'a changed tag is found');
	like(read_changed("a changed header of record $i", sub { set_record($file, $tid, 'sequence', 77) }),
		qr/not authentic/, 'a changed header is found');
	like(read_changed("another schema version of record $i", sub { set_record($file, $tid, 'schema_version', 77) }),
		qr/not authentic|cannot be opened/, 'a changed schema version is found');
	like(read_changed("another table's record in place of record $i",
			sub { copy_record($other, (records($other))[$i]->{tid}, $file, $tid) }),
		qr/cannot be opened|not authentic/, "another table's record is found");
	like(read_changed("record $i longer", sub { lengthen($file, $i) }), qr/not authentic/,
		'a longer record with the same tag is found');
	read_changed("changed ciphertext of record $i", sub { flip_byte($file, $tid, -20) });
	write_page($file, 0, $sound);
}
write_page($file, 0, $sound);
evict();
verify_is_clean($node, 'with the file as it was');

# --- nobody reads without the key ---

is($sql->($rows), $before, 'the pool has the rows still');
rename $node->basedir . '/master.key', $node->basedir . '/away' or die $!;
my ($rc, $out, $err) = $node->psql('postgres', $rows);
isnt($rc, 0, 'a session without the key reads nothing');
unlike($out, qr/small/, 'nothing at all');
rename $node->basedir . '/away', $node->basedir . '/master.key' or die $!;
$node->stop;
done_testing();
