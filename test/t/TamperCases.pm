# TamperCases.pm
#	  The template database of the tamper matrix, and its cases.
#
# A case has a name and
#	before   function(run_sql, facts): work on the running server first
#	stop     how it is stopped then
#	files    function(node, files, facts): what is done to the stopped server
#	sql      what a superuser does to the running server
#	finds    what verify names, "object: check_name"
#	keyless  the same without any key, where it differs
package TamperCases;

use strict;
use warnings;

use Exporter 'import';
use File::Copy qw(copy);
use Tamper;
use VerityTest;

our @EXPORT = qw(tamper_template tamper_cases);

my $patients = 'public.patients';

# Fill the template; returns what the cases need to know of it.
sub tamper_template
{
	my ($node) = @_;
	my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
	$sql->(q(
		CREATE TYPE result AS ENUM ('negative', 'positive');
		CREATE TABLE patients (id int PRIMARY KEY, name text NOT NULL, test result, note text,
			CHECK (id > 0)) USING verity;
		CREATE INDEX patients_name ON patients (name);
		CREATE TABLE visits (id int PRIMARY KEY, clinic text, ward text) USING verity;
		CREATE TABLE north (id int PRIMARY KEY, v text) USING verity;
		CREATE TABLE south (id int PRIMARY KEY, v text) USING verity;
		CREATE TABLE doomed (id int PRIMARY KEY, v text) USING verity;
		CREATE TABLE scans (id int PRIMARY KEY, image text) USING verity;
		ALTER TABLE scans ALTER image SET STORAGE EXTERNAL;
	));
	$sql->(q(INSERT INTO patients SELECT g, 'name ' || to_char(g, 'FM000'), 'negative', repeat('x', 60) FROM generate_series(1, 300) g));
	$sql->(q(INSERT INTO visits SELECT g, 'clinic', 'ward' FROM generate_series(1, 30) g));
	$sql->(q(INSERT INTO north SELECT g, 'v' || to_char(g, 'FM000') FROM generate_series(1, 20) g));
	$sql->(q(INSERT INTO south SELECT g, 'w' || to_char(g, 'FM000') FROM generate_series(1, 20) g));
	$sql->(q(INSERT INTO doomed VALUES (1, 'one')));
	$sql->(q(INSERT INTO scans SELECT 1, string_agg(md5(g::text), '') FROM generate_series(1, 400) g));
	$sql->(q(CREATE TABLE heap_rows (id int); INSERT INTO heap_rows VALUES (1)));

	my %facts;
	for my $relation (
		qw(patients patients_pkey visits north south doomed scans),
		qw(verity.journal verity.journal_serials verity.journal_heads))
	{
		$facts{file}{$relation} = $sql->("SELECT pg_relation_filepath('$relation')");
	}
	$facts{file}{toast} =
	  $sql->(q(SELECT pg_relation_filepath(reltoastrelid) FROM pg_class WHERE relname = 'scans'));

	# an older state of some files, to put back
	$sql->('CHECKPOINT');
	for my $relation (qw(patients visits))
	{
		copy($node->data_dir . "/$facts{file}{$relation}", $node->basedir . "/old_$relation") or die $!;
		$facts{old}{$relation} = $node->basedir . "/old_$relation";
	}

	# row 10: three updates; row 11: one; row 20: deleted; row 1000: aborted
	$sql->(q(UPDATE patients SET note = repeat('y', 60) WHERE id = 10));
	$sql->(q(UPDATE patients SET note = repeat('z', 60) WHERE id = 10));
	$sql->(q(UPDATE patients SET test = 'positive' WHERE id = 10));
	$sql->(q(UPDATE patients SET test = 'positive' WHERE id = 11));
	$sql->(q(DELETE FROM patients WHERE id = 20));
	$sql->(q(BEGIN; INSERT INTO patients VALUES (1000, 'nobody', 'positive', repeat('x', 60)); ROLLBACK));
	$sql->(q(INSERT INTO visits VALUES (31, 'clinic', 'ward')));
	$sql->(q(UPDATE visits SET ward = 'yard' WHERE id = 1));
	$sql->(q(INSERT INTO visits VALUES (32, 'clinic', 'ward')));

	# TIDs and transactions, read from the file
	$sql->('CHECKPOINT');
	for my $row ([ 'patients', 1 ], [ 'patients', 2 ], [ 'patients', 3 ], [ 'patients', 10 ],
		[ 'patients', 11 ], [ 'visits', 1 ], [ 'visits', 2 ], [ 'visits', 31 ], [ 'visits', 32 ],
		[ 'north', 1 ], [ 'north', 2 ], [ 'south', 1 ], [ 'scans', 1 ])
	{
		my ($table, $id) = @$row;
		@{ $facts{tid}{"$table/$id"} }{qw(tid xmin)} =
		  split / /, $sql->("SELECT ctid || ' ' || xmin FROM $table WHERE id = $id");
	}
	my @all = records($node->data_dir . "/$facts{file}{patients}");
	$facts{deleted} = (grep { $_->{xmax} != 0 && $_->{kind} != 3 && $_->{ctid} eq tid_bytes($_->{tid}) } @all)[0];
	$facts{tombstone} = (grep { $_->{kind} == 3 } @all)[0];
	$facts{row10} = [ sort { $a->{serial} <=> $b->{serial} }
		  grep { $_->{tid} eq $facts{tid}{'patients/10'}{tid} || $_->{root} eq tid_bytes('(0,10)') || $_->{tid} eq '(0,10)' } @all ];
	$facts{aborted} = $all[-1];
	$facts{reason} = $sql->(q(BEGIN; SET LOCAL verity.reason = 'audited'; INSERT INTO visits VALUES (33, 'clinic', 'ward');
		COMMIT; SELECT verity_position()));
	$sql->(q(INSERT INTO visits VALUES (34, 'clinic', 'ward')));
	$sql->(q(INSERT INTO north VALUES (21, 'v021')));
	$facts{last} = $sql->('SELECT verity_position()');
	return %facts;
}

