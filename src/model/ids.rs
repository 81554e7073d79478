//! Names that users choose and ids that providers give. Each is its own type so that none is taken for another.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A name that cannot be the identity of an account or a sink.
#[derive(Debug, thiserror::Error)]
#[error("a name has 1 to 64 characters of a-z, 0-9, '_' and '-'")]
pub struct InvalidName;

macro_rules! chosen_name {
    ($(#[$doc:meta])* $name:ident at $place:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        #[schemars(inline)]
        pub struct $name(#[schemars(regex(pattern = "^[a-z0-9_-]{1,64}$"))] String);

        impl $name {
            /// Takes a name of `[a-z0-9_-]{1,64}`; any other is an error.
            pub fn new(name: &str) -> Result<Self, InvalidName> {
                let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
                if (1..=64).contains(&name.len()) && name.bytes().all(allowed) { Ok(Self(name.into())) } else { Err(InvalidName) }
            }

            /// The name itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The `source` of events about it.
            pub fn source(&self) -> String {
                format!(concat!($place, "{}"), self.0)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

chosen_name! {
    /// The name of an account in the configuration: its identity in the store and in events.
    AccountName at "/inboxd/accounts/"
}
chosen_name! {
    /// The name of a sink in the configuration: its identity in the store.
    SinkName at "/inboxd/sinks/"
}

macro_rules! given_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps an id that has already been normalised as the provider's contract says.
            pub fn new(id: impl Into<String>) -> Self {
                Self(id.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

given_id! {
    /// The normalised id of a conversation, unique within its account.
    ConversationId
}
given_id! {
    /// The provider's id of a message, normalised; unique only together with account and conversation.
    MessageId
}
