//! What an operator asks for while the loops run.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use serde::{Deserialize, Serialize};

use super::Polled;
use super::account::{AccountLoop, Done};
use super::slot::{Now, Why};
use super::upkeep::Request;
use crate::model::AccountName;
use crate::store::{self, Refused, Source, SourceId};
use crate::time::UnixMillis;

/// The outcome of a rewind.
pub type Rewound = Result<Result<(), Refused>, store::Error>;

/// Something to do for the loop of an account.
pub enum Command {
    /// Polls a conversation from now on.
    Follow(Box<Polled>),
    /// Polls it no more.
    Unfollow(SourceId),
    /// Sets the watermark of a conversation back, between two of its polls.
    Rewind {
        /// Its id in events.
        conversation_id: String,
        /// To here.
        to: UnixMillis,
        /// Told when it is done.
        done: oneshot::Sender<Rewound>,
    },
    /// Probes the account now, if it waits for a person.
    Wake,
    /// Tells when what is polled next.
    Schedule {
        /// Told that.
        done: oneshot::Sender<Schedule>,
    },
}

/// What an account does next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its conversations.
    pub conversations: Vec<Scheduled>,
}

/// When a conversation is polled next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// Its id in events.
    pub conversation_id: String,
    /// When.
    pub due_at: UnixMillis,
    /// What has set that moment, as [`Why`] words it.
    pub reason: String,
}

/// The way to the loops of all accounts.
#[derive(Clone, Default)]
pub struct Commands {
    loops: BTreeMap<String, mpsc::UnboundedSender<Command>>,
}

impl Commands {
    pub(super) fn add(&mut self, account: AccountName, commands: mpsc::UnboundedSender<Command>) {
        self.loops.insert(account.as_str().to_owned(), commands);
    }

    /// Names of the accounts whose loops run.
    pub fn accounts(&self) -> impl Iterator<Item = &str> {
        self.loops.keys().map(String::as_str)
    }

    /// Tells the loop of an account; false when it has ended.
    pub fn tell(&self, name: &str, command: Command) -> bool {
        self.loops.get(name).is_some_and(|commands| commands.send(command).is_ok())
    }
}

/// A conversation whose watermark is set back.
pub(super) struct Rewinding {
    index: usize,
    to: UnixMillis,
    done: oneshot::Sender<Rewound>,
    result: Option<Result<Result<Source, Refused>, store::Error>>,
}

impl AccountLoop {
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Follow(polled) => self.follow(*polled),
            Command::Unfollow(source) => self.unfollow(source),
            Command::Rewind { conversation_id, to, done } => self.rewind(conversation_id, to, done),
            Command::Wake => self.pauses.wake(),
            // Whoever asked has gone when it does not listen.
            Command::Schedule { done } => drop(done.send(self.scheduled(Now::read()))),
        }
    }

    /// A pause of the account puts off whatever is due before its end.
    fn scheduled(&self, now: Now) -> Schedule {
        let pause = self.pauses.look_again().map(|at| at.unwrap_or(now.at));
        let followed = self.sources.iter().enumerate().filter(|(index, _)| !self.timetable.slot(*index).has_left());
        let scheduled = followed.map(|(index, source)| {
            let (due, why) = self.timetable.slot(index).next();
            let (due, reason) = match pause {
                Some(until) if until >= due => (until, Why::ProviderWait),
                _ => (due, why),
            };
            let due_at = now.clock + due.saturating_duration_since(now.at) - now.at.saturating_duration_since(due);
            let conversation_id = source.job.conversation.id.as_str().to_owned();
            Scheduled { conversation_id, due_at, reason: reason.as_str().to_owned() }
        });
        Schedule { conversations: scheduled.collect() }
    }

    fn follow(&mut self, polled: Polled) {
        let index = self.add(polled);
        self.nudge(index);
    }

    fn unfollow(&mut self, source: SourceId) {
        if let Some(&index) = self.by_row.get(&source) {
            self.timetable.leave(index);
            // Nobody listens where the provider needs no upkeep.
            drop(self.requests.send(Request::Leave(index)));
        }
    }

    fn rewind(&mut self, conversation_id: String, to: UnixMillis, done: oneshot::Sender<Rewound>) {
        let is_it = |index: &usize| {
            let id = self.sources[*index].job.conversation.id.as_str();
            id == conversation_id && !self.timetable.slot(*index).has_left()
        };
        let index = (0..self.sources.len()).find(is_it);
        match index {
            Some(index) => {
                self.rewinds.push(Rewinding { index, to, done, result: None });
                self.start_rewinds();
            }
            // Whoever asked has gone when it does not listen.
            None => drop(done.send(Ok(Err(Refused::NotFollowed)))),
        }
    }

    /// Sets back what is not being polled just now; a poll in flight would move the watermark again.
    pub(super) fn start_rewinds(&mut self) {
        let (ready, waiting) = std::mem::take(&mut self.rewinds)
            .into_iter()
            .partition(|r: &Rewinding| !self.timetable.slot(r.index).is_busy());
        self.rewinds = waiting;
        let ready: Vec<Rewinding> = ready;
        for mut rewinding in ready {
            self.timetable.occupy(rewinding.index);
            let source = &self.sources[rewinding.index];
            let (store, account) = (self.poller.store.clone(), self.poller.account_id);
            let id = source.job.conversation.id.as_str().to_owned();
            self.tasks.spawn(async move {
                rewinding.result = Some(store.rewind(account, id, rewinding.to).await);
                Done::Rewound(Box::new(rewinding))
            });
        }
    }

    pub(super) fn rewound(&mut self, rewinding: Rewinding) {
        let index = rewinding.index;
        self.timetable.end(index);
        let result = match rewinding.result {
            Some(Ok(Ok(row))) => {
                let source = &self.sources[index];
                let (conversation, cadence, baseline) =
                    (Arc::clone(&source.job.conversation), self.timetable.slot(index).cadence(), source.job.baseline);
                tracing::warn!(account = %self.poller.account, conversation = %conversation.id, to = %rewinding.to,
                    "the watermark was set back by command");
                self.follow(Polled { conversation, cadence, baseline, source: row });
                Ok(Ok(()))
            }
            Some(Ok(Err(refused))) => Ok(Err(refused)),
            Some(Err(error)) => Err(error),
            None => return,
        };
        if !matches!(result, Ok(Ok(()))) {
            self.timetable.wait_as_before(index);
            self.timetable.nudge_waiting(index, Instant::now());
        }
        drop(rewinding.done.send(result));
    }
}
