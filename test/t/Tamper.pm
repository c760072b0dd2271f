# Tamper.pm
#	  Changes to the files of a stopped server, as somebody without keys could
#	  make them.  Offsets are those of src/am/layout.h and src/chain/record.h.
package Tamper;

use strict;
use warnings;

use Digest::SHA qw(sha256);
use Exporter 'import';
use VerityTest;

our @EXPORT = qw(
  records find_record set_record record_field set_infomask
  remove_item copy_record replace_record add_item sealed_offset set_xact_status flip_byte
  tid_bytes swap_pages truncate_file
  journal_items journal_item rewrite_tail rename_journal
  META_SIZE FIRST_MAP_BLOCK XMIN_COMMITTED XMIN_INVALID XMAX_COMMITTED XMAX_INVALID
);

# Block 0 ends in META_SIZE bytes of meta data.
use constant {
	META_SIZE => 312,
	FIRST_MAP_BLOCK => 32,
	XMIN_COMMITTED => 0x0100,
	XMIN_INVALID => 0x0200,
	XMAX_COMMITTED => 0x0400,
	XMAX_INVALID => 0x0800,
};

# field => [offset in the item, unpack template, length]; from "kind" on, in the sealed part
my %field = (
	xmin => [ 0, 'L<', 4 ],
	xmax => [ 4, 'L<', 4 ],
	ctid => [ 12, 'a6', 6 ],
	infomask2 => [ 18, 'S<', 2 ],
	infomask => [ 20, 'S<', 2 ],
	flags => [ 23, 'C', 1 ],
	ender => [ 24, 'Q<', 8 ],
	root => [ 32, 'a6', 6 ],
	prev => [ 38, 'a6', 6 ],
	skip => [ 44, 'a6', 6 ],
);
my %sealed_field = (
	kind => [ 1, 'C', 1 ],
	attributes => [ 2, 'S>', 2 ],
	sequence => [ 4, 'L>', 4 ],
	serial => [ 8, 'Q>', 8 ],
	schema_version => [ 16, 'L>', 4 ],
	generation => [ 20, 'L>', 4 ],
	key_id => [ 24, 'Q>', 8 ],
);

# Where the sealed part of a record with these envelope flags begins: first versions have no links back.
sub sealed_offset { return ($_[0] & 0x20) ? 38 : 52 }

# Offset, template and length of a field of a record with these flags.
sub field_at
{
	my ($name, $flags) = @_;
	return @{ $field{$name} } if $field{$name};
	my ($at, $template, $len) = @{ $sealed_field{$name} };
	return (sealed_offset($flags) + $at, $template, $len);
}

# An ItemPointerData of "(block,offset)".
sub tid_bytes
{
	my ($block, $offnum) = $_[0] =~ /^\((\d+),(\d+)\)$/ or die "not a TID: $_[0]";
	return pack 'S<S<S<', $block >> 16, $block & 0xffff, $offnum;
}

# All records of a verity table's file, in physical order.
sub records
{
	my ($path) = @_;
	my @records;
	for my $block (0 .. (-s $path) / BLCKSZ - 1)
	{
		my $page = read_page($path, $block);
		next if $page eq "\0" x BLCKSZ || $block == FIRST_MAP_BLOCK;
		for my $item (page_items($path, $block))
		{
			next if $item->{flags} != 1;
			my $bytes = substr $page, $item->{at}, $item->{len};
			my %record = (%$item, tid => "($block,$item->{offnum})", block => $block, bytes => $bytes);
			my $flags = unpack 'C', substr $bytes, 23, 1;
			for my $name (keys %field, keys %sealed_field)
			{
				my ($at, $template, $len) = field_at($name, $flags);
				$record{$name} = unpack $template, substr $bytes, $at, $len;
			}
			push @records, \%record;
		}
	}
	return @records;
}

