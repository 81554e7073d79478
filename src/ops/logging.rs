//! Logs go to standard error; standard output belongs to events.
//!
//! A log line informs and nothing else: one that cannot be written is lost, and nobody waits for it.
//! So a thread of its own writes the lines, from a queue with a limit. Where standard error takes
//! nothing (a full pipe) or fails (a full disk, a closed pipe or terminal), what does not fit into
//! the queue is dropped and counted, and the count is the first line when it takes some again.

use std::fmt::{self, Debug};
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock, mpsc};
use std::time::{Duration, Instant};

use tracing::Level;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::mask::Mask;
use crate::model::{Untrusted, harmless_json};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Lines that may wait to be written.
const QUEUE: usize = 1024;

/// Longest line, in bytes. Our own are far shorter; a longer one is lost.
const LINE_LIMIT: usize = 64 * 1024;

/// How long an ending process waits for its last lines to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Between two looks for room in a queue that is full.
const A_MOMENT: Duration = Duration::from_millis(5);

/// The log of this process; `None` until [`init`].
static LOG: OnceLock<Log> = OnceLock::new();

/// Starts logging at this level. Only our own lines: libraries below us speak at `warn` and above, because at lower
/// levels some of them write whole requests. The NATS client does not speak at all: the sink says of every attempt what
/// came of it, and the client's lines have addresses and words of the server in them.
pub fn init(level: Level, format: Format) {
    let log = LOG.get_or_init(|| Log::start(io::stderr(), format)).clone();
    let filter = EnvFilter::new(format!("warn,async_nats=off,inboxd={}", level.as_str().to_ascii_lowercase()));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log)
        .with_target(false)
        // It would tell of a line that could not be written by writing one, and panic.
        .log_internal_errors(false);
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    // A second call, after a reload, keeps the first subscriber.
    drop(match format {
        Format::Text => subscriber.with_ansi(colours).fmt_fields(debug_fn(write_field).delimited(" ")).try_init(),
        Format::Json => subscriber.json().flatten_event(true).try_init(),
    });
}

/// Writes a field. Escaped here, once, is whatever stands in it: an id of a provider may have a line break in it and what
/// a terminal obeys, and must not forge a line.
fn write_field(to: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    let value = format!("{value:?}");
    match field.name() {
        "message" => write!(to, "{}", Untrusted(&value)),
        name => write!(to, "{}={}", name.strip_prefix("r#").unwrap_or(name), Untrusted(&value)),
    }
}

/// Secrets that no line may have in it. The parts that are told something from outside mask it themselves; this is the
/// second wall, for what one of them has forgotten.
static SECRETS: RwLock<Option<Mask>> = RwLock::new(None);

/// Keeps these secrets out of every line from now on, beside those before: what is on its way may still have these.
pub fn keep_out(secrets: &Mask) {
    let mut all = SECRETS.write().unwrap_or_else(PoisonError::into_inner);
    *all = Some(all.take().unwrap_or_default().and_of(secrets));
}

/// A line of JSON without what a terminal obeys or a reader takes for the end of a line.
fn harmless(line: Vec<u8>) -> Vec<u8> {
    match String::from_utf8(line) {
        Ok(line) => harmless_json(line).into_bytes(),
        Err(error) => error.into_bytes(),
    }
}

fn without_secrets(line: Vec<u8>) -> Vec<u8> {
    match &*SECRETS.read().unwrap_or_else(PoisonError::into_inner) {
        Some(mask) => mask.hide(&String::from_utf8_lossy(&line)).into_bytes(),
        None => line,
    }
}

/// Waits until everything logged so far is written, for a second at most. To be called before the
/// process ends.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.flush(LAST_WORDS);
    }
}

enum Entry {
    Line(Vec<u8>),
    Flush(mpsc::SyncSender<()>),
}

/// The way to the thread that writes.
#[derive(Clone)]
struct Log {
    queue: mpsc::SyncSender<Entry>,
    lost: &'static AtomicU64,
}

impl Log {
    fn start(to: impl Write + Send + 'static, format: Format) -> Self {
        let (queue, entries) = mpsc::sync_channel(QUEUE);
        // One for each log, and a process has one.
        let lost: &'static AtomicU64 = Box::leak(Box::default());
        let thread = std::thread::Builder::new().name("log".into());
        if thread.spawn(move || write_entries(&entries, to, format, lost)).is_err() {
            // Without a thread every line is lost, and the daemon goes on.
            lost.fetch_add(1, Ordering::Relaxed);
        }
        Self { queue, lost }
    }

