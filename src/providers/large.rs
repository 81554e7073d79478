//! Answers of many megabytes: few at a time, and read away from the thread that everybody shares.
//!
//! Up to [`SMALL`] an answer is read where it is asked for. A larger one takes one of [`ROOMS`]
//! first, and keeps it until whatever is made of it is done: so all of them together have one budget
//! of memory. And the work that has met it goes on aside, on a thread of its own, so that no account
//! waits for another's answer. From [`PERILOUS`] on it is on record which one is being read.
//!
//! What a provider asks in the midst of such a work belongs to it: it is known by the task, as a
//! span of the log is.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// Largest answer that is read like any other.
const SMALL: usize = 256 << 10;

/// From this size on an answer may be what a process with little memory does not survive, and is put on record.
const PERILOUS: usize = 4 << 20;

/// Larger answers that are read at a time, in the whole process.
const ROOMS: usize = 2;

/// How many wait for one.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Somebody who waits, until it has a room or is dropped.
struct Waiting;

impl Waiting {
    fn begin() -> Self {
        WAITING.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether somebody waits for a room.
pub(super) fn others_wait() -> bool {
    WAITING.load(Ordering::Relaxed) > 0
}

static ROOM: Semaphore = Semaphore::const_new(ROOMS);

tokio::task_local! {
    static WORK: Arc<Work>;
}

/// Told of answers that are very large, so that it is on record which one was being read if the process does not survive it.
#[async_trait]
pub trait Watch: Send + Sync {
    /// A very large answer is about to be read.
    async fn begins(&self);

    /// What was made of it is done.
    async fn ends(&self);
}

/// The works of one account that have gone aside. One of them at a time has a room: an account whose provider sends its
/// answers drop by drop must leave room for others.
#[derive(Clone)]
pub struct Asides {
    /// Tells when they have ended.
    pub tracker: TaskTracker,
    turn: Arc<Semaphore>,
}

impl Default for Asides {
    fn default() -> Self {
        Self { tracker: TaskTracker::new(), turn: Arc::new(Semaphore::new(1)) }
    }
}

/// A room, and the turn of the account to have one.
type Room = (OwnedSemaphorePermit, SemaphorePermit<'static>);

/// A piece of work that may meet large answers.
struct Work {
    watch: Arc<dyn Watch>,
    turn: Arc<Semaphore>,
    /// It has met one.
    is_large: AtomicBool,
    is_on_record: AtomicBool,
    room: Mutex<Option<Room>>,
}

impl Work {
    fn has_room(&self) -> bool {
        self.room.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn keep(&self, room: Option<Room>) {
        *self.room.lock().unwrap_or_else(PoisonError::into_inner) = room;
    }
}

/// Does `work`, aside from the moment on that it meets a large answer. When this is dropped, the work ends at its next
/// wait; `asides` tells when it has ended.
pub async fn aside<F>(work: F, watch: Arc<dyn Watch>, asides: &Asides) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let met = Arc::new(Work {
        watch,
        turn: Arc::clone(&asides.turn),
        is_large: AtomicBool::new(false),
        is_on_record: AtomicBool::new(false),
        room: Mutex::default(),
    });
    let mut work = Box::pin(WORK.scope(Arc::clone(&met), work));
    let done_here = poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if met.is_large.load(Ordering::Relaxed) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    if let Some(done) = done_here.await {
        return done;
    }
    let work = async move {
        let done = work.await;
        met.keep(None);
        if met.is_on_record.load(Ordering::Relaxed) {
            met.watch.ends().await;
        }
        done
    };
    match AbortOnDropHandle::new(asides.tracker.spawn_on(work, elsewhere())).await {
        Ok(done) => done,
        // Only whoever drops this ends it, and a panic ends the process in the panic hook.
        Err(_) => std::future::pending().await,
    }
}

/// A thread for all works that go on aside. One of its own for each would be quicker and take several times the memory:
/// what a thread gives back, the allocator keeps for that thread.
fn elsewhere() -> &'static Handle {
    static ELSEWHERE: OnceLock<Handle> = OnceLock::new();
    ELSEWHERE.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("the system can wait for one more thing");
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new().name("large-answers".into());
        let started = thread.spawn(move || runtime.block_on(std::future::pending::<()>()));
        started.expect("the system can start one thread");
        handle
    })
}

/// What was made of the answers so far is done: others may have the room while this work waits for its next turn to ask.
pub fn let_go() {
    let _ = WORK.try_with(|work| work.keep(None));
}

/// A large answer has to be there so long after its room was taken: who sends it drop by drop must not keep others waiting.
pub(super) const LONGEST_READ: Duration = Duration::from_secs(30);

