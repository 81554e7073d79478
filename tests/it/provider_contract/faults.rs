//! For each fault of the way or of the answer: the class, the wait, and the watermark where it was. Then the fault passes,
//! and everything that was written meanwhile arrives once.

use std::time::Duration;

use inboxd::simulator::{Dialect, Endpoint, Fault, RetryAfter, When};
use inboxd::time::UnixMillis;

use super::{Row, status};
use crate::support::{Rig, until};

pub(super) async fn a_fault_has_its_class_moves_nothing_and_loses_nothing_once_it_has_passed(row: &Row) {
    // What is nested too deeply is an item that cannot be read, or an answer that has nothing of the conversation.
    const NESTED: &str = "an answer nested too deeply";
    let cases: Vec<(&str, Fault, &str)> = vec![
        ("a page of HTML with 200", Fault::Html200, "protocol"),
        ("a truncated body", Fault::TruncatedBody, "transient"),
        ("500", status(500), "transient"),
        ("502 as HTML", Fault::Html5xx(502), "transient"),
        ("503", status(503), "transient"),
        ("a reset connection", Fault::Reset, "transient"),
        ("a body that does not end", Fault::SlowBody { millis: 3_000 }, "transient"),
        ("no answer at all", Fault::Hang, "transient"),
        ("an answer far too large", Fault::Oversized { bytes: 17 << 20 }, "protocol"),
        (NESTED, Fault::DeeplyNested { depth: 10_000 }, "protocol"),
        ("success without content", Fault::MissingPayload, "protocol"),
    ];
    let mut rig = row.rig().await;
    // Every case has a conversation of its own, so that all can be waited for together.
    let conversations: Vec<_> =
        cases.iter().map(|(name, ..)| (*name, row.conversation(&mut rig, &format!("Person of {name}")))).collect();
    for (_, conversation) in &conversations {
        rig.world().push(*conversation, "before");
    }
    let daemon = rig.start();
    rig.until_taken(cases.len()).await;
    let known = |id: &str| rig.known_conversations().into_iter().find(|c| c.id == id).unwrap();
    let ids: Vec<_> = conversations.iter().map(|(_, conversation)| row.id_of(&rig, *conversation)).collect();
    until("every watermark", || ids.iter().all(|id| known(id).watermark.is_some())).await;
    let before: Vec<_> = ids.iter().map(|id| known(id).watermark).collect();
    for ((name, fault, _), (_, conversation)) in cases.iter().zip(&conversations) {
        let only = When { endpoint: Some(row.polls), conversation: Some(*conversation), ..When::default() };
        rig.world().inject(fault.clone(), only);
        rig.world().push(*conversation, &format!("behind {name}"));
    }
    let classed = || cases.iter().zip(&ids).filter(|((name, ..), _)| *name != NESTED);
    until("every fault to be classed", || classed().all(|(_, id)| known(id).failure_class.is_some())).await;
    for (((name, _, class), id), before) in cases.iter().zip(&ids).zip(&before) {
        if *name == NESTED {
            continue;
        }
        assert_eq!(known(id).failure_class.as_deref(), Some(*class), "{name}");
        assert_eq!(known(id).watermark, *before, "{name} moved the watermark");
    }
    rig.world().clear_faults();
    rig.until_taken(cases.len() * 2).await;
    until("every failure to be over", || ids.iter().all(|id| known(id).failure_class.is_none())).await;
    assert_eq!(daemon.stop(), 0);
}

pub(super) async fn a_told_wait_is_kept_by_the_whole_account_and_an_unreadable_one_is_as_none(row: &Row) {
    let waits = [
        (RetryAfter::Seconds(2), 2),
        (RetryAfter::HttpDate(3), 2),
        (RetryAfter::Garbage("soon".into()), 2),
        (RetryAfter::Missing, 2),
    ];
    {
        for (wait, at_least) in &waits {
            let (rig, conversation, daemon) = row.followed().await;
            let throttled = Fault::RateLimited { retry_after: wait.clone() };
            let asked = |rig: &Rig| rig.world().request_count(row.polls);
            rig.world().inject(throttled, When { times: Some(1), ..When::default() });
            let paused = || rig.overview().unwrap().accounts.remove(0);
            until("the account to be paused", || paused().paused_until.is_some()).await;
            assert_eq!(paused().pause_class.as_deref(), Some("throttled"));
            let (since, end) = (paused().paused_since.unwrap(), paused().paused_until.unwrap());
            assert!(end.since(since) >= Duration::from_secs(*at_least), "{wait:?}: {since} to {end}");
            if end.since(since) > Duration::from_secs(4) {
                // The provider's own back-off; longer than a test should wait.
                assert_eq!(daemon.stop(), 0);
                continue;
            }
            let asked_before = asked(&rig);
            rig.world().push(conversation, "during the pause");
            rig.until_taken(2).await;
            assert!(UnixMillis::now() >= since + Duration::from_secs(*at_least), "{wait:?} was not waited for");
            assert!(asked(&rig) > asked_before);
            assert_eq!(daemon.stop(), 0);
        }
    }
}

