# Random queries by sqlsmith on verity tables: its errors are fine, a crash, a failed assertion or a finding is not.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../t";
use PostgreSQL::Test::Utils;
use Test::More;
use Torture;
use VerityTest;

my $seed = torture_begin();
my $node = verity_node('torture_sqlsmith', conf => "restart_after_crash = off\nlog_statement = none\nlog_min_messages = fatal\nstatement_timeout = 2s\n");
$node->safe_psql('postgres', q(
	SET default_table_access_method = verity;
	CREATE TYPE mood AS ENUM ('good', 'bad');
	CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, born date, mood mood, tags text[], extra jsonb, at timestamptz DEFAULT now());
	CREATE TABLE accounts (id bigint PRIMARY KEY, owner int REFERENCES people ON DELETE CASCADE, balance numeric(12, 2) CHECK (balance > -1000), note text);
	CREATE TABLE events (at timestamptz, person int, kind text, payload bytea, size int GENERATED ALWAYS AS (length(kind)) STORED) PARTITION BY HASH (person);
	CREATE TABLE events_0 PARTITION OF events FOR VALUES WITH (MODULUS 2, REMAINDER 0);
	CREATE TABLE events_1 PARTITION OF events FOR VALUES WITH (MODULUS 2, REMAINDER 1);
	CREATE TABLE shapes (id int GENERATED ALWAYS AS IDENTITY, box box, point point, span int4range, EXCLUDE USING gist (span WITH &&));
	CREATE INDEX ON people USING gin (extra); CREATE INDEX ON people (born); CREATE INDEX ON accounts (owner);
	CREATE INDEX ON events USING brin (at); CREATE INDEX ON people USING hash (name);
	CREATE TABLE plain (id int PRIMARY KEY, v text) USING heap;
	CREATE VIEW rich AS SELECT p.id, name, sum(balance) AS total FROM people p JOIN accounts a ON a.owner = p.id GROUP BY p.id, name;
	INSERT INTO people SELECT g, 'name ' || g, date '2000-01-01' + g, CASE g % 3 WHEN 0 THEN 'good' WHEN 1 THEN 'bad' END::mood,
		ARRAY['a', g::text], jsonb_build_object('n', g, 'long', repeat(md5(g::text), g % 100)) FROM generate_series(1, 500) g;
	INSERT INTO accounts SELECT g, 1 + g % 500, g, repeat('note', g % 50) FROM generate_series(1, 1000) g;
	INSERT INTO events SELECT now() + g * interval '1 min', g % 500, 'kind ' || g % 7, decode(md5(g::text), 'hex') FROM generate_series(1, 2000) g;
	INSERT INTO shapes (box, point, span) SELECT box(point(g, g), point(0, 0)), point(g, 1), int4range(2 * g, 2 * g + 1) FROM generate_series(1, 100) g;
	INSERT INTO plain SELECT g, 'v' FROM generate_series(1, 100) g;
	UPDATE people SET name = name || '!' WHERE id % 5 = 0; DELETE FROM accounts WHERE id % 9 = 0;
	CREATE ROLE smith LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO smith; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO smith));

my ($round, $queries) = (0, 0);
while (time_left())
{
	my $out = '';
	my $run = IPC::Run::start(
		[ 'sqlsmith', '--target=host=' . $node->host . ' port=' . $node->port . ' dbname=postgres user=smith',
			'--seed=' . ($seed + $round), '--max-queries=' . (300 + chance(700)), '--exclude-catalog', '--verbose' ],
		'<', \undef, '>', \$out, '2>', \$out, IPC::Run::timer(20));
	eval { $run->finish; 1 } or $run->kill_kill;
	$queries += $1 if $out =~ /queries: (\d+)(?!.*queries: )/s;
	$round++;
	my $alive = ($node->psql('postgres', 'VACUUM; ANALYZE; SELECT 1'))[0] == 0;
	ok($alive, "round $round: the server is up") or last;
}
diag("sqlsmith says: $queries queries in $round rounds");
log_is_clean($node);
verify_is_clean($node, 'after sqlsmith');
verify_is_clean($node, 'after sqlsmith, without keys', call => 'verity_verify(with_keys => false)');
$node->stop;
done_testing();
