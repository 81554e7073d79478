//! The keys of an account and of its conversations. The two generations of the API take different ones, and a key of
//! the wrong one is an error: it would do nothing, and whoever wrote it believes otherwise.

use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{Linkup, PROFILE, person};
use crate::model::{Conversation, ConversationId, ConversationType};
use crate::providers::address::Address;
use crate::providers::settings::{OfProvider, check_base_url, header_problem};
use crate::providers::{Profile, Provider, urn};

/// Where a LinkedIn session may leave for the internet, as the vendor's documentation lists it.
const COUNTRIES: [&str; 11] = ["US", "UK", "FR", "DE", "NL", "IT", "IL", "CA", "BR", "ES", "IN"];

/// The documented default of the service.
const DEFAULT_COUNTRY: &str = "FR";

/// One credit buys up to ten results.
const DEFAULT_PAGE_SIZE: u32 = 10;

/// What public clients ask for at most; no limit is documented.
const LARGEST_PAGE: u32 = 50;

/// A generation of the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ApiVersion {
    /// Every request carries the LinkedIn session; announced for deprecation, still served.
    V1,
    /// The vendor keeps the session.
    #[default]
    V2,
}

impl ApiVersion {
    fn other(self) -> Self {
        if self == Self::V1 { Self::V2 } else { Self::V1 }
    }

    fn as_str(self) -> &'static str {
        if self == Self::V1 { "v1" } else { "v2" }
    }
}

/// The keys of an account, named as in the provider's documentation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::providers) struct Settings {
    /// Which generation of the API is spoken.
    #[serde(default)]
    pub(super) api_version: ApiVersion,
    /// Key of the customer.
    pub(super) api_key: SecretString,
    /// v1: the LinkedIn session, as the vendor's login returned it.
    #[serde(default)]
    pub(super) login_token: Option<SecretString>,
    /// v1: the country that the session was begun from; LinkedIn drops sessions that move.
    #[serde(default)]
    country: Option<String>,
    /// v2: the LinkedIn account at the vendor.
    #[serde(default)]
    pub(super) account_id: Option<String>,
    /// Where the API answers, `/v1` or `/v2` included.
    #[serde(default)]
    base_url: Option<String>,
    /// v1: results on a page.
    #[serde(default, deserialize_with = "crate::settings::optional_count")]
    total_results: Option<u32>,
    /// v2: results on a page.
    #[serde(default, deserialize_with = "crate::settings::optional_count")]
    count: Option<u32>,
    /// v2: read the Sales Navigator inbox instead of the ordinary one.
    #[serde(default)]
    sales_nav: Option<bool>,
    /// The owner's name as LinkedIn shows it: where senders have a name and nothing else, it tells who wrote.
    #[serde(default)]
    pub(super) owner_name: Option<String>,
    /// Types of messages that are announced although no person wrote them, such as `SYSTEM`.
    #[serde(default)]
    pub(super) include: Vec<String>,
}

impl Settings {
    pub(super) fn page_size(&self) -> u32 {
        self.total_results.or(self.count).unwrap_or(DEFAULT_PAGE_SIZE)
    }

    pub(super) fn country(&self) -> &str {
        self.country.as_deref().unwrap_or(DEFAULT_COUNTRY)
    }

    pub(super) fn sales_nav(&self) -> bool {
        self.sales_nav.unwrap_or(false)
    }

    pub(super) fn base_url(&self) -> &str {
        let of_version = match self.api_version {
            ApiVersion::V1 => "https://api.linkupapi.com/v1",
            ApiVersion::V2 => "https://api.linkupapi.com/v2",
        };
        self.base_url.as_deref().unwrap_or(of_version).trim_end_matches('/')
    }

    /// The LinkedIn product that the account's conversations belong to.
    pub(super) fn kind(&self) -> ConversationType {
        if self.sales_nav() { ConversationType::SalesNavigator } else { ConversationType::Standard }
    }

