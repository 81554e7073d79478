//! `inboxd tail`

use std::io::Write;
use std::time::Duration;

use super::{ConfigFile, Failure};
use crate::model::{harmless_json, readable_line};
use crate::store::Tail;

/// Between two looks for new events.
const LOOK_EVERY: Duration = Duration::from_millis(300);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Go on with new events as they are recorded, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// Events as they are sent, one JSON object per line
    #[arg(long)]
    json: bool,
    /// Begin with the latest so many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    lines: u32,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let store = arguments.file.open_store()?;
    let mut stdout = std::io::stdout().lock();
    // Where to go on must be known before looking, or an event recorded in between would be skipped.
    let mut after = store.tail(Tail::Last(1))?.last().map_or(0, |event| event.row);
    for event in store.tail(Tail::Last(arguments.lines))? {
        after = after.max(event.row);
        print(&mut stdout, &event.body, arguments.json)?;
    }
    stdout.flush()?;
    if !arguments.follow {
        return Ok(());
    }
    loop {
        let events = store.tail(Tail::After(after))?;
        for event in &events {
            after = event.row;
            print(&mut stdout, &event.body, arguments.json)?;
        }
        stdout.flush()?;
        if events.is_empty() {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

fn print(out: &mut impl Write, body: &str, json: bool) -> std::io::Result<()> {
    // One that an earlier release has recorded may have in it what a terminal obeys.
    if json { writeln!(out, "{}", harmless_json(body.to_owned())) } else { writeln!(out, "{}", readable_line(body)) }
}
