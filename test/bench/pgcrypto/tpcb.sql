\set aid random(1, 100000 * :scale)
\set bid random(1, 1 * :scale)
\set tid random(1, 10 * :scale)
\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = seal((unseal(abalance)::int + :delta)::text) WHERE aid = :aid;
SELECT unseal(abalance)::int FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = seal((unseal(tbalance)::int + :delta)::text) WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = seal((unseal(bbalance)::int + :delta)::text) WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, seal((:delta)::text), CURRENT_TIMESTAMP);
END;
