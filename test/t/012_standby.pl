# A streaming standby reads and verifies; promoted, it seals under a new
# generation and verifies again.  RULES A 10, A 15, D 27, F 42.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use VerityTest;

my $primary = verity_node('primary', streaming => 1, conf => "max_connections = 20\nlog_statement = none\n");
$primary->safe_psql('postgres', q(
	CREATE TABLE t (id int PRIMARY KEY, a text, b int) USING verity;
	INSERT INTO t SELECT g, 'row ' || g, g FROM generate_series(1, 500) g;
));
my $standby = verity_standby($primary, 'standby');
$primary->safe_psql('postgres', q(
	UPDATE t SET b = b + 1 WHERE id % 2 = 0;
	DELETE FROM t WHERE id % 10 = 3;
	BEGIN; INSERT INTO t VALUES (1000, 'x', 1); ROLLBACK;
	INSERT INTO t SELECT 2000, string_agg(md5(g::text), ''), 1 FROM generate_series(1, 500) g;
	VACUUM t;
	CREATE TABLE later (id int) USING verity;
	INSERT INTO later VALUES (1);
));
$primary->wait_for_catchup($standby);

my $sums = 'SELECT count(*), sum(b), sum(length(a)) FROM t';
is($standby->safe_psql('postgres', $sums), $primary->safe_psql('postgres', $sums), 'the standby has the same rows');
is($standby->safe_psql('postgres', 'SELECT id FROM later'), '1', 'and a table under a key made later');
is($standby->safe_psql('postgres', 'SELECT verity_position()'), $primary->safe_psql('postgres', 'SELECT verity_position()'),
	'and the same journal');
verify_is_clean($primary, 'on the primary');
verify_is_clean($standby, 'on the standby');

my $before = $standby->safe_psql('postgres', q(SELECT max(position) FROM verity.journal WHERE kind = 'generation'));
$primary->stop('immediate');
$standby->promote;
$standby->safe_psql('postgres', q(UPDATE t SET a = 'after promotion' WHERE id = 2));
is($standby->safe_psql('postgres', q(SELECT count(*) FROM verity.journal WHERE kind = 'generation' AND position > ) . $before),
	'1', 'the promoted standby has started a generation of its own');
verify_is_clean($standby, 'on the promoted standby');
$standby->restart;
verify_is_clean($standby, 'on the promoted standby after a restart');
is($standby->safe_psql('postgres', 'SELECT a FROM t WHERE id = 2'), 'after promotion', 'what it wrote is there');
$standby->stop;
done_testing();
