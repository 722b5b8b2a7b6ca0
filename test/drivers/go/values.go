package main

import (
	"bytes"
	"context"
	"fmt"
	"math/big"
	"net"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"gopkg.in/inf.v0"
)

var valueChecks = []namedCheck{
	check("all types come back as they were written", func(_ context.Context, session *gocql.Session) error {
		ids := []gocql.UUID{gocql.TimeUUID(), gocql.MustRandomUUID()}
		at := time.UnixMilli(1_700_000_000_123).UTC()
		date := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
		duration := gocql.Duration{Months: 1, Days: 2, Nanoseconds: 3}
		place := map[string]any{"city": "Bern", "zip": 3000}
		columns := "id, a, b, bl, bo, d, de, dou, du, f, i, s, t, ti, ts, tu, ty, u, vi, li, se, ma, tup, pl, fl"
		markers := "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (?, ?), ?, ?"
		err := session.Query("INSERT INTO everything ("+columns+") VALUES ("+markers+")",
			1, "ascii", int64(1)<<60, []byte{0, 1, 255}, true, date, inf.NewDec(12345, 2), 1.5, duration, float32(2.5),
			net.ParseIP("2001:db8::1"), int16(-7), "größer 🙂", time.Duration(12345), at, ids[0], int8(-8), ids[1],
			big.NewInt(1).Lsh(big.NewInt(1), 90), []int{3, 1, 2}, []string{"a", "b"}, map[string]int{"k": 1},
			5, "five", place, []int{9, 8}).Exec()
		if err != nil {
			return err
		}
		row := map[string]any{}
		if err := session.Query("SELECT "+columns+" FROM everything WHERE id = ?", 1).MapScan(row); err != nil {
			return err
		}
		got := fmt.Sprint([]any{row["a"], row["b"], row["bo"], row["de"], row["dou"], row["f"], row["i"], row["s"], row["t"],
			row["ti"], row["ts"].(time.Time).UTC(), row["tu"], row["ty"], row["u"], row["vi"], row["li"], row["se"],
			row["ma"], row["tup[0]"], row["tup[1]"], row["pl"], row["fl"], row["du"]})
		wanted := fmt.Sprint([]any{"ascii", int64(1) << 60, true, "123.45", 1.5, float32(2.5), "2001:db8::1", -7, "größer 🙂",
			time.Duration(12345), at, ids[0], -8, ids[1], big.NewInt(1).Lsh(big.NewInt(1), 90), []int{3, 1, 2},
			[]string{"a", "b"}, map[string]int{"k": 1}, 5, "five", place, []int{9, 8}, duration})
		if !bytes.Equal(row["bl"].([]byte), []byte{0, 1, 255}) {
			return fmt.Errorf("the blob is %v", row["bl"])
		}
		return expectEqual("row", got, wanted)
	}),
	check("unset leaves a column and null deletes it", func(_ context.Context, session *gocql.Session) error {
		insert := "INSERT INTO items (id, part, v, w) VALUES (?, ?, ?, ?)"
		if err := session.Query(insert, 20, 1, "v", "w").Exec(); err != nil {
			return err
		}
		if err := session.Query(insert, 20, 1, gocql.UnsetValue, nil).Exec(); err != nil {
			return err
		}
		var v, w *string
		if err := session.Query("SELECT v, w FROM items WHERE id = ? AND part = ?", 20, 1).Scan(&v, &w); err != nil {
			return err
		}
		if v == nil || *v != "v" || w != nil {
			return fmt.Errorf("v is %v and w is %v", v, w)
		}
		return nil
	}),
	check("values by name", func(_ context.Context, session *gocql.Session) error {
		insert := "INSERT INTO items (id, part, v) VALUES (:id, :part, :v)"
		named := []any{gocql.NamedValue("id", 20), gocql.NamedValue("part", 2), gocql.NamedValue("v", "by name")}
		if err := session.Query(insert, named...).Exec(); err != nil {
			return err
		}
		var v string
		query := session.Query("SELECT v FROM items WHERE id = :id AND part = :part",
			gocql.NamedValue("id", 20), gocql.NamedValue("part", 2))
		if err := query.Scan(&v); err != nil {
			return err
		}
		return expectEqual("v", v, "by name")
	}),
	check("collections grow and shrink", func(_ context.Context, session *gocql.Session) error {
		for _, statement := range []string{
			"UPDATE everything SET se = {'x', 'y'}, ma = {'a': 1, 'b': 2} WHERE id = 2",
			"UPDATE everything SET se = se + {'z'}, ma['c'] = 3 WHERE id = 2",
			"UPDATE everything SET se = se - {'x'} WHERE id = 2",
			"DELETE ma['a'] FROM everything WHERE id = 2",
		} {
			if err := session.Query(statement).Exec(); err != nil {
				return err
			}
		}
		var set []string
		var entries map[string]int
		if err := session.Query("SELECT se, ma FROM everything WHERE id = ?", 2).Scan(&set, &entries); err != nil {
			return err
		}
		return expectEqual("row", fmt.Sprint(set, entries), "[y z] map[b:2 c:3]")
	}),
}
