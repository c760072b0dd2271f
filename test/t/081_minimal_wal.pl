# RULES A 15: with wal_level = minimal, storage made in a transaction is synced
# at its commit instead of logged, and after a crash it is what was committed;
# unlogged tables begin anew from their init fork, meta data included.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $node = verity_node('minimal', conf => q(
wal_level = minimal
max_wal_senders = 0
archive_mode = off
fsync = on
wal_skip_threshold = 16
));

$node->safe_psql('postgres', q(
	CREATE TABLE logged (id int PRIMARY KEY, a text) USING verity;
	INSERT INTO logged SELECT g, 'logged' FROM generate_series(1, 100) g;
	CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY, a text) USING verity;
	INSERT INTO unlogged SELECT g, 'unlogged' FROM generate_series(1, 100) g;
));
# small and large new storage: logged as images, and synced
for my $rows (10, 20000)
{
	$node->safe_psql('postgres', qq(
		BEGIN;
		CREATE TABLE new_$rows (id int, a text) USING verity;
		INSERT INTO new_$rows SELECT g, repeat('x', 50) FROM generate_series(1, $rows) g;
		SAVEPOINT s;
		INSERT INTO new_$rows SELECT g, 'undone' FROM generate_series(1, $rows) g;
		ROLLBACK TO s;
		UPDATE new_$rows SET a = 'changed' WHERE id = 5;
		CREATE INDEX ON new_$rows (id);
		COMMIT;
	));
}
$node->safe_psql('postgres', q(
	BEGIN;
	TRUNCATE logged;
	INSERT INTO logged SELECT g, 'after truncate' FROM generate_series(1, 50) g;
	COMMIT;
	INSERT INTO new_10 VALUES (11, 'after');
));
$node->stop('immediate');
$node->start;

is($node->safe_psql('postgres', 'SELECT count(*), min(a) FROM logged'), '50|after truncate', 'a truncated and refilled table');
is($node->safe_psql('postgres', "SELECT count(*), count(*) FILTER (WHERE a = 'changed') FROM new_10"), '11|1', 'a small new table, and what came after');
is($node->safe_psql('postgres', "SELECT count(*), count(*) FILTER (WHERE a = 'changed') FROM new_20000"), '20000|1', 'a large new table');
is($node->safe_psql('postgres', 'SET enable_seqscan = off; SELECT a FROM new_20000 WHERE id = 5'), 'changed', 'through its index');
is($node->safe_psql('postgres', 'SELECT count(*) FROM unlogged'), 0, 'an unlogged table is empty after a crash');
$node->safe_psql('postgres', "INSERT INTO unlogged VALUES (1, 'again')");
is($node->safe_psql('postgres', 'SELECT a FROM unlogged'), 'again', 'and can be written again');
verify_is_clean($node, 'after a crash with wal_level = minimal');
$node->stop;
done_testing();
