//! `GET /accounts` and the status of one account: bare values without an envelope.

use axum::extract::Path;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Incoming, Refusal, answer, check_account, query};
use crate::simulator::Endpoint;
use crate::simulator::exchange::Answer;
use crate::simulator::people::OWNER;
use crate::simulator::world::State;
use crate::time::UnixMillis;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ask {
    account_id: Option<String>,
    q: Option<String>,
}

pub(super) async fn list(incoming: Incoming) -> Response {
    let ask = query::<Ask>(&incoming);
    let respond = |state: &mut State, _| {
        let wanted = ask?.q.unwrap_or_default().to_lowercase();
        let mut account = identity(state);
        account["picture"] = Value::Null;
        account["apiSeatAllocated"] = json!(true);
        let found = OWNER.name().to_lowercase().contains(&wanted);
        Ok(Answer::ok(&if found { vec![account] } else { Vec::new() }))
    };
    answer(incoming, Endpoint::ConnectSafelyAccounts, false, |_| Vec::new(), respond).await
}

pub(super) async fn status(incoming: Incoming) -> Response {
    let ask = query::<Ask>(&incoming);
    let respond = |state: &mut State, _| full_status(state, ask?.account_id.as_deref());
    answer(incoming, Endpoint::ConnectSafelyAccountStatus, false, |_| Vec::new(), respond).await
}

pub(super) async fn status_of(Path(id): Path<String>, incoming: Incoming) -> Response {
    let respond = |state: &mut State, _| full_status(state, Some(&id));
    answer(incoming, Endpoint::ConnectSafelyAccountStatus, false, |_| Vec::new(), respond).await
}

fn full_status(state: &State, account_id: Option<&str>) -> Result<Answer, Refusal> {
    check_account(state, account_id)?;
    let switches = &state.switches.connect_safely;
    let mut account = identity(state);
    account["platform"] = json!("linkedin");
    account["lastUsed"] = json!(UnixMillis::now());
    account["hasTokens"] = json!(switches.account_has_tokens);
    account["linkedinPlan"] = json!({
        "premiumType": if switches.has_sales_navigator { "sales_navigator" } else { "free" },
        "isPremium": switches.has_sales_navigator,
        "hasSalesNavigator": switches.has_sales_navigator,
        "hasRecruiter": false,
    });
    Ok(Answer::ok(&account))
}

/// What both answers say of the account.
fn identity(state: &State) -> Value {
    let switches = &state.switches.connect_safely;
    json!({
        "id": state.settings.account_id,
        "firstName": OWNER.first_name,
        "lastName": OWNER.last_name,
        "publicId": OWNER.slug,
        "status": switches.account_status,
        "enabled": switches.account_enabled,
    })
}
