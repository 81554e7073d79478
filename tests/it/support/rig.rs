//! A simulator, a receiver and a configuration in a folder.

use std::path::{Path, PathBuf};

use inboxd::simulator::{ConversationRef, Dialect, Kind, Settings, Simulator, World};
use inboxd::store::{ConversationOverview, Overview, ReadOnlyStore};
use tempfile::TempDir;

use super::{Daemon, Receiver, inboxd_in, until};

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
    discovered: Vec<(Dialect, String)>,
}

/// Name of the account in the harness's configuration.
pub(crate) fn account_name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::LinkedApi => "sales",
        Dialect::ConnectSafely => "work",
        Dialect::LinkupV1 => "legacy",
        Dialect::LinkupV2 => "leads",
        Dialect::UnipileV2 => "main",
        Dialect::UnipileV1 => "old",
    }
}

fn provider(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::LinkedApi => "linkedapi",
        Dialect::ConnectSafely => "connectsafely",
        Dialect::LinkupV1 | Dialect::LinkupV2 => "linkup",
        Dialect::UnipileV2 | Dialect::UnipileV1 => "unipile",
    }
}

fn credentials(dialect: Dialect) -> String {
    let s = Settings::default();
    match dialect {
        Dialect::LinkedApi => format!(
            "linked_api_token = \"{}\"\nidentification_token = \"{}\"",
            s.linked_api_token, s.identification_token
        ),
        Dialect::ConnectSafely => format!("api_key = \"{}\"\naccount_id = \"{}\"", s.api_key, s.account_id),
        Dialect::LinkupV1 => format!(
            "api_version = \"v1\"\napi_key = \"{}\"\nlogin_token = \"{}\"\ncountry = \"{}\"",
            s.linkup_api_key, s.linkup_login_token, s.linkup_country
        ),
        Dialect::LinkupV2 => format!(
            "api_version = \"v2\"\napi_key = \"{}\"\naccount_id = \"{}\"",
            s.linkup_api_key, s.linkup_account_id
        ),
        Dialect::UnipileV2 => format!(
            "api_version = \"v2\"\napi_key = \"{}\"\naccount_id = \"{}\"",
            s.unipile_api_key, s.unipile_account_id
        ),
        Dialect::UnipileV1 => format!(
            "api_version = \"v1\"\napi_key = \"{}\"\naccount_id = \"{}\"",
            s.unipile_api_key, s.unipile_v1_account_id
        ),
    }
}

/// The keys that name a conversation.
fn named(dialect: Dialect, kind: Kind, address: &str) -> String {
    match dialect {
        Dialect::LinkedApi => {
            let kind = if kind == Kind::SalesNavigator { "nv" } else { "st" };
            format!("person_url = \"{address}\"\ntype = \"{kind}\"")
        }
        Dialect::ConnectSafely => format!("conversation_urn = \"{address}\""),
        Dialect::LinkupV1 | Dialect::LinkupV2 => format!("conversation_id = \"{address}\""),
        Dialect::UnipileV2 | Dialect::UnipileV1 => format!("chat_id = \"{address}\""),
    }
}

