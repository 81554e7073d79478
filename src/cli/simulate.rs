//! `inboxd simulate`

use std::io::Write;
use std::net::SocketAddr;

use super::{Failure, block_on};
use crate::simulator::{ConversationRef, Dialect, Kind, Settings, Simulator, Traffic, World};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7438")]
    listen: SocketAddr,
    /// Conversations of each provider
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    conversations: u32,
    /// New messages a minute, over all conversations
    #[arg(long, value_name = "RATE", default_value_t = 30.0)]
    messages_per_minute: f64,
    /// The same seed makes the same people and the same traffic
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Every dialect that is simulated.
const SIMULATED: &[Dialect] = &[Dialect::LinkedApi, Dialect::ConnectSafely, Dialect::UnipileV2, Dialect::UnipileV1];

/// Those of them that the daemon can follow, so that a printed configuration loads.
pub(super) const IN_CONFIG: &[Dialect] = &[Dialect::LinkedApi, Dialect::ConnectSafely];

/// People whose conversations are simulated; after the last name they are numbered.
const PEOPLE: &[&str] = &[
    "Ada Byron",
    "Grace Murray",
    "Alan Mathison",
    "Edsger Wybe",
    "Barbara Jane",
    "Donald Ervin",
    "Radia Joy",
    "Tony Hoare",
    "Frances Elizabeth",
    "Ken Lane",
    "Margaret Heafield",
    "Niklaus Emil",
];

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    block_on(async {
        let settings = Settings { listen: arguments.listen, seed: arguments.seed, ..Settings::default() };
        let simulator = Simulator::start(settings)
            .await
            .map_err(|e| Failure::new(super::FAILED, format!("{} cannot be listened on: {e}", arguments.listen)))?;
        populate(simulator.world(), SIMULATED, arguments.conversations);
        let traffic = Traffic { messages_per_minute: arguments.messages_per_minute, ..Traffic::default() };
        let traffic = simulator.world().start_traffic(traffic);
        let mut stdout = std::io::stdout();
        stdout.write_all(config(&simulator, "stdout", "").as_bytes())?;
        stdout.flush()?;
        let note =
            format!("simulating on http://{}; faults and switches under /control; Ctrl-C ends it", simulator.addr());
        writeln!(std::io::stderr(), "{note}")?;
        let mut signals = crate::ops::signals::Signals::listen()?;
        while signals.next().await != crate::ops::signals::Request::Stop {}
        traffic.stop();
        simulator.stop().await;
        Ok(())
    })
}

/// Adds so many conversations of each provider, one in five of them in Sales Navigator and, where there is such a
/// thing, one in Recruiter.
pub(super) fn populate(world: &World, dialects: &[Dialect], conversations: u32) {
    for &dialect in dialects {
        for number in 0..conversations as usize {
            let kind = match (number % 5, dialect) {
                (4, _) => Kind::SalesNavigator,
                (3, Dialect::UnipileV2 | Dialect::UnipileV1) => Kind::Recruiter,
                _ => Kind::Standard,
            };
            let name = PEOPLE[number % PEOPLE.len()];
            let round = number / PEOPLE.len();
            let name = if round > 0 { format!("{name} {}", round + 1) } else { name.to_owned() };
            world.add_conversation(dialect, kind, &name);
        }
    }
}

/// A configuration that follows every conversation of the simulator. `extra` goes below `[polling]`.
pub(super) fn config(simulator: &Simulator, stdout_sink: &str, extra: &str) -> String {
    let world = simulator.world();
    let credentials = Settings::default();
    let mut text = format!(
        "# Follows every conversation of this simulator. Save it as inboxd.toml, then: inboxd run\n\n\
         [polling]\nmin_interval = \"1s\"\nmax_interval = \"5s\"\nrequests_per_minute = 6000\nfirst_poll = \"all\"\n{extra}\n\
         [accounts.sim-linkedapi]\nprovider = \"linkedapi\"\nbase_url = \"{}\"\nlinked_api_token = \"{}\"\nidentification_token = \"{}\"\n",
        simulator.base_url(Dialect::LinkedApi),
        credentials.linked_api_token,
        credentials.identification_token,
    );
    for (address, kind) in addresses(world, Dialect::LinkedApi) {
        text += &format!("\n[[accounts.sim-linkedapi.conversations]]\nperson_url = \"{address}\"\ntype = \"{kind}\"\n");
    }
    text += &format!(
        "\n[accounts.sim-connectsafely]\nprovider = \"connectsafely\"\nbase_url = \"{}\"\napi_key = \"{}\"\naccount_id = \"{}\"\n",
        simulator.base_url(Dialect::ConnectSafely),
        credentials.api_key,
        credentials.account_id,
    );
    for (address, _) in addresses(world, Dialect::ConnectSafely) {
        text += &format!("\n[[accounts.sim-connectsafely.conversations]]\nconversation_urn = \"{address}\"\n");
    }
    for &dialect in IN_CONFIG {
        text += &unipile_account(simulator, dialect).unwrap_or_default();
    }
    text += &format!(
        "\n[sinks.console]\ntype = \"stdout\"\nformat = \"{}\"\n",
        if stdout_sink == "text" { "text" } else { "json" }
    );
    text
}

/// The account of one of Unipile's dialects, following every conversation of it; `None` for any other dialect.
fn unipile_account(simulator: &Simulator, dialect: Dialect) -> Option<String> {
    let credentials = Settings::default();
    let (version, account_id) = match dialect {
        Dialect::UnipileV2 => ("v2", credentials.unipile_account_id),
        Dialect::UnipileV1 => ("v1", credentials.unipile_v1_account_id),
        _ => return None,
    };
    let mut text = format!(
        "\n[accounts.sim-unipile-{version}]\nprovider = \"unipile\"\napi_version = \"{version}\"\nbase_url = \"{}\"\napi_key = \"{}\"\naccount_id = \"{account_id}\"\n",
        simulator.base_url(dialect),
        credentials.unipile_api_key,
    );
    for (address, _) in addresses(simulator.world(), dialect) {
        text += &format!("\n[[accounts.sim-unipile-{version}.conversations]]\nchat_id = \"{address}\"\n");
    }
    Some(text)
}

fn addresses(world: &World, dialect: Dialect) -> Vec<(String, &'static str)> {
    let described = world.conversations().into_iter().filter(|(_, of, _)| *of == dialect);
    let wire = |kind: Kind| if kind == Kind::SalesNavigator { "nv" } else { "st" };
    described
        .map(|(conversation, _, kind): (ConversationRef, _, _)| (world.address(conversation), wire(kind)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accounts_of_unipile_are_written_with_every_chat() {
        let simulator = Simulator::start(Settings::default()).await.unwrap();
        populate(simulator.world(), SIMULATED, 5);
        for (dialect, version) in [(Dialect::UnipileV2, "v2"), (Dialect::UnipileV1, "v1")] {
            let text = unipile_account(&simulator, dialect).unwrap();
            let parsed: toml::Table = text.parse().unwrap();
            let account = &parsed["accounts"][format!("sim-unipile-{version}")];
            assert_eq!(account["base_url"].as_str(), Some(simulator.base_url(dialect).as_str()));
            assert_eq!(account["conversations"].as_array().unwrap().len(), 5);
        }
        assert_eq!(unipile_account(&simulator, Dialect::LinkedApi), None);
    }
}
