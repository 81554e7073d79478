//! Having the provider fill an inbox, where it does so only after being told to: once per folder, and again when it says
//! that it does not.
//!
//! A start is written down once it was answered. When the answer is lost, with the process or without it, it is sent
//! again: that queues work twice at worst, while an inbox that nobody fills looks like one in which nothing happens.

use std::time::Duration;

use tokio::time::Instant;

use super::gate::{Heard, Purpose};
use super::poll::{Failure, Poller};
use crate::providers::{Call, Class, Error, Workflow};
use crate::store::SweptFolder;
use crate::time::UnixMillis;

/// Between a start whose answer was lost and the next one.
const AFTER_LOST_ANSWER: Duration = Duration::from_secs(300);
/// Shortest time between two starts, doubling with each that did not help.
const BETWEEN_STARTS: Duration = Duration::from_secs(600);
const LONGEST_BETWEEN_STARTS: Duration = Duration::from_secs(6 * 3600);
/// Between two questions how a start does.
const PACE: Duration = Duration::from_secs(5);
/// The same while it waits for the account's working hours.
const PARKED: Duration = Duration::from_secs(20 * 60);

/// Where the collecting of one folder stands.
#[derive(Clone, Debug)]
struct Monitor {
    folder: String,
    needed: bool,
    workflow_id: Option<String>,
    started_at: Option<UnixMillis>,
    starts: u32,
    next: Instant,
}

/// Where the collecting of all folders stands.
#[derive(Default)]
pub(super) struct Monitors(Vec<Monitor>);

/// One request of it.
#[derive(Clone, Debug)]
pub(super) enum MonitorStep {
    Start { folder: String },
    Status { folder: String, workflow_id: String },
}

/// What came of that.
#[derive(Debug)]
pub(super) enum Monitored {
    Running {
        workflow_id: String,
        outside_working_hours: bool,
        /// When its start was accepted, by the provider's clock.
        started_at: Option<UnixMillis>,
    },
    Done,
}

impl Monitors {
    /// Takes up folders that are not watched yet, as the store knows them.
    pub(super) fn watch(&mut self, folders: &[String], known: &[SweptFolder], now: Instant) {
        for folder in folders {
            if self.0.iter().any(|monitor| monitor.folder == *folder) {
                continue;
            }
            let known = known.iter().find(|known| known.folder == *folder);
            self.0.push(Monitor {
                folder: folder.clone(),
                needed: known.is_none_or(|known| known.started_at.is_none()),
                workflow_id: known.and_then(|known| known.workflow_id.clone()),
                started_at: known.and_then(|known| known.started_at),
                starts: 0,
                next: now,
            });
        }
    }

    /// What is to be asked now, if anything.
    pub(super) fn step(&self, now: Instant) -> Option<MonitorStep> {
        let monitor = self.0.iter().find(|m| m.next <= now && (m.needed || m.workflow_id.is_some()))?;
        let folder = monitor.folder.clone();
        Some(match monitor.workflow_id.clone() {
            Some(workflow_id) => MonitorStep::Status { folder, workflow_id },
            None => MonitorStep::Start { folder },
        })
    }

    /// When something is to be asked next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().filter(|m| m.needed || m.workflow_id.is_some()).map(|m| m.next).min()
    }

    /// When the provider was first told to collect the folder: nothing older can be in it.
    pub(super) fn started_at(&self, folder: &str) -> Option<UnixMillis> {
        self.0.iter().find(|monitor| monitor.folder == folder)?.started_at
    }

    /// A start of the folder is under way.
    pub(super) fn is_under_way(&self, folder: &str) -> bool {
        self.0.iter().any(|monitor| monitor.folder == folder && monitor.workflow_id.is_some())
    }

    /// The provider says that it does not collect the folder.
    pub(super) fn need(&mut self, folder: &str) {
        if let Some(monitor) = self.0.iter_mut().find(|monitor| monitor.folder == folder) {
            monitor.needed = monitor.workflow_id.is_none();
        }
    }

    pub(super) fn take(&mut self, folder: &str, result: &Result<Monitored, Failure>, now: Instant) {
        let Some(monitor) = self.0.iter_mut().find(|monitor| monitor.folder == folder) else { return };
        match result {
            Ok(Monitored::Running { workflow_id, outside_working_hours, started_at }) => {
                if monitor.workflow_id.is_none() {
                    monitor.starts += 1;
                    monitor.started_at = monitor.started_at.or(*started_at);
                }
                monitor.needed = false;
                monitor.workflow_id = Some(workflow_id.clone());
                monitor.next = now + if *outside_working_hours { PARKED } else { PACE };
            }
            Ok(Monitored::Done) => {
                (monitor.needed, monitor.workflow_id) = (false, None);
                // Should the provider deny it, not at once.
                monitor.next = now + between(monitor.starts);
            }
            Err(Failure::Provider(error)) if error.class != Class::Transient && monitor.workflow_id.is_none() => {
                monitor.starts += 1;
                monitor.needed = error.class != Class::Gone;
                monitor.next = now + between(monitor.starts).max(error.wait.unwrap_or_default());
            }
            Err(Failure::Provider(error)) if error.class == Class::Gone || error.class == Class::NotReady => {
                // Ended without success, or not known any more.
                (monitor.needed, monitor.workflow_id) = (error.class == Class::NotReady, None);
                monitor.next = now + between(monitor.starts);
            }
            Err(_) => monitor.next = now + if monitor.workflow_id.is_some() { PACE * 6 } else { AFTER_LOST_ANSWER },
        }
    }
}