    /// A key that only the other generation takes.
    fn foreign_key(&self) -> Option<&'static str> {
        let foreign = match self.api_version {
            ApiVersion::V1 => [
                ("account_id", self.account_id.is_some()),
                ("count", self.count.is_some()),
                ("sales_nav", self.sales_nav.is_some()),
            ],
            ApiVersion::V2 => [
                ("login_token", self.login_token.is_some()),
                ("country", self.country.is_some()),
                ("total_results", self.total_results.is_some()),
            ],
        };
        foreign.into_iter().find(|(_, present)| *present).map(|(key, _)| key)
    }

    fn session_problem(&self) -> Option<(&'static str, String)> {
        let (key, value) = match self.api_version {
            ApiVersion::V1 => ("login_token", self.login_token.as_ref().map(ExposeSecret::expose_secret)),
            ApiVersion::V2 => ("account_id", self.account_id.as_deref()),
        };
        let problem = match value {
            None => format!("is missing; api_version = \"{}\" needs it", self.api_version.as_str()),
            Some("") => "is empty".into(),
            Some(value) if value.contains(|c: char| c.is_control() || c == ' ') => "has a space or a line break".into(),
            Some(_) => return None,
        };
        Some((key, problem))
    }

    fn country_problem(&self) -> Option<(&'static str, String)> {
        let problem = match self.country() {
            country if COUNTRIES.contains(&country) => return None,
            "GB" => "must be \"UK\": the provider's name for it, as it has \"US\"".into(),
            _ => format!("must be one of {}", COUNTRIES.join(", ")),
        };
        Some(("country", problem))
    }

    fn page_size_problem(&self) -> Option<(&'static str, String)> {
        let key = if self.api_version == ApiVersion::V1 { "total_results" } else { "count" };
        let allowed = (1..=LARGEST_PAGE).contains(&self.page_size());
        (!allowed).then(|| (key, format!("must be 1 to {LARGEST_PAGE}")))
    }

    fn owner_name_problem(&self) -> Option<(&'static str, String)> {
        // It would make the owner's own messages somebody else's.
        let empty = self.owner_name.as_deref().is_some_and(|name| name.trim().is_empty());
        empty.then(|| ("owner_name", "is empty; leave it out instead".into()))
    }

    fn base_url_problem(&self) -> Option<(&'static str, String)> {
        let (own, other) = (self.api_version.as_str(), self.api_version.other().as_str());
        if self.base_url().ends_with(&format!("/{other}")) {
            return Some(("base_url", format!("ends in /{other}, but api_version is \"{own}\"")));
        }
        check_base_url(self.base_url())
    }
}

impl OfProvider for Settings {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn price(&self) -> u32 {
        self.page_size().div_ceil(super::RESULTS_PER_CREDIT).max(1)
    }

    fn secrets(&self) -> Vec<SecretString> {
        [Some(self.api_key.clone()), self.login_token.clone()].into_iter().flatten().collect()
    }

    fn address(&self) -> &str {
        self.base_url()
    }

    fn limited_by(&self) -> &SecretString {
        &self.api_key
    }

    fn problem(&self) -> Option<(&'static str, String)> {
        if let Some(key) = self.foreign_key() {
            let (own, other) = (self.api_version.as_str(), self.api_version.other().as_str());
            return Some((key, format!("belongs to api_version = \"{other}\", and this account has \"{own}\"")));
        }
        header_problem(&self.api_key)
            .map(|problem| ("api_key", problem.into()))
            .or_else(|| self.session_problem())
            .or_else(|| self.country_problem())
            .or_else(|| self.page_size_problem())
            .or_else(|| self.owner_name_problem())
            .or_else(|| self.base_url_problem())
    }

