//! NATS sinks against a real server with JetStream.

mod daemon;
mod hostile;
mod login;
mod sink;
