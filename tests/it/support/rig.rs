//! A simulator, a receiver and a configuration in a folder.

use std::path::{Path, PathBuf};

use inboxd::simulator::{ConversationRef, Dialect, Kind, Settings, Simulator, World};
use inboxd::store::{ConversationOverview, Overview, ReadOnlyStore};
use tempfile::TempDir;

use super::{Daemon, Receiver, until};

/// The signing secret of every test's HTTP sink.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(crate) struct Rig {
    pub(crate) simulator: Simulator,
    pub(crate) receiver: Receiver,
    pub(crate) folder: TempDir,
    /// Keys below `[polling]` that differ from the harness's.
    pub(crate) polling: String,
    /// Further keys of the HTTP sink.
    pub(crate) http: String,
    /// Further keys of the Linked API account.
    pub(crate) linkedapi: String,
    /// Further keys and tables of the ConnectSafely account.
    pub(crate) connectsafely: String,
    /// Further text at the end.
    pub(crate) more: String,
    conversations: Vec<(ConversationRef, Dialect, Kind)>,
}

impl Rig {
    pub(crate) fn secret() -> &'static str {
        SECRET
    }

    pub(crate) async fn new() -> Self {
        Self {
            simulator: Simulator::start(Settings::default()).await.unwrap(),
            receiver: Receiver::start().await,
            folder: tempfile::tempdir().unwrap(),
            polling: String::new(),
            http: String::new(),
            linkedapi: String::new(),
            connectsafely: String::new(),
            more: String::new(),
            conversations: vec![],
        }
    }

    pub(crate) fn world(&self) -> &World {
        self.simulator.world()
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path().join("inboxd.db")
    }

    /// A conversation that the configuration follows.
    pub(crate) fn follow(&mut self, dialect: Dialect, person: &str) -> ConversationRef {
        self.follow_kind(dialect, Kind::Standard, person)
    }

    pub(crate) fn follow_kind(&mut self, dialect: Dialect, kind: Kind, person: &str) -> ConversationRef {
        let conversation = self.world().add_conversation(dialect, kind, person);
        self.conversations.push((conversation, dialect, kind));
        conversation
    }

    /// Writes `inboxd.toml`: every followed conversation, quick polls, an HTTP sink to the receiver.
    pub(crate) fn write_config(&self) {
        std::fs::write(self.path().join("inboxd.toml"), self.config()).unwrap();
    }

    pub(crate) fn config(&self) -> String {
        let credentials = Settings::default();
        let mut text = String::from("[store]\nurl = \"sqlite:inboxd.db\"\nmin_free = \"1MiB\"\n\n[polling]\n");
        let defaults = [
            ("min_interval", "\"100ms\""),
            ("max_interval", "\"100ms\""),
            ("requests_per_minute", "600000"),
            ("first_poll", "\"all\""),
        ];
        for (key, value) in defaults {
            if !self.polling.contains(key) {
                text += &format!("{key} = {value}\n");
            }
        }
        text += &self.polling;
        let of = |dialect| self.conversations.iter().filter(move |(_, d, _)| *d == dialect);
        if of(Dialect::LinkedApi).next().is_some() {
            text += &format!(
                "\n[accounts.sales]\nprovider = \"linkedapi\"\nbase_url = \"{}\"\nlinked_api_token = \"{}\"\n\
                 identification_token = \"{}\"\n{}\n",
                self.simulator.base_url(Dialect::LinkedApi),
                credentials.linked_api_token,
                credentials.identification_token,
                self.linkedapi
            );
            for (conversation, _, kind) in of(Dialect::LinkedApi) {
                let kind = if *kind == Kind::SalesNavigator { "nv" } else { "st" };
                let url = self.world().address(*conversation);
                text += &format!("[[accounts.sales.conversations]]\nperson_url = \"{url}\"\ntype = \"{kind}\"\n");
            }
        }
        if of(Dialect::ConnectSafely).next().is_some() {
            text += &format!(
                "\n[accounts.work]\nprovider = \"connectsafely\"\nbase_url = \"{}\"\napi_key = \"{}\"\naccount_id = \"{}\"\n{}\n",
                self.simulator.base_url(Dialect::ConnectSafely),
                credentials.api_key,
                credentials.account_id,
                self.connectsafely
            );
            for (conversation, ..) in of(Dialect::ConnectSafely) {
                let urn = self.world().address(*conversation);
                text += &format!("[[accounts.work.conversations]]\nconversation_urn = \"{urn}\"\n");
            }
        }
        for (dialect, name, version, account_id) in [
            (Dialect::UnipileV2, "main", "v2", &credentials.unipile_account_id),
            (Dialect::UnipileV1, "legacy", "v1", &credentials.unipile_v1_account_id),
        ] {
            if of(dialect).next().is_some() {
                text += &format!(
                    "\n[accounts.{name}]\nprovider = \"unipile\"\napi_version = \"{version}\"\nbase_url = \"{}\"\n\
                     api_key = \"{}\"\naccount_id = \"{account_id}\"\n",
                    self.simulator.base_url(dialect),
                    credentials.unipile_api_key,
                );
            }
            for (conversation, ..) in of(dialect) {
                let chat_id = self.world().address(*conversation);
                text += &format!("[[accounts.{name}.conversations]]\nchat_id = \"{chat_id}\"\n");
            }
        }
        text += &format!("\n[sinks.crm]\ntype = \"http\"\nurl = \"{}\"\nsecret = \"{SECRET}\"\n", self.receiver.url());
        text + &self.http + &self.more
    }

    /// Writes the configuration and starts the daemon.
    pub(crate) fn start(&self) -> Daemon {
        self.write_config();
        self.start_again()
    }

    /// Starts the daemon with the configuration as it lies there.
    pub(crate) fn start_again(&self) -> Daemon {
        Daemon::start(self.path(), &["--log-level", "debug"])
    }

    /// Waits until the receiver has kept so many events, and makes sure that it has not kept more.
    pub(crate) async fn until_taken(&self, count: usize) {
        until(&format!("{count} events at the receiver"), || self.receiver.taken_count() >= count).await;
        assert_eq!(self.receiver.taken_count(), count);
    }

    /// Waits until every conversation has been polled completely once more, twice over: a poll in flight when this
    /// began does not count.
    pub(crate) async fn settle(&self) {
        for _ in 0..2 {
            let before = self.polled();
            until("another poll of every conversation", || {
                self.polled().iter().zip(&before).all(|(now, before)| now > before)
            })
            .await;
        }
    }

    fn polled(&self) -> Vec<Option<inboxd::time::UnixMillis>> {
        self.known_conversations().into_iter().map(|c| c.last_polled_at).collect()
    }

    /// What the store knows of every conversation; empty before the daemon has got so far.
    pub(crate) fn known_conversations(&self) -> Vec<ConversationOverview> {
        let accounts = self.overview().map(|overview| overview.accounts).unwrap_or_default();
        accounts.into_iter().flat_map(|account| account.conversations).collect()
    }

    pub(crate) fn overview(&self) -> Option<Overview> {
        ReadOnlyStore::open(&self.database()).ok()?.overview().ok()
    }

    /// The watermark of the only conversation.
    pub(crate) fn watermark(&self) -> Option<inboxd::time::UnixMillis> {
        self.known_conversations().first()?.watermark
    }
}
