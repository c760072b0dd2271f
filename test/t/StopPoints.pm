# StopPoints.pm
#	  Work that leads through every named stop point, and what must hold after
#	  a crash there.
#
# Each transaction writes the verity table v and the plain table h alike, so
# that h is the oracle: what PostgreSQL committed is in both, what it did not
# is in neither.  Table done gets the transaction's number, which is also its
# reason in the journal.
package StopPoints;

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

our @EXPORT = qw(
  stop_points_in_source stop_point_work stop_tables meddling_tables
  script_file run_script script_header write_sql conflict_sql what_is_wrong
);

# The names in the source.
sub stop_points_in_source
{
	my $top = "$FindBin::RealBin/../..";
	my %names;
	open my $grep, '-|', 'grep', '-rhoE', '--include=*.c', 'VERITY_STOP\("[a-z-]+"\)', "$top/src" or die $!;
	while (<$grep>)
	{
		$names{$1} = 1 if /"([a-z-]+)"/;
	}
	close $grep;
	return sort keys %names;
}

# Name of each point => which kind of work comes there.
sub stop_point_work
{
	my %by_work = (
		write => [ qw(insert-changed insert-logged multi-insert-changed multi-insert-logged
			  speculation-placed speculation-indexed speculation-changed speculation-logged update-changed update-logged
			  idempotency-claimed pre-commit journal-changed journal-logged
			  entry-fragment entry-written entry-whole entry-appended committed) ],
		conflict => [qw(speculation-killed speculation-discarded speculation-changed:2 speculation-logged:2)],
		fragments => [qw(entry-fragment:2)],
		tail => [qw(tail-cut)],
		open => [qw(tail-recovered generation-written generation-voided generation-flushed)],
		doubt => [qw(void-serials-marked)],
		late => [qw(void-written)],
		serials => [qw(serials-reserved)],
		create => [ qw(ledger-counted ledger-numbered storage-made meta-made storage-ready
			  key-stored key-journalled key-noted meta-changed meta-logged
			  keystore-partial keystore-written keystore-closed keystore-renamed) ],
		leave => [qw(mark-flushed)],
		accept => [qw(journal-accepted)],
		truncate => [qw(truncate-begun truncate-gathered truncate-cut)],
		vacuum => [ qw(reclaim-changed reclaim-logged index-horizon-logged indexes-scanned second-pass
			  vacuum-scanned) ],
		map => [qw(freeze-changed freeze-logged map-set-changed map-set-logged)],
		reuse => [qw(map-cleared)],
		redo => [qw(redo redo-update redo-journal)],
		genesis => [qw(genesis-begun genesis-written)],
		first => [qw(master-key-opened master-key-written master-key-linked master-key-made keystore-made)]);
	my %work;
	for my $kind (keys %by_work)
	{
		$work{$_} = $kind for @{ $by_work{$kind} };
	}
	return %work;
}

sub stop_tables
{
	my $tables = '';
	for my $table ([ 'v', 'USING verity' ], [ 'h', '' ])
	{
		$tables .= "CREATE TABLE $table->[0] (id bigint PRIMARY KEY, n int, val text) $table->[1];"
		  . "CREATE INDEX ON $table->[0] (n);";
	}
	return "$tables CREATE TABLE done (n bigint); CREATE TABLE m (id int, filler text) USING verity;" . meddling_tables();
}

