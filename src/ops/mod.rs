//! What keeps the daemon operable: logging, signals, commands, systemd, free disk space, backlog.

pub mod backlog;
pub mod control;
pub mod hardening;
pub mod logging;
pub mod signals;
pub mod space;
pub mod systemd;
