# What an application does with psycopg 3.  Prints the lines of expected/common.out, or of expected/verity.out.
import sys

import psycopg
from psycopg import IsolationLevel


def say(what, value):
    print(f'{what}: {value}', flush=True)


def value(conn, sql, args=()):
    return conn.execute(sql, args).fetchone()[0]


def refused(what, conn, steps, named=lambda e: e.diag.message_primary):
    """The steps end in an error: its SQLSTATE, what it names, its class."""
    try:
        with conn.transaction():
            for step in steps:
                conn.execute(step)
        say(what, 'no error')
    except psycopg.Error as e:
        say(what, f'{e.sqlstate} {named(e)} [{type(e).__name__}]')


def transactions(conn):
    with conn.transaction():
        conn.execute('CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL UNIQUE, quantity int NOT NULL CHECK (quantity >= 0), photo bytea)')
        conn.execute('CREATE TABLE parts (id int PRIMARY KEY, item int NOT NULL REFERENCES items)')
    with conn.transaction():
        for i in (1, 2, 3):
            conn.execute('INSERT INTO items VALUES (%b, %t, %s, %b)', (i, f'item {i}', i, bytes(range(i))))
    say('after commit', value(conn, 'SELECT count(*) FROM items'))
    with conn.transaction() as tx:
        conn.execute("INSERT INTO items VALUES (4, 'item 4', 4)")
        raise psycopg.Rollback(tx)
    say('after rollback', value(conn, 'SELECT count(*) FROM items'))
    with conn.transaction():
        with conn.transaction() as savepoint:
            conn.execute("INSERT INTO items VALUES (5, 'item 5', 5)")
            raise psycopg.Rollback(savepoint)
        conn.execute("INSERT INTO items VALUES (6, 'item 6', 6)")
    say('after savepoint', value(conn, 'SELECT count(*) FROM items'))


def statements(conn):
    with conn.transaction(), conn.cursor(binary=True) as cur:
        # executemany is a pipeline of one prepared statement
        cur.executemany('INSERT INTO items VALUES (%s, %s, %s)', [(i, f'item {i}', i) for i in range(10, 20)])
        inserted = cur.rowcount
        cur.execute('SELECT name FROM items WHERE id = %s', (15,), prepare=True)
        say('prepared', f'{inserted} inserted, {cur.fetchone()[0]}')
        cur.execute("INSERT INTO items VALUES (1, 'again', 9) ON CONFLICT (id) DO UPDATE SET quantity = items.quantity + 100 RETURNING quantity")
        say('upsert', f'{cur.rowcount} row, quantity {cur.fetchone()[0]}')
        cur.execute('UPDATE items SET quantity = quantity + 1 WHERE id BETWEEN 10 AND 14 RETURNING id')
        say('update', f'{cur.rowcount} rows: ' + ' '.join(str(r[0]) for r in sorted(cur.fetchall())))
        cur.execute('DELETE FROM items WHERE id = 19')
        say('delete', f'{cur.rowcount} row')


def copy_and_cursor(conn):
    with conn.transaction(), conn.cursor() as cur:
        with cur.copy('COPY items FROM STDIN (FORMAT binary)') as copy:
            copy.set_types(['int4', 'text', 'int4', 'bytea'])
            for i in range(1000, 2000):
                copy.write_row((i, f'item {i}', i, None))
        say('copy in', f'{cur.rowcount} rows')
        with cur.copy('COPY items (id, quantity) TO STDOUT') as copy:
            copy.set_types(['int4', 'int4'])
            rows = list(copy.rows())
        say('copy out', f'{len(rows)} rows, sum {sum(r[1] for r in rows)}')
    with conn.transaction(), conn.cursor('walk') as cur:
        cur.execute('SELECT id FROM items')
        fetches = seen = 0
        while rows := cur.fetchmany(100):
            fetches, seen = fetches + 1, seen + len(rows)
        say('cursor', f'{seen} rows in {fetches} fetches')


def notification(conn, other):
    other.execute('LISTEN changes')
    with conn.transaction():
        conn.execute('UPDATE items SET quantity = 20 WHERE id = 2')
        conn.execute("NOTIFY changes, 'item 2'")
    notify = next(other.notifies())
    say('notification', f'{notify.channel} {notify.payload}')


