//! What an operator asks for by command: done by the running daemon, or, where none runs, by the command itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use super::Error;
use super::parts::followed_sink;
use crate::config::{self, Config};
use crate::model::{SinkName, counted};
use crate::ops::control::{self, Answer, Request};
use crate::providers::Settings;
use crate::scheduler::{Baseline, Cadence, Command, Commands, Polled};
use crate::sinks::{self, Erasure};
use crate::store::{AccountId, FollowedSink, NotErased, Purge, Purged, Refused, Replayed, Selection, Store};
use crate::time::UnixMillis;

/// An account as far as commands need it.
struct Operated {
    provider: &'static str,
    settings: Settings,
    cadence: Cadence,
    baseline: Baseline,
    discover: bool,
}

impl Operated {
    /// The id in events of a conversation that is named as the configuration would; anything else is taken for an id, because
    /// what the inbox lists may have one that nobody would write into a configuration.
    fn id_of(&self, named: &str) -> String {
        self.settings.named(named).map_or_else(|_| named.to_owned(), |conversation| conversation.id.as_str().to_owned())
    }
}

fn counted_deliveries(number: u64) -> String {
    format!("{number} {}", if number == 1 { "delivery" } else { "deliveries" })
}

fn counted_lines(number: u64) -> String {
    format!("{number} line{}", if number == 1 { "" } else { "s" })
}

/// Obeys commands.
pub(super) struct Operator {
    store: Store,
    accounts: BTreeMap<String, (crate::model::AccountName, Operated)>,
    sinks: BTreeMap<String, FollowedSink>,
    /// Sinks that may keep events on this machine.
    kept_here: Vec<(SinkName, sinks::Settings)>,
    /// The loops to tell; `None` where no daemon runs.
    commands: Option<Commands>,
    /// The loops have ended for a reload.
    between: AtomicBool,
}

/// What a command is told that needs somebody who polls.
const BETWEEN: &str = "the daemon is taking over a new configuration; ask again in a moment";

/// Has a request carried out by the daemon that works on the configured store, or does it here when there is none.
pub async fn operate(config: Config, request: Request) -> Result<Answer, Error> {
    let path = config.store.path.clone();
    if let Some(answer) = ask(path.clone(), request.clone()).await? {
        return Ok(answer);
    }
    // A daemon makes the database. A command that found none was mistaken about where it lies.
    if !path.try_exists().unwrap_or(true) {
        return Err(crate::store::OpenError::Missing { path: path.display().to_string() }.into());
    }
    let store = super::open(config.store.clone()).await?;
    let operator = Operator::new(&config, store.clone(), None);
    let answer = operator.obey(request).await;
    store.close().await?;
    Ok(answer)
}

async fn ask(path: std::path::PathBuf, request: Request) -> Result<Option<Answer>, Error> {
    let asked = tokio::task::spawn_blocking(move || control::ask(&path, &request));
    asked.await.map_err(|_| Error::Control(std::io::ErrorKind::Interrupted.into()))?.map_err(Error::Control)
}

/// Listens for commands; a daemon that cannot be reached by them works all the same.
pub(super) fn listen(path: &Path) -> Option<control::Control> {
    match control::Control::listen(path) {
        Ok(control) => Some(control),
        Err(error) => {
            tracing::warn!(%error, "commands such as `conversations follow` cannot reach this daemon: the socket beside the database could not be made");
            None
        }
    }
}

/// The next command, or never.
pub(super) async fn next(control: Option<&control::Control>) -> control::Asked {
    match control {
        Some(control) => control.next().await,
        None => std::future::pending().await,
    }
}

