//! The settings of an account, by its provider: what each provider must tell of them, and the one place that lists them.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Map;

use super::redact::Redacted;
use super::{Profile, Provider, TlsError, connectsafely, http, linkedapi, linkup, unipile};
use crate::connect::{Network, Proxy, Trust, TrustError, is_in_the_open};
use crate::mask::Mask;
use crate::model::{Conversation, ConversationId};
use crate::settings::Read;

/// What an account's settings tell, whatever the provider.
pub(super) trait OfProvider {
    /// What the contract recommends.
    fn profile(&self) -> &'static Profile;

    /// Every credential, so that none is ever shown.
    fn secrets(&self) -> Vec<SecretString>;

    /// Where the API answers, as the configuration has it or as it is known.
    fn address(&self) -> &str;

    /// The credential by which the provider limits requests.
    fn limited_by(&self) -> &SecretString;

    /// What is wrong with the settings, where it can be told without asking: key and problem.
    fn problem(&self) -> Option<(&'static str, String)>;

    /// The most that one request for a page or a listing can cost, in the provider's credits; 0 where reading is free.
    fn price(&self) -> u32 {
        0
    }

    /// Conversations that may share one request.
    fn batch_size(&self) -> usize {
        1
    }

    /// By which road of the provider messages are read, where it has several whose ids may differ; empty: the usual one.
    fn channel(&self) -> &'static str {
        ""
    }

    /// The inbox is listed although conversations are: it tells which of them moved.
    fn sweeps_listed(&self) -> bool {
        false
    }

    /// Why an account that discovers, or one that does not, cannot follow this conversation: the inbox would have it
    /// under another id.
    fn misplaced(&self, _conversation: &Conversation, _discover: bool) -> Option<&'static str> {
        None
    }

    /// What an account leaves unread although a person might expect it: key and advice.
    fn unread(&self, _discover: bool) -> Option<(&'static str, String)> {
        None
    }

    /// The conversation that a person names in one word, as `conversations follow` takes it.
    fn named(&self, text: &str) -> Result<Conversation, String>;

    /// The id that earlier releases made of the same address, where it was another one.
    fn former_id(&self, _conversation: &Conversation) -> Option<ConversationId> {
        None
    }

    /// Builds the provider, which asks through this client.
    fn build(&self, client: Client) -> Box<dyn Provider>;
}

/// The settings of one account.
#[derive(Clone, Debug)]
pub struct Settings {
    of: Own,
    road: Road,
}

/// The road to the provider: the keys that every account may have, beside those that the configuration keeps for itself.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Road {
    #[serde(default)]
    pub(super) proxy: Option<Proxy>,
    /// Credentials may go in clear text over the open network.
    #[serde(default)]
    insecure: bool,
    /// Which addresses may be connected to: those of the proxy, where there is one, else those of the provider.
    #[serde(default)]
    pub(super) network: Option<Network>,
    /// Whom TLS trusts, and who we are.
    #[serde(default)]
    pub(super) tls: Trust,
}

/// Names of [`Road`].
pub const COMMON_KEYS: &[&str] = &["proxy", "insecure", "network", "tls"];

/// The keys of each provider.
#[derive(Clone, Debug)]
enum Own {
    /// linkedapi.io
    LinkedApi(linkedapi::Settings),
    /// connectsafely.ai
    ConnectSafely(connectsafely::Settings),
    /// linkupapi.com
    Linkup(linkup::Settings),
    /// unipile.com
    Unipile(unipile::Settings),
}

/// Names that `provider =` takes.
pub const NAMES: &[&str] = &["linkedapi", "connectsafely", "linkup", "unipile"];

impl Road {
    /// What is wrong with it for this address of the provider.
    fn problem(&self, url: &reqwest::Url) -> Option<(&'static str, String)> {
        let refused = |key, url| {
            let refusal = self.network.as_ref()?.check_host(url).err()?;
            Some((key, format!("names an address, and {refusal}")))
        };
        let proxy = match self.proxy.as_ref().map(|proxy| proxy.through().and(proxy.url())) {
            Some(Err(error)) => return Some(("proxy", error.to_string())),
            Some(Ok(url)) => Some(url),
            None => None,
        };
        let clear_text = || {
            (!self.insecure && is_in_the_open(url)).then(|| {
                let message = "would send the credentials in clear text over the open network; write https://, or where \
                               that cannot be, insecure = true beside it";
                ("base_url", message.to_owned())
            })
        };
        let tls = || {
            let TrustError { key, message } = self.tls.problem(url.scheme() == "https").err()?;
            Some((key, message.to_owned()))
        };
        let reached = || proxy.as_ref().map_or_else(|| refused("base_url", url), |proxy| refused("proxy", proxy));
        let both = (!self.tls.is_of_the_system() && proxy.as_ref().is_some_and(|url| url.scheme() == "https"))
            .then(|| ("tls", TrustError::WITH_PROXY.to_owned()));
        reached().or_else(clear_text).or_else(tls).or(both)
    }
}

impl Own {
    fn read<R: Read>(provider: &str, reader: &R, table: serde_json::Value) -> Option<Result<Self, R::Error>> {
        Some(match provider {
            "linkedapi" => reader.read(table).map(Self::LinkedApi),
            "connectsafely" => reader.read(table).map(Self::ConnectSafely),
            "linkup" => reader.read(table).map(Self::Linkup),
            "unipile" => reader.read(table).map(Self::Unipile),
            _ => return None,
        })
    }
}

