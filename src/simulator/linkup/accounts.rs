//! `GET /v2/accounts`: free, and with field names that nobody has verified.

use axum::extract::{Path, Query};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Endpoint, Trouble, v2};
use crate::simulator::exchange::Incoming;
use crate::simulator::people::OWNER;
use crate::simulator::world::State;
use crate::time::UnixMillis;

#[derive(Deserialize)]
struct Ask {
    limit: Option<u32>,
    offset: Option<u32>,
}

pub(super) async fn list(incoming: Incoming) -> Response {
    let respond = |state: &mut State, incoming: &Incoming, now| {
        let Ok(Query(ask)) = Query::<Ask>::try_from_uri(&incoming.uri) else {
            return Err(Trouble::Params("limit and offset must be whole numbers".into()));
        };
        if ask.limit.is_some_and(|limit| !(1..=500).contains(&limit)) {
            return Err(Trouble::Params("limit must be from 1 to 500".into()));
        }
        let items = if ask.offset.unwrap_or(0) == 0 { vec![account(state, now)] } else { vec![] };
        Ok(json!({ "items": items, "total": 1 }))
    };
    v2::free(incoming, Endpoint::LinkupV2Accounts, respond).await
}

pub(super) async fn one(Path(id): Path<String>, incoming: Incoming) -> Response {
    let respond = |state: &mut State, _: &Incoming, now| {
        if id == state.settings.linkup_account_id { Ok(account(state, now)) } else { Err(Trouble::Account) }
    };
    v2::free(incoming, Endpoint::LinkupV2Account, respond).await
}

fn account(state: &State, now: UnixMillis) -> Value {
    let active = state.switches.linkup.dead_session.is_none();
    json!({
        "account_id": state.settings.linkup_account_id,
        "name": OWNER.name(),
        "platform": "linkedin",
        "linkedin_id": OWNER.slug,
        "country": state.settings.linkup_country,
        "status": if active { "active" } else { "inactive" },
        "is_active": active,
        "created_at": "2026-01-05T08:00:00.000Z",
        "updated_at": now,
    })
}
