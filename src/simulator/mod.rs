//! A provider made of scripted conversations, served over real HTTP; for tests, benchmarks and `inboxd simulate`.
//!
//! One port speaks every dialect below its own base path, follows the providers' contracts in what they promise and
//! has a switch for what they leave open. Conversations, faults and switches are set through [`World`] or, from
//! outside, under `/control`. It shares no code with the clients it tests, so that neither hides the other's mistake.
//!
//! A dialect is one folder with its routes, and one line where routes are put together.

mod connection;
mod connectsafely;
mod control;
mod conversation;
mod exchange;
mod faults;
mod ledger;
mod linkedapi;
mod linkup;
mod people;
mod requests;
mod scenario;
mod switches;
#[cfg(test)]
mod tests;
mod traffic;
mod unipile;
mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use connection::{Connection, Listener, OpenConnections};
use exchange::{Answer, Asked, Incoming};

pub use conversation::Draft;
pub use faults::{Fault, RetryAfter, When};
pub use ledger::LedgerEntry;
pub use linkup::{
    CreditEntry, CreditReason, LastCursor, LinkupErrorBody, LinkupErrorStatus, LinkupSwitches, PagingPlace,
};
pub use requests::{Endpoint, RequestEntry};
pub use scenario::{PlayingScenario, Scenario, ScenarioError};
pub use switches::{
    ActivityForm, ConnectSafelySwitches, EmptyText, ErrorBody, LinkedApiSwitches, ListTimes, Order, Outcome, OwnerFlag,
    RefusalStatus, SenderForm, Switches, TimeFormat, Truncation, UrnForm,
};
pub use traffic::{Traffic, TrafficHandle};
pub use unipile::{KeyOf, UnipileSwitches};
pub use world::{ConversationRef, Dialect, Kind, World};

/// Where the simulator listens and which secrets it accepts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What ids, traffic and dice are made from.
    pub seed: u64,
    /// Linked API: the customer's token.
    pub linked_api_token: String,
    /// Linked API: the token of the account.
    pub identification_token: String,
    /// ConnectSafely: the key of the workspace.
    pub api_key: String,
    /// ConnectSafely: the account.
    pub account_id: String,
    /// Unipile: the key, for both versions.
    pub unipile_api_key: String,
    /// Unipile v2: the account.
    pub unipile_account_id: String,
    /// Unipile v1: the account.
    pub unipile_v1_account_id: String,
    /// LinkupAPI: the customer's key.
    pub linkup_api_key: String,
    /// LinkupAPI v1: the cookie of the LinkedIn session.
    pub linkup_login_token: String,
    /// LinkupAPI: where the account's requests leave from.
    pub linkup_country: String,
    /// LinkupAPI v2: the account.
    pub linkup_account_id: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            seed: 1,
            linked_api_token: "sim-linked-api-token".into(),
            identification_token: "sim-identification-token".into(),
            api_key: "sim-api-key".into(),
            account_id: "65f0c0ffee00c0ffee00c0de".into(),
            unipile_api_key: "sim-unipile-key".into(),
            unipile_account_id: "acc_sim0000001".into(),
            unipile_v1_account_id: "simV1accountId0000001".into(),
            linkup_api_key: "sim-linkup-key".into(),
            linkup_login_token: "sim-linkup-login-token".into(),
            linkup_country: "FR".into(),
            linkup_account_id: "sim-linkup-account".into(),
        }
    }
}

/// A running simulator. It ends when dropped; [`Simulator::stop`] also waits for the end.
pub struct Simulator {
    addr: SocketAddr,
    world: World,
    open: OpenConnections,
    server: JoinHandle<()>,
}

impl Simulator {
    /// Binds, and serves on the current tokio runtime from then on.
    pub async fn start(settings: Settings) -> std::io::Result<Self> {
        let inner = TcpListener::bind(settings.listen).await?;
        let addr = inner.local_addr()?;
        let world = World::new(settings);
        let open = OpenConnections::default();
        let listener = Listener { inner, open: open.clone() };
        let service = routes(world.clone()).into_make_service_with_connect_info::<Connection>();
        let stopping = world.stopping().clone().cancelled_owned();
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stopping).await {
                tracing::error!(%error, "simulator cannot serve");
            }
        });
        Ok(Self { addr, world, open, server })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What a user configures as base URL of the provider.
    pub fn base_url(&self, dialect: Dialect) -> String {
        match dialect {
            Dialect::LinkedApi => format!("http://{}/linkedapi", self.addr),
            Dialect::ConnectSafely => format!("http://{}/connectsafely/linkedin", self.addr),
            Dialect::UnipileV2 => format!("http://{}/unipile/v2", self.addr),
            Dialect::UnipileV1 => format!("http://{}/unipile/v1/api/v1", self.addr),
            Dialect::LinkupV1 => format!("http://{}/linkup/v1", self.addr),
            Dialect::LinkupV2 => format!("http://{}/linkup/v2", self.addr),
        }
    }

    /// Its conversations, faults, switches and records.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Ends every connection, answered or not, and frees the port.
    pub async fn stop(mut self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        self.end();
        if tokio::time::timeout(PATIENCE, &mut self.server).await.is_err() {
            self.server.abort();
        }
    }

    fn end(&self) {
        self.world.replace_traffic(None);
        self.world.stopping().cancel();
        self.open.close();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.end();
    }
}

fn routes(world: World) -> Router {
    Router::new()
        .nest("/linkedapi", linkedapi::routes())
        .nest("/connectsafely", connectsafely::routes())
        .merge(unipile::routes())
        .nest("/linkup", linkup::routes())
        .nest("/control", control::routes())
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(axum::middleware::map_request(exchange::keep_uri))
        .with_state(world)
}

async fn unknown(incoming: Incoming) -> Response {
    let asked = Asked { endpoint: Endpoint::Unknown, voice: &connectsafely::Wording, cursor: false };
    let answer = Answer::json(StatusCode::NOT_FOUND, &serde_json::json!({ "error": "no such path" }));
    incoming.answer(asked, |_| Vec::new(), |_, _, _| answer).await
}
