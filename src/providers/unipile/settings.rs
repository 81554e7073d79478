//! The keys of an account and of its conversations, named as in the provider's documentation.

use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{Api, PROFILE_V1, PROFILE_V2, v1, v2};
use crate::model::{Conversation, ConversationId, ConversationType};
use crate::providers::address::Address;
use crate::providers::settings::{OfProvider, check_base_url, header_problem};
use crate::providers::{Profile, Provider};

/// One host for every customer of API v2.
const BASE_URL_V2: &str = "https://api.unipile.com/v2";

/// The two generations of the API, both live: a customer has a key of one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Version {
    V1,
    #[default]
    V2,
}

impl Version {
    /// Its name in the configuration, and that of the other one.
    pub(super) fn and_other(self) -> (&'static str, &'static str) {
        match self {
            Self::V1 => ("v1", "v2"),
            Self::V2 => ("v2", "v1"),
        }
    }
}

/// Messages that are not a person's words, named by the field that marks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Kind {
    #[serde(rename = "is_event")]
    Event,
    #[serde(rename = "is_hidden")]
    Hidden,
    #[serde(rename = "is_deleted")]
    Deleted,
}

/// The keys of an account.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::providers) struct Settings {
    /// The generation of the API.
    #[serde(default)]
    pub(super) api_version: Version,
    /// Key of the application (v2) or of the workspace (v1).
    pub(super) api_key: SecretString,
    /// The LinkedIn account at the provider. No secret, but what its limits go by, which [`OfProvider`] wants as one.
    account_id: SecretString,
    /// Where the API answers, `/v2` or `/api/v1` included. A query after it is sent with every request: a v1 customer whose
    /// network blocks odd ports needs `?port=...`.
    #[serde(default)]
    base_url: Option<String>,
    /// The parts of the inbox to list; `None` lists every `*_PRIMARY` that is enabled, InMail, and what was archived
    /// seldom.
    #[serde(default)]
    pub(super) inboxes: Option<Vec<String>>,
    /// What is announced although it is not a person's words.
    #[serde(default)]
    pub(super) include: Vec<Kind>,
}

impl Settings {
    pub(super) fn account_id(&self) -> &str {
        self.account_id.expose_secret()
    }

    /// The base without its trailing slash, and the query that goes with every request.
    pub(super) fn base(&self) -> (&str, Option<&str>) {
        let base = self.base_url.as_deref().unwrap_or(BASE_URL_V2);
        match base.split_once('?') {
            Some((base, query)) => (base.trim_end_matches('/'), Some(query)),
            None => (base.trim_end_matches('/'), None),
        }
    }

    fn account_problem(&self) -> Option<&'static str> {
        match (self.api_version, self.account_id()) {
            (_, "") => Some("is empty"),
            (Version::V2, id) if id.strip_prefix("acc_").is_none_or(str::is_empty) => {
                Some("must look like acc_...; an id of another form belongs to api_version = \"v1\"")
            }
            _ => None,
        }
    }

    fn base_url_problem(&self) -> Option<String> {
        match (self.api_version, self.base_url.as_deref()) {
            (Version::V1, None) => {
                let example = "https://api1.unipile.com:13111/api/v1";
                Some(format!("is missing; with api_version = \"v1\" it is your own host and port, such as {example}"))
            }
            (_, Some(url)) => check_base_url(url).map(|(_, problem)| problem),
            (Version::V2, None) => None,
        }
    }

    fn inboxes_problem(&self) -> Option<&'static str> {
        let inboxes = self.inboxes.as_deref()?;
        if self.api_version == Version::V1 {
            return Some("API v1 has no inboxes; leave it out");
        }
        let is_useless = inboxes.is_empty() || inboxes.iter().any(String::is_empty);
        is_useless.then_some("names no inbox; leave it out to list every *_PRIMARY that is enabled, and InMail")
    }
}