# The TID of the current version of a row.
sub tid { my ($facts, $row) = @_; return $facts->{tid}{$row}{tid}; }

sub record_cases
{
	return (
		{
			name => 'a byte of ciphertext',
			files => sub { flip_byte($_[1]{patients}, tid($_[2], 'patients/1'), 40) },
			finds => ["$patients: record"],
		},
		{
			name => 'a byte of a tag',
			files => sub { flip_byte($_[1]{patients}, tid($_[2], 'patients/1'), -1) },
			finds => ["$patients: record"],
		},
		{
			name => 'a byte of a sealed header: the key id',
			files => sub { flip_byte($_[1]{patients}, tid($_[2], 'patients/1'), 24) },
			finds => ["$patients: record"],
		},
		{
			name => 'a byte of a sealed header: the generation',
			files => sub { set_record($_[1]{patients}, tid($_[2], 'patients/1'), 'generation', 77) },
			finds => ["$patients: record"],
		},
		{
			name => 'a byte of a sealed header: what it supersedes',
			files => sub { flip_byte($_[1]{patients}, tid($_[2], 'patients/11'), 40) },
			finds => ["$patients: record"],
		},
		{
			name => 'a record removed',
			files => sub { remove_item($_[1]{patients}, tid($_[2], 'patients/1')) },
			finds => ["$patients: missing"],
		},
		{
			name => 'a tombstone removed and its row revived',
			files => sub {
				my ($node, $file, $facts) = @_;
				remove_item($file->{patients}, $facts->{tombstone}{tid});
				set_infomask($file->{patients}, $facts->{deleted}{tid}, XMAX_INVALID, XMAX_COMMITTED);
				set_record($file->{patients}, $facts->{deleted}{tid}, 'xmax', 0);
			},
			finds => ["$patients: missing"],
		},
		{
			name => 'a record copied over another',
			files => sub {
				copy_record($_[1]{patients}, tid($_[2], 'patients/1'), $_[1]{patients}, tid($_[2], 'patients/2'));
			},
			finds => [ "$patients: duplicate", "$patients: missing" ],
		},
		{
			name => 'a record copied over one of another table',
			files => sub {
				copy_record($_[1]{south}, tid($_[2], 'south/1'), $_[1]{north}, tid($_[2], 'north/1'));
			},
			finds => ['public.north: record'],
		},
		{
			name => 'a made-up record with a plausible header',
			files => sub {
				my ($node, $file, $facts) = @_;
				my $like = find_record($file->{visits}, tid($facts, 'visits/32'));
				my $bytes = $like->{bytes};
				substr($bytes, sealed_offset($like->{flags}) + 4, 4) = pack 'L>', $like->{sequence} + 1;
				add_item($file->{visits}, $like->{block}, $bytes);
			},
			finds => ['public.visits: record'],
		},
	);
}

