// What an application does with node-postgres.  Prints the lines of expected/common.out, or of expected/verity.out.
'use strict'
const { Client, DatabaseError } = require('pg')
const Cursor = require('pg-cursor')

const say = (what, value) => console.log(`${what}: ${value}`)
const value = async (client, text, values) => Object.values((await client.query(text, values)).rows[0])[0]

// COPY has no class of its own in node-postgres: a query object that speaks the protocol's messages
class Copy {
  constructor (text, chunks) {
    Object.assign(this, { text, chunks, out: '' })
    this.done = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }))
  }

  submit (connection) { connection.query(this.text) }
  handleCopyInResponse (connection) {
    for (const chunk of this.chunks) connection.sendCopyFromChunk(Buffer.from(chunk))
    connection.endCopyFrom()
  }

  handleCopyData (message) { this.out += message.chunk.toString() }
  handleCommandComplete (message) { this.count = message.text.split(' ')[1] }
  handleReadyForQuery () { this.resolve(this) }
  handleError (error) { this.reject(error) }
}
const copy = (client, text, chunks) => client.query(new Copy(text, chunks)).done

// The steps end in an error: its SQLSTATE, what it names, its class.
async function refused (what, client, steps, named = e => e.message) {
  try {
    await client.query('BEGIN')
    for (const step of steps) await client.query(step)
    await client.query('COMMIT')
    say(what, 'no error')
  } catch (e) {
    if (!(e instanceof DatabaseError)) throw e
    say(what, `${e.code} ${named(e)} [${e.constructor.name}]`)
    await client.query('ROLLBACK')
  }
}

async function transactions (client) {
  await client.query(`BEGIN;
    CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL UNIQUE, quantity int NOT NULL CHECK (quantity >= 0), photo bytea);
    CREATE TABLE parts (id int PRIMARY KEY, item int NOT NULL REFERENCES items);
    COMMIT`)
  await client.query('BEGIN')
  for (const i of [1, 2, 3]) await client.query('INSERT INTO items VALUES ($1, $2, $1, $3)', [i, `item ${i}`, Buffer.from([0, 1, 2].slice(0, i))])
  await client.query('COMMIT')
  say('after commit', await value(client, 'SELECT count(*) FROM items'))
  await client.query('BEGIN')
  await client.query("INSERT INTO items VALUES (4, 'item 4', 4)")
  await client.query('ROLLBACK')
  say('after rollback', await value(client, 'SELECT count(*) FROM items'))
  for (const step of ['BEGIN', 'SAVEPOINT s', "INSERT INTO items VALUES (5, 'item 5', 5)", 'ROLLBACK TO s',
    "INSERT INTO items VALUES (6, 'item 6', 6)", 'COMMIT']) await client.query(step)
  say('after savepoint', await value(client, 'SELECT count(*) FROM items'))
}

async function statements (client) {
  let inserted = 0
  for (let i = 10; i < 20; i++) {
    inserted += (await client.query({ name: 'add_item', text: 'INSERT INTO items VALUES ($1, $2, $3)', values: [i, `item ${i}`, i] })).rowCount
  }
  const name = await value(client, { name: 'get_name', text: 'SELECT name FROM items WHERE id = $1', values: [15] })
  say('prepared', `${inserted} inserted, ${name}`)
  const upsert = await client.query(`INSERT INTO items VALUES (1, 'again', 9)
    ON CONFLICT (id) DO UPDATE SET quantity = items.quantity + 100 RETURNING quantity`)
  say('upsert', `${upsert.rowCount} row, quantity ${upsert.rows[0].quantity}`)
  const update = await client.query('UPDATE items SET quantity = quantity + 1 WHERE id BETWEEN 10 AND 14 RETURNING id')
  say('update', `${update.rowCount} rows: ${update.rows.map(r => r.id).sort().join(' ')}`)
  say('delete', `${(await client.query('DELETE FROM items WHERE id = 19')).rowCount} row`)
}

async function copyAndCursor (client) {
  const lines = Array.from({ length: 1000 }, (_, i) => `${1000 + i}\titem ${1000 + i}\t${1000 + i}\t\\N\n`)
  say('copy in', `${(await copy(client, 'COPY items FROM STDIN', lines)).count} rows`)
  const rows = (await copy(client, 'COPY items (id, quantity) TO STDOUT')).out.trimEnd().split('\n')
  say('copy out', `${rows.length} rows, sum ${rows.reduce((sum, row) => sum + Number(row.split('\t')[1]), 0)}`)
  const cursor = client.query(new Cursor('SELECT id FROM items'))
  let fetches = 0
  let seen = 0
  for (let part; (part = await cursor.read(100)).length > 0; fetches++) seen += part.length
  await cursor.close()
  say('cursor', `${seen} rows in ${fetches} fetches`)
}

