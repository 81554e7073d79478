//! inboxd watches LinkedIn conversations through the messaging APIs people already pay for, and hands every new
//! message, once, to the places they choose.
//!
//! ```text
//! config -> scheduler -> providers -> store -> dispatcher -> sinks
//!             (when)      (what)    (once, kept)  (to whom)
//! ```
//!
//! The [`scheduler`] knows when each conversation is due and asks its [provider](providers) for the messages since the
//! watermark. The [`store`] records what is new in one transaction: the messages, one delivery for every sink, and the
//! watermark. Which events a sink wants its [`filter`] says. Everything after that commit is only retry: the [`dispatcher`] claims deliveries and gives them to
//! [`sinks`] until each is delivered or dead. [`daemon`] builds these parts from the [`config`] and stops them in
//! order, and [`connect`] is what providers and sinks share of reaching far places; what any of them is told goes through a
//! [`mask`] that takes our own secrets out. [`cli`] is what a person sees. [`simulator`] is a provider made of scripted conversations, for `demo`,
//! `simulate` and the tests. `fuzzing` has what the fuzzer tries. [`plan`] runs the scheduler's rule in virtual time, to say what it costs.

pub mod backoff;
pub mod calendar;
pub mod cli;
pub mod config;
pub mod connect;
pub mod daemon;
pub mod dispatcher;
pub mod filter;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod mask;
pub mod model;
pub mod ops;
pub mod ownership;
pub mod plan;
pub mod providers;
pub mod scheduler;
pub mod settings;
pub mod simulator;
pub mod sinks;
pub mod status;
pub mod store;
pub mod time;
