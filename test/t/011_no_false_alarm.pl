# What is allowed raises no alarm: verify is clean after each of these.
# RULES A 1, A 4, A 5, B 17, C 22.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $node = verity_node('allowed', streaming => 1, conf => "log_statement = none\nmax_connections = 20\n");
my $sql = sub { return $node->safe_psql('postgres', $_[0]) };
my $clean = sub { return verify_is_clean($node, $_[0]) };

$sql->(q(
	CREATE TABLE t (id int PRIMARY KEY, a text, b int) USING verity;
	CREATE INDEX t_b ON t (b);
	INSERT INTO t SELECT g, 'row ' || g, g % 10 FROM generate_series(1, 2000) g;
));
$clean->('after a load');

$sql->('BEGIN; INSERT INTO t SELECT g, NULL, 0 FROM generate_series(3001, 3500) g; UPDATE t SET b = -1; ROLLBACK');
$clean->('after an abort');

$sql->(q(
	BEGIN;
	INSERT INTO t VALUES (4001, 'kept', 1);
	SAVEPOINT one; INSERT INTO t VALUES (4002, 'gone', 1); UPDATE t SET b = 5 WHERE id = 1;
	SAVEPOINT two; DELETE FROM t WHERE id = 2; ROLLBACK TO two;
	ROLLBACK TO one;
	UPDATE t SET b = 6 WHERE id = 1;
	COMMIT;
));
$clean->('after savepoints rolled back');

my ($rc, $out, $err) = $node->psql('postgres',
	"COPY t FROM STDIN;\n" . join('', map { "$_\tcopied\t1\n" } 5001 .. 5600) . "not a number\tx\ty\n\\.\n");
like($err, qr/invalid input syntax for type integer/, 'a COPY failed in its middle');
($rc, $out, $err) = $node->psql('postgres', q(
	SET statement_timeout = '300ms';
	COPY t FROM PROGRAM 'i=6000; while [ $i -lt 9000 ]; do echo "$i,slow,1"; i=$((i+1)); [ $((i%100)) = 0 ] && sleep 0.05; done' (FORMAT csv)));
like($err, qr/canceling statement due to statement timeout/, 'a COPY was cancelled');
$clean->('after a failed and a cancelled COPY');

$sql->('UPDATE t SET b = b + 100 WHERE id % 3 = 0; DELETE FROM t WHERE id % 50 = 7; VACUUM t');
$clean->('after VACUUM');
$sql->(q(INSERT INTO t VALUES (1, 'again', 1) ON CONFLICT (id) DO UPDATE SET a = 'again'));
$sql->('MERGE INTO t USING (SELECT 2 AS id UNION SELECT 9002) s ON t.id = s.id
	WHEN MATCHED THEN UPDATE SET a = $$merged$$ WHEN NOT MATCHED THEN INSERT VALUES (s.id, $$merged$$, 0)');
$clean->('after ON CONFLICT and MERGE');
$sql->('VACUUM FREEZE t');
$clean->('after VACUUM FREEZE');

drive_xids_far();
$sql->('VACUUM FREEZE');
cmp_ok($sql->(q(SELECT age(relfrozenxid) FROM pg_class WHERE relname = 't')), '<', 1000,
	'relfrozenxid went along (RULES A 4)');
$clean->('after xids were driven far and VACUUM FREEZE');
$sql->('UPDATE t SET b = 0 WHERE id < 100; DELETE FROM t WHERE id = 300');
$clean->('after writing at far xids');

$sql->(q(ALTER TABLE t ADD COLUMN c text DEFAULT 'new'));
$sql->(q(INSERT INTO t VALUES (9003, 'wide', 1, 'c')));
$clean->('after ADD COLUMN');
$sql->('ALTER TABLE t DROP COLUMN a');
$sql->('UPDATE t SET b = 1 WHERE id = 9003');
$clean->('after DROP COLUMN');
$sql->('CREATE INDEX CONCURRENTLY t_c ON t (c)');
$sql->('REINDEX INDEX CONCURRENTLY t_c');
$clean->('after CREATE INDEX CONCURRENTLY');
$sql->('CREATE TABLE u (LIKE t) USING verity; INSERT INTO u SELECT * FROM t; ALTER TABLE u RENAME TO v; DROP TABLE v');
$clean->('after create, rename and drop of a table');
$node->safe_psql('postgres', q(
	CREATE TEMP TABLE own (id int) USING verity; INSERT INTO own SELECT generate_series(1, 10);
	CREATE UNLOGGED TABLE unlogged (id int) USING verity; INSERT INTO unlogged VALUES (1)));
$clean->('with a temporary and an unlogged table');

# a backup with the keystore as it was then, restored beside a server that goes on
$node->backup('base');
system_or_bail('cp', '-a', $node->basedir . '/keystore', $node->basedir . '/keystore.base');
$sql->('UPDATE t SET b = 2 WHERE id < 10');
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($node, 'base');
$restored->append_conf('postgresql.conf', "verity.keystore_directory = '" . $node->basedir . "/keystore.base'");
$restored->start;
verify_is_clean($restored, 'pg_basebackup restored');
$restored->safe_psql('postgres', 'UPDATE t SET b = 3 WHERE id < 10');
verify_is_clean($restored, 'pg_basebackup restored and written');
$restored->stop;
$clean->('the server that was backed up');

# the same backup with the keystore as it is now, accepted for what it is
my $accepted = PostgreSQL::Test::Cluster->new('accepted');
$accepted->init_from_backup($node, 'base');
$node->stop;
$accepted->start;
$accepted->safe_psql('postgres', q(SELECT verity_accept_journal('the base backup was restored')));
verify_is_clean($accepted, 'pg_basebackup restored with a newer keystore, and accepted');
$accepted->safe_psql('postgres', 'UPDATE t SET b = 3 WHERE id < 10');
verify_is_clean($accepted, 'and written');
$accepted->stop;

done_testing();

# Move the next transaction id on by 300 million, as years of use would.
sub drive_xids_far
{
	$node->stop;
	my $far = 300_000_000;
	my $segment = sprintf '%s/pg_xact/%04X', $node->data_dir, int($far / (32 * BLCKSZ * 4));
	system_or_bail('pg_resetwal', '--next-transaction-id', $far, '-D', $node->data_dir);
	open my $fh, '>', $segment or die "$segment: $!";
	print $fh "\0" x (32 * BLCKSZ);
	close $fh;
	$node->start;
	return;
}
