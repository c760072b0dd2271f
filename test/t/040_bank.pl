# Money is neither made nor lost: transfers by 8 concurrent clients at each
# isolation level keep the sum, as each transaction sees it and at the end;
# and each of them is an entry of the journal.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $seconds = $ENV{BANK_SECONDS} // 8;
my $node = verity_node('bank', conf => "log_statement = none\n");
$node->safe_psql('postgres', q(
	CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL) USING verity;
	CREATE TABLE transfers (id bigint GENERATED ALWAYS AS IDENTITY, source int, target int, amount int) USING verity;
	INSERT INTO accounts SELECT g, 100 FROM generate_series(1, 20) g;
));

my $committed = 0;
for my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
{
	my $file = $node->basedir . '/transfer_' . ($level =~ s/ /_/r) . '.sql';
	append_to_file($file, transfer($level));
	my ($out, $err) = run_command(
		[
			'pgbench', '-n', '-c', '8', '-j', '2', '-T', $seconds, '--max-tries', '1000',
			'-f', $file, '-h', $node->host, '-p', $node->port, 'postgres'
		]);
	my ($done) = $out =~ /number of transactions actually processed: (\d+)/;
	my ($failed) = $out =~ /number of failed transactions: (\d+)/;
	cmp_ok($done // 0, '>', 20, "$level: transfers were made");
	is($failed, 0, "$level: none failed for good");
	unlike($err, qr/division by zero|ERROR|aborted/, "$level: every transaction saw the same sum");
	$committed += $done // 0;
	is($node->safe_psql('postgres', 'SELECT sum(balance), count(*) FROM accounts'), '2000|20', "$level: the sum is kept");
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM transfers'), $committed, 'each acknowledged transfer is in the table');
is( $node->safe_psql('postgres', q(SELECT count(*) FROM verity.journal WHERE kind = 'transaction' AND outcome = 'committed')) - 1,
	$committed, 'and in the journal');
is($node->safe_psql('postgres', q(
		SELECT count(*) FROM accounts a WHERE balance <> 100
			+ (SELECT coalesce(sum(amount), 0) FROM transfers WHERE target = a.id)
			- (SELECT coalesce(sum(amount), 0) FROM transfers WHERE source = a.id))),
	'0', 'and each balance is that of its transfers');
verify_is_clean($node, 'after the transfers');
$node->stop;
done_testing();

# One transfer as a pgbench script; it divides by zero where it sees another sum.
sub transfer
{
	my ($level) = @_;
	return qq(
\\set source random(1, 20)
\\set target random(1, 20)
\\set amount random(1, 10)
BEGIN ISOLATION LEVEL $level;
UPDATE accounts SET balance = balance - :amount WHERE id = :source;
UPDATE accounts SET balance = balance + :amount WHERE id = :target;
INSERT INTO transfers (source, target, amount) VALUES (:source, :target, :amount);
SELECT 1 / (sum(balance) = 2000)::int, 1 / (count(*) = 20)::int FROM accounts;
COMMIT;
);
}
