use futures::FutureExt;
use scylla::client::session::Session;
use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError};
use scylla::statement::Consistency;

use crate::{Check, Outcome, builder, check, execute, same, setting};

/// The server's error in what the driver throws, prepared or not.
fn of_server(error: ExecutionError) -> Result<DbError, Box<dyn std::error::Error + Send + Sync>> {
    match error {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _)) => Ok(error),
        ExecutionError::PrepareError(error) => of_prepare(error),
        other => Err(format!("the error is {other:?}").into()),
    }
}

fn of_prepare(error: PrepareError) -> Result<DbError, Box<dyn std::error::Error + Send + Sync>> {
    match error {
        PrepareError::AllAttemptsFailed { first_attempt: RequestAttemptError::DbError(error, _) } => Ok(error),
        other => Err(format!("the error is {other:?}").into()),
    }
}

async fn text_fails(session: &Session, text: &str, wanted: DbError) -> Outcome {
    match session.query_unpaged(text, ()).await {
        Ok(_) => Err(format!("{text} succeeded").into()),
        Err(error) => same(text, of_server(error)?, wanted),
    }
}

async fn plain(session: &Session) -> Outcome {
    text_fails(session, "SELEKT * FROM items", DbError::SyntaxError).await?;
    text_fails(session, "SELECT * FROM nowhere", DbError::Invalid).await?;
    text_fails(session, "INSERT INTO items (id, part, zzz) VALUES (1, 1, 1)", DbError::Invalid).await?;
    text_fails(session, "CREATE KEYSPACE x WITH replication = {'class': 'Nothing'}", DbError::ConfigError).await?;
    let there = DbError::AlreadyExists { keyspace: setting("KEYSPACE"), table: "items".into() };
    text_fails(session, "CREATE TABLE items (id int PRIMARY KEY)", there).await
}

async fn while_preparing(session: &Session) -> Outcome {
    match session.prepare("SELECT nothing FROM items").await {
        Ok(_) => Err("it was prepared".into()),
        Err(error) => same("error", of_prepare(error)?, DbError::Invalid),
    }
}

async fn unavailable(session: &Session) -> Outcome {
    for text in ["SELECT v FROM items WHERE id = 2", "INSERT INTO items (id, part, v) VALUES (99, 1, 'never')"] {
        let mut prepared = session.prepare(text).await?;
        prepared.set_consistency(Consistency::Three);
        let wanted = DbError::Unavailable { consistency: Consistency::Three, required: 3, alive: 1 };
        match session.execute_unpaged(&prepared, ()).await {
            Ok(_) => return Err(format!("{text} succeeded").into()),
            Err(error) => same(text, of_server(error)?, wanted)?,
        }
    }
    Ok(())
}

async fn forbidden() -> Outcome {
    let session = builder().user(setting("READER"), setting("READER_PASSWORD")).build().await?;
    execute(&session, "SELECT v FROM items WHERE id = 2 AND part = 1", ()).await?;
    text_fails(&session, "INSERT INTO items (id, part) VALUES (98, 1)", DbError::Unauthorized).await
}

pub const CHECKS: &[Check] = &[
    check("errors of statements by their own types", |session| plain(session).boxed()),
    check("an error while preparing", |session| while_preparing(session).boxed()),
    check("a consistency out of reach, for a read and a write", |session| unavailable(session).boxed()),
    check("a user without the right to write", |_| forbidden().boxed()),
];
