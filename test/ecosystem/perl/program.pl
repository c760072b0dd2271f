# What an application does with DBD::Pg.  Prints the lines of expected/common.out, or of expected/verity.out.
use strict;
use warnings;

use DBI qw(:sql_types);
use DBD::Pg qw(:pg_types);
use IO::Select;

$| = 1;

sub say_that { my ($what, $value) = @_; print "$what: $value\n"; return; }

sub value
{
	my ($dbh, $sql, @args) = @_;
	return ($dbh->selectrow_array($sql, undef, @args))[0];
}

# The steps end in an error: its SQLSTATE, what it names, its class.  The connection is of use again.
sub refused
{
	my ($what, $dbh, $steps, $field) = @_;
	$dbh->begin_work;
	if (eval { $dbh->do($_) for @$steps; $dbh->commit; 1 })
	{
		say_that($what, 'no error');
		return;
	}
	my $named = $dbh->pg_error_field($field // 'message_primary');
	say_that($what, $dbh->state . " $named [" . ref($dbh) . ']');
	$dbh->rollback;
	return;
}

# As refused(), in words of the caller's.
sub refused_as
{
	my ($what, $dbh, $sql, $words) = @_;
	eval { $dbh->do($sql); 1 } and return say_that($what, 'no error');
	say_that($what, $dbh->state . " $words [" . ref($dbh) . ']');
	$dbh->rollback;
	return;
}

sub transactions
{
	my ($dbh) = @_;
	$dbh->begin_work;
	$dbh->do('CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL UNIQUE, quantity int NOT NULL CHECK (quantity >= 0), photo bytea)');
	$dbh->do('CREATE TABLE parts (id int PRIMARY KEY, item int NOT NULL REFERENCES items)');
	$dbh->commit;
	$dbh->begin_work;
	my $insert = $dbh->prepare('INSERT INTO items VALUES (?, ?, ?, ?)');
	for my $i (1 .. 3)
	{
		$insert->bind_param(1, $i, SQL_INTEGER);
		$insert->bind_param(2, "item $i");
		$insert->bind_param(3, $i, SQL_INTEGER);
		$insert->bind_param(4, pack('C*', 0 .. $i - 1), { pg_type => PG_BYTEA });
		$insert->execute;
	}
	$dbh->commit;
	say_that('after commit', value($dbh, 'SELECT count(*) FROM items'));
	$dbh->begin_work;
	$dbh->do(q(INSERT INTO items VALUES (4, 'item 4', 4)));
	$dbh->rollback;
	say_that('after rollback', value($dbh, 'SELECT count(*) FROM items'));
	$dbh->begin_work;
	$dbh->pg_savepoint('s');
	$dbh->do(q(INSERT INTO items VALUES (5, 'item 5', 5)));
	$dbh->pg_rollback_to('s');
	$dbh->do(q(INSERT INTO items VALUES (6, 'item 6', 6)));
	$dbh->commit;
	say_that('after savepoint', value($dbh, 'SELECT count(*) FROM items'));
	return;
}

sub statements
{
	my ($dbh) = @_;
	my $insert = $dbh->prepare('INSERT INTO items VALUES (?, ?, ?)', { pg_prepare_now => 1 });
	my $inserted = 0;
	$inserted += $insert->execute($_, "item $_", $_) for 10 .. 19;
	my $name = $dbh->prepare('SELECT name FROM items WHERE id = ?');
	$name->execute(15);
	say_that('prepared', "$inserted inserted, " . ($name->fetchrow_array)[0]);
	$name->finish;
	my $upsert = $dbh->prepare(q(INSERT INTO items VALUES (1, 'again', 9) ON CONFLICT (id) DO UPDATE SET quantity = items.quantity + 100 RETURNING quantity));
	my $rows = $upsert->execute;
	say_that('upsert', "$rows row, quantity " . ($upsert->fetchrow_array)[0]);
	$upsert->finish;
	my $ids = $dbh->selectcol_arrayref('UPDATE items SET quantity = quantity + 1 WHERE id BETWEEN 10 AND 14 RETURNING id');
	say_that('update', scalar(@$ids) . ' rows: ' . join ' ', sort @$ids);
	say_that('delete', $dbh->do('DELETE FROM items WHERE id = 19') . ' row');
	return;
}

sub copy_and_cursor
{
	my ($dbh) = @_;
	my $copied = 0;
	$dbh->do('COPY items FROM STDIN');
	$copied += $dbh->pg_putcopydata("$_\titem $_\t$_\t\\N\n") for 1000 .. 1999;
	$dbh->pg_putcopyend;
	say_that('copy in', "$copied rows");
	$dbh->do('COPY items (id, quantity) TO STDOUT');
	my ($rows, $sum, $line) = (0, 0, '');
	while ($dbh->pg_getcopydata($line) >= 0)
	{
		$rows++;
		$sum += (split /\t/, $line)[1];
	}
	say_that('copy out', "$rows rows, sum $sum");
	$dbh->begin_work;
	$dbh->do('DECLARE walk CURSOR FOR SELECT id FROM items');
	my ($fetches, $seen) = (0, 0);
	while (my $part = $dbh->selectcol_arrayref('FETCH 100 FROM walk'))
	{
		last if !@$part;
		$fetches++;
		$seen += @$part;
	}
	$dbh->commit;
	say_that('cursor', "$seen rows in $fetches fetches");
	return;
}

sub notification
{
	my ($dbh, $other) = @_;
	$other->do('LISTEN changes');
	$dbh->begin_work;
	$dbh->do('UPDATE items SET quantity = 20 WHERE id = 2');
	$dbh->do(q(NOTIFY changes, 'item 2'));
	$dbh->commit;
	IO::Select->new($other->{pg_socket})->can_read(10);
	my ($name, $pid, $payload) = @{ $other->pg_notifies };
	say_that('notification', "$name $payload");
	return;
}

sub errors
{
	my ($dbh, $other) = @_;
	refused('unique violation', $dbh, [q(INSERT INTO items VALUES (30, 'item 2', 1))], 'constraint_name');
	refused('not null violation', $dbh, ['INSERT INTO items VALUES (30, NULL, 1)'], 'column_name');
	refused('check violation', $dbh, ['UPDATE items SET quantity = -1 WHERE id = 2'], 'constraint_name');
	refused('foreign key violation', $dbh, ['INSERT INTO parts VALUES (1, 99)'], 'table_name');
	$dbh->begin_work;
	eval { $dbh->do(q(INSERT INTO items VALUES (30, 'item 2', 1))) };
	refused_as('failed transaction', $dbh, 'SELECT 1', 'until rollback');
	$other->begin_work;
	$other->do('SELECT 1 FROM items WHERE id = 3 FOR UPDATE');
	$dbh->begin_work;
	refused_as('lock not available', $dbh, 'SELECT 1 FROM items WHERE id = 3 FOR UPDATE NOWAIT', 'nowait');
	$other->rollback;
	$dbh->begin_work;
	$dbh->do('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ');
	value($dbh, 'SELECT quantity FROM items WHERE id = 2');
	$other->do('UPDATE items SET quantity = quantity + 1 WHERE id = 2');
	refused_as('serialization failure', $dbh, 'UPDATE items SET quantity = quantity + 1 WHERE id = 2', 'retry');
	say_that('retried', value($dbh, 'UPDATE items SET quantity = quantity + 1 WHERE id = 2 RETURNING quantity'));
	say_that('contents', value($dbh, q(SELECT count(*) || ' ' || sum(quantity) || ' ' || md5(string_agg(concat_ws(' ', id, name, quantity,
		encode(photo, 'hex')), ',' ORDER BY id)) FROM items)));
	return;
}

sub common
{
	my ($dbh, $other) = @_;
	transactions($dbh);
	statements($dbh);
	copy_and_cursor($dbh);
	notification($dbh, $other);
	errors($dbh, $other);
	return;
}

sub past
{
	my ($dbh) = @_;
	my $position = value($dbh, 'SELECT verity_position()');
	$dbh->begin_work;
	$dbh->do(q(SET LOCAL verity.reason = 'spring cleaning'));
	$dbh->do('DELETE FROM items WHERE id >= 1000');
	$dbh->commit;
	say_that('now', value($dbh, 'SELECT count(*) FROM items'));
	say_that('then', value($dbh, q(SELECT n FROM verity_query_at('SELECT count(*) FROM items', ?::bigint) AS q(n bigint)), $position));
	say_that('reason', value($dbh, 'SELECT reason FROM verity.journal ORDER BY position DESC LIMIT 1'));
	say_that('history', value($dbh, q(SELECT string_agg(operation, ' ' ORDER BY position) FROM verity_history('items', '{"id": 2}'))));
	return;
}

sub verity
{
	my ($dbh) = @_;
	past($dbh);
	refused('truncate', $dbh, ['TRUNCATE items CASCADE']);
	refused('drop', $dbh, ['DROP TABLE items CASCADE']);
	refused('journal', $dbh, ['INSERT INTO verity.journal (position) VALUES (1)']);
	refused('prepare transaction', $dbh, [ 'UPDATE items SET quantity = 5 WHERE id = 3', q(PREPARE TRANSACTION 'p') ]);
	refused('write in the past', $dbh, [ q(SET LOCAL verity.as_of = '5'), 'DELETE FROM items' ]);
	refused('lock in the past', $dbh, [ q(SET LOCAL verity.as_of = '5'), 'SELECT 1 FROM items FOR UPDATE' ]);
	refused('future', $dbh, [q(SELECT * FROM verity_query_at('SELECT 1', 1000000) AS q(n int))]);
	my $once = q(SET LOCAL verity.idempotency_id = '7e1f0000-0000-4000-8000-000000000001');
	$dbh->begin_work;
	$dbh->do($_) for $once, 'UPDATE items SET quantity = 50 WHERE id = 3';
	$dbh->commit;
	refused('a second time', $dbh, [ $once, 'UPDATE items SET quantity = 60 WHERE id = 3' ]);
	say_that('once', value($dbh, 'SELECT quantity FROM items WHERE id = 3'));
	say_that('verify', value($dbh, q(SELECT count(*) FROM verity_verify() WHERE severity <> 'info')));
	return;
}

my @connections = map { DBI->connect('dbi:Pg:', undef, undef, { RaiseError => 1, PrintError => 0, AutoCommit => 1, PrintWarn => 0 }) } 1 .. 2;
my %run = (common => \&common, verity => \&verity);
$run{ $ARGV[0] }->(@connections);
$_->disconnect for @connections;
