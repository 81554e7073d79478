//! inboxd
pub mod backoff;
pub mod model;
pub mod time;