fn between(starts: u32) -> Duration {
    BETWEEN_STARTS.saturating_mul(2u32.saturating_pow(starts.saturating_sub(1).min(16))).min(LONGEST_BETWEEN_STARTS)
}

impl Poller {
    pub(super) async fn monitor(&self, step: &MonitorStep) -> Result<Monitored, Failure> {
        let inbox = self.provider.inbox().and_then(|inbox| inbox.monitoring());
        let monitoring = inbox.expect("only an inbox that wants it is monitored");
        match step {
            MonitorStep::Start { folder } => {
                let permit = self.gate.admit(Call::Collecting, Purpose::Live).await?;
                let started = monitoring.start(folder).await;
                self.gate.settle(permit, Heard::unpriced(&started)).await;
                let (started_at, workflow_id) = match &started {
                    // What the inbox has is compared with it, so it is the provider's time where that is told.
                    Ok(started) => {
                        (Some(started.answered_at.unwrap_or_else(UnixMillis::now)), Some(started.workflow_id.clone()))
                    }
                    Err(error) if error.class == Class::Gone => (Some(UnixMillis::now()), None),
                    // Whether it took effect is not known: a restart is to start it again.
                    Err(_) => (None, None),
                };
                self.store.record_monitoring(self.account_id, folder.clone(), started_at, workflow_id).await?;
                let started = started?;
                tracing::info!(account = %self.account, %folder, "the provider was told to collect the inbox");
                let (workflow_id, outside_working_hours) = (started.workflow_id, started.outside_working_hours);
                Ok(Monitored::Running { workflow_id, outside_working_hours, started_at })
            }
            MonitorStep::Status { folder, workflow_id } => {
                let permit = self.gate.admit(Call::Collecting, Purpose::Live).await?;
                let status = monitoring.status(workflow_id).await;
                self.gate.settle(permit, Heard::unpriced(&status)).await;
                match status? {
                    Workflow::Running { outside_working_hours } => {
                        let workflow_id = workflow_id.clone();
                        Ok(Monitored::Running { workflow_id, outside_working_hours, started_at: None })
                    }
                    Workflow::Done { .. } => {
                        let now = Some(UnixMillis::now());
                        self.store.record_monitoring(self.account_id, folder.clone(), now, None).await?;
                        tracing::info!(account = %self.account, %folder, "the provider collects the inbox");
                        Ok(Monitored::Done)
                    }
                    Workflow::Failed(error) => Err(self.ended_badly(folder, error).await?),
                }
            }
        }
    }

    async fn ended_badly(&self, folder: &str, error: Error) -> Result<Failure, Failure> {
        let started_at = (error.class == Class::Gone).then(UnixMillis::now);
        self.store.record_monitoring(self.account_id, folder.to_owned(), started_at, None).await?;
        // Whatever it was, the workflow is over: what is left to do is to start another, or not.
        let class = if error.class == Class::Gone { Class::Gone } else { Class::NotReady };
        Ok(Failure::Provider(Error { class, ..error }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn refused(class: Class) -> Result<Monitored, Failure> {
        Err(Failure::Provider(Error::new(class, "x")))
    }

    #[tokio::test]
    async fn a_folder_is_started_once_and_again_only_when_the_provider_denies_it() {
        let now = Instant::now();
        let mut monitors = Monitors::default();
        monitors.watch(&folders(&["st"]), &[], now);
        assert!(matches!(monitors.step(now), Some(MonitorStep::Start { .. })));
        let running = Ok(Monitored::Running {
            workflow_id: "wf".into(),
            outside_working_hours: false,
            started_at: Some(UnixMillis::now()),
        });
        monitors.take("st", &running, now);
        assert!(monitors.step(now).is_none(), "not before its pace");
        assert!(matches!(monitors.step(now + PACE), Some(MonitorStep::Status { .. })));
        monitors.take("st", &Ok(Monitored::Done), now);
        assert!(monitors.step(now + LONGEST_BETWEEN_STARTS).is_none());
        monitors.need("st");
        assert!(monitors.step(now).is_none(), "starts are ten minutes apart");
        assert!(matches!(monitors.step(now + BETWEEN_STARTS), Some(MonitorStep::Start { .. })));
    }

    #[tokio::test]
    async fn a_lost_answer_is_tried_again_and_an_inbox_that_is_not_there_is_let_be() {
        let now = Instant::now();
        let mut monitors = Monitors::default();
        monitors.watch(&folders(&["st", "nv"]), &[], now);
        monitors.take("st", &refused(Class::Transient), now);
        monitors.take("nv", &refused(Class::Gone), now);
        assert!(monitors.step(now).is_none());
        assert!(
            matches!(monitors.step(now + AFTER_LOST_ANSWER), Some(MonitorStep::Start { folder }) if folder == "st")
        );
        assert_eq!(monitors.next(), Some(now + AFTER_LOST_ANSWER));
    }

    #[tokio::test]
    async fn what_a_restart_finds_under_way_is_asked_about_and_not_started_again() {
        let now = Instant::now();
        let known = SweptFolder {
            folder: "st".into(),
            started_at: Some(UnixMillis::now()),
            workflow_id: Some("wf".into()),
            ..SweptFolder::default()
        };
        let mut monitors = Monitors::default();
        monitors.watch(&folders(&["st"]), &[known], now);
        assert!(matches!(monitors.step(now), Some(MonitorStep::Status { workflow_id, .. }) if workflow_id == "wf"));
    }
}
