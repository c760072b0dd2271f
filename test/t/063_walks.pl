# While a walk over a row's versions is between two pages, the row is updated or
# aborted versions are vacuumed away: unique checks and readers still find it.
# RULES A 3, A 10.
#
# ABORTED=n for another length of the walk.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $aborted = $ENV{ABORTED} // 150_000;
my $node = verity_node('walks', conf => "log_statement = none\nshared_buffers = 128MB\n");
$node->safe_psql('postgres', 'CREATE TABLE hot (id int PRIMARY KEY, n int, ok bool) USING verity');

# A row, and many versions of it that were rolled back: the walk passes them all
# where the transaction is serializable.
sub make_row
{
	my ($id) = @_;
	$node->safe_psql('postgres', qq(
		INSERT INTO hot VALUES ($id, 0, true);
		BEGIN;
		DO \$\$ BEGIN
			FOR i IN 1..$aborted LOOP UPDATE hot SET n = i WHERE id = $id; END LOOP;
		END \$\$;
		ROLLBACK));
	return $node->safe_psql('postgres', "SELECT ctid FROM hot WHERE id = $id");
}

my $session = $node->background_psql('postgres', on_error_stop => 0);
my $other = $node->background_psql('postgres');

# the row is updated under a unique check: by its place, since the check holds the index's page
my $tid = make_row(1);
$other->query_until(qr/waits/, qq(\\echo waits
	DO \$\$ BEGIN
		LOOP
			PERFORM pg_stat_clear_snapshot();
			EXIT WHEN EXISTS (SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'INSERT INTO hot%');
		END LOOP;
		UPDATE hot SET n = -2 WHERE ctid = '$tid';
	END \$\$;
));
$session->query_until(qr/begins/, "BEGIN ISOLATION LEVEL SERIALIZABLE;\n\\echo begins\nINSERT INTO hot VALUES (1, -1, false);\n");
$other->query_until(qr/updated/, "\\echo updated\n");
$session->query_until(qr/ends/, "\\echo ends\nCOMMIT;\n");
is($node->safe_psql('postgres', 'SET enable_indexscan = off; SET enable_bitmapscan = off; SELECT string_agg(n::text, $$,$$) FROM hot'),
	'-2', 'a unique check sees an update that is committed while it walks');

# its aborted versions are vacuumed away under a reader
make_row(2);
$session->query_until(qr/begins/, qq(SET enable_seqscan = off; SET enable_bitmapscan = off;
	BEGIN ISOLATION LEVEL SERIALIZABLE;
	\\echo begins
	SELECT 'missed ' || count(*) FROM generate_series(1, 20) g
	WHERE NOT (SELECT coalesce((SELECT ok FROM hot WHERE id = 2 AND g > 0), false));
));
$other->query_safe('VACUUM hot');
like($session->query_until(qr/missed \d+/, "\n"), qr/missed 0/, 'a reader finds the row while vacuum takes aborted versions away');
$session->quit;
$other->quit;
verify_is_clean($node, 'after all');
$node->stop;
done_testing();
