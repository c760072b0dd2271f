-- What people do without verity: heap, columns encrypted by pgcrypto, and a trigger that keeps a hash chain.
-- Each choice is the cheap one: AES-CBC with a random nonce, not pgp_sym_encrypt(), which takes fifty times as long; keys of
-- rows stay plain; of a row that changes, the chain keeps a hash and not the old version.
CREATE EXTENSION pgcrypto;
ALTER DATABASE pgcrypto SET bench.key = '000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f';
\c

CREATE FUNCTION seal(plain text) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
	nonce bytea := gen_random_bytes(16);
BEGIN
	RETURN nonce || encrypt_iv(convert_to(plain, 'UTF8'), decode(current_setting('bench.key'), 'hex'), nonce, 'aes');
END $$;

CREATE FUNCTION unseal(sealed bytea) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
	SELECT convert_from(decrypt_iv(substr(sealed, 17), decode(current_setting('bench.key'), 'hex'), substr(sealed, 1, 16), 'aes'), 'UTF8')
$$;

CREATE TABLE chain (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, relation oid, row_hash bytea, hash bytea);

-- The next link needs this one's hash, so the lock is kept until commit.
CREATE FUNCTION chain_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	row_hash bytea := digest(convert_to(NEW::text, 'UTF8'), 'sha256');
	last bytea;
BEGIN
	PERFORM pg_advisory_xact_lock(1);
	SELECT hash INTO last FROM chain ORDER BY n DESC LIMIT 1;
	INSERT INTO chain (relation, row_hash, hash) VALUES (TG_RELID, row_hash, digest(coalesce(last, '') || row_hash, 'sha256'));
	RETURN NULL;
END $$;

CREATE TABLE single (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a bytea, b bytea, d timestamptz DEFAULT now());
CREATE TRIGGER chain AFTER INSERT ON single FOR EACH ROW EXECUTE FUNCTION chain_row();

-- COPY brings plain text, which a trigger seals.
CREATE TABLE wide (a bytea, b bytea, c bytea, d bytea);
CREATE FUNCTION seal_wide() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.a := seal(convert_from(NEW.a, 'UTF8'));
	NEW.b := seal(convert_from(NEW.b, 'UTF8'));
	NEW.c := seal(convert_from(NEW.c, 'UTF8'));
	NEW.d := seal(convert_from(NEW.d, 'UTF8'));
	RETURN NEW;
END $$;
CREATE TRIGGER seal BEFORE INSERT ON wide FOR EACH ROW EXECUTE FUNCTION seal_wide();
CREATE TRIGGER chain AFTER INSERT ON wide FOR EACH ROW EXECUTE FUNCTION chain_row();
