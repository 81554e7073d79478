//! LinkupAPI: what every outcome says it cost, beside the simulator's ledger; the inbox; direction.

use std::sync::Arc;
use std::time::Duration;

use inboxd::model::{Conversation, Direction};
use inboxd::providers::{self, Call, Class, ListRequest, Listed, PageRequest, Provider, Rest};
use inboxd::simulator::{
    ConversationRef, Dialect, Draft, Endpoint, Fault, Kind, LinkupErrorBody, LinkupErrorStatus, Settings, Simulator,
    When,
};
use serde_json::{Map, Value, json};

const BOTH: [Dialect; 2] = [Dialect::LinkupV1, Dialect::LinkupV2];

struct Json;

impl inboxd::settings::Read for Json {
    type Error = serde_json::Error;

    fn read<T: serde::de::DeserializeOwned>(&self, table: Value) -> Result<T, serde_json::Error> {
        serde_json::from_value(table)
    }
}

/// A simulator and one account of it.
struct Account {
    simulator: Simulator,
    dialect: Dialect,
    settings: providers::Settings,
    provider: Arc<dyn Provider>,
}

impl Account {
    async fn new(dialect: Dialect) -> Self {
        Self::with(dialect, json!({})).await
    }

    async fn with(dialect: Dialect, more: Value) -> Self {
        let it = Settings::default();
        let simulator = Simulator::start(it.clone()).await.unwrap();
        let mut table = match dialect {
            Dialect::LinkupV1 => json!({"api_version": "v1", "login_token": it.linkup_login_token}),
            _ => json!({"account_id": it.linkup_account_id}),
        };
        table["api_key"] = it.linkup_api_key.into();
        table["base_url"] = simulator.base_url(dialect).into();
        let mut table: Map<_, _> = table.as_object().unwrap().clone();
        table.extend(more.as_object().unwrap().clone());
        providers::install_tls();
        let settings = providers::Settings::read("linkup", &Json, table.into()).unwrap().unwrap();
        assert_eq!(settings.problem(), None);
        let provider = providers::build(&settings, Duration::from_secs(2), &Default::default()).unwrap();
        Self { simulator, dialect, settings, provider }
    }

    fn add(&self, person: &str) -> ConversationRef {
        self.simulator.world().add_conversation(self.dialect, Kind::Standard, person)
    }

    fn named(&self, text: &str) -> Conversation {
        self.settings.named(text).unwrap()
    }

    fn of(&self, conversation: ConversationRef) -> Conversation {
        self.named(&self.simulator.world().address(conversation))
    }

    async fn page(&self, conversation: &Conversation) -> Result<providers::Page, providers::Error> {
        self.provider.page(PageRequest { conversation, since: None, cursor: None }).await
    }

    async fn list_all(&self) -> Vec<Listed> {
        let mut rows = vec![];
        let mut cursor = None;
        for _ in 0..20 {
            let request = ListRequest { folder: "", since: None, cursor: cursor.as_deref() };
            let listing = self.provider.inbox().unwrap().list(request).await.unwrap();
            rows.extend(listing.rows);
            cursor = listing.next;
            if cursor.is_none() {
                return rows;
            }
        }
        panic!("the list does not end");
    }

    fn taken(&self) -> u64 {
        self.simulator.world().linkup_credits()
    }

    fn messages(&self) -> Endpoint {
        if self.dialect == Dialect::LinkupV1 { Endpoint::LinkupV1Messages } else { Endpoint::LinkupV2Messages }
    }
}

#[tokio::test]
async fn what_an_answer_says_it_cost_is_what_the_ledger_took() {
    for (dialect, key) in BOTH.into_iter().zip(["total_results", "count"]) {
        for (size, price) in [(10, 1), (25, 3)] {
            let account = Account::with(dialect, json!({key: size})).await;
            let conversation = account.add("Ada Byron");
            for number in 0..40 {
                account.simulator.world().push(conversation, &number.to_string());
            }
            let page = account.page(&account.of(conversation)).await.unwrap();
            assert_eq!((page.messages.len(), u64::from(page.credits)), (size, account.taken()), "{dialect:?}");
            assert_eq!(page.credits, price);
            assert!(matches!(page.rest, Rest::More(_)));
            let before = account.taken();
            let request = ListRequest { folder: "", since: None, cursor: None };
            let listing = account.provider.inbox().unwrap().list(request).await.unwrap();
            assert!(u64::from(listing.credits) >= account.taken() - before, "{dialect:?}");
            let before = account.taken();
            account.provider.probe().await.unwrap();
            assert_eq!(account.taken() > before, account.provider.price(Call::Account) > 0, "{dialect:?}");
        }
    }
}

