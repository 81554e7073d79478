//! Harness: a simulator, a recording receiver and the daemon as a process, all in a folder that goes away.

mod daemon;
pub(crate) mod nats;
pub(crate) mod nkeys;
mod receiver;
mod rig;
pub(crate) mod strict;
mod wire;

use std::future::Future;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

pub(crate) use daemon::{Daemon, Output, finished, inboxd, inboxd_in};
pub(crate) use receiver::{Arrived, Receiver, Reply};
pub(crate) use rig::{Rig, account_name, write_private};
pub(crate) use wire::{Sent, Wire};

/// Longest wait for anything: far beyond what a slow machine needs, so that only a broken daemon meets it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A strict reader of events, as the schema has them.
static STRICT: LazyLock<strict::Strict> = LazyLock::new(|| strict::Strict::new(inboxd::model::event_schema()));

/// Parses an event, as a line or a body has it; panics where it is not as the schema says.
pub(crate) fn valid_event(text: &str) -> serde_json::Value {
    STRICT.valid(text)
}

/// Waits until `condition` holds; panics with `what` when it does not within [`PATIENCE`].
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_async(what, || std::future::ready(condition())).await;
}

/// Like [`until`], for a condition that has to ask.
pub(crate) async fn until_async<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "did not come about: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The pin of a certificate's key, as the openssl command in the message about `tls.pin` makes it.
pub(crate) fn pin_of(certificate: &std::path::Path) -> String {
    let script = format!(
        "openssl x509 -in {} -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64",
        certificate.display()
    );
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    format!("sha256/{}", String::from_utf8(output.stdout).unwrap().trim())
}
