//! Unipile (unipile.com), API generations v2 and v1.
//!
//! They differ in what silence means. v2 asks LinkedIn live but keeps answers for an hour, so every read says that it
//! wants a fresh one and looks whether it got one. v1 reads the provider's own copy, which stands still while the
//! account is not well and is served all the same, so the account's state is watched beside every read. Facts are from
//! the vendor's documentation, its SDKs and public clients; the real service has not been called.

mod account;
mod errors;
mod meaning;
mod messages;
mod paging;
mod settings;
#[cfg(test)]
mod tests;
mod v1;
mod v2;
mod wire;

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use reqwest::Client;
use reqwest::header::{ACCEPT, CACHE_CONTROL, HeaderValue};
use secrecy::ExposeSecret;
use serde_json::Value;

use super::Profile;
use super::http::{self, Answer};
use crate::backoff::Backoff;
use settings::Version;
pub(super) use settings::{ConversationSettings, Settings};

pub(super) const PROFILE_V2: Profile = Profile {
    name: "unipile",
    // Real limits stand only in the customer's dashboard; the pace is that of public clients, the rest is inferred.
    requests_per_minute: 60,
    // Third parties ask one at a time, 250 ms apart, so that LinkedIn is not asked for several things at once.
    concurrency: 1,
    // Answers come from LinkedIn live: 5 to 15 s are normal, and public clients allow 30 s.
    timeout: Duration::from_secs(45),
    // What a public polling client of the vendor's customers uses.
    overlap: Duration::from_secs(60),
    // Documented as milliseconds; whole seconds have been seen.
    resolution: Duration::from_secs(1),
    // The vendor warns that frequent polling can disconnect an account and names no number; inferred.
    advised_min_interval: Duration::from_secs(30),
    // Inferred from the vendor's advice to retry its own 5xx.
    transient: Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(60) },
    // For LinkedIn's own limit, which may come without a wait: a back-off is at least half of this, so 15 min at least.
    throttled: Backoff { base: Duration::from_secs(1800), cap: Duration::from_secs(7200) },
};

pub(super) const PROFILE_V1: Profile = Profile {
    // Reads cost LinkedIn nothing: the vendor documents them as coming from its own copy.
    concurrency: 2,
    // v1 documents no wait beside 429; a back-off is at least half of this, so half an hour at least. Inferred.
    throttled: Backoff { base: Duration::from_secs(3600), cap: Duration::from_secs(4 * 3600) },
    ..PROFILE_V2
};

/// Everything but the characters that RFC 3986 leaves unreserved: LinkedIn's ids hold `=`, `+`, `/`, `:` and `%`, and each
/// has to arrive as one path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn encoded(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, SEGMENT)
}

/// Which answers of the cache that v2 keeps for an hour will do; v1 has none and does not mind.
const FRESH: &str = "no-cache";
const SOMEWHAT_FRESH: &str = "max-age=300";

/// One LinkedIn account at the provider, by either generation.
struct Api {
    client: Client,
    settings: Settings,
    account: account::Watch,
}

impl Api {
    fn new(settings: Settings, client: Client) -> Self {
        Self { client, settings, account: account::Watch::default() }
    }

    fn version(&self) -> Version {
        self.settings.api_version
    }

    /// Gets a path below the base, and builds what it answers.
    async fn get(&self, path: &str, query: &str, cache: &'static str) -> Result<(Answer, Value), errors::Refusal> {
        let answer = self.ask(path, query, cache).await?;
        let body = errors::body(self.version(), &answer)?;
        Ok((answer, body))
    }

    /// Asks for a path below the base. The error of anything but a success is already classed.
    async fn ask(&self, path: &str, query: &str, cache: &'static str) -> Result<Answer, errors::Refusal> {
        let mut key = HeaderValue::from_str(self.settings.api_key.expose_secret())
            .expect("the key is checked with the configuration");
        key.set_sensitive(true);
        let request = self.client.get(self.url(path, query)).header("x-api-key", key);
        let request = request.header(ACCEPT, "application/json").header(CACHE_CONTROL, cache);
        let answer = http::send(request).await?;
        errors::check(self.version(), &answer)?;
        Ok(answer)
    }

    fn url(&self, path: &str, query: &str) -> String {
        let (base, own) = self.settings.base();
        let query: Vec<_> = own.into_iter().chain([query]).filter(|part| !part.is_empty()).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{base}{path}{mark}{}", query.join("&"))
    }
}