impl OfProvider for Settings {
    fn profile(&self) -> &'static Profile {
        match self.api_version {
            Version::V1 => &PROFILE_V1,
            Version::V2 => &PROFILE_V2,
        }
    }

    fn secrets(&self) -> Vec<SecretString> {
        vec![self.api_key.clone()]
    }

    /// Limits are documented as "per account, per method".
    fn address(&self) -> &str {
        self.base_url.as_deref().unwrap_or(BASE_URL_V2)
    }

    fn limited_by(&self) -> &SecretString {
        &self.account_id
    }

    fn named(&self, text: &str) -> Result<Conversation, String> {
        ConversationSettings { chat_id: text.into() }.conversation(self)
    }

    fn build(&self, client: Client) -> Box<dyn Provider> {
        let api = Api::new(self.clone(), client);
        match self.api_version {
            Version::V1 => Box::new(v1::V1(api)),
            Version::V2 => Box::new(v2::V2::new(api)),
        }
    }

    fn problem(&self) -> Option<(&'static str, String)> {
        self.account_problem()
            .map(|problem| ("account_id", problem.into()))
            .or_else(|| header_problem(&self.api_key).map(|problem| ("api_key", problem.into())))
            .or_else(|| self.base_url_problem().map(|problem| ("base_url", problem)))
            .or_else(|| self.inboxes_problem().map(|problem| ("inboxes", problem.into())))
    }
}

/// What the ids of chats of Sales Navigator begin with in API v2.
const SALES_NAVIGATOR: &str = "SALES_NAVIGATOR_";

/// The keys of a conversation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::providers) struct ConversationSettings {
    chat_id: String,
}

impl ConversationSettings {
    pub(in crate::providers) fn conversation(self, account: &Settings) -> Result<Conversation, String> {
        match (Address::of(&self.chat_id), account.api_version) {
            (Address::Word(id), _) if id.is_empty() => Err("chat_id: is empty".into()),
            (Address::Word(id), Version::V1) => Ok(chat(&id, ConversationType::Unknown)),
            (Address::Word(id), Version::V2) => Ok(chat_of(&id, ConversationType::Unknown)),
            (Address::Thread(id), Version::V2) => Ok(chat_of(&id, ConversationType::Unknown)),
            (Address::SalesThread(id), Version::V2) => {
                Ok(chat_of(&format!("{SALES_NAVIGATOR}{id}"), ConversationType::Unknown))
            }
            (Address::Thread(_) | Address::SalesThread(_), Version::V1) => Err(
                "chat_id: is an address at LinkedIn, and API v1 has ids of its own for chats; with discover = true \
                     \"inboxd conversations list\" shows them"
                    .into(),
            ),
            (other, Version::V2) => Err(format!("chat_id: {}", other.no_thread())),
            (other, Version::V1) => Err(format!("chat_id: {}", other.no_thread().replace("the address or ", ""))),
        }
    }
}

/// A chat of v2 by its id, which tells the LinkedIn product unless it is a plain `2-…`: that is said to be a classic
/// one, and believed where nothing else is known.
pub(super) fn chat_of(id: &str, listed_as: ConversationType) -> Conversation {
    let product = match (id.split_once("2-"), listed_as) {
        (Some(("SALES_NAVIGATOR_", _)), _) => ConversationType::SalesNavigator,
        (Some(("RECRUITER_", _)), _) => ConversationType::Recruiter,
        (Some((of, _)), _) if is_company(of) => ConversationType::CompanyPage,
        (Some(("", _)), ConversationType::Unknown) => ConversationType::Standard,
        _ => listed_as,
    };
    chat(id, product)
}

