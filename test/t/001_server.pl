# A server with verity comes up, keeps its rows over a restart and verifies clean.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use VerityTest;

my $node = verity_node('main');
$node->safe_psql('postgres', q(
	CREATE TABLE patients (id int PRIMARY KEY, name text) USING verity;
	INSERT INTO patients SELECT g, 'name ' || g FROM generate_series(1, 1000) g;
	UPDATE patients SET name = 'other ' || id WHERE id % 10 = 0;
	DELETE FROM patients WHERE id % 100 = 1;
));
is($node->safe_psql('postgres', 'SELECT count(*), min(name) FROM patients'),
	'990|name 102', 'rows are there');
verify_is_clean($node, 'after insert, update and delete');

$node->restart;
is($node->safe_psql('postgres', q(SELECT count(*) FROM patients WHERE name LIKE 'other %')),
	'100', 'rows are there after a restart');
verify_is_clean($node, 'after a restart');
$node->stop;

my ($rc, $out, $err);
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->start;
($rc, $out, $err) = $node->psql('postgres', 'SELECT count(*) FROM patients');
isnt($rc, 0, 'without preloading, a verity table cannot be read');
like($err, qr/verity must be loaded via shared_preload_libraries/, 'and the message says why');
$node->stop;

done_testing();
