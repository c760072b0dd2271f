// What an application does with pgx.  Prints the lines of expected/common.out, or of expected/verity.out.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
)

var ctx = context.Background()

func say(what string, value interface{}) { fmt.Printf("%s: %v\n", what, value) }

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

type querier interface {
	QueryRow(ctx context.Context, sql string, args ...interface{}) pgx.Row
	Exec(ctx context.Context, sql string, args ...interface{}) (pgconn.CommandTag, error)
}

func value(q querier, sql string, args ...interface{}) (text string) {
	var any interface{}
	must(q.QueryRow(ctx, sql, args...).Scan(&any))
	return fmt.Sprint(any)
}

func run(q querier, steps ...string) (rows int64) {
	for _, step := range steps {
		tag, err := q.Exec(ctx, step)
		must(err)
		rows = tag.RowsAffected()
	}
	return rows
}

func sayError(what string, err error, named func(*pgconn.PgError) string) {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		say(what, fmt.Sprintf("no error of the server: %v", err))
		return
	}
	say(what, fmt.Sprintf("%s %s [%T]", e.Code, named(e), e))
}

func message(e *pgconn.PgError) string    { return e.Message }
func constraint(e *pgconn.PgError) string { return e.ConstraintName }
func words(text string) func(*pgconn.PgError) string {
	return func(*pgconn.PgError) string { return text }
}

// The steps end in an error: its SQLSTATE, what it names, its class.
func refused(what string, conn *pgx.Conn, named func(*pgconn.PgError) string, steps ...string) {
	err := conn.BeginFunc(ctx, func(tx pgx.Tx) error {
		for _, step := range steps {
			if _, err := tx.Exec(ctx, step); err != nil {
				return err
			}
		}
		return nil
	})
	sayError(what, err, named)
}

func transactions(conn *pgx.Conn) {
	must(conn.BeginFunc(ctx, func(tx pgx.Tx) error {
		run(tx, "CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL UNIQUE, quantity int NOT NULL CHECK (quantity >= 0), photo bytea)",
			"CREATE TABLE parts (id int PRIMARY KEY, item int NOT NULL REFERENCES items)")
		return nil
	}))
	must(conn.BeginFunc(ctx, func(tx pgx.Tx) error {
		for i := 1; i <= 3; i++ {
			_, err := tx.Exec(ctx, "INSERT INTO items VALUES ($1, $2, $3, $4)", i, fmt.Sprint("item ", i), i, []byte{0, 1, 2}[:i])
			must(err)
		}
		return nil
	}))
	say("after commit", value(conn, "SELECT count(*) FROM items"))
	tx, err := conn.Begin(ctx)
	must(err)
	run(tx, "INSERT INTO items VALUES (4, 'item 4', 4)")
	must(tx.Rollback(ctx))
	say("after rollback", value(conn, "SELECT count(*) FROM items"))
	tx, err = conn.Begin(ctx)
	must(err)
	savepoint, err := tx.Begin(ctx)
	must(err)
	run(savepoint, "INSERT INTO items VALUES (5, 'item 5', 5)")
	must(savepoint.Rollback(ctx))
	run(tx, "INSERT INTO items VALUES (6, 'item 6', 6)")
	must(tx.Commit(ctx))
	say("after savepoint", value(conn, "SELECT count(*) FROM items"))
}

func statements(conn *pgx.Conn) {
	_, err := conn.Prepare(ctx, "add_item", "INSERT INTO items VALUES ($1, $2, $3)")
	must(err)
	batch := &pgx.Batch{}
	for i := 10; i < 20; i++ {
		batch.Queue("add_item", i, fmt.Sprint("item ", i), i)
	}
	results := conn.SendBatch(ctx, batch)
	inserted := int64(0)
	for i := 10; i < 20; i++ {
		tag, err := results.Exec()
		must(err)
		inserted += tag.RowsAffected()
	}
	must(results.Close())
	say("prepared", fmt.Sprintf("%d inserted, %s", inserted, value(conn, "SELECT name FROM items WHERE id = $1", 15)))
	say("upsert", "1 row, quantity "+value(conn, `INSERT INTO items VALUES (1, 'again', 9)
		ON CONFLICT (id) DO UPDATE SET quantity = items.quantity + 100 RETURNING quantity`))
	rows, err := conn.Query(ctx, "UPDATE items SET quantity = quantity + 1 WHERE id BETWEEN 10 AND 14 RETURNING id")
	must(err)
	ids := []string{}
	for rows.Next() {
		var id int
		must(rows.Scan(&id))
		ids = append(ids, strconv.Itoa(id))
	}
	must(rows.Err())
	sort.Strings(ids)
	say("update", fmt.Sprintf("%d rows: %s", rows.CommandTag().RowsAffected(), strings.Join(ids, " ")))
	say("delete", fmt.Sprintf("%d row", run(conn, "DELETE FROM items WHERE id = 19")))
}

func copyAndCursor(conn *pgx.Conn) {
	source := pgx.CopyFromSlice(1000, func(i int) ([]interface{}, error) {
		return []interface{}{int32(1000 + i), fmt.Sprint("item ", 1000+i), int32(1000 + i), nil}, nil
	})
	copied, err := conn.CopyFrom(ctx, pgx.Identifier{"items"}, []string{"id", "name", "quantity", "photo"}, source)
	must(err)
	say("copy in", fmt.Sprintf("%d rows", copied))
	var out bytes.Buffer
	tag, err := conn.PgConn().CopyTo(ctx, &out, "COPY items (id, quantity) TO STDOUT")
	must(err)
	sum := 0
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		quantity, err := strconv.Atoi(strings.Split(line, "\t")[1])
		must(err)
		sum += quantity
	}
	say("copy out", fmt.Sprintf("%d rows, sum %d", tag.RowsAffected(), sum))
	must(conn.BeginFunc(ctx, func(tx pgx.Tx) error {
		run(tx, "DECLARE walk CURSOR FOR SELECT id FROM items")
		fetches, seen := 0, int64(0)
		for {
			rows := run(tx, "FETCH 100 FROM walk")
			if rows == 0 {
				say("cursor", fmt.Sprintf("%d rows in %d fetches", seen, fetches))
				return nil
			}
			fetches, seen = fetches+1, seen+rows
		}
	}))
}

