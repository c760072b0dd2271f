# StopPointWork.pm
#	  One crash at a named stop point: the work that leads there, the recovery,
#	  the checks.  stop_and_check() is all that tests call.
package StopPointWork;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;
use StopPoints;
use VerityTest;

our @EXPORT = qw(stop_settings stop_state stop_and_check);

# Settings of the servers that are stopped: small caches would hide nothing here.
sub stop_settings
{
	return "restart_after_crash = on\nlog_statement = none\nlog_min_messages = warning\nfull_page_writes = on\n";
}

# What goes from round to round.
sub stop_state
{
	my ($node) = @_;
	my ($last) = $node->safe_psql('postgres', 'SELECT coalesce(max(n), 0) FROM done');
	return { node => $node, n => $last, acknowledged => $last, extra => 0 };
}

# Crash at a point; a list of what was wrong afterwards.
sub stop_and_check
{
	my ($state, $kind, $point, $action) = @_;
	my $node = $state->{node};
	my $run = StopPointWork->can("work_$kind") or die "no work $kind";
	my @wrong = $run->($state, $point, $action);
	push @wrong, map { "at once: $_" } what_is_wrong($node, $state->{acknowledged});
	push @wrong, write_again($state);
	push @wrong, map { "after a write: $_" } what_is_wrong($node, $state->{acknowledged});
	return @wrong;
}

# A transaction without a stop: it must work.
sub write_again
{
	my ($state) = @_;
	my ($status, $last, $err) = run_script($state->{node}, write_sql(++$state->{n}));
	return ("the next transaction failed: $err") if $status != 0;
	$state->{acknowledged} = $last;
	return ();
}

# Run armed work, which must crash.
sub armed
{
	my ($state, $point, $action, $sql, $database) = @_;
	my $log = -s $state->{node}->logfile;
	my ($status, $last, $err) = run_script($state->{node}, script_header($point, $action) . $sql, $database);
	$state->{acknowledged} = $last if $last > $state->{acknowledged};
	return ("the work did not come to $point: $err") if $err !~ /server closed the connection/;
	# the postmaster may take connections before it notices that a process is gone
	$state->{node}->wait_for_log(qr/all server processes terminated.*ready to accept connections/s, $log);
	return ();
}

# Crash the server, with WAL that is on disk and an entry without its commit.
sub crash_undecided
{
	my ($state) = @_;
	my @wrong = armed($state, 'entry-whole', 'flush', write_sql(++$state->{n}));
	return @wrong;
}

# Each work_KIND: what leads to the points of that kind.

sub work_write
{
	my ($state, $point, $action) = @_;
	return armed($state, $point, $action, write_sql(++$state->{n}));
}

# A speculative insertion that meets a conflict: it is killed, which is the second change of one where the
# writing before was confirmed.
sub work_conflict
{
	my ($state, $point, $action) = @_;
	my $first = $point =~ /:2$/ ? write_sql(++$state->{n}) : '';
	return armed($state, $point, $action, $first . conflict_sql(++$state->{n}));
}

# An entry of several fragments, from many savepoints that were rolled back.
sub fragments_sql
{
	my ($state) = @_;
	my $n = ++$state->{n};
	my $sql = "BEGIN; SET LOCAL verity.reason = '$n'; INSERT INTO done VALUES ($n);";
	for my $t ('v', 'h')
	{
		$sql .= qq(DO \$\$ BEGIN FOR i IN 1 .. 1200 LOOP
			INSERT INTO $t VALUES (-10000 * $n - i, $n, 'f');
			BEGIN INSERT INTO $t VALUES (-1, 0, ''), (-1, 0, ''); EXCEPTION WHEN unique_violation THEN NULL; END;
			END LOOP; END \$\$;);
	}
	return "$sql COMMIT;\n\\echo $n\n";
}

sub work_fragments
{
	my ($state, $point, $action) = @_;
	return armed($state, $point, $action, fragments_sql($state));
}