sub envelope_cases
{
	return (
		{
			name => 'xmin forged',
			files => sub {
				set_record($_[1]{patients}, tid($_[2], 'patients/1'), 'xmin', $_[2]{tid}{'visits/32'}{xmin});
			},
			finds => ["$patients: envelope"],
		},
		{
			name => 'a row hidden: xmax forged',
			files => sub {
				my ($node, $file, $facts) = @_;
				my $tid = tid($facts, 'patients/1');
				set_record($file->{patients}, $tid, 'xmax', $facts->{tid}{'patients/1'}{xmin});
				set_infomask($file->{patients}, $tid, XMAX_COMMITTED, XMAX_INVALID);
			},
			finds => ["$patients: envelope"],
		},
		{
			name => 'a deleted row revived: xmax cleared',
			files => sub {
				my ($node, $file, $facts) = @_;
				set_record($file->{patients}, $facts->{deleted}{tid}, 'xmax', 0);
				set_infomask($file->{patients}, $facts->{deleted}{tid}, XMAX_INVALID, XMAX_COMMITTED);
			},
			finds => ["$patients: envelope"],
		},
		{
			name => 'a frozen flag on an aborted record',
			files => sub {
				set_infomask($_[1]{patients}, $_[2]{aborted}{tid}, XMIN_COMMITTED | XMIN_INVALID, 0);
			},
			finds => ["$patients: envelope"],
		},
		{
			name => 'xmax in the future',
			files => sub {
				set_record($_[1]{patients}, tid($_[2], 'patients/1'), 'xmax', 1_000_000);
				set_infomask($_[1]{patients}, tid($_[2], 'patients/1'), 0, XMAX_INVALID | XMAX_COMMITTED);
			},
			finds => ["$patients: envelope"],
		},
		{
			name => 'the serial of who ended a version forged',
			files => sub {
				set_record($_[1]{patients}, $_[2]{row10}[0]{tid}, 'ender', $_[2]{row10}[-1]{serial});
			},
			finds => ["$patients: envelope"],
		},
		{
			name => 'a link to the next version redirected',
			files => sub {
				set_record($_[1]{patients}, $_[2]{row10}[0]{tid}, 'ctid', tid_bytes(tid($_[2], 'patients/11')));
			},
			finds => ["$patients: link"],
		},
		{
			name => 'a link to the version before redirected',
			files => sub {
				set_record($_[1]{patients}, tid($_[2], 'patients/10'), 'prev', tid_bytes(tid($_[2], 'patients/1')));
			},
			finds => ["$patients: link"],
		},
		{
			name => 'links of a version zeroed',
			files => sub {
				set_record($_[1]{patients}, tid($_[2], 'patients/10'), $_, "\0" x 6) for qw(prev root);
			},
			finds => ["$patients: link"],
		},
		{
			name => 'a skip pointer redirected',
			files => sub {
				set_record($_[1]{patients}, tid($_[2], 'patients/10'), 'skip', tid_bytes(tid($_[2], 'patients/1')));
			},
			finds => ["$patients: link"],
		},
		{
			name => 'a version moved under another root',
			files => sub {
				set_record($_[1]{patients}, tid($_[2], 'patients/10'), 'root', tid_bytes('(0,1)'));
			},
			finds => ["$patients: link"],
		},
		{
			name => 'a hint redirected to an older version whose xmax was cleared',
			files => sub {
				my ($node, $file, $facts) = @_;
				my ($root, $older) = @{ $facts->{row10} };
				set_record($file->{patients}, $root->{tid}, 'root', tid_bytes($older->{tid}));
				set_record($file->{patients}, $older->{tid}, 'xmax', 0);
				set_record($file->{patients}, $older->{tid}, 'ctid', tid_bytes($older->{tid}));
				set_infomask($file->{patients}, $older->{tid}, XMAX_INVALID, XMAX_COMMITTED);
			},
			finds => [ "$patients: envelope", "$patients: link" ],
		},
		{
			name => 'a version flagged as a root with the same key, which as-of would go on from',
			files => sub {
				set_record($_[1]{patients}, tid($_[2], 'patients/1'), 'flags',
					0x08 | record_field($_[1]{patients}, tid($_[2], 'patients/1'), 'flags'));
			},
			finds => ["$patients: envelope"],
		},
		{
			name => 'a first version flagged as a later one, whose sealed part stands elsewhere',
			files => sub {
				set_record($_[1]{patients}, tid($_[2], 'patients/1'), 'flags',
					0x20 ^ record_field($_[1]{patients}, tid($_[2], 'patients/1'), 'flags'));
			},
			finds => ["$patients: record"],
		},
		{
			name => 'a first version rewritten with room for links back',
			files => sub {
				my $path = $_[1]{visits};
				my $tid = tid($_[2], 'visits/32');
				my $bytes = find_record($path, $tid)->{bytes};
				substr($bytes, 23, 1) ^= "\x20";
				substr($bytes, 38, 0) = "\0" x 14;
				replace_record($path, $tid, $bytes);
			},
			finds => ['public.visits: envelope'],
		},
		{
			name => 'a record flagged as tombstone, which no scan sees',
			files => sub {
				set_record($_[1]{patients}, tid($_[2], 'patients/1'), 'flags',
					0x02 | record_field($_[1]{patients}, tid($_[2], 'patients/1'), 'flags'));
			},
			finds => ["$patients: envelope"],
		},
	);
}