# Tables whose index meets a conflict that was not there when it was looked for:
# when it is asked for a row's key for the second time, another session has written one.
sub meddling_tables
{
	my $sql = q(
		CREATE EXTENSION dblink;
		CREATE FUNCTION meddle_write(id bigint) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM dblink_exec(format('dbname=%s host=%s port=%s', current_database(),
				current_setting('unix_socket_directories'), current_setting('port')),
				format('INSERT INTO conflict_v VALUES (%s); INSERT INTO conflict_h VALUES (%1$s)', -id));
		END $$;
		CREATE FUNCTION meddle(id bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
		DECLARE
			calls int := nullif(current_setting('test.calls', true), '')::int + 1;
		BEGIN
			PERFORM set_config('test.calls', calls::text, true);
			IF calls = 2 THEN
				PERFORM meddle_write(id);
			END IF;
			RETURN abs(id);
		END $$;);
	$sql .= "CREATE TABLE conflict_$_->[0] (id bigint PRIMARY KEY, val text) $_->[1]; CREATE UNIQUE INDEX ON conflict_$_->[0] (meddle(id));"
	  for [ 'v', 'USING verity' ], [ 'h', '' ];
	return $sql;
}

# Arm a point for the session.
sub script_header
{
	my ($point, $action) = @_;
	return "SET verity.stop_action = '$action'; SET verity.stop_point = '$point';\n";
}

# The n-th transaction: every kind of write, in both tables, and the number once it is acknowledged.
sub write_sql
{
	my ($n) = @_;
	my ($at, $before) = (10 * $n, 10 * ($n - 1));
	my $long = "(SELECT string_agg(md5((g + $n)::text), '') FROM generate_series(1, 200) g)";
	my $sql = "BEGIN; SET LOCAL verity.reason = '$n';"
	  . sprintf("SET LOCAL verity.idempotency_id = '00000000-0000-0000-0000-%012d';\n", $n);
	for my $t ('v', 'h')
	{
		$sql .= "INSERT INTO $t VALUES ($at + 1, $n, $long);\n"
		  . "COPY $t FROM stdin;\n" . join('', map { $at + $_ . "\t$n\tcopied\n" } 2, 3, 6) . "\\.\n"
		  . "INSERT INTO $t VALUES ($at + 4, $n, 'c') ON CONFLICT (id) DO UPDATE SET val = 'conflict';\n"
		  . "UPDATE $t SET val = val || $n WHERE id = $before + 1;\n"
		  . "UPDATE $t SET n = $n WHERE id = $before + 4;\n"
		  . "UPDATE $t SET id = $before + 5 WHERE id = $before + 2;\n"
		  . "DELETE FROM $t WHERE id = $before + 3;\n"
		  . "SAVEPOINT s; UPDATE $t SET val = 'gone' WHERE n = $n; INSERT INTO $t VALUES ($at + 9, 0, 'gone'); ROLLBACK TO s;\n";
	}
	return "$sql INSERT INTO done VALUES ($n);\nCOMMIT;\n\\echo $n\n";
}

# A transaction whose speculative insertion of a long row is killed.
sub conflict_sql
{
	my ($n) = @_;
	my $long = "(SELECT string_agg(md5((g + $n)::text), '') FROM generate_series(1, 200) g)";
	my $sql = "BEGIN; SET LOCAL verity.reason = '$n'; SET LOCAL test.calls = 0;\n";
	$sql .= "INSERT INTO conflict_$_ VALUES ($n, $long) ON CONFLICT DO NOTHING;\n" for 'v', 'h';
	return "$sql UPDATE conflict_v SET val = 'met' WHERE id = -$n; UPDATE conflict_h SET val = 'met' WHERE id = -$n;\n"
	  . "INSERT INTO done VALUES ($n);\nCOMMIT;\n\\echo $n\n";
}

# A script in a file: a psql that leaves early would break a pipe.
sub script_file
{
	my ($script) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/script.sql';
	append_to_file($file, $script);
	return $file;
}

# Run a script in psql: exit status, last number printed, errors.
sub run_script
{
	my ($node, $script, $database) = @_;
	my ($out, $err) = ('', '');
	my $harness = IPC::Run::start(
		[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($database // 'postgres'), '-f', script_file($script) ],
		'<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(120));
	$harness->finish;
	my @numbers = $out =~ /^(\d+)$/mg;
	return ($harness->result(0), $numbers[-1] // 0, $err);
}

# What does not hold, of a server that is up: a list of sentences.
#	acknowledged  the last number that a client saw
sub what_is_wrong
{
	my ($node, $acknowledged) = @_;
	my @wrong;
	my ($differ, $last, $entries) = split /\|/, $node->safe_psql('postgres', q(
		SELECT (SELECT count(*) FROM ((TABLE v EXCEPT ALL TABLE h) UNION ALL (TABLE h EXCEPT ALL TABLE v)) d)
			+ (SELECT count(*) FROM ((TABLE conflict_v EXCEPT ALL TABLE conflict_h) UNION ALL
				(TABLE conflict_h EXCEPT ALL TABLE conflict_v)) d),
			(SELECT coalesce(max(n), 0) FROM done),
			(SELECT count(*) FROM done FULL JOIN
				(SELECT reason FROM verity.journal WHERE outcome = 'committed' AND reason ~ '^\d+$') j
				ON j.reason = done.n::text WHERE j.reason IS NULL OR done.n IS NULL)));
	push @wrong, "$differ rows differ from the plain table" if $differ != 0;
	push @wrong, "transaction $acknowledged was acknowledged, $last is the last" if $last < $acknowledged;
	push @wrong, "$entries transactions are in journal or table alone" if $entries != 0;
	push @wrong, map { "verify: $_->{check_name} $_->{object} $_->{position} $_->{record} $_->{detail}" } verify_findings($node);
	return @wrong;
}

1;
