\set aid random(1, 100000 * :scale)
SELECT unseal(abalance)::int FROM pgbench_accounts WHERE aid = :aid;