sub page_cases
{
	return (
		{
			name => 'a page put back to an older image',
			files => sub { write_page($_[1]{patients}, 0, read_page($_[2]{old}{patients}, 0)) },
			finds => [ "$patients: envelope", "$patients: missing" ],
		},
		{
			name => 'the first page zeroed',
			files => sub { write_page($_[1]{patients}, 0, "\0" x BLCKSZ) },
			finds => ["$patients: meta"],
		},
		{
			name => 'the first page without its meta data',
			files => sub { patch_file($_[1]{patients}, 16, 2, sub { pack 'S<', BLCKSZ }) },
			finds => ["$patients: meta"],
		},
		{
			name => 'a page zeroed',
			files => sub { write_page($_[1]{patients}, 2, "\0" x BLCKSZ) },
			finds => ["$patients: missing"],
		},
		{
			name => 'two pages swapped',
			files => sub { swap_pages($_[1]{patients}, 2, 3) },
			finds => ["$patients: link"],
		},
		{
			name => 'the table cut short',
			files => sub { truncate_file($_[1]{patients}, 3 * BLCKSZ) },
			finds => ["$patients: missing"],
		},
		{
			name => 'the table put back to an older copy',
			files => sub { copy($_[2]{old}{visits}, $_[1]{visits}) or die $! },
			finds => ['public.visits: missing'],
		},
		{
			name => 'a map bit set over current records',
			before => sub { $_[0]->(q(INSERT INTO patients SELECT g, 'longer', 'negative', repeat('x', 60) FROM generate_series(2000, 4000) g)) },
			files => sub { patch_file($_[1]{patients}, map_offset(1), 1, sub { $_[0] | "\x04" }) },
			finds => ["$patients: map"],
		},
		{
			name => 'the ledger id in the meta data changed',
			files => sub { patch_file($_[1]{visits}, BLCKSZ - META_SIZE + 8, 1, sub { $_[0] ^ "\x01" }) },
			finds => ['public.visits: meta'],
		},
		{
			name => 'the data key in the meta data replaced by another table\'s',
			files => sub {
				my $key = read_bytes($_[1]{patients}, BLCKSZ - META_SIZE + 32, 8);
				patch_file($_[1]{visits}, BLCKSZ - META_SIZE + 32, 8, sub { $key });
			},
			sql => q(DO $$ BEGIN
				INSERT INTO visits SELECT * FROM visits LIMIT 1;
				RAISE 'the table was written';
			EXCEPTION WHEN data_corrupted THEN NULL;
			END $$),
			finds => ['public.visits: meta'],
		},
		{
			name => 'the digest of a row schema in the meta data changed',
			files => sub { patch_file($_[1]{visits}, BLCKSZ - META_SIZE + 72 + 4, 1, sub { $_[0] ^ "\x01" }) },
			finds => [ 'public.visits: meta', 'public.visits_pkey: index' ],
			keyless => ['public.visits: meta'],
		},
		{
			name => 'no row schema left in the meta data',
			files => sub { patch_file($_[1]{visits}, BLCKSZ - META_SIZE + 68, 2, sub { "\0\0" }) },
			finds => [ 'public.visits: meta', 'public.visits_pkey: index' ],
			keyless => ['public.visits: meta'],
		},
		{
			name => 'an index made after a row was deleted passed off as older',
			before => sub {
				my ($sql, $facts) = @_;
				$sql->('REINDEX INDEX patients_pkey');
				$facts->{filenode} = $sql->(q(SELECT pg_relation_filenode('patients_pkey')));
			},
			files => sub {
				my $page = read_page($_[1]{patients}, 0);
				my $at = index($page, pack('V', $_[2]{filenode}), BLCKSZ - META_SIZE);
				die 'no note of the index' if $at < 0;
				substr($page, $at + 4, 12) = pack('V Q<', 1, 1);
				write_page($_[1]{patients}, 0, $page);
			},
			finds => ['public.patients_pkey: index'],
		},
		{
			name => 'a byte of a TOAST chunk',
			files => sub {
				my $item = record_at($_[1]{toast}, '(0,1)');
				patch_file($_[1]{toast}, $item->{offset} + 100, 1, sub { $_[0] ^ "\x01" });
			},
			finds => ['public.scans: record'],
		},
		{
			name => 'a TOAST chunk removed',
			files => sub { remove_item($_[1]{toast}, '(0,2)') },
			finds => ['public.scans: record'],
		},
		{
			name => 'the files of two tables of one shape swapped',
			files => sub {
				my ($node, $file) = @_;
				rename $file->{north}, "$file->{north}.x" or die $!;
				rename $file->{south}, $file->{north} or die $!;
				rename "$file->{north}.x", $file->{south} or die $!;
			},
			finds => [ 'public.north: meta', 'public.south: meta' ],
		},
		{
			name => 'an index entry removed',
			files => sub {
				my $item = (page_items($_[1]{patients_pkey}, 1))[0];
				patch_file($_[1]{patients_pkey}, $item->{pointer}, 4,
					sub { pack 'L<', unpack('L<', $_[0]) | (3 << 15) });
			},
			finds => ['public.patients_pkey: index'],
		},
		{
			name => 'an index entry redirected',
			files => sub {
				my @items = page_items($_[1]{patients_pkey}, 1);
				my $other = read_bytes($_[1]{patients_pkey}, $items[4]{offset}, 6);
				patch_file($_[1]{patients_pkey}, $items[3]{offset}, 6, sub { $other });
			},
			finds => ['public.patients_pkey: index'],
		},
		{
			name => 'two items of an index leaf in each other\'s place',
			files => sub { exchange_pointers($_[1]{patients_pkey}, 60, 70) },
			finds => ['public.patients_pkey: index'],
		},
		{
			name => 'two index entries exchanged, and the index called young',
			sql => q(UPDATE pg_index SET indcheckxmin = true WHERE indexrelid = 'patients_pkey'::regclass),
			files => sub {
				my @items = page_items($_[1]{patients_pkey}, 1);
				my ($one, $other) = map { read_bytes($_[1]{patients_pkey}, $items[$_]{offset}, 6) } 60, 70;
				write_bytes($_[1]{patients_pkey}, $items[60]{offset}, $other);
				write_bytes($_[1]{patients_pkey}, $items[70]{offset}, $one);
			},
			finds => ['public.patients_pkey: index'],
			keyless => [],
		},
		{
			name => 'an idempotency id taken out of its index',
			before => sub {
				my ($sql, $facts) = @_;
				$sql->(q(BEGIN; SET LOCAL verity.idempotency_id = '11111111-1111-1111-1111-111111111111';
					INSERT INTO visits VALUES (50, 'c', 'w'); COMMIT));
				$facts->{ids} = $sql->(q(SELECT pg_relation_filepath('verity.idempotency_pkey')));
			},
			files => sub {
				my ($node, $file, $facts) = @_;
				my $path = $node->data_dir . "/$facts->{ids}";
				patch_file($path, (page_items($path, 1))[0]{pointer}, 4,
					sub { pack 'L<', unpack('L<', $_[0]) | (3 << 15) });
			},
			finds => ['verity.idempotency: idempotency'],
		},
	);
}

