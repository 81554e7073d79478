//! `inboxd config`

use std::io::Write;

use super::{ConfigFile, Failure};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print the effective configuration as TOML, secrets masked
    Show(ConfigFile),
    /// Print the JSON Schema of what inboxd sends
    Schema(SchemaArguments),
}

#[derive(Debug, clap::Args)]
pub(super) struct SchemaArguments {
    /// The schema of all events
    #[arg(long, required = true)]
    events: bool,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    let mut stdout = std::io::stdout();
    match command {
        Command::Show(file) => write!(stdout, "{}", crate::config::show(&file.sources())?)?,
        Command::Schema(SchemaArguments { events: _ }) => writeln!(stdout, "{:#}", crate::model::event_schema())?,
    }
    Ok(())
}
