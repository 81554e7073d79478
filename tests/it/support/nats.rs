//! A NATS server with JetStream as a process, on a port and a store of its own.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use async_nats::jetstream::{self, stream};
use async_nats::{ConnectOptions, HeaderMap};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{until, until_async};

/// Name of the stream that the tests make.
const STREAM: &str = "EVENTS";

/// A server; killed when dropped.
pub(crate) struct NatsServer {
    child: Child,
    folder: TempDir,
    port: u16,
    /// How the tests themselves log in.
    options: ConnectOptions,
}

/// A message as it lies in the stream.
pub(crate) struct Stored {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Stored {
    pub(crate) fn event(&self) -> serde_json::Value {
        super::valid_event(&self.body)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header {name}")).as_str()
    }
}

/// The program; `None`, where it is not installed, is a skipped test.
fn program() -> Option<&'static str> {
    // Where Debian puts it is not on everybody's path.
    let runs = |program: &&str| Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok();
    let found = ["nats-server", "/usr/sbin/nats-server"].into_iter().find(runs);
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "nats-server is missing");
        println!("skipped: nats-server is not installed");
    }
    found
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl NatsServer {
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with("", ConnectOptions::new()).await
    }

    /// Starts one with further lines in its configuration, to be logged into like this.
    pub(crate) async fn start_with(config: &str, options: ConnectOptions) -> Option<Self> {
        let program = program()?;
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let store = folder.path().join("store");
        let text =
            format!("listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\" }}\n{config}\n", store.display());
        std::fs::write(folder.path().join("server.conf"), text).unwrap();
        let mut server = Self { child: spawn(program, &folder), folder, port, options };
        server.until_ready().await;
        Some(server)
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, with what it has stored, and the configuration it had.
    pub(crate) async fn start_again(&mut self) {
        self.child = spawn(program().unwrap(), &self.folder);
        self.until_ready().await;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).expect("the server runs");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    async fn until_ready(&mut self) {
        let (options, url, log) = (self.options.clone(), self.url(), self.log());
        until_async("a NATS server", || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it has ended: {}", std::fs::read_to_string(&log).unwrap());
            let connecting = options.clone().connect(url.clone());
            async {
                let Ok(client) = connecting.await else { return false };
                client.request("$JS.API.INFO", "".into()).await.is_ok()
            }
        })
        .await;
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(self.options.clone().connect(self.url()).await.unwrap())
    }

    /// Makes the stream, for all of these subjects.
    pub(crate) async fn create_stream(&self, subjects: &[&str]) {
        self.create_stream_with(stream::Config {
            subjects: subjects.iter().map(|&subject| subject.to_owned()).collect(),
            ..stream::Config::default()
        })
        .await;
    }

    pub(crate) async fn create_stream_with(&self, config: stream::Config) {
        let config = stream::Config { name: STREAM.into(), ..config };
        self.jetstream().await.create_stream(config).await.unwrap();
    }

    /// How many messages are in the stream.
    pub(crate) async fn count(&self) -> u64 {
        self.jetstream().await.get_stream(STREAM).await.unwrap().get_info().await.unwrap().state.messages
    }

    pub(crate) async fn until_stored(&self, count: u64) {
        until_async(&format!("{count} messages in the stream"), || async { self.count().await >= count }).await;
        assert_eq!(self.count().await, count);
    }

    /// Everything in the stream, in its order.
    pub(crate) async fn stored(&self) -> Vec<Stored> {
        let stream = self.jetstream().await.get_stream(STREAM).await.unwrap();
        let state = stream.get_info().await.unwrap().state;
        let mut all = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            let message = stream.get_raw_message(sequence).await.unwrap();
            let body = String::from_utf8(message.payload.to_vec()).unwrap();
            all.push(Stored { subject: message.subject.to_string(), headers: message.headers, body });
        }
        assert_eq!(all.len() as u64, state.messages);
        all
    }

    /// Waits until its log has this text.
    pub(crate) async fn until_logged(&self, text: &str) {
        until(text, || std::fs::read_to_string(self.log()).unwrap_or_default().contains(text)).await;
    }
}

fn spawn(program: &str, folder: &TempDir) -> Child {
    let log = File::options().append(true).create(true).open(folder.path().join("server.log")).unwrap();
    let mut command = Command::new(program);
    command.arg("-c").arg(folder.path().join("server.conf")).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // It may have been killed already; then there is nothing to do.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