# Let two line pointers of block 1 lead to each other's item.
sub exchange_pointers
{
	my ($path, $one, $other) = @_;
	my @items = page_items($path, 1);
	my ($a, $b) = map { read_bytes($path, $items[$_]{pointer}, 4) } $one, $other;
	write_bytes($path, $items[$one]{pointer}, $b);
	write_bytes($path, $items[$other]{pointer}, $a);
	return;
}

# Where the first map page has a block's bits.
sub map_offset
{
	my ($block) = @_;
	return FIRST_MAP_BLOCK * BLCKSZ + 24 + 8 + int($block / 4);
}

sub xact_cases
{
	return (
		{
			name => 'a bit of pg_xact flipped',
			files => sub { set_xact_status($_[0], $_[2]{tid}{'visits/31'}{xmin}, 2) },
			finds => ['public.visits: envelope'],
		},
		{
			name => 'hint bits turned to "aborted", and then VACUUM',
			files => sub {
				set_infomask($_[1]{visits}, tid($_[2], 'visits/31'), XMIN_INVALID, XMIN_COMMITTED);
			},
			sql => 'VACUUM visits',
			finds => ['public.visits: envelope'],
		},
		{
			name => 'a recent bit of pg_xact flipped, and then crash recovery',
			before => sub {
				my ($sql, $facts) = @_;
				$facts->{recent} = $sql->(q(INSERT INTO visits VALUES (40, 'c', 'w') RETURNING pg_current_xact_id()));
				$sql->('CHECKPOINT');
			},
			stop => 'immediate',
			files => sub { set_xact_status($_[0], $_[2]{recent}, 2) },
			sql => q(INSERT INTO visits VALUES (41, 'c', 'w')),
			finds => [],
			info => ['verity.journal: void'],
		},
	);
}

