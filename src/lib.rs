//! inboxd
pub mod backoff;
pub mod model;
pub mod simulator;
pub mod time;
