# What an application does with psycopg 2.  Prints the lines of expected/common.out, or of expected/verity.out.
import io
import select
import sys

import psycopg2
import psycopg2.extensions as ext


def say(what, value):
    print(f'{what}: {value}', flush=True)


def value(conn, sql, args=()):
    with conn.cursor() as cur:
        cur.execute(sql, args)
        return cur.fetchone()[0]


def refused(what, conn, steps, named=lambda e: e.diag.message_primary):
    """The steps end in an error: its SQLSTATE, what it names, its class.  The connection is of use again."""
    try:
        with conn.cursor() as cur:
            for step in steps:
                cur.execute(*step) if isinstance(step, tuple) else cur.execute(step)
        conn.commit()
        say(what, 'no error')
    except psycopg2.Error as e:
        say(what, f'{e.pgcode} {named(e)} [{type(e).__name__}]')
        conn.rollback()


def transactions(conn):
    with conn, conn.cursor() as cur:  # commits
        cur.execute('CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL UNIQUE, quantity int NOT NULL CHECK (quantity >= 0), photo bytea)')
        cur.execute('CREATE TABLE parts (id int PRIMARY KEY, item int NOT NULL REFERENCES items)')
    with conn, conn.cursor() as cur:
        for i in (1, 2, 3):
            cur.execute('INSERT INTO items VALUES (%s, %s, %s, %s)', (i, f'item {i}', i, bytes(range(i))))
    say('after commit', value(conn, 'SELECT count(*) FROM items'))
    with conn.cursor() as cur:
        cur.execute("INSERT INTO items VALUES (4, 'item 4', 4)")
    conn.rollback()
    say('after rollback', value(conn, 'SELECT count(*) FROM items'))
    with conn, conn.cursor() as cur:
        cur.execute("SAVEPOINT s; INSERT INTO items VALUES (5, 'item 5', 5); ROLLBACK TO s; INSERT INTO items VALUES (6, 'item 6', 6)")
    say('after savepoint', value(conn, 'SELECT count(*) FROM items'))


def statements(conn):
    with conn, conn.cursor() as cur:
        cur.execute('PREPARE add_item (int, text, int) AS INSERT INTO items VALUES ($1, $2, $3)')
        cur.execute('PREPARE get_name (int) AS SELECT name FROM items WHERE id = $1')
        inserted = 0
        for i in range(10, 20):
            cur.execute('EXECUTE add_item (%s, %s, %s)', (i, f'item {i}', i))
            inserted += cur.rowcount
        cur.execute('EXECUTE get_name (15)')
        say('prepared', f'{inserted} inserted, {cur.fetchone()[0]}')
        cur.execute("INSERT INTO items VALUES (1, 'again', 9) ON CONFLICT (id) DO UPDATE SET quantity = items.quantity + 100 RETURNING quantity")
        say('upsert', f'{cur.rowcount} row, quantity {cur.fetchone()[0]}')
        cur.execute('UPDATE items SET quantity = quantity + 1 WHERE id BETWEEN 10 AND 14 RETURNING id')
        say('update', f'{cur.rowcount} rows: ' + ' '.join(str(r[0]) for r in sorted(cur.fetchall())))
        cur.execute('DELETE FROM items WHERE id = 19')
        say('delete', f'{cur.rowcount} row')


def copy_and_cursor(conn):
    with conn, conn.cursor() as cur:
        lines = ''.join(f'{i}\titem {i}\t{i}\t\\N\n' for i in range(1000, 2000))
        cur.copy_expert('COPY items FROM STDIN', io.StringIO(lines))
        say('copy in', f'{cur.rowcount} rows')
        out = io.StringIO()
        cur.copy_expert('COPY items (id, quantity) TO STDOUT', out)
        rows = [line.split('\t') for line in out.getvalue().splitlines()]
        say('copy out', f'{len(rows)} rows, sum {sum(int(r[1]) for r in rows)}')
    with conn, conn.cursor('walk') as cur:
        cur.execute('SELECT id FROM items')
        fetches = seen = 0
        while rows := cur.fetchmany(100):
            fetches, seen = fetches + 1, seen + len(rows)
        say('cursor', f'{seen} rows in {fetches} fetches')


def notification(conn, other):
    other.set_isolation_level(ext.ISOLATION_LEVEL_AUTOCOMMIT)
    with other.cursor() as cur:
        cur.execute('LISTEN changes')
    with conn, conn.cursor() as cur:
        cur.execute('UPDATE items SET quantity = 20 WHERE id = 2')
        cur.execute("NOTIFY changes, 'item 2'")
    select.select([other], [], [], 10)
    other.poll()
    say('notification', f'{other.notifies[0].channel} {other.notifies[0].payload}')


