# Logical decoding of forged WAL: the bytes of a row are authentic, but the
# table that its WAL record names, the record's own length, and the columns that
# the catalog gives to the table, are not.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $node = verity_node('forged', checksums => 0, conf => "wal_level = logical\nautovacuum = off\nwal_compression = off\n");

sub crc32c
{
	my ($crc) = 0xFFFFFFFF;
	for my $byte (unpack 'C*', $_[0])
	{
		$crc ^= $byte;
		$crc = ($crc >> 1) ^ (($crc & 1) ? 0x82F63B78 : 0) for 1 .. 8;
	}
	return $crc ^ 0xFFFFFFFF;
}

# The file that an LSN is in, and the offset there.
sub wal_place
{
	my ($lsn) = @_;
	my ($file, $at) = split /\|/, $node->safe_psql('postgres', "SELECT * FROM pg_walfile_name_offset('$lsn')");
	return ($node->data_dir . "/pg_wal/$file", $at);
}

# Let code change the bytes of the records in [at, end), for each until it says
# that it did; the checksum is made anew.
sub forge
{
	my ($file, $at, $end, $code) = @_;
	open(my $wal, '+<:raw', $file) or die "$file: $!";
	local $/ = undef;
	my $bytes = <$wal>;
	my $done = 0;
	while (!$done && $at < $end)
	{
		my $len = unpack 'L', substr($bytes, $at, 4);
		last if $len < 24 || int($at / 8192) != int(($at + $len - 1) / 8192);
		my $record = substr($bytes, $at, $len);
		if ($code->(\$record))
		{
			substr($record, 20, 4) = pack 'L', crc32c(substr($record, 24) . substr($record, 0, 20));
			seek($wal, $at, 0);
			print $wal $record;
			$done = 1;
		}
		$at += ($len + 7) & ~7;
	}
	close $wal or die $!;
	return $done;
}

# The locator of a table, as it is in WAL.
sub locator
{
	return pack 'LLL', split /\|/, $node->safe_psql('postgres', qq(
		SELECT d.dattablespace, d.oid, pg_relation_filenode('$_[0]')
		FROM pg_database d WHERE d.datname = current_database()));
}

# What decoding says of what sql does to notes, once code changed its WAL record: it
# gets a reference to the record and where in it the table's locator is.
sub decode_forged
{
	my ($what, $code, $sql) = @_;
	my $notes = locator('notes');
	$node->safe_psql('postgres', q(INSERT INTO notes VALUES (1, 'first'); SELECT pg_switch_wal()));
	$node->safe_psql('postgres', q(SELECT pg_create_logical_replication_slot('forged', 'test_decoding')));
	my $start = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
	$node->safe_psql('postgres', $sql // q(INSERT INTO notes VALUES (2, 'second')));
	my $end = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
	my ($file, $at) = wal_place($start);
	my (undef, $stop) = wal_place($end);
	$node->stop('fast');
	my $forged = forge($file, $at, $stop, sub {
		my ($record) = @_;
		my $place = index($$record, $notes);
		return $place > 0 && $code->($record, $place);
	});
	$node->start;
	is($forged, 1, "$what: a record is forged");
	return peek();
}

# What decoding says of the slot's changes.  Without the slot, then.
sub peek
{
	my ($rc, $out, $err) = $node->psql('postgres',
		"\\set VERBOSITY verbose\nSELECT lsn, data FROM pg_logical_slot_peek_changes('forged', NULL, NULL)");
	$node->safe_psql('postgres', q(SELECT pg_drop_replication_slot('forged')));
	return "$out$err";
}

# A change of notes, logged as one of another table.
sub decode_as
{
	my ($table, $sql) = @_;
	my $other = locator($table);
	return decode_forged("notes as $table", sub { substr(${ $_[0] }, $_[1], 12) = $other; 1 }, $sql);
}

# Have the catalog say, in its file, that a column of notes is this long.
sub column_is_long
{
	my ($column, $len) = @_;
	my $file = $node->data_dir . '/' . $node->safe_psql('postgres', q(SELECT pg_relation_filepath('pg_attribute')));
	my $row = pack 'L a64', $node->safe_psql('postgres', q(SELECT 'notes'::regclass::oid)), $column;
	# behind attrelid, attname and atttypid, and, before 17, attstattarget
	my $before = $node->pg_version >= 17 ? 72 : 76;
	$node->stop('fast');
	my $changed = 0;
	for my $block (0 .. (-s $file) / 8192 - 1)
	{
		my $at = index(read_page($file, $block), $row);
		next if $at < 0;
		patch_file($file, $block * 8192 + $at + $before, 2, sub { pack 's', $len });
		$changed++;
	}
	unlink glob($node->data_dir . '/base/*/pg_internal.init');
	$node->start;
	return $changed;
}

# Main data of 2 bytes: the others become the block's.  Their lengths are
# right before the locator and, behind the block number, after the main data's id.
sub shorten
{
	my ($record, $place) = @_;
	my ($id, $len) = unpack 'CC', substr($$record, $place + 16, 2);
	return 0 if $id != 255 || $len <= 2;
	substr($$record, $place - 2, 2) = pack 'S', unpack('S', substr($$record, $place - 2, 2)) + $len - 2;
	substr($$record, $place + 17, 1) = pack 'C', 2;
	return 1;
}

$node->safe_psql('postgres', q(
	CREATE TABLE notes (id int, v text) USING verity;
	CREATE TABLE same (id int, v text) USING verity;
	CREATE TABLE long_values (id int, v name) USING verity;
	CREATE TABLE one_column (id int) USING verity;
	CREATE TABLE aligned (id bigint, v bigint) USING verity));
my $refused = qr/XX001: logged record \d+\.\d+ was not written to the table that its WAL record names.*HINT:.*table "(\w+)" at LSN [0-9A-F]+\/[0-9A-F]+, in transaction \d+/s;
for my $table (qw(same long_values one_column aligned))
{
	my $said = decode_as($table);
	like($said, $refused, "notes as $table: refused");
	unlike($said, qr/second/, 'and not shown');
}
$node->safe_psql('postgres', 'ALTER TABLE notes REPLICA IDENTITY FULL');
like(decode_as('same', q(DELETE FROM notes WHERE id = 2)), $refused, 'an old row as one of another table: refused');
like(decode_forged('no change', sub { 1 }), qr/INSERT: id\[integer\]:2/, 'a record with a new checksum alone is decoded');

$node->safe_psql('postgres', q(SELECT pg_create_logical_replication_slot('forged', 'test_decoding')));
$node->safe_psql('postgres', q(INSERT INTO notes VALUES (2, 'second')));
my ($lsn) = $node->safe_psql('postgres', q(SELECT lsn FROM pg_logical_slot_peek_changes('forged', NULL, NULL) WHERE data LIKE 'table%'));
is(column_is_long('v', 64), 1, 'the catalog says that a column is longer');
like(peek(), qr/XX001: a logged row is none of table "notes".*HINT:.*verity_verify.*at LSN \Q$lsn\E, in transaction/s,
	'a row that ends before its columns do: refused, with its LSN');
is(column_is_long('v', -1), 1, 'the catalog is as before');

like(decode_forged('short main data', \&shorten), qr/XX001: a logged change of a verity table is too short.*DETAIL:  It is the WAL record at LSN [0-9A-F]+\/[0-9A-F]+\..*HINT:.*verity_verify/s,
	'short main data: refused');
is($node->safe_psql('postgres', 'SELECT count(*) FROM notes'), 10, 'the server is up');
done_testing();