# Half an entry is cut off by the next writer.
sub work_tail
{
	my ($state, $point, $action) = @_;
	my @wrong = armed($state, 'entry-fragment:2', 'flush', fragments_sql($state));
	return @wrong, armed($state, $point, $action, write_sql(++$state->{n}));
}

# The first write after a crash.
sub work_open
{
	my ($state, $point, $action) = @_;
	return crash_undecided($state), armed($state, $point, $action, write_sql(++$state->{n}));
}

sub work_doubt { return work_open(@_); }

# A transaction that fails after its entry, and the one that names it void.
sub work_late
{
	my ($state, $point, $action) = @_;
	my $late = ++$state->{n};
	run_script($state->{node}, qq(BEGIN; INSERT INTO v VALUES (-$late, $late, 'late');
		CREATE TEMP TABLE one (id int PRIMARY KEY) ON COMMIT DELETE ROWS;
		CREATE TEMP TABLE two (id int REFERENCES one); COMMIT;));
	return armed($state, $point, $action, write_sql(++$state->{n}));
}

sub work_serials
{
	my ($state, $point, $action) = @_;
	my $n = ++$state->{n};
	return armed($state, $point, $action,
		"DO \$\$ BEGIN FOR i IN 1 .. 4200 LOOP INSERT INTO v VALUES (-1, $n, 'x'); ROLLBACK; END LOOP; END \$\$;");
}

