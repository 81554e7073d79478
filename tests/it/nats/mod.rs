//! NATS sinks against a real server with JetStream.

mod daemon;
mod login;
mod sink;