# The one record for which the function (its record in $_) is true.
sub find_record
{
	my ($path, $test) = @_;
	my @found = ref $test ? grep { $test->() } records($path) : grep { $_->{tid} eq $test } records($path);
	die 'expected one record, not ' . scalar @found if @found != 1;
	return $found[0];
}

sub flags_of
{
	my ($path, $tid) = @_;
	return unpack 'C', read_bytes($path, record_at($path, $tid)->{offset} + 23, 1);
}

# Set a field of the record at a TID.
sub set_record
{
	my ($path, $tid, $name, $value) = @_;
	my ($at, $template, $len) = field_at($name, flags_of($path, $tid));
	patch_file($path, record_at($path, $tid)->{offset} + $at, $len, sub { pack $template, $value });
	return;
}

sub record_field
{
	my ($path, $tid, $name) = @_;
	my ($at, $template, $len) = field_at($name, flags_of($path, $tid));
	return unpack $template, read_bytes($path, record_at($path, $tid)->{offset} + $at, $len);
}

# Set and clear bits of t_infomask.
sub set_infomask
{
	my ($path, $tid, $set, $clear) = @_;
	my $mask = record_field($path, $tid, 'infomask');
	my $new = ($mask & ~$clear) | $set;
	set_record($path, $tid, 'infomask', $new) if $new != $mask;
	return;
}

# Invert one bit of the byte at an offset of the record's sealed part; negative: from its end.
sub flip_byte
{
	my ($path, $tid, $at) = @_;
	my $item = record_at($path, $tid);
	$at += $at < 0 ? $item->{len} : sealed_offset(flags_of($path, $tid));
	patch_file($path, $item->{offset} + $at, 1, sub { $_[0] ^ "\x01" });
	return;
}

# Turn an item's line pointer to "unused".
sub remove_item
{
	my ($path, $tid) = @_;
	patch_file($path, record_at($path, $tid)->{pointer}, 4, sub { "\0\0\0\0" });
	return;
}

# Overwrite a record's sealed part (or, with whole, all of it) by another's of the same length.
sub copy_record
{
	my ($from_path, $from, $to_path, $to, %opt) = @_;
	my ($source, $target) = (record_at($from_path, $from), record_at($to_path, $to));
	die "lengths differ: $source->{len} and $target->{len}" if $source->{len} != $target->{len};
	my ($at, $to_at) = (0, 0);
	if (!$opt{whole})
	{
		($at, $to_at) = (sealed_offset(flags_of($from_path, $from)), sealed_offset(flags_of($to_path, $to)));
		die 'only one is a first version' if $at != $to_at;
	}
	my $bytes = read_bytes($from_path, $source->{offset} + $at, $source->{len} - $at);
	patch_file($to_path, $target->{offset} + $at, length $bytes, sub { $bytes });
	return;
}

