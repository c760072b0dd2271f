# Keys: where the master key comes from, what a bad key or keystore gets, and that a server without them works otherwise.
use strict;
use warnings;

use File::Copy qw(copy);
use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use Test::More;
use VerityTest;

my $node = verity_node('main', extension => 0, conf => q(
log_statement = all
log_min_messages = debug1
));
my $key = $node->basedir . '/master.key';
my $dir = $node->basedir . '/keystore';
my $file = "$dir/keystore";

# Run SQL in a new session, which asks for the key anew; returns its errors with their codes.
sub errors_of
{
	my ($sql) = @_;
	my ($rc, $out, $err) =
	  $node->psql('postgres', $sql, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $err;
}

# Reading fails with this code and message, a hint is given, and the rest of the server works.
sub refused
{
	my ($what, $code, $message, $sql) = @_;
	my $err = errors_of($sql // 'SELECT * FROM patients');
	like($err, qr/ERROR:  \Q$code\E: .*$message/, "$what: the error and its code");
	like($err, qr/^HINT:  \S/m, "$what: a hint");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM plain'), '1', "$what: other tables work");
	return;
}

sub accepted
{
	my ($what) = @_;
	is($node->safe_psql('postgres', 'SELECT name FROM patients ORDER BY id LIMIT 1'),
		'Ada', "$what: the rows can be read");
	return;
}

# A session that wrote notes the journal's end in the keystore when it leaves, after psql has gone.
sub sessions_gone
{
	$node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
	  or die 'sessions do not end';
	return;
}

sub setting
{
	my ($name, $value) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET $name = '$value'");
	$node->reload;
	$node->poll_query_until('postgres', "SELECT current_setting('$name') = '$value'")
	  or die "$name was not set";
	return;
}

sub write_key
{
	my ($text) = @_;
	unlink $key;
	append_to_file($key, $text);
	chmod 0600, $key or die "$key: $!";
	return;
}

#
# a server without a master key
#
setting('verity.master_key_file', '');
like(errors_of('CREATE EXTENSION verity'),
	qr/WARNING:  55000: verity tables cannot be written yet.*HINT:  Set verity\.master_key_file/s,
	'without a key, CREATE EXTENSION warns and says what to do');
ok(!-e $dir, 'and makes no keystore');
$node->safe_psql('postgres', 'CREATE TABLE plain AS SELECT 1 AS a; CREATE TABLE patients (id int PRIMARY KEY, name text) USING verity');
refused('no keystore', '55000', 'keystore ".*" does not exist', q(INSERT INTO patients VALUES (1, 'Ada')));
refused('no master key', '55000', 'no master key is configured', 'SELECT verity_init_keystore()');
is($node->safe_psql('postgres', 'SELECT count(*) FROM patients'), '0', 'an empty verity table can be read');

#
# making the keystore
#
setting('verity.master_key_file', $key);
$node->safe_psql('postgres', 'CREATE ROLE ada');
like(errors_of('SET ROLE ada; SELECT verity_init_keystore()'), qr/42501: permission denied for function/,
	'an ordinary role cannot make the keystore');
$node->safe_psql('postgres', 'GRANT EXECUTE ON FUNCTION verity_init_keystore() TO ada');
like(errors_of('SET ROLE ada; SELECT verity_init_keystore()'), qr/42501: must be superuser to make the keystore/,
	'not even with the privilege');
like(errors_of('SET ROLE ada; SHOW verity.master_key_file'), qr/42501: /,
	'nor see where the key is');
is($node->safe_psql('postgres', 'SELECT verity_init_keystore()'), 't', 'a superuser makes the keystore');
is($node->safe_psql('postgres', 'SELECT verity_init_keystore()'), 'f', 'once');
my $text = slurp_file($key);
like($text, qr/\A[0-9a-f]{64}\n\z/, 'the master key is 64 hexadecimal digits');
is((stat $key)[2] & 07777, 0600, 'its file is for the server alone');
is((stat $dir)[2] & 07777, 0700, 'so is the directory');
is((stat $file)[2] & 07777, 0600, 'so is the keystore');
$node->safe_psql('postgres', q(INSERT INTO patients VALUES (1, 'Ada'), (2, 'Grace')));
accepted('a new key');
is(errors_of('CREATE DATABASE other'), '', 'another database');
is(($node->psql('other', 'CREATE EXTENSION verity'))[2], '', 'uses the keystore without a word');

#
# a bad master key
#
chmod 0640, $key;
refused('group can read the key', 'F0000', 'has group or world access');
chmod 0604, $key;
refused('others can read the key', 'F0000', 'has group or world access');
chmod 0600, $key;
accepted('the right mode');
my $log_before_bad = -s $node->logfile;
for my $bad (substr($text, 0, 63) . "\n", "0$text", "$text\n", 'g' x 64, '', 'a' x 1000)
{
	write_key($bad);
	refused('a key of ' . length($bad) . ' bytes', 'F0000', 'verity.master_key_file gives no valid master key');
}
my $other = 'c0ffee' x 10 . 'beef';
write_key("$other\n");
refused('a wrong key', 'F0000', 'the master key does not open keystore');
unlink $key;
refused('a missing key file', '58P01', 'master key file ".*" does not exist');
refused('a missing key file of a keystore', '58P01', 'does not exist', 'SELECT verity_init_keystore()');
ok(!-e $key, 'no new key is made for an old keystore');
mkdir $key;
refused('a directory', 'F0000', 'is not a regular file');
rmdir $key;
write_key(uc $text =~ s/\n//r);
accepted('upper case, without a newline');
write_key($text);

#
# a command
#
setting('verity.master_key_command', "cat $key");
refused('file and command', 'F0000', 'are both set');
setting('verity.master_key_file', '');
accepted('a command');
setting('verity.master_key_command', "cat $key; exit 3");
refused('a failing command', 'F0000', 'verity.master_key_command failed: child process exited with exit code 3');
setting('verity.master_key_command', "cat $key; echo more");
refused('a command that says more', 'F0000', 'verity.master_key_command gives no valid master key');
setting('verity.master_key_command', 'yes');
refused('a command that never stops', 'F0000', 'verity.master_key_command failed');
setting('verity.master_key_command', '/nowhere/at/all');
refused('a command that is not there', 'F0000', 'verity.master_key_command failed');
setting('verity.master_key_command', 'sleep 600');
like(errors_of(q(SET statement_timeout = '1s'; SELECT * FROM patients)),
	qr/ERROR:  57014: canceling statement due to statement timeout/, 'a command that hangs is cancelled');
setting('verity.master_key_command', '');
setting('verity.master_key_file', $key);
accepted('the file again');

#
# a bad keystore
#
copy($file, "$file.good") or die "copy: $!";
my $size = -s $file;
for my $at (0, 9, 13, 21, 37, 49, 60, $size - 40, $size - 1)
{
	patch_file($file, $at, 1, sub { chr(ord($_[0]) ^ 1) });
	refused("byte $at of the keystore changed", 'XX001', 'keystore ".*" is damaged');
	copy("$file.good", $file) or die "copy: $!";
}
truncate $file, $size - 1;
refused('a keystore cut short', 'XX001', 'keystore ".*" is damaged');
truncate $file, 0;
refused('an empty keystore', 'XX001', 'keystore ".*" is damaged');
refused('a damaged keystore', 'XX001', 'is damaged', 'SELECT verity_init_keystore()');
unlink $file;
refused('a missing keystore', '55000', 'keystore ".*" does not exist');

my $second = verity_node('second');
$second->stop;
copy($second->basedir . '/keystore/keystore', $file) or die "copy: $!";
refused("another cluster's keystore", '55000', 'keystore ".*" belongs to another cluster');
like(errors_of('SELECT * FROM patients'), qr/DETAIL:  Its system identifier is \d+, this cluster's is \d+\./,
	'both are named');
my $adopted = verity_node('adopted');
$adopted->safe_psql('postgres', 'CREATE TABLE own (id int) USING verity; INSERT INTO own VALUES (1)');
$adopted->stop;
copy($second->basedir . '/keystore/keystore', $adopted->basedir . '/keystore/keystore') or die "copy: $!";
copy($second->basedir . '/master.key', $adopted->basedir . '/wrong.key') or die "copy: $!";
chmod 0600, $adopted->basedir . '/wrong.key';
$adopted->start;
like(($adopted->psql('postgres', 'SELECT verity_adopt_keystore()'))[2], qr/the master key does not open keystore/,
	'a keystore under another master key is not adopted');
$adopted->append_conf('postgresql.conf', "verity.master_key_file = '" . $adopted->basedir . "/wrong.key'");
$adopted->reload;
is($adopted->safe_psql('postgres', 'SELECT verity_adopt_keystore()'), 't', 'one that opens is');
like(($adopted->psql('postgres', 'SELECT * FROM own'))[2], qr/the key is not in the keystore/, 'and does not open what it has no key for');
$adopted->stop;
copy("$file.good", $file) or die "copy: $!";
accepted('the right keystore');

# one from before a table's key was made
$node->safe_psql('postgres', 'CREATE TABLE visits (id int) USING verity; INSERT INTO visits VALUES (1)');
sessions_gone();
copy($file, "$file.newer") or die "copy: $!";
copy("$file.good", $file) or die "copy: $!";
refused('a key that is missing', '55000', 'of table "visits" cannot be opened: the key is not in the keystore',
	'SELECT * FROM visits');
accepted('other keys');
copy("$file.newer", $file) or die "copy: $!";
is($node->safe_psql('postgres', 'SELECT id FROM visits'), '1', 'the newer keystore has it');

# a session that runs notices keys that others made
my $session = $node->background_psql('postgres');
$session->query_safe('SELECT * FROM patients');
$node->safe_psql('postgres', 'CREATE TABLE late (id int) USING verity; INSERT INTO late VALUES (7)');
is($session->query_safe('SELECT id FROM late'), '7', 'a running session finds a key made later');
$session->quit;

#
# a keystore that cannot be written
#
chmod 0500, $dir;
$node->restart;
my (undef, undef, $warning) = $node->psql('postgres', q(INSERT INTO late VALUES (70); INSERT INTO late VALUES (71)));
is(() = $warning =~ /WARNING:  could not note the journal's end in keystore directory ".*": Permission denied/g, 1,
	'a keystore that cannot be written: tables that have a key are written, with one warning');
$node->safe_psql('postgres', 'CREATE TABLE keyless (id int) USING verity');
refused('a new key', '42501', 'could not open keystore lock file|could not write keystore', 'INSERT INTO keyless VALUES (1)');
chmod 0700, $dir;
is($node->safe_psql('postgres', 'INSERT INTO keyless VALUES (1) RETURNING id'), '1', 'it can again');
is($node->safe_psql('postgres', 'SELECT count(*) FROM late'), '3', 'nothing was lost');

#
# a writer that died while changing the keystore
#
append_to_file("$dir/keystore.new", 'half a file');
$node->safe_psql('postgres', 'CREATE TABLE after_death (id int) USING verity; INSERT INTO after_death VALUES (1)');
is($node->safe_psql('postgres', 'SELECT id FROM after_death'), '1', 'a half-written successor does no harm');

#
# many at once
#
$node->safe_psql('postgres', 'CREATE TABLE shared (id int) USING verity');
my @sessions = map { $node->background_psql('postgres') } 1 .. 6;
my $n = 0;
$_->query_until(qr/started/, "\\echo started\nINSERT INTO shared VALUES (" . ++$n . ");\n"
	  . join('', map { "CREATE TABLE t_${n}_$_ (id int) USING verity; INSERT INTO t_${n}_$_ VALUES ($_);\n" } 1 .. 5))
  for @sessions;
$_->quit for @sessions;
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id) FROM shared'), '6|6', 'all wrote into one new table');
is($node->safe_psql('postgres', join(' UNION ALL ', map { my $s = $_; map { "SELECT id FROM t_${s}_$_" } 1 .. 5 } 1 .. 6)
	  =~ s/^(.*)$/SELECT count(*), sum(id) FROM ($1) x/r), '30|90', 'every key that was made at once is kept');
is($node->safe_psql('postgres', q(SELECT count(*) FROM verity.journal WHERE kind = 'key')),
	$node->safe_psql('postgres', q(SELECT count(*) FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE amname = 'verity' AND relkind = 'r')),
	'one key, journalled once, for each table');

$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM shared'), '6', 'they are there after a crash');
verify_is_clean($node, 'keys made, lost and found again');

# a server that lost its keystore writes no entry without an HMAC
rename $dir, "$dir.away" or die "$dir: $!";
refused('no keystore any more', '55000', 'keystore ".*" does not exist', 'CREATE TABLE unkeyed (id int) USING verity');
my ($vacuum_rc, undef, $warned) = $node->psql('postgres', 'VACUUM (FREEZE)');
is($vacuum_rc, 0, 'without keys, VACUUM of all tables comes to its end');
like($warned, qr/WARNING:.*relfrozenxid of the journal cannot advance without keys/, 'and warns that the journal holds transaction IDs back');
refused('a new keystore over a lost one', '55000', 'written under a keystore that is not there', 'SELECT verity_init_keystore()');
ok(!-e $dir, 'no new keystore was made');
like($node->safe_psql('postgres', q(SELECT severity || ' ' || check_name || ' ' || detail FROM verity_verify() WHERE severity <> 'info')),
	qr/^warning keys verified without keys, although a master key is configured: .*does not exist/, 'verify warns that it had no keys');
is($node->safe_psql('postgres', q(SELECT count(*) FROM verity_verify(with_keys => false) WHERE severity <> 'info')), '0', 'unless it was asked to use none');
rename "$dir.away", $dir or die "$dir: $!";
verify_is_clean($node, 'the keystore lost and found again');
is($node->safe_psql('postgres', q(SELECT count(*) FROM verity_verify() WHERE severity = 'info' AND check_name = 'hmac')),
	'1', 'verify tells of the entries from before the keystore');

#
# the whole cluster put back: the keystore saw a later journal
#
$node->stop;
system_or_bail('cp', '-a', $node->data_dir, $node->basedir . '/older');
$node->start;
$node->safe_psql('postgres', 'INSERT INTO late VALUES (8)');
verify_is_clean($node, 'before it is put back');
$node->stop;
system_or_bail('rm', '-r', $node->data_dir);
system_or_bail('mv', $node->basedir . '/older', $node->data_dir);
$node->start;
my $put_back = sub {
	my ($when) = @_;
	is(join(', ', finding_names(verify_findings($node))), "verity.journal: $_[1]", "verify finds the journal put back: $when");
};
$put_back->('at once', 'end');
like(errors_of('INSERT INTO late VALUES (9)'),
	qr/WARNING:  XX001: the journal does not hold what the keystore saw at position \d+.*HINT:  Run verity_verify/s,
	'the first write warns');
$node->safe_psql('postgres', 'INSERT INTO late VALUES (10); INSERT INTO late VALUES (11)') for 1 .. 3;
$put_back->('written over', 'hmac');
$node->restart;
$node->safe_psql('postgres', 'INSERT INTO late VALUES (12)');
$put_back->('after a restart', 'hmac');
like(errors_of('SET ROLE ada; SELECT verity_accept_journal($$mine$$)'), qr/42501: permission denied/,
	'an ordinary role cannot accept it');
like(errors_of('SELECT verity_accept_journal($$$$)'), qr/22023: accepting a journal needs a reason/, 'a reason is needed');
$node->safe_psql('postgres', 'SELECT verity_accept_journal($$restored the backup of Sunday$$)');
verify_is_clean($node, 'accepted');
$node->restart;
$node->safe_psql('postgres', 'INSERT INTO late VALUES (13)');
verify_is_clean($node, 'accepted, restarted and written');
like($node->safe_psql('postgres', q(SELECT summary FROM verity.journal WHERE kind = 'policy')),
	qr/restored the backup of Sunday/, 'the journal says so');

#
# a temporary table's key is the session's
#
is($node->safe_psql('postgres', 'CREATE TEMP TABLE mine (a text) USING verity; INSERT INTO mine VALUES (1), (2); SELECT count(*), max(a) FROM mine'),
	'2|2', 'a temporary table');
$node->safe_psql('postgres', q(INSERT INTO patients VALUES (3, 'Edsger')));

#
# a keystore inside the data directory
#
my $inside = verity_node('inside', extension => 0);
$inside->append_conf('postgresql.conf', "verity.keystore_directory = '" . $inside->data_dir . "/keystore'");
$inside->restart;
my ($rc, $out, $err) = $inside->psql('postgres', 'CREATE EXTENSION verity; CREATE TABLE t (a int) USING verity; INSERT INTO t VALUES (1)');
is($rc, 0, 'a keystore inside the data directory works');
is(() = $err =~ /WARNING:  keystore directory ".*" is inside the data directory/g, 1, 'with one warning');
(undef, undef, $err) = $inside->psql('postgres', 'INSERT INTO t VALUES (2); SELECT * FROM t');
is($err, '', 'and no other');
$inside->stop;

#
# nothing secret in the logs, nor the master key in the data directory
#
my $log = slurp_file($node->logfile);
my $digits = substr $text, 0, 64;
unlike($log, qr/$digits/i, 'the log does not hold the master key');
unlike($log, qr/$other/i, 'nor a wrong one');
is(join(' ', files_containing($node->data_dir, $digits)), '', 'the data directory does not hold it');

#
# the library not preloaded
#
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
like(errors_of("LOAD 'verity'"), qr/FATAL:  55000: verity must be loaded via shared_preload_libraries.*HINT:  Add verity/s,
	'loading it is FATAL');
like(errors_of('CREATE DATABASE third') . ($node->psql('third', 'CREATE EXTENSION verity'))[2],
	qr/FATAL: .*verity must be loaded via shared_preload_libraries/, 'so is CREATE EXTENSION');
is($node->safe_psql('postgres', 'SELECT count(*) FROM plain'), '1', 'the server works otherwise');
$node->stop;

done_testing();
