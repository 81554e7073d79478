//! `inboxd check`

use std::io::Write;

use super::{ConfigFile, Failure};

pub(super) fn run(file: &ConfigFile) -> Result<(), Failure> {
    let config = file.load()?;
    for warning in &config.warnings {
        writeln!(std::io::stderr(), "inboxd: warning: {warning}")?;
    }
    let conversations: usize = config.accounts.iter().map(|account| account.conversations.len()).sum();
    let count = |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    writeln!(
        std::io::stdout(),
        "configuration ok: {}, {}, {}",
        count(config.accounts.len(), "account"),
        count(conversations, "conversation"),
        count(config.sinks.len(), "sink")
    )?;
    Ok(())
}
