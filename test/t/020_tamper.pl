# The tamper matrix: one thing is changed on a stopped server's files, or by a
# superuser in the catalogs, and verify names that object and that kind, and
# nothing else; the same with workers and after a restart; and what of it
# verify finds without any key.  RULES C 20, C 25, E 33, E 34, E 35.
#
# TAMPER=pattern runs the cases whose name it matches; TAMPER_SHOW=1 prints what was found.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use File::Copy qw(copy);
use Tamper;
use TamperCases;
use Test::More;
use VerityTest;

my $template = verity_node('template',
	checksums => 0,
	conf => "wal_keep_size = 0\nmax_wal_size = 64MB\nallow_system_table_mods = on\nlog_statement = none\n");
my %facts = tamper_template($template);
verify_is_clean($template, 'the template');
$template->stop;

my $number = 0;
for my $case (tamper_cases())
{
	next if defined $ENV{TAMPER} && $case->{name} !~ /$ENV{TAMPER}/;
	run_case($case, ++$number);
}
done_testing();

sub run_case
{
	my ($case, $n) = @_;
	my $node = verity_clone($template, "case$n");
	my %file = map { $_ => $node->data_dir . "/$facts{file}{$_}" } keys %{ $facts{file} };
	my $run_sql = sub { $node->safe_psql('postgres', $_[0]) };

	if ($case->{before})
	{
		$node->start;
		$case->{before}->($run_sql, \%facts);
		$node->stop($case->{stop} // 'fast');
	}
	$case->{files}->($node, \%file, \%facts) if $case->{files};
	$node->start;
	if ($case->{sql})
	{
		my $sql = $case->{sql};
		$run_sql->(ref $sql ? $sql->(\%facts) : $sql);
	}
	check($node, $case, 'finds', 'with the keys');
	check($node, $case, 'finds', 'with two workers', call => 'verity_verify(workers => 2)');
	$node->restart;
	check($node, $case, 'finds', 'after a restart');

	# without any key
	$node->append_conf('postgresql.conf',
		"verity.master_key_file = ''\nverity.keystore_directory = '" . $node->basedir . "/no_keystore'\n");
	$node->restart;
	check($node, $case, exists $case->{keyless} ? 'keyless' : 'finds', 'without any key');
	$node->stop('immediate');
	$node->clean_node;
	return;
}

sub check
{
	my ($node, $case, $which, $how, %opt) = @_;
	my @found = eval { verify_findings($node, %opt) };
	my $names = $@ ? ["error: $@"] : [ finding_names(@found) ];
	if ($ENV{TAMPER_SHOW})
	{
		diag("$case->{name}, $how: " . join ', ', map { "'$_'" } @$names);
		diag("    $_->{record} expected $_->{expected} found $_->{found} $_->{detail}") for @found;
	}
	is_deeply($names, [ sort @{ $case->{$which} } ], "$case->{name}: named $how");
	return;
}
