# pg_dump | psql, and pg_dump -Fd -j2 with pg_restore -j2: every row of every kind of table comes back, as verity tables; the
# journal does not: a restore begins a new one, in which each row is an insertion by whoever restored.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $node = verity_node('main', protect => 1);
$node->safe_psql('postgres', q(
	CREATE TABLE customers (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE, born date, photo bytea) USING verity;
	CREATE TABLE orders (id bigserial, customer int NOT NULL REFERENCES customers, placed date NOT NULL, total numeric(12, 2),
		tags text[], note jsonb, PRIMARY KEY (id, placed)) PARTITION BY RANGE (placed);
	CREATE TABLE orders_2025 PARTITION OF orders FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') USING verity;
	CREATE TABLE orders_2026 PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') USING verity;
	CREATE TABLE orders_rest PARTITION OF orders DEFAULT USING heap;
	CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree) USING verity;
	CREATE TABLE empty (id int) USING verity;
	CREATE TABLE child (extra text) INHERITS (tree) USING verity;
	CREATE UNLOGGED TABLE unlogged (id int) USING verity;
	CREATE INDEX ON orders USING gin (tags);
	INSERT INTO customers (name, born, photo) SELECT 'customer ' || g, date '1950-01-01' + g, decode(repeat(md5(g::text), g % 200), 'hex')
		FROM generate_series(1, 1000) g;
	INSERT INTO orders (customer, placed, total, tags, note) SELECT 1 + g % 1000, date '2025-06-01' + g % 700, g / 7.0,
		ARRAY['a' || g % 3, NULL, 'b,"'], jsonb_build_object('n', g, 't', E'line\n\t\\\\') FROM generate_series(1, 3000) g;
	INSERT INTO tree VALUES (1, 2), (2, 3), (3, 1);
	INSERT INTO child VALUES (4, 1, 'x');
	INSERT INTO unlogged VALUES (1);
	UPDATE customers SET name = name || ' senior' WHERE id % 10 = 0;
	DELETE FROM orders WHERE id % 50 = 0;
	BEGIN; SET LOCAL verity.idempotency_id = '7e1f0000-0000-4000-8000-000000000001'; SET LOCAL verity.reason = 'secret reason';
	UPDATE orders SET total = 0 WHERE id = 1; COMMIT;
	CREATE VIEW totals AS SELECT customer, sum(total) FROM orders GROUP BY customer;
));

# everything that a client sees of the data, a line a table
sub contents
{
	my ($database) = @_;
	return join "\n", map { $node->safe_psql($database, "SELECT '$_', count(*), md5(string_agg(r::text, E'\\n' ORDER BY r::text)) FROM $_ r") }
	  qw(customers orders orders_2025 orders_2026 orders_rest tree child empty unlogged totals);
}
my $verity_tables = q(SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class c JOIN pg_am a ON a.oid = relam WHERE amname = 'verity');
my $before = contents('postgres');

# Compare a restored database, and what its journal says.
sub restored
{
	my ($database) = @_;
	is(contents($database), $before, "$database: every row");
	is($node->safe_psql($database, $verity_tables), $node->safe_psql('postgres', $verity_tables), "$database: in verity tables");
	is($node->safe_psql($database, q(SELECT kind || ' ' || summary FROM verity.journal WHERE position = 1)),
		"genesis database $database, history protected", "$database: the journal is a new one");
	is($node->safe_psql($database, q(SELECT count(*) FROM verity.journal WHERE reason IS NOT NULL OR idempotency_id IS NOT NULL)),
		'0', "$database: reasons and idempotency ids are not in it");
	is($node->safe_psql($database, q(SELECT count(*) FROM verity.idempotency)), '0', "$database: nor in the table of ids");
	is($node->safe_psql($database, q(SELECT string_agg(DISTINCT operation, ' '), count(*) = (SELECT count(*) FROM customers) FROM verity_history('customers'))),
		'insert|t', "$database: history begins with the restore");
	$node->safe_psql($database, q(UPDATE customers SET born = born + 1 WHERE id = 1; INSERT INTO customers (name) VALUES ('new');
		INSERT INTO orders (customer, placed) VALUES (1, '2026-02-02')));
	verify_is_clean($node, $database, database => $database);
	return;
}

$node->safe_psql('template1', 'CREATE DATABASE piped; CREATE DATABASE parallel; CREATE DATABASE custom');
my $connect = '-h ' . $node->host . ' -p ' . $node->port;
$node->command_ok([ 'sh', '-c', "pg_dump $connect postgres | psql -X -q -v ON_ERROR_STOP=1 $connect -d piped" ], 'pg_dump | psql');
restored('piped');

my $archive = $node->basedir . '/dump.d';
$node->command_ok([ 'pg_dump', '-Fd', '-j2', '-f', $archive, 'postgres' ], 'pg_dump -Fd -j2');
$node->command_ok([ 'pg_restore', '-e', '-j2', '-d', 'parallel', $archive ], 'pg_restore -j2');
restored('parallel');

$node->command_ok([ 'sh', '-c', "pg_dump -Fc --serializable-deferrable $connect postgres | pg_restore -e -1 $connect -d custom" ],
	'pg_dump -Fc | pg_restore in one transaction');
restored('custom');

# what a dump holds of verity itself: a command
my $script = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $script, 'postgres' ], 'a script');
my $text = slurp_file($script);
unlike($text, qr/COPY verity\.|INTO verity\.|secret reason/, 'no data of the journal');
like($text, qr/CREATE EXTENSION IF NOT EXISTS verity/, 'the extension is made anew');

# a dump of the past: the rows of that position, under today's definitions
my $then = $node->safe_psql('postgres', 'SELECT verity_position()');
my @past = map { $node->safe_psql('postgres', "SELECT count(*), md5(string_agg(r::text, ',' ORDER BY r::text)) FROM $_ r") } qw(customers tree orders_2025);
$node->safe_psql('postgres', q(UPDATE customers SET name = 'now ' || id; DELETE FROM orders; INSERT INTO tree VALUES (10, 1);
	CREATE TABLE later (id int PRIMARY KEY) USING verity; INSERT INTO later VALUES (1)));
{
	local $ENV{PGOPTIONS} = "-c verity.as_of=$then";
	$node->command_ok([ 'pg_dump', '--rows-per-insert=500', '-f', "$script.then", 'postgres' ], 'pg_dump --rows-per-insert with verity.as_of');
	$node->command_fails_like([ 'pg_dump', '-f', "$script.copy", 'postgres' ], qr/cannot execute COPY while verity\.as_of is set/,
		'with COPY it is refused');
}
$node->safe_psql('template1', 'CREATE DATABASE past');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$script.then", 'past' ], 'it restores');
is($node->safe_psql('past', "SELECT count(*), md5(string_agg(r::text, ',' ORDER BY r::text)) FROM $_ r"), shift @past, "$_ as of then")
  for qw(customers tree orders_2025);
is($node->safe_psql('past', 'SELECT count(*) FROM later'), '0', 'a later table is empty');

# into a server without the library nothing becomes a plain table
my $plain = PostgreSQL::Test::Cluster->new('plain');
$plain->init;
$plain->start;
$plain->command_fails_like([ 'psql', '-X', '-q', '-f', $script, 'postgres' ], qr/verity must be (pre)?loaded|shared_preload_libraries/,
	'a server that does not preload verity refuses');
is($plain->safe_psql('postgres', q(SELECT count(*) FROM pg_class WHERE relname IN ('customers', 'tree', 'empty'))), '0', 'and has no table of it');
$plain->stop;
verify_is_clean($node, 'the database that was dumped');
$node->stop;
done_testing();