    fn flush(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let (tell, told) = mpsc::sync_channel(1);
        let mut flush = Entry::Flush(tell);
        while let Err(mpsc::TrySendError::Full(back)) = self.queue.try_send(flush) {
            if Instant::now() >= until {
                return;
            }
            flush = back;
            std::thread::sleep(A_MOMENT);
        }
        // Whoever flushes has waited long enough then.
        let _ = told.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

fn write_entries(entries: &mpsc::Receiver<Entry>, mut to: impl Write, format: Format, lost: &AtomicU64) {
    while let Ok(entry) = entries.recv() {
        match entry {
            Entry::Line(line) => {
                let missing = lost.load(Ordering::Relaxed);
                if missing > 0 && to.write_all(notice(missing, format).as_bytes()).is_ok() {
                    lost.fetch_sub(missing, Ordering::Relaxed);
                }
                let line = without_secrets(line);
                let line = if format == Format::Json { harmless(line) } else { line };
                if to.write_all(&line).is_err() {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            Entry::Flush(tell) => {
                drop(to.flush());
                let _ = tell.try_send(());
            }
        }
    }
}

/// What stands for so many lines that are missing.
fn notice(missing: u64, format: Format) -> String {
    let text = format!("log lines before this one that could not be written: {missing}");
    match format {
        Format::Text => text + "\n",
        Format::Json => format!("{{\"level\":\"WARN\",\"message\":\"{text}\"}}\n"),
    }
}

impl Write for Log {
    /// Takes a whole line; never fails and never waits.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let fits = line.len() <= LINE_LIMIT;
        if !fits || self.queue.try_send(Entry::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Condvar, Mutex};

    use super::*;

    /// A place that takes nothing, fails, or takes what it is given.
    #[derive(Clone, Default)]
    struct Place(Arc<(Mutex<State>, Condvar)>);

    #[derive(Default)]
    struct State {
        stuck: bool,
        fails: bool,
        written: String,
    }

    impl Place {
        fn set(&self, change: impl FnOnce(&mut State)) {
            change(&mut self.0.0.lock().unwrap());
            self.0.1.notify_all();
        }

        fn written(&self) -> String {
            self.0.0.lock().unwrap().written.clone()
        }
    }

    impl Write for Place {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.1.wait_while(self.0.0.lock().unwrap(), |state| state.stuck).unwrap();
            if state.fails {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            state.written += std::str::from_utf8(bytes).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn nobody_waits_for_a_place_that_takes_nothing_and_what_is_lost_is_counted() {
        let place = Place::default();
        place.set(|state| state.stuck = true);
        let mut log = Log::start(place.clone(), Format::Text);
        for number in 0..QUEUE + 100 {
            log.write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        log.flush(Duration::ZERO);
        place.set(|state| state.stuck = false);
        while log.queue.try_send(Entry::Line(b"again\n".to_vec())).is_err() {
            std::thread::yield_now();
        }
        log.flush(LONG);
        let written = place.written();
        assert!(written.contains("line 0\n") && written.ends_with("again\n"), "{written}");
        let lost: usize = written
            .lines()
            .filter_map(|line| line.strip_prefix("log lines before this one that could not be written: "))
            .map(|lost| lost.parse::<usize>().unwrap())
            .sum();
        let kept = written.lines().filter(|line| line.starts_with("line ")).count();
        assert_eq!(lost + kept, QUEUE + 100);
    }

    #[test]
    fn a_line_that_fails_is_lost_and_the_next_one_is_written() {
        let place = Place::default();
        place.set(|state| state.fails = true);
        let mut log = Log::start(place.clone(), Format::Text);
        writeln!(log, "lost").unwrap();
        log.flush(LONG);
        place.set(|state| state.fails = false);
        writeln!(log, "kept").unwrap();
        log.flush(LONG);
        assert_eq!(place.written(), notice(1, Format::Text) + "kept\n");
    }

    #[test]
    fn a_line_that_is_too_long_is_lost_and_the_notice_is_a_line_of_the_format() {
        let place = Place::default();
        let mut log = Log::start(place.clone(), Format::Json);
        log.write_all(&[b'x'; LINE_LIMIT + 1]).unwrap();
        writeln!(log, "{{}}").unwrap();
        log.flush(LONG);
        let written = place.written();
        let lines: Vec<serde_json::Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{written}");
        assert!(lines[0]["message"].as_str().unwrap().ends_with(": 1"));
    }
}
