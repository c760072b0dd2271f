# What is read in the order in which it was written is folded as it comes; what
# could deceive that is found all the same, with and without workers, and a
# healthy table is not read twice.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use File::Copy qw(copy);
use IPC::Run;
use PostgreSQL::Test::Utils;
use Tamper;
use Test::More;
use VerityTest;

my $node = verity_node('stretches',
	checksums => 0,
	conf => "log_statement = none\nautovacuum = off\nmax_wal_size = 256MB\n");
my @tables = qw(bulk single shifted other turns_a turns_b changed);

# two loads and single rows; a load behind rows of another table and around a
# savepoint; two tables in turns; updates in place and elsewhere, and deletions
$node->safe_psql('postgres', q(
	CREATE TABLE bulk (id int, pad text) USING verity;
	CREATE TABLE single (id int PRIMARY KEY, pad text) USING verity;
	CREATE TABLE shifted (id int, pad text) USING verity;
	CREATE TABLE other (id int, pad text) USING verity;
	CREATE TABLE turns_a (id int, pad text) USING verity;
	CREATE TABLE turns_b (id int PRIMARY KEY, pad text) USING verity;
	CREATE TABLE changed (id int PRIMARY KEY, pad text) USING verity WITH (fillfactor = 70);
	INSERT INTO bulk SELECT g, repeat('b', 60) FROM generate_series(1, 6000) g;
	INSERT INTO bulk SELECT g, repeat('c', 60) FROM generate_series(1, 10) g;
	BEGIN;
	INSERT INTO other SELECT g, 'o' FROM generate_series(1, 5) g;
	INSERT INTO shifted SELECT g, repeat('s', 60) FROM generate_series(1, 3000) g;
	SAVEPOINT one; INSERT INTO shifted SELECT g, repeat('t', 60) FROM generate_series(1, 100) g; ROLLBACK TO one;
	INSERT INTO shifted SELECT g, repeat('u', 60) FROM generate_series(1, 3000) g;
	COMMIT;
	DO 'BEGIN FOR i IN 1..500 LOOP INSERT INTO turns_a VALUES (i, ''a''); INSERT INTO turns_b VALUES (i, ''b''); END LOOP; END';
	DO 'BEGIN FOR i IN 1..300 LOOP INSERT INTO single VALUES (i, ''one''); COMMIT; END LOOP; END';
	INSERT INTO changed SELECT g, repeat('x', 60) FROM generate_series(1, 3000) g;
	UPDATE changed SET pad = repeat('y', 60) WHERE id % 3 = 0;
	DELETE FROM changed WHERE id % 50 = 1;
	UPDATE changed SET pad = repeat('z', 60), id = -id WHERE id % 7 = 0;
	BEGIN; INSERT INTO changed SELECT g, 'gone' FROM generate_series(5001, 5500) g; ROLLBACK;
	INSERT INTO changed SELECT g, 'kept' FROM generate_series(6001, 6100) g;
	CREATE INDEX changed_pad ON changed (pad);
));