def errors(conn, other):
    constraint = lambda e: e.diag.constraint_name
    sqlstate = lambda e: ''
    refused('unique violation', conn, ["INSERT INTO items VALUES (30, 'item 2', 1)"], constraint)
    refused('not null violation', conn, ['INSERT INTO items VALUES (30, NULL, 1)'], lambda e: e.diag.column_name)
    refused('check violation', conn, ['UPDATE items SET quantity = -1 WHERE id = 2'], constraint)
    refused('foreign key violation', conn, ['INSERT INTO parts VALUES (1, 99)'], lambda e: e.diag.table_name)
    with conn.cursor() as cur:
        try:
            cur.execute("INSERT INTO items VALUES (30, 'item 2', 1)")
        except psycopg2.errors.UniqueViolation:
            refused('failed transaction', conn, ['SELECT 1'], lambda e: 'until rollback')
    with other.cursor() as cur:
        cur.execute('BEGIN; SELECT 1 FROM items WHERE id = 3 FOR UPDATE')
        refused('lock not available', conn, ['SELECT 1 FROM items WHERE id = 3 FOR UPDATE NOWAIT'], lambda e: 'nowait')
        cur.execute('ROLLBACK')
        conn.set_isolation_level(ext.ISOLATION_LEVEL_REPEATABLE_READ)
        value(conn, 'SELECT quantity FROM items WHERE id = 2')
        cur.execute('UPDATE items SET quantity = quantity + 1 WHERE id = 2')
        refused('serialization failure', conn, ['UPDATE items SET quantity = quantity + 1 WHERE id = 2'], lambda e: 'retry')
    say('retried', value(conn, 'UPDATE items SET quantity = quantity + 1 WHERE id = 2 RETURNING quantity'))
    conn.commit()
    conn.set_isolation_level(ext.ISOLATION_LEVEL_DEFAULT)
    say('contents', value(conn, """SELECT count(*) || ' ' || sum(quantity) || ' ' || md5(string_agg(concat_ws(' ', id, name, quantity,
        encode(photo, 'hex')), ',' ORDER BY id)) FROM items"""))


def common(conn, other):
    transactions(conn)
    statements(conn)
    copy_and_cursor(conn)
    notification(conn, other)
    errors(conn, other)


def past(conn):
    position = value(conn, 'SELECT verity_position()')
    with conn, conn.cursor() as cur:
        cur.execute("SET LOCAL verity.reason = 'spring cleaning'")
        cur.execute('DELETE FROM items WHERE id >= 1000')
    say('now', value(conn, 'SELECT count(*) FROM items'))
    say('then', value(conn, "SELECT n FROM verity_query_at('SELECT count(*) FROM items', %s) AS q(n bigint)", (position,)))
    say('reason', value(conn, 'SELECT reason FROM verity.journal ORDER BY position DESC LIMIT 1'))
    say('history', value(conn, """SELECT string_agg(operation, ' ' ORDER BY position) FROM verity_history('items', '{"id": 2}')"""))
    conn.commit()


def verity(conn, other):
    past(conn)
    refused('truncate', conn, ['TRUNCATE items CASCADE'])
    refused('drop', conn, ['DROP TABLE items CASCADE'])
    refused('journal', conn, ['INSERT INTO verity.journal (position) VALUES (1)'])
    refused('prepare transaction', conn, ['UPDATE items SET quantity = 5 WHERE id = 3', "PREPARE TRANSACTION 'p'"])
    refused('write in the past', conn, ["SET LOCAL verity.as_of = '5'", 'DELETE FROM items'])
    refused('lock in the past', conn, ["SET LOCAL verity.as_of = '5'", 'SELECT 1 FROM items FOR UPDATE'])
    refused('future', conn, ["SELECT * FROM verity_query_at('SELECT 1', 1000000) AS q(n int)"])
    once = "SET LOCAL verity.idempotency_id = '7e1f0000-0000-4000-8000-000000000001'"
    with conn, conn.cursor() as cur:
        cur.execute(once)
        cur.execute('UPDATE items SET quantity = 50 WHERE id = 3')
    refused('a second time', conn, [once, 'UPDATE items SET quantity = 60 WHERE id = 3'])
    say('once', value(conn, 'SELECT quantity FROM items WHERE id = 3'))
    say('verify', value(conn, "SELECT count(*) FROM verity_verify() WHERE severity <> 'info'"))


connections = psycopg2.connect(''), psycopg2.connect('')
{'common': common, 'verity': verity}[sys.argv[1]](*connections)