    /// LinkedIn's ids were written in small letters, but for one kind, and every part of an address was kept.
    fn former_id(&self, conversation: &Conversation) -> Option<ConversationId> {
        let former = is_profile(&conversation.address).then(|| person::former_profile_url(&conversation.address))??;
        Some(ConversationId::new(former))
    }

    fn misplaced(&self, conversation: &Conversation, discover: bool) -> Option<&'static str> {
        (discover && is_profile(&conversation.address)).then_some(
            "is named by linkedin_url, and discovery would follow it a second time under its conversation_id; name it \
             by conversation_id, or leave it to discovery",
        )
    }

    fn named(&self, text: &str) -> Result<Conversation, String> {
        let settings = match Address::of(text) {
            Address::Word(_) | Address::Thread(_) | Address::SalesThread(_) => {
                ConversationSettings { conversation_id: Some(text.to_owned()), linkedin_url: None }
            }
            _ => ConversationSettings { conversation_id: None, linkedin_url: Some(text.to_owned()) },
        };
        settings.conversation(self)
    }

    fn build(&self, client: Client) -> Box<dyn Provider> {
        Box::new(Linkup::new(self.clone(), client))
    }
}

/// The keys of a conversation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::providers) struct ConversationSettings {
    #[serde(default)]
    conversation_id: Option<String>,
    #[serde(default)]
    linkedin_url: Option<String>,
}

impl ConversationSettings {
    pub(in crate::providers) fn conversation(self, account: &Settings) -> Result<Conversation, String> {
        match (self.conversation_id, self.linkedin_url) {
            (Some(id), None) => by_id(&id, account.kind()),
            (None, Some(url)) => by_profile(url.trim(), account.kind()),
            (None, None) => Err("needs conversation_id or linkedin_url".into()),
            (Some(_), Some(_)) => {
                Err("linkedin_url: cannot stand beside conversation_id, which is better: it needs no look-up".into())
            }
        }
    }
}

fn by_id(id: &str, kind: ConversationType) -> Result<Conversation, String> {
    let of_sales = kind == ConversationType::SalesNavigator;
    let refused = |why: &str| Err(format!("conversation_id: {why}"));
    match Address::of(id) {
        Address::Word(id) if id.is_empty() => refused("is empty"),
        Address::Word(id) => Ok(identified(&id, kind, None)),
        Address::Thread(id) if !of_sales => Ok(identified(&id, kind, None)),
        Address::SalesThread(id) if of_sales => Ok(identified(&id, kind, None)),
        Address::Thread(_) => refused("is of the ordinary inbox, which an account with sales_nav = true does not read"),
        Address::SalesThread(_) => refused("is of Sales Navigator, which is read by an account with sales_nav = true"),
        Address::Person(_) => refused("is the address of a profile; write it as linkedin_url"),
        other => refused(&other.no_thread()),
    }
}

fn by_profile(url: &str, kind: ConversationType) -> Result<Conversation, String> {
    let named = Address::of(url);
    let person_url = match &named {
        Address::Person(name) => format!("https://www.linkedin.com/in/{name}"),
        Address::SalesPerson(id) if kind == ConversationType::SalesNavigator => {
            format!("https://www.linkedin.com/sales/people/{id}")
        }
        Address::Thread(_) | Address::SalesThread(_) => {
            return Err("linkedin_url: is the address of a conversation; write it as conversation_id".into());
        }
        other => return Err(format!("linkedin_url: {}", other.no_person())),
    };
    // As it was given, where that is a whole address.
    let given = url.trim();
    let address = if is_profile(given) { given.to_owned() } else { person_url.clone() };
    Ok(Conversation { id: ConversationId::new(person_url.clone()), address, kind, person_url: Some(person_url) })
}

/// A conversation by the id that the provider gave it, which requests repeat exactly.
pub(super) fn identified(id: &str, kind: ConversationType, person_url: Option<String>) -> Conversation {
    Conversation { id: ConversationId::new(urn::conversation_id(id)), address: id.to_owned(), kind, person_url }
}

