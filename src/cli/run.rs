//! `inboxd run`

use super::{ConfigFile, FAILED, FOUND_PROBLEMS, Failure, block_on};
use crate::config::LogFormat;
use crate::daemon;
use crate::ops::logging::{self, Format};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Poll everything that is due once, deliver, and exit; 3 if a poll or a delivery failed, or if told to stop before
    /// that
    #[arg(long)]
    once: bool,
    /// Overrides log.level
    #[arg(long, value_name = "LEVEL", value_parser = ["error", "warn", "info", "debug", "trace"])]
    log_level: Option<String>,
    /// Overrides log.format
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"])]
    log_format: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut sources = arguments.file.sources();
    for (key, value) in [("log.level", &arguments.log_level), ("log.format", &arguments.log_format)] {
        sources.overrides.extend(value.clone().map(|value| (key.to_owned(), value)));
    }
    let config = crate::config::load(&sources)?;
    let format = match config.log.format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    logging::init(config.log.level, format);
    logging::keep_out(&config.mask());
    end_on_panic();
    tracing::info!(file = config.file, "the configuration was read");
    for warning in &config.warnings {
        tracing::warn!(class = "config", "{warning}");
    }
    if !arguments.once {
        return block_on(async { Ok(daemon::run(config, &sources).await?) });
    }
    let round = block_on(async { Ok(daemon::run_once(config).await?) })?;
    let (polled, announced, failed) = (round.polled, round.announced, round.failed);
    tracing::info!(polled, announced, failed, "round done");
    if round.still_failing > 0 {
        tracing::warn!(
            conversations = round.still_failing,
            "failed before and were not due in this round; see inboxd status"
        );
    }
    if round.cut_short {
        let what = "told to stop before the round was done; what was polled and delivered is recorded";
        return Err(Failure::new(FOUND_PROBLEMS, what));
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::new(FOUND_PROBLEMS, format!("{failed} polls or deliveries failed; the log says which"))),
    }
}

/// A broken invariant ends the process, whatever thread it shows on.
pub(super) fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(class = "bug", "{panic}");
        logging::flush();
        std::process::exit(i32::from(FAILED));
    }));
}