impl Operator {
    pub(super) fn new(config: &Config, store: Store, commands: Option<Commands>) -> Self {
        let operated = |account: &config::Account| Operated {
            provider: account.settings.profile().name,
            settings: account.settings.clone(),
            cadence: account.polling.cadence,
            baseline: account.polling.baseline,
            discover: account.discover,
        };
        let accounts = config.accounts.iter();
        let accounts = accounts.map(|a| (a.name.as_str().to_owned(), (a.name.clone(), operated(a)))).collect();
        let sinks = config.sinks.iter().map(|sink| (sink.name.to_string(), followed_sink(sink))).collect();
        let kept_here = config.sinks.iter().map(|sink| (sink.name.clone(), sink.settings.clone())).collect();
        Self { store, accounts, sinks, kept_here, commands, between: AtomicBool::new(false) }
    }

    /// From now on nobody polls: what would change who is polled has to wait for the next operator.
    pub(super) fn polling_has_ended(&self) {
        self.between.store(true, Ordering::Relaxed);
    }

    pub(super) async fn obey(&self, request: Request) -> Answer {
        if self.between.load(Ordering::Relaxed) && !request.is_of_outbox() {
            return Err(BETWEEN.into());
        }
        match request {
            Request::Follow { account, conversation } => self.follow(&account, &conversation).await,
            Request::Unfollow { account, conversation } => self.unfollow(&account, &conversation).await,
            Request::Rewind { account, conversation, to } => self.rewind(&account, &conversation, to).await,
            Request::Wake { account } if self.tell(&account, Command::Wake) => Ok(format!("{account} is probed")),
            Request::Wake { account } => Err(format!("nobody polls {account}")),
            Request::Schedule {} => self.schedule().await,
            Request::RetryDead { sink, of } => self.retry_dead(sink, of).await,
            Request::Replay { sink, of, dry_run } => self.replay(&sink, of, dry_run).await,
            Request::Erase { account, conversation, message } => self.erase(&account, &conversation, message).await,
            Request::Purge { sink, of, pending, dry_run } => self.purge(sink, of, pending, dry_run).await,
        }
    }

    /// One JSON object: the schedule of each account by its name. A loop that has ended has none.
    async fn schedule(&self) -> Answer {
        let Some(commands) = &self.commands else { return Err("no daemon runs".into()) };
        // Whoever asks reads the store next, and shall find the requests of this second there too.
        if let Err(error) = self.store.flush().await {
            tracing::debug!(%error, "what is noted could not be written for a command");
        }
        let mut schedules = BTreeMap::new();
        for account in commands.accounts() {
            let (tell, told) = oneshot::channel();
            if commands.tell(account, Command::Schedule { done: tell })
                && let Ok(scheduled) = told.await
            {
                schedules.insert(account, scheduled);
            }
        }
        serde_json::to_string(&schedules).map_err(|e| e.to_string())
    }

    /// The sink of this name.
    fn sink(&self, name: &str) -> Result<&FollowedSink, String> {
        self.sinks.get(name).ok_or_else(|| {
            let known: Vec<_> = self.sinks.keys().map(String::as_str).collect();
            let reload =
                if self.commands.is_some() { "; after a change of it the daemon has to be told (HUP)" } else { "" };
            format!("there is no sink \"{name}\" in the configuration; known are {}{reload}", known.join(", "))
        })
    }

    async fn retry_dead(&self, sink: Option<String>, of: Selection) -> Answer {
        if let Some(name) = &sink {
            self.sink(name)?;
        }
        let sinks = sink.map_or_else(|| self.sinks.keys().cloned().collect(), |name| vec![name]);
        let (retried, hurried) = self.store.retry_dead(sinks, of).await.map_err(|e| e.to_string())?;
        tracing::info!(deliveries = retried, "a command made dead deliveries pending again");
        let mut done = match retried {
            0 => "no dead delivery fits".into(),
            retried => format!("{} pending again", counted_deliveries(retried)),
        };
        if hurried > 0 {
            done += &format!(
                "; {} that waited for a next attempt {} due now",
                counted(hurried, "conversation"),
                if hurried == 1 { "is" } else { "are" }
            );
        }
        Ok(done)
    }

