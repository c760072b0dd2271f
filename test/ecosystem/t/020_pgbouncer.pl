# PgBouncer in transaction mode: many clients on few connections keep the money and the journal right, and what a transaction
# sets with SET LOCAL stays its own.  What SET without LOCAL does is shown as well, with the setting that prevents it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../../t";
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $node = verity_node('main', protect => 1);
my $user = getpwuid $<;
$node->safe_psql('postgres', q(
	CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL) USING verity;
	CREATE TABLE transfers (giver int REFERENCES accounts, taker int REFERENCES accounts, amount int) USING verity;
	INSERT INTO accounts SELECT g, 1000 FROM generate_series(1, 50) g;
	CREATE VIEW last_entry AS SELECT * FROM verity.journal WHERE kind = 'transaction' ORDER BY position DESC LIMIT 1;
));

# Start a pooler with further settings: its directory, which is its socket's, and its process.
sub pooler
{
	my ($name, $port, $settings) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	append_to_file("$dir/users", qq("$user" ""\n));
	append_to_file("$dir/pgbouncer.ini", "[databases]\npostgres = host=" . $node->host . ' port=' . $node->port . "\n[pgbouncer]\n"
		  . "listen_addr =\nlisten_port = $port\nunix_socket_dir = $dir\nauth_type = trust\nauth_file = $dir/users\n"
		  . "pool_mode = transaction\nlogfile = " . $node->basedir . "/$name.log\n$settings");
	my $process = IPC::Run::start([ 'pgbouncer', '-q', "$dir/pgbouncer.ini" ], '<', \undef, '>', "$dir/out", '2>&1');
	for (1 .. 100)
	{
		last if -S "$dir/.s.PGSQL.$port";
		select undef, undef, undef, 0.1;
	}
	ok(-S "$dir/.s.PGSQL.$port", "$name listens");
	return { host => $dir, port => $port, process => $process };
}

sub pooler_stop { my ($pooler) = @_; $pooler->{process}->signal('TERM'); $pooler->{process}->finish; return; }

# Run SQL through a pooler: what psql prints, with errors behind it.
sub through
{
	my ($pooler, $sql, %opt) = @_;
	local $ENV{PGAPPNAME} = $opt{application} // 'through';
	my ($out, $err);
	IPC::Run::run([ 'psql', '-XAtq', '-v', 'VERBOSITY=terse', '-h', $pooler->{host}, '-p', $pooler->{port}, 'postgres' ],
		'<', \$sql, '>', \$out, '2>', \$err, IPC::Run::timeout(60));
	chomp($out, $err);
	return $out . $err;
}

# --- load: 12 clients on 3 connections ---

my $pooler = pooler('pooler', $node->port + 1000, "default_pool_size = 3\n");
my $script = $node->basedir . '/transfer.sql';
append_to_file($script, <<'END');
\set giver random(1, 50)
\set taker 1 + (:giver + random(0, 48)) % 50
\set amount random(1, 10)
BEGIN;
SET LOCAL verity.reason = 'transfer :giver :taker :amount';
UPDATE accounts SET balance = balance - :amount WHERE id = least(:giver, :taker);
UPDATE accounts SET balance = balance + :amount WHERE id = greatest(:giver, :taker);
INSERT INTO transfers VALUES (least(:giver, :taker), greatest(:giver, :taker), :amount);
COMMIT;
END
my $before = $node->safe_psql('postgres', 'SELECT verity_position()');
command_ok([ 'pgbench', '-n', '-c', 12, '-j', 2, '-t', 50, '-f', $script, '-h', $pooler->{host}, '-p', $pooler->{port}, 'postgres' ],
	'12 clients, 50 transfers each');
is($node->safe_psql('postgres', 'SELECT sum(balance) FROM accounts'), '50000', 'the money is all there');
is($node->safe_psql('postgres', "SELECT count(*), sum(records), count(DISTINCT reason) > 100 FROM verity.journal WHERE position > $before AND kind = 'transaction' AND outcome = 'committed'"),
	'600|1800|t', 'each transfer is an entry of three records, with its reason');
is($node->safe_psql('postgres', q(SELECT count(*) FROM verity.journal j WHERE kind = 'transaction' AND reason LIKE 'transfer%' AND NOT EXISTS (
		SELECT FROM verity_history('transfers') h WHERE h.position = j.position))), '0', 'and its row');
cmp_ok($node->safe_psql('postgres', q(SELECT count(*) FROM pg_stat_activity WHERE application_name IN ('pgbench', 'through', 'psql') AND pid <> pg_backend_pid())), '<=', 3,
	'no more than 3 connections were used');
verify_is_clean($node, 'after the load');
pooler_stop($pooler);

# --- one connection, used in turn: what stays with a transaction ---

$pooler = pooler('single', $node->port + 1001, "default_pool_size = 1\n");
is(through($pooler, q(BEGIN; SET LOCAL verity.reason = 'audit'; UPDATE accounts SET balance = balance WHERE id = 1; COMMIT), application => 'first'), '', 'a client gives a reason');
is(through($pooler, 'SELECT reason, application FROM last_entry', application => 'reader'), 'audit|first', 'it is in the journal, with that client\'s application');
through($pooler, 'UPDATE accounts SET balance = balance WHERE id = 2', application => 'second');
is(through($pooler, 'SELECT reason IS NULL, application FROM last_entry'), 't|second', 'and not with the next one\'s transaction');

my $position = through($pooler, 'SELECT verity_position()');
through($pooler, 'UPDATE accounts SET balance = 77 WHERE id = 3');
is(through($pooler, qq(BEGIN; SET LOCAL verity.as_of = '$position'; SELECT balance = 77 FROM accounts WHERE id = 3; COMMIT)), 'f', 'a client reads the past');
is(through($pooler, 'SELECT balance FROM accounts WHERE id = 3'), '77', 'the next one reads the present');
is(through($pooler, qq(SELECT b = 77 FROM verity_query_at('SELECT balance FROM accounts WHERE id = 3', $position) AS t(b int))), 'f', 'so does verity_query_at');
is(through($pooler, q(BEGIN; SET LOCAL verity.idempotency_id = '7e1f0000-0000-4000-8000-000000000002'; UPDATE accounts SET balance = 78 WHERE id = 3; COMMIT)), '', 'an idempotency id');
like(through($pooler, q(BEGIN; SET LOCAL verity.idempotency_id = '7e1f0000-0000-4000-8000-000000000002'; UPDATE accounts SET balance = 79 WHERE id = 3; COMMIT)),
	qr/already committed at position \d+/, 'is known on every connection');

# as any setting, one of the session reaches the next client
through($pooler, qq(SET verity.as_of = '$position'));
like(through($pooler, 'UPDATE accounts SET balance = 1 WHERE id = 4'), qr/cannot write while verity\.as_of is set/, 'SET without LOCAL reaches the next client');
is(through($pooler, 'DISCARD ALL'), '', 'until DISCARD ALL');
is(through($pooler, 'SELECT balance FROM accounts WHERE id = 3'), '78', 'and the present is back');
pooler_stop($pooler);

$pooler = pooler('resetting', $node->port + 1002, "default_pool_size = 1\nserver_reset_query = DISCARD ALL\nserver_reset_query_always = 1\n");
through($pooler, qq(SET verity.as_of = '$position'));
is(through($pooler, 'UPDATE accounts SET balance = 79 WHERE id = 3 RETURNING balance'), '79', 'server_reset_query_always keeps it from the next client');
pooler_stop($pooler);
verify_is_clean($node, 'after all');
$node->stop;
done_testing();
