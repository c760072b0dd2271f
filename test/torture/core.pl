# A process that dies with SIGABRT while it holds keys leaves none of them in
# its core: no master key, data key or HMAC key.
#
# The kernel must write cores as files: kernel.core_pattern = core, say.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../t";
use PostgreSQL::Test::Utils;
use StopPoints;
use Test::More;
use Torture;

torture_begin();
my $top = "$FindBin::RealBin/../..";
my $tool = PostgreSQL::Test::Utils::tempdir() . '/keystore_keys';
system_or_bail('gcc', '-std=gnu11', "-I$top/src", '-o', $tool, "$FindBin::RealBin/keystore_keys.c",
	glob("$top/src/chain/*.c $top/src/crypto/*.c"), '-lcrypto', '-lsodium');

my $pattern = slurp_file('/proc/sys/kernel/core_pattern');
chomp $pattern;
unlike($pattern, qr/^\||\//, "cores are files in the server's directory (kernel.core_pattern is \"$pattern\")");

my $node = torture_node('torture_core');
$node->stop;
# a shell's limit is what the server's processes get
system_or_bail('bash', '-c', 'ulimit -c unlimited && exec pg_ctl -w -D "$0" -l "$1" start', $node->data_dir, $node->logfile);
$node->_update_pid(1);

for my $point ('insert-changed', 'entry-written', 'keystore-partial', 'key-stored', 'committed')
{
	my $log = -s $node->logfile;
	run_script($node, "SELECT count(val) FROM v;\n" . script_header($point, 'abort')
		  . "DROP TABLE IF EXISTS c; CREATE TABLE c (a int) USING verity; INSERT INTO c VALUES (1);\n" . write_sql(1 + chance(1_000_000)));
	$node->wait_for_log(qr/all server processes terminated.*ready to accept connections/s, $log);
	my @cores = glob($node->data_dir . '/core*');
	is(scalar(@cores), 1, "a process aborted at $point") or next;
	my $core = slurp_file($cores[0]);
	cmp_ok(length $core, '>', 1_000_000, 'and left a core');
	ok(index($core, 'keystore') >= 0, 'with its memory');
	my %found;
	for (split /\n/, `$tool @{[ $node->basedir ]}/keystore/keystore @{[ $node->basedir ]}/master.key`)
	{
		my ($what, $hex) = split;
		$found{$what} = ($found{$what} // 0) + (index($core, pack 'H*', $hex) >= 0 || index($core, $hex) >= 0 ? 1 : 0);
	}
	is(join(' ', map { "$_:$found{$_}" } sort keys %found), 'DEK:0 HMAC:0 master:0', "without a key, at $point");
	unlink @cores;
}
$node->stop;
done_testing();