impl Settings {
    /// Reads the keys of an account; `None` for an unknown provider.
    pub fn read<R: Read>(provider: &str, reader: &R, mut table: serde_json::Value) -> Option<Result<Self, R::Error>> {
        let own = table.as_object_mut();
        let common: Map<_, _> =
            own.into_iter().flat_map(|own| COMMON_KEYS.iter().filter_map(|&name| own.remove_entry(name))).collect();
        let of = Own::read(provider, reader, table)?;
        let road = reader.read::<Road>(common.into());
        Some(of.and_then(|of| road.map(|road| Self { of, road })))
    }

    /// Reads the provider's own keys of one conversation. The inner error says what is wrong with a value.
    pub fn conversation<R: Read>(
        &self,
        reader: &R,
        table: serde_json::Value,
    ) -> Result<Result<Conversation, String>, R::Error> {
        Ok(match &self.of {
            Own::LinkedApi(_) => reader.read::<linkedapi::ConversationSettings>(table)?.conversation(),
            Own::ConnectSafely(_) => reader.read::<connectsafely::ConversationSettings>(table)?.conversation(),
            Own::Linkup(account) => reader.read::<linkup::ConversationSettings>(table)?.conversation(account),
            Own::Unipile(account) => reader.read::<unipile::ConversationSettings>(table)?.conversation(account),
        })
    }

    fn of_provider(&self) -> &dyn OfProvider {
        match &self.of {
            Own::LinkedApi(settings) => settings,
            Own::ConnectSafely(settings) => settings,
            Own::Linkup(settings) => settings,
            Own::Unipile(settings) => settings,
        }
    }

    /// The conversation that a person names in one word: its address at the provider, or its id in events.
    pub fn named(&self, text: &str) -> Result<Conversation, String> {
        self.of_provider().named(text)
    }

    /// The id that earlier releases gave a conversation of the configuration, where it was another one: what the store
    /// knows by it is known of this one.
    pub fn former_id(&self, conversation: &Conversation) -> Option<ConversationId> {
        self.of_provider().former_id(conversation).filter(|former| *former != conversation.id)
    }

    /// What the contract recommends.
    pub fn profile(&self) -> &'static Profile {
        self.of_provider().profile()
    }

    /// The most that one request for a page or a listing can cost, in the provider's credits; 0 where reading is free.
    pub fn price(&self) -> u32 {
        self.of_provider().price()
    }

    /// Conversations that may share one request.
    pub fn batch_size(&self) -> usize {
        self.of_provider().batch_size().max(1)
    }

    /// By which road of the provider messages are read, empty for the usual one; the ids of two roads may differ.
    pub fn channel(&self) -> &'static str {
        self.of_provider().channel()
    }

    /// The inbox is listed although conversations are: it tells which of them moved.
    pub fn sweeps_listed(&self) -> bool {
        self.of_provider().sweeps_listed()
    }

    /// What the provider and the proxy are sent that nobody is to see again.
    pub fn mask(&self) -> Mask {
        let mut on_the_way: Vec<_> = self.road.proxy.iter().flat_map(Proxy::secrets).collect();
        on_the_way.extend(self.road.tls.secrets());
        Mask::default().and_all(self.of_provider().secrets().iter().chain(&on_the_way))
    }

    /// What accounts with the same rate limit have in common: the provider limits by it, not by account.
    pub fn budget_key(&self) -> String {
        format!("{} {}", self.profile().name, self.of_provider().limited_by().expose_secret())
    }

    /// What is wrong with the settings, where it can be told without asking: key and problem.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        self.of_provider().problem().or_else(|| {
            let url = reqwest::Url::parse(self.of_provider().address()).ok()?;
            self.road.problem(&url)
        })
    }

    /// What an account leaves unread although a person might expect it: key and advice.
    pub fn unread(&self, discover: bool) -> Option<(&'static str, String)> {
        self.of_provider().unread(discover)
    }

    /// Why an account that discovers, or one that does not, cannot follow this conversation.
    pub fn misplaced(&self, conversation: &Conversation, discover: bool) -> Option<&'static str> {
        self.of_provider().misplaced(conversation, discover)
    }
}

/// Builds the provider of an account. Its errors have no word of its own secrets in them, nor of those in `inserted`.
pub fn build(settings: &Settings, timeout: Duration, inserted: &Mask) -> Result<Arc<dyn Provider>, TlsError> {
    http::client(timeout, &settings.road).map(|client| build_with(settings, client, inserted))
}

/// Builds the provider of an account, which asks through this client.
pub(super) fn build_with(settings: &Settings, client: Client, inserted: &Mask) -> Arc<dyn Provider> {
    let of_provider = settings.of_provider();
    let mask = settings.mask().and_of(inserted);
    Arc::new(Redacted { secrets: of_provider.secrets(), mask, inner: of_provider.build(client) })
}

/// What keeps a credential from being sent in a header.
pub(super) fn header_problem(credential: &SecretString) -> Option<&'static str> {
    let credential = credential.expose_secret();
    if credential.is_empty() {
        return Some("is empty");
    }
    let sendable = reqwest::header::HeaderValue::from_str(credential).is_ok();
    (!sendable).then_some("has characters that no HTTP header can carry, such as a line break")
}

/// A base URL without its trailing slash; an error names what is wrong without repeating the value.
pub(super) fn check_base_url(url: &str) -> Option<(&'static str, String)> {
    let problem = match reqwest::Url::parse(url) {
        Err(_) => "is not a URL, which begins with https:// or http://",
        Ok(url) if !matches!(url.scheme(), "http" | "https") => "must begin with https:// or http://",
        Ok(url) if !url.username().is_empty() || url.password().is_some() => "must not contain a user name or password",
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            "must end with its path; remove what begins with ? or #, the paths of the API are put behind it"
        }
        Ok(_) => return None,
    };
    Some(("base_url", problem.into()))
}
