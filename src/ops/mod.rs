//! What keeps the daemon operable: logging, signals, systemd, free disk space.

pub mod logging;
pub mod signals;
pub mod space;
pub mod systemd;