    async fn replay(&self, name: &str, mut of: Selection, dry_run: bool) -> Answer {
        let sink = self.sink(name)?.clone();
        // As the configuration may name a conversation, at whatever account.
        let named = of.conversations.clone();
        let ids = self.accounts.values().flat_map(|(_, account)| named.iter().map(|named| account.id_of(named)));
        of.conversations.extend(ids);
        let (max_pending, single) = (sink.max_pending, !of.events.is_empty() || !named.is_empty());
        let replayed = self.store.replay(sink, of, dry_run).await.map_err(|e| e.to_string())?;
        let Replayed { delivered, dead, new, pending, filtered } = replayed;
        let parts = [
            (delivered, "delivered before"),
            (dead, "dead"),
            (new, "never owed to it"),
            (pending, "on their way already and left alone"),
            (filtered, "filtered out and left alone"),
        ];
        let parts: Vec<_> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if parts.is_empty() && single {
            return Err("nothing on record fits, or its text was not kept (store.keep_text); inboxd explain says what is known of a message or an event".into());
        }
        let mut found = if parts.is_empty() { "nothing fits".into() } else { parts.join(", ") };
        if replayed.sent() + pending > max_pending {
            found += "; that is more than max_pending, so polling waits until enough of them are delivered";
        }
        if dry_run {
            return Ok(format!("{} would be made to {name}: {found}", counted_deliveries(replayed.sent())));
        }
        tracing::info!(sink = name, deliveries = replayed.sent(), "a command replays");
        Ok(format!("{} to {name} pending: {found}", counted_deliveries(replayed.sent())))
    }

    async fn purge(&self, sink: Option<String>, of: Selection, pending: bool, dry_run: bool) -> Answer {
        if let Some(name) = &sink
            && !self.store.knows_sink(name.clone()).await.map_err(|e| e.to_string())?
        {
            return Err(format!("nothing is known of a sink \"{name}\"; inboxd status shows all of them"));
        }
        let kept = match &sink {
            Some(name) if !pending && self.sinks.contains_key(name) => "; pending ones stay: the sink is configured",
            _ => "",
        };
        let configured = self.sinks.keys().cloned().collect();
        let purge = Purge { sink, of, pending, configured, dry_run };
        let Purged { dead, pending } = self.store.purge(purge).await.map_err(|e| e.to_string())?;
        let (would, removed) = if dry_run { ("would be ", "removed") } else { ("", "removed for good") };
        if !dry_run {
            tracing::warn!(dead, pending, "a command removed deliveries");
        }
        Ok(format!("{would}{removed}: {dead} dead, {pending} pending{kept}"))
    }

    /// The account of this name, with its row.
    async fn account(&self, name: &str) -> Result<(&Operated, AccountId), String> {
        let Some((account, operated)) = self.accounts.get(name) else {
            let known: Vec<_> = self.accounts.keys().map(String::as_str).collect();
            return Err(format!("there is no account \"{name}\" in the configuration; known are {}", known.join(", ")));
        };
        let row = self.store.account(operated.provider, account.clone()).await.map_err(|e| e.to_string())?;
        Ok((operated, row))
    }

    async fn follow(&self, account: &str, named: &str) -> Answer {
        let (operated, row) = self.account(account).await?;
        let conversation = operated.settings.named(named).map_err(|problem| format!("{named}: {problem}"))?;
        if let Some(reason) = operated.settings.misplaced(&conversation, operated.discover) {
            return Err(format!("{named} cannot be followed by {account}: {reason}"));
        }
        let id = conversation.id.clone();
        let max_interval = operated.cadence.max_interval;
        let followed =
            self.store.follow_conversation(row, conversation.clone(), max_interval).await.map_err(|e| e.to_string())?;
        let source = followed.map_err(|refused| format!("{id} {refused}"))?;
        let polled = Polled {
            conversation: Arc::new(conversation),
            cadence: operated.cadence,
            baseline: operated.baseline,
            source,
        };
        self.tell(account, Command::Follow(Box::new(polled)));
        Ok(format!("following {id} of {account}"))
    }

