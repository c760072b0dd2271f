# pg_basebackup with pg_verifybackup, and recovery to a time, a WAL location and a restore point: the rows, the journal's
# positions and verify are those of that moment.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $sum = q(SELECT count(*), sum(n) FROM t);
my $last_transaction = q(SELECT max(position) FROM verity.journal WHERE kind = 'transaction' AND outcome = 'committed');

my $node = verity_node('main', protect => 1, conf => <<"END");
wal_level = replica
max_wal_senders = 4
archive_mode = on
max_connections = 20
END
my $archive = $node->basedir . '/archive';
mkdir $archive or die "mkdir: $!";
$node->append_conf('postgresql.conf', "archive_command = 'cp \"%p\" \"$archive/%f\"'\n");
$node->append_conf('pg_hba.conf', "local replication all trust\n");
$node->restart;
$node->safe_psql('postgres', q(
	CREATE TABLE t (id int PRIMARY KEY, n int) USING verity;
	INSERT INTO t SELECT g, 0 FROM generate_series(1, 100) g;
));

# --- pg_basebackup ---

my $base = $node->backup_dir . '/base';
mkdir $node->backup_dir;
$node->command_ok([ 'pg_basebackup', '-D', $base, '-c', 'fast', '-X', 'stream' ], 'pg_basebackup');
command_ok([ 'pg_verifybackup', $base ], 'pg_verifybackup finds each file as it was sent');
my $keystore_bytes = slurp_file($node->basedir . '/keystore/keystore');
my $master_key = slurp_file($node->basedir . '/master.key') =~ s/\s+//gr;
is(length $master_key, 64, 'the master key is known');
is(join(' ', files_containing($base, $master_key), grep { -f && slurp_file($_) eq $keystore_bytes } glob "$base/* $base/*/*"),
	'', 'neither the master key nor the keystore is in the backup');
my $tar = $node->backup_dir . '/tar';
$node->command_ok([ 'pg_basebackup', '-D', $tar, '-c', 'fast', '-Ft', '-z', '-X', 'fetch' ], 'pg_basebackup, tar and gzip');

# a copy of the keystore from before these states: it has not seen what a restore to one of them lacks
system_or_bail('cp', '-a', $node->basedir . '/keystore', $node->basedir . '/keystore.copy');

# --- a row of states to come back to, with WAL of other work between them ---