/// An answer, of which so many bytes were there, grows to this size. To be awaited before they are read.
/// Says until when the rest of it has to be there, from the moment on that it has a room.
pub(super) async fn grows(from: usize, to: usize) -> Option<Instant> {
    let passes = |limit: usize| (from..to).contains(&limit);
    if !passes(SMALL) && !passes(PERILOUS) {
        return None;
    }
    let work = WORK.try_with(Arc::clone).ok()?;
    // What the work has read before and not let go of is in its room.
    if passes(SMALL) && !work.has_room() {
        let waiting = Waiting::begin();
        let turn = Arc::clone(&work.turn).acquire_owned().await.expect("the turn is never closed");
        let room = ROOM.acquire().await.expect("the rooms are never closed");
        drop(waiting);
        work.keep(Some((turn, room)));
        if !work.is_large.swap(true, Ordering::Relaxed) {
            // Whoever polls this work takes it aside now.
            tokio::task::yield_now().await;
        }
    }
    if passes(PERILOUS) && !work.is_on_record.swap(true, Ordering::Relaxed) {
        work.watch.begins().await;
    }
    passes(SMALL).then(|| Instant::now() + LONGEST_READ)
}

#[cfg(test)]
mod tests {
    use std::thread::ThreadId;

    use super::*;

    #[derive(Default)]
    struct Counted {
        began: AtomicUsize,
        ended: AtomicUsize,
    }

    #[async_trait]
    impl Watch for Counted {
        async fn begins(&self) {
            self.began.fetch_add(1, Ordering::Relaxed);
        }

        async fn ends(&self) {
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn here() -> ThreadId {
        std::thread::current().id()
    }

    #[tokio::test]
    async fn work_that_meets_a_large_answer_goes_on_aside_and_is_told_of_once() {
        let (watch, asides) = (Arc::new(Counted::default()), Asides::default());
        let small = async {
            grows(0, SMALL).await;
            here()
        };
        let small = aside(small, watch.clone(), &asides).await;
        assert_eq!((small, watch.began.load(Ordering::Relaxed)), (here(), 0));
        let large = async {
            let_go();
            grows(0, PERILOUS + 1).await;
            let first = here();
            let_go();
            grows(0, PERILOUS + 1).await;
            (first, here())
        };
        let (first, second) = aside(large, watch.clone(), &asides).await;
        assert!(first != here() && second == first);
        assert_eq!((watch.began.load(Ordering::Relaxed), watch.ended.load(Ordering::Relaxed)), (1, 1));
    }

    #[tokio::test]
    async fn only_so_many_are_read_at_a_time_and_what_is_dropped_makes_room() {
        let (watch, tracker) = (Arc::new(Counted::default()), TaskTracker::new());
        let inside = Arc::new(AtomicUsize::new(0));
        let endless = |_| {
            let (inside, watch) = (Arc::clone(&inside), watch.clone());
            // Each of an account of its own.
            let asides = Asides { tracker: tracker.clone(), ..Asides::default() };
            let work = async move {
                grows(0, PERILOUS + 1).await;
                inside.fetch_add(1, Ordering::Relaxed);
                std::future::pending::<()>().await;
            };
            tokio::spawn(async move { aside(work, watch, &asides).await })
        };
        let works: Vec<_> = (0..ROOMS + 1).map(endless).collect();
        while inside.load(Ordering::Relaxed) < ROOMS {
            tokio::task::yield_now().await;
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(inside.load(Ordering::Relaxed), ROOMS);
        works[0].abort();
        works[1].abort();
        while inside.load(Ordering::Relaxed) < ROOMS + 1 {
            tokio::task::yield_now().await;
        }
        works[2].abort();
        tracker.close();
        tracker.wait().await;
        assert_eq!((watch.began.load(Ordering::Relaxed), watch.ended.load(Ordering::Relaxed)), (ROOMS + 1, 0));
    }

    #[tokio::test]
    async fn an_account_has_one_room_at_a_time_and_leaves_the_other_to_others() {
        let asides = Asides::default();
        let inside = Arc::new(AtomicUsize::new(0));
        let drips = (0..3).map(|_| {
            let (inside, asides) = (Arc::clone(&inside), asides.clone());
            let work = async move {
                grows(0, SMALL + 1).await;
                inside.fetch_add(1, Ordering::Relaxed);
                std::future::pending::<()>().await;
            };
            AbortOnDropHandle::new(tokio::spawn(
                async move { aside(work, Arc::new(Counted::default()), &asides).await },
            ))
        });
        let drips: Vec<_> = drips.collect();
        while inside.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        aside(async { grows(0, SMALL + 1).await.is_some() }, Arc::new(Counted::default()), &Asides::default()).await;
        assert_eq!(inside.load(Ordering::Relaxed), 1);
        drop(drips);
    }
}
