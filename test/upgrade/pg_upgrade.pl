# pg_upgrade from the server in OLD_BIN to the one in NEW_BIN, in copy and link mode: rows, journal, history, the past and verify
# are what they were, under the old keystore, which the new cluster adopts.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../t";
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my ($old_bin, $new_bin) = @ENV{qw(OLD_BIN NEW_BIN)};
die 'OLD_BIN and NEW_BIN must name two servers' if !$old_bin || !$new_bin;
my $port = 40000 + $$ % 20000;

# A cluster: its programs, its directory, where its keys are.
sub cluster
{
	my ($bin, $dir, $keys) = @_;
	system_or_bail("$bin/initdb", '-D', "$dir/data", '-A', 'trust', '-E', 'UTF8', '--no-locale', '--data-checksums');
	append_to_file("$dir/data/postgresql.conf", "listen_addresses = ''\nunix_socket_directories = '$dir'\nport = $port\n" . verity_settings($keys));
	return { bin => $bin, dir => $dir };
}

sub control
{
	my ($cluster, $action) = @_;
	system_or_bail("$cluster->{bin}/pg_ctl", '-w', '-s', '-D', "$cluster->{dir}/data", '-l', "$cluster->{dir}/log", $action);
	return;
}

# What psql prints, and what went wrong.
sub asked
{
	my ($cluster, $sql) = @_;
	my ($out, $err);
	IPC::Run::run([ "$cluster->{bin}/psql", '-XAtq', '-v', 'ON_ERROR_STOP=1', '-h', $cluster->{dir}, '-p', $port, 'postgres' ],
		'<', \$sql, '>', \$out, '2>', \$err);
	chomp $out;
	return wantarray ? ($out, $err) : $err eq '' ? $out : "$out$err";
}

my $findings = q(SELECT concat_ws(' ', check_name, object, position, expected, found, detail) FROM verity_verify(with_keys => true) WHERE severity <> 'info');

# All that must outlast the upgrade, a query each.
my @facts = (
	'SELECT verity_position()',
	q(SELECT md5(string_agg(position || ' ' || kind || ' ' || summary || coalesce(reason, '') || encode(hash, 'hex'), ',' ORDER BY position)) FROM verity.journal WHERE position <= %d),
	(map { "SELECT count(*), md5(string_agg(r::text, ',' ORDER BY r::text)) FROM $_ r" } qw(t parted child heir seen unlogged)),
	q(SELECT md5(string_agg(h::text, ',' ORDER BY position, record)) FROM verity_history('t') h),
	(map { "SELECT * FROM verity_query_at('SELECT count(*), sum(n), sum(length(a)) FROM t', $_) AS q(c bigint, n bigint, l bigint)" } 8 .. 14),
	q(SELECT verity_committed('7e1f0000-0000-4000-8000-000000000003')),
	q(SELECT id FROM t WHERE a = 'row 77'),
	q(SELECT count(*) FROM t WHERE n = 0),
	q(SELECT md5(verity.table_definition('t'))));

sub fill
{
	my ($cluster) = @_;
	is(asked($cluster, q(
		SET client_min_messages = warning;
		CREATE EXTENSION verity;
		CREATE TABLE t (id int PRIMARY KEY, gone int, n int CHECK (n >= 0), a text) USING verity;
		CREATE INDEX ON t (n); CREATE INDEX ON t USING hash (a);
		CREATE TABLE parted (id int NOT NULL, k text NOT NULL) PARTITION BY LIST (k);
		CREATE TABLE parted_a PARTITION OF parted FOR VALUES IN ('a') USING verity;
		CREATE TABLE child (id int NOT NULL REFERENCES t) USING verity;
		CREATE UNLOGGED TABLE unlogged (id int) USING verity;
		INSERT INTO t SELECT g, g, g, 'row ' || g FROM generate_series(1, 1000) g;
		INSERT INTO t SELECT 5000, 1, 1, string_agg(md5(g::text), '') FROM generate_series(1, 500) g;
		ALTER TABLE t DROP COLUMN gone;
		ALTER TABLE t ADD COLUMN later text DEFAULT 'x';
		BEGIN; SET LOCAL verity.reason = 'before the upgrade'; SET LOCAL verity.idempotency_id = '7e1f0000-0000-4000-8000-000000000003';
		UPDATE t SET n = 0 WHERE id > 500; COMMIT;
		DELETE FROM t WHERE id BETWEEN 900 AND 950;
		BEGIN; INSERT INTO t VALUES (7000, 1, 'gone'); ROLLBACK;
		INSERT INTO parted SELECT g, 'a' FROM generate_series(1, 100) g;
		INSERT INTO child SELECT g FROM generate_series(1, 10) g;
		VACUUM (FREEZE) child; VACUUM t;
		UPDATE t SET a = a || '!' WHERE id = 5000;
		CREATE MATERIALIZED VIEW seen USING verity AS SELECT count(*) FROM t;
		INSERT INTO unlogged VALUES (1);
		CREATE TABLE elder (a int NOT NULL, b int);
		CREATE DOMAIN given AS int NOT NULL;
		CREATE TABLE renamed (b int NOT NULL, c given, d int NOT NULL) INHERITS (elder) USING verity;
		ALTER TABLE renamed RENAME TO heir;
		ALTER TABLE heir RENAME COLUMN d TO e;
		INSERT INTO heir VALUES (1, 2, 3, 4);
	)), '', 'the old cluster is filled');
	return;
}

