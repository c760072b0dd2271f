# The past is right: four concurrent writers make random transactions on
# their own rows (inserts, updates, key changes, deletes, savepoints that are
# rolled back), while another session vacuums and makes indexes. A model in
# Perl keeps every committed state of every writer; each journal position is
# then read with verity_query_at and compared, whole and by key, through
# sequential scans and through the primary key.
use strict;
use warnings;

use Digest::MD5 qw(md5_hex);
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run qw(start finish);
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $seed = $ENV{AS_OF_SEED} // 20261120;
my $transactions = $ENV{AS_OF_TRANSACTIONS} // 260;
my $writers = 4;
my $keys_each = 25;
my $lookups = 9;				# by key, for each position
srand($seed);
note("seed $seed");

my $node = verity_node('as_of', conf => "max_parallel_workers_per_gather = 0\n");
$node->safe_psql('postgres', q(
	CREATE TABLE t (id int PRIMARY KEY, writer int NOT NULL, a int, b text) USING verity;
	CREATE INDEX t_a ON t (a);
));

# One random change; returns its SQL and applies it to the state.
sub change
{
	my ($writer, $state) = @_;
	my $id = $writer + $writers * int(rand($keys_each));
	my $value = int(rand(1000));
	my $kind = rand();
	if (!exists $state->{$id})
	{
		$state->{$id} = [ $value, "i$value" ];
		return "INSERT INTO t VALUES ($id, $writer, $value, 'i$value');\n";
	}
	if ($kind < 0.15)
	{
		delete $state->{$id};
		return "DELETE FROM t WHERE id = $id;\n";
	}
	if ($kind < 0.35)
	{
		my $new = $writer + $writers * int(rand($keys_each));
		return '' if exists $state->{$new};
		$state->{$new} = delete $state->{$id};
		return "UPDATE t SET id = $new WHERE id = $id;\n";
	}
	if ($kind < 0.7)
	{
		$state->{$id} = [ $state->{$id}[0], "u$value" ];
		return "UPDATE t SET b = 'u$value' WHERE id = $id;\n";
	}
	$state->{$id} = [ $value, $state->{$id}[1] ];
	return "UPDATE t SET a = $value WHERE id = $id;\n";
}

# A transaction of one to five changes, with savepoints now and then. Returns
# SQL and the state after it.
sub transaction
{
	my ($writer, $number, $before) = @_;
	my %state = %$before;
	my $sql = "BEGIN;\nSET LOCAL verity.reason = '$writer-$number';\n";
	for my $n (1 .. 1 + int(rand(5)))
	{
		if (rand() < 0.2)
		{
			my %scratch = %state;
			$sql .= "SAVEPOINT s;\n" . change($writer, \%scratch) . change($writer, \%scratch) . "ROLLBACK TO s;\n";
		}
		$sql .= change($writer, \%state);
	}
	return ("$sql ROLLBACK;\n", $before) if rand() < 0.1;
	return ("$sql COMMIT;\n", \%state);
}

# What the writers do, and every state that each of them commits, by reason.
my (%states, @scripts);
for my $writer (0 .. $writers - 1)
{
	my ($state, $script) = ({}, '');
	for my $number (1 .. $transactions)
	{
		my ($sql, $after) = transaction($writer, $number, $state);
		$states{"$writer-$number"} = $after;
		$state = $after;
		$script .= $sql;
		$script .= "SELECT pg_sleep(0.002);\n" if $number % 10 == 0;
	}
	push @scripts, $script;
}
push @scripts, join('', map { "VACUUM t; SELECT pg_sleep(0.1);\n" .
	($_ == 5 ? "CREATE INDEX CONCURRENTLY t_b ON t (b);\n" : '') .
	($_ == 9 ? "REINDEX INDEX t_pkey;\n" : '') } 1 .. 15);

