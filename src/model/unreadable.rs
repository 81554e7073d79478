//! What of an answer could not be read.

/// What of an answer could not be read. The rest of it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// Items of which nothing can be told: each may be a message, or a conversation.
    pub items: u32,
    /// How the first of them looks, in our own words.
    pub looks: Option<&'static str>,
    /// Fields that had a value of another type and count as absent, by our own names of them.
    pub fields: Vec<&'static str>,
}
