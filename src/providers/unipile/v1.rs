//! API v1: reads of the provider's own copy, pages by cursor, and one list of all messages of the account.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::value::RawValue;

use super::messages::SAYS_NOTHING;
use super::paging::{Position, by_cursor, rest};
use super::settings::chat;
use super::{Api, FRESH, encoded, wire};
use crate::backoff;
use crate::model::ConversationType;
use crate::providers::json::Object;
use crate::providers::{Error, Inbox, ListRequest, Listed, Listing, Page, PageRequest, Provider};
use crate::time::UnixMillis;

/// The documented default, and the documented maximum for the list that is read for the whole account.
const LIMIT: u64 = 100;
const LARGEST_LIMIT: u64 = 250;

const NAMES: wire::Names = wire::Names { items: "items", cursor: "cursor" };

/// What the vendor imports late is stamped with its old time, so every tenth poll looks back a day. No public figure; a
/// poll so seldom costs little, and the deep recheck finds the rest.
const LONG_LOOKS: u64 = 10;
const LONG_LOOK: Duration = Duration::from_secs(24 * 3600);

pub(super) struct V1(pub(super) Api);

impl V1 {
    async fn list<T>(
        &self,
        path: &str,
        position: &Position,
        query: String,
        without: &'static str,
        read: impl FnMut(&Object<'_>, &RawValue) -> Option<T>,
    ) -> Result<wire::List<T>, Error> {
        match self.0.ask(path, &query, FRESH).await {
            Ok(answer) => wire::list(&answer, NAMES, without, read),
            Err(refusal) => {
                position.judge(refusal)?;
                Ok(wire::List::default())
            }
        }
    }

    /// The lower bound to send: earlier than asked for where late imports are to be looked for.
    async fn after(&self, since: UnixMillis) -> UnixMillis {
        let since = self.0.before_imports(since);
        let draw = backoff::mix(UnixMillis::now().as_millis().unsigned_abs(), since.as_millis().unsigned_abs());
        if draw.is_multiple_of(LONG_LOOKS) { since - LONG_LOOK } else { since }
    }

    fn of_account(&self) -> String {
        format!("&account_id={}", encoded(self.0.settings.account_id()))
    }
}

/// The strict form the vendor's pattern asks for: three digits and `Z`.
fn after(since: UnixMillis) -> String {
    format!("&after={}", encoded(&since.to_string()))
}

#[async_trait]
impl Provider for V1 {
    async fn page(&self, request: PageRequest<'_>) -> Result<Page, Error> {
        let position = Position::read(request.cursor)?;
        let proof = self.0.proof()?;
        let filters = match request.since {
            Some(since) if position == Position::Start => after(self.after(since).await),
            _ => String::new(),
        };
        let path = format!("/chats/{}/messages", encoded(&request.conversation.address));
        let query = position.query(LIMIT, &filters);
        let told = |item: &Object<'_>, raw: &RawValue| self.0.told(item, raw);
        let mut list = self.list(&path, &position, query, SAYS_NOTHING, told).await?;
        let rest = rest(by_cursor(list.extent.next_cursor.take()));
        Ok(Page { rest, proof, awaits_account: self.0.awaits_owner(), ..self.0.page(list) })
    }

    async fn probe(&self) -> Result<(), Error> {
        self.0.check_account().await
    }

    fn wants_account(&self) -> bool {
        self.0.wants_account()
    }

    async fn look_at_account(&self) -> Result<(), Error> {
        self.0.look_at_account().await
    }

