//! What providers and sinks have in common where they connect to something far away: the way through a proxy, what goes in clear text, and words for
//! a certificate that is refused.

mod clear;
mod network;
mod proxy;
mod tls;
mod trust;

pub use clear::is_in_the_open;
pub use network::{Network, Refusal, Resolver};
pub use proxy::{Proxy, ProxyError};
pub use tls::in_words;
pub use trust::{Trust, TrustError};
