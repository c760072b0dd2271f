# What an application does with Django's ORM.  Prints the lines of expected/common.out, or of expected/verity.out.
import io
import os
import select
import sys

import django
from django.conf import settings

database = {'ENGINE': 'django.db.backends.postgresql', 'NAME': os.environ['PGDATABASE'], 'HOST': os.environ['PGHOST'],
            'PORT': os.environ['PGPORT'], 'USER': os.environ['PGUSER'], 'ATOMIC_REQUESTS': False}
settings.configure(DATABASES={'default': database, 'other': dict(database)}, DEFAULT_AUTO_FIELD='django.db.models.AutoField')
django.setup()

from django.db import Error, connection, connections, models, transaction  # noqa: E402
from django.db.models import F  # noqa: E402


class Item(models.Model):
    id = models.IntegerField(primary_key=True)
    name = models.TextField(unique=True)
    quantity = models.PositiveIntegerField()
    photo = models.BinaryField(null=True)

    class Meta:
        app_label = 'program'
        db_table = 'items'


class Part(models.Model):
    id = models.IntegerField(primary_key=True)
    item = models.ForeignKey(Item, on_delete=models.PROTECT, db_column='item')

    class Meta:
        app_label = 'program'
        db_table = 'parts'


items = Item.objects
others = Item.objects.using('other')


def say(what, value):
    print(f'{what}: {value}', flush=True)


def execute(sql, args=None, using='default'):
    with connections[using].cursor() as cur:
        cur.execute(sql, args)
        return cur.rowcount


def value(sql, args=None):
    with connection.cursor() as cur:
        cur.execute(sql, args)
        return cur.fetchone()[0]


def say_error(what, e, named):
    cause = e.__cause__
    say(what, f'{cause.pgcode} {named(cause.diag)} [{type(e).__name__} of {type(cause).__name__}]')


def refused(what, work, named=lambda diag: diag.message_primary):
    """The work ends in an error: its SQLSTATE, what it names, its class.  Work is statements, or a function."""
    try:
        with transaction.atomic():
            if callable(work):
                work()
            else:
                for step in work:
                    execute(step)
        say(what, 'no error')
    except Error as e:
        say_error(what, e, named)


def transactions():
    with connection.schema_editor() as editor:
        editor.create_model(Item)
        editor.create_model(Part)
    with transaction.atomic():
        for i in (1, 2, 3):
            items.create(id=i, name=f'item {i}', quantity=i, photo=bytes(range(i)))
    say('after commit', items.count())
    with transaction.atomic():
        items.create(id=4, name='item 4', quantity=4)
        transaction.set_rollback(True)
    say('after rollback', items.count())
    with transaction.atomic():
        savepoint = transaction.savepoint()
        items.create(id=5, name='item 5', quantity=5)
        transaction.savepoint_rollback(savepoint)
        items.create(id=6, name='item 6', quantity=6)
    say('after savepoint', items.count())


def statements():
    execute('PREPARE add_item (int, text, int) AS INSERT INTO items VALUES ($1, $2, $3)')
    inserted = sum(execute('EXECUTE add_item (%s, %s, %s)', (i, f'item {i}', i)) for i in range(10, 16))
    inserted += len(items.bulk_create(Item(id=i, name=f'item {i}', quantity=i) for i in range(16, 20)))
    say('prepared', f'{inserted} inserted, {items.get(id=15).name}')
    item, created = items.update_or_create(id=1, defaults={'quantity': F('quantity') + 100})
    item.refresh_from_db()
    say('upsert', f'{2 if created else 1} row, quantity {item.quantity}')
    changed = items.filter(id__range=(10, 14))
    say('update', f"{changed.update(quantity=F('quantity') + 1)} rows: " + ' '.join(str(i) for i in changed.order_by('id').values_list('id', flat=True)))
    say('delete', f'{items.filter(id=19).delete()[0]} row')


def copy_and_cursor():
    with connection.cursor() as cur:
        lines = ''.join(f'{i}\titem {i}\t{i}\t\\N\n' for i in range(1000, 2000))
        cur.copy_expert('COPY items (id, name, quantity, photo) FROM STDIN', io.StringIO(lines))
        say('copy in', f'{cur.rowcount} rows')
        out = io.StringIO()
        cur.copy_expert('COPY items (id, quantity) TO STDOUT', out)
        rows = [line.split('\t') for line in out.getvalue().splitlines()]
        say('copy out', f'{len(rows)} rows, sum {sum(int(r[1]) for r in rows)}')
    with transaction.atomic(), connection.chunked_cursor() as cur:
        cur.execute('SELECT id FROM items')
        fetches = seen = 0
        while rows := cur.fetchmany(100):
            fetches, seen = fetches + 1, seen + len(rows)
    assert sum(1 for item in items.iterator(chunk_size=100)) == seen
    say('cursor', f'{seen} rows in {fetches} fetches')


