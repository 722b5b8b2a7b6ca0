// Checks of the gocql driver against one address: one JSON line for each, {"name", "ok", "detail"}.
// The keyspace exists; the program makes its tables in it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// A check fails by returning an error.
type namedCheck struct {
	name string
	run  func(ctx context.Context, session *gocql.Session) error
}

func check(name string, run func(ctx context.Context, session *gocql.Session) error) namedCheck {
	return namedCheck{name, run}
}

var keyspace = os.Getenv("CHECK_KEYSPACE")

func clusterConfig() *gocql.ClusterConfig {
	port, err := strconv.Atoi(os.Getenv("CHECK_PORT"))
	if err != nil {
		panic(err)
	}
	config := gocql.NewCluster(os.Getenv("CHECK_HOST"))
	config.Port = port
	config.Authenticator = login(os.Getenv("CHECK_USERNAME"), os.Getenv("CHECK_PASSWORD"))
	config.Keyspace = keyspace
	// The machine may be busy; nothing else differs from the driver's defaults.
	config.Timeout = 30 * time.Second
	config.WriteTimeout = 30 * time.Second
	config.ConnectTimeout = 30 * time.Second
	return config
}

func login(username, password string) gocql.PasswordAuthenticator {
	return gocql.PasswordAuthenticator{Username: username, Password: password}
}

// Opens a session, hands it over and closes it.
func withSession(config *gocql.ClusterConfig, use func(session *gocql.Session) error) error {
	session, err := config.CreateSession()
	if err != nil {
		return fmt.Errorf("no session: %w", err)
	}
	defer session.Close()
	return use(session)
}

func guarded(one namedCheck, session *gocql.Session) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("panic: %v", fault)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	return one.run(ctx, session)
}

func main() {
	session, err := clusterConfig().CreateSession()
	if err != nil {
		fmt.Fprintln(os.Stderr, "no session:", err)
		os.Exit(1)
	}
	defer session.Close()
	if err := createTables(session); err != nil {
		fmt.Fprintln(os.Stderr, "no tables:", err)
		os.Exit(1)
	}
	lines := json.NewEncoder(os.Stdout)
	groups := [][]namedCheck{connectionChecks, statementChecks, valueChecks, pagingChecks, schemaChecks, errorChecks}
	for _, group := range groups {
		for _, one := range group {
			line := map[string]any{"name": one.name, "ok": true, "detail": ""}
			if err := guarded(one, session); err != nil {
				line["ok"], line["detail"] = false, err.Error()
			}
			if err := lines.Encode(line); err != nil {
				panic(err)
			}
		}
	}
}

func createTables(session *gocql.Session) error {
	for _, statement := range []string{
		"CREATE TABLE items (id int, part int, v text, w text, PRIMARY KEY (id, part))",
		"CREATE TABLE moments (id int PRIMARY KEY, ts timeuuid, v text)",
		"CREATE TABLE lwt_ (id int PRIMARY KEY, v text)",
		"CREATE TABLE hits (id int PRIMARY KEY, n counter)",
		"CREATE TABLE blobs (id int PRIMARY KEY, data blob)",
		"CREATE TYPE place (city text, zip int)",
		`CREATE TABLE everything (id int PRIMARY KEY, a ascii, b bigint, bl blob, bo boolean, d date, de decimal,
			dou double, du duration, f float, i inet, s smallint, t text, ti time, ts timestamp, tu timeuuid,
			ty tinyint, u uuid, vi varint, li list<int>, se set<text>, ma map<text, int>,
			tup tuple<int, text>, pl frozen<place>, fl frozen<list<int>>)`,
	} {
		if err := session.Query(statement).Exec(); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

func expectEqual[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s: got %v, wanted %v", what, got, want)
	}
	return nil
}
