# pgBackRest: full, differential and incremental backups with its own page checks and verify; restored to the end, to a moment,
# and as a delta over a damaged directory; each verifies clean.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../../t";
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $node = verity_node('main', protect => 1, conf => "archive_mode = on\nwal_level = replica\nmax_wal_senders = 4\n");
my $base = $node->basedir;
my $config = "$base/pgbackrest.conf";
mkdir "$base/$_" for qw(repo lock log spool);
append_to_file($config, <<"END");
[global]
repo1-path=$base/repo
repo1-retention-full=2
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=ecosystem
lock-path=$base/lock
log-path=$base/log
spool-path=$base/spool
log-level-console=warn
log-level-file=detail
process-max=2
start-fast=y
[main]
pg1-path=@{[ $node->data_dir ]}
pg1-port=@{[ $node->port ]}
pg1-socket-path=@{[ $node->host ]}
END
my @pgbackrest = ('pgbackrest', "--config=$config", '--stanza=main');
$node->append_conf('postgresql.conf', "archive_command = 'pgbackrest --config=$config --stanza=main archive-push %p'\n");
$node->restart;

my $sums = q(SELECT count(*), sum(n), md5(string_agg(a, ',' ORDER BY id)) FROM t);
$node->safe_psql('postgres', q(
	CREATE TABLE t (id int PRIMARY KEY, n int, a text) USING verity;
	CREATE INDEX ON t (n);
	INSERT INTO t SELECT g, 0, repeat(md5(g::text), 1 + g % 200) FROM generate_series(1, 2000) g;
));

# Back up: no warning, which a bad page checksum would be.
sub backed_up
{
	my ($type) = @_;
	my ($out, $err) = run_command([ @pgbackrest, "--type=$type", '--log-level-stderr=warn', 'backup' ]);
	is($out . $err, '', "$type backup, without a warning");
	return;
}
$node->command_ok([ @pgbackrest, 'stanza-create' ], 'stanza-create');
$node->command_ok([ @pgbackrest, 'check' ], 'check: archiving works');
backed_up('full');
$node->safe_psql('postgres', q(UPDATE t SET n = n + 1 WHERE id <= 1000; VACUUM t));
backed_up('diff');
$node->safe_psql('postgres', q(CREATE TABLE later (id int PRIMARY KEY) USING verity; INSERT INTO later VALUES (1); DELETE FROM t WHERE id % 10 = 0));
backed_up('incr');
$node->safe_psql('postgres', q(UPDATE t SET n = n + 1 WHERE id <= 500));
my $wanted = $node->safe_psql('postgres', $sums);
my $position = $node->safe_psql('postgres', 'SELECT verity_position()');
$node->safe_psql('postgres', q(SELECT pg_create_restore_point('wanted')));
system_or_bail('cp', '-a', "$base/keystore", "$base/keystore.then");
$node->safe_psql('postgres', q(DELETE FROM t WHERE id > 100; SELECT pg_switch_wal()));
my $end = $node->safe_psql('postgres', $sums);
verify_is_clean($node, 'the server that was backed up');
my ($verified) = run_command([ @pgbackrest, '--log-level-console=info', 'verify' ]);
unlike($verified, qr/(?:missing|checksum invalid|size invalid|other): [1-9]|error/i, 'pgbackrest verify finds each file as it was');
like($verified, qr/verify command end: completed successfully/, 'and ends well');
is(join(' ', files_containing("$base/repo", slurp_file("$base/master.key") =~ s/\s//gr)), '', 'no master key is in the repository');
$node->stop;

# --- restored to a moment, beside the lost one ---

my $restored = PostgreSQL::Test::Cluster->new('moment');
mkdir $restored->data_dir, 0700 or die "mkdir: $!";
command_ok([ @pgbackrest, '--pg1-path=' . $restored->data_dir, '--type=name', '--target=wanted', '--target-action=promote', 'restore' ], 'restore to a restore point');
$restored->append_conf('postgresql.conf', 'port = ' . $restored->port . "\nunix_socket_directories = '" . $restored->host . "'\narchive_mode = off\n"
	  . "verity.keystore_directory = '$base/keystore.then'\n");
$restored->start;
$restored->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'recovery does not end';
is($restored->safe_psql('postgres', $sums), $wanted, 'the rows are those of the moment');
is($restored->safe_psql('postgres', 'SELECT verity_position()'), $position, 'so is the journal');
$restored->safe_psql('postgres', q(INSERT INTO later VALUES (2)));
verify_is_clean($restored, 'restored to a moment, and written');
is($restored->safe_psql('postgres', "SELECT count(*) FROM verity_query_at('SELECT 1 FROM t', $position) AS q(n int)"), (split /\|/, $wanted)[0], 'the moment can be asked');
$restored->stop;

# --- a delta over a damaged directory, to the end of the archive ---

my $file = (sort { -s $b <=> -s $a } grep { -f } glob $node->data_dir . '/base/*/*')[0];
write_bytes($file, 8192 * 3, "\0" x 8192);
unlink $node->data_dir . '/global/pg_control' or die "unlink: $!";
command_ok([ @pgbackrest, '--delta', 'restore' ], 'delta restore over a damaged directory');
$node->start;
$node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'recovery does not end';
is($node->safe_psql('postgres', $sums), $end, 'nothing is lost');
verify_is_clean($node, 'restored to the end');
$node->safe_psql('postgres', q(UPDATE t SET n = n + 1));
verify_is_clean($node, 'and written');
backed_up('full');
$node->stop;
done_testing();
