//! A thread within an account: the unit of polling and of ordering.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ConversationId;
use crate::time::UnixMillis;

/// Which LinkedIn product a conversation belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversationType {
    /// Ordinary LinkedIn messaging.
    Standard,
    /// A Sales Navigator inbox.
    SalesNavigator,
    /// A Recruiter inbox.
    Recruiter,
    /// The inbox of a company page.
    CompanyPage,
    /// The provider does not say.
    Unknown,
}

impl ConversationType {
    /// The word in events, the store and `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::SalesNavigator => "sales_navigator",
            Self::Recruiter => "recruiter",
            Self::CompanyPage => "company_page",
            Self::Unknown => "unknown",
        }
    }

    /// The type of this word; any other is unknown.
    pub fn from_word(word: &str) -> Self {
        let all = [Self::Standard, Self::SalesNavigator, Self::Recruiter, Self::CompanyPage];
        all.into_iter().find(|kind| kind.as_str() == word).unwrap_or(Self::Unknown)
    }
}

/// A conversation as configuration or discovery names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// Normalised id: the identity in the store and the `subject` of events.
    pub id: ConversationId,
    /// How the provider wants to be asked for it, exactly as given.
    pub address: String,
    /// The LinkedIn product.
    #[serde(rename = "type")]
    pub kind: ConversationType,
    /// Profile of the counterpart, where the conversation is named by it.
    pub person_url: Option<String>,
}

/// A conversation as the inbox lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The conversation.
    pub conversation: Conversation,
    /// What people call it.
    pub title: Option<String>,
    /// Time of its last activity, by the provider's clock.
    pub last_activity_at: Option<UnixMillis>,
    /// Equal for as long as nothing moves; `None` where the provider does not say, so that it may have moved each time.
    pub mark: Option<String>,
}
