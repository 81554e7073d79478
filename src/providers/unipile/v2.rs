//! API v2: live reads behind a cache of an hour, pages by offset or cursor, several inboxes.

use async_trait::async_trait;
use data_encoding::HEXLOWER;
use reqwest::header::{AGE, HeaderMap};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::messages::SAYS_NOTHING;
use super::paging::{Full, Position, rest};
use super::settings::chat_of;
use super::{Api, FRESH, SOMEWHAT_FRESH, encoded, wire};
use crate::model::{Conversation, ConversationType};
use crate::providers::json::Object;
use crate::providers::{
    Class, Error, Fault, Folders, Inbox, ListRequest, Listed, Listing, Page, PageRequest, Proof, Provider, Quota, http,
};
use crate::time::UnixMillis;

/// The vendor documents a default of 20 and no maximum; public clients use 25 for LinkedIn.
const LIMIT: u64 = 25;

/// An answer that is older although a fresh one was asked for comes from the cache.
const FRESH_FOR_SECONDS: u64 = 5;

const NAMES: wire::Names = wire::Names { items: "data", cursor: "next_cursor" };

pub(super) struct V2 {
    api: Api,
    full_of_messages: Full,
    full_of_chats: Full,
}

/// A list, and what its answer tells beside it.
struct Answered<T> {
    /// From the vendor's cache.
    cached: bool,
    quota: Option<Quota>,
    list: wire::List<T>,
}

impl V2 {
    pub(super) fn new(api: Api) -> Self {
        Self { api, full_of_messages: Full::default(), full_of_chats: Full::default() }
    }

    async fn enabled_inboxes(&self) -> Result<Vec<String>, Error> {
        let path = format!("/{}/inboxes", encoded(self.api.settings.account_id()));
        let answer = self.api.ask(&path, "", SOMEWHAT_FRESH).await?;
        let inbox = |inbox: &Object<'_>, _: &RawValue| {
            let id: String = inbox.filled("id")?.into();
            Some((id, inbox.flag("disabled") == Some(true)))
        };
        let list = wire::list(&answer, NAMES, "an inbox without an id", inbox)?;
        if list.unreadable.items > 0 {
            tracing::warn!(count = list.unreadable.items, "the list of inboxes has some that cannot be read");
        }
        let enabled = list.items.into_iter().filter(|(_, is_disabled)| !is_disabled);
        Ok(enabled.map(|(id, _)| id).collect())
    }

    /// A list below the account, asked for fresh; `None` at the end of it.
    async fn list<T>(
        &self,
        path: &str,
        position: &Position,
        without: &'static str,
        read: impl FnMut(&Object<'_>, &RawValue) -> Option<T>,
    ) -> Result<Option<Answered<T>>, Error> {
        let path = format!("/{}{path}", encoded(self.api.settings.account_id()));
        match self.api.ask(&path, &position.query(LIMIT, ""), FRESH).await {
            Ok(answer) => {
                let (cached, quota) = (is_cached(&answer.headers), http::quota(&answer.headers, UnixMillis::now()));
                Ok(Some(Answered { cached, quota, list: wire::list(&answer, NAMES, without, read)? }))
            }
            Err(refusal) => position.judge(refusal).map(|()| None),
        }
    }
}

#[async_trait]
impl Provider for V2 {
    /// `since` is not sent: whether the vendor's `after` is honoured is not known for every LinkedIn product, it spares no
    /// request, and without it a page shows what lies below the bound, which proves that the range was read whole.
    async fn page(&self, request: PageRequest<'_>) -> Result<Page, Error> {
        let position = Position::read(request.cursor)?;
        let proof = self.api.proof()?;
        let path = format!("/chats/{}/messages", encoded(&request.conversation.address));
        let told = |item: &Object<'_>, raw: &RawValue| self.api.told(item, raw);
        let Some(Answered { cached, quota, list }) = self.list(&path, &position, SAYS_NOTHING, told).await? else {
            return Ok(Page { proof, ..Page::default() });
        };
        let full = self.full_of_messages.at(&list.extent, LIMIT);
        let rest = rest(position.next(&list.extent, full));
        let page = self.api.page(list);
        let proof = if cached && proof == Proof::Now { Proof::Cached } else { proof };
        Ok(Page { rest, proof, quota, awaits_account: self.api.awaits_owner(), ..page })
    }

    async fn probe(&self) -> Result<(), Error> {
        self.api.check_account().await
    }

    fn wants_account(&self) -> bool {
        self.api.wants_account()
    }

    async fn look_at_account(&self) -> Result<(), Error> {
        self.api.look_at_account().await
    }

