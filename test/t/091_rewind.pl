# pg_rewind: an old primary that wrote on after its standby was promoted is taken back to the new one's state, and follows it;
# what it wrote alone is gone from rows and journal.  With one keystore for both, verify names the fork until it is accepted.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $rows = q(SELECT count(*), sum(n), string_agg(a, ',' ORDER BY id) FILTER (WHERE id > 500) FROM t);
my $journal = q(SELECT md5(string_agg(position || ' ' || encode(hash, 'hex'), ',' ORDER BY position)) FROM verity.journal);

for my $keystores ('one', 'two')
{
	my $old = verity_node("old_$keystores", protect => 1, streaming => 1, conf => "max_connections = 20\nwal_keep_size = 256MB\n");
	$old->safe_psql('postgres', q(
		CREATE TABLE t (id int PRIMARY KEY, n int, a text) USING verity;
		INSERT INTO t SELECT g, 0, 'row ' || g FROM generate_series(1, 500) g;
	));
	my $new = verity_standby($old, "new_$keystores");
	if ($keystores eq 'two')
	{
		system_or_bail('cp', '-a', $old->basedir . '/keystore', $new->basedir . '/keystore');
		$new->append_conf('postgresql.conf', "verity.keystore_directory = '" . $new->basedir . "/keystore'");
		$new->restart;
	}
	$old->wait_for_catchup($new);

	# both write: the journals fork
	$new->promote;
	$old->safe_psql('postgres', q(
		INSERT INTO t SELECT g, 1, 'old ' || g FROM generate_series(501, 510) g;
		UPDATE t SET n = 7 WHERE id <= 200;
		DELETE FROM t WHERE id = 300;
		CREATE TABLE lost (id int) USING verity;
		INSERT INTO lost VALUES (1);
	));
	$new->safe_psql('postgres', q(
		INSERT INTO t SELECT g, 2, 'new ' || g FROM generate_series(501, 505) g;
		UPDATE t SET n = 8 WHERE id BETWEEN 100 AND 400;
		CREATE TABLE made (id int PRIMARY KEY) USING verity;
		INSERT INTO made VALUES (1);
		CHECKPOINT;
	));
	# the old one is ahead, and stopped under a session that wrote: the keystore surely has its end
	my $session = $old->background_psql('postgres');
	$session->query_safe("INSERT INTO t VALUES ($_, 1, 'ahead')") for 601 .. 620;
	$old->stop;
	eval { $session->quit };

	# pg_rewind takes configuration files from the source as well
	my $conf = slurp_file($old->data_dir . '/postgresql.conf');
	command_ok([ 'pg_rewind', '--source-server', $new->connstr('postgres'), '-D', $old->data_dir ], "$keystores: pg_rewind");
	unlink $old->data_dir . '/postgresql.conf';
	append_to_file($old->data_dir . '/postgresql.conf', $conf);
	if ($keystores eq 'two')
	{
		system_or_bail('rm', '-r', $old->basedir . '/keystore');
		system_or_bail('cp', '-a', $new->basedir . '/keystore', $old->basedir . '/keystore');
	}
	$old->enable_streaming($new);
	$old->set_standby_mode;
	$old->start;
	$new->wait_for_catchup($old, 'replay', $new->lsn('insert'));

	is($old->safe_psql('postgres', $rows), $new->safe_psql('postgres', $rows), "$keystores: the rows are the new primary's");
	is($old->safe_psql('postgres', $journal), $new->safe_psql('postgres', $journal), "$keystores: so is the journal");
	is($old->safe_psql('postgres', q(SELECT to_regclass('lost') IS NULL AND EXISTS (SELECT FROM made))), 't', "$keystores: and the tables");
	if ($keystores eq 'one')
	{
		is(join(', ', finding_names(verify_findings($new))), 'verity.journal: end', 'one: verify names the fork, which the keystore saw');
		$new->safe_psql('postgres', q(SELECT verity_accept_journal('the old primary wrote on after promotion; rewound')));
	}
	$new->safe_psql('postgres', 'UPDATE t SET n = n + 1');
	$new->wait_for_catchup($old, 'replay', $new->lsn('insert'));
	verify_is_clean($new, "$keystores: the new primary");
	verify_is_clean($old, "$keystores: the rewound standby");
	is($old->safe_psql('postgres', $rows), $new->safe_psql('postgres', $rows), "$keystores: the standby follows");

	# and back again
	$new->stop;
	$old->promote;
	$old->safe_psql('postgres', 'DELETE FROM t WHERE id > 400');
	verify_is_clean($old, "$keystores: the old primary, promoted again");
	$old->stop;
}
done_testing();
