//! A thread within an account: the unit of polling and of ordering.

use serde::{Deserialize, Serialize};

use super::ConversationId;

/// Which LinkedIn product a conversation belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