/// `COMPANY_1001_`
fn is_company(prefix: &str) -> bool {
    let number = prefix.strip_prefix("COMPANY_").and_then(|rest| rest.strip_suffix('_'));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

/// A chat by its id. Those of v1 are opaque: nothing in one tells the LinkedIn product.
pub(super) fn chat(id: &str, kind: ConversationType) -> Conversation {
    Conversation { id: ConversationId::new(id), address: id.to_owned(), kind, person_url: None }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Settings with these keys beside a key and an account.
    pub(in crate::providers::unipile) fn with(more: Value) -> Settings {
        let mut keys = json!({ "api_key": "k_demo", "account_id": "acc_7h2" });
        keys.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
        serde_json::from_value(keys).unwrap()
    }

    #[test]
    fn what_cannot_work_is_told_by_its_key() {
        let problem = |keys: Value| with(keys).problem().map(|(key, _)| key);
        assert_eq!(problem(json!({})), None);
        assert_eq!(problem(json!({ "account_id": "dfXlh46vQYCsMbVarumWlg" })), Some("account_id"));
        assert_eq!(problem(json!({ "account_id": "acc_" })), Some("account_id"));
        assert_eq!(problem(json!({ "api_key": "two\nlines" })), Some("api_key"));
        assert_eq!(problem(json!({ "base_url": "api.unipile.com" })), Some("base_url"));
        assert_eq!(problem(json!({ "inboxes": [] })), Some("inboxes"));
        let v1 = |more: Value| {
            let mut keys = json!({ "api_version": "v1", "account_id": "dfXlh46vQYCsMbVarumWlg" });
            keys.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
            problem(keys)
        };
        assert_eq!(v1(json!({})), Some("base_url"));
        let base_url = "https://api1.unipile.com:13111/api/v1";
        assert_eq!(v1(json!({ "base_url": base_url })), None);
        assert_eq!(v1(json!({ "base_url": base_url, "inboxes": ["CLASSIC_PRIMARY"] })), Some("inboxes"));
    }

    #[test]
    fn the_id_of_a_chat_of_v2_tells_its_product_before_the_inbox_does() {
        use ConversationType::{CompanyPage, Recruiter, SalesNavigator, Standard, Unknown};
        for (id, listed_as, product) in [
            ("SALES_NAVIGATOR_2-QQ==", Standard, SalesNavigator),
            ("RECRUITER_2-QQ==", Unknown, Recruiter),
            ("COMPANY_1001_2-QQ==", Standard, CompanyPage),
            ("2-QQ==", Unknown, Standard),
            ("2-QQ==", Recruiter, Recruiter),
            ("2-Q2-Q", Unknown, Standard),
            ("COMPANY__2-QQ==", Unknown, Unknown),
            ("SOMETHING_NEW_2-QQ==", SalesNavigator, SalesNavigator),
            ("opaque", Unknown, Unknown),
        ] {
            assert_eq!(chat_of(id, listed_as).kind, product, "{id} in {listed_as:?}");
        }
        let v1 = with(json!({ "api_version": "v1", "account_id": "dfX" }));
        assert_eq!(v1.named("2-looks-like-one").unwrap().kind, Unknown);
    }

    #[test]
    fn a_port_in_the_query_of_the_base_is_kept_apart() {
        let base_url = "https://api1.unipile.com/api/v1/?port=13111";
        assert_eq!(
            with(json!({ "base_url": base_url })).base(),
            ("https://api1.unipile.com/api/v1", Some("port=13111"))
        );
        assert_eq!(with(json!({})).base(), (BASE_URL_V2, None));
    }

    #[test]
    fn an_address_of_the_browser_names_the_chat_where_the_api_has_the_ids_of_linkedin() {
        let (v2, v1) = (with(json!({})), with(json!({ "api_version": "v1" })));
        let thread = "https://de.linkedin.com/messaging/thread/2-QWxwaGE%3D/";
        assert_eq!(v2.named(thread).unwrap().id.as_str(), "2-QWxwaGE=");
        let of_sales = v2.named("https://www.linkedin.com/sales/inbox/2-S/").unwrap();
        assert_eq!(of_sales.id.as_str(), "SALES_NAVIGATOR_2-S");
        assert!(v1.named(thread).unwrap_err().contains("API v1 has ids of its own"));
        for account in [v1, v2] {
            assert_eq!(account.named(" WJ8sI1d7 ").unwrap().id.as_str(), "WJ8sI1d7");
            let person = account.named("https://www.linkedin.com/in/ada").unwrap_err();
            assert!(person.starts_with("chat_id: is the address of a person"), "{person}");
        }
    }

    #[test]
    fn unknown_keys_and_kinds_are_refused() {
        let read = |keys: Value| serde_json::from_value::<Settings>(keys).is_ok();
        assert!(read(json!({ "api_key": "k", "account_id": "acc_1", "include": ["is_event", "is_deleted"] })));
        assert!(!read(json!({ "api_key": "k", "account_id": "acc_1", "include": ["is_seen"] })));
        assert!(!read(json!({ "api_key": "k", "account_id": "acc_1", "dsn": "x" })));
        assert!(!read(json!({ "api_key": "k", "account_id": "acc_1", "api_version": "v3" })));
    }
}
