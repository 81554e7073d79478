//! What the sinks are owed: above a sink's mark polling is held, so that neither disk nor memory fills while it is out;
//! nothing is dropped. Below the low mark polling goes on.

use std::time::Duration;

use crate::status::{Hold, HoldReason};
use crate::store::{Error, SinkId, Store};

/// A sink that messages are owed to.
pub struct Watched {
    /// Its row.
    pub id: SinkId,
    /// Its name.
    pub name: String,
    /// Polling is held above this and released at three quarters of it.
    pub max_pending: u64,
}

/// Between two looks while new deliveries are recorded.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between two looks otherwise.
const LOOK_AT_LEAST: Duration = Duration::from_secs(1);

/// Looks when deliveries are recorded, and every second, until the store is closed.
pub async fn keep_looking(sinks: Vec<Watched>, store: Store, hold: Hold) {
    let mut above = None;
    loop {
        let mut news = std::pin::pin!(store.deliveries().notified());
        news.as_mut().enable();
        match look(&sinks, &store, above).await {
            Ok(now_above) => {
                tell(&sinks, above, now_above);
                above = now_above;
                hold.set(HoldReason::Backlog, above.is_some());
            }
            Err(Error::Closed) => return,
            Err(error) => tracing::warn!(class = "storage", %error, "what is pending could not be counted"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
        drop(tokio::time::timeout(LOOK_AT_LEAST, news).await);
    }
}

/// Looks once, for a single round; says so when polling is held.
pub async fn look_once(sinks: &[Watched], store: &Store, hold: &Hold) -> Result<(), Error> {
    let above = look(sinks, store, None).await?;
    tell(sinks, None, above);
    hold.set(HoldReason::Backlog, above.is_some());
    Ok(())
}

/// The first sink that is owed too much: one that is has to come below its low mark first.
async fn look(sinks: &[Watched], store: &Store, above: Option<usize>) -> Result<Option<usize>, Error> {
    for (position, sink) in sinks.iter().enumerate() {
        let mark = if above == Some(position) { low_mark(sink.max_pending) } else { sink.max_pending };
        if store.count_pending(sink.id).await? > mark {
            return Ok(Some(position));
        }
    }
    Ok(None)
}

fn low_mark(max_pending: u64) -> u64 {
    max_pending / 4 * 3
}

fn tell(sinks: &[Watched], before: Option<usize>, now: Option<usize>) {
    match (before, now) {
        (before, Some(now)) if before != Some(now) => {
            let Watched { name, max_pending, .. } = &sinks[now];
            tracing::error!(
                sink = name,
                "more than max_pending ({max_pending}) deliveries are pending: polling waits until \
                they are {} or fewer; delivery goes on",
                low_mark(*max_pending)
            );
        }
        (Some(before), None) => tracing::info!(sink = sinks[before].name, "the backlog is worked off: polling goes on"),
        _ => {}
    }
}
