# What the journal says after a crash at a chosen point: WAL is cut off behind a
# record, as if nothing later had reached the disk.  RULES C 19, C 20, C 24, C 26;
# D 27, D 28.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

use constant SEGMENT => 16 * 1024 * 1024;

# Pages must not run ahead of the WAL that is cut: nothing is written but by checkpoints.
my $node = verity_node('journal', streaming => 1,
	conf => "bgwriter_lru_maxpages = 0\nfull_page_writes = on\nwal_keep_size = 256MB\nlog_statement = none\n");
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };

$sql->(q(CREATE TABLE a (id int PRIMARY KEY) USING verity;
	CREATE TABLE many (id int, v text) PARTITION BY LIST (id);
	DO $$ BEGIN FOR i IN 1 .. 300 LOOP
		EXECUTE format('CREATE TABLE many_%s PARTITION OF many FOR VALUES IN (%s) USING verity', i, i);
	END LOOP; END $$));
$sql->('INSERT INTO a VALUES (1)');
$sql->("INSERT INTO many SELECT g, 'x' FROM generate_series(1, 300) g");

# --- an entry whose commit was lost is void, by the generation's word ---
checkpoint();
my $before = $sql->('SELECT verity_position()');
$sql->('INSERT INTO a VALUES (2)');
my $doubtful = $sql->('SELECT verity_position()');
cut_wal(qr/desc: COMMIT /, 1);
is($sql->("SELECT outcome FROM verity.journal WHERE position = $doubtful"), 'void',
	'an entry without its commit is void before anything is written');
is($sql->('SELECT count(*) FROM a'), 1, 'and its row is not there');
verify_is_clean($node, 'before the first write after the crash');
$sql->('INSERT INTO a VALUES (3)');
is($sql->("SELECT string_agg(kind || ' ' || outcome, ', ' ORDER BY position) FROM verity.journal WHERE position > $before"),
	'transaction void, generation final, void final, transaction committed',
	'a generation entry and a void entry follow');
like($sql->("SELECT summary FROM verity.journal WHERE position = $doubtful + 1"),
	qr/after recovery: good up to \d+, in doubt \d+-$doubtful, 1 void/, 'the generation entry says what was in doubt');
like($sql->("SELECT summary FROM verity.journal WHERE position = $doubtful + 2"), qr/^void: $doubtful$/,
	'the void entry names it');
is($sql->('SELECT count(*) FROM verity.journal_serials WHERE void'), 1, 'the serial map too');
verify_is_clean($node, 'after the void');

# --- a crash between generation and void entry: they are written again ---
checkpoint();
$sql->('INSERT INTO a VALUES (4)');
$doubtful = $sql->('SELECT verity_position()');
cut_wal(qr/desc: COMMIT /, 1);
$sql->('INSERT INTO a VALUES (5)');
cut_wal_after_generation($doubtful + 1);
$sql->('INSERT INTO a VALUES (6)');
is($sql->("SELECT string_agg(kind || ' ' || outcome, ', ' ORDER BY position) FROM verity.journal WHERE position >= $doubtful"),
	'transaction void, generation final, generation final, void final, transaction committed',
	'a void entry that was lost is written by the next generation');
verify_is_clean($node, 'after a crash between generation and void');

# --- an entry of several fragments that was cut in the middle ---
checkpoint();
$before = $sql->('SELECT verity_position()');
$sql->("INSERT INTO many SELECT g, 'y' FROM generate_series(1, 300) g");
cut_wal(qr/rmid: 158.*rel \S+ blk \d+/, 3, journal_only => 1);
is($sql->('SELECT verity_position()'), $before, 'half an entry is no entry');
verify_is_clean($node, 'before the half entry is cut off');
is($sql->("SELECT count(*) FROM verity.journal WHERE position > $before"), 0, 'nor is it shown');
$sql->("INSERT INTO many SELECT g, 'z' FROM generate_series(1, 300) g");
is($sql->("SELECT string_agg(kind || ' ' || coalesce(records::text, ''), ', ' ORDER BY position) FROM verity.journal WHERE position > $before"),
	'generation , transaction 300', 'the next writer goes on behind the last whole entry');
