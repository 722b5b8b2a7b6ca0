use futures::FutureExt;
use scylla::client::session::Session;

use crate::{Check, Outcome, builder, check, execute, rows, same, setting};

async fn metadata(session: &Session) -> Outcome {
    session.refresh_metadata().await?;
    let state = session.get_cluster_state();
    let keyspace = state.get_keyspace(setting("KEYSPACE")).ok_or("the keyspace is not there")?;
    let items = keyspace.tables.get("items").ok_or("the table is not there")?;
    same("partition key", items.partition_key.clone(), vec!["id".to_string()])?;
    same("clustering key", items.clustering_key.clone(), vec!["part".to_string()])?;
    same("columns", keyspace.tables["everything"].columns.len(), 20)?;
    same("has the type", keyspace.user_defined_types.contains_key("place"), true)
}

async fn found_by_others(session: &Session) -> Outcome {
    let other = builder().build().await?;
    session.query_unpaged("CREATE TABLE found (id int PRIMARY KEY)", ()).await?;
    execute(&other, "INSERT INTO found (id) VALUES (?)", (1,)).await?;
    other.refresh_metadata().await?;
    let state = other.get_cluster_state();
    let keyspace = state.get_keyspace(setting("KEYSPACE")).ok_or("the keyspace is not there")?;
    same("has the table", keyspace.tables.contains_key("found"), true)
}

async fn agreement(session: &Session) -> Outcome {
    for round in 0..5 {
        let name = format!("at_once_{round}");
        session.query_unpaged(format!("CREATE TABLE {name} (id int PRIMARY KEY, v text)"), ()).await?;
        execute(session, &format!("INSERT INTO {name} (id, v) VALUES (?, ?)"), (1, "at once")).await?;
    }
    session.await_schema_agreement().await?;
    Ok(())
}

async fn altered(session: &Session) -> Outcome {
    session.query_unpaged("CREATE TABLE altered (id int PRIMARY KEY, a text)", ()).await?;
    execute(session, "INSERT INTO altered (id, a) VALUES (1, 'a')", ()).await?;
    let select = session.prepare("SELECT * FROM altered WHERE id = ?").await?;
    let before = session.execute_unpaged(&select, (1,)).await?.into_rows_result()?;
    same("before", before.single_row::<(i32, String)>()?, (1, "a".into()))?;
    session.query_unpaged("ALTER TABLE altered ADD b int", ()).await?;
    execute(session, "UPDATE altered SET b = 7 WHERE id = 1", ()).await?;
    let after = rows(session, "SELECT * FROM altered WHERE id = ?", (1,)).await?;
    same("after", after.single_row::<(i32, String, i32)>()?, (1, "a".into(), 7))?;
    let again = session.execute_unpaged(&select, (1,)).await?.into_rows_result()?;
    same("columns of the old statement", again.column_specs().len(), 3)
}

pub const CHECKS: &[Check] = &[
    check("metadata of the keyspace", |session| metadata(session).boxed()),
    check("a new table may be used at once", |session| agreement(session).boxed()),
    check("another session finds a new table", |session| found_by_others(session).boxed()),
    check("a prepared SELECT * shows a column that was added", |session| altered(session).boxed()),
];
