//! What providers and sinks have in common where they connect to something far away: the way through a proxy, and words for
//! a certificate that is refused.

mod proxy;
mod tls;

pub use proxy::{Proxy, ProxyError};
pub use tls::in_words;
