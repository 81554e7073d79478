//! Answers with a field or an item that is not as documented: what stands beside it arrives.

use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use inboxd::config::Account;
use inboxd::providers::{Class, ListRequest, Listing, Page, PageRequest, Provider};
use inboxd::simulator::Dialect;
use serde_json::{Value, json};

use super::Row;
use super::raw::{conversation, wired};
use crate::support::{Rig, Sent, Wire};

/// Values that a field may have; the first is for one that is left out.
fn odd_values() -> Vec<Option<Value>> {
    let values = [
        json!(null),
        json!(7_212_345_678_901_234_567_i64),
        json!(1.5),
        json!(""),
        json!("odd"),
        json!(true),
        json!([]),
        json!([null, 1]),
        json!({}),
        json!({"a": 1}),
    ];
    std::iter::once(None).chain(values.into_iter().map(Some)).collect()
}

/// Conversations with one message each, or one with several; asked for without the daemon.
struct Asked {
    rig: Rig,
    wire: Arc<Wire>,
    account: Account,
    provider: Arc<dyn Provider>,
}

impl Asked {
    async fn of(row: &Row, people: &[&str], texts: &[&str]) -> Self {
        let mut rig = row.rig().await;
        for person in people {
            let conversation = row.conversation(&mut rig, person);
            for text in texts {
                rig.world().push(conversation, text);
            }
        }
        let (wire, account) = wired(&rig, row).await;
        // Some providers show nothing before they were told to collect it, which the daemon does.
        let daemon = rig.start();
        rig.until_taken(people.len() * texts.len()).await;
        assert_eq!(daemon.stop(), 0);
        let provider =
            inboxd::providers::build(&account.settings, Duration::from_secs(30), &Default::default()).unwrap();
        Self { rig, wire, account, provider }
    }

    async fn page(&self) -> Result<Page, inboxd::providers::Error> {
        let conversation = conversation(&self.account, &*self.provider).await;
        self.provider.page(PageRequest { conversation: &conversation, since: None, cursor: None }).await
    }

    async fn list(&self) -> Result<Listing, inboxd::providers::Error> {
        let inbox = self.provider.inbox().unwrap();
        let folder = inbox.folders().await.unwrap().listed.remove(0);
        inbox.list(ListRequest { folder: &folder, since: None, cursor: None }).await
    }

    /// The second of three items of the first list of so many, with a key in it, in every answer of now.
    async fn second(&self, key: &'static str) -> Value {
        let found = Arc::new(std::sync::Mutex::new(Value::Null));
        let seen = Arc::clone(&found);
        self.wire.change(move |sent| {
            let mut body: Value = serde_json::from_slice(&sent.body).unwrap_or_default();
            if let Some(item) = second(&mut body, key) {
                *seen.lock().unwrap() = item.clone();
            }
        });
        if key == "text" {
            self.page().await.unwrap();
        } else {
            self.list().await.unwrap();
        }
        let item = found.lock().unwrap().take();
        assert!(item.is_object(), "no such list was sent");
        item
    }

    /// Puts something in the place of that item.
    fn put(&self, key: &'static str, item: Value) {
        self.wire.change(move |sent| {
            let mut body: Value = serde_json::from_slice(&sent.body).unwrap_or_default();
            if let Some(place) = second(&mut body, key) {
                *place = item.clone();
                sent.body = body.to_string().into_bytes();
            }
        });
    }
}

/// The second item of the first list of three objects that have this key.
fn second<'v>(value: &'v mut Value, key: &str) -> Option<&'v mut Value> {
    match value {
        Value::Array(items) => {
            if items.len() == 3 && items.iter().all(|item| item.get(key).is_some()) {
                return items.get_mut(1);
            }
            items.iter_mut().find_map(|item| second(item, key))
        }
        Value::Object(fields) => fields.values_mut().find_map(|field| second(field, key)),
        _ => None,
    }
}

/// The item with each of its fields in turn as each of the values.
fn variants(item: &Value) -> impl Iterator<Item = (String, Value)> {
    let fields: Vec<String> = item.as_object().unwrap().keys().cloned().collect();
    let item = item.clone();
    fields.into_iter().flat_map(move |field| {
        let item = item.clone();
        odd_values().into_iter().map(move |value| {
            let name = format!("{field} as {value:?}");
            let mut item = item.clone();
            match value {
                Some(value) => item[&field] = value,
                None => drop(item.as_object_mut().unwrap().remove(&field)),
            }
            (name, item)
        })
    })
}

