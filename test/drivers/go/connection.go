package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/apache/cassandra-gocql-driver/v2/lz4"
	"github.com/apache/cassandra-gocql-driver/v2/snappy"
)

// Remembers the protocol version of the last frame and whether bodies came compressed.
type frameWatch struct {
	mutex      sync.Mutex
	version    string
	compressed int
}

func (watch *frameWatch) ObserveFrameHeader(_ context.Context, header gocql.ObservedFrameHeader) {
	watch.mutex.Lock()
	defer watch.mutex.Unlock()
	watch.version = fmt.Sprint(header.Version)
	if header.Flags&1 != 0 {
		watch.compressed++
	}
}

// Writes and reads a text that compresses well and is longer than a v5 segment, and a short one.
func roundTrip(session *gocql.Session, id int) error {
	for offset, text := range []string{strings.Repeat("ringshift ", 60_000), "short"} {
		key := id + offset
		if err := session.Query("INSERT INTO blobs (id, data) VALUES (?, ?)", key, []byte(text)).Exec(); err != nil {
			return err
		}
		var data []byte
		if err := session.Query("SELECT data FROM blobs WHERE id = ?", key).Scan(&data); err != nil {
			return err
		}
		if string(data) != text {
			return fmt.Errorf("%d bytes came back changed", len(text))
		}
	}
	return nil
}

func speaks(version int, compressor gocql.Compressor, id int) func(context.Context, *gocql.Session) error {
	return func(_ context.Context, _ *gocql.Session) error {
		watch := &frameWatch{}
		config := clusterConfig()
		config.FrameHeaderObserver = watch
		config.Compressor = compressor
		if version > 0 {
			config.ProtoVersion = version
		}
		wanted := version
		if wanted == 0 {
			wanted = 5
		}
		return withSession(config, func(session *gocql.Session) error {
			if err := roundTrip(session, id); err != nil {
				return err
			}
			watch.mutex.Lock()
			defer watch.mutex.Unlock()
			if !strings.Contains(watch.version, fmt.Sprint(wanted)) {
				return fmt.Errorf("the version is %s", watch.version)
			}
			// In v5 the segments are compressed, which no header tells.
			if compressor != nil && wanted < 5 && watch.compressed == 0 {
				return fmt.Errorf("no answer came compressed")
			}
			return nil
		})
	}
}

var connectionChecks = []namedCheck{
	check("finds protocol v5 by itself", speaks(0, nil, 1)),
	check("v3 plain", speaks(3, nil, 11)),
	check("v4 plain", speaks(4, nil, 21)),
	check("v3 with LZ4", speaks(3, lz4.LZ4Compressor{}, 31)),
	check("v4 with LZ4", speaks(4, lz4.LZ4Compressor{}, 41)),
	check("v4 with Snappy", speaks(4, snappy.SnappyCompressor{}, 51)),
	check("v5 with LZ4", speaks(5, lz4.LZ4Compressor{}, 61)),
	check("shows the proxy as the only host", func(_ context.Context, session *gocql.Session) error {
		hosts := session.GetHosts()
		if len(hosts) != 1 {
			return fmt.Errorf("%d hosts", len(hosts))
		}
		return expectEqual("port", hosts[0].Port(), clusterConfig().Port)
	}),
	check("1,000 requests in flight get their own answers", func(ctx context.Context, session *gocql.Session) error {
		const count = 1000
		faults := make(chan error, count)
		for id := range count {
			go func() {
				v := fmt.Sprintf("#%d", id)
				insert := session.Query("INSERT INTO items (id, part, v) VALUES (?, 0, ?)", 10_000+id, v)
				if err := insert.ExecContext(ctx); err != nil {
					faults <- err
					return
				}
				var got string
				err := session.Query("SELECT v FROM items WHERE id = ? AND part = 0", 10_000+id).ScanContext(ctx, &got)
				if err == nil {
					err = expectEqual("v", got, v)
				}
				faults <- err
			}()
		}
		for range count {
			if err := <-faults; err != nil {
				return err
			}
		}
		return nil
	}),
	check("a session in another keyspace sees its own tables only", func(_ context.Context, _ *gocql.Session) error {
		config := clusterConfig()
		config.Keyspace = "system_schema"
		return withSession(config, func(session *gocql.Session) error {
			var name string
			where := "WHERE keyspace_name = ?"
			return session.Query("SELECT keyspace_name FROM keyspaces "+where, keyspace).Scan(&name)
		})
	}),
	check("v5: a request names its own keyspace", func(_ context.Context, _ *gocql.Session) error {
		config := clusterConfig()
		config.Keyspace = ""
		return withSession(config, func(session *gocql.Session) error {
			insert := session.Query("INSERT INTO items (id, part, v) VALUES (?, ?, ?)", 1, 1, "by its own keyspace")
			if err := insert.SetKeyspace(keyspace).Exec(); err != nil {
				return err
			}
			var v string
			query := session.Query("SELECT v FROM items WHERE id = ? AND part = ?", 1, 1)
			if err := query.SetKeyspace(keyspace).Scan(&v); err != nil {
				return err
			}
			batch := session.Batch(gocql.UnloggedBatch).SetKeyspace(keyspace)
			batch.Query("INSERT INTO items (id, part, v) VALUES (?, ?, ?)", 1, 2, "in a batch")
			if err := batch.Exec(); err != nil {
				return err
			}
			return expectEqual("v", v, "by its own keyspace")
		})
	}),
	check("a wrong password is refused", func(_ context.Context, _ *gocql.Session) error {
		config := clusterConfig()
		config.Authenticator = login("nobody", "wrong")
		config.ReconnectInterval = time.Hour
		err := withSession(config, func(*gocql.Session) error { return nil })
		if err == nil || !strings.Contains(err.Error(), "incorrect") {
			return fmt.Errorf("the error is %v", err)
		}
		return nil
	}),
}
