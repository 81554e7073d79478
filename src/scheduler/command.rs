//! What an operator asks for while the loops run.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};

use super::Polled;
use crate::model::AccountName;
use crate::store::{self, AccountId, Refused, SourceId};
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
    loops: BTreeMap<String, (AccountId, mpsc::UnboundedSender<Command>)>,
}

impl Commands {
    pub(super) fn add(&mut self, account: AccountName, id: AccountId, commands: mpsc::UnboundedSender<Command>) {
        self.loops.insert(account.as_str().to_owned(), (id, commands));
    }

    /// The row of an account whose loop runs.
    pub fn account(&self, name: &str) -> Option<AccountId> {
        self.loops.get(name).map(|(id, _)| *id)
    }

    /// Tells the loop of an account; false when it has ended.
    pub fn tell(&self, name: &str, command: Command) -> bool {
        self.loops.get(name).is_some_and(|(_, commands)| commands.send(command).is_ok())
    }
}
