use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use futures::FutureExt;
use scylla::client::session::Session;
use scylla::value::{CqlDuration, CqlTimestamp, CqlTimeuuid, MaybeUnset};
use scylla::{DeserializeRow, DeserializeValue, SerializeRow, SerializeValue};
use uuid::Uuid;

use crate::{Check, Outcome, check, execute, rows, same};

#[derive(Clone, Debug, PartialEq, SerializeValue, DeserializeValue)]
struct Place {
    city: String,
    zip: i32,
}

#[derive(Clone, Debug, PartialEq, SerializeRow, DeserializeRow)]
struct Everything {
    id: i32,
    a: String,
    b: i64,
    bl: Vec<u8>,
    bo: bool,
    dou: f64,
    du: CqlDuration,
    f: f32,
    i: IpAddr,
    s: i16,
    t: String,
    ts: CqlTimestamp,
    ty: i8,
    u: Uuid,
    tu: CqlTimeuuid,
    li: Vec<i32>,
    se: HashSet<String>,
    ma: HashMap<String, i32>,
    tup: (i32, String),
    pl: Place,
}

async fn all_types(session: &Session) -> Outcome {
    let written = Everything {
        id: 1,
        a: "ascii".into(),
        b: 1 << 60,
        bl: vec![0, 1, 255],
        bo: true,
        dou: 1.5,
        du: CqlDuration { months: 1, days: 2, nanoseconds: 3 },
        f: 2.5,
        i: "2001:db8::1".parse()?,
        s: -7,
        t: "größer 🙂".into(),
        ts: CqlTimestamp(1_700_000_000_123),
        ty: -8,
        u: Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef),
        tu: CqlTimeuuid::from(Uuid::from_u128(0x1234_5678_9abc_1def_8123_4567_89ab_cdef)),
        li: vec![3, 1, 2],
        se: HashSet::from(["a".into(), "b".into()]),
        ma: HashMap::from([("k".into(), 1)]),
        tup: (5, "five".into()),
        pl: Place { city: "Bern".into(), zip: 3000 },
    };
    let columns = "id, a, b, bl, bo, dou, du, f, i, s, t, ts, ty, u, tu, li, se, ma, tup, pl";
    let markers = vec!["?"; 20].join(", ");
    execute(session, &format!("INSERT INTO everything ({columns}) VALUES ({markers})"), &written).await?;
    let read = rows(session, &format!("SELECT {columns} FROM everything WHERE id = ?"), (1,)).await?;
    same("row", read.single_row::<Everything>()?, written)
}

async fn unset_and_null(session: &Session) -> Outcome {
    let insert = "INSERT INTO items (id, part, v, w) VALUES (?, ?, ?, ?)";
    execute(session, insert, (20, 1, "v", "w")).await?;
    execute(session, insert, (20, 1, MaybeUnset::<&str>::Unset, None::<&str>)).await?;
    let read = rows(session, "SELECT v, w FROM items WHERE id = 20 AND part = 1", ()).await?;
    let row = read.single_row::<(Option<String>, Option<String>)>()?;
    same("row", row, (Some("v".into()), None))
}

async fn by_name(session: &Session) -> Outcome {
    let values = HashMap::from([("part", 2), ("id", 20)]);
    execute(session, "INSERT INTO items (id, part, v) VALUES (:id, :part, 'by name')", &values).await?;
    let read = rows(session, "SELECT v FROM items WHERE id = :id AND part = :part", &values).await?;
    same("v", read.single_row::<(String,)>()?.0, "by name".into())
}

pub const CHECKS: &[Check] = &[
    check("all types come back as they were written", |session| all_types(session).boxed()),
    check("unset leaves a column and null deletes it", |session| unset_and_null(session).boxed()),
    check("values by name", |session| by_name(session).boxed()),
];
