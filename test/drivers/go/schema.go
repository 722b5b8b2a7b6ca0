package main

import (
	"context"
	"fmt"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// Hears of tables that were created.
type tableWatch struct {
	created chan string
}

func (watch tableWatch) OnTableCreated(event gocql.OnTableCreatedEvent) {
	watch.created <- event.Table.Name
}
func (watch tableWatch) OnTableUpdated(gocql.OnTableUpdatedEvent) {}
func (watch tableWatch) OnTableDropped(gocql.OnTableDroppedEvent) {}

var schemaChecks = []namedCheck{
	check("metadata of the keyspace", func(_ context.Context, session *gocql.Session) error {
		metadata, err := session.KeyspaceMetadata(keyspace)
		// The driver reads it again behind events of the keyspace, a while after them; until then it may know no table.
		for waits := 0; err == nil && metadata.Tables["everything"] == nil && waits < 100; waits++ {
			time.Sleep(100 * time.Millisecond)
			metadata, err = session.KeyspaceMetadata(keyspace)
		}
		if err != nil {
			return err
		}
		items, everything := metadata.Tables["items"], metadata.Tables["everything"]
		if items == nil || everything == nil || metadata.UserTypes["place"] == nil {
			return fmt.Errorf("tables %v, types %v", metadata.Tables, metadata.UserTypes)
		}
		got := fmt.Sprintln(items.PartitionKey[0].Name, items.ClusteringColumns[0].Name, len(everything.Columns))
		return expectEqual("keys and columns", got, "id part 25\n")
	}),
	check("a new table is known at once and told of", func(ctx context.Context, session *gocql.Session) error {
		watch := tableWatch{make(chan string, 64)}
		config := clusterConfig()
		config.Metadata.CacheMode = gocql.Full
		config.Metadata.SchemaListener.TableChangeListener = watch
		return withSession(config, func(listening *gocql.Session) error {
			for round := range 5 {
				name := fmt.Sprint("told_", round)
				if err := session.Query("CREATE TABLE " + name + " (id int PRIMARY KEY, v text)").Exec(); err != nil {
					return err
				}
				insert := session.Query("INSERT INTO "+name+" (id, v) VALUES (?, ?)", 1, "at once")
				if err := insert.Exec(); err != nil {
					return err
				}
			}
			for waiting := 5; waiting > 0; {
				select {
				case name := <-watch.created:
					if name[:5] == "told_" {
						waiting--
					}
				case <-time.After(30 * time.Second):
					return fmt.Errorf("%d tables were never told of", waiting)
				}
			}
			return nil
		})
	}),
	check("a prepared SELECT * shows a column that was added", func(_ context.Context, session *gocql.Session) error {
		if err := session.Query("CREATE TABLE altered (id int PRIMARY KEY, a text)").Exec(); err != nil {
			return err
		}
		if err := session.Query("INSERT INTO altered (id, a) VALUES (?, ?)", 1, "a").Exec(); err != nil {
			return err
		}
		read := func() (map[string]any, error) {
			row := map[string]any{}
			return row, session.Query("SELECT * FROM altered WHERE id = ?", 1).MapScan(row)
		}
		before, err := read()
		if err != nil {
			return err
		}
		if err := session.Query("ALTER TABLE altered ADD b int").Exec(); err != nil {
			return err
		}
		if err := session.Query("UPDATE altered SET b = ? WHERE id = ?", 7, 1).Exec(); err != nil {
			return err
		}
		after, err := read()
		if err != nil {
			return err
		}
		return expectEqual("rows", fmt.Sprint(before, after), "map[a:a id:1] map[a:a b:7 id:1]")
	}),
	check("prepared statements outlive their table", func(_ context.Context, session *gocql.Session) error {
		for round := range 2 {
			if err := session.Query("CREATE TABLE IF NOT EXISTS again (id int PRIMARY KEY, v text)").Exec(); err != nil {
				return err
			}
			if err := session.Query("INSERT INTO again (id, v) VALUES (?, ?)", round, "v").Exec(); err != nil {
				return err
			}
			if err := session.Query("DROP TABLE again").Exec(); err != nil {
				return err
			}
		}
		return nil
	}),
}
