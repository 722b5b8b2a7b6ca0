package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// The statement must fail with an error of that type.
func failsAs[T error](statement string) func(context.Context, *gocql.Session) error {
	return func(_ context.Context, session *gocql.Session) error {
		return isA[T](session.Query(statement).Exec())
	}
}

func isA[T error](err error) error {
	var wanted T
	if !errors.As(err, &wanted) {
		return fmt.Errorf("the error is %T: %v", err, err)
	}
	return nil
}

// The driver keeps the types of the plainest errors to itself; their codes are public.
func failsWith(code int, statement string) func(context.Context, *gocql.Session) error {
	return func(_ context.Context, session *gocql.Session) error {
		return hasCode(session.Query(statement).Exec(), code)
	}
}

func hasCode(err error, code int) error {
	var request gocql.RequestError
	if !errors.As(err, &request) || request.Code() != code {
		return fmt.Errorf("the error is %T: %v", err, err)
	}
	return nil
}

var errorChecks = []namedCheck{
	check("a syntax error", failsWith(gocql.ErrCodeSyntax, "SELEKT * FROM items")),
	check("an unknown table", failsWith(gocql.ErrCodeInvalid, "SELECT * FROM nowhere")),
	check("an unknown column in a write", failsWith(gocql.ErrCodeInvalid, "INSERT INTO items (id, part, zzz) VALUES (1, 1, 1)")),
	check("a table that exists", failsAs[*gocql.RequestErrAlreadyExists]("CREATE TABLE items (id int PRIMARY KEY)")),
	check("a wrong replication", failsWith(gocql.ErrCodeConfig, "CREATE KEYSPACE x WITH replication = {'class': 'Nothing'}")),
	check("a consistency out of reach, for a read and a write", func(_ context.Context, session *gocql.Session) error {
		read := session.Query("SELECT v FROM items WHERE id = ? AND part = ?", 2, 1).Consistency(gocql.Three)
		if err := isA[*gocql.RequestErrUnavailable](read.Exec()); err != nil {
			return err
		}
		write := session.Query("INSERT INTO items (id, part, v) VALUES (?, ?, ?)", 99, 1, "never")
		if err := isA[*gocql.RequestErrUnavailable](write.Consistency(gocql.Three).Exec()); err != nil {
			return err
		}
		batch := session.Batch(gocql.LoggedBatch).Consistency(gocql.Three)
		batch.Query("INSERT INTO items (id, part, v) VALUES (?, ?, ?)", 99, 2, "never")
		return isA[*gocql.RequestErrUnavailable](batch.Exec())
	}),
	check("a user without the right to write", func(_ context.Context, _ *gocql.Session) error {
		config := clusterConfig()
		config.Authenticator = login(os.Getenv("CHECK_READER"), os.Getenv("CHECK_READER_PASSWORD"))
		return withSession(config, func(session *gocql.Session) error {
			var v string
			if err := session.Query("SELECT v FROM items WHERE id = ? AND part = ?", 2, 1).Scan(&v); err != nil {
				return err
			}
			write := session.Query("INSERT INTO items (id, part, v) VALUES (?, ?, ?)", 98, 1, "forbidden")
			return hasCode(write.Exec(), gocql.ErrCodeUnauthorized)
		})
	}),
	check("a failed statement leaves the session working", func(_ context.Context, session *gocql.Session) error {
		for range 50 {
			if err := session.Query("SELECT nothing FROM items").Exec(); err == nil {
				return fmt.Errorf("a wrong statement succeeded")
			}
		}
		var v string
		return session.Query("SELECT v FROM items WHERE id = ? AND part = ?", 2, 1).Scan(&v)
	}),
}
