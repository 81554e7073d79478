//! The provider's own object of a message, as it went over the wire.

use inboxd::config::{Account, Sources};
use inboxd::model::{Conversation, Message};
use inboxd::providers::{ListRequest, PageRequest, Provider};
use inboxd::simulator::Draft;
use serde_json::Value;

use super::Row;
use crate::support::{Rig, Wire};

/// The only account of the configuration, asked over a wire.
pub(super) async fn wired(rig: &Rig, row: &Row) -> (std::sync::Arc<Wire>, Account) {
    let simulator = rig.simulator.base_url(row.dialect).split('/').nth(2).unwrap().to_owned();
    let wire = Wire::start(&simulator).await;
    let file = rig.path().join("inboxd.toml");
    std::fs::write(&file, rig.config().replace(&simulator, &wire.address)).unwrap();
    let config = inboxd::config::load(&Sources { file: Some(file), overrides: vec![] }).unwrap();
    (wire, config.accounts.into_iter().next().unwrap())
}

pub(super) async fn conversation(account: &Account, provider: &dyn Provider) -> Conversation {
    if let Some(followed) = account.conversations.first() {
        return (*followed.conversation).clone();
    }
    let inbox = provider.inbox().unwrap();
    let folder = inbox.folders().await.unwrap().listed.remove(0);
    let listing = inbox.list(ListRequest { folder: &folder, since: None, cursor: None }).await.unwrap();
    listing.rows.into_iter().next().unwrap().conversation
}

pub(super) async fn the_providers_own_object_is_kept_as_it_was_sent(row: &Row) {
    let mut rig = row.rig().await;
    let followed = row.conversation(&mut rig, "Ada Byron");
    rig.world().push(followed, "plain");
    let text = "two\nlines, \"quoted\" \\ and \u{1f44d}".to_owned();
    rig.world().push_draft(followed, Draft { text, outbound: true, ..Draft::default() });
    let (wire, account) = wired(&rig, row).await;
    // Some providers show nothing before they were told to collect it, which the daemon does.
    let daemon = rig.start();
    rig.until_taken(2).await;
    assert_eq!(daemon.stop(), 0);

    let provider =
        inboxd::providers::build(&account.settings, std::time::Duration::from_secs(30), &Default::default()).unwrap();
    let conversation = conversation(&account, &*provider).await;
    wire.take_sent();
    let request = PageRequest { conversation: &conversation, since: None, cursor: None };
    let mut messages = provider.page(request).await.unwrap().messages;
    messages.sort_by_key(|message| message.text.len());
    assert_eq!(messages.len(), 2);
    let sent = wire.take_sent();
    for message in &messages {
        assert!(is_of(message, &sent), "{message:?} of {sent}");
    }
    assert_ne!(messages[0].raw.as_ref().unwrap().get(), messages[1].raw.as_ref().unwrap().get());
}

/// Whether a message has its own object, letter by letter as it was sent.
fn is_of(message: &Message, sent: &str) -> bool {
    let raw = message.raw.as_ref().unwrap().get();
    let object: Value = serde_json::from_str(raw).unwrap();
    sent.contains(raw) && object["text"] == message.text.as_str()
}
