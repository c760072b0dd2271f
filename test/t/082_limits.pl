# Limits: a row over 1 GB is refused clearly; a verification keeps its rate,
# shows its progress, can be cancelled, and judges no more than the positions
# that it is asked for.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use VerityTest;

my $node = verity_node('limits', conf => "log_statement = none\n");
$node->safe_psql('postgres', q(
	CREATE TABLE big (id int PRIMARY KEY, a text, b text, c text) USING verity;
	INSERT INTO big VALUES (1, 'small', NULL, NULL);
));

# --- rows ---
my ($status, $out, $err) = $node->psql('postgres',
	q(\set VERBOSITY verbose
	INSERT INTO big SELECT 2, repeat('x', 400000000), repeat('y', 400000000), repeat('z', 400000000)));
isnt($status, 0, 'a row over 1 GB is refused');
like($err, qr/54000: row is too large for a verity table/, 'with its errcode and message');
like($err, qr/HINT: .*1 GB/, 'and a hint');
($status, $out, $err) = $node->psql('postgres',
	q(\set VERBOSITY verbose
	UPDATE big SET a = repeat('x', 400000000), b = repeat('y', 400000000), c = repeat('z', 400000000)));
like($err, qr/54000: row is too large/, 'so is an UPDATE to one');
$node->safe_psql('postgres', q(INSERT INTO big SELECT 3, repeat('x', 100000000), (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 300000) g), NULL));
is($node->safe_psql('postgres', 'SELECT string_agg(id || :comma || length(a), :space ORDER BY id) FROM big' =~ s/:comma/','/r =~ s/:space/' '/r),
	'1,5 3,100000000', 'a large row is kept, and nothing else came');

# --- ranges ---
my $middle = $node->safe_psql('postgres', 'SELECT verity_position()');
$node->safe_psql('postgres', 'CREATE TABLE many (id int, pad text) USING verity; INSERT INTO many SELECT g, md5(g::text) FROM generate_series(1, 60000) g');
my $last = $node->safe_psql('postgres', 'SELECT verity_position()');
like($node->safe_psql('postgres', "SELECT detail FROM verity_verify('many', to_position => $last) WHERE check_name = 'summary' AND object = 'public.many'"),
	qr/\b$last\b/, 'a range is named in the summary');
is($node->safe_psql('postgres', "SELECT count(*) FROM verity_verify(from_position => $middle, to_position => $last, workers => 2) WHERE severity <> 'info'"), 0,
	'a range is clean, with parallel workers');

# sorts that do not fit into memory, records in order and out of it
$node->safe_psql('postgres', q(
	CREATE TABLE large (id int, v text) USING verity;
	INSERT INTO large SELECT g, 'v' FROM generate_series(1, 30000) g;
	UPDATE large SET v = 'w' WHERE id % 3 = 0;
	DELETE FROM large WHERE id % 5 = 0;
	UPDATE large SET v = 'x' WHERE id > 20000;
));
for my $workers (0, 2)
{
	is($node->safe_psql('postgres', qq(SET maintenance_work_mem = '1MB';
		SELECT severity, found FROM verity_verify('large', workers => $workers) WHERE object = 'public.large')),
		$node->safe_psql('postgres', q(SELECT severity, found FROM verity_verify('large') WHERE object = 'public.large')),
		"sorts that go to disk find the same, with $workers workers");
}

# --- rate and progress ---

# Start a verification in a session of its own.
sub start_verify
{
	my ($rate, $workers, $found, $errors) = @_;
	my $sql = "SET verity.verify_rate_limit = $rate;
		SELECT count(*) FROM verity_verify('many', workers => $workers) WHERE severity <> 'info'";
	my $run = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $sql ], '>', $found, '2>', $errors);
	ok($node->poll_query_until('postgres', q(SELECT count(*) > 0 FROM verity.progress WHERE object = 'public.many' AND done BETWEEN 1 AND total)),
		"progress of a verification with $workers workers can be seen");
	return $run;
}

my $size = $node->safe_psql('postgres', q(SELECT pg_relation_size('many') / 1048576.0));
for my $workers (0, 1)
{
	my $began = time;
	start_verify(4, $workers, \my $found, \my $errors)->finish;
	my $took = time - $began;
	cmp_ok($took, '>', $size / 4 * 0.7, sprintf('at 4 MB/s %.1f MB take their time: %.1f s', $size, $took));
	is($found, "0\n", 'and the result is the same');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM verity.progress'), 0, 'then nothing is in progress');
}

# --- cancel ---
for my $workers (0, 1)
{
	my $run = start_verify(1, $workers, \my $found, \my $errors);
	$node->safe_psql('postgres', 'SELECT pg_cancel_backend(pid) FROM verity.progress');
	$run->finish;
	like($errors, qr/canceling statement/, 'a verification can be cancelled');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM verity.progress'), 0, 'and leaves no trace in progress');
}
verify_is_clean($node, 'at the end');
$node->stop;
done_testing();