# A new table in the transaction; it is there if the transaction is.
sub work_create
{
	my ($state, $point, $action) = @_;
	my $n = ++$state->{n};
	my @wrong = armed($state, $point, $action,
		"CREATE TABLE c_$n (id int PRIMARY KEY, t text) USING verity;\n"
		  . "INSERT INTO c_$n SELECT g, 'x' FROM generate_series(1, 10) g;\n" . write_sql($n));
	$state->{node}->safe_psql('postgres', "CREATE TABLE IF NOT EXISTS c_$n (id int PRIMARY KEY, t text) USING verity;
		INSERT INTO c_$n SELECT g, 'x' FROM generate_series(1, 10) g ON CONFLICT DO NOTHING");
	push @wrong, "table c_$n lost rows"
	  if $state->{node}->safe_psql('postgres', "SELECT count(t) FROM c_$n") != 10;
	$state->{node}->safe_psql('postgres', "DROP TABLE c_$n");
	return @wrong;
}

# A backend that is terminated notes the journal's end.
sub work_leave
{
	my ($state, $point, $action) = @_;
	my @wrong = armed($state, $point, $action, write_sql(++$state->{n}) . "SELECT pg_terminate_backend(pg_backend_pid());\n");
	return @wrong, $state->{acknowledged} == $state->{n} ? () : ('the commit was not acknowledged');
}

sub work_accept
{
	my ($state, $point, $action) = @_;
	return armed($state, $point, $action, write_sql(++$state->{n}) . "SELECT verity_accept_journal('a test');\n");
}

# TRUNCATE of a table of the same transaction empties its file, and moves meta
# data that stand behind its rows.
sub work_truncate
{
	my ($state, $point, $action) = @_;
	my $n = ++$state->{n};
	return armed($state, $point, $action,
		"BEGIN; CREATE TABLE c_$n (id int) USING verity; INSERT INTO c_$n SELECT generate_series(1, 1000); "
		  . join('', map { "ALTER TABLE c_$n ADD c$_ int; INSERT INTO c_$n VALUES ($_);" } 1 .. 5)
		  . "TRUNCATE c_$n; COMMIT;\n");
}

# Aborted records, and roots that were superseded.
sub work_vacuum
{
	my ($state, $point, $action) = @_;
	my $aborted = write_sql($state->{n} + 100);
	$aborted =~ s/COMMIT;/ROLLBACK;/;
	my ($status, $last, $err) = run_script($state->{node}, write_sql(++$state->{n}) . $aborted . write_sql(++$state->{n}));
	$state->{acknowledged} = $last;
	return ($status == 0 ? () : ($err),
		armed($state, $point, $action, "VACUUM (INDEX_CLEANUP on) v;\n"));
}

# Pages without current records are frozen and marked.
# Rows that came and went, two a page: a table of more than 32 pages has a map.
sub history_sql
{
	my ($table, $id) = @_;
	return "INSERT INTO $table SELECT $id, (SELECT string_agg(md5((g * 1000 + i)::text), '') FROM generate_series(1, 110) i)
		FROM generate_series(1, 70) g; DELETE FROM $table;\n";
}

sub work_map
{
	my ($state, $point, $action) = @_;
	return armed($state, $point, $action, history_sql('m', ++$state->{extra}) . "VACUUM (FREEZE) m;\n");
}

# A record on a page that is marked.  Each table has one: a second insert finds no mark.
sub work_reuse
{
	my ($state, $point, $action) = @_;
	my $n = ++$state->{n};
	$state->{node}->safe_psql('postgres', "CREATE TABLE r_$n (id int, filler text) USING verity");
	$state->{node}->safe_psql('postgres', history_sql("r_$n", 1));
	$state->{node}->safe_psql('postgres', "VACUUM r_$n");
	my @wrong = armed($state, $point, $action, "INSERT INTO r_$n VALUES (2, 'y');\n");
	$state->{node}->safe_psql('postgres', "INSERT INTO r_$n VALUES (3, 'z')");
	push @wrong, "table r_$n lacks its row" if $state->{node}->safe_psql('postgres', "SELECT min(id) FROM r_$n") != 3;
	return @wrong;
}

# Recovery itself is stopped, several times, and then left alone.
sub work_redo
{
	my ($state, $point, $action) = @_;
	my $node = $state->{node};
	my @wrong;
	my ($status, $last, $err) = run_script($node, 'CHECKPOINT;' . join '', map { write_sql(++$state->{n}) } 1 .. 8);
	$state->{acknowledged} = $last;
	$node->append_conf('postgresql.conf', "verity.stop_action = 'kill'\n");
	$node->stop('immediate');
	for my $pass (1, 3, 6)
	{
		$node->append_conf('postgresql.conf', "verity.stop_point = '$point:$pass'\n");
		next if !$node->start(fail_ok => 1);
		push @wrong, "recovery did not come to $point:$pass";
		$node->stop('immediate');
	}
	$node->append_conf('postgresql.conf', "verity.stop_point = ''\n");
	$node->start;
	return @wrong;
}

# The first use of a database.
sub work_genesis
{
	my ($state, $point, $action) = @_;
	my $node = $state->{node};
	my $database = 'g_' . ++$state->{extra};
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	my @wrong = armed($state, $point, $action, "CREATE EXTENSION verity;\n", $database);
	push @wrong, new_journal($node, $database);
	$node->safe_psql('postgres', "DROP DATABASE $database");
	return @wrong;
}

# The first use of a cluster, which makes its keys.
sub work_first
{
	my ($state, $point, $action) = @_;
	my $node = verity_node("first_$point", conf => stop_settings(), extension => 0);
	my @wrong = armed({ node => $node, acknowledged => 0 }, $point, $action, "CREATE EXTENSION verity;\n");
	push @wrong, new_journal($node, 'postgres');
	push @wrong, 'a second copy of the master key is left' if glob($node->basedir . '/master.key?*');
	$node->stop;
	return @wrong;
}

# CREATE EXTENSION works, and what follows.
sub new_journal
{
	my ($node, $database) = @_;
	$node->safe_psql($database, 'CREATE EXTENSION verity');
	$node->safe_psql($database, 'CREATE TABLE x (a int) USING verity; INSERT INTO x VALUES (1)');
	my @wrong = map { "verify: $_->{check_name} $_->{object} $_->{detail}" } verify_findings($node, database => $database);
	return @wrong, $node->safe_psql($database, 'SELECT sum(a) FROM x') == 1 ? () : ('a row is missing');
}

1;
