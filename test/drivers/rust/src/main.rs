//! Checks of the Rust driver against one address: one JSON line for each, {"name", "ok", "detail"}.
//! The keyspace exists; the program makes its tables in it.

mod connection;
mod errors;
mod paging;
mod schema;
mod statements;
mod values;

use std::collections::HashMap;
use std::env::var;
use std::error::Error;
use std::future::Future;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::response::query_result::QueryRowsResult;
use scylla::serialize::row::SerializeRow;

pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;
pub type Check = (&'static str, for<'a> fn(&'a Session) -> BoxFuture<'a, Outcome>);

pub const fn check(name: &'static str, run: for<'a> fn(&'a Session) -> BoxFuture<'a, Outcome>) -> Check {
    (name, run)
}

pub fn setting(name: &str) -> String {
    var(format!("CHECK_{name}")).unwrap_or_else(|_| panic!("CHECK_{name} is not set"))
}

/// Nothing but address and login differs from the driver's defaults.
pub fn builder() -> SessionBuilder {
    SessionBuilder::new()
        .known_node(format!("{}:{}", setting("HOST"), setting("PORT")))
        .user(setting("USERNAME"), setting("PASSWORD"))
        .use_keyspace(setting("KEYSPACE"), false)
        .connection_timeout(Duration::from_secs(30))
}

/// Fails unless both are the same.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, wanted: T) -> Outcome {
    if got == wanted { Ok(()) } else { Err(format!("{what}: got {got:?}, wanted {wanted:?}").into()) }
}

pub async fn execute(session: &Session, text: &str, values: impl SerializeRow) -> Outcome {
    let prepared = session.prepare(text).await?;
    session.execute_unpaged(&prepared, values).await?;
    Ok(())
}

pub async fn rows(
    session: &Session,
    text: &str,
    values: impl SerializeRow,
) -> Result<QueryRowsResult, Box<dyn Error + Send + Sync>> {
    let prepared = session.prepare(text).await?;
    Ok(session.execute_unpaged(&prepared, values).await?.into_rows_result()?)
}

async fn create_tables(session: &Session) -> Outcome {
    for text in [
        "CREATE TABLE items (id int, part int, v text, w text, PRIMARY KEY (id, part))",
        "CREATE TABLE moments (id int PRIMARY KEY, ts timeuuid, v text)",
        "CREATE TABLE lwt_ (id int PRIMARY KEY, v text)",
        "CREATE TABLE hits (id int PRIMARY KEY, n counter)",
        "CREATE TABLE blobs (id int PRIMARY KEY, data blob)",
        "CREATE TYPE place (city text, zip int)",
        "CREATE TABLE everything (id int PRIMARY KEY, a ascii, b bigint, bl blob, bo boolean, dou double, \
         du duration, f float, i inet, s smallint, t text, ts timestamp, ty tinyint, u uuid, tu timeuuid, \
         li list<int>, se set<text>, ma map<text, int>, tup tuple<int, text>, pl frozen<place>)",
    ] {
        session.query_unpaged(text, ()).await?;
    }
    Ok(())
}

/// A check that panics has failed, and so has one that never ends.
async fn guarded(check: impl Future<Output = Outcome>) -> Outcome {
    let caught = std::panic::AssertUnwindSafe(check).catch_unwind();
    match tokio::time::timeout(Duration::from_secs(90), caught).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err("panic".into()),
        Err(_) => Err("no end within 90 s".into()),
    }
}

#[tokio::main]
async fn main() -> Outcome {
    let session = builder().build().await?;
    create_tables(&session).await?;
    let groups: [&[Check]; 6] =
        [connection::CHECKS, statements::CHECKS, values::CHECKS, paging::CHECKS, schema::CHECKS, errors::CHECKS];
    for (name, run) in groups.into_iter().flatten() {
        let outcome = guarded(run(&session)).await;
        let detail = outcome.as_ref().err().map(|error| error.to_string()).unwrap_or_default();
        let line: HashMap<&str, serde_json::Value> =
            HashMap::from([("name", (*name).into()), ("ok", outcome.is_ok().into()), ("detail", detail.into())]);
        println!("{}", serde_json::to_string(&line)?);
    }
    Ok(())
}