pub(super) async fn a_message_that_cannot_be_read_takes_no_other_with_it(row: &Row) {
    let asked = Asked::of(row, &["Ada Byron"], &["first", "second", "third"]).await;
    let item = asked.second("text").await;
    for (name, item) in variants(&item) {
        asked.put("text", item);
        let page = asked.page().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let texts: Vec<_> = page.messages.iter().map(|message| message.text.as_str()).collect();
        assert!(texts.contains(&"first") && texts.contains(&"third"), "{name}: {texts:?}");
        let is_told = page.messages.len() == 3 && page.messages.iter().all(|message| !message.id.as_str().is_empty());
        // A message of another thread is that thread's.
        let is_elsewhere = name.starts_with("threadId");
        assert!(is_told || is_elsewhere, "{name}: {:?} {:?}", page.messages, page.unreadable);
    }
    for item in odd_values().into_iter().flatten() {
        asked.put("text", item.clone());
        let page = asked.page().await.unwrap_or_else(|error| panic!("{item}: {error}"));
        assert_eq!((page.messages.len(), page.unreadable.items), (2, 1), "{item}");
        assert!(page.unreadable.looks.is_some());
    }
    asked.wire.change(|_| {});
    assert_eq!(asked.page().await.unwrap().unreadable.items, 0);
    drop(asked.rig);
}

pub(super) async fn a_row_that_cannot_be_read_takes_no_other_with_it(row: &Row) {
    if row.dialect == Dialect::LinkedApi && !row.discovers {
        // Its inbox is the other channel.
        return;
    }
    let asked = Asked::of(row, &["Ada Byron", "Grace Murray", "Mara Lind"], &["hello"]).await;
    let key = match row.dialect {
        Dialect::LinkedApi => "threadId",
        Dialect::ConnectSafely => "conversationUrn",
        Dialect::LinkupV1 | Dialect::LinkupV2 => "conversation_id",
        Dialect::UnipileV1 => "timestamp",
        Dialect::UnipileV2 => "last_message_timestamp",
    };
    asked.wire.change(|_| {});
    let ids = |listing: &Listing| -> Vec<_> {
        let mut ids: Vec<_> = listing.rows.iter().map(|row| row.conversation.id.as_str().to_owned()).collect();
        // Those of one moment come in any order.
        ids.sort();
        ids
    };
    let all = ids(&asked.list().await.unwrap());
    assert_eq!(all.len(), 3);
    let item = asked.second(key).await;
    // As it is listed alone, so that its neighbours are known.
    asked.put(key, Value::Null);
    let neighbours = ids(&asked.list().await.unwrap());
    assert_eq!(neighbours.len(), 2);
    for (name, item) in variants(&item) {
        asked.put(key, item);
        let listing = asked.list().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let listed = ids(&listing);
        assert!(neighbours.iter().all(|id| listed.contains(id)), "{name}: {listed:?}");
        assert_eq!(listed.len() + listing.unreadable.items as usize, 3, "{name}: {listed:?}");
    }
    for item in odd_values().into_iter().flatten() {
        asked.put(key, item.clone());
        let listing = asked.list().await.unwrap_or_else(|error| panic!("{item}: {error}"));
        assert_eq!((ids(&listing), listing.unreadable.items), (neighbours.clone(), 1), "{item}");
    }
    drop(asked.rig);
}

pub(super) async fn a_byte_order_mark_and_compression_are_undone_and_other_encodings_are_named(row: &Row) {
    let asked = Asked::of(row, &["Ada Byron"], &["hello"]).await;
    let read = async |change: fn(&mut Sent)| {
        asked.wire.change(change);
        let page = asked.page().await?;
        Ok::<_, inboxd::providers::Error>(page.messages.into_iter().map(|m| m.text).collect::<Vec<_>>())
    };
    let marked = read(|sent| sent.body = [b"\xef\xbb\xbf".as_slice(), &sent.body].concat()).await;
    assert_eq!(marked.unwrap(), ["hello"]);
    let compressed = read(|sent| {
        let mut encoder = GzEncoder::new(vec![], Compression::default());
        std::io::Write::write_all(&mut encoder, &sent.body).unwrap();
        (sent.body, sent.encoding) = (encoder.finish().unwrap(), Some("gzip"));
    });
    assert_eq!(compressed.await.unwrap(), ["hello"]);
    if row.discovers {
        // The conversation itself is found through the inbox.
        return;
    }
    // What begins as JSON is none of them, whatever a proxy has left in the headers.
    assert_eq!(read(|sent| sent.encoding = Some("br")).await.unwrap(), ["hello"]);
    let error = read(|sent| (sent.body, sent.encoding) = (vec![0x8b, 0x02], Some("br"))).await.unwrap_err();
    assert_eq!(error.class, Class::Protocol);
    assert!(error.detail.contains("encoded as br, which was not asked for"), "{error}");
    drop(asked.rig);
}
