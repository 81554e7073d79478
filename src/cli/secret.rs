//! `inboxd secret`

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{FAILED, Failure};
use crate::sinks::{new_key_pair, new_shared_secret};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print a fresh secret to sign events with, or write it into a new file; nothing else is kept of it
    New(New),
}

#[derive(Debug, clap::Args)]
pub(super) struct New {
    /// A key pair: receivers get the public key, with which nobody can sign
    #[arg(long)]
    ed25519: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Write the secret into a new file, for its owner alone, and only the public key to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What was made; `public` is for receivers.
#[derive(serde::Serialize)]
struct Made {
    secret: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    public: Option<String>,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    let Command::New(new) = command;
    let made = make(new.ed25519)?;
    let made = match &new.out {
        Some(path) => {
            write_new(path, &made.secret)?;
            let Some(public) = made.public else { return Ok(()) };
            writeln!(std::io::stdout(), "{public}")?;
            return Ok(());
        }
        None => made,
    };
    let mut stdout = std::io::stdout().lock();
    if new.json {
        serde_json::to_writer(&mut stdout, &made).map_err(std::io::Error::from)?;
        writeln!(stdout)?;
        return Ok(());
    }
    let for_people = stdout.is_terminal();
    let shared = made.public.is_none();
    if for_people {
        let receiver = if shared { " and for its receiver" } else { "; it stays here" };
        writeln!(stdout, "For the key secret of the sink{receiver}:")?;
    }
    writeln!(stdout, "{}", made.secret)?;
    if let Some(public) = made.public {
        if for_people {
            writeln!(stdout, "For the receiver, to verify with:")?;
        }
        writeln!(stdout, "{public}")?;
    }
    Ok(())
}

/// A file that is there is not replaced: it may be the secret that receivers know.
fn write_new(path: &Path, secret: &str) -> Result<(), Failure> {
    let refused = |error: std::io::Error| Failure::new(FAILED, format!("{} cannot be made: {error}", path.display()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(refused)?;
    writeln!(file, "{secret}").and_then(|()| file.sync_all()).map_err(refused)
}

fn make(ed25519: bool) -> Result<Made, Failure> {
    let failed = |error: crate::sinks::NoRandomness| Failure::new(FAILED, error.to_string());
    if ed25519 {
        let (secret, public) = new_key_pair().map_err(failed)?;
        return Ok(Made { secret, public: Some(public) });
    }
    Ok(Made { secret: new_shared_secret().map_err(failed)?, public: None })
}
