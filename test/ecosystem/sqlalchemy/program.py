# What an application does with SQLAlchemy's ORM.  Prints the lines of expected/common.out, or of expected/verity.out.
import io
import select
import sys

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects.postgresql import insert

Base = orm.declarative_base()


class Item(Base):
    __tablename__ = 'items'
    __table_args__ = (sa.CheckConstraint('quantity >= 0', name='items_quantity_check'),)
    id = sa.Column(sa.Integer, primary_key=True, autoincrement=False)
    name = sa.Column(sa.Text, nullable=False, unique=True)
    quantity = sa.Column(sa.Integer, nullable=False)
    photo = sa.Column(sa.LargeBinary)


class Part(Base):
    __tablename__ = 'parts'
    id = sa.Column(sa.Integer, primary_key=True, autoincrement=False)
    item = sa.Column(sa.ForeignKey('items.id'), nullable=False)


engine = sa.create_engine('postgresql+psycopg2://', future=True)
repeatable = engine.execution_options(isolation_level='REPEATABLE READ')
autocommit = engine.execution_options(isolation_level='AUTOCOMMIT')
Session = orm.sessionmaker(engine, future=True)


def say(what, value):
    print(f'{what}: {value}', flush=True)


def value(sql, **args):
    with Session() as session:
        return session.execute(sa.text(sql), args).scalar()


def count():
    with Session() as session:
        return session.query(Item).count()


def say_error(what, e, named):
    say(what, f'{e.orig.pgcode} {named(e.orig.diag)} [{type(e).__name__} of {type(e.orig).__name__}]')


def refused(what, work, named=lambda diag: diag.message_primary):
    """The work ends in an error: its SQLSTATE, what it names, its class.  Work is statements, or a function of a session."""
    try:
        with Session.begin() as session:
            if callable(work):
                work(session)
            else:
                for step in work:
                    session.execute(sa.text(step))
        say(what, 'no error')
    except sa.exc.DBAPIError as e:
        say_error(what, e, named)


def transactions():
    Base.metadata.create_all(engine)
    with Session.begin() as session:
        session.add_all(Item(id=i, name=f'item {i}', quantity=i, photo=bytes(range(i))) for i in (1, 2, 3))
    say('after commit', count())
    with Session() as session:
        session.add(Item(id=4, name='item 4', quantity=4))
        session.flush()
        session.rollback()
    say('after rollback', count())
    with Session.begin() as session:
        savepoint = session.begin_nested()
        session.add(Item(id=5, name='item 5', quantity=5))
        session.flush()
        savepoint.rollback()
        session.add(Item(id=6, name='item 6', quantity=6))
    say('after savepoint', count())


def statements():
    with Session.begin() as session:
        session.execute(sa.text('PREPARE add_item (int, text, int) AS INSERT INTO items VALUES ($1, $2, $3)'))
        inserted = sum(session.execute(sa.text('EXECUTE add_item (:id, :name, :id)'), {'id': i, 'name': f'item {i}'}).rowcount for i in range(10, 20))
        say('prepared', f'{inserted} inserted, {session.get(Item, 15).name}')
        upsert = insert(Item).values(id=1, name='again', quantity=9)
        upsert = upsert.on_conflict_do_update(index_elements=[Item.id], set_={'quantity': Item.quantity + 100}).returning(Item.quantity)
        result = session.execute(upsert)
        say('upsert', f'{result.rowcount} row, quantity {result.scalar()}')
        update = sa.update(Item).where(Item.id.between(10, 14)).values(quantity=Item.quantity + 1).returning(Item.id)
        result = session.execute(update, execution_options={'synchronize_session': False})
        say('update', f'{result.rowcount} rows: ' + ' '.join(str(i) for i in sorted(result.scalars())))
        session.delete(session.get(Item, 16))
        session.flush()
        session.add(Item(id=16, name='item 16', quantity=16))
        say('delete', f'{session.execute(sa.delete(Item).where(Item.id == 19)).rowcount} row')


def copy_and_cursor():
    with Session.begin() as session, session.connection().connection.cursor() as cur:
        lines = ''.join(f'{i}\titem {i}\t{i}\t\\N\n' for i in range(1000, 2000))
        cur.copy_expert('COPY items FROM STDIN', io.StringIO(lines))
        say('copy in', f'{cur.rowcount} rows')
        out = io.StringIO()
        cur.copy_expert('COPY items (id, quantity) TO STDOUT', out)
        rows = [line.split('\t') for line in out.getvalue().splitlines()]
        say('copy out', f'{len(rows)} rows, sum {sum(int(r[1]) for r in rows)}')
    with Session.begin() as session:
        result = session.execute(sa.select(Item).execution_options(stream_results=True, yield_per=100))
        parts = [len(part) for part in result.partitions()]
        say('cursor', f'{sum(parts)} rows in {len(parts)} fetches')


