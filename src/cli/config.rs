//! `inboxd config`

use std::io::Write;

use super::{ConfigFile, Failure};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print the effective configuration as TOML, secrets masked
    Show(ConfigFile),
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    let Command::Show(file) = command;
    write!(std::io::stdout(), "{}", crate::config::show(&file.sources())?)?;
    Ok(())
}