func notification(conn, other *pgx.Conn) {
	run(other, "LISTEN changes")
	must(conn.BeginFunc(ctx, func(tx pgx.Tx) error {
		run(tx, "UPDATE items SET quantity = 20 WHERE id = 2", "NOTIFY changes, 'item 2'")
		return nil
	}))
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	heard, err := other.WaitForNotification(limited)
	must(err)
	say("notification", heard.Channel+" "+heard.Payload)
}

func violations(conn, other *pgx.Conn) {
	refused("unique violation", conn, constraint, "INSERT INTO items VALUES (30, 'item 2', 1)")
	refused("not null violation", conn, func(e *pgconn.PgError) string { return e.ColumnName }, "INSERT INTO items VALUES (30, NULL, 1)")
	refused("check violation", conn, constraint, "UPDATE items SET quantity = -1 WHERE id = 2")
	refused("foreign key violation", conn, func(e *pgconn.PgError) string { return e.TableName }, "INSERT INTO parts VALUES (1, 99)")
	tx, err := conn.Begin(ctx)
	must(err)
	_, _ = tx.Exec(ctx, "INSERT INTO items VALUES (30, 'item 2', 1)")
	_, err = tx.Exec(ctx, "SELECT 1")
	sayError("failed transaction", err, words("until rollback"))
	must(tx.Rollback(ctx))
	run(other, "BEGIN", "SELECT 1 FROM items WHERE id = 3 FOR UPDATE")
	refused("lock not available", conn, words("nowait"), "SELECT 1 FROM items WHERE id = 3 FOR UPDATE NOWAIT")
	run(other, "ROLLBACK")
	err = conn.BeginTxFunc(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		value(tx, "SELECT quantity FROM items WHERE id = 2")
		run(other, "UPDATE items SET quantity = quantity + 1 WHERE id = 2")
		_, err := tx.Exec(ctx, "UPDATE items SET quantity = quantity + 1 WHERE id = 2")
		return err
	})
	sayError("serialization failure", err, words("retry"))
	say("retried", value(conn, "UPDATE items SET quantity = quantity + 1 WHERE id = 2 RETURNING quantity"))
	say("contents", value(conn, `SELECT count(*) || ' ' || sum(quantity) || ' ' || md5(string_agg(concat_ws(' ', id, name, quantity,
		encode(photo, 'hex')), ',' ORDER BY id)) FROM items`))
}

func past(conn *pgx.Conn) {
	var position int64
	must(conn.QueryRow(ctx, "SELECT verity_position()").Scan(&position))
	must(conn.BeginFunc(ctx, func(tx pgx.Tx) error {
		run(tx, "SET LOCAL verity.reason = 'spring cleaning'", "DELETE FROM items WHERE id >= 1000")
		return nil
	}))
	say("now", value(conn, "SELECT count(*) FROM items"))
	say("then", value(conn, "SELECT n FROM verity_query_at('SELECT count(*) FROM items', $1::bigint) AS q(n bigint)", position))
	say("reason", value(conn, "SELECT reason FROM verity.journal ORDER BY position DESC LIMIT 1"))
	say("history", value(conn, `SELECT string_agg(operation, ' ' ORDER BY position) FROM verity_history('items', '{"id": 2}')`))
}

func verity(conn *pgx.Conn) {
	const asOf = "SET LOCAL verity.as_of = '5'"
	const once = "SET LOCAL verity.idempotency_id = '7e1f0000-0000-4000-8000-000000000001'"
	past(conn)
	refused("truncate", conn, message, "TRUNCATE items CASCADE")
	refused("drop", conn, message, "DROP TABLE items CASCADE")
	refused("journal", conn, message, "INSERT INTO verity.journal (position) VALUES (1)")
	refused("prepare transaction", conn, message, "UPDATE items SET quantity = 5 WHERE id = 3", "PREPARE TRANSACTION 'p'")
	refused("write in the past", conn, message, asOf, "DELETE FROM items")
	refused("lock in the past", conn, message, asOf, "SELECT 1 FROM items FOR UPDATE")
	refused("future", conn, message, "SELECT * FROM verity_query_at('SELECT 1', 1000000) AS q(n int)")
	run(conn, "BEGIN", once, "UPDATE items SET quantity = 50 WHERE id = 3", "COMMIT")
	refused("a second time", conn, message, once, "UPDATE items SET quantity = 60 WHERE id = 3")
	say("once", value(conn, "SELECT quantity FROM items WHERE id = 3"))
	say("verify", value(conn, "SELECT count(*) FROM verity_verify() WHERE severity <> 'info'"))
}

func main() {
	conn, err := pgx.Connect(ctx, "")
	must(err)
	other, err := pgx.Connect(ctx, "")
	must(err)
	if os.Args[1] == "common" {
		transactions(conn)
		statements(conn)
		copyAndCursor(conn)
		notification(conn, other)
		violations(conn, other)
	} else {
		verity(conn)
	}
	must(other.Close(ctx))
	must(conn.Close(ctx))
}