def errors(conn, other):
    constraint = lambda e: e.diag.constraint_name
    refused('unique violation', conn, ["INSERT INTO items VALUES (30, 'item 2', 1)"], constraint)
    refused('not null violation', conn, ['INSERT INTO items VALUES (30, NULL, 1)'], lambda e: e.diag.column_name)
    refused('check violation', conn, ['UPDATE items SET quantity = -1 WHERE id = 2'], constraint)
    refused('foreign key violation', conn, ['INSERT INTO parts VALUES (1, 99)'], lambda e: e.diag.table_name)
    conn.execute('BEGIN')
    try:
        conn.execute("INSERT INTO items VALUES (30, 'item 2', 1)")
    except psycopg.errors.UniqueViolation:
        try:
            conn.execute('SELECT 1')
        except psycopg.Error as e:
            say('failed transaction', f'{e.sqlstate} until rollback [{type(e).__name__}]')
    conn.rollback()
    other.execute('BEGIN')
    other.execute('SELECT 1 FROM items WHERE id = 3 FOR UPDATE')
    refused('lock not available', conn, ['SELECT 1 FROM items WHERE id = 3 FOR UPDATE NOWAIT'], lambda e: 'nowait')
    other.rollback()
    conn.isolation_level = IsolationLevel.REPEATABLE_READ
    try:
        with conn.transaction():
            value(conn, 'SELECT quantity FROM items WHERE id = 2')
            other.execute('UPDATE items SET quantity = quantity + 1 WHERE id = 2')
            conn.execute('UPDATE items SET quantity = quantity + 1 WHERE id = 2')
    except psycopg.Error as e:
        say('serialization failure', f'{e.sqlstate} retry [{type(e).__name__}]')
    say('retried', value(conn, 'UPDATE items SET quantity = quantity + 1 WHERE id = 2 RETURNING quantity'))
    conn.isolation_level = None
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
    with conn.transaction():
        conn.execute("SET LOCAL verity.reason = 'spring cleaning'")
        conn.execute('DELETE FROM items WHERE id >= 1000')
    say('now', value(conn, 'SELECT count(*) FROM items'))
    say('then', value(conn, "SELECT n FROM verity_query_at('SELECT count(*) FROM items', %s) AS q(n bigint)", (position,)))
    say('reason', value(conn, 'SELECT reason FROM verity.journal ORDER BY position DESC LIMIT 1'))
    say('history', value(conn, """SELECT string_agg(operation, ' ' ORDER BY position) FROM verity_history('items', '{"id": 2}')"""))


def verity(conn, other):
    past(conn)
    refused('truncate', conn, ['TRUNCATE items CASCADE'])
    refused('drop', conn, ['DROP TABLE items CASCADE'])
    refused('journal', conn, ['INSERT INTO verity.journal (position) VALUES (1)'])
    with psycopg.connect('') as two_phase:
        two_phase.tpc_begin('p')
        try:
            two_phase.execute('UPDATE items SET quantity = 5 WHERE id = 3')
            two_phase.tpc_prepare()
            say('prepare transaction', 'no error')
        except psycopg.Error as e:
            say('prepare transaction', f'{e.sqlstate} {e.diag.message_primary} [{type(e).__name__}]')
            two_phase.close()
    refused('write in the past', conn, ["SET LOCAL verity.as_of = '5'", 'DELETE FROM items'])
    refused('lock in the past', conn, ["SET LOCAL verity.as_of = '5'", 'SELECT 1 FROM items FOR UPDATE'])
    refused('future', conn, ["SELECT * FROM verity_query_at('SELECT 1', 1000000) AS q(n int)"])
    once = "SET LOCAL verity.idempotency_id = '7e1f0000-0000-4000-8000-000000000001'"
    with conn.transaction():
        conn.execute(once)
        conn.execute('UPDATE items SET quantity = 50 WHERE id = 3')
    refused('a second time', conn, [once, 'UPDATE items SET quantity = 60 WHERE id = 3'])
    say('once', value(conn, 'SELECT quantity FROM items WHERE id = 3'))
    say('verify', value(conn, "SELECT count(*) FROM verity_verify() WHERE severity <> 'info'"))


connections = psycopg.connect('', autocommit=True), psycopg.connect('', autocommit=True)
{'common': common, 'verity': verity}[sys.argv[1]](*connections)