for my $mode ('copy', 'link')
{
	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	mkdir "$dir/$_" for qw(old new);
	my $old = cluster($old_bin, "$dir/old", "$dir/old");
	control($old, 'start');
	fill($old);
	my $position = asked($old, 'SELECT verity_position()');
	my @before = map { scalar asked($old, sprintf $_, $position) } @facts;
	unlike(join("\n", @before), qr/ERROR/, "$mode: each question has an answer");
	is(asked($old, $findings), '', "$mode: the old cluster verifies clean");
	control($old, 'stop');

	# with a copy of the keystore, so that the old cluster keeps its own
	system_or_bail('cp', '-a', "$dir/old/keystore", "$dir/old/master.key", "$dir/new");
	my $new = cluster($new_bin, "$dir/new", "$dir/new");
	my @upgrade = ("$new_bin/pg_upgrade", '-b', $old_bin, '-B', $new_bin, '-d', "$dir/old/data", '-D', "$dir/new/data", '-s', $dir);
	{
		my $here = POSIX::getcwd();
		chdir $dir or die "chdir: $!";
		command_ok([ @upgrade, '--check' ], "$mode: pg_upgrade --check");
		command_ok([ @upgrade, "--$mode" ], "$mode: pg_upgrade");
		chdir $here or die "chdir: $!";
	}
	control($new, 'start');

	my ($out, $err) = asked($new, 'SELECT count(a) FROM t');
	like($err, qr/keystore ".*" belongs to another cluster/, "$mode: rows are refused under another cluster's keystore");
	like($err, qr/After pg_upgrade, call verity_adopt_keystore\(\)/, "$mode: the hint says what to do");
	is(asked($new, 'SELECT verity_adopt_keystore()'), 't', "$mode: the keystore is adopted");
	is(asked($new, 'SELECT verity_adopt_keystore()'), 'f', "$mode: once");

	is(asked($new, sprintf $facts[$_], $position), $before[$_], "$mode: same as before: " . substr $facts[$_], 0, 90) for 0 .. $#facts;
	is(asked($new, $findings), '', "$mode: the new cluster verifies clean, with keys");
	is(asked($new, q(UPDATE t SET n = n + 1 WHERE id <= 300; DELETE FROM child; INSERT INTO parted VALUES (1000, 'a');
		CREATE TABLE fresh (id int PRIMARY KEY) USING verity; INSERT INTO fresh VALUES (1); VACUUM t)), '', "$mode: it is written");
	is(asked($new, $findings), '', "$mode: and verifies clean");
	is(asked($new, sprintf $facts[1], $position), $before[1], "$mode: the old entries are the same");
	is(asked($new, q(SELECT count(*) FROM verity_history('t', '{"id": 7}'))), '2', "$mode: history goes on");
	like(asked($new, q(BEGIN; SET LOCAL verity.idempotency_id = '7e1f0000-0000-4000-8000-000000000003'; DELETE FROM t; COMMIT)),
		qr/was already committed at position \d+/, "$mode: an idempotency id of before is known");
	like(asked($new, 'TRUNCATE t CASCADE'), qr/because its history is protected/, "$mode: history is protected");
	control($new, 'restart');
	is(asked($new, 'UPDATE t SET n = n + 1 WHERE id = 1; ' . $findings), '', "$mode: written again after a restart, and clean");
	control($new, 'stop');

	next if $mode eq 'link';
	control($old, 'start');
	is(asked($old, $findings), '', "$mode: the old cluster, with its own keystore, is as it was");
	control($old, 'stop');
}
done_testing();