    async fn unfollow(&self, account: &str, named: &str) -> Answer {
        let (operated, row) = self.account(account).await?;
        let id = operated.id_of(named);
        let source = self.store.unfollow_conversation(row, id.clone()).await.map_err(|e| e.to_string())?;
        let source = source.map_err(|refused| format!("{id} {refused}"))?;
        self.tell(account, Command::Unfollow(source));
        Ok(format!("{id} of {account} is followed no more; what is known of it is kept"))
    }

    async fn rewind(&self, account: &str, named: &str, to: UnixMillis) -> Answer {
        let now = UnixMillis::now();
        if to > now {
            return Err(format!(
                "{to} lies in the future (it is {now} now), so that nothing could be read again from there on"
            ));
        }
        let (operated, row) = self.account(account).await?;
        let id = operated.id_of(named);
        let done = |rewound: Result<(), Refused>| match rewound {
            Ok(()) => Ok(format!("{id} of {account} is read again from {to} on")),
            Err(refused) => Err(format!("{id} {refused}")),
        };
        let (tell, told) = oneshot::channel();
        let command = Command::Rewind { conversation_id: id.clone(), to, done: tell };
        if self.tell(account, command) {
            return match told.await {
                Ok(Ok(rewound)) => done(rewound),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("the daemon stopped before it was done; ask again".into()),
            };
        }
        let rewound = self.store.rewind(row, id.clone(), to).await.map_err(|e| e.to_string())?;
        done(rewound.map(|_| ()))
    }

    async fn erase(&self, account: &str, named: &str, message: Option<String>) -> Answer {
        let (operated, row) = self.account(account).await?;
        let id = operated.id_of(named);
        let erased = self.store.erase(row, id.clone(), message.clone()).await.map_err(|e| e.to_string())?;
        let (erased, message) = match erased {
            Ok(erased) => erased,
            Err(NotErased::BeingRead) => {
                return Err(format!("a long walk through {id} is under way; ask again when status shows none"));
            }
            Err(NotErased::NoConversation) => return Err(format!("nothing is known of {id} at {account}")),
            Err(NotErased::NoMessage) => {
                let named = message.unwrap_or_default();
                return Err(format!(
                    "nothing was erased: no message of {id} at {account} has the id {}; explain shows it",
                    crate::model::Untrusted(&named)
                ));
            }
        };
        let erasure = Erasure { account: account.to_owned(), conversation: id.clone(), message: message.clone() };
        let (kept, mut lines) = (self.kept_here.clone(), vec![]);
        for (name, settings) in kept {
            let (erasure, sink) = (erasure.clone(), name.clone());
            let gone = tokio::task::spawn_blocking(move || settings.erase(&sink, &erasure)).await;
            match gone.map_err(std::io::Error::other).flatten() {
                Ok(0) => {}
                Ok(gone) => lines.push(format!("{} of the files of {name}", counted_lines(gone))),
                Err(error) => {
                    let problem =
                        format!("the store has it no more, but the files of {name} could not be rewritten: {error}");
                    return Err(format!("{problem}; ask again"));
                }
            }
        }
        tracing::warn!(account, conversation = %id, message, events = erased.events, "a command erased what was written");
        let mut said = format!("erased of {id} at {account}: {}", counted(erased.events as usize, "event"));
        for line in lines {
            said += &format!(", {line}");
        }
        if erased.pending > 0 {
            said += &format!("; {} that were still to be made are not made", counted_deliveries(erased.pending));
        }
        let elsewhere: Vec<_> = erased.delivered.iter().map(|(sink, n)| format!("{n} to {sink}")).collect();
        if !elsewhere.is_empty() {
            said += &format!("; delivered before, and to be erased there: {}", elsewhere.join(", "));
        }
        Ok(said)
    }

    fn tell(&self, account: &str, command: Command) -> bool {
        self.commands.as_ref().is_some_and(|commands| commands.tell(account, command))
    }
}