my @states;
for my $step (1 .. 4)
{
	$node->safe_psql('postgres', "UPDATE t SET n = n + $step WHERE id <= 10 * $step");
	my %state = (
		sum => $node->safe_psql('postgres', $sum),
		position => $node->safe_psql('postgres', 'SELECT verity_position()'),
		lsn => $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()'));
	$node->safe_psql('postgres', "SELECT pg_create_restore_point('state $step')");
	$node->safe_psql('postgres', "BEGIN; INSERT INTO t VALUES (1000 + $step, 1); ROLLBACK; INSERT INTO t VALUES (2000 + $step, 1)");
	push @states, \%state;
}
# the time that recovery needs to stop behind a position is that of the next one: a commit is later than its entry
$states[2]{time} = $node->safe_psql('postgres', "SELECT time FROM verity.journal WHERE position = $states[2]{position} + 1");
$node->safe_psql('postgres', 'DELETE FROM t WHERE id <= 50');
my $end = $node->safe_psql('postgres', $sum);
my $end_position = $node->safe_psql('postgres', 'SELECT verity_position()');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
verify_is_clean($node, 'the server that is lost');
$node->stop;

# Recover the base backup, or the tar one, and promote.
sub recovered
{
	my ($name, $target, %opt) = @_;
	my $restored = PostgreSQL::Test::Cluster->new($name);
	if ($opt{tar})
	{
		mkdir $restored->data_dir or die "mkdir: $!";
		chmod 0700, $restored->data_dir;
		system_or_bail('tar', '-xzf', "$tar/base.tar.gz", '-C', $restored->data_dir);
	}
	else
	{
		system_or_bail('cp', '-a', $base, $restored->data_dir);
	}
	$restored->append_conf('postgresql.conf', 'port = ' . $restored->port . "\nunix_socket_directories = '" . $restored->host . "'\n"
		  . "archive_mode = off\nrestore_command = 'cp \"$archive/%f\" \"%p\"'\n$target\nrecovery_target_action = promote\n");
	$restored->append_conf('postgresql.conf', "verity.keystore_directory = '$opt{keystore}'") if $opt{keystore};
	$restored->append_conf('recovery.signal', '');
	$restored->start;
	$restored->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die "$name does not end recovery";
	return $restored;
}

# --- to the end of the archive: nothing is lost, and nothing to be accepted ---

my $restored = recovered('restored_all', '', tar => 1);
is($restored->safe_psql('postgres', $sum), $end, 'the end of the archive: all rows are there');
is($restored->safe_psql('postgres', 'SELECT verity_position()'), $end_position, 'the journal is whole');
verify_is_clean($restored, 'the end of the archive');
$restored->safe_psql('postgres', 'INSERT INTO t VALUES (5000, 1)');
verify_is_clean($restored, 'the end of the archive, and written');
$restored->stop;

# --- to moments before: with a keystore of their own each, copied when the backup was made ---

my %targets = (
	name => [ 0, "recovery_target_name = 'state 1'" ],
	lsn => [ 1, "recovery_target_lsn = '$states[1]{lsn}'" ],
	time => [ 2, "recovery_target_time = '$states[2]{time}'" ]);
for my $kind (sort keys %targets)
{
	my ($number, $target) = @{ $targets{$kind} };
	my $state = $states[$number];
	my $keystore = $node->basedir . "/keystore.$kind";
	system_or_bail('cp', '-a', $node->basedir . '/keystore.copy', $keystore);
	$restored = recovered("restored_$kind", $target, keystore => $keystore);
	is($restored->safe_psql('postgres', $sum), $state->{sum}, "$kind: the rows are those of the moment");
	is($restored->safe_psql('postgres', $last_transaction), $state->{position}, "$kind: the last committed position is that of the moment");
	is($restored->safe_psql('postgres', "SELECT count(*) FROM verity_query_at('SELECT id FROM t', $state->{position}) AS q(id int)"),
		100 + $number, "$kind: the position can be asked");
	$restored->safe_psql('postgres', 'INSERT INTO t VALUES (6000, 1)');
	my $decided = $restored->safe_psql('postgres', 'SELECT max(decided) FROM verity.journal');
	cmp_ok($decided, '>=', $state->{position}, "$kind: it is decided, at the latest by the first write");
	is($restored->safe_psql('postgres', "SELECT string_agg(DISTINCT outcome, ' ') FROM verity.journal WHERE position <= $decided AND outcome = 'undecided'"),
		'', "$kind: nothing is in doubt up to there");
	verify_is_clean($restored, "$kind: restored, with the keystore of the backup, and written");
	is($restored->safe_psql('postgres', q(SELECT count(*) FROM verity.journal WHERE kind = 'generation')),
		'3', "$kind: the restored server states a generation of its own");
	$restored->stop;
}

# --- the same with the keystore that saw the end: what is lost is named, until it is accepted ---

$restored = recovered('restored_mark', "recovery_target_name = 'state 2'");
is($restored->safe_psql('postgres', $sum), $states[1]{sum}, 'with the newest keystore: the rows are those of the moment');
is(join(', ', finding_names(verify_findings($restored))), 'verity.journal: end', 'verify names what the journal lost');
$restored->safe_psql('postgres', q(SELECT verity_accept_journal('restored to state 2')));
verify_is_clean($restored, 'accepted');
$restored->safe_psql('postgres', 'UPDATE t SET n = n + 1');
verify_is_clean($restored, 'accepted, and written');
is($restored->safe_psql('postgres', $sum =~ s/sum\(n\)/sum(n) - count(*)/r), $states[1]{sum}, 'what it writes is there');
$restored->stop;
done_testing();
