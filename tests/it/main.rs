//! The daemon from outside: real processes, real sockets, real files. One binary, so that it links once.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(clippy::print_stdout, reason = "a skipped test says so")]

mod support;

mod architecture;
mod budgets;
mod certificates;
mod changes;
mod check_online;
mod cli;
mod config_files;
mod conversations;
mod coverage;
mod crash_recovery;
mod credits;
mod deliveries;
mod directions;
mod discovery;
mod discovery_edges;
mod erase;
mod event_schema;
mod exec_sink;
mod file_sink;
mod history;
mod http_presets;
mod http_sink;
mod kills;
mod large_answers;
mod lifecycle;
mod linkedapi_upkeep;
mod linkup;
mod nats;
mod network_rule;
mod parking;
mod plan;
mod poll_to_sink;
mod provider_contract;
mod refusals;
mod secrets;
mod shutdown;
mod sink_contract;
mod store_files;
mod sweeps;
mod unipile;
mod unreadable;
mod upgrade;
