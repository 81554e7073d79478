//! `inboxd check`

use std::io::Write;

use super::{ConfigFile, Failure};
use crate::model::counted;

pub(super) fn run(file: &ConfigFile) -> Result<(), Failure> {
    let config = file.load()?;
    for warning in &config.warnings {
        writeln!(std::io::stderr(), "inboxd: warning: {warning}")?;
    }
    let conversations: usize = config.accounts.iter().map(|account| account.conversations.len()).sum();
    writeln!(
        std::io::stdout(),
        "configuration ok: {}, {}, {}",
        counted(config.accounts.len(), "account"),
        counted(conversations, "conversation"),
        counted(config.sinks.len(), "sink")
    )?;
    Ok(())
}