/// Writes a configuration with credentials in it, as a careful user has it.
pub(crate) fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
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
            discovered: vec![],
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
        write_private(&self.path().join("inboxd.toml"), &self.config());
    }

    pub(crate) fn config(&self) -> String {
        let mut text = String::from("[store]\nurl = \"sqlite:inboxd.db\"\nmin_free = \"1MiB\"\n\n[polling]\n");
        let defaults = [
            ("min_interval", "\"100ms\""),
            ("max_interval", "\"100ms\""),
            ("requests_per_minute", "600000"),
            ("daily_credits", "3000000000"),
            ("first_poll", "\"all\""),
        ];
        for (key, value) in defaults {
            if !self.polling.contains(key) {
                text += &format!("{key} = {value}\n");
            }
        }
        text += &self.polling;
        for dialect in Dialect::ALL {
            text += &self.account(dialect);
        }
        text += &format!("\n[sinks.crm]\ntype = \"http\"\nurl = \"{}\"\nsecret = \"{SECRET}\"\n", self.receiver.url());
        text + &self.http + &self.more
    }

    /// The account of a dialect, where the configuration has one.
    fn account(&self, dialect: Dialect) -> String {
        let followed: Vec<_> = self.conversations.iter().filter(|(_, of, _)| *of == dialect).collect();
        let extra = match dialect {
            Dialect::LinkedApi => self.linkedapi.as_str(),
            Dialect::ConnectSafely => self.connectsafely.as_str(),
            _ => "",
        };
        let discover = self.discovered.iter().find(|(of, _)| *of == dialect).map(|(_, keys)| keys.as_str());
        if followed.is_empty() && discover.is_none() {
            return String::new();
        }
        let name = account_name(dialect);
        let mut text = format!(
            "\n[accounts.{name}]\nprovider = \"{}\"\nbase_url = \"{}\"\n{}\n",
            provider(dialect),
            self.simulator.base_url(dialect),
            credentials(dialect)
        );
        if discover.is_some() {
            text += "discover = true\n";
        }
        text += discover.unwrap_or_default();
        text += extra;
        text.push('\n');
        for (conversation, _, kind) in followed {
            let address = self.world().address(*conversation);
            text += &format!("[[accounts.{name}.conversations]]\n{}\n", named(dialect, *kind, &address));
        }
        text
    }

    /// The account of a dialect follows what its inbox lists; `keys` are further keys and tables of it.
    pub(crate) fn discover(&mut self, dialect: Dialect, keys: &str) {
        self.discovered.push((dialect, keys.to_owned()));
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

    /// Waits until every followed conversation has been polled completely once more, twice over: a poll in flight when this
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
        self.known_conversations().into_iter().filter(|c| c.followed).map(|c| c.last_polled_at).collect()
    }

    /// What the store knows of every conversation; empty before the daemon has got so far.
    pub(crate) fn known_conversations(&self) -> Vec<ConversationOverview> {
        let accounts = self.overview().map(|overview| overview.accounts).unwrap_or_default();
        accounts.into_iter().flat_map(|account| account.conversations).collect()
    }

    pub(crate) fn overview(&self) -> Option<Overview> {
        ReadOnlyStore::open(&self.database()).ok()?.overview().ok()
    }

    /// The only conversation, or the first of them by id.
    pub(crate) fn conversation(&self) -> Option<ConversationOverview> {
        self.known_conversations().into_iter().next()
    }

    /// Waits until the receiver has kept so many messages; other events do not count.
    pub(crate) async fn until_told(&self, count: usize) {
        let told = || self.receiver.of_type("message.new").len();
        until(&format!("{count} messages at the receiver"), || told() >= count).await;
        assert_eq!(told(), count);
    }

    /// Waits until the receiver has kept so many events that are about no message.
    pub(crate) async fn until_noticed(&self, count: usize) {
        until(&format!("{count} notices at the receiver"), || self.receiver.notices().len() >= count).await;
        assert_eq!(self.receiver.notices().len(), count, "{:?}", self.receiver.notices());
        let recorded = self.recorded("account.") + self.recorded("conversation.");
        assert_eq!(recorded, count, "some have the id of another");
    }

    /// How many events were recorded whose type begins so: also those that a receiver takes for repetitions.
    pub(crate) fn recorded(&self, kind: &str) -> usize {
        let database = rusqlite::Connection::open(self.database()).unwrap();
        let sql = "SELECT count(*) FROM events WHERE json_extract(body, '$.type') LIKE ?1 || '%'";
        database.query_row(sql, [kind], |r| r.get(0)).unwrap()
    }

    /// `inboxd audit`: exit code and what it prints.
    pub(crate) fn audit(&self) -> (i32, String) {
        let audited = inboxd_in(self.path(), &["audit"]);
        (audited.code, audited.stdout)
    }

    /// The watermark of the only conversation.
    pub(crate) fn watermark(&self) -> Option<inboxd::time::UnixMillis> {
        self.known_conversations().first()?.watermark
    }
}
