# Generations and nonces: copies of a database or cluster never seal different data under one nonce.
# RULES D 27, D 28, A 1.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $nonces = PostgreSQL::Test::Utils::tempdir();
my $log_setting = "verity.nonce_log_directory = '$nonces'\nrestart_after_crash = on\n";

# The directory holds what all these servers sealed; the suite's own log gets a copy of it.
sub sealed_once
{
	my ($what) = @_;
	my @lines = map { split /\n/, slurp_file($_) } glob "$nonces/nonces.*";
	my %seen;
	$seen{$_}++ for @lines;
	is(scalar(grep { $_ > 1 } values %seen), 0, "$what: no nonce came twice, of " . scalar @lines);
	return scalar @lines;
}

my $node = verity_node('main', conf => $log_setting);
$node->safe_psql('postgres', q(
	CREATE TABLE t (id int PRIMARY KEY, a text) USING verity;
	INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 20) g;
));
my $generations = q(SELECT count(*) FROM verity.journal WHERE kind = 'generation');
my $keys = q(SELECT count(*) FROM verity.journal WHERE kind = 'key');
is($node->safe_psql('postgres', $generations), '1', 'one generation at first');
is($node->safe_psql('postgres', $keys), '1', 'one key for one table');
is(sealed_once('first rows'), 20, 'each sealing is logged once');

# aborts, savepoints and killed speculative insertions use up their sequences
$node->safe_psql('postgres', q(
	BEGIN; INSERT INTO t VALUES (100, 'gone'); ROLLBACK;
	BEGIN;
	SAVEPOINT s; INSERT INTO t VALUES (101, 'gone'); ROLLBACK TO s;
	INSERT INTO t VALUES (102, 'stays');
	SAVEPOINT s; INSERT INTO t VALUES (103, 'gone'); ROLLBACK TO s;
	INSERT INTO t VALUES (104, 'stays');
	COMMIT;
	INSERT INTO t VALUES (1, 'again') ON CONFLICT (id) DO UPDATE SET a = excluded.a;
	CREATE TEMP TABLE own (id int) USING verity;
	INSERT INTO own VALUES (1), (2); UPDATE own SET id = id + 1;
));
sealed_once('aborts and savepoints');

# each start is a generation, begun by the first writer
$node->restart;
is($node->safe_psql('postgres', $generations), '1', 'a start alone begins no generation');
$node->safe_psql('postgres', q(INSERT INTO t VALUES (200, 'a')));
is($node->safe_psql('postgres', $generations), '2', 'the first write does');
$node->safe_psql('postgres', q(INSERT INTO t VALUES (201, 'a')));
is($node->safe_psql('postgres', $generations), '2', 'the second does not');
is($node->safe_psql('postgres', $keys), '1', 'the key stays');
$node->stop('immediate');
$node->start;
$node->safe_psql('postgres', q(INSERT INTO t VALUES (202, 'a')));
is($node->safe_psql('postgres', $generations), '3', 'so is recovery from a crash');
sealed_once('starts and crashes');

# a backend that is killed takes shared memory along
my $victim = $node->background_psql('postgres');
my $pid = $victim->query_safe('SELECT pg_backend_pid()');
kill 'KILL', $pid;
$node->poll_query_until('postgres', 'SELECT true') or die 'the server did not come back';
$node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = ) . $pid);
$victim->{run}->finish;
$node->safe_psql('postgres', q(INSERT INTO t VALUES (203, 'a')));
is($node->safe_psql('postgres', $generations), '4', "so is a backend's crash");
sealed_once("a backend's crash");

# a database cloned inside the running server
for my $clone (qw(clone_one clone_two))
{
	$node->safe_psql('template1', "CREATE DATABASE $clone TEMPLATE postgres");
}
for my $database (qw(postgres clone_one clone_two))
{
	is($node->safe_psql($database, 'SELECT count(*), max(a) FROM t WHERE id <= 20'), '20|row 9', "$database: the rows can be read");
	$node->safe_psql($database, "INSERT INTO t SELECT g, '$database' FROM generate_series(301, 320) g; UPDATE t SET a = '$database' WHERE id = 7");
	is($node->safe_psql($database, 'SELECT a FROM t WHERE id = 7'), $database, "$database: and written");
	is($node->safe_psql($database, $keys), $database eq 'postgres' ? '1' : '2', "$database: its own key seals");
	verify_is_clean($node, $database, database => $database);
}
is($node->safe_psql('postgres', $generations), '4', 'the original goes on in its generation');
is($node->safe_psql('clone_one', $generations), '5', 'a clone begins one');
sealed_once('clones');

