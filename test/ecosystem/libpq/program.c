/* What an application does with libpq.  Prints the lines of expected/common.out, or of expected/verity.out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>

#include <libpq-fe.h>

/* Run a command that must succeed. */
static PGresult *
run(PGconn *conn, const char *sql)
{
	PGresult   *result = PQexec(conn, sql);
	ExecStatusType status = PQresultStatus(result);

	if (status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE)
	{
		fprintf(stderr, "%s: %s", sql, PQerrorMessage(conn));
		exit(1);
	}
	return result;
}

static void
does(PGconn *conn, const char *sql)
{
	PQclear(run(conn, sql));
}

/* Print the only value of a query. */
static void
say_value(PGconn *conn, const char *what, const char *sql)
{
	PGresult   *result = run(conn, sql);

	printf("%s: %s\n", what, PQgetvalue(result, 0, 0));
	PQclear(result);
}

/* The command fails: print its SQLSTATE and a field of the error, or words; then roll back. */
static void
refused(PGconn *conn, const char *what, const char *sql, int field, const char *words)
{
	PGresult   *result = PQexec(conn, sql);

	if (PQresultStatus(result) != PGRES_FATAL_ERROR)
		printf("%s: no error\n", what);
	else
		printf("%s: %s %s\n", what, PQresultErrorField(result, PG_DIAG_SQLSTATE), field ? PQresultErrorField(result, field) : words);
	PQclear(result);
	if (PQtransactionStatus(conn) != PQTRANS_IDLE)
		does(conn, "ROLLBACK");
}

static void
transactions(PGconn *conn)
{
	does(conn, "BEGIN");
	does(conn, "CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL UNIQUE, quantity int NOT NULL CHECK (quantity >= 0), photo bytea)");
	does(conn, "CREATE TABLE parts (id int PRIMARY KEY, item int NOT NULL REFERENCES items)");
	does(conn, "COMMIT");
	does(conn, "BEGIN");
	for (int i = 1; i <= 3; i++)
	{
		char		sql[200];
		const char	bytes[] = {0, 1, 2};
		const char *values[] = {bytes};
		int			lengths[] = {i};
		int			formats[] = {1};

		snprintf(sql, sizeof sql, "INSERT INTO items VALUES (%d, 'item %d', %d, $1)", i, i, i);
		PQclear(PQexecParams(conn, sql, 1, NULL, values, lengths, formats, 1));
	}
	does(conn, "COMMIT");
	say_value(conn, "after commit", "SELECT count(*) FROM items");
	does(conn, "BEGIN; INSERT INTO items VALUES (4, 'item 4', 4); ROLLBACK");
	say_value(conn, "after rollback", "SELECT count(*) FROM items");
	does(conn, "BEGIN");
	does(conn, "SAVEPOINT s");
	does(conn, "INSERT INTO items VALUES (5, 'item 5', 5)");
	does(conn, "ROLLBACK TO s");
	does(conn, "INSERT INTO items VALUES (6, 'item 6', 6)");
	does(conn, "COMMIT");
	say_value(conn, "after savepoint", "SELECT count(*) FROM items");
}

/* Ten insertions by one prepared statement in pipeline mode; the number of rows. */
static int
pipelined_inserts(PGconn *conn)
{
	int			inserted = 0;

	PQclear(PQprepare(conn, "add_item", "INSERT INTO items VALUES ($1, 'item ' || $1::int, $1)", 0, NULL));
	PQenterPipelineMode(conn);
	for (int i = 10; i < 20; i++)
	{
		char		number[12];
		const char *values[] = {number};

		snprintf(number, sizeof number, "%d", i);
		PQsendQueryPrepared(conn, "add_item", 1, values, NULL, NULL, 0);
	}
	PQpipelineSync(conn);
	for (int i = 0; i < 10; i++)
	{
		PGresult   *result = PQgetResult(conn);

		inserted += atoi(PQcmdTuples(result));
		PQclear(result);
		PQgetResult(conn);
	}
	PQclear(PQgetResult(conn));
	PQexitPipelineMode(conn);
	return inserted;
}