pub(super) async fn refused_credentials_pause_the_account_and_nothing_is_asked_meanwhile(row: &Row) {
    for code in [401, 403] {
        let (rig, conversation, daemon) = row.followed().await;
        rig.world().inject(status(code), When { endpoint: Some(row.polls), ..When::default() });
        let account = || rig.overview().unwrap().accounts.remove(0);
        until("the account to be paused", || account().paused_until.is_some()).await;
        assert_eq!(account().pause_class.as_deref(), Some("auth"));
        let wait = account().paused_until.unwrap().since(account().paused_since.unwrap());
        let expected = row.first_probe..=row.first_probe * 11 / 10 + 1;
        assert!(expected.contains(&(wait.as_secs() + 1)), "the first probe comes after {wait:?}");
        let asked = rig.world().request_count(row.polls);
        rig.world().push(conversation, "while paused");
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(rig.world().request_count(row.polls), asked, "a paused account is not asked");
        assert!(daemon.log().contains("waits for a person"));
        // A restart may be the repair: it probes at once.
        assert_eq!(daemon.stop(), 0);
        rig.world().clear_faults();
        let daemon = rig.start_again();
        rig.until_taken(2).await;
        assert!(account().paused_until.is_none());
        assert_eq!(daemon.stop(), 0);
    }
}

pub(super) async fn a_conversation_that_is_gone_is_paused_alone(row: &Row) {
    let mut rig = row.rig().await;
    let gone = row.conversation(&mut rig, "Ada Byron");
    let here = row.conversation(&mut rig, "Grace Murray");
    rig.world().push(gone, "before");
    let fault = match row.dialect {
        Dialect::LinkedApi => {
            Fault::TypedError { error_type: "personNotFound".into(), message: "no such person".into() }
        }
        _ => status(404),
    };
    let only = When { endpoint: Some(row.polls), conversation: Some(gone), ..When::default() };
    rig.world().inject(fault, only);
    let daemon = rig.start();
    let failing = || rig.known_conversations().into_iter().filter(|c| c.failures > 0).collect::<Vec<_>>();
    until("the one to be paused", || failing().len() == 1).await;
    assert_eq!(failing()[0].failure_class.as_deref(), Some("gone"));
    assert!(failing()[0].due_at.since(UnixMillis::now()) > Duration::from_secs(3_600));
    rig.world().push(here, "the other goes on");
    rig.until_taken(1).await;
    assert!(rig.overview().unwrap().accounts[0].paused_until.is_none());
    assert_eq!(daemon.stop(), 0);
}

pub(super) async fn an_interval_is_kept_and_downtime_causes_one_poll_and_no_burst(row: &Row) {
    let mut rig = row.rig().await;
    rig.polling = "min_interval = \"400ms\"\nmax_interval = \"400ms\"\n".into();
    row.conversation(&mut rig, "Ada Byron");
    let daemon = rig.start();
    let asked = |rig: &Rig| rig.world().request_count(row.polls);
    until("five polls", || asked(&rig) >= 5).await;
    daemon.kill();
    // Several intervals are missed while the daemon is away.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let daemon = rig.start_again();
    until("five more polls", || asked(&rig) >= 10).await;
    assert_eq!(daemon.stop(), 0);
    let times: Vec<_> = rig.world().requests().into_iter().filter(|r| r.endpoint == row.polls).map(|r| r.at).collect();
    let shortest = times.windows(2).map(|pair| pair[1].since(pair[0])).min().unwrap();
    // The simulator stamps arrivals, so a little of the gap may be lost on the way.
    assert!(shortest >= Duration::from_millis(300), "{shortest:?} between two polls");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_account_delays_no_other_account() {
    let mut rig = Rig::new().await;
    rig.follow(Dialect::LinkedApi, "Ada Byron");
    let healthy = rig.follow(Dialect::ConnectSafely, "Grace Murray");
    rig.world().inject(Fault::Hang, When { endpoint: Some(Endpoint::LinkedApiPoll), ..When::default() });
    let daemon = rig.start();
    for number in 0..10 {
        rig.world().push(healthy, &number.to_string());
        rig.until_taken(number + 1).await;
    }
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_throttled_moment_counts_once_however_many_polls_were_in_flight() {
    let mut rig = Rig::new().await;
    for number in 0..8 {
        rig.follow(Dialect::ConnectSafely, &format!("Person {number}"));
    }
    rig.world().set_switches(|s| s.latency_ms = 100);
    rig.world().inject(Fault::RateLimited { retry_after: RetryAfter::Missing }, When::default());
    let daemon = rig.start();
    let account = || rig.overview().and_then(|o| o.accounts.into_iter().next());
    until("the account to be paused", || account().is_some_and(|a| a.paused_until.is_some())).await;
    // The other polls in flight are refused too.
    until("all refusals", || rig.world().request_count(Endpoint::ConnectSafelyMessages) >= 4).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let account = account().unwrap();
    let wait = account.paused_until.unwrap().since(account.paused_since.unwrap());
    assert!(wait <= Duration::from_secs(61), "the first pause is at most a minute, not {wait:?}");
    assert_eq!(daemon.stop(), 0);
}
