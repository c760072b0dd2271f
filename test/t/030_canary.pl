# No plain text: a word written into a text column is in no file of the data
# directory, its WAL and its TOAST tables included, nor in a standby's; the
# same word in a heap table is found by the same search.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use VerityTest;

my ($sealed, $plain) = ('canary-b7e1-sealed', 'canary-b7e1-plain');
my $primary = verity_node('canary', streaming => 1, conf => "max_connections = 20\nwal_compression = off\n");
my $standby = verity_standby($primary, 'canary_standby');

$primary->safe_psql('postgres', q(CREATE TABLE notes (id int PRIMARY KEY, note text, big text) USING verity;
	ALTER TABLE notes ALTER big SET STORAGE EXTERNAL;
	CREATE TABLE heap_notes (id int PRIMARY KEY, note text)));
$primary->safe_psql('postgres', qq(
	INSERT INTO notes SELECT g, '$sealed', NULL FROM generate_series(1, 500) g;
	INSERT INTO notes SELECT 1000, 'large', repeat('$sealed ', 5000);
	UPDATE notes SET note = note || ' again $sealed' WHERE id % 5 = 0;
	DELETE FROM notes WHERE id % 7 = 0;
	INSERT INTO notes VALUES (2000, 'unfinished $sealed', NULL);
	BEGIN; INSERT INTO notes VALUES (3000, 'aborted $sealed', NULL); ROLLBACK;
	INSERT INTO heap_notes VALUES (1, '$plain')));
is($primary->safe_psql('postgres', "SELECT count(*) FROM notes WHERE note LIKE '%$sealed%'"),
	500 - int(500 / 7) + 2, 'the word is there for who has the keys');
$primary->safe_psql('postgres', 'VACUUM notes; CHECKPOINT');
$primary->wait_for_catchup($standby);
$standby->safe_psql('postgres', 'CHECKPOINT');

for my $node ($primary, $standby)
{
	my @sealed = files_containing($node->data_dir, $sealed);
	is_deeply(\@sealed, [], $node->name . ': the word of a verity table is in no file');
	my @plain = files_containing($node->data_dir, $plain);
	cmp_ok(scalar(grep { m{^base/} } @plain), '>', 0, $node->name . ': the word of a heap table is found in its file');
	cmp_ok(scalar(grep { m{^pg_wal/} } @plain), '>', 0, $node->name . ': and in the WAL');
}
$primary->stop;
$standby->stop;
for my $node ($primary, $standby)
{
	is_deeply([ files_containing($node->data_dir, $sealed) ], [], $node->name . ': nor after it was stopped');
}
done_testing();