static void
statements(PGconn *conn)
{
	PGresult   *result;
	const char *values[] = {"15"};
	int			inserted = pipelined_inserts(conn);

	PQclear(PQprepare(conn, "get_name", "SELECT name FROM items WHERE id = $1", 0, NULL));
	result = PQexecPrepared(conn, "get_name", 1, values, NULL, NULL, 1);
	printf("prepared: %d inserted, %s\n", inserted, PQgetvalue(result, 0, 0));
	PQclear(result);
	result = run(conn, "INSERT INTO items VALUES (1, 'again', 9) ON CONFLICT (id) DO UPDATE SET quantity = items.quantity + 100 RETURNING quantity");
	printf("upsert: %s row, quantity %s\n", PQcmdTuples(result), PQgetvalue(result, 0, 0));
	PQclear(result);
	result = run(conn, "WITH u AS (UPDATE items SET quantity = quantity + 1 WHERE id BETWEEN 10 AND 14 RETURNING id) SELECT id FROM u ORDER BY id");
	printf("update: %d rows:", PQntuples(result));
	for (int i = 0; i < PQntuples(result); i++)
		printf(" %s", PQgetvalue(result, i, 0));
	printf("\n");
	PQclear(result);
	result = run(conn, "DELETE FROM items WHERE id = 19");
	printf("delete: %s row\n", PQcmdTuples(result));
	PQclear(result);
}

static void
copies(PGconn *conn)
{
	PGresult   *result;
	char	   *line;
	int			rows = 0;
	long		sum = 0;

	does(conn, "COPY items FROM STDIN");
	for (int i = 1000; i < 2000; i++)
	{
		char		row[100];
		int			len = snprintf(row, sizeof row, "%d\titem %d\t%d\t\\N\n", i, i, i);

		PQputCopyData(conn, row, len);
	}
	PQputCopyEnd(conn, NULL);
	result = PQgetResult(conn);
	printf("copy in: %s rows\n", PQcmdTuples(result));
	PQclear(result);
	PQgetResult(conn);
	does(conn, "COPY items (id, quantity) TO STDOUT");
	while (PQgetCopyData(conn, &line, 0) > 0)
	{
		rows++;
		sum += atol(strchr(line, '\t') + 1);
		PQfreemem(line);
	}
	PQclear(PQgetResult(conn));
	PQgetResult(conn);
	printf("copy out: %d rows, sum %ld\n", rows, sum);
}

static void
cursor(PGconn *conn)
{
	int			fetches = 0,
				seen = 0,
				rows;

	does(conn, "BEGIN");
	does(conn, "DECLARE walk CURSOR FOR SELECT id FROM items");
	do
	{
		PGresult   *result = run(conn, "FETCH 100 FROM walk");

		rows = PQntuples(result);
		seen += rows;
		fetches += rows > 0;
		PQclear(result);
	} while (rows > 0);
	does(conn, "COMMIT");
	printf("cursor: %d rows in %d fetches\n", seen, fetches);
}

static void
notification(PGconn *conn, PGconn *other)
{
	PGnotify   *notify;
	struct timeval limit = {10, 0};
	fd_set		set;

	does(other, "LISTEN changes");
	does(conn, "BEGIN; UPDATE items SET quantity = 20 WHERE id = 2; NOTIFY changes, 'item 2'; COMMIT");
	FD_ZERO(&set);
	FD_SET(PQsocket(other), &set);
	select(PQsocket(other) + 1, &set, NULL, NULL, &limit);
	PQconsumeInput(other);
	notify = PQnotifies(other);
	printf("notification: %s %s\n", notify ? notify->relname : "none", notify ? notify->extra : "");
	PQfreemem(notify);
}

