//! inboxd
pub mod backoff;
pub mod dispatcher;
pub mod model;
pub mod providers;
pub mod scheduler;
pub mod settings;
pub mod sinks;
pub mod status;
pub mod store;
pub mod time;

