//! Every part, built from the configuration and what the store knows, not yet running.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Error;
use crate::config::{self, Config, Shared};
use crate::dispatcher::Destination;
use crate::filter::Verdict;
use crate::mask::Mask;
use crate::model::{Conversation, SinkName, counted};
use crate::ops::backlog::Watched;
use crate::providers::{self, Call, TlsError};
use crate::scheduler::{self, Budget, Polled, Polling, SweepSettings};
use crate::sinks::{self, Intake, Rate, RetrySchedule, Sink};
use crate::store::{
    self, BudgetRow, Followed, FollowedAccount, FollowedRows, FollowedSink, Pinned, SinkHealth, SinkId, Store, Wants,
};
use crate::time::UnixMillis;

/// What is followed, as the store has it now.
pub(super) struct Parts {
    accounts: Vec<scheduler::Account>,
    owed: Vec<Owed>,
    pub(super) watched: Vec<Watched>,
}

/// What the store knows of a sink.
struct Owed {
    id: SinkId,
    name: SinkName,
    stood: SinkHealth,
}

/// The sinks of a configuration, with the files they have opened, in its order.
pub(super) struct Sinks(Vec<Built>);

/// A sink with what the configuration says of how it is served.
struct Built {
    sink: Arc<dyn Sink>,
    intake: Intake,
    retry: RetrySchedule,
    rate: Option<Rate>,
    park_after: Duration,
}

/// Builds the sinks on a thread that may wait: a file may lie on a disk that does not answer, or be locked by somebody.
pub(super) async fn build_sinks(config: &Config) -> Result<Sinks, Error> {
    let configured = config.sinks.iter().map(|sink| (sink.name.clone(), sink.settings.clone(), sink.park_after));
    let configured: Vec<_> = configured.collect();
    let inserted = config.inserted.clone();
    let build = move |(name, settings, park_after): (SinkName, sinks::Settings, Duration)| {
        let sink = sinks::build(&name, &settings, &inserted);
        let sink = sink.map_err(|source| Error::Sink { name: name.to_string(), source })?;
        let (intake, retry, rate) = (settings.intake(), settings.retry(), settings.rate());
        Ok(Built { sink, intake, retry, rate, park_after })
    };
    let built = tokio::task::spawn_blocking(move || configured.into_iter().map(build).collect::<Result<_, _>>());
    built.await.map_err(|_| store::Error::Closed)?.map(Sinks)
}

/// The budgets of the accounts, by what the provider limits them by: what one has used up and learnt outlives a reload.
#[derive(Default)]
pub(super) struct Budgets(HashMap<String, Budget>);

impl Budgets {
    fn of(&mut self, config: &Config) -> HashMap<String, Budget> {
        for (key, Shared { requests_per_minute, accounts }) in config::shared_budgets(&config.accounts) {
            let budget = self.0.entry(key).or_insert_with(|| Budget::per_minute(requests_per_minute, accounts));
            budget.adjust(requests_per_minute, accounts);
        }
        self.0.clone()
    }
}

impl Parts {
    /// Writes down what the configuration follows, and takes what the store knows of it.
    pub(super) async fn follow(config: &Config, store: &Store, budgets: &mut Budgets) -> Result<Self, Error> {
        let followed = config.accounts.iter().map(|account| FollowedAccount {
            provider: account.settings.profile().name,
            name: account.name.clone(),
            conversations: account
                .conversations
                .iter()
                .map(|c| Pinned {
                    conversation: (*c.conversation).clone(),
                    formerly: account.settings.former_id(&c.conversation),
                    max_interval: c.cadence.max_interval,
                })
                .collect(),
            discover: account.discover,
            channel: account.settings.channel(),
            max_interval: account.polling.cadence.max_interval,
            today: account.calendar.day(UnixMillis::now()),
            budget: budget_row(account),
        });
        let followed_sinks = config.sinks.iter().map(followed_sink).collect();
        let Followed { accounts, sinks: sink_rows } =
            store.follow(followed.collect(), followed_sinks, UnixMillis::now()).await?;
        let budgets = budgets.of(config);
        let mut scheduled = Vec::with_capacity(accounts.len());
        for (account, rows) in config.accounts.iter().zip(accounts) {
            let budget = budgets[&account.settings.budget_key()].clone();
            if let Some(learnt) = rows.learnt_per_minute {
                budget.remember(learnt, Instant::now());
            }
            scheduled.push(scheduled_account(account, rows, budget, &config.inserted)?);
        }
        let watched = config.sinks.iter().zip(&sink_rows).filter(|(sink, _)| sink.events.want_messages());
        let watched =
            watched.map(|(sink, &(id, _))| Watched { id, name: sink.name.to_string(), max_pending: sink.max_pending });
        let watched = watched.collect();
        let owed = config.sinks.iter().zip(sink_rows);
        let owed = owed.map(|(sink, (id, stood))| Owed { id, name: sink.name.clone(), stood }).collect();
        Ok(Self { accounts: scheduled, owed, watched })
    }