# a clone of a clone, made where another clone was
$node->safe_psql('template1', 'DROP DATABASE clone_one; ') ;
$node->safe_psql('template1', 'CREATE DATABASE clone_one TEMPLATE clone_two');
$node->safe_psql('clone_one', q(INSERT INTO t VALUES (400, 'third'); UPDATE t SET a = 'third' WHERE id = 8));
is($node->safe_psql('clone_one', $keys), '3', 'a clone of a clone has a third key');
verify_is_clean($node, 'a clone of a clone', database => 'clone_one');
sealed_once('a clone of a clone');

# two copies of the whole cluster, each with a copy of the keystore, go on from one state
$node->stop;
my @copies = map { verity_clone($node, $_) } qw(copy_one copy_two);
$_->append_conf('postgresql.conf', $log_setting) for @copies;
$_->start for @copies;
for my $copy (@copies)
{
	my $name = $copy->name;
	$copy->safe_psql('postgres', "INSERT INTO t SELECT g, '$name' FROM generate_series(501, 520) g; UPDATE t SET a = '$name' WHERE id = 9");
	is($copy->safe_psql('postgres', 'SELECT a FROM t WHERE id = 9'), $name, "$name: written");
	verify_is_clean($copy, $name);
}
sealed_once('copies of the cluster');
$_->stop for @copies;

# the extension made anew under a session's temporary tables: serials begin again
my $anew = verity_node('anew', conf => $log_setting);
my $temporary = q(CREATE EXTENSION IF NOT EXISTS verity; CREATE TEMP TABLE t (a int) USING verity; INSERT INTO t VALUES (1););
$anew->safe_psql('postgres', join "\n", $temporary, 'DROP EXTENSION verity CASCADE;', "BEGIN; $temporary ROLLBACK;", $temporary);
sealed_once('temporary tables of two journals');

# … or by another session; or not made after all, and what it took away comes back
my $other = $anew->background_psql('postgres');
$other->query_safe('SET client_min_messages = error');
$other->query_safe($temporary);
$anew->safe_psql('postgres', 'DROP EXTENSION verity CASCADE; CREATE EXTENSION verity');
$other->query_safe($temporary);
my $again = "DROP EXTENSION verity CASCADE; $temporary";
$other->query_safe("BEGIN; $again ROLLBACK; INSERT INTO t VALUES (2)");
is($other->query_safe('SELECT string_agg(a::text, \',\' ORDER BY a) FROM t'), '1,2', 'temporary rows, once DROP and CREATE EXTENSION were rolled back');
$other->query_safe("BEGIN; INSERT INTO t VALUES (3); SAVEPOINT s; $again ROLLBACK TO s; INSERT INTO t VALUES (4); COMMIT");
is($other->query_safe('SELECT string_agg(a::text, \',\' ORDER BY a) FROM t'), '1,2,3,4', 'and to a savepoint');
$other->quit;
sealed_once('temporary tables of journals that came and went');
$anew->stop;

# a standby that is promoted beside its primary
my $primary = verity_node('primary', streaming => 1, conf => $log_setting . "max_connections = 20\n");
$primary->safe_psql('postgres', q(CREATE TABLE t (id int PRIMARY KEY, a text) USING verity; INSERT INTO t SELECT g, 'row' FROM generate_series(1, 5) g));
my $standby = verity_standby($primary, 'standby');
$primary->wait_for_catchup($standby);
$standby->promote;
$primary->safe_psql('postgres', q(INSERT INTO t SELECT g, 'primary' FROM generate_series(11, 15) g));
$standby->safe_psql('postgres', q(INSERT INTO t SELECT g, 'standby' FROM generate_series(11, 15) g));
is($standby->safe_psql('postgres', $generations), '2', 'promotion begins a generation');
is(join(', ', map { finding_names(verify_findings($_)) } $primary, $standby), 'verity.journal: hmac',
	'two that write on from one state have forked, and the keystore that both use knows one of them');
sealed_once('promotion');
$standby->stop;
$primary->stop;

if ($ENV{NONCE_LOG})
{
	system_or_bail('cp', $_, $ENV{NONCE_LOG} . '/' . ($_ =~ s{.*/}{}r) . '.071') for glob "$nonces/nonces.*";
}
done_testing();
