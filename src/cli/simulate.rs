//! `inboxd simulate`

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Failure, block_on};
use crate::simulator::{ConversationRef, Dialect, Kind, Scenario, Settings, Simulator, Traffic, World};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7438")]
    listen: SocketAddr,
    /// Play this TOML file: conversations, messages past and future, faults; config/scenario.toml is an example
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Conversations of each provider [default: 5, with a scenario 0]
    #[arg(long, value_name = "COUNT")]
    conversations: Option<u32>,
    /// New messages a minute, over all conversations [default: 30, with a scenario what it says or 0]
    #[arg(long, value_name = "RATE")]
    messages_per_minute: Option<f64>,
    /// The same seed makes the same people and the same traffic [default: what the scenario says or 1]
    #[arg(long)]
    seed: Option<u64>,
}

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
    let scenario = match &arguments.scenario {
        Some(path) => Some(Scenario::load(path).map_err(|error| Failure::new(super::CONFIG, error.to_string()))?),
        None => None,
    };
    let (conversations, rate) = if scenario.is_some() { (0, 0.0) } else { (5, 30.0) };
    let scripted = scenario.as_ref();
    let seed = arguments.seed.or(scripted.and_then(|it| it.seed)).unwrap_or(1);
    let rate = arguments.messages_per_minute.or(scripted.and_then(|it| it.messages_per_minute)).unwrap_or(rate);
    block_on(async {
        let settings = Settings { listen: arguments.listen, seed, ..Settings::default() };
        let simulator = Simulator::start(settings)
            .await
            .map_err(|e| Failure::new(super::FAILED, format!("{} cannot be listened on: {e}", arguments.listen)))?;
        // First: the faults of a scenario count its conversations from zero.
        let _playing = scenario.map(|scenario| scenario.play(simulator.world()));
        populate(simulator.world(), &Dialect::ALL, arguments.conversations.unwrap_or(conversations));
        let traffic = Traffic { messages_per_minute: rate, ..Traffic::default() };
        let traffic = simulator.world().start_traffic(traffic);
        let mut stdout = std::io::stdout();
        stdout.write_all(config(&simulator, "stdout", "").as_bytes())?;
        stdout.flush()?;
        let note =
            format!("simulating on http://{}; faults and switches under /control; Ctrl-C ends it", simulator.addr());
        // Standard error may be gone; the simulator is there all the same.
        drop(writeln!(std::io::stderr(), "{note}"));
        let mut signals = crate::ops::signals::Signals::listen()?;
        while signals.next().await != crate::ops::signals::Request::Stop {}
        traffic.stop();
        simulator.stop().await;
        Ok(())
    })
}

/// Adds so many conversations of each provider, one in five of them in Sales Navigator where it goes by an address, and
/// one in Recruiter where there is such a thing. One of Unipile v2 came by InMail, and one is archived.
pub(super) fn populate(world: &World, dialects: &[Dialect], conversations: u32) {
    for &dialect in dialects {
        for number in 0..conversations as usize {
            let kind = match (number % 5, dialect) {
                (_, Dialect::LinkupV1 | Dialect::LinkupV2) => Kind::Standard,
                (4, _) => Kind::SalesNavigator,
                (3, Dialect::UnipileV2 | Dialect::UnipileV1) => Kind::Recruiter,
                _ => Kind::Standard,
            };
            let name = PEOPLE[number % PEOPLE.len()];
            let round = number / PEOPLE.len();
            let name = if round > 0 { format!("{name} {}", round + 1) } else { name.to_owned() };
            match (number, dialect) {
                // What a client does not see that lists the primary inbox alone.
                (1, Dialect::UnipileV2) => world.add_to_inbox("CLASSIC_INMAIL", &name),
                (2, Dialect::UnipileV2) => world.add_to_inbox("CLASSIC_ARCHIVED", &name),
                _ => world.add_conversation(dialect, kind, &name),
            };
        }
    }
}

