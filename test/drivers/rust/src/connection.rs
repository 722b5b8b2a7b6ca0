use futures::FutureExt;
use futures::future::join_all;
use scylla::client::Compression;
use scylla::client::session::Session;

use crate::{Check, Outcome, builder, check, execute, rows, same, setting};

/// Writes and reads a text that compresses well and a short one.
async fn round_trip(session: &Session, id: i32) -> Outcome {
    for (offset, text) in [(0, "ringshift ".repeat(60_000)), (1, "short".to_string())] {
        let data = text.into_bytes();
        execute(session, "INSERT INTO blobs (id, data) VALUES (?, ?)", (id + offset, &data)).await?;
        let read = rows(session, "SELECT data FROM blobs WHERE id = ?", (id + offset,)).await?;
        same("data", read.single_row::<(Vec<u8>,)>()?.0, data)?;
    }
    Ok(())
}

async fn with_compression(compression: Option<Compression>, id: i32) -> Outcome {
    let session = builder().compression(compression).build().await?;
    round_trip(&session, id).await
}

async fn many_in_flight(session: &Session) -> Outcome {
    let insert = session.prepare("INSERT INTO items (id, part, v) VALUES (?, 0, ?)").await?;
    let select = session.prepare("SELECT v FROM items WHERE id = ? AND part = 0").await?;
    let one = |id: i32| {
        let (insert, select) = (&insert, &select);
        async move {
            let text = format!("#{id}");
            session.execute_unpaged(insert, (id, &text)).await?;
            let read = session.execute_unpaged(select, (id,)).await?.into_rows_result()?;
            same("v", read.single_row::<(String,)>()?.0, text)
        }
    };
    for outcome in join_all((10_000..11_000).map(one)).await {
        outcome?;
    }
    Ok(())
}

async fn keyspaces(session: &Session) -> Outcome {
    let other = builder().build().await?;
    other.use_keyspace("system_schema", false).await?;
    let keyspace = setting("KEYSPACE");
    let read = rows(&other, "SELECT keyspace_name FROM keyspaces WHERE keyspace_name = ?", (&keyspace,)).await?;
    same("keyspace", read.single_row::<(String,)>()?.0, keyspace.clone())?;
    other.use_keyspace(keyspace, false).await?;
    execute(&other, "INSERT INTO items (id, part, v) VALUES (1, 1, ?)", ("after USE",)).await?;
    let read = rows(session, "SELECT v FROM items WHERE id = 1 AND part = 1", ()).await?;
    same("v", read.single_row::<(String,)>()?.0, "after USE".to_string())
}

async fn only_host(session: &Session) -> Outcome {
    let state = session.get_cluster_state();
    let nodes = state.get_nodes_info();
    same("hosts", nodes.len(), 1)?;
    same("address", nodes[0].address.to_string(), format!("{}:{}", setting("HOST"), setting("PORT")))
}

async fn wrong_password() -> Outcome {
    match builder().user("nobody", "wrong").build().await {
        Ok(_) => Err("the login was taken".into()),
        Err(error) => {
            let told = format!("{error:?}");
            if told.contains("incorrect") { Ok(()) } else { Err(told.into()) }
        }
    }
}

pub const CHECKS: &[Check] = &[
    check("connects and carries long and short values", |session| round_trip(session, 1).boxed()),
    check("with LZ4", |_| with_compression(Some(Compression::Lz4), 11).boxed()),
    check("with Snappy", |_| with_compression(Some(Compression::Snappy), 21).boxed()),
    check("shows the proxy as the only host", |session| only_host(session).boxed()),
    check("1,000 requests in flight get their own answers", |session| many_in_flight(session).boxed()),
    check("USE changes the keyspace of one session", |session| keyspaces(session).boxed()),
    check("a wrong password is refused", |_| wrong_password().boxed()),
];
