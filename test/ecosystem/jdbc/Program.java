// What an application does with JDBC.  Prints the lines of expected/common.out, or of expected/verity.out.
import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Function;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

public class Program {
    static void say(String what, Object value) {
        System.out.println(what + ": " + value);
    }

    static String value(Connection c, String sql, Object... args) throws SQLException {
        try (PreparedStatement s = c.prepareStatement(sql)) {
            for (int i = 0; i < args.length; i++)
                s.setObject(i + 1, args[i]);
            try (ResultSet r = s.executeQuery()) {
                r.next();
                return r.getString(1);
            }
        }
    }

    static int run(Connection c, String... steps) throws SQLException {
        int rows = 0;
        try (Statement s = c.createStatement()) {
            for (String step : steps)
                rows = s.execute(step) ? 0 : s.getUpdateCount();
        }
        return rows;
    }

    static void sayError(String what, SQLException e, Function<ServerErrorMessage, String> named) {
        say(what, e.getSQLState() + " " + named.apply(((PSQLException) e).getServerErrorMessage()) + " [" + e.getClass().getSimpleName() + "]");
    }

    /** The steps end in an error: its SQLSTATE, what it names, its class. */
    static void refused(String what, Connection c, Function<ServerErrorMessage, String> named, String... steps) throws SQLException {
        c.setAutoCommit(false);
        try {
            run(c, steps);
            c.commit();
            say(what, "no error");
        } catch (SQLException e) {
            sayError(what, e, named);
            c.rollback();
        }
        c.setAutoCommit(true);
    }

    static void transactions(Connection c) throws SQLException {
        c.setAutoCommit(false);
        run(c, "CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL UNIQUE, quantity int NOT NULL CHECK (quantity >= 0), photo bytea)",
            "CREATE TABLE parts (id int PRIMARY KEY, item int NOT NULL REFERENCES items)");
        c.commit();
        try (PreparedStatement s = c.prepareStatement("INSERT INTO items VALUES (?, ?, ?, ?)")) {
            for (int i = 1; i <= 3; i++) {
                byte[] bytes = new byte[i];
                for (int b = 0; b < i; b++)
                    bytes[b] = (byte) b;
                s.setInt(1, i);
                s.setString(2, "item " + i);
                s.setInt(3, i);
                s.setBytes(4, bytes);
                s.executeUpdate();
            }
        }
        c.commit();
        say("after commit", value(c, "SELECT count(*) FROM items"));
        run(c, "INSERT INTO items VALUES (4, 'item 4', 4)");
        c.rollback();
        say("after rollback", value(c, "SELECT count(*) FROM items"));
        Savepoint s = c.setSavepoint("s");
        run(c, "INSERT INTO items VALUES (5, 'item 5', 5)");
        c.rollback(s);
        run(c, "INSERT INTO items VALUES (6, 'item 6', 6)");
        c.commit();
        c.setAutoCommit(true);
        say("after savepoint", value(c, "SELECT count(*) FROM items"));
    }

    static void statements(Connection c) throws SQLException {
        int inserted = 0;
        try (PreparedStatement s = c.prepareStatement("INSERT INTO items VALUES (?, ?, ?)")) {
            for (int i = 10; i < 20; i++) {
                s.setInt(1, i);
                s.setString(2, "item " + i);
                s.setInt(3, i);
                s.addBatch();
            }
            for (int rows : s.executeBatch())
                inserted += rows;
        }
        // from the fifth execution on it is a prepared statement of the server
        String name = "";
        try (PreparedStatement s = c.prepareStatement("SELECT name FROM items WHERE id = ?")) {
            for (int i = 10; i < 20; i++) {
                s.setInt(1, i == 19 ? 15 : i);
                try (ResultSet r = s.executeQuery()) {
                    r.next();
                    name = r.getString(1);
                }
            }
        }
        say("prepared", inserted + " inserted, " + name);
        say("upsert", "1 row, quantity " + value(c, "INSERT INTO items VALUES (1, 'again', 9) ON CONFLICT (id) DO UPDATE SET"
            + " quantity = items.quantity + 100 RETURNING quantity"));
        Set<Integer> ids = new TreeSet<>();
        try (Statement s = c.createStatement()) {
            int rows = s.executeUpdate("UPDATE items SET quantity = quantity + 1 WHERE id BETWEEN 10 AND 14", new String[] {"id"});
            ResultSet keys = s.getGeneratedKeys();
            while (keys.next())
                ids.add(keys.getInt(1));
            say("update", rows + " rows: " + ids.toString().replaceAll("[\\[\\],]", ""));
        }
        say("delete", run(c, "DELETE FROM items WHERE id = 19") + " row");
    }

    static void copyAndCursor(Connection c) throws Exception {
        StringBuilder lines = new StringBuilder();
        for (int i = 1000; i < 2000; i++)
            lines.append(i + "\titem " + i + "\t" + i + "\t\\N\n");
        var copy = c.unwrap(PGConnection.class).getCopyAPI();
        say("copy in", copy.copyIn("COPY items FROM STDIN", new StringReader(lines.toString())) + " rows");
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        long rows = copy.copyOut("COPY items (id, quantity) TO STDOUT", out), sum = 0;
        for (String line : out.toString().split("\n"))
            sum += Long.parseLong(line.split("\t")[1]);
        say("copy out", rows + " rows, sum " + sum);
        c.setAutoCommit(false);
        try (Statement s = c.createStatement()) {
            s.setFetchSize(100);
            int seen = 0, fetches = 0;
            try (ResultSet r = s.executeQuery("SELECT id FROM items")) {
                // the driver does not tell its fetches: the portal must be open, and each 100th row begins one
                if (!value(c, "SELECT count(*) FROM pg_cursors WHERE statement LIKE 'SELECT id FROM items%'").equals("1"))
                    throw new IllegalStateException("not a cursor");
                while (r.next())
                    if (seen++ % r.getFetchSize() == 0)
                        fetches++;
            }
            say("cursor", seen + " rows in " + fetches + " fetches");
        }
        c.commit();
        c.setAutoCommit(true);
    }

