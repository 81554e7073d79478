//! `inboxd demo`: simulator -> HTTP -> store -> dispatcher -> this terminal, on throw-away state.

use std::io::Write;
use std::time::Duration;

use super::{Failure, block_on, run, simulate};
use crate::config::{self, Sources};
use crate::daemon;
use crate::ops::logging::{self, Format};
use crate::simulator::{Dialect, Settings, Simulator, Traffic};
use crate::store::ReadOnlyStore;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Stop by itself after so long, such as 10s; else at Ctrl-C
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::settings::parse_duration(text).ok_or_else(|| "a duration with a unit, such as 10s".into())
}

const CONVERSATIONS: u32 = 6;
const MESSAGES_PER_MINUTE: f64 = 60.0;

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    logging::init(tracing::Level::WARN, Format::Text);
    run::end_on_panic();
    block_on(async {
        let folder = tempfile::Builder::new().prefix("inboxd-demo-").tempdir()?;
        let simulator = Simulator::start(Settings::default()).await?;
        simulate::populate(simulator.world(), &Dialect::ALL, CONVERSATIONS);
        let traffic =
            simulator.world().start_traffic(Traffic { messages_per_minute: MESSAGES_PER_MINUTE, ..Traffic::default() });

        // Something to see at once, while the traffic warms up.
        for (conversation, ..) in simulator.world().conversations().into_iter().step_by(6) {
            simulator.world().push(conversation, "Hello! Is this a good time?");
        }

        let database = folder.path().join("inboxd.db");
        let file = folder.path().join("inboxd.toml");
        let text =
            simulate::config(&simulator, "text", "") + &format!("\n[store]\nurl = \"sqlite:{}\"\n", database.display());
        std::fs::write(&file, text)?;
        let sources = Sources { file: Some(file), overrides: vec![] };
        let config = config::load(&sources)?;
        let mut stderr = std::io::stderr();
        let introduced = writeln!(
            stderr,
            "Four simulated providers, two of them in both their API versions, on http://{}, {} conversations each, messages in bursts as people write them.\n\
             Each line below went simulator -> HTTP -> store -> dispatcher -> stdout sink. Ctrl-C ends it.\n\
             \n<- to us, -> from us; times in UTC\n",
            simulator.addr(),
            CONVERSATIONS,
        );
        // Nobody may be there to read it.
        drop(introduced);
        if let Some(duration) = arguments.duration {
            tokio::spawn(async move {
                tokio::time::sleep(duration).await;
                // The same way that Ctrl-C takes.
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::INT)
                    .expect("a process may signal itself");
            });
        }
        let outcome = daemon::run(config, &sources).await;
        traffic.stop();
        let served = simulator.world().ledger().iter().filter(|entry| entry.first_served_at.is_some()).count();
        simulator.stop().await;
        outcome?;
        let overview = ReadOnlyStore::open(&database)?.overview()?;
        let delivered: u64 = overview.sinks.iter().map(|sink| sink.delivered).sum();
        let pending: u64 = overview.sinks.iter().map(|sink| sink.pending).sum();
        writeln!(
            stderr,
            "\nThe simulator showed {served} messages; {delivered} were delivered, {pending} wait for a next start."
        )?;
        Ok(())
    })
}