    /// Looks again at how the sinks stand: the loops of the configuration before have gone on.
    pub(super) async fn look_at_sinks(&mut self, store: &Store) {
        for owed in &mut self.owed {
            match store.sink_health(owed.id).await {
                Ok(stood) => owed.stood = stood,
                Err(error) => tracing::warn!(sink = %owed.name, class = "storage", %error,
                    "how the sink stood could not be read; it is taken for what it was before"),
            }
        }
    }

    pub(super) fn status(&self) -> String {
        let conversations: usize = self.accounts.iter().map(|account| account.conversations.len()).sum();
        format!(
            "following {} of {}, delivering to {}",
            counted(conversations, "conversation"),
            counted(self.accounts.len(), "account"),
            counted(self.owed.len(), "sink")
        )
    }

    /// The two halves that run.
    pub(super) fn split(self, sinks: Sinks) -> (Vec<scheduler::Account>, Vec<Destination>) {
        let destinations = self.owed.into_iter().zip(sinks.0).map(|(owed, built)| {
            let Owed { id, name, stood } = owed;
            let Built { sink, intake, retry, rate, park_after } = built;
            Destination { id, name, sink, intake, retry, rate, park_after, stood }
        });
        (self.accounts, destinations.collect())
    }
}

/// The budget of an account as those see it who only look.
fn budget_row(account: &config::Account) -> BudgetRow {
    let polling = &account.polling;
    let bills = account.settings.price() > 0;
    BudgetRow {
        time_zone: account.calendar.zone().to_owned(),
        requests_per_minute: polling.requests_per_minute.get(),
        daily_credits: bills.then_some(polling.credits.daily),
        monthly_credits: polling.credits.monthly.filter(|_| bills),
    }
}

/// A sink as the store takes it.
pub(super) fn followed_sink(sink: &config::Sink) -> FollowedSink {
    let mut wants = Wants { events: sink.events.clone(), raw: sink.include_raw, ..Wants::default() };
    if let Some((text, filter)) = sink.filter.clone() {
        wants.filter_text = Some(text);
        // What it cannot judge is delivered.
        wants.filter = Some(Arc::new(move |event: &str| filter.wants(event) != Verdict::Unwanted));
    }
    FollowedSink { name: sink.name.clone(), wants, max_pending: sink.max_pending }
}

/// An account as the scheduler takes it: what the configuration says, with what the store knows.
fn scheduled_account(
    account: &config::Account,
    rows: FollowedRows,
    budget: Budget,
    inserted: &Mask,
) -> Result<scheduler::Account, TlsError> {
    let (polling, profile) = (account.polling, account.settings.profile());
    let provider = providers::build(&account.settings, polling.timeout, inserted)?;
    let pinned = account.conversations.iter().zip(rows.pinned).map(|(followed, source)| Polled {
        conversation: with_person(&followed.conversation, &source),
        cadence: followed.cadence,
        baseline: followed.baseline,
        source,
    });
    let others = rows.others.into_iter().map(|(conversation, source)| polled(account, conversation, source));
    let conversations = pinned.chain(others).collect();
    // Where every answer costs credits, a sweep is cheaper than looking at each, also at those that are listed here.
    let sweeps = provider.inbox().is_some()
        && (account.discover || provider.price(Call::Page) > 0 || account.settings.sweeps_listed());
    let sweep = sweeps.then_some(SweepSettings {
        interval: polling.sweep_interval,
        discover: account.discover,
        baseline: polling.baseline,
        cadence: polling.cadence,
        max_conversations: polling.max_conversations,
    });
    Ok(scheduler::Account {
        id: rows.id,
        name: account.name.clone(),
        profile,
        provider,
        budget,
        polling: Polling {
            concurrency: polling.concurrency,
            // What the inbox lists is read one by one.
            batch_size: if account.discover { 1 } else { account.settings.batch_size() },
            overlap: polling.overlap,
            resolution: profile.resolution,
            recheck_interval: polling.recheck_interval,
            recheck_depth: polling.recheck_depth,
            max_pages: polling.max_pages,
        },
        credits: polling.credits,
        calendar: account.calendar.clone(),
        spent: rows.spent,
        quiet_hours: account.quiet_hours.clone(),
        sweep,
        folders: rows.folders,
        balance: rows.balance,
        pause: rows.pause,
        conversations,
    })
}

/// The conversation as the configuration has it, with what the inbox has told of it.
fn with_person(configured: &Arc<Conversation>, source: &store::Source) -> Arc<Conversation> {
    match (&configured.person_url, &source.person_url) {
        (None, Some(person_url)) => {
            Arc::new(Conversation { person_url: Some(person_url.clone()), ..(**configured).clone() })
        }
        _ => Arc::clone(configured),
    }
}

/// A conversation that the configuration does not list: it is polled as the account's polling says.
fn polled(account: &config::Account, conversation: Conversation, source: store::Source) -> Polled {
    Polled {
        conversation: Arc::new(conversation),
        cadence: account.polling.cadence,
        baseline: account.polling.baseline,
        source,
    }
}