static void
errors(PGconn *conn, PGconn *other)
{
	refused(conn, "unique violation", "INSERT INTO items VALUES (30, 'item 2', 1)", PG_DIAG_CONSTRAINT_NAME, NULL);
	refused(conn, "not null violation", "INSERT INTO items VALUES (30, NULL, 1)", PG_DIAG_COLUMN_NAME, NULL);
	refused(conn, "check violation", "UPDATE items SET quantity = -1 WHERE id = 2", PG_DIAG_CONSTRAINT_NAME, NULL);
	refused(conn, "foreign key violation", "INSERT INTO parts VALUES (1, 99)", PG_DIAG_TABLE_NAME, NULL);
	does(conn, "BEGIN");
	PQclear(PQexec(conn, "INSERT INTO items VALUES (30, 'item 2', 1)"));
	refused(conn, "failed transaction", "SELECT 1", 0, "until rollback");
	does(other, "BEGIN; SELECT 1 FROM items WHERE id = 3 FOR UPDATE");
	refused(conn, "lock not available", "SELECT 1 FROM items WHERE id = 3 FOR UPDATE NOWAIT", 0, "nowait");
	does(other, "ROLLBACK");
	does(conn, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT quantity FROM items WHERE id = 2");
	does(other, "UPDATE items SET quantity = quantity + 1 WHERE id = 2");
	refused(conn, "serialization failure", "UPDATE items SET quantity = quantity + 1 WHERE id = 2", 0, "retry");
	say_value(conn, "retried", "UPDATE items SET quantity = quantity + 1 WHERE id = 2 RETURNING quantity");
	say_value(conn, "contents", "SELECT count(*) || ' ' || sum(quantity) || ' ' || md5(string_agg(concat_ws(' ', id, name, quantity,"
			  " encode(photo, 'hex')), ',' ORDER BY id)) FROM items");
}

static void
past(PGconn *conn)
{
	PGresult   *position = run(conn, "SELECT verity_position()");
	const char *values[] = {PQgetvalue(position, 0, 0)};
	PGresult   *then;

	does(conn, "BEGIN; SET LOCAL verity.reason = 'spring cleaning'; DELETE FROM items WHERE id >= 1000; COMMIT");
	say_value(conn, "now", "SELECT count(*) FROM items");
	then = PQexecParams(conn, "SELECT n FROM verity_query_at('SELECT count(*) FROM items', $1::bigint) AS q(n bigint)",
						1, NULL, values, NULL, NULL, 0);
	printf("then: %s\n", PQgetvalue(then, 0, 0));
	PQclear(then);
	PQclear(position);
	say_value(conn, "reason", "SELECT reason FROM verity.journal ORDER BY position DESC LIMIT 1");
	say_value(conn, "history", "SELECT string_agg(operation, ' ' ORDER BY position) FROM verity_history('items', '{\"id\": 2}')");
}

static void
refusals(PGconn *conn)
{
	const int	message = PG_DIAG_MESSAGE_PRIMARY;

	refused(conn, "truncate", "TRUNCATE items CASCADE", message, NULL);
	refused(conn, "drop", "DROP TABLE items CASCADE", message, NULL);
	refused(conn, "journal", "INSERT INTO verity.journal (position) VALUES (1)", message, NULL);
	does(conn, "BEGIN; UPDATE items SET quantity = 5 WHERE id = 3");
	refused(conn, "prepare transaction", "PREPARE TRANSACTION 'p'", message, NULL);
	does(conn, "BEGIN; SET LOCAL verity.as_of = '5'");
	refused(conn, "write in the past", "DELETE FROM items", message, NULL);
	does(conn, "BEGIN; SET LOCAL verity.as_of = '5'");
	refused(conn, "lock in the past", "SELECT 1 FROM items FOR UPDATE", message, NULL);
	refused(conn, "future", "SELECT * FROM verity_query_at('SELECT 1', 1000000) AS q(n int)", message, NULL);
	does(conn, "BEGIN; SET LOCAL verity.idempotency_id = '7e1f0000-0000-4000-8000-000000000001';"
		 " UPDATE items SET quantity = 50 WHERE id = 3; COMMIT");
	refused(conn, "a second time", "BEGIN; SET LOCAL verity.idempotency_id = '7e1f0000-0000-4000-8000-000000000001';"
			" UPDATE items SET quantity = 60 WHERE id = 3; COMMIT", message, NULL);
	say_value(conn, "once", "SELECT quantity FROM items WHERE id = 3");
	say_value(conn, "verify", "SELECT count(*) FROM verity_verify() WHERE severity <> 'info'");
}

int
main(int argc, char **argv)
{
	PGconn	   *conn = PQconnectdb(""),
			   *other = PQconnectdb("");

	if (argc != 2 || PQstatus(conn) != CONNECTION_OK || PQstatus(other) != CONNECTION_OK)
	{
		fprintf(stderr, "usage: program common|verity, with PGHOST and the like: %s", PQerrorMessage(conn));
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (strcmp(argv[1], "common") == 0)
	{
		transactions(conn);
		statements(conn);
		copies(conn);
		cursor(conn);
		notification(conn, other);
		errors(conn, other);
	}
	else
	{
		past(conn);
		refusals(conn);
	}
	PQfinish(other);
	PQfinish(conn);
	return 0;
}
