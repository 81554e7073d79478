//! When to poll what: one loop per account, so that none delays another.
//!
//! [`account`] is the loop: a [`timetable`] of its conversations and a limit on polls in flight; [`pause`] holds it back
//! while the account may not be asked, [`gate`] lets requests pass as [`budget`] and [`credits`] allow, [`rhythm`] keeps its pace, and [`outcome`] takes in what came of a poll. [`poll`] is one poll from question to
//! commit, [`read_on`] the part of it that takes more than one page. [`sweep`] lists the inbox to find what moved, and
//! [`sweeping`] is the loop's side of that, [`monitoring`] has the provider fill it; [`balance`] asks what is left of the credits; [`upkeep`] starts and watches the provider's own collecting where it must be told
//! to; [`command`] is what an operator asks for. The decisions are pure and sit apart: [`timetable`], [`slot`], [`pace`], [`pacing`], [`due`] and [`quiet`] (when), [`seldom`] (which folders), [`job`] (from where
//! on), [`walk`] (how far), [`failure`] (what next).

mod account;
mod balance;
mod budget;
mod command;
mod credits;
mod due;
mod failure;
mod gate;
mod job;
mod monitoring;
mod odd;
mod outcome;
mod pace;
mod pacing;
mod pause;
mod poll;
mod quiet;
mod read_on;
mod reading;
mod rhythm;
mod seldom;
mod slot;
mod source;
mod sweep;
mod sweeping;
mod timetable;
mod upkeep;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::calendar::Calendar;
use crate::model::{AccountName, Conversation};
use crate::providers::{Profile, Provider};
use crate::status::{Hold, Progress};
use crate::store::{AccountId, BalanceSeen, Pause, Source, Store, SweptFolder};
use crate::time::UnixMillis;

pub use account::Summary;
pub use budget::Budget;
pub use command::{Command, Commands, Rewound, Schedule, Scheduled};
pub use credits::{CreditBudget, requests_per_second, sweep_pace};
pub use due::{Cadence, Priority, Rhythm};
pub use pace::Pace;
pub use pacing::{Rate, Spent};
pub use quiet::QuietHours;
pub use slot::{Now, Slot, Why};
pub use sweep::SweepSettings;
pub use timetable::Timetable;

/// Stored waits are believed up to here: a told wait of a day, and the tenth that may come on top.
const LONGEST_WAIT: Duration = Duration::from_secs(27 * 3600);

/// What the first poll of a conversation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// Records what is there silently; later messages are new.
    Now,
    /// Announces the whole history.
    All,
    /// Announces everything from this time on, and from first contact on at the latest.
    Since(UnixMillis),
}

impl Baseline {
    /// What it comes to at first contact: a time that is still to come must not silence what is written before it.
    fn at(self, first_contact: UnixMillis) -> Self {
        match self {
            Self::Since(since) if since > first_contact => Self::Now,
            other => other,
        }
    }
}

/// How an account is polled.
#[derive(Clone, Copy, Debug)]
pub struct Polling {
    /// Polls in flight.
    pub concurrency: usize,
    /// Conversations that may share a request.
    pub batch_size: usize,
    /// How far behind the watermark each poll asks again.
    pub overlap: Duration,
    /// How coarse the provider's times may be.
    pub resolution: Duration,
    /// A deeper look for late messages after so long.
    pub recheck_interval: Duration,
    /// That far back.
    pub recheck_depth: Duration,
    /// Pages read in one poll.
    pub max_pages: u32,
}

/// A conversation to poll: what the configuration says and what the store knows.
pub struct Polled {
    /// The conversation.
    pub conversation: Arc<Conversation>,
    /// The bounds of its interval.
    pub cadence: Cadence,
    /// What its first poll does.
    pub baseline: Baseline,
    /// What the store knows of it.
    pub source: Source,
}

/// An account to poll.
pub struct Account {
    /// Its row.
    pub id: AccountId,
    /// Its name.
    pub name: AccountName,
    /// What its provider's contract recommends.
    pub profile: &'static Profile,
    /// Its provider.
    pub provider: Arc<dyn Provider>,
    /// The requests it may make.
    pub budget: Budget,
    /// How it is polled.
    pub polling: Polling,
    /// What it may cost in the provider's credits, where it bills.
    pub credits: CreditBudget,
    /// By which its days and months begin.
    pub calendar: Calendar,
    /// Credits spent this month before today, and today.
    pub spent: (u64, u64),
    /// When only `max_interval` counts.
    pub quiet_hours: Option<QuietHours>,
    /// How its inbox is swept; `None`: not at all.
    pub sweep: Option<SweepSettings>,
    /// Where those sweeps stand.
    pub folders: Vec<SweptFolder>,
    /// What was last heard of the credits that are left.
    pub balance: BalanceSeen,
    /// A pause that a restart does not end.
    pub pause: Option<Pause>,
    /// Its conversations.
    pub conversations: Vec<Polled>,
}

/// What all loops share.
pub struct Shared<'a> {
    /// Where polls are recorded.
    pub store: &'a Store,
    /// Signs of life.
    pub progress: &'a Progress,
    /// Whether polling is held.
    pub hold: &'a Hold,
    /// Ends the loops.
    pub stop: &'a CancellationToken,
}

/// Starts the loop of every account. Each ends when `stop` is cancelled: a poll that has not reached its commit is
/// dropped without effect. The tracker is done when all have ended; the other half is the way to tell them something.
pub fn start(accounts: Vec<Account>, shared: &Shared<'_>) -> (TaskTracker, Commands) {
    let tracker = TaskTracker::new();
    let mut commands = Commands::default();
    for account in accounts {
        let name = account.name.clone();
        let account = account::AccountLoop::new(account, shared);
        commands.add(name, account.commands());
        tracker.spawn(account.run(shared.stop.clone()));
    }
    tracker.close();
    (tracker, commands)
}

/// Polls everything that is due now, once, and returns what came of it.
pub async fn poll_once(accounts: Vec<Account>, shared: &Shared<'_>) -> Summary {
    let mut loops = tokio::task::JoinSet::new();
    for account in accounts {
        loops.spawn(account::AccountLoop::new(account, shared).run_once(shared.stop.clone()));
    }
    let mut total = Summary::default();
    while let Some(summary) = loops.join_next().await {
        match summary {
            Ok(summary) => total.add(summary),
            Err(_) => total.failed += 1,
        }
    }
    total
}
