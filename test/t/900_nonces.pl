# No nonce comes twice: over all servers of the whole test suite, crashes,
# clones, promotions and restores included, no (key, generation, record id)
# sealed two records.  RULES A 1, D 27, D 28.
#
# Runs last.  The servers of assertion builds log what they seal to NONCE_LOG.
use strict;
use warnings;

use Test::More;

my $dir = $ENV{NONCE_LOG};
if (!$dir)
{
	plan skip_all => 'NONCE_LOG is not set';
}
my $sealed = `cat '$dir'/nonces.* | wc -l` + 0;
my $repeated = `cat '$dir'/nonces.* | sort -S 200M -T '$dir' | uniq -d | wc -l` + 0;
my $malformed = `cat '$dir'/nonces.* | grep -cvE '^[0-9]+ [0-9]+ [0-9]+ [0-9]+\$'` + 0;
cmp_ok($sealed, '>', 100, "records were sealed ($sealed)");
is($malformed, 0, 'each line of the log is whole');
is($repeated, 0, 'no nonce came twice');
done_testing();