sub catalog_cases
{
	return (
		{
			name => q(two columns' names swapped),
			sql => q(
				UPDATE pg_attribute SET attname = 'x' WHERE attrelid = 'visits'::regclass AND attname = 'clinic';
				UPDATE pg_attribute SET attname = 'clinic' WHERE attrelid = 'visits'::regclass AND attname = 'ward';
				UPDATE pg_attribute SET attname = 'ward' WHERE attrelid = 'visits'::regclass AND attname = 'x'),
			finds => ['public.visits: schema'],
		},
		{
			name => 'an enum label renamed',
			sql => q(UPDATE pg_enum SET enumlabel = 'clear' WHERE enumlabel = 'positive'),
			finds => ["$patients: schema"],
		},
		{
			name => 'the length of an enum changed in the catalogs, its column\'s too',
			sql => q(UPDATE pg_type SET typlen = 2, typalign = 's' WHERE typname = 'result';
				UPDATE pg_attribute SET attlen = 2, attalign = 's' WHERE atttypid = 'result'::regtype AND attrelid = 'patients'::regclass),
			finds => ["$patients: schema"],
		},
		{
			name => 'a constraint dropped in the catalog',
			sql => q(DELETE FROM pg_constraint WHERE conname = 'patients_id_check'),
			finds => ["$patients: schema"],
		},
		{
			name => 'the pg_class row of a table deleted',
			sql => q(DELETE FROM pg_class WHERE relname = 'doomed'),
			finds => ['public.doomed: table'],
		},
		{
			name => 'a heap twin in place of a renamed table',
			sql => q(UPDATE pg_class SET relname = 'north_old' WHERE relname = 'north';
				UPDATE pg_type SET typname = 'north_old' WHERE typname = 'north';
				CREATE TABLE north (id int, v text) USING heap;
				INSERT INTO north SELECT id, v FROM north_old),
			finds => ['public.north: schema'],
		},
		{
			name => 'the length of a column changed in the catalog',
			sql => q(UPDATE pg_attribute SET attlen = 2, attalign = 's' WHERE attrelid = 'visits'::regclass AND attname = 'id'),
			finds => ['public.visits: schema'],
		},
		{
			name => 'a heap table whose rows are read with the table\'s',
			sql => q(CREATE TABLE more () INHERITS (patients) USING heap;
				INSERT INTO more VALUES (7, 'nobody', 'positive', '')),
			finds => ["$patients: child"],
		},
		{
			name => 'the access method changed in the catalog',
			sql => q(UPDATE pg_class SET relam = (SELECT oid FROM pg_am WHERE amname = 'heap') WHERE relname = 'doomed'),
			finds => ['public.doomed: table'],
		},
	);
}

sub journal_cases
{
	my $journal = 'verity.journal';
	return (
		{
			name => 'a journal entry changed: its reason',
			files => sub {
				my $item = journal_item($_[1]{$journal}, $_[2]{reason});
				my $at = index $item->{bytes}, 'audited';
				patch_file($_[1]{$journal}, $item->{offset} + $at, 7, sub { 'ordered' });
			},
			finds => ['verity.journal: entry'],
		},
		{
			name => 'a journal entry changed: its time',
			files => sub {
				my $item = journal_item($_[1]{$journal}, $_[2]{reason});
				patch_file($_[1]{$journal}, $item->{core} + 27, 1, sub { $_[0] ^ "\x01" });
			},
			finds => ['verity.journal: entry'],
		},
		{
			name => 'a journal entry dropped',
			files => sub {
				patch_file($_[1]{$journal}, journal_item($_[1]{$journal}, $_[2]{reason})->{pointer}, 4, sub { "\0\0\0\0" });
			},
			finds => ['verity.journal: gap'],
		},
		{
			name => 'a journal entry dropped, and the page made whole again',
			files => sub {
				my ($node, $file, $facts) = @_;
				my $item = journal_item($file->{$journal}, $facts->{reason});
				my $page = read_page($file->{$journal}, $item->{block});
				my $lower = unpack 'S<', substr $page, 12, 2;
				my $at = 24 + 4 * ($item->{offnum} - 1);
				substr($page, $at, $lower - $at) = substr($page, $at + 4, $lower - $at - 4) . "\0\0\0\0";
				substr($page, 12, 2) = pack 'S<', $lower - 4;
				write_page($file->{$journal}, $item->{block}, $page);
			},
			finds => ['verity.journal: gap'],
		},
		{
			name => 'two journal entries in each other\'s place',
			files => sub {
				my ($one, $other) = map { journal_item($_[1]{$journal}, $_[2]{reason} + $_) } 0, 1;
				my ($a, $b) = map { read_bytes($_[1]{$journal}, $_->{pointer}, 4) } $one, $other;
				write_bytes($_[1]{$journal}, $one->{pointer}, $b);
				write_bytes($_[1]{$journal}, $other->{pointer}, $a);
			},
			finds => ['verity.journal: gap'],
		},
		{
			name => 'the journal\'s end cut off',
			files => sub {
				my $item = journal_item($_[1]{$journal}, $_[2]{last});
				patch_file($_[1]{$journal}, $item->{block} * BLCKSZ + 12, 2,
					sub { pack 'S<', 24 + 4 * ($item->{offnum} - 1) });
			},
			finds => ['verity.journal: end'],
		},
		{
			name => 'the journal\'s tail rewritten consistently',
			files => sub { rewrite_tail($_[1]{$journal}, $_[2]{last} - 1) },
			finds => ['verity.journal: hmac'],
			keyless => [],
		},
		{
			name => 'the journal rewritten consistently, under an id that the keystore does not know',
			files => sub { rename_journal($_[1]{$journal}) },
			finds => ['verity.journal: hmac'],
			keyless => [],
		},
		{
			name => 'a transaction that does not exist beside the last entry, and its record removed',
			files => sub {
				my ($node, $file, $facts) = @_;
				my $item = journal_item($file->{$journal}, $facts->{last});
				patch_file($file->{$journal}, $item->{offset} + 8, 4, sub { pack 'L<', $item->{xid} + 900_000_000 });
				remove_item($file->{north}, (records($file->{north}))[-1]{tid});
			},
			finds => [ 'public.north: missing', 'verity.journal: entry' ],
		},
		{
			name => 'serials given back on the meta page of the journal',
			files => sub { patch_file($_[1]{$journal}, 24 + 24, 8, sub { pack 'Q<', 1 }) },
			finds => ['verity.journal: meta'],
		},
		{
			name => 'the HMAC of an entry changed',
			files => sub {
				my $item = journal_item($_[1]{$journal}, $_[2]{reason});
				patch_file($_[1]{$journal}, $item->{offset} + $item->{len} - 1, 1, sub { $_[0] ^ "\x01" });
			},
			finds => ['verity.journal: hmac'],
			keyless => [],
		},
		{
			name => 'a serial pointed at another position',
			files => sub {
				my $record = find_record($_[1]{visits}, tid($_[2], 'visits/31'));
				patch_file($_[1]{'verity.journal_serials'}, 24 + 8 + 8 * ($record->{serial} - 1), 8,
					sub { pack 'Q<', unpack('Q<', $_[0]) - 1 });
			},
			finds => ['verity.journal_serials: serial'],
		},
		{
			name => 'a committed serial marked void',
			files => sub {
				my $record = find_record($_[1]{visits}, tid($_[2], 'visits/31'));
				patch_file($_[1]{'verity.journal_serials'}, 24 + 8 + 8 * ($record->{serial} - 1) + 7, 1,
					sub { $_[0] | "\x80" });
			},
			finds => ['verity.journal_serials: serial'],
		},
		{
			name => 'the hash of a table\'s last item changed',
			files => sub {
				patch_file($_[1]{'verity.journal_heads'}, 24 + 8 + 24, 1, sub { $_[0] ^ "\x01" });
			},
			finds => ['verity.journal_heads: heads'],
		},
	);
}

sub tamper_cases
{
	return (record_cases(), envelope_cases(), page_cases(), xact_cases(), journal_cases(), catalog_cases());
}

1;
