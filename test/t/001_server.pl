# A server with verity comes up, keeps its rows over a restart and verifies clean.
use strict;
use warnings;

use Config;
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

# the other cipher library reads and writes the same bytes
if ($Config{archname} =~ /^x86_64/)
{
	$node->append_conf('postgresql.conf', "verity.cipher_library = 'ipsec-mb'\n");
	$node->restart;
	is($node->safe_psql('postgres', q(SELECT count(*) FROM patients WHERE name LIKE 'other %')),
		'100', 'by the other cipher library too');
	$node->safe_psql('postgres', q(INSERT INTO patients VALUES (2001, 'by ipsec-mb')));
	verify_is_clean($node, 'with a row that the other cipher library sealed');
	$node->adjust_conf('postgresql.conf', 'verity.cipher_library', 'openssl');
	$node->restart;
	is($node->safe_psql('postgres', 'SELECT name FROM patients WHERE id = 2001'),
		'by ipsec-mb', 'OpenSSL opens that row');
}
$node->stop;

my ($rc, $out, $err);
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->start;
($rc, $out, $err) = $node->psql('postgres', 'SELECT count(*) FROM patients');
isnt($rc, 0, 'without preloading, a verity table cannot be read');
like($err, qr/verity must be loaded via shared_preload_libraries/, 'and the message says why');
$node->stop;

done_testing();
