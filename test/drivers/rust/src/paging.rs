use futures::{FutureExt, TryStreamExt};
use scylla::client::session::Session;
use scylla::response::{PagingState, PagingStateResponse};

use crate::{Check, Outcome, builder, check, execute, same};

const ROWS: i32 = 95;
const SELECT: &str = "SELECT part FROM items WHERE id = 30";

async fn one_after_another(session: &Session) -> Outcome {
    for part in 0..ROWS {
        execute(session, "INSERT INTO items (id, part, v) VALUES (30, ?, 'paged')", (part,)).await?;
    }
    for size in [1, 10, 1000] {
        let mut select = session.prepare(SELECT).await?;
        select.set_page_size(size);
        let stream = session.execute_iter(select, ()).await?.rows_stream::<(i32,)>()?;
        let parts: Vec<i32> = stream.map_ok(|(part,)| part).try_collect().await?;
        same("rows", parts, (0..ROWS).collect())?;
    }
    Ok(())
}

async fn resumed(session: &Session) -> Outcome {
    let mut select = session.prepare(SELECT).await?;
    select.set_page_size(40);
    let (_, response) = session.execute_single_page(&select, (), PagingState::start()).await?;
    let PagingStateResponse::HasMorePages { state } = response else { return Err("there is no second page".into()) };
    let kept = state.as_bytes_slice().ok_or("the state is empty")?.to_vec();
    let other = builder().build().await?;
    let mut again = other.prepare(SELECT).await?;
    again.set_page_size(1000);
    let (result, end) = other.execute_single_page(&again, (), PagingState::new_from_raw_bytes(kept)).await?;
    let read = result.into_rows_result()?;
    same("first row of the second page", read.first_row::<(i32,)>()?.0, 40)?;
    same("no third page", end.finished(), true)
}

pub const CHECKS: &[Check] = &[
    check("pages are fetched one after another", |session| one_after_another(session).boxed()),
    check("a page is resumed by its state, on another session too", |session| resumed(session).boxed()),
];