my @runs;
for my $n (0 .. $#scripts)
{
	my $file = $node->basedir . "/writer_$n.sql";
	append_to_file($file, $scripts[$n]);
	push @runs, start([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $file, '-d', $node->connstr('postgres') ],
		'>', \my $out, '2>', \my $err);
}
my $all_ended_well = 1;
$all_ended_well &&= finish($_) for @runs;
ok($all_ended_well, 'the writers and the vacuum ended without an error');

# The whole state at each position, as text and by key.
sub row_text { my ($id, $row) = @_; return "$id:$row->[0]:$row->[1]"; }

my @entries = map { [ split /\|/ ] } split /\n/,
  $node->safe_psql('postgres', q(SELECT position, reason FROM verity.journal WHERE kind = 'transaction' AND outcome = 'committed' AND reason IS NOT NULL ORDER BY position));
my (@current, @expected);
my %row;
for my $entry (@entries)
{
	my ($position, $reason) = @$entry;
	my ($writer) = split /-/, $reason;
	$current[$writer] = $states{$reason};
	%row = map { %{ $_ // {} } } @current;
	my $all = join(',', map { row_text($_, $row{$_}) } sort { $a <=> $b } keys %row);
	push @expected, "$position\t\\N\t" . md5_hex($all);
	for (1 .. $lookups)
	{
		my $id = int(rand($writers * $keys_each));
		push @expected, "$position\t$id\t" . ($row{$id} ? row_text($id, $row{$id}) : 'none');
	}
}
cmp_ok(scalar(@entries), '>', 4 * $transactions * 0.8, 'most transactions are in the journal');
cmp_ok(scalar(@expected), '>=', 8000, 'the model has enough to compare: ' . scalar(@expected));

my $file = $node->basedir . '/expected.tsv';
append_to_file($file, join("\n", @expected) . "\n");
$node->safe_psql('postgres', qq(
	CREATE TABLE expected (position bigint, id int, value text) USING heap;
	COPY expected FROM '$file';
	ANALYZE t;
));

# Compare under these settings; returns how many were compared and differ.
sub compare
{
	my ($settings) = @_;
	return $node->safe_psql('postgres', qq(
		$settings
		CREATE TEMP TABLE result (same boolean) USING heap;
		DO \$\$
		DECLARE e record; found text;
		BEGIN
			FOR e IN SELECT * FROM expected ORDER BY position LOOP
				IF e.id IS NULL THEN
					SELECT md5(coalesce(v, '')) INTO found FROM verity_query_at(
						'SELECT string_agg(id || '':'' || a || '':'' || b, '','' ORDER BY id) FROM t', e.position) AS q(v text);
				ELSE
					SELECT coalesce(max(v), 'none') INTO found FROM verity_query_at(
						format('SELECT id || '':'' || a || '':'' || b FROM t WHERE id = %s', e.id), e.position) AS q(v text);
				END IF;
				INSERT INTO result VALUES (found IS NOT DISTINCT FROM e.value);
				IF found IS DISTINCT FROM e.value THEN
					RAISE WARNING 'position % id %: expected %, found %', e.position, e.id, e.value, found;
				END IF;
			END LOOP;
		END \$\$;
		SELECT count(*), count(*) FILTER (WHERE NOT same) FROM result;
	));
}

my $compared = 0;
for my $case ([ 'through indexes', 'SET enable_seqscan = off;' ],
	[ 'through sequential scans', 'SET enable_indexscan = off; SET enable_bitmapscan = off;' ])
{
	my ($count, $different) = split /\|/, compare($case->[1]);
	is($different, 0, "every position as of then is the model's, $case->[0] ($count compared)");
	$compared += $count;
}
cmp_ok($compared, '>=', 10000, "compared $compared states");

# A key index made later is not used for positions before it.
my $first = $entries[0][0];
my $last = $entries[-1][0];
$node->safe_psql('postgres', 'REINDEX INDEX t_pkey');
my $plan = $node->safe_psql('postgres', "SET enable_seqscan = off; SET verity.as_of = '$last'; EXPLAIN (COSTS OFF) SELECT * FROM t WHERE id = 1");
like($plan, qr/Seq Scan/, 'an index that was rebuilt after a position is not used for it');
$node->safe_psql('postgres', "INSERT INTO t VALUES (-1, 0, 0, 'later')");
$last = $node->safe_psql('postgres', 'SELECT verity_position()');
$plan = $node->safe_psql('postgres', "SET enable_seqscan = off; SET verity.as_of = '$last'; EXPLAIN (COSTS OFF) SELECT * FROM t WHERE id = 1");
like($plan, qr/Index Scan using t_pkey/, 'and is used for later ones');

# What the present leaves out, the past reads: a scan of a hot row's table is dear to it.
$node->safe_psql('postgres', q(CREATE TABLE hot (id int PRIMARY KEY, pad text) USING verity;
	INSERT INTO hot VALUES (1, 'x'), (2, 'y'); DO $$BEGIN FOR i IN 1 .. 5000 LOOP UPDATE hot SET pad = repeat('x', 80) WHERE id = 1; END LOOP; END$$));
$node->safe_psql('postgres', 'VACUUM ANALYZE hot');
$last = $node->safe_psql('postgres', 'SELECT verity_position()');
like($node->safe_psql('postgres', "SET verity.as_of = '$last'; EXPLAIN (COSTS OFF) SELECT * FROM hot WHERE id = 1"),
	qr/Index Scan (using|on) hot_pkey/, 'a hot row of the past is found by its key');
verify_is_clean($node, 'after all that');
$node->stop;
done_testing();
