//! `inboxd init`

use std::io::Write;

use super::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Which provider to begin with
    provider: Provider,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Provider {
    #[value(name = "linkedapi")]
    LinkedApi,
    #[value(name = "connectsafely")]
    ConnectSafely,
    Linkup,
    Unipile,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let template = match arguments.provider {
        Provider::LinkedApi => include_str!("../../config/init/linkedapi.toml"),
        Provider::ConnectSafely => include_str!("../../config/init/connectsafely.toml"),
        Provider::Linkup => include_str!("../../config/init/linkup.toml"),
        Provider::Unipile => include_str!("../../config/init/unipile.toml"),
    };
    std::io::stdout().write_all(template.as_bytes())?;
    Ok(())
}
