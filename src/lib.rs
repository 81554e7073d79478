//! inboxd
pub mod backoff;
pub mod model;
pub mod store;
pub mod time;
