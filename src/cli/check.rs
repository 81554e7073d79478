//! `inboxd check`

use std::io::Write;
use std::time::Duration;

use super::{ConfigFile, FOUND_PROBLEMS, Failure, block_on, provider};
use crate::config::{Account, Config};
use crate::mask::Mask;
use crate::model::{Untrusted, counted};
use crate::ops::control::{self, Request};
use crate::providers::{Call, Class, Error, Fault};
use crate::{scheduler, sinks};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Also ask every account's provider, in requests that cost nothing where that is possible, and whether every
    /// HTTP and NATS sink can be reached; 3 if one refuses
    #[arg(long)]
    online: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = arguments.file.load()?;
    for warning in &config.warnings {
        super::note(&format!("warning: {warning}"));
    }
    let folder = crate::store::folder_problem(&config.store.path).filter(|_| !config.store.trust_folder);
    if let Some(problem) = folder {
        super::note(&format!("warning: store.url: a start here is refused: {problem}"));
    }
    let conversations: usize = config.accounts.iter().map(|account| account.conversations.len()).sum();
    let discovering = config.accounts.iter().filter(|account| account.discover).count();
    let discovering = match discovering {
        0 => String::new(),
        1 => " and whatever the inbox of 1 account lists".to_owned(),
        count => format!(" and whatever the inboxes of {count} accounts list"),
    };
    writeln!(
        std::io::stdout(),
        "configuration ok: {}, {}{discovering}, {}",
        counted(config.accounts.len(), "account"),
        counted(conversations, "conversation"),
        counted(config.sinks.len(), "sink")
    )?;
    for account in &config.accounts {
        say_what_credits_buy(account, &config.inserted)?;
    }
    if arguments.online { ask(config) } else { Ok(()) }
}

const DAY: Duration = Duration::from_secs(86_400);

/// Where answers cost credits, how often the inbox is listed follows from them.
fn say_what_credits_buy(account: &Account, inserted: &Mask) -> Result<(), Failure> {
    let price = provider(account, inserted)?.price(Call::Listing);
    if price > 0 {
        let (credits, least) = (account.polling.credits, account.polling.sweep_interval);
        let share = credits.average_day();
        let interval = scheduler::sweep_pace(price, share, 0, DAY).max(least);
        let shown = humantime::format_duration(Duration::from_secs(interval.as_secs()));
        let of_month = credits.monthly.map_or_else(String::new, |monthly| format!(", from {monthly} a month,"));
        writeln!(
            std::io::stdout(),
            "  accounts.{}: {share} credits a day{of_month} list the inbox every {shown}, and more often when little moves",
            account.name
        )?;
    }
    Ok(())
}

fn ask(config: Config) -> Result<(), Failure> {
    block_on(async {
        let outcomes =
            futures_util::future::join_all(config.accounts.iter().map(|account| examine(account, &config.inserted)))
                .await;
        let mut refused = 0;
        for (account, outcome) in config.accounts.iter().zip(outcomes) {
            let provider = account.settings.profile().name;
            let said = match outcome? {
                Ok(notes) => {
                    wake(&config, account).await;
                    ("ok".to_owned(), notes)
                }
                Err(error) => {
                    refused += 1;
                    (format!("{}: {error}", verdict(&error)), vec![])
                }
            };
            let (said, notes) = said;
            writeln!(std::io::stdout(), "accounts.{} ({provider}): {said}", account.name)?;
            for note in notes {
                writeln!(std::io::stdout(), "  {}", Untrusted(&note))?;
            }
        }
        let unreachable = ask_sinks(&config).await?;
        let mut problems = vec![];
        if refused > 0 {
            problems.push(format!("{refused} of {} cannot be used", counted(config.accounts.len(), "account")));
        }
        if unreachable > 0 {
            problems.push(format!("{} cannot be reached", counted(unreachable, "sink")));
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(Failure::new(FOUND_PROBLEMS, problems.join("; "))),
        }
    })
}

/// Asks the sinks that are elsewhere, and returns how many do not answer.
async fn ask_sinks(config: &Config) -> Result<usize, Failure> {
    let mut unreachable = 0;
    for sink in config.sinks.iter().filter(|sink| sink.settings.is_remote()) {
        let built = sinks::build(&sink.name, &sink.settings, &config.inserted);
        let said = match built.map_err(|error| Failure::new(super::CONFIG, error.to_string()))?.probe().await {
            Ok(()) => "can be reached".to_owned(),
            Err(error) => {
                unreachable += 1;
                format!("CANNOT BE REACHED: {error}")
            }
        };
        writeln!(std::io::stdout(), "sinks.{}: {said}", sink.name)?;
    }
    Ok(unreachable)
}

async fn examine(account: &Account, inserted: &Mask) -> Result<Result<Vec<String>, Error>, Failure> {
    let listed: Vec<_> = account.conversations.iter().map(|followed| &*followed.conversation).collect();
    Ok(provider(account, inserted)?.examine(&listed).await)
}

/// A daemon that has paused the account need not wait for its next probe.
async fn wake(config: &Config, account: &Account) {
    let (path, account) = (config.store.path.clone(), account.name.as_str().to_owned());
    // Whether a daemon runs, and listens, is not what is checked.
    drop(tokio::task::spawn_blocking(move || control::ask(&path, &Request::Wake { account })).await);
}

/// What a person has to look at.
fn verdict(error: &Error) -> &'static str {
    match (error.fault, error.class) {
        (Fault::Network, _) => "NO NETWORK, or nothing listens at base_url",
        (Fault::Trust, _) => "NO TRUST: what answers at base_url cannot prove that it is the provider",
        (Fault::Address, _) => {
            "WRONG URL or account: what answers at base_url is not this API, or does not know the account"
        }
        (Fault::Key, _) => "WRONG KEY",
        (Fault::SignedOut, _) => "SIGNED OUT: the LinkedIn account waits for a person at the provider",
        (Fault::Plan, _) => "NO SUBSCRIPTION, or no credits left",
        (Fault::Unsaid, Class::Auth) => "REFUSED",
        (Fault::Unsaid, Class::Gone | Class::Protocol) => "WRONG URL or account: this is not the answer of the API",
        (Fault::Unsaid, Class::Throttled) => "TOO MANY REQUESTS, so that nothing is known of the credentials",
        (Fault::Unsaid, Class::Transient | Class::NotReady) => "THE PROVIDER FAILS at present",
    }
}