/// Whether a conversation is asked for by the profile of the counterpart. Such a thread has two people: a group has no
/// profile to be named by.
pub(super) fn is_profile(address: &str) -> bool {
    address.starts_with("https://") || address.starts_with("http://")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str) -> Settings {
        serde_json::from_str(json).unwrap()
    }

    const V1: &str = r#"{"api_version":"v1","api_key":"k","login_token":"t""#;
    const V2: &str = r#"{"api_key":"k","account_id":"a""#;

    #[test]
    fn each_generation_takes_its_own_keys_and_refuses_those_of_the_other() {
        let cases = [
            (format!("{V1}}}"), None),
            (format!(r#"{V1},"country":"UK","total_results":50}}"#), None),
            (format!(r#"{V1},"account_id":"a"}}"#), Some("account_id")),
            (format!(r#"{V1},"count":10}}"#), Some("count")),
            (format!(r#"{V1},"sales_nav":false}}"#), Some("sales_nav")),
            (format!(r#"{V1},"country":"GB"}}"#), Some("country")),
            (format!(r#"{V1},"country":"fr"}}"#), Some("country")),
            (format!(r#"{V1},"total_results":51}}"#), Some("total_results")),
            (format!(r#"{V1},"base_url":"https://x/v2/"}}"#), Some("base_url")),
            (r#"{"api_version":"v1","api_key":"k"}"#.into(), Some("login_token")),
            (r#"{"api_version":"v1","api_key":"k","login_token":"a\nb"}"#.into(), Some("login_token")),
            (format!("{V2}}}"), None),
            (format!(r#"{V2},"count":"25","sales_nav":true,"base_url":"http://127.0.0.1:1/linkup/v2"}}"#), None),
            (format!(r#"{V2},"login_token":"t"}}"#), Some("login_token")),
            (format!(r#"{V2},"country":"FR"}}"#), Some("country")),
            (format!(r#"{V2},"total_results":10}}"#), Some("total_results")),
            (format!(r#"{V2},"count":0}}"#), Some("count")),
            (format!(r#"{V2},"base_url":"https://x/v1"}}"#), Some("base_url")),
            (format!(r#"{V2},"base_url":"x"}}"#), Some("base_url")),
            (format!(r#"{V2},"owner_name":" "}}"#), Some("owner_name")),
            (r#"{"api_key":"k"}"#.into(), Some("account_id")),
            (r#"{"api_key":"","account_id":"a"}"#.into(), Some("api_key")),
        ];
        for (json, key) in cases {
            assert_eq!(settings(&json).problem().map(|(key, _)| key), key, "{json}");
        }
        assert!(settings(&format!(r#"{V1},"country":"GB"}}"#)).problem().unwrap().1.contains("UK"));
        assert!(serde_json::from_str::<Settings>(&format!(r#"{V2},"acount":1}}"#)).is_err());
    }

    #[test]
    fn a_conversation_has_one_id_in_all_spellings_and_is_asked_for_as_it_was_given() {
        let account = settings(&format!("{V2}}}"));
        let named = |text: &str| account.named(text).unwrap();
        let urn = "urn:li:msg_conversation:(urn:li:fsd_profile:ACoAAB1o,2-MGE1Yj==)";
        assert_eq!((named(urn).id.as_str(), named(urn).address.as_str()), ("2-MGE1Yj==", urn));
        assert_eq!(named("urn:li:conversation:123").id.as_str(), "urn:li:conversation:123");
        let by_url = named("https://fr.linkedin.com/in/Mara-Lind/?x=1");
        assert_eq!(by_url.id.as_str(), "https://www.linkedin.com/in/mara-lind");
        assert_eq!(by_url.person_url.as_deref(), Some(by_url.id.as_str()));
        assert_eq!(by_url.address, "https://fr.linkedin.com/in/Mara-Lind/?x=1");
        assert!(account.misplaced(&by_url, true).is_some() && account.misplaced(&named(urn), true).is_none());
        assert!(account.misplaced(&by_url, false).is_none());
    }

    #[test]
    fn a_person_is_known_by_the_id_that_earlier_releases_made_of_the_same_address() {
        let (plain, sales) = (settings(&format!("{V2}}}")), settings(&format!(r#"{V2},"sales_nav":true}}"#)));
        let former = |account: &Settings, text: &str| {
            account.former_id(&account.named(text).unwrap()).map(|id| id.as_str().to_owned())
        };
        let url = |path: &str| Some(format!("https://www.linkedin.com/{path}"));
        assert_eq!(former(&plain, "https://fr.linkedin.com/in/ACwAAB1o/"), url("in/acwaab1o"));
        assert_eq!(former(&plain, "https://www.linkedin.com/in/ACoAAB1o"), url("in/ACoAAB1o"));
        assert_eq!(former(&plain, "https://www.linkedin.com/mwlite/in/Mara"), url("mwlite/in/mara"));
        assert_eq!(former(&plain, "2-A"), None);
        let lead = "https://www.linkedin.com/sales/people/ACwAAB1o,NAME_SEARCH,x";
        assert_eq!(former(&sales, lead), url("sales/people/acwaab1o,name_search,x"));
    }

    #[test]
    fn an_address_of_the_browser_names_the_conversation_or_says_why_not() {
        let (plain, sales) = (settings(&format!("{V2}}}")), settings(&format!(r#"{V2},"sales_nav":true}}"#)));
        let thread = "https://www.linkedin.com/messaging/thread/2-MGE1Yj%3D%3D/?x=1";
        let of_sales = "https://www.linkedin.com/sales/inbox/2-Sales/";
        assert_eq!(plain.named(thread).unwrap().address, "2-MGE1Yj==");
        assert_eq!(sales.named(of_sales).unwrap().address, "2-Sales");
        assert!(sales.named(thread).unwrap_err().contains("sales_nav = true does not read"));
        assert!(plain.named(of_sales).unwrap_err().contains("read by an account with sales_nav = true"));
        assert_eq!(plain.named("linkedin.com/in/Mara").unwrap().address, "https://www.linkedin.com/in/mara");
        let lead = "https://www.linkedin.com/sales/people/ACwAAB1o,NAME_SEARCH,x";
        let named = sales.named(lead).unwrap();
        assert_eq!(named.id.as_str(), "https://www.linkedin.com/sales/people/ACwAAB1o");
        assert_eq!((named.address.as_str(), named.person_url.as_deref()), (lead, Some(named.id.as_str())));
        for wrong in ["https://www.linkedin.com/company/acme", "https://example.com/in/mara", lead] {
            assert!(plain.named(wrong).unwrap_err().starts_with("linkedin_url: is "), "{wrong}");
        }
    }

    #[test]
    fn a_conversation_is_named_by_exactly_one_key() {
        let account = settings(&format!("{V2}}}"));
        let read = |json: &str| serde_json::from_str::<ConversationSettings>(json).unwrap().conversation(&account);
        assert!(read(r#"{"conversation_id":"2-A"}"#).is_ok());
        for wrong in [
            "{}",
            r#"{"conversation_id":" "}"#,
            r#"{"linkedin_url":"mara"}"#,
            r#"{"conversation_id":"https://www.linkedin.com/in/a"}"#,
            r#"{"conversation_id":"2-A","linkedin_url":"https://www.linkedin.com/in/a"}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_credential_is_known_as_one() {
        assert_eq!(settings(&format!("{V1}}}")).secrets().len(), 2);
        assert_eq!(settings(&format!("{V2}}}")).secrets().len(), 1);
        assert!(
            !format!("{:?}", settings(r#"{"api_version":"v1","api_key":"kkk","login_token":"ttt"}"#)).contains("ttt")
        );
    }
}
