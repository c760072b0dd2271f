-- pgbench's tables, as it filled them, with sealed balances and fillers, and chained.
ALTER TABLE pgbench_accounts ALTER abalance TYPE bytea USING seal(abalance::text), ALTER filler TYPE bytea USING seal(filler::text);
ALTER TABLE pgbench_tellers ALTER tbalance TYPE bytea USING seal(tbalance::text), ALTER filler TYPE bytea USING seal(filler::text);
ALTER TABLE pgbench_branches ALTER bbalance TYPE bytea USING seal(bbalance::text), ALTER filler TYPE bytea USING seal(filler::text);
ALTER TABLE pgbench_history ALTER delta TYPE bytea USING seal(delta::text), ALTER filler TYPE bytea USING seal(filler::text);
CREATE TRIGGER chain AFTER INSERT OR UPDATE ON pgbench_accounts FOR EACH ROW EXECUTE FUNCTION chain_row();
CREATE TRIGGER chain AFTER INSERT OR UPDATE ON pgbench_tellers FOR EACH ROW EXECUTE FUNCTION chain_row();
CREATE TRIGGER chain AFTER INSERT OR UPDATE ON pgbench_branches FOR EACH ROW EXECUTE FUNCTION chain_row();
CREATE TRIGGER chain AFTER INSERT OR UPDATE ON pgbench_history FOR EACH ROW EXECUTE FUNCTION chain_row();
VACUUM ANALYZE;