async function notification (client, other) {
  await other.query('LISTEN changes')
  const heard = new Promise((resolve, reject) => {
    other.once('notification', resolve)
    setTimeout(() => reject(new Error('no notification')), 10000).unref()
  })
  await client.query("BEGIN; UPDATE items SET quantity = 20 WHERE id = 2; NOTIFY changes, 'item 2'; COMMIT")
  const { channel, payload } = await heard
  say('notification', `${channel} ${payload}`)
}

async function errors (client, other) {
  await refused('unique violation', client, ["INSERT INTO items VALUES (30, 'item 2', 1)"], e => e.constraint)
  await refused('not null violation', client, ['INSERT INTO items VALUES (30, NULL, 1)'], e => e.column)
  await refused('check violation', client, ['UPDATE items SET quantity = -1 WHERE id = 2'], e => e.constraint)
  await refused('foreign key violation', client, ['INSERT INTO parts VALUES (1, 99)'], e => e.table)
  await client.query('BEGIN')
  await client.query("INSERT INTO items VALUES (30, 'item 2', 1)").catch(e => e)
  const failed = await client.query('SELECT 1').catch(e => e)
  say('failed transaction', `${failed.code} until rollback [${failed.constructor.name}]`)
  await client.query('ROLLBACK')
  await other.query('BEGIN; SELECT 1 FROM items WHERE id = 3 FOR UPDATE')
  await refused('lock not available', client, ['SELECT 1 FROM items WHERE id = 3 FOR UPDATE NOWAIT'], () => 'nowait')
  await other.query('ROLLBACK')
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
  await client.query('SELECT quantity FROM items WHERE id = 2')
  await other.query('UPDATE items SET quantity = quantity + 1 WHERE id = 2')
  const conflict = await client.query('UPDATE items SET quantity = quantity + 1 WHERE id = 2').catch(e => e)
  say('serialization failure', `${conflict.code} retry [${conflict.constructor.name}]`)
  await client.query('ROLLBACK')
  say('retried', await value(client, 'UPDATE items SET quantity = quantity + 1 WHERE id = 2 RETURNING quantity'))
  say('contents', await value(client, `SELECT count(*) || ' ' || sum(quantity) || ' ' || md5(string_agg(concat_ws(' ', id, name, quantity,
    encode(photo, 'hex')), ',' ORDER BY id)) FROM items`))
}

async function common (client, other) {
  await transactions(client)
  await statements(client)
  await copyAndCursor(client)
  await notification(client, other)
  await errors(client, other)
}

async function past (client) {
  const position = await value(client, 'SELECT verity_position()')
  await client.query("BEGIN; SET LOCAL verity.reason = 'spring cleaning'; DELETE FROM items WHERE id >= 1000; COMMIT")
  say('now', await value(client, 'SELECT count(*) FROM items'))
  say('then', await value(client, "SELECT n FROM verity_query_at('SELECT count(*) FROM items', $1::bigint) AS q(n bigint)", [position]))
  say('reason', await value(client, 'SELECT reason FROM verity.journal ORDER BY position DESC LIMIT 1'))
  say('history', await value(client, `SELECT string_agg(operation, ' ' ORDER BY position) FROM verity_history('items', '{"id": 2}')`))
}

async function verity (client) {
  await past(client)
  await refused('truncate', client, ['TRUNCATE items CASCADE'])
  await refused('drop', client, ['DROP TABLE items CASCADE'])
  await refused('journal', client, ['INSERT INTO verity.journal (position) VALUES (1)'])
  await refused('prepare transaction', client, ['UPDATE items SET quantity = 5 WHERE id = 3', "PREPARE TRANSACTION 'p'"])
  await refused('write in the past', client, ["SET LOCAL verity.as_of = '5'", 'DELETE FROM items'])
  await refused('lock in the past', client, ["SET LOCAL verity.as_of = '5'", 'SELECT 1 FROM items FOR UPDATE'])
  await refused('future', client, ["SELECT * FROM verity_query_at('SELECT 1', 1000000) AS q(n int)"])
  const once = "SET LOCAL verity.idempotency_id = '7e1f0000-0000-4000-8000-000000000001'"
  await client.query(`BEGIN; ${once}; UPDATE items SET quantity = 50 WHERE id = 3; COMMIT`)
  await refused('a second time', client, [once, 'UPDATE items SET quantity = 60 WHERE id = 3'])
  say('once', await value(client, 'SELECT quantity FROM items WHERE id = 3'))
  say('verify', await value(client, "SELECT count(*) FROM verity_verify() WHERE severity <> 'info'"))
}

async function main () {
  const clients = [new Client(), new Client()]
  for (const client of clients) await client.connect()
  await { common, verity }[process.argv[2]](...clients)
  for (const client of clients) await client.end()
}

main().catch(e => { console.error(e); process.exit(1) })