    static void notification(Connection c, Connection other) throws SQLException {
        run(other, "LISTEN changes");
        c.setAutoCommit(false);
        run(c, "UPDATE items SET quantity = 20 WHERE id = 2", "NOTIFY changes, 'item 2'");
        c.commit();
        c.setAutoCommit(true);
        PGNotification[] heard = other.unwrap(PGConnection.class).getNotifications(10000);
        say("notification", heard[0].getName() + " " + heard[0].getParameter());
    }

    static void errors(Connection c, Connection other) throws SQLException {
        refused("unique violation", c, ServerErrorMessage::getConstraint, "INSERT INTO items VALUES (30, 'item 2', 1)");
        refused("not null violation", c, ServerErrorMessage::getColumn, "INSERT INTO items VALUES (30, NULL, 1)");
        refused("check violation", c, ServerErrorMessage::getConstraint, "UPDATE items SET quantity = -1 WHERE id = 2");
        refused("foreign key violation", c, ServerErrorMessage::getTable, "INSERT INTO parts VALUES (1, 99)");
        c.setAutoCommit(false);
        try {
            run(c, "INSERT INTO items VALUES (30, 'item 2', 1)");
        } catch (SQLException e) {
            refused("failed transaction", c, m -> "until rollback", "SELECT 1");
        }
        run(other, "BEGIN", "SELECT 1 FROM items WHERE id = 3 FOR UPDATE");
        refused("lock not available", c, m -> "nowait", "SELECT 1 FROM items WHERE id = 3 FOR UPDATE NOWAIT");
        run(other, "ROLLBACK");
        c.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
        c.setAutoCommit(false);
        value(c, "SELECT quantity FROM items WHERE id = 2");
        run(other, "UPDATE items SET quantity = quantity + 1 WHERE id = 2");
        refused("serialization failure", c, m -> "retry", "UPDATE items SET quantity = quantity + 1 WHERE id = 2");
        c.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        say("retried", value(c, "UPDATE items SET quantity = quantity + 1 WHERE id = 2 RETURNING quantity"));
        say("contents", value(c, "SELECT count(*) || ' ' || sum(quantity) || ' ' || md5(string_agg(concat_ws(' ', id, name, quantity,"
            + " encode(photo, 'hex')), ',' ORDER BY id)) FROM items"));
    }

    static void past(Connection c) throws SQLException {
        long position = Long.parseLong(value(c, "SELECT verity_position()"));
        c.setAutoCommit(false);
        run(c, "SET LOCAL verity.reason = 'spring cleaning'", "DELETE FROM items WHERE id >= 1000");
        c.commit();
        c.setAutoCommit(true);
        say("now", value(c, "SELECT count(*) FROM items"));
        say("then", value(c, "SELECT n FROM verity_query_at('SELECT count(*) FROM items', ?) AS q(n bigint)", position));
        say("reason", value(c, "SELECT reason FROM verity.journal ORDER BY position DESC LIMIT 1"));
        say("history", value(c, "SELECT string_agg(operation, ' ' ORDER BY position) FROM verity_history('items', '{\"id\": 2}')"));
    }

    static void verity(Connection c) throws SQLException {
        Function<ServerErrorMessage, String> message = ServerErrorMessage::getMessage;
        String past = "SET LOCAL verity.as_of = '5'", once = "SET LOCAL verity.idempotency_id = '7e1f0000-0000-4000-8000-000000000001'";
        past(c);
        refused("truncate", c, message, "TRUNCATE items CASCADE");
        refused("drop", c, message, "DROP TABLE items CASCADE");
        refused("journal", c, message, "INSERT INTO verity.journal (position) VALUES (1)");
        refused("prepare transaction", c, message, "UPDATE items SET quantity = 5 WHERE id = 3", "PREPARE TRANSACTION 'p'");
        refused("write in the past", c, message, past, "DELETE FROM items");
        refused("lock in the past", c, message, past, "SELECT 1 FROM items FOR UPDATE");
        refused("future", c, message, "SELECT * FROM verity_query_at('SELECT 1', 1000000) AS q(n int)");
        run(c, "BEGIN", once, "UPDATE items SET quantity = 50 WHERE id = 3", "COMMIT");
        refused("a second time", c, message, once, "UPDATE items SET quantity = 60 WHERE id = 3");
        say("once", value(c, "SELECT quantity FROM items WHERE id = 3"));
        say("verify", value(c, "SELECT count(*) FROM verity_verify() WHERE severity <> 'info'"));
    }

    public static void main(String[] args) throws Exception {
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
        Connection c = DriverManager.getConnection(url, System.getenv("PGUSER"), "");
        Connection other = DriverManager.getConnection(url, System.getenv("PGUSER"), "");
        if (args[0].equals("common")) {
            transactions(c);
            statements(c);
            copyAndCursor(c);
            notification(c, other);
            errors(c, other);
        } else
            verity(c);
        c.close();
        other.close();
    }
}