# Put other bytes in a record's place, on a page that has room.
sub replace_record
{
	my ($path, $tid, $bytes) = @_;
	my $item = record_at($path, $tid);
	my ($block) = $tid =~ /^\((\d+),/;
	my ($lower, $upper) = unpack 'S<S<', substr read_page($path, $block), 12, 4;
	my $at = ($upper - length $bytes) & ~7;
	die 'no room on the page' if $at < $lower;
	patch_file($path, $block * BLCKSZ + $at, length $bytes, sub { $bytes });
	patch_file($path, $item->{pointer}, 4, sub { pack 'L<', $at | (1 << 15) | (length($bytes) << 17) });
	patch_file($path, $block * BLCKSZ + 14, 2, sub { pack 'S<', $at });
	return;
}

# Add an item to a page that has room; returns its TID.
sub add_item
{
	my ($path, $block, $bytes) = @_;
	my $page = read_page($path, $block);
	my ($lower, $upper) = unpack 'S<S<', substr $page, 12, 4;
	my $len = length $bytes;
	my $at = ($upper - $len) & ~7;
	die 'no room on the page' if $at < $lower + 4;
	substr($page, $at, $len) = $bytes;
	substr($page, $lower, 4) = pack 'L<', $at | (1 << 15) | ($len << 17);
	substr($page, 12, 4) = pack 'S<S<', $lower + 4, $at;
	write_page($path, $block, $page);
	return "($block," . (($lower - 24) / 4 + 1) . ')';
}

# Set a transaction's status in pg_xact: 1 committed, 2 aborted.
sub set_xact_status
{
	my ($node, $xid, $status) = @_;
	my $file = sprintf '%s/pg_xact/%04X', $node->data_dir, int($xid / (32 * BLCKSZ * 4));
	my ($byte, $shift) = (int(($xid % (32 * BLCKSZ * 4)) / 4), ($xid % 4) * 2);
	patch_file($file, $byte, 1,
		sub { chr((ord($_[0]) & ~(3 << $shift)) | ($status << $shift)) });
	return;
}

sub swap_pages
{
	my ($path, $one, $other) = @_;
	my ($a, $b) = (read_page($path, $one), read_page($path, $other));
	write_page($path, $one, $b);
	write_page($path, $other, $a);
	return;
}

# Items of verity.journal in their order, with where their bytes stand: JournalItem (24 bytes), then the stored
# entry (src/chain/entry_stored.c), which begins with its core (148 bytes).
sub journal_items
{
	my ($path) = @_;
	my @items;
	for my $block (1 .. (-s $path) / BLCKSZ - 1)
	{
		for my $item (page_items($path, $block))
		{
			next if $item->{flags} != 1;
			my $bytes = read_bytes($path, $item->{offset}, $item->{len});
			my ($position, $xid, $total) = unpack 'Q<L<L<', $bytes;
			push @items,
			  {
				%$item,
				block => $block,
				bytes => $bytes,
				position => $position,
				xid => $xid,
				kind => unpack('C', substr $bytes, 25, 1),
				core => $item->{offset} + 24,
			  };
		}
	}
	return @items;
}

sub journal_item
{
	my ($path, $position) = @_;
	my @found = grep { $_->{position} == $position } journal_items($path);
	die "no entry $position" if !@found;
	return $found[0];
}

# Change the time of an entry, and every hash behind it, as somebody could who
# knows the format and has no keys.
sub rewrite_tail
{
	my ($path, $position) = @_;
	my $first = journal_item($path, $position);
	patch_file($path, $first->{core} + 12, 16,
		sub { my ($raw, $time) = unpack 'Q>Q>', $_[0]; pack 'Q>Q>', $raw + 1, $time + 1 });
	chain_from($path, $position);
	return;
}

# Put the hash of each entry from this position on into the next.
sub chain_from
{
	my ($path, $position) = @_;
	my $previous;
	for my $item (grep { $_->{position} >= $position } journal_items($path))
	{
		write_bytes($path, $item->{core} + 52, $previous) if defined $previous;
		$previous = sha256("\0" . read_bytes($path, $item->{core}, 148));
	}
	return;
}

# Turn the first generation into one of a clone, with a made-up journal id
# (src/chain/control.c) that the meta page has as well, and make the chain
# whole behind it.
sub rename_journal
{
	my ($path) = @_;
	my ($item) = grep { $_->{kind} == 3 } journal_items($path);
	my $len = unpack 'L>', read_bytes($path, $item->{core} + 152, 4);
	my $body = read_bytes($path, $item->{core} + 156, $len);
	substr($body, 45, 17) = "\x03" . 'made-up journal.';
	write_bytes($path, $item->{core} + 156, $body);
	write_bytes($path, $item->{core} + 84, sha256("\0\x05\x01" . $body));
	write_bytes($path, 24 + 48, 'made-up journal.');
	chain_from($path, $item->{position});
	return;
}

sub truncate_file
{
	my ($path, $size) = @_;
	truncate $path, $size or die "$path: $!";
	return;
}

1;
