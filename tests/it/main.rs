//! The daemon from outside: real processes, real sockets, real files. One binary, so that it links once.

mod support;

mod architecture;
mod cli;
mod config_files;
mod crash_recovery;
mod linkedapi_upkeep;
mod poll_to_sink;
mod provider_contract;
mod secrets;
mod shutdown;
mod sink_contract;
mod store_files;