#[tokio::test]
async fn a_failure_never_says_that_it_cost_less_than_the_ledger_took() {
    for dialect in BOTH {
        for status in [LinkupErrorStatus::Ok, LinkupErrorStatus::Real] {
            let account = Account::new(dialect).await;
            account.simulator.world().set_switches(|s| s.linkup.error_status = status);
            let conversation = account.add("Ada Byron");
            let nobody = account.named("urn:li:msg_conversation:(urn:li:fsd_profile:ACoAAx,2-bm9ib2R5)");
            let refused = account.page(&nobody).await.unwrap_err();
            assert_eq!(refused.class, Class::Gone, "{dialect:?} {status:?}: {refused}");
            assert_eq!(refused.credits.map(u64::from), Some(account.taken()), "{dialect:?} {status:?}");
            for fault in [Fault::Html200, Fault::ReplyLost, Fault::TruncatedBody, Fault::Html5xx(502), Fault::Reset] {
                let once = When { endpoint: Some(account.messages()), times: Some(1), ..When::default() };
                account.simulator.world().inject(fault.clone(), once);
                let before = account.taken();
                let failed = account.page(&account.of(conversation)).await.unwrap_err();
                let taken = account.taken() - before;
                assert!(failed.credits.is_none_or(|said| u64::from(said) >= taken), "{fault:?}: {failed}");
            }
        }
    }
}

#[tokio::test]
async fn a_dead_session_is_known_by_any_wording_and_status() {
    let wordings = ["Cookie invalid", "Your login_token has EXPIRED", "LinkedIn session is no longer valid"];
    let bodies =
        [LinkupErrorBody::Message, LinkupErrorBody::Error, LinkupErrorBody::ErrorObject, LinkupErrorBody::Detail];
    for dialect in BOTH {
        let account = Account::new(dialect).await;
        let conversation = account.of(account.add("Ada Byron"));
        for wording in wordings {
            for body in bodies {
                for status in [LinkupErrorStatus::Ok, LinkupErrorStatus::Real] {
                    account.simulator.world().set_switches(|s| {
                        s.linkup.dead_session = Some(wording.into());
                        s.linkup.error_body = body;
                        s.linkup.error_status = status;
                    });
                    let error = account.page(&conversation).await.unwrap_err();
                    let seen = (error.class, error.fault);
                    let signed_out = (Class::Auth, providers::Fault::SignedOut);
                    assert_eq!(seen, signed_out, "{dialect:?} {wording} {body:?} {status:?}: {error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_inbox_lists_every_conversation_once_and_the_mark_of_one_that_moved_moves() {
    for dialect in BOTH {
        let account = Account::new(dialect).await;
        let world = account.simulator.world();
        let all: Vec<_> = (0..25).map(|number| account.add(&format!("Person {number}"))).collect();
        for &conversation in &all {
            world.push(conversation, "hello");
        }
        let before = account.list_all().await;
        assert_eq!(before.len(), all.len(), "{dialect:?}");
        let known = account.of(all[7]);
        let find = |rows: &[Listed]| rows.iter().find(|row| row.conversation.id == known.id).cloned().unwrap();
        assert_eq!(find(&before).conversation.address, known.address);
        assert_eq!(find(&before).title.as_deref(), Some("Person 7"));
        world.push(all[7], "hello");
        let after = account.list_all().await;
        assert_eq!(after[0].conversation.id, known.id, "the youngest comes first");
        let moved = after
            .iter()
            .filter(|row| before.iter().any(|old| old.conversation.id == row.conversation.id && old.mark != row.mark));
        assert_eq!(moved.count(), 1, "{dialect:?}");
    }
}

#[tokio::test]
async fn who_wrote_is_told_only_where_it_is_certain() {
    use Direction::{Inbound, Outbound, Unknown};
    let directions = async |dialect, more: Value, by_profile: bool, vanity: bool| {
        let account = Account::with(dialect, more).await;
        let world = account.simulator.world();
        world.set_switches(|s| s.linkup.vanity_urls = vanity);
        let conversation = account.add("Ada Byron");
        world.push(conversation, "from the other");
        world.push_draft(conversation, Draft { text: "from the owner".into(), outbound: true, ..Draft::default() });
        let listed = account.list_all().await.remove(0).conversation;
        let asked = match listed.person_url.as_deref() {
            Some(url) if by_profile => account.named(url),
            _ => listed,
        };
        let mut messages = account.page(&asked).await.unwrap().messages;
        messages.sort_by_key(|message| message.text.clone());
        messages.into_iter().map(|message| message.direction).rev().collect::<Vec<_>>()
    };
    let owner = || json!({"owner_name": "Robin Keller"});
    // Order: from the owner, from the other.
    let cases = [
        (Dialect::LinkupV1, json!({}), false, true, [Unknown, Unknown]),
        (Dialect::LinkupV1, owner(), false, true, [Outbound, Inbound]),
        // The inbox tells who the owner is, by the message of theirs that it shows.
        (Dialect::LinkupV2, json!({}), false, true, [Outbound, Inbound]),
        (Dialect::LinkupV2, json!({}), true, true, [Outbound, Inbound]),
        (Dialect::LinkupV2, json!({}), false, false, [Outbound, Inbound]),
        (Dialect::LinkupV2, owner(), false, true, [Outbound, Inbound]),
    ];
    for (dialect, more, by_profile, vanity, expected) in cases {
        let seen = directions(dialect, more.clone(), by_profile, vanity).await;
        assert_eq!(seen, expected, "{dialect:?} {more} by_profile={by_profile} vanity={vanity}");
    }
}
