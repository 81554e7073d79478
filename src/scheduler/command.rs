//! What an operator asks for while the loops run.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::Polled;
use super::account::{AccountLoop, Done};
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
        }
    }

    fn follow(&mut self, polled: Polled) {
        let index = self.add(polled);
        self.nudge(index);
    }

    fn unfollow(&mut self, source: SourceId) {
        if let Some(&index) = self.by_row.get(&source) {
            self.sources[index].unfollowed = true;
        }
    }

    fn rewind(&mut self, conversation_id: String, to: UnixMillis, done: oneshot::Sender<Rewound>) {
        let index =
            self.sources.iter().position(|s| !s.unfollowed && s.job.conversation.id.as_str() == conversation_id);
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
        let (ready, waiting) =
            std::mem::take(&mut self.rewinds).into_iter().partition(|r: &Rewinding| !self.sources[r.index].in_flight);
        self.rewinds = waiting;
        let ready: Vec<Rewinding> = ready;
        for mut rewinding in ready {
            let source = &mut self.sources[rewinding.index];
            source.in_flight = true;
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
        self.sources[index].in_flight = false;
        let result = match rewinding.result {
            Some(Ok(Ok(row))) => {
                let source = &self.sources[index];
                let (conversation, cadence, baseline) =
                    (Arc::clone(&source.job.conversation), source.cadence, source.job.baseline);
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
            let due = self.sources[index].due;
            self.schedule(index, due);
            if std::mem::take(&mut self.sources[index].nudged) {
                self.nudge(index);
            }
        }
        drop(rewinding.done.send(result));
    }
}
