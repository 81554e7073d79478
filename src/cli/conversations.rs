//! `inboxd conversations`

use std::io::Write as _;

use super::{ConfigFile, Failure, block_on};
use crate::daemon;
use crate::model::{Untrusted, harmless_json};
use crate::ops::control::Request;
use crate::time::UnixMillis;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show every conversation: who follows it, when it was last read, what it is called
    List {
        #[command(flatten)]
        file: ConfigFile,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        /// Only this account's
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<String>,
    },
    /// Follow a conversation from now on, without a change of the configuration
    Follow(Named),
    /// Follow it no more, whatever the inbox lists; what is known of it is kept
    Unfollow(Named),
    /// Read a conversation again from a time on: what nobody was told of is announced
    Rewind {
        #[command(flatten)]
        named: Named,
        /// RFC 3339, such as 2026-01-31T09:00:00Z; not in the future
        #[arg(long, value_name = "TIME", value_parser = time)]
        to: UnixMillis,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Named {
    #[command(flatten)]
    file: ConfigFile,
    /// Name of the account in the configuration
    account: String,
    /// As the configuration would name it (chat_id, conversation_urn, conversation_id, st:URL), its address in the browser, or its
    /// id in events
    conversation: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct Erase {
    #[command(flatten)]
    named: Named,
    /// Only this message, by its id in events
    #[arg(long, value_name = "ID")]
    message: Option<String>,
}

pub(super) fn erase(arguments: Erase) -> Result<(), Failure> {
    let Erase { named: Named { file, account, conversation }, message } = arguments;
    operate(&file, Request::Erase { account, conversation, message })
}

fn time(text: &str) -> Result<UnixMillis, String> {
    UnixMillis::parse(text).ok_or_else(|| "expected an RFC 3339 time such as 2026-01-31T09:00:00Z".into())
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List { file, json, account } => list(&file, json, account.as_deref()),
        Command::Follow(Named { file, account, conversation }) => {
            operate(&file, Request::Follow { account, conversation })
        }
        Command::Unfollow(Named { file, account, conversation }) => {
            operate(&file, Request::Unfollow { account, conversation })
        }
        Command::Rewind { named: Named { file, account, conversation }, to } => {
            operate(&file, Request::Rewind { account, conversation, to })
        }
    }
}

/// Has a command carried out by the running daemon, or without one.
pub(super) fn operate(file: &ConfigFile, request: Request) -> Result<(), Failure> {
    let config = file.load()?;
    let answer = block_on(async { Ok(daemon::operate(config, request).await?) })?;
    let done = answer.map_err(|refused| Failure::new(super::FAILED, Untrusted(&refused).to_string()))?;
    writeln!(std::io::stdout(), "{}", Untrusted(&done))?;
    Ok(())
}

fn list(file: &ConfigFile, json: bool, account: Option<&str>) -> Result<(), Failure> {
    let overview = file.open_store()?.overview()?;
    if let Some(name) = account
        && overview.accounts.iter().all(|of| of.name != name)
    {
        let known: Vec<_> = overview.accounts.iter().map(|of| of.name.as_str()).collect();
        let message = format!("there is no account \"{}\"; known are {}", Untrusted(name), known.join(", "));
        return Err(Failure::new(super::FAILED, message));
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for of in overview.accounts.iter().filter(|of| account.is_none_or(|name| of.name == name)) {
        for conversation in &of.conversations {
            if json {
                let mut row =
                    serde_json::to_value(conversation).map_err(|e| Failure::new(super::FAILED, e.to_string()))?;
                row["account"] = of.name.clone().into();
                writeln!(out, "{}", harmless_json(row.to_string()))?;
                continue;
            }
            let verified = conversation.verified_until.map_or_else(|| "never".to_owned(), |at| at.to_string());
            let (id, title) = (Untrusted(&conversation.id), conversation.title.as_deref().unwrap_or("-"));
            writeln!(out, "{}\t{id}\t{}\tverified {verified}\t{}", of.name, conversation.follow, Untrusted(title))?;
        }
    }
    out.flush()?;
    Ok(())
}
