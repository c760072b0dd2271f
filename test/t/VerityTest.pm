# VerityTest.pm
#	  Servers with verity for TAP tests, and the means to change their files.
#
# A node's keys stand beside its data directory, not in it: basedir/keystore
# and basedir/master.key.  Nodes that are tampered with have no page checksums
# (checksums => 0), so that what is found is found by verify.
package VerityTest;

use strict;
use warnings;

use Exporter 'import';
use Fcntl qw(SEEK_SET);
use File::Copy qw(copy);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  verity_node verity_settings verity_clone verity_standby
  verify_findings verify_is_clean finding_names
  relation_file read_page write_page patch_file page_items record_at
  read_bytes write_bytes files_containing
  BLCKSZ
);

use constant BLCKSZ => 8192;

# The settings that every node gets, keys under this directory.
sub verity_settings
{
	my ($keys) = @_;
	my $settings = qq(
shared_preload_libraries = 'verity'
verity.master_key_file = '$keys/master.key'
verity.keystore_directory = '$keys/keystore'
max_prepared_transactions = 2
autovacuum = off
);
	$settings .= "verity.nonce_log_directory = '$ENV{NONCE_LOG}'\n" if $ENV{NONCE_LOG};
	return $settings;
}

# Make and start a server, with the extension in database postgres.
#	checksums  page checksums, on by default
#	protect    verity.protect_history of database postgres, off by default
#	streaming  standbys may follow
#	conf       more lines of postgresql.conf
#	extension  0: leave out CREATE EXTENSION
#	start      0: do not even start it
#	extra      more arguments of initdb
sub verity_node
{
	my ($name, %opt) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my @extra = ('--no-locale', '-E', 'UTF8', @{ $opt{extra} // [] });
	if ($opt{checksums} // 1)
	{
		push @extra, '--data-checksums';
	}
	elsif ($node->pg_version >= 18)
	{
		push @extra, '--no-data-checksums';
	}
	$node->init(extra => \@extra, $opt{streaming} ? (allows_streaming => 1) : ());
	$node->append_conf('postgresql.conf', verity_settings($node->basedir));
	$node->append_conf('postgresql.conf', "max_connections = 40\nshared_buffers = 32MB\n");
	$node->append_conf('postgresql.conf',
		'verity.protect_history = ' . ($opt{protect} ? 'on' : 'off'));
	$node->append_conf('postgresql.conf', $opt{conf}) if $opt{conf};
	return $node if defined $opt{start} && !$opt{start};
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION verity') if $opt{extension} // 1;
	return $node;
}

# A new node whose data directory and keys are copies of a stopped node's.
sub verity_clone
{
	my ($from, $name) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	system_or_bail('cp', '-a', $from->data_dir, $node->data_dir);
	system_or_bail('cp', '-a', $from->basedir . '/keystore', $node->basedir . '/keystore');
	copy($from->basedir . '/master.key', $node->basedir . '/master.key') or die "copy: $!";
	chmod 0600, $node->basedir . '/master.key';
	$node->append_conf('postgresql.conf',
		    'port = ' . $node->port . "\nunix_socket_directories = '" . $node->host . "'\n"
		  . verity_settings($node->basedir));
	return $node;
}

# A streaming standby of a running node, started.  It reads its primary's keystore.
sub verity_standby
{
	my ($primary, $name) = @_;
	my $standby = PostgreSQL::Test::Cluster->new($name);
	$primary->backup("for_$name");
	$standby->init_from_backup($primary, "for_$name", has_streaming => 1);
	$standby->start;
	return $standby;
}

# Findings of verity_verify that are not 'info': a list of hashes.
#	database  default postgres
#	call      default verity_verify()
#	all       also the 'info' rows
sub verify_findings
{
	my ($node, %opt) = @_;
	my $call = $opt{call} // 'verity_verify()';
	my $where = $opt{all} ? '' : q(WHERE severity <> 'info');
	my @columns = qw(severity check_name object position record expected found detail);
	my $list = join ', ', map { "coalesce($_\::text, '')" } @columns;
	my ($rc, $out, $err) = $node->psql(
		$opt{database} // 'postgres',
		"SELECT $list FROM $call $where",
		extra_params => [ '-F', "\x1f", '-R', "\x1e" ]);
	die "verify failed: $err" if $rc != 0;
	my @rows;
	for my $line (split /\x1e/, $out)
	{
		my %row;
		@row{@columns} = split /\x1f/, $line, -1;
		push @rows, \%row;
	}
	return @rows;
}

# "object: check_name" of each finding, sorted and without repeats.
sub finding_names
{
	my %seen = map { ("$_->{object}: $_->{check_name}" => 1) } @_;
	return sort keys %seen;
}

# One test: verify finds nothing.
sub verify_is_clean
{
	my ($node, $what, %opt) = @_;
	my @rows = verify_findings($node, %opt);
	my $ok = is(scalar(@rows), 0, "verify is clean: $what");
	if (!$ok)
	{
		diag("$_->{severity} $_->{check_name} $_->{object} position $_->{position} record $_->{record}"
			  . " expected $_->{expected} found $_->{found} $_->{detail}")
		  for @rows[ 0 .. ($#rows < 9 ? $#rows : 9) ];
	}
	return $ok;
}

# Path of a relation's file (first segment), asked of the running server.
sub relation_file
{
	my ($node, $relation, $database) = @_;
	return $node->data_dir . '/'
	  . $node->safe_psql($database // 'postgres', "SELECT pg_relation_filepath('$relation')");
}

sub read_bytes
{
	my ($path, $offset, $len) = @_;
	open my $fh, '<:raw', $path or die "$path: $!";
	sysseek $fh, $offset, SEEK_SET or die "$path: $!";
	my $bytes = '';
	while (length $bytes < $len)
	{
		my $n = sysread $fh, $bytes, $len - length $bytes, length $bytes;
		die "$path: $!" if !defined $n;
		last if $n == 0;
	}
	close $fh;
	return $bytes;
}

sub write_bytes
{
	my ($path, $offset, $bytes) = @_;
	open my $fh, '+<:raw', $path or die "$path: $!";
	sysseek $fh, $offset, SEEK_SET or die "$path: $!";
	my $n = syswrite $fh, $bytes;
	die "$path: short write" if !defined $n || $n != length $bytes;
	close $fh or die "$path: $!";
	return;
}

sub read_page { my ($path, $block) = @_; return read_bytes($path, $block * BLCKSZ, BLCKSZ); }
sub write_page { my ($path, $block, $page) = @_; return write_bytes($path, $block * BLCKSZ, $page); }

# Change bytes of a file through a function that gets and returns them.
sub patch_file
{
	my ($path, $offset, $len, $change) = @_;
	my $old = read_bytes($path, $offset, $len);
	my $new = $change->($old);
	die 'patch_file: length must stay' if length $new != $len;
	die 'patch_file: nothing changed' if $new eq $old;
	write_bytes($path, $offset, $new);
	return;
}

# Line pointers of a page: [{ offnum, at, flags, len, offset in file }, …], flags 1 being "normal".
sub page_items
{
	my ($path, $block) = @_;
	my $page = read_page($path, $block);
	my $lower = unpack 'S<', substr $page, 12, 2;
	my @items;
	for (my $i = 0; 24 + 4 * $i < $lower; $i++)
	{
		my $word = unpack 'L<', substr $page, 24 + 4 * $i, 4;
		my $at = $word & 0x7fff;
		push @items,
		  {
			offnum => $i + 1,
			at => $at,
			flags => ($word >> 15) & 3,
			len => $word >> 17,
			offset => $block * BLCKSZ + $at,
			pointer => $block * BLCKSZ + 24 + 4 * $i,
		  };
	}
	return @items;
}

# The item at a TID written "(block,offset)": as of page_items.
sub record_at
{
	my ($path, $tid) = @_;
	my ($block, $offnum) = $tid =~ /^\((\d+),(\d+)\)$/ or die "not a TID: $tid";
	my @items = page_items($path, $block);
	die "no item $tid" if $offnum > @items;
	return $items[ $offnum - 1 ];
}

# Files under a directory that contain these bytes, relative to it.
sub files_containing
{
	my ($dir, $bytes) = @_;
	my @found = `grep -rlaF -- '$bytes' '$dir' 2>/dev/null`;
	chomp @found;
	return sort map { substr $_, length("$dir/") } @found;
}

1;