sub verify_with_log
{
	my ($table, $workers) = @_;
	my ($rc, $out, $err) = $node->psql('postgres',
		"SET client_min_messages = debug1; SELECT severity, check_name, found FROM verity_verify('$table', workers => $workers)
		WHERE object LIKE '%.$table%'");
	return ($out, $err);
}

for my $workers (0, 1, 2)
{
	for my $table (@tables)
	{
		my $rows = $node->safe_psql('postgres', "SELECT count(*) FROM $table");
		my ($out, $err) = verify_with_log($table, $workers);
		like($out, qr/^info\|summary\|\d+ records/m, "$table, $workers workers: is clean");
		unlike($out, qr/error/, 'without a finding');
		unlike($err, qr/record by record/, 'and was read once');
		like($err, qr/a stretch of \d+ records of public\.shifted again/, 'or its stretches that begin elsewhere were')
		  if $table eq 'shifted' && $workers > 0;
	}
}
my $again = $node->safe_psql('postgres',
	q(SELECT string_agg(found, ' ' ORDER BY object) FROM verity_verify(workers => 2) WHERE check_name = 'summary' AND object LIKE 'public.%'));
is($again, $node->safe_psql('postgres',
	q(SELECT string_agg(found, ' ' ORDER BY object) FROM verity_verify() WHERE check_name = 'summary' AND object LIKE 'public.%')),
	'workers count the same');

# --- what could deceive it ---
my %file = map { $_ => relation_file($node, $_) } @tables;
$node->stop;
my %pages = map { $_ => -s $file{$_} } @tables;
copy($file{$_}, "$file{$_}.good") or die $! for @tables;
my @bulk = records($file{bulk});
my @first = grep { $_->{serial} == $bulk[0]{serial} } @bulk;
my @second = grep { $_->{serial} != $bulk[0]{serial} } @bulk;
my ($last, $middle) = ($first[-1], $first[3000]);

sub case_found
{
	my ($name, $table, $change, @expected) = @_;
	$change->($file{$table});
	$node->start;
	for my $workers (0, 1, 2)
	{
		# without keys, only the roots tell that sealed bytes are others
		my $keys = $workers == 1 ? 'true' : 'false';
		my @found = verify_findings($node, call => "verity_verify('$table', workers => $workers, with_keys => $keys)");
		is_deeply([ finding_names(@found) ], [ map { "public.$table: $_" } @expected ],
			"$name: named with $workers workers");
	}
	$node->stop;
	copy("$file{$table}.good", $file{$table}) or die $!;
	return;
}

case_found('a record altered in the middle', 'bulk', sub { flip_byte($_[0], $middle->{tid}, 40) }, 'record');
case_found('an xmin in the middle that is older than its transaction', 'bulk', sub {
		set_record($_[0], $middle->{tid}, 'xmin', $middle->{xmin} - 1);
	}, 'envelope');
case_found('the last record altered', 'bulk', sub { flip_byte($_[0], $last->{tid}, -1) }, 'record');
case_found('the last record missing', 'bulk', sub { remove_item($_[0], $last->{tid}) }, 'missing');
case_found('the first record missing', 'bulk', sub { remove_item($_[0], $first[0]{tid}) }, 'missing');
case_found('a record in another\'s place', 'bulk',
	sub { copy_record($_[0], $first[10]{tid}, $_[0], $middle->{tid}) }, 'duplicate', 'missing');
case_found('a record twice', 'bulk', sub { add_item($_[0], $bulk[-1]{block}, $middle->{bytes}) }, 'duplicate');
case_found('a record of another entry in its place', 'bulk',
	sub { copy_record($_[0], $second[1]{tid}, $_[0], $middle->{tid}) }, 'duplicate', 'missing');
case_found('a record moved to another entry', 'bulk',
	sub { set_record($_[0], $middle->{tid}, 'serial', $second[0]{serial}) }, 'missing', 'record');
case_found('a record with another sequence number', 'bulk',
	sub { set_record($_[0], $middle->{tid}, 'sequence', 70000) }, 'record');
case_found('two records that exchange sequence numbers', 'bulk', sub {
		set_record($_[0], $first[70]{tid}, 'sequence', $middle->{sequence});
		set_record($_[0], $middle->{tid}, 'sequence', $first[70]{sequence});
	}, 'record');
case_found('a page of the middle emptied', 'bulk', sub { write_page($_[0], $middle->{block}, "\0" x BLCKSZ) }, 'missing');
case_found('the last page cut off', 'bulk', sub { truncate_file($_[0], $pages{bulk} - BLCKSZ) }, 'missing');
case_found('a record altered whose stretch begins elsewhere', 'shifted', sub {
		my @some = records($_[0]);
		flip_byte($_[0], $some[2500]{tid}, 40);
	}, 'record');
case_found('a record discarded that is shown as committed', 'shifted', sub {
		my ($gone) = grep { $_->{sequence} == 3005 + 50 } records($_[0]);
		set_infomask($_[0], $gone->{tid}, XMIN_COMMITTED, XMIN_INVALID);
		set_record($_[0], $gone->{tid}, 'xmin', (records($_[0]))[0]{xmin});
	}, 'envelope');
case_found('a row that was written by itself, missing', 'single', sub {
		my @some = records($_[0]);
		remove_item($_[0], $some[150]{tid});
	}, 'missing');
case_found('a row that was written in turn, missing', 'turns_a', sub {
		my @some = records($_[0]);
		remove_item($_[0], $some[-1]{tid});
	}, 'missing');
case_found('a row that an update ended, shown as current', 'changed', sub {
		my ($ended) = grep { $_->{kind} == 1 && $_->{xmax} != 0 && $_->{root} ne tid_bytes($_->{tid}) } records($_[0]);
		set_record($_[0], $ended->{tid}, 'xmax', 0);
		set_record($_[0], $ended->{tid}, 'ctid', tid_bytes($ended->{tid}));
		set_record($_[0], $ended->{tid}, 'root', tid_bytes($ended->{tid}));
		set_infomask($_[0], $ended->{tid}, XMAX_INVALID, XMAX_COMMITTED);
	}, 'envelope');

# --- bytes that are put back between a trial and the reading that judges ---
for my $keys ('false', 'true')
{
	my $workers = $keys eq 'true' ? 1 : 0;
	my $late = $first[5500]{tid};
	flip_byte($file{bulk}, $late, 40);
	$node->start;
	my $from = -s $node->logfile;
	my ($out, $err) = ('', '');
	my $verify = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'),
		'-c', 'SET verity.verify_rate_limit = 1', '-c', 'SET log_min_messages = debug1',
		'-c', "SELECT severity, check_name FROM verity_verify('bulk', workers => $workers, with_keys => $keys) WHERE object = 'public.bulk'" ],
		'>', \$out, '2>', \$err);
	for (1 .. 500)
	{
		last if slurp_file($node->logfile, $from) =~ /verifying public\.bulk again/;
		select undef, undef, undef, 0.02;
	}
	flip_byte($file{bulk}, $late, 40);
	$verify->finish;
	is($out, "info|summary\n", "put back, keys $keys: there is nothing to find");
	my $what = $keys eq 'true' ? 'a record that does not open' : 'sealed bytes';
	like($err, qr/WARNING:  blocks \d+ to \d+ of public\.bulk read differently a moment ago\n.*had $what/, 'and a warning tells of it');
	like(slurp_file($node->logfile, $from), qr/WARNING:  blocks \d+ to \d+ of public\.bulk read differently/, "in the server's log too");
	$node->stop;
}

$node->start;
verify_is_clean($node, 'as it was');
$node->stop;
done_testing();