def notification():
    execute('LISTEN changes', using='other')
    with transaction.atomic():
        items.filter(id=2).update(quantity=20)
        execute("NOTIFY changes, 'item 2'")
    raw = connections['other'].connection
    select.select([raw], [], [], 10)
    raw.poll()
    say('notification', f'{raw.notifies[0].channel} {raw.notifies[0].payload}')


def conflict():
    execute('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ')
    item = items.get(id=2)
    others.filter(id=2).update(quantity=F('quantity') + 1)
    item.quantity += 1
    item.save()


def retried():
    item = items.select_for_update().get(id=2)
    item.quantity += 1
    item.save()
    return item.quantity


def errors():
    constraint = lambda diag: diag.constraint_name
    refused('unique violation', lambda: items.create(id=30, name='item 2', quantity=1), constraint)
    refused('not null violation', lambda: items.create(id=30, name=None, quantity=1), lambda diag: diag.column_name)
    refused('check violation', lambda: items.filter(id=2).update(quantity=-1), constraint)
    refused('foreign key violation', lambda: Part.objects.create(id=1, item_id=99), lambda diag: diag.table_name)
    execute('BEGIN')
    for work in (lambda: execute("INSERT INTO items (id, name, quantity) VALUES (30, 'item 2', 1)"), lambda: execute('SELECT 1')):
        try:
            work()
        except django.db.IntegrityError:
            pass
        except Error as e:
            say_error('failed transaction', e, lambda diag: 'until rollback')
    execute('ROLLBACK')
    with transaction.atomic(using='other'):
        others.select_for_update().get(id=3)
        refused('lock not available', lambda: items.select_for_update(nowait=True).get(id=3), lambda diag: 'nowait')
    refused('serialization failure', conflict, lambda diag: 'retry')
    with transaction.atomic():
        say('retried', retried())
    say('contents', value("""SELECT count(*) || ' ' || sum(quantity) || ' ' || md5(string_agg(concat_ws(' ', id, name, quantity,
        encode(photo, 'hex')), ',' ORDER BY id)) FROM items"""))


def common():
    transactions()
    statements()
    copy_and_cursor()
    notification()
    errors()


def past():
    position = value('SELECT verity_position()')
    with transaction.atomic():
        execute("SET LOCAL verity.reason = 'spring cleaning'")
        items.filter(id__gte=1000).delete()
    say('now', items.count())
    with transaction.atomic():  # the ORM's own queries, as of then
        execute('SET LOCAL verity.as_of = %s', (str(position),))
        say('then', items.count())
    say('reason', value('SELECT reason FROM verity.journal ORDER BY position DESC LIMIT 1'))
    say('history', value("""SELECT string_agg(operation, ' ' ORDER BY position) FROM verity_history('items', '{"id": 2}')"""))


def set_once(quantity):
    execute("SET LOCAL verity.idempotency_id = '7e1f0000-0000-4000-8000-000000000001'")
    items.filter(id=3).update(quantity=quantity)


def verity():
    past()
    refused('truncate', ['TRUNCATE items CASCADE'])
    refused('drop', ['DROP TABLE items CASCADE'])
    refused('journal', ['INSERT INTO verity.journal (position) VALUES (1)'])
    refused('prepare transaction', ['UPDATE items SET quantity = 5 WHERE id = 3', "PREPARE TRANSACTION 'p'"])
    refused('write in the past', ["SET LOCAL verity.as_of = '5'", 'DELETE FROM items'])
    refused('lock in the past', ["SET LOCAL verity.as_of = '5'", 'SELECT 1 FROM items FOR UPDATE'])
    refused('future', ["SELECT * FROM verity_query_at('SELECT 1', 1000000) AS q(n int)"])
    with transaction.atomic():
        set_once(50)
    refused('a second time', lambda: set_once(60))
    say('once', value('SELECT quantity FROM items WHERE id = 3'))
    say('verify', value("SELECT count(*) FROM verity_verify() WHERE severity <> 'info'"))


{'common': common, 'verity': verity}[sys.argv[1]]()
