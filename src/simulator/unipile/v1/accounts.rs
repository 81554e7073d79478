//! Accounts: the status of the source tells whether what the other endpoints say is up to date.

use axum::extract::Path;
use axum::response::Response;
use serde_json::{Value, json};

use super::paging::Page;
use super::{Refusal, answer, check_account};
use crate::simulator::Endpoint;
use crate::simulator::exchange::{Answer, Incoming};
use crate::simulator::people::OWNER;
use crate::simulator::unipile::ids;
use crate::simulator::world::State;

pub(super) async fn list(incoming: Incoming) -> Response {
    let page = Page::read(&incoming, None);
    let respond = |state: &mut State, _| {
        // One account is one page, so no cursor was ever given out.
        if page?.goes_on() {
            return Err(Page::bad_cursor());
        }
        Ok(Answer::ok(&json!({ "object": "AccountList", "items": [account(state)], "cursor": null })))
    };
    answer(incoming, Endpoint::UnipileV1Accounts, false, |_| Vec::new(), respond).await
}

pub(super) async fn one(Path(id): Path<String>, incoming: Incoming) -> Response {
    let respond = |state: &mut State, _| {
        check_account(state, Some(&id))?;
        Ok::<_, Refusal>(Answer::ok(&account(state)))
    };
    answer(incoming, Endpoint::UnipileV1Account, false, |_| Vec::new(), respond).await
}

fn account(state: &State) -> Value {
    let id = &state.settings.unipile_v1_account_id;
    json!({
        "object": "Account",
        "type": "LINKEDIN",
        "id": id,
        "name": OWNER.name(),
        "created_at": "2026-01-01T00:00:00.000Z",
        "connection_params": {
            "im": {
                "id": ids::owner(state.settings.seed),
                "username": OWNER.name(),
                "publicIdentifier": OWNER.slug,
                "premiumContractId": null,
                "premiumFeatures": ["sales_navigator", "recruiter"],
            },
        },
        "sources": [{ "id": format!("{id}_MESSAGING"), "status": state.switches.unipile.v1_source_status }],
        "groups": [],
    })
}