/// A configuration that follows every conversation of the simulator. `extra` goes below `[polling]`.
pub(super) fn config(simulator: &Simulator, stdout_sink: &str, extra: &str) -> String {
    let mut text = format!(
        "# Follows every conversation of this simulator. Save it as inboxd.toml, then: inboxd run\n\n\
         [polling]\nmin_interval = \"1s\"\nmax_interval = \"5s\"\nrequests_per_minute = 6000\ndaily_credits = 1000000\nfirst_poll = \"all\"\n{extra}\n",
    );
    for dialect in &Dialect::ALL {
        // An account that follows nobody would be refused.
        if simulator.world().conversations().iter().any(|(_, of, _)| of == dialect) {
            text += &account(simulator, *dialect);
        }
    }
    text += &format!(
        "\n[sinks.console]\ntype = \"stdout\"\nformat = \"{}\"\n",
        if stdout_sink == "text" { "text" } else { "json" }
    );
    text
}

/// The account of a provider with its conversations.
fn account(simulator: &Simulator, dialect: Dialect) -> String {
    let it = Settings::default();
    let (name, provider, keys) = match dialect {
        Dialect::LinkedApi => {
            let keys = [("linked_api_token", it.linked_api_token), ("identification_token", it.identification_token)];
            ("sim-linkedapi", "linkedapi", keys.to_vec())
        }
        Dialect::ConnectSafely => {
            ("sim-connectsafely", "connectsafely", vec![("api_key", it.api_key), ("account_id", it.account_id)])
        }
        Dialect::LinkupV1 => {
            let version = ("api_version", "v1".into());
            let session = [("login_token", it.linkup_login_token), ("country", it.linkup_country)];
            ("sim-linkup-v1", "linkup", [vec![version, ("api_key", it.linkup_api_key)], session.to_vec()].concat())
        }
        Dialect::LinkupV2 => {
            let version = ("api_version", "v2".into());
            let keys = vec![version, ("api_key", it.linkup_api_key), ("account_id", it.linkup_account_id)];
            ("sim-linkup-v2", "linkup", keys)
        }
        Dialect::UnipileV2 => {
            let version = ("api_version", "v2".into());
            let keys = vec![version, ("api_key", it.unipile_api_key), ("account_id", it.unipile_account_id)];
            ("sim-unipile-v2", "unipile", keys)
        }
        Dialect::UnipileV1 => {
            let version = ("api_version", "v1".into());
            let keys = vec![version, ("api_key", it.unipile_api_key), ("account_id", it.unipile_v1_account_id)];
            ("sim-unipile-v1", "unipile", keys)
        }
    };
    let base_url = simulator.base_url(dialect);
    let mut text = format!("\n[accounts.{name}]\nprovider = \"{provider}\"\nbase_url = \"{base_url}\"\n");
    for (key, value) in keys {
        text += &format!("{key} = \"{value}\"\n");
    }
    for (address, kind) in addresses(simulator.world(), dialect) {
        text += &format!("\n[[accounts.{name}.conversations]]\n");
        text += &match dialect {
            Dialect::LinkedApi => format!("person_url = \"{address}\"\ntype = \"{kind}\"\n"),
            Dialect::ConnectSafely => format!("conversation_urn = \"{address}\"\n"),
            Dialect::LinkupV1 | Dialect::LinkupV2 => format!("conversation_id = \"{address}\"\n"),
            Dialect::UnipileV2 | Dialect::UnipileV1 => format!("chat_id = \"{address}\"\n"),
        };
    }
    text
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
    async fn every_provider_is_written_with_every_conversation() {
        let simulator = Simulator::start(Settings::default()).await.unwrap();
        populate(simulator.world(), &Dialect::ALL, 5);
        for dialect in Dialect::ALL {
            let parsed: toml::Table = account(&simulator, dialect).parse().unwrap();
            let (_, account) = parsed["accounts"].as_table().unwrap().iter().next().unwrap();
            assert_eq!(account["base_url"].as_str(), Some(simulator.base_url(dialect).as_str()));
            assert_eq!(account["conversations"].as_array().unwrap().len(), 5);
        }
    }
}
