package main

import (
	"context"
	"fmt"
	"strings"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// Prepared inserts whose now() the client must not notice: as many values as markers, in the statement's order.
func moment(statement string, id int, values ...any) func(context.Context, *gocql.Session) error {
	return func(_ context.Context, session *gocql.Session) error {
		if err := session.Query(statement, values...).Exec(); err != nil {
			return err
		}
		var ts gocql.UUID
		if err := session.Query("SELECT ts FROM moments WHERE id = ?", id).Scan(&ts); err != nil {
			return err
		}
		return expectEqual("version of the UUID", ts.Version(), 1)
	}
}

var statementChecks = []namedCheck{
	check("a prepared statement serves many times", func(_ context.Context, session *gocql.Session) error {
		for part := range 20 {
			insert := session.Query("INSERT INTO items (id, part, v, w) VALUES (?, ?, ?, ?)", 2, part, "v", "w")
			if err := insert.Exec(); err != nil {
				return err
			}
		}
		var count int
		if err := session.Query("SELECT count(*) FROM items WHERE id = ?", 2).Scan(&count); err != nil {
			return err
		}
		return expectEqual("count", count, 20)
	}),
	check("logged and unlogged batches", func(_ context.Context, session *gocql.Session) error {
		for id, kind := range map[int]gocql.BatchType{3: gocql.LoggedBatch, 4: gocql.UnloggedBatch} {
			batch := session.Batch(kind)
			batch.Query("INSERT INTO items (id, part, v) VALUES (?, ?, ?)", id, 1, "one")
			batch.Query("INSERT INTO items (id, part, v) VALUES (?, ?, ?)", id, 2, "two")
			batch.Query("UPDATE items SET w = 'text' WHERE id = 3 AND part = 1")
			batch.Query("DELETE FROM items WHERE id = ? AND part = ?", id, 9)
			if err := batch.Exec(); err != nil {
				return err
			}
			var count int
			if err := session.Query("SELECT count(*) FROM items WHERE id = ?", id).Scan(&count); err != nil {
				return err
			}
			if err := expectEqual("count", count, 2); err != nil {
				return err
			}
		}
		return nil
	}),
	check("counters, alone and in a batch", func(_ context.Context, session *gocql.Session) error {
		if err := session.Query("UPDATE hits SET n = n + ? WHERE id = ?", int64(5), 1).Exec(); err != nil {
			return err
		}
		batch := session.Batch(gocql.CounterBatch)
		batch.Query("UPDATE hits SET n = n + ? WHERE id = ?", int64(2), 1)
		batch.Query("UPDATE hits SET n = n - ? WHERE id = ?", int64(1), 1)
		if err := batch.Exec(); err != nil {
			return err
		}
		var n int64
		if err := session.Query("SELECT n FROM hits WHERE id = ?", 1).Scan(&n); err != nil {
			return err
		}
		return expectEqual("n", n, int64(6))
	}),
	check("LWT tells what is there", func(_ context.Context, session *gocql.Session) error {
		insert := "INSERT INTO lwt_ (id, v) VALUES (?, ?) IF NOT EXISTS"
		for round, wanted := range []bool{true, false} {
			row := map[string]any{}
			applied, err := session.Query(insert, 1, fmt.Sprint("v", round)).MapScanCAS(row)
			if err != nil {
				return err
			}
			if applied != wanted || (!applied && row["v"] != "v0") {
				return fmt.Errorf("round %d: applied %v, row %v", round, applied, row)
			}
		}
		batch := session.Batch(gocql.LoggedBatch)
		batch.Query("UPDATE lwt_ SET v = ? WHERE id = ? IF v = ?", "v2", 1, "not this")
		applied, iter, err := batch.MapExecCAS(map[string]any{})
		if iter != nil {
			_ = iter.Close()
		}
		if err != nil || applied {
			return fmt.Errorf("batch: applied %v, error %v", applied, err)
		}
		var v string
		query := session.Query("SELECT v FROM lwt_ WHERE id = ?", 1).Consistency(gocql.LocalSerial)
		if err := query.Scan(&v); err != nil {
			return err
		}
		return expectEqual("v", v, "v0")
	}),
	check("now() as the last value",
		moment("INSERT INTO moments (id, ts) VALUES (?, now())", 1, 1)),
	check("now() between two values",
		moment("INSERT INTO moments (id, ts, v) VALUES (?, now(), ?)", 2, 2, "v")),
	check("now() as the first value",
		moment("INSERT INTO moments (ts, id, v) VALUES (now(), ?, ?)", 3, 3, "v")),
	check("now() among named markers",
		moment("INSERT INTO moments (id, ts, v) VALUES (:id, now(), :name)", 4, 4, "v")),
	check("now() in a text",
		moment("INSERT INTO moments (id, ts, v) VALUES (4, now(), 'of text alone')", 4)),
	check("now() in a batch", func(_ context.Context, session *gocql.Session) error {
		batch := session.Batch(gocql.LoggedBatch)
		batch.Query("INSERT INTO moments (id, ts, v) VALUES (?, now(), ?)", 5, "v")
		batch.Query("INSERT INTO moments (id, ts) VALUES (?, now())", 6)
		return batch.Exec()
	}),
	check("without client timestamps", func(_ context.Context, _ *gocql.Session) error {
		config := clusterConfig()
		config.DefaultTimestamp = false
		return withSession(config, func(session *gocql.Session) error {
			for part := range 10 {
				insert := session.Query("INSERT INTO items (id, part, v) VALUES (?, ?, ?)", 5, part, "no timestamp")
				if err := insert.Exec(); err != nil {
					return err
				}
			}
			if err := session.Query("DELETE v FROM items WHERE id = ? AND part = ?", 5, 3).Exec(); err != nil {
				return err
			}
			batch := session.Batch(gocql.UnloggedBatch)
			batch.Query("INSERT INTO items (id, part, v) VALUES (?, ?, ?)", 5, 11, "no timestamp")
			return batch.Exec()
		})
	}),
	check("a timestamp of its own is kept", func(_ context.Context, session *gocql.Session) error {
		insert := session.Query("INSERT INTO items (id, part, v) VALUES (?, ?, ?)", 6, 1, "of 2001")
		if err := insert.WithTimestamp(1_000_000_000_000_000).Exec(); err != nil {
			return err
		}
		var at int64
		query := "SELECT writetime(v) FROM items WHERE id = ? AND part = ?"
		if err := session.Query(query, 6, 1).Scan(&at); err != nil {
			return err
		}
		return expectEqual("write time", at, int64(1_000_000_000_000_000))
	}),
	check("v5: now in seconds", func(_ context.Context, session *gocql.Session) error {
		const now = 1_900_000_000
		insert := session.Query("INSERT INTO items (id, part, v) VALUES (?, ?, ?) USING TTL 1000", 7, 1, "for a while")
		if err := insert.WithNowInSeconds(now).Exec(); err != nil {
			return err
		}
		var left int
		query := session.Query("SELECT ttl(v) FROM items WHERE id = ? AND part = ?", 7, 1)
		if err := query.WithNowInSeconds(now + 400).Scan(&left); err != nil {
			return err
		}
		return expectEqual("seconds left", left, 600)
	}),
	check("a traced request has its trace", func(ctx context.Context, session *gocql.Session) error {
		var trace strings.Builder
		tracer := gocql.NewTraceWriter(session, &trace)
		var v string
		query := session.Query("SELECT v FROM items WHERE id = ? AND part = ?", 2, 1).Trace(tracer)
		if err := query.ScanContext(ctx, &v); err != nil {
			return err
		}
		if !strings.Contains(trace.String(), "Tracing session") {
			return fmt.Errorf("the trace is %q", trace.String())
		}
		return nil
	}),
	check("warnings arrive", func(_ context.Context, session *gocql.Session) error {
		iter := session.Query("SELECT count(*) FROM hits").Iter()
		warnings := iter.Warnings()
		if err := iter.Close(); err != nil {
			return err
		}
		if len(warnings) != 1 || !strings.Contains(warnings[0], "Aggregation query") {
			return fmt.Errorf("the warnings are %q", warnings)
		}
		return nil
	}),
	check("a custom payload does no harm", func(_ context.Context, session *gocql.Session) error {
		payload := map[string][]byte{"request-id": []byte("0123456789")}
		insert := session.Query("INSERT INTO items (id, part, v) VALUES (?, ?, ?)", 8, 1, "with a payload")
		if err := insert.CustomPayload(payload).Exec(); err != nil {
			return err
		}
		var v string
		query := session.Query("SELECT v FROM items WHERE id = ? AND part = ?", 8, 1).CustomPayload(payload)
		if err := query.Scan(&v); err != nil {
			return err
		}
		return expectEqual("v", v, "with a payload")
	}),
}
