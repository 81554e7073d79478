//! The account, as Unipile keeps it.

use axum::extract::Path;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::paging::number;
use super::{Ask, Refusal, answer, answer_live, check_account};
use crate::simulator::Endpoint;
use crate::simulator::exchange::{Answer, Incoming};
use crate::simulator::people::OWNER;
use crate::simulator::unipile::{ids, query};
use crate::simulator::world::State;

#[derive(Deserialize)]
struct Page {
    offset: Option<String>,
    limit: Option<String>,
}

pub(super) async fn list(incoming: Incoming) -> Response {
    let page = query::<Page>(&incoming).ok_or_else(|| Refusal::malformed("query", "is malformed"));
    let respond = |state: &mut State| {
        let page = page?;
        let offset = number("offset", page.offset.as_deref(), 0)?.unwrap_or(0);
        number("limit", page.limit.as_deref(), 1)?;
        let data: Vec<Value> = [account(state)].into_iter().skip(offset).collect();
        Ok(Answer::ok(&json!({ "object": "Accounts", "data": data, "has_more": false })))
    };
    answer(incoming, Endpoint::UnipileAccounts, respond).await
}

pub(super) async fn one(Path(id): Path<String>, incoming: Incoming) -> Response {
    let respond = |state: &mut State| {
        check_account(state, &id)?;
        Ok(Answer::ok(&account(state)))
    };
    answer(incoming, Endpoint::UnipileAccount, respond).await
}

/// The owner, as LinkedIn knows them: whoever is not connected there has none.
pub(super) async fn me(Path(account): Path<String>, incoming: Incoming) -> Response {
    let ask = Ask { endpoint: Endpoint::UnipileMe, account, goes_on: false };
    let respond = |state: &mut State, _| {
        let me = json!({
            "object": "User",
            "id": ids::owner(state.settings.seed),
            "type": "individual",
            "display_name": OWNER.name(),
            "public_identifier": OWNER.slug,
            "profile_url": OWNER.url(),
        });
        Ok(Answer::ok(&me))
    };
    answer_live(incoming, ask, |_| Vec::new(), respond).await
}

fn account(state: &State) -> Value {
    let status = state.switches.unipile.account_status.as_str();
    let product = if status == "disconnected" || status == "errored" { status } else { "running" };
    json!({
        "object": "Account",
        "id": state.settings.unipile_account_id,
        "application_id": "app_sim0000001",
        "user_id": ids::owner(state.settings.seed),
        "name": OWNER.name(),
        "created_at": "2026-01-01T00:00:00.000Z",
        "provider": "linkedin",
        "status": status,
        "metadata": {
            "products_connection_status": { "classic": product, "sales_navigator": product, "recruiter": product },
            "v1_account_id": state.settings.unipile_v1_account_id,
        },
        "initial_sync": { "status": "completed", "started_at": "2026-01-01T00:00:01.000Z" },
    })
}