verify_is_clean($node, 'after the half entry');

# --- serials and idempotency ids stay unique through crashes ---
$sql->(q(BEGIN; SET LOCAL verity.idempotency_id = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'; INSERT INTO a VALUES (10); COMMIT));
$node->stop('immediate');
$node->start;
my ($rc, $out, $err) = $node->psql('postgres',
	q(BEGIN; SET LOCAL verity.idempotency_id = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'; INSERT INTO a VALUES (11); COMMIT));
like($err, qr/idempotency id "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" was already committed at position \d+/,
	'an idempotency id is known after a crash');
is($sql->(q(SELECT count(*) - count(DISTINCT serial) FROM verity.journal WHERE kind = 'transaction')), 0, 'no serial twice');
is($sql->(q(SELECT count(DISTINCT generation) > 4 FROM verity.journal)), 't', 'each life of the server has its generation');

# --- sessions that race for the same ids ---
my @racers;
for my $racer (1 .. 4)
{
	my $file = $node->basedir . "/race_$racer.sql";
	my @ids = sort { rand() <=> 0.5 } 1 .. 100;
	append_to_file($file, join '', map {
		sprintf "BEGIN; SET LOCAL verity.idempotency_id = '00000000-0000-0000-0000-%012d'; INSERT INTO a VALUES (%d); COMMIT;\n",
		  $_, 1000 * $racer + $_ } @ids);
	push @racers, IPC::Run::start([ 'psql', '-X', '-q', '-d', $node->connstr('postgres'), '-f', $file ],
		'>', '/dev/null', '2>', '/dev/null');
}
$_->finish for @racers;
is($sql->('SELECT count(*), count(DISTINCT id % 1000) FROM a WHERE id > 1000'), '100|100', 'each id was committed once');
verify_is_clean($node, 'after the race');

# --- a clone under the OID of a database that was dropped ---
$sql->('CREATE DATABASE one OID 70001');
$node->safe_psql('one', 'CREATE EXTENSION verity; CREATE TABLE x (a int) USING verity');
$node->safe_psql('one', 'INSERT INTO x VALUES (1)');
$sql->('CREATE DATABASE two TEMPLATE one');
$node->safe_psql('one', "INSERT INTO x VALUES ($_)") for 2, 3;
$sql->('DROP DATABASE one');
$sql->('CREATE DATABASE one OID 70001 TEMPLATE two');
$node->safe_psql('one', 'INSERT INTO x VALUES (4)');
is($node->safe_psql('one', "SELECT count(*) FROM verity.journal WHERE summary ~ 'after clone'"), 1,
	'a clone that took the OID of its origin begins a generation');
is($node->safe_psql('one', 'SELECT count(DISTINCT summary) FROM verity.journal WHERE kind = \'key\''), 2, 'and has its own key');
is(scalar(verify_findings($node, database => 'one')), 0, 'the clone verifies');
$sql->('DROP DATABASE one');
$sql->('DROP DATABASE two');

# --- CREATE EXTENSION that is rolled back leaves nothing behind ---
$sql->('CREATE DATABASE again');
$node->safe_psql('again', 'BEGIN; CREATE EXTENSION verity; CREATE TABLE x (a int) USING verity; INSERT INTO x VALUES (1); ROLLBACK;
	CREATE EXTENSION verity; CREATE TABLE x (a int) USING verity; INSERT INTO x VALUES (2)');
is($node->safe_psql('again', q(SELECT min(position), count(*) FILTER (WHERE kind = 'genesis') FROM verity.journal)), '1|1',
	'a second CREATE EXTENSION begins a journal of its own');
is(scalar(verify_findings($node, database => 'again')), 0, 'which verifies');

# --- more databases than there are slots for; one that is dropped gives its slot back ---
$node->append_conf('postgresql.conf', 'verity.max_databases = 2');
$node->restart;
$sql->('INSERT INTO a VALUES (15)');
$node->safe_psql('again', 'INSERT INTO x VALUES (3)');
$sql->('CREATE DATABASE third');
($rc, $out, $err) = $node->psql('third', 'CREATE EXTENSION verity');
like($err, qr/ERROR:  more than 2 databases have a journal.*HINT:  Raise verity.max_databases and restart the server/s,
	'a third journal is refused where two have slots');
$sql->('DROP DATABASE again');
is(($node->psql('third', 'CREATE EXTENSION verity'))[0], 0, 'until one of the two is dropped');
$sql->('DROP DATABASE third');

# --- a standby reads pages, and its promotion is a generation ---
my $standby = verity_standby($node, 'journal_standby');
$sql->('INSERT INTO a VALUES (20)');
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', 'SELECT outcome FROM verity.journal ORDER BY position DESC LIMIT 1'), 'committed',
	'the last entry is decided on the standby, though no later one says so');
is($standby->safe_psql('postgres', 'SELECT verity_position()'), $sql->('SELECT verity_position()'), 'the same position');
$standby->promote;
$standby->safe_psql('postgres', 'INSERT INTO a VALUES (21)');
like($standby->safe_psql('postgres', q(SELECT summary FROM verity.journal WHERE kind = 'generation' ORDER BY position DESC LIMIT 1)),
	qr/after recovery/, 'the promoted standby begins a generation');
verify_is_clean($standby, 'after promotion');
$standby->stop;
$node->stop;
done_testing();

# A checkpoint, and a copy of the keystore as it is then.
sub checkpoint
{
	$sql->('CHECKPOINT');
	system_or_bail('rm', '-rf', $node->basedir . '/keystore.before');
	system_or_bail('cp', '-a', $node->basedir . '/keystore', $node->basedir . '/keystore.before');
	return;
}

# Records of WAL since the last checkpoint began: [position, line].
sub wal_records
{
	my ($segment) = $sql->('SELECT pg_walfile_name(redo_lsn) FROM pg_control_checkpoint()');
	my $dir = $node->data_dir . '/pg_wal';
	$node->stop('immediate');
	my ($out, $err) = run_command([ 'pg_waldump', '-p', $dir, $segment ]);
	return map { /lsn: ([0-9A-F]+)\/([0-9A-F]+)/ ? [ (hex($1) << 32) + hex($2), $_ ] : () } split /\n/, $out;
}

# Zero WAL from a byte on to the end of its segment, and start the server.  The
# keystore is put back too: its mark is only set for WAL that was flushed.
sub zero_from
{
	my ($lsn) = @_;
	my $name = sprintf '%08X%08X%08X', 1, $lsn >> 32, ($lsn & 0xFFFFFFFF) / SEGMENT;
	my $offset = $lsn % SEGMENT;
	write_bytes($node->data_dir . "/pg_wal/$name", $offset, "\0" x (SEGMENT - $offset));
	system_or_bail('rm', '-rf', $node->basedir . '/keystore');
	system_or_bail('cp', '-a', $node->basedir . '/keystore.before', $node->basedir . '/keystore');
	$node->start;
	return;
}

# Crash, and lose WAL from the n-th last matching record on.
sub cut_wal
{
	my ($pattern, $n, %opt) = @_;
	my $journal = $opt{journal_only} ? $sql->(q(SELECT '/' || pg_relation_filenode('verity.journal') || ' blk')) : '';
	my @found = grep { $_->[1] =~ $pattern && index($_->[1], $journal) >= 0 } wal_records();
	return zero_from($found[-$n][0]);
}

# Crash, and lose WAL from behind the record that appended a generation entry on.
sub cut_wal_after_generation
{
	my ($position) = @_;
	my $journal = $sql->(q(SELECT '/' || pg_relation_filenode('verity.journal') || ' blk'));
	my @records = wal_records();
	# the one that also writes the journal's meta page, its block 0
	my ($i) = grep { $records[$_][1] =~ /rmid: 158/ && $records[$_][1] =~ m{\Q$journal\E 0\b} } reverse 0 .. $#records;
	return zero_from($records[ $i + 1 ][0]);
}
