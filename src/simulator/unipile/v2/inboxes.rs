//! `GET /{account}/inboxes`

use axum::extract::Path;
use axum::response::Response;
use serde_json::{Value, json};

use super::paging::envelope;
use super::{Ask, answer_live};
use crate::simulator::Endpoint;
use crate::simulator::exchange::{Answer, Incoming};
use crate::simulator::world::State;

pub(super) async fn list(Path(account): Path<String>, incoming: Incoming) -> Response {
    let ask = Ask { endpoint: Endpoint::UnipileInboxes, account, goes_on: false };
    let respond = |state: &mut State, _| {
        let switches = &state.switches.unipile;
        let inbox = |id: &String| {
            json!({
                "object": "Inbox",
                "id": id,
                "description": id.to_lowercase().replace('_', " "),
                "disabled": switches.disabled_inboxes.contains(id),
            })
        };
        let inboxes: Vec<Value> = switches.inboxes.iter().map(inbox).collect();
        let total = switches.total_count.then_some(inboxes.len());
        Ok(Answer::ok(&envelope(inboxes, total, None)))
    };
    answer_live(incoming, ask, |_| Vec::new(), respond).await
}
