//! Standard output: one JSON object per line, or a readable line for people.

use std::io::Write;

use async_trait::async_trait;
use serde::Deserialize;

use super::{Delivered, Error, Outgoing, Sink};
use crate::model::readable_line;

/// The keys of a stdout sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What a line is.
    #[serde(default)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    Text,
}

pub(super) struct Stdout {
    format: Format,
}

impl Stdout {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { format: settings.format }
    }
}

#[async_trait]
impl Sink for Stdout {
    async fn deliver(&self, events: &[Outgoing]) -> Delivered {
        let mut lines = String::new();
        for event in events {
            match self.format {
                Format::Json => lines.push_str(&event.body),
                Format::Text => lines.push_str(&readable_line(&event.body)),
            }
            lines.push('\n');
        }
        // A reader that has stopped reading blocks the write: on a thread where it holds nobody up.
        let written = tokio::task::spawn_blocking(move || {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush())
        });
        match written.await {
            Ok(Ok(())) => Delivered::all(events),
            Ok(Err(error)) => Delivered::none(Error::retry(format!("stdout: {error}"))),
            Err(_) => Delivered::none(Error::retry("stdout: the write was cancelled")),
        }
    }
}
