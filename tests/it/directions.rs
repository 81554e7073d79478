//! Who wrote what: own messages are never taken for those of others, whatever the provider says or leaves out.

use std::sync::Arc;
use std::time::Duration;

use inboxd::config::Sources;
use inboxd::model::{Conversation, Direction};
use inboxd::providers::{ListRequest, PageRequest, Provider};
use inboxd::simulator::{ConnectSafelySwitches, Dialect, Draft, Kind, OwnerFlag, SenderForm};

use crate::support::Rig;

/// A conversation with a message of the other and then one of the owner, asked for without the daemon.
async fn talk(dialect: Dialect, kind: Kind) -> (Rig, Conversation, Arc<dyn Provider>) {
    let mut rig = Rig::new().await;
    let conversation = rig.follow_kind(dialect, kind, "Ada Byron");
    rig.world().push(conversation, "theirs");
    rig.world().push_draft(conversation, Draft { text: "ours".into(), outbound: true, ..Draft::default() });
    rig.write_config();
    let sources = Sources { file: Some(rig.path().join("inboxd.toml")), overrides: vec![] };
    inboxd::providers::install_tls();
    let account = inboxd::config::load(&sources).unwrap().accounts.remove(0);
    let provider = inboxd::providers::build(&account.settings, Duration::from_secs(30), &Default::default()).unwrap();
    let conversation = (*account.conversations[0].conversation).clone();
    (rig, conversation, provider)
}

/// The directions of theirs and ours.
async fn directions(conversation: &Conversation, provider: &dyn Provider) -> (Direction, Direction) {
    let request = PageRequest { conversation, since: None, cursor: None };
    // As a poll does: the account is looked at where a page needs that, and the page asked for again.
    let first = provider.page(request).await.unwrap();
    let page = if first.awaits_account {
        provider.look_at_account().await.unwrap();
        provider.page(request).await.unwrap()
    } else {
        first
    };
    let of = |text: &str| page.messages.iter().find(|message| message.text == text).unwrap().direction;
    (of("theirs"), of("ours"))
}

#[tokio::test(flavor = "multi_thread")]
async fn in_connectsafely_ids_come_first_and_what_contradicts_itself_is_unknown() {
    use Direction::{Inbound, Outbound, Unknown};
    type Case = (Kind, SenderForm, OwnerFlag, Option<&'static str>, (Direction, Direction));
    let (standard, sales) = (Kind::Standard, Kind::SalesNavigator);
    let told = (Inbound, Outbound);
    let cases: [Case; 11] = [
        (standard, SenderForm::ProfileId, OwnerFlag::AlwaysFalse, None, told),
        (standard, SenderForm::SenderId, OwnerFlag::Absent, None, told),
        (standard, SenderForm::ProfileId, OwnerFlag::Inverted, None, (Unknown, Outbound)),
        (standard, SenderForm::Absent, OwnerFlag::Absent, Some("Robin Keller, MBA"), told),
        // The owner's id is of another kind here.
        (sales, SenderForm::ProfileId, OwnerFlag::True, None, told),
        (sales, SenderForm::SenderId, OwnerFlag::True, Some("🚀 Robin Keller"), told),
        (sales, SenderForm::ProfileId, OwnerFlag::Absent, Some("Robin Keller, MBA"), told),
        (sales, SenderForm::Absent, OwnerFlag::True, Some("Robin K."), told),
        (sales, SenderForm::ProfileId, OwnerFlag::AlwaysFalse, None, (Inbound, Unknown)),
        (sales, SenderForm::ProfileId, OwnerFlag::Absent, Some("Robin Keller MBA"), (Inbound, Unknown)),
        (sales, SenderForm::ProfileId, OwnerFlag::Inverted, None, (Unknown, Unknown)),
    ];
    for (kind, sender, owner_flag, name, expected) in cases {
        let (rig, conversation, provider) = talk(Dialect::ConnectSafely, kind).await;
        rig.world().set_switches(|switches| {
            let own = ConnectSafelySwitches { sender, owner_flag, ..ConnectSafelySwitches::default() };
            switches.connect_safely = ConnectSafelySwitches { owner_name: name.map(Into::into), ..own };
        });
        let seen = directions(&conversation, &*provider).await;
        assert_eq!(seen, expected, "{kind:?} {sender:?} {owner_flag:?} {name:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_linkupapi_whoever_is_said_to_be_me_is_the_owner_from_then_on() {
    let told = (Direction::Inbound, Direction::Outbound);
    for dialect in [Dialect::LinkupV1, Dialect::LinkupV2] {
        let (rig, conversation, provider) = talk(dialect, Kind::Standard).await;
        assert_eq!(directions(&conversation, &*provider).await.1, Direction::Unknown, "nothing tells yet");
        rig.world().set_switches(|switches| switches.linkup.messages_say_is_me = true);
        assert_eq!(directions(&conversation, &*provider).await, told);
        rig.world().set_switches(|switches| switches.linkup.messages_say_is_me = false);
        assert_eq!(directions(&conversation, &*provider).await, told, "it has been learnt");
    }
    let (_rig, conversation, provider) = talk(Dialect::LinkupV2, Kind::Standard).await;
    let list = ListRequest { folder: "", since: None, cursor: None };
    provider.inbox().unwrap().list(list).await.unwrap();
    assert_eq!(directions(&conversation, &*provider).await, told, "the inbox tells of the last message");
}
