//! Logs go to standard error; standard output belongs to events.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Starts logging at this level. Only our own lines: libraries below us speak at `warn` and above, because at lower
/// levels some of them write whole requests. The NATS client does not speak at all: the sink says of every attempt what
/// came of it, and the client's lines have addresses and words of the server in them.
pub fn init(level: Level, format: Format) {
    let filter = EnvFilter::new(format!("warn,async_nats=off,inboxd={}", level.as_str().to_ascii_lowercase()));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    // A second call, after a reload, keeps the first subscriber.
    drop(match format {
        Format::Text => subscriber.with_ansi(colours).try_init(),
        Format::Json => subscriber.json().flatten_event(true).try_init(),
    });
}
