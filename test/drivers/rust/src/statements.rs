use futures::FutureExt;
use scylla::client::session::Session;
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::unprepared::Statement;
use scylla::statement::{Consistency, SerialConsistency};
use scylla::value::{Counter, CqlTimeuuid};

use crate::{Check, Outcome, check, execute, rows, same};

const INSERT: &str = "INSERT INTO items (id, part, v) VALUES (?, ?, ?)";

async fn many_times(session: &Session) -> Outcome {
    let insert = session.prepare("INSERT INTO items (id, part, v, w) VALUES (?, ?, ?, ?)").await?;
    for part in 0..20 {
        session.execute_unpaged(&insert, (2, part, "v", "w")).await?;
    }
    let read = rows(session, "SELECT count(*) FROM items WHERE id = ?", (2,)).await?;
    same("count", read.single_row::<(i64,)>()?.0, 20)
}

/// The driver's default: it sends no timestamp, so the proxy must choose one for both clusters.
async fn without_timestamps(session: &Session) -> Outcome {
    for part in 0..10 {
        execute(session, INSERT, (5, part, "no timestamp")).await?;
        session.query_unpaged(format!("UPDATE items SET w = 'text' WHERE id = 5 AND part = {part}"), ()).await?;
    }
    execute(session, "DELETE v FROM items WHERE id = ? AND part = ?", (5, 3)).await?;
    execute(session, "DELETE FROM items WHERE id = ? AND part = ?", (5, 4)).await
}

async fn batches(session: &Session) -> Outcome {
    for (id, kind) in [(3, BatchType::Logged), (4, BatchType::Unlogged)] {
        let mut batch = Batch::new(kind);
        batch.append_statement(session.prepare(INSERT).await?);
        batch.append_statement(Statement::new(INSERT));
        batch.append_statement(Statement::new(format!("UPDATE items SET w = 'text' WHERE id = {id} AND part = 1")));
        session.batch(&batch, ((id, 1, "one"), (id, 2, "two"), ())).await?;
        let read = rows(session, "SELECT count(*) FROM items WHERE id = ?", (id,)).await?;
        same("count", read.single_row::<(i64,)>()?.0, 2)?;
    }
    Ok(())
}

async fn counters(session: &Session) -> Outcome {
    execute(session, "UPDATE hits SET n = n + ? WHERE id = ?", (Counter(5), 1)).await?;
    let mut batch = Batch::new(BatchType::Counter);
    let add = session.prepare("UPDATE hits SET n = n + ? WHERE id = ?").await?;
    batch.append_statement(add.clone());
    batch.append_statement(add);
    session.batch(&batch, ((Counter(2), 1), (Counter(-1), 1))).await?;
    let read = rows(session, "SELECT n FROM hits WHERE id = ?", (1,)).await?;
    same("n", read.single_row::<(Counter,)>()?.0, Counter(6))
}

async fn lwt(session: &Session) -> Outcome {
    let mut insert = session.prepare("INSERT INTO lwt_ (id, v) VALUES (?, ?) IF NOT EXISTS").await?;
    insert.set_serial_consistency(Some(SerialConsistency::LocalSerial));
    let first = session.execute_unpaged(&insert, (1, "v0")).await?.into_rows_result()?;
    same("applied", first.single_row::<(bool,)>()?.0, true)?;
    let second = session.execute_unpaged(&insert, (1, "v1")).await?.into_rows_result()?;
    same("what is there", second.single_row::<(bool, i32, String)>()?, (false, 1, "v0".into()))?;
    let mut select = session.prepare("SELECT v FROM lwt_ WHERE id = 1").await?;
    select.set_consistency(Consistency::LocalSerial);
    let read = session.execute_unpaged(&select, ()).await?.into_rows_result()?;
    same("v", read.single_row::<(String,)>()?.0, "v0".to_string())
}

/// The driver fails when the server wants more values than the statement has markers that it can see.
async fn moment(session: &Session, text: &str, id: i32, values: impl SerializeRow) -> Outcome {
    execute(session, text, values).await?;
    let read = rows(session, "SELECT ts FROM moments WHERE id = ?", (id,)).await?;
    let (ts,) = read.single_row::<(CqlTimeuuid,)>()?;
    same("version of the UUID", (ts.as_bytes()[6]) >> 4, 1)
}

async fn moments(session: &Session) -> Outcome {
    moment(session, "INSERT INTO moments (id, ts) VALUES (?, now())", 1, (1,)).await?;
    moment(session, "INSERT INTO moments (id, ts, v) VALUES (?, now(), ?)", 2, (2, "v")).await?;
    moment(session, "INSERT INTO moments (ts, id, v) VALUES (now(), ?, ?)", 3, (3, "v")).await?;
    moment(session, "INSERT INTO moments (id, ts, v) VALUES (:id, now(), :name)", 4, (4, "v")).await?;
    let prepared = session.prepare("INSERT INTO moments (ts, id, v) VALUES (now(), ?, ?)").await?;
    same("routing key is known", prepared.is_token_aware(), true)?;
    same("markers", prepared.get_variable_col_specs().len(), 2)
}

async fn own_timestamp(session: &Session) -> Outcome {
    let mut insert = session.prepare(INSERT).await?;
    insert.set_timestamp(Some(1_000_000_000_000_000));
    session.execute_unpaged(&insert, (6, 1, "of 2001")).await?;
    let read = rows(session, "SELECT writetime(v) FROM items WHERE id = 6 AND part = 1", ()).await?;
    same("write time", read.single_row::<(i64,)>()?.0, 1_000_000_000_000_000)
}

async fn traced(session: &Session) -> Outcome {
    let mut select = session.prepare("SELECT v FROM items WHERE id = 2 AND part = 1").await?;
    select.set_tracing(true);
    let result = session.execute_unpaged(&select, ()).await?;
    let id = result.tracing_id().ok_or("no tracing id")?;
    let trace = session.get_tracing_info(&id).await?;
    same("has events", trace.events.is_empty(), false)
}

async fn warned(session: &Session) -> Outcome {
    let mut batch = Batch::new(BatchType::Unlogged);
    let insert = session.prepare(INSERT).await?;
    for _ in 0..40 {
        batch.append_statement(insert.clone());
    }
    let values: Vec<(i32, i32, &str)> = (0..40).map(|id| (500 + id, 1, "of many partitions")).collect();
    let result = session.batch(&batch, values).await?;
    let warnings: Vec<&str> = result.warnings().collect();
    match warnings.as_slice() {
        [one] if one.contains("40 partitions") => Ok(()),
        other => Err(format!("the warnings are {other:?}").into()),
    }
}

pub const CHECKS: &[Check] = &[
    check("a prepared statement serves many times", |session| many_times(session).boxed()),
    check("without client timestamps, as by default", |session| without_timestamps(session).boxed()),
    check("logged and unlogged batches", |session| batches(session).boxed()),
    check("counters, alone and in a batch", |session| counters(session).boxed()),
    check("LWT tells what is there", |session| lwt(session).boxed()),
    check("the shapes of now()", |session| moments(session).boxed()),
    check("a timestamp of its own is kept", |session| own_timestamp(session).boxed()),
    check("a traced request has its trace", |session| traced(session).boxed()),
    check("warnings arrive", |session| warned(session).boxed()),
];
