//! What a schedule costs and how late it finds messages: the scheduler's own rule, and what it is compared with, in virtual
//! time over messages of the past.

pub mod plot;
mod policy;
mod rehearse;
mod simulate;
mod trace;

pub use policy::{Bounds, Policy};
pub use rehearse::{Conversation, Credits, Rehearsal, Rehearsed, Sweeps};
pub use simulate::{Outcome, tuned};
pub use trace::{Error, Trace};
