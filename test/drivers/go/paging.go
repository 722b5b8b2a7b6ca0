package main

import (
	"context"
	"fmt"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

const pagedRows = 95

var pagingChecks = []namedCheck{
	check("pages are fetched one after another", func(_ context.Context, session *gocql.Session) error {
		for part := range pagedRows {
			insert := session.Query("INSERT INTO items (id, part, v) VALUES (?, ?, ?)", 30, part, "paged")
			if err := insert.Exec(); err != nil {
				return err
			}
		}
		for _, size := range []int{1, 10, 1000} {
			iter := session.Query("SELECT part FROM items WHERE id = ?", 30).PageSize(size).Iter()
			seen, part := 0, 0
			for iter.Scan(&part) {
				if part != seen {
					return fmt.Errorf("row %d where %d was expected", part, seen)
				}
				seen++
			}
			if err := iter.Close(); err != nil {
				return err
			}
			if err := expectEqual("rows", seen, pagedRows); err != nil {
				return err
			}
		}
		return nil
	}),
	check("a page is resumed by its state, on another session too", func(_ context.Context, session *gocql.Session) error {
		resume := func(session *gocql.Session, state []byte) *gocql.Iter {
			return session.Query("SELECT part FROM items WHERE id = ?", 30).PageSize(40).PageState(state).Iter()
		}
		first := resume(session, nil)
		state := first.PageState()
		if err := first.Close(); err != nil {
			return err
		}
		if len(state) == 0 {
			return fmt.Errorf("the first page has no state")
		}
		return withSession(clusterConfig(), func(other *gocql.Session) error {
			second := resume(other, state)
			var part int
			if !second.Scan(&part) {
				return fmt.Errorf("no second page: %w", second.Close())
			}
			if err := second.Close(); err != nil {
				return err
			}
			return expectEqual("first row of the second page", part, 40)
		})
	}),
	check("the last page has no state", func(_ context.Context, session *gocql.Session) error {
		iter := session.Query("SELECT part FROM items WHERE id = ?", 30).PageSize(pagedRows * 2).Iter()
		state := iter.PageState()
		if err := iter.Close(); err != nil {
			return err
		}
		return expectEqual("bytes of the state", len(state), 0)
	}),
}