    fn inbox(&self) -> Option<&dyn Inbox> {
        Some(self)
    }
}

#[async_trait]
impl Inbox for V1 {
    /// Chats, or where a time is given the account's messages after it, which is all that a sweep needs.
    async fn list(&self, request: ListRequest<'_>) -> Result<Listing, Error> {
        let position = Position::read(request.cursor)?;
        self.0.proof()?;
        let of_account = self.of_account();
        let (rows, extent, unreadable) = match request.since {
            None => {
                let query = position.query(LIMIT, &of_account);
                let row = |row: &Object<'_>, _: &RawValue| listed(row);
                let list = self.list("/chats", &position, query, "an object without an id", row).await?;
                (list.items, list.extent, list.unreadable)
            }
            Some(since) => {
                let filters = of_account + &after(self.0.before_imports(since));
                let query = position.query(LARGEST_LIMIT, &filters);
                let place = |message: &Object<'_>, _: &RawValue| place(message);
                let list = self.list("/messages", &position, query, "a message without a chat", place).await?;
                (moved(list.items), list.extent, list.unreadable)
            }
        };
        let answered_at = extent.answered_at;
        Ok(Listing { rows, next: by_cursor(extent.next_cursor), answered_at, unreadable, ..Listing::default() })
    }
}

fn listed(row: &Object<'_>) -> Option<Listed> {
    let last_activity_at = row.time("timestamp", wire::moment);
    Some(Listed {
        conversation: chat(&row.filled("id")?, product(row)),
        title: row.filled("name").map(Into::into),
        last_activity_at,
        mark: last_activity_at.map(|at| at.to_string()),
    })
}

/// The chat of a message, and when it was written.
fn place(message: &Object<'_>) -> Option<(String, Option<UnixMillis>)> {
    Some((message.filled("chat_id")?.into(), message.time("timestamp", wire::moment)))
}

/// The chats of these messages, each with its youngest message, in the order in which they come first.
fn moved(messages: Vec<(String, Option<UnixMillis>)>) -> Vec<Listed> {
    let mut rows: Vec<Listed> = vec![];
    let mut places: HashMap<String, usize> = HashMap::new();
    for (id, at) in messages {
        let place = *places.entry(id).or_insert_with_key(|id| {
            let conversation = chat(id, ConversationType::Unknown);
            rows.push(Listed { conversation, title: None, last_activity_at: None, mark: None });
            rows.len() - 1
        });
        let row = &mut rows[place];
        row.last_activity_at = row.last_activity_at.max(at);
        row.mark = row.last_activity_at.map(|at| at.to_string());
    }
    rows
}

/// The LinkedIn product of a chat, by its folders, and where they tell none by what kind of content it is: the
/// account's type says nothing of it.
fn product(chat: &Object<'_>) -> ConversationType {
    let folders = chat.texts("folder");
    let products = [
        ("INBOX_LINKEDIN_RECRUITER", ConversationType::Recruiter),
        ("INBOX_LINKEDIN_SALES_NAVIGATOR", ConversationType::SalesNavigator),
        ("INBOX_LINKEDIN_ORGANIZATION", ConversationType::CompanyPage),
        ("INBOX_LINKEDIN_CLASSIC", ConversationType::Standard),
    ];
    if let Some((_, product)) = products.iter().find(|(folder, _)| folders.iter().any(|listed| listed == folder)) {
        return *product;
    }
    match chat.filled("content_type").as_deref() {
        Some("inmail" | "sponsored" | "linkedin_offer" | "invitation") => ConversationType::Standard,
        _ => ConversationType::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::providers::json::tests::object;

    #[test]
    fn times_are_sent_with_three_digits_and_z() {
        assert_eq!(after(UnixMillis::from_millis(1_763_629_200_000)), "&after=2025-11-20T09%3A00%3A00.000Z");
    }

    #[test]
    fn a_chat_is_marked_the_same_by_the_list_of_chats_and_by_that_of_messages() {
        let chats = json!({ "id": "R8J", "name": null, "timestamp": "2026-11-20T09:14:03.5Z" });
        let chats = listed(&object(&chats)).unwrap();
        let messages = [
            json!({ "id": "b", "chat_id": "R8J", "timestamp": "2026-11-20T09:14:03.500Z" }),
            json!({ "id": "c", "chat_id": "other", "timestamp": "2026-11-20T09:10:00.000Z" }),
            json!({ "id": "a", "chat_id": "R8J", "timestamp": "2026-11-20T09:00:00.000Z" }),
            json!({ "id": "lost" }),
        ];
        let messages = moved(messages.iter().filter_map(|message| place(&object(message))).collect());
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0].conversation.id, chats.conversation.id);
        assert_eq!((&messages[0].mark, messages[0].last_activity_at), (&chats.mark, chats.last_activity_at));
        assert_eq!(messages[1].mark.as_deref(), Some("2026-11-20T09:10:00.000Z"));
    }

    #[test]
    fn the_product_of_a_chat_is_told_by_its_folders_then_by_its_content() {
        let product = |folders: &[&str], content: Option<&str>| {
            product(&object(&json!({ "folder": folders, "content_type": content, "account_type": "LINKEDIN" })))
        };
        assert_eq!(product(&["INBOX", "INBOX_LINKEDIN_CLASSIC"], None), ConversationType::Standard);
        assert_eq!(product(&["INBOX_LINKEDIN_RECRUITER"], Some("inmail")), ConversationType::Recruiter);
        assert_eq!(product(&["INBOX_LINKEDIN_SALES_NAVIGATOR"], None), ConversationType::SalesNavigator);
        assert_eq!(product(&["INBOX_LINKEDIN_ORGANIZATION"], None), ConversationType::CompanyPage);
        assert_eq!(product(&["INBOX"], Some("sponsored")), ConversationType::Standard);
        assert_eq!(product(&["INBOX"], None), ConversationType::Unknown);
    }
}