    /// The account's status says what the vendor believes, the owner's profile whether LinkedIn still answers.
    async fn examine(&self, _listed: &[&Conversation]) -> Result<Vec<String>, Error> {
        self.probe().await?;
        let mut notes = vec![];
        let path = format!("/{}/users/me", encoded(self.api.settings.account_id()));
        match self.api.get(&path, "", FRESH).await.map_err(Error::from) {
            Ok(_) => {}
            Err(error) if error.class == Class::Auth => return Err(not_connected(&error)),
            Err(error) => notes.push(format!("whether LinkedIn is really connected could not be told ({error})")),
        }
        let left_out = self.folders().await?.left_out;
        if !left_out.is_empty() {
            notes.push(format!("inboxes that are there and not listed: {}; see `inboxes`", left_out.join(", ")));
        }
        Ok(notes)
    }

    fn inbox(&self) -> Option<&dyn Inbox> {
        Some(self)
    }
}

#[async_trait]
impl Inbox for V2 {
    fn known_folders(&self) -> Option<Folders> {
        None
    }

    async fn folders(&self) -> Result<Folders, Error> {
        let found = self.enabled_inboxes().await;
        if let Some(wanted) = self.api.settings.inboxes.as_deref() {
            // Which others there are is worth telling, and nothing more.
            return Ok(folders(found.unwrap_or_default(), Some(wanted)));
        }
        let folders = folders(found?, None);
        if folders.listed.is_empty() {
            tracing::warn!("no enabled inbox is called *_PRIMARY; those to list can be named under `inboxes`");
        }
        Ok(folders)
    }

    /// No filter is sent: LinkedIn ignores or refuses most, and which time `after` compares is not documented.
    async fn list(&self, request: ListRequest<'_>) -> Result<Listing, Error> {
        let position = Position::read(request.cursor)?;
        let path = format!("/inboxes/{}/chats", encoded(request.folder));
        let kind = product(request.folder);
        let row = |row: &Object<'_>, _: &RawValue| listed(row, kind);
        let Some(Answered { cached, quota, list }) =
            self.list(&path, &position, "an object without an id", row).await?
        else {
            return Ok(Listing::default());
        };
        if cached {
            tracing::warn!(inbox = request.folder, "the inbox was answered from a cache: moves may be seen late");
        }
        let full = self.full_of_chats.at(&list.extent, LIMIT);
        let next = position.next(&list.extent, full);
        let answered_at = list.extent.answered_at;
        Ok(Listing { rows: list.items, next, quota, answered_at, unreadable: list.unreadable, ..Listing::default() })
    }
}

fn is_cached(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_hit = text("x-cache").is_some_and(|text| text.trim().to_ascii_uppercase().starts_with("HIT"));
    is_hit || text(AGE.as_str()).and_then(|age| age.trim().parse().ok()).is_some_and(|age: u64| age > FRESH_FOR_SECONDS)
}

fn not_connected(error: &Error) -> Error {
    let detail = format!("the account says that it runs, but LinkedIn does not answer it ({error}); connect it again");
    Error::new(Class::Auth, detail).at_fault(Fault::SignedOut)
}

/// Which of the enabled inboxes are listed: those that are wanted; else the one of each product where its conversations
/// are, InMail, which is an inbox of its own, and seldom what was archived, because an answer brings a conversation
/// back from there. The others are views of these, or what LinkedIn keeps from people.
fn folders(enabled: Vec<String>, wanted: Option<&[String]>) -> Folders {
    const INMAIL: &str = "CLASSIC_INMAIL";
    const ARCHIVED: &str = "CLASSIC_ARCHIVED";
    let (mut listed, mut seldom) = (vec![], vec![]);
    match wanted {
        Some(wanted) => listed = wanted.to_vec(),
        None => {
            let is_listed = |id: &&String| id.ends_with("_PRIMARY") || *id == INMAIL;
            listed.extend(enabled.iter().filter(is_listed).cloned());
            // Last: the others do not wait for it.
            listed.extend(enabled.iter().filter(|id| *id == ARCHIVED).cloned());
            // Unless it is all there is.
            seldom.extend(listed.iter().skip(1).filter(|id| *id == ARCHIVED).cloned());
        }
    }
    let left_out = enabled.into_iter().filter(|id| !listed.contains(id)).collect();
    Folders { listed, seldom, left_out }
}

/// The LinkedIn product, which the ids of inboxes begin with, those of company pages with a number after it.
fn product(inbox: &str) -> ConversationType {
    let prefixes = [
        ("CLASSIC_", ConversationType::Standard),
        ("SALES_NAVIGATOR_", ConversationType::SalesNavigator),
        ("RECRUITER_", ConversationType::Recruiter),
        ("COMPANY_", ConversationType::CompanyPage),
        ("ORGANIZATION_", ConversationType::CompanyPage),
    ];
    let found = prefixes.iter().find(|(prefix, _)| inbox.starts_with(prefix));
    found.map_or(ConversationType::Unknown, |(_, product)| *product)
}