def notification():
    with autocommit.connect() as other:
        other.execute(sa.text('LISTEN changes'))
        with Session.begin() as session:
            session.get(Item, 2).quantity = 20
            session.execute(sa.text("NOTIFY changes, 'item 2'"))
        raw = other.connection.connection
        select.select([raw], [], [], 10)
        raw.poll()
        heard = raw.notifies.pop(0)
        say('notification', f'{heard.channel} {heard.payload}')


def change(item, **values):
    def work(session):
        for name, new in values.items():
            setattr(session.get(Item, item), name, new)
    return work


def conflict():
    with orm.Session(repeatable, future=True) as session:
        item = session.get(Item, 2)
        with Session.begin() as other:
            other.get(Item, 2).quantity += 1
        item.quantity += 1
        try:
            session.commit()
            say('serialization failure', 'no error')
        except sa.exc.DBAPIError as e:
            say_error('serialization failure', e, lambda diag: 'retry')
            session.rollback()
        item = session.get(Item, 2)
        item.quantity += 1
        session.commit()
        say('retried', item.quantity)


def errors():
    constraint = lambda diag: diag.constraint_name
    refused('unique violation', lambda s: s.add(Item(id=30, name='item 2', quantity=1)), constraint)
    refused('not null violation', lambda s: s.add(Item(id=30, quantity=1)), lambda diag: diag.column_name)
    refused('check violation', change(2, quantity=-1), constraint)
    refused('foreign key violation', lambda s: s.add(Part(id=1, item=99)), lambda diag: diag.table_name)
    with engine.connect() as conn:
        for sql in ("INSERT INTO items VALUES (30, 'item 2', 1)", 'SELECT 1'):
            try:
                conn.execute(sa.text(sql))
            except sa.exc.IntegrityError:
                pass
            except sa.exc.DBAPIError as e:
                say_error('failed transaction', e, lambda diag: 'until rollback')
    lock = sa.select(Item).where(Item.id == 3).with_for_update(nowait=True)
    with Session() as other:
        other.execute(lock)
        refused('lock not available', lambda s: s.execute(lock), lambda diag: 'nowait')
    conflict()
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
    with Session.begin() as session:
        session.execute(sa.text("SET LOCAL verity.reason = 'spring cleaning'"))
        session.execute(sa.delete(Item).where(Item.id >= 1000), execution_options={'synchronize_session': False})
    say('now', count())
    with Session.begin() as session:  # the ORM's own queries, as of then
        session.execute(sa.text(f"SET LOCAL verity.as_of = '{position}'"))
        say('then', session.query(Item).count())
    say('reason', value('SELECT reason FROM verity.journal ORDER BY position DESC LIMIT 1'))
    say('history', value("""SELECT string_agg(operation, ' ' ORDER BY position) FROM verity_history('items', '{"id"\\: 2}')"""))


def twice(quantity):
    def work(session):
        session.execute(sa.text("SET LOCAL verity.idempotency_id = '7e1f0000-0000-4000-8000-000000000001'"))
        session.get(Item, 3).quantity = quantity
    return work


def verity():
    past()
    refused('truncate', ['TRUNCATE items CASCADE'])
    refused('drop', ['DROP TABLE items CASCADE'])
    refused('journal', ['INSERT INTO verity.journal (position) VALUES (1)'])
    two_phase = orm.Session(engine, future=True, twophase=True)
    two_phase.get(Item, 3).quantity = 5
    try:
        two_phase.prepare()
        say('prepare transaction', 'no error')
    except sa.exc.DBAPIError as e:
        say_error('prepare transaction', e, lambda diag: diag.message_primary)
    two_phase.close()
    refused('write in the past', ["SET LOCAL verity.as_of = '5'", 'DELETE FROM items'])
    refused('lock in the past', ["SET LOCAL verity.as_of = '5'", 'SELECT 1 FROM items FOR UPDATE'])
    refused('future', ["SELECT * FROM verity_query_at('SELECT 1', 1000000) AS q(n int)"])
    with Session.begin() as session:
        twice(50)(session)
    refused('a second time', twice(60))
    say('once', value('SELECT quantity FROM items WHERE id = 3'))
    say('verify', value("SELECT count(*) FROM verity_verify() WHERE severity <> 'info'"))


{'common': common, 'verity': verity}[sys.argv[1]]()