fn listed(row: &Object<'_>, kind: ConversationType) -> Option<Listed> {
    let person_url = row.object("user").and_then(|user| user.filled("profile_url")).map(Into::into);
    Some(Listed {
        conversation: Conversation { person_url, ..chat_of(&row.filled("id")?, kind) },
        title: row.filled("name").map(Into::into),
        last_activity_at: row.time("last_message_timestamp", wire::moment),
        mark: mark(row),
    })
}

/// The time of the last message, and a hash of its preview, because a time in whole seconds may stand for several.
fn mark(row: &Object<'_>) -> Option<String> {
    let written = row.filled("last_message_timestamp")?;
    let at = row.time("last_message_timestamp", wire::moment).map_or_else(|| written.into(), |at| at.to_string());
    let preview = row.object("last_message").and_then(|last| last.words("text")).unwrap_or_default();
    Some(format!("{at} {}", HEXLOWER.encode(&Sha256::digest(preview.as_bytes())[..4])))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::providers::json::tests::object;

    #[test]
    fn a_hit_or_an_age_says_that_the_answer_is_from_the_cache() {
        let cached = |name: &'static str, value: &str| {
            is_cached(&HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]))
        };
        assert!(cached("x-cache", "HIT") && cached("x-cache", "hit from edge") && cached("age", "6"));
        assert!(!cached("x-cache", "MISS") && !cached("age", "2") && !cached("age", "old"));
        assert!(!is_cached(&HeaderMap::new()));
    }

    #[test]
    fn an_inbox_of_each_product_and_inmail_are_listed_archived_seldom_and_the_rest_is_named() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let there = names(&[
            "CLASSIC_ARCHIVED",
            "CLASSIC_PRIMARY",
            "CLASSIC_SPAM",
            "CLASSIC_INMAIL",
            "RECRUITER_PRIMARY",
            "RECRUITER_UNREAD",
            "COMPANY_1001_PRIMARY",
        ]);
        let found = folders(there.clone(), None);
        let listed =
            ["CLASSIC_PRIMARY", "CLASSIC_INMAIL", "RECRUITER_PRIMARY", "COMPANY_1001_PRIMARY", "CLASSIC_ARCHIVED"];
        assert_eq!((found.listed, found.seldom), (names(&listed), names(&["CLASSIC_ARCHIVED"])));
        assert_eq!(found.left_out, ["CLASSIC_SPAM", "RECRUITER_UNREAD"]);
        // What is asked for is listed like any other, and the rest is named all the same.
        let found = folders(there.clone(), Some(&names(&["CLASSIC_ARCHIVED", "CLASSIC_NEW"])));
        assert_eq!((found.listed, found.seldom), (names(&["CLASSIC_ARCHIVED", "CLASSIC_NEW"]), vec![]));
        assert_eq!(found.left_out, there[1..]);
        assert_eq!(folders(names(&["CLASSIC_ARCHIVED"]), None), Folders::all(names(&["CLASSIC_ARCHIVED"])));
    }

    #[test]
    fn the_product_of_an_inbox_is_what_its_id_begins_with() {
        assert_eq!(product("COMPANY_1001_PRIMARY"), ConversationType::CompanyPage);
        assert_eq!(product("CLASSIC_INMAIL"), ConversationType::Standard);
        assert_eq!(product("CLASSIC_PRIMARY"), ConversationType::Standard);
        assert_eq!(product("SALES_NAVIGATOR_PRIMARY"), ConversationType::SalesNavigator);
        assert_eq!(product("RECRUITER_UNREAD"), ConversationType::Recruiter);
        assert_eq!(product("SOMETHING_NEW"), ConversationType::Unknown);
    }

    #[test]
    fn a_chat_is_marked_by_its_last_message_or_not_at_all() {
        let row = json!({ "object": "Chat", "id": "2-QWxwaGE=", "name": "Ada Byron",
            "last_message_timestamp": "2026-11-20T09:14:03Z",
            "user": { "profile_url": "https://www.linkedin.com/in/ada" } });
        let row = listed(&object(&row), ConversationType::Standard).unwrap();
        assert_eq!(row.conversation.id.as_str(), "2-QWxwaGE=");
        assert_eq!(row.conversation.person_url.as_deref(), Some("https://www.linkedin.com/in/ada"));
        assert_eq!(row.title.as_deref(), Some("Ada Byron"));
        assert_eq!(row.mark.as_deref(), Some("2026-11-20T09:14:03.000Z e3b0c442"));
        let other = json!({ "id": "2-QWxwaGE=", "last_message_timestamp": "2026-11-20T09:14:03.000Z",
            "last_message": { "text": "a second one in the same second", "is_sender": false } });
        assert_ne!(listed(&object(&other), ConversationType::Standard).unwrap().mark, row.mark);
        let row =
            listed(&object(&json!({ "id": "c", "last_message_timestamp": null })), ConversationType::Standard).unwrap();
        assert_eq!((row.last_activity_at, row.mark), (None, None));
        assert_eq!(listed(&object(&json!({ "name": "without an id" })), ConversationType::Standard), None);
    }
}
