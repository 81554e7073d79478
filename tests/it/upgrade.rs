//! A database of the first release is upgraded where it lies, and nothing that it knew or owed is lost.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use inboxd::simulator::{ConversationRef, Dialect, Draft};
use inboxd::time::UnixMillis;
use rusqlite::{Connection, params};

use crate::support::{Rig, inboxd_in, until};

const FIRST_SCHEMA: &str = include_str!("../../migrations/0001_initial.sql");
const APPLICATION_ID: i64 = 0x696e_6278;

fn event(id: &str, kind: &str, text: &str) -> String {
    let time = "2026-11-20T09:14:03.512Z";
    let body = serde_json::json!({
        "specversion": "1.0", "id": id, "source": "/inboxd/accounts/work", "type": kind, "subject": "2-MGE1", "time": time,
        "datacontenttype": "application/json",
        "data": {
            "provider": "connectsafely", "account": "work",
            "conversation": {"id": "2-MGE1", "type": "standard", "person_url": null, "title": "Ada Byron"},
            "message": {
                "id": id, "direction": "inbound", "sent_at": time,
                "sender": {"id": null, "name": "Ada Byron", "profile_url": null},
                "text": text, "attachments": [], "flags": []
            },
            "seen": {"at": time, "route": "poll", "late": false, "backfill": false}
        }
    });
    body.to_string()
}

/// What the first release would have left behind: three messages known, the first of them delivered, the others owed, one
/// attempt of them made.
struct Left {
    rig: Rig,
    conversation: ConversationRef,
    watermark: UnixMillis,
    owed: Vec<String>,
}

async fn left_behind() -> Left {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let start = UnixMillis::now() - Duration::from_secs(3_600);
    let ids: Vec<_> = (0..3)
        .map(|number| {
            let sent_at = Some(start + Duration::from_secs(number));
            rig.world().push_draft(conversation, Draft { text: format!("old {number}"), sent_at, ..Draft::default() })
        })
        .collect();
    let watermark = start + Duration::from_secs(2);
    let database = Connection::open(rig.database()).unwrap();
    database.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
    database.execute_batch(FIRST_SCHEMA).unwrap();
    database.pragma_update(None, "user_version", 1).unwrap();
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| database.execute(sql, values).unwrap();
    run("INSERT INTO accounts (id, provider, name) VALUES (7, 'connectsafely', 'work')", &[]);
    let id = rig.world().conversation_id(conversation);
    run(
        "INSERT INTO conversations (id, account, conversation_id, kind, title, first_polled_at, watermark, verified_until,
            last_message_at, last_polled_at, rechecked_at, due_at, edits)
         VALUES (5, 7, ?1, 'standard', 'Ada Byron', ?2, ?2, ?2, ?2, ?2, ?2, ?2, 4)",
        params![id, watermark.as_millis()],
    );
    run(
        "INSERT INTO conversations (id, account, conversation_id, kind, followed, due_at)
         VALUES (6, 7, '2-bm9ib2R5', 'standard', 0, 0)",
        &[],
    );
    run("INSERT INTO gaps (conversation, reason, found_at) VALUES (6, 'cursor', 0)", &[]);
    run("INSERT INTO sinks (id, name, added_at) VALUES (3, 'crm', 0)", &[]);
    let mut owed = vec![];
    for (number, message) in (0i64..).zip(&ids) {
        let body = event(&format!("evt_old{number}"), "message.new", &format!("old {number}"));
        let (row, delivered) = (number + 100, i64::from(number == 0));
        run(
            "INSERT INTO messages VALUES (5, ?1, ?2, ?2, ?3, ?4)",
            params![message, watermark.as_millis(), number, row],
        );
        run("INSERT INTO events VALUES (?1, ?2, 5, ?3, ?4)", params![row, format!("evt_old{number}"), number, body]);
        run(
            "INSERT INTO deliveries (sink, conversation, event, state, attempts) VALUES (3, 5, ?1, ?2, 1)",
            params![row, delivered],
        );
        if delivered == 0 {
            owed.push(body);
        }
    }
    run("INSERT INTO attempts VALUES (2, 1, 0, 'retry', 'status 503')", &[]);
    run("INSERT INTO lanes VALUES (3, 5, 0)", &[]);
    Left { rig, conversation, watermark, owed }
}

fn schema(path: &Path) -> i64 {
    Connection::open(path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_first_release_owed_is_delivered_and_what_it_knew_is_not_told_again() {
    let Left { rig, conversation, watermark, owed } = left_behind().await;
    rig.write_config();
    for command in ["status", "audit"] {
        let refused = inboxd_in(rig.path(), &[command]);
        assert_eq!(refused.code, 1);
        assert!(refused.stderr.contains("start the daemon once, which upgrades it"), "{}", refused.stderr);
    }
    assert_eq!(schema(&rig.database()), 1, "whoever only reads changes nothing");
    let daemon = rig.start_again();
    rig.until_taken(2).await;
    let bodies: Vec<_> = rig.receiver.arrived().into_iter().map(|arrived| arrived.body).collect();
    assert_eq!(bodies, owed, "the same bytes, in order");
    rig.settle().await;
    let known = rig.conversation().unwrap();
    assert_eq!((known.watermark, known.follow.as_str()), (Some(watermark), "pinned"));
    assert_eq!(known.title.as_deref(), Some("Ada Byron"));
    rig.world().push(conversation, "new");
    rig.until_taken(3).await;
    rig.settle().await;
    assert_eq!(rig.receiver.texts(), ["old 1", "old 2", "new"]);
    let rows: HashSet<i64> = {
        let database = Connection::open(rig.database()).unwrap();
        let mut statement = database.prepare("SELECT id FROM events").unwrap();
        statement.query_map([], |r| r.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    assert_eq!(rows, HashSet::from([100, 101, 102, 103]), "numbers of events go on");
    let conversations = rig.known_conversations();
    let other = conversations.iter().find(|c| c.id == "2-bm9ib2R5").unwrap();
    assert_eq!((other.follow.as_str(), other.gaps.len()), ("none", 1));
    assert!(schema(&rig.database()) > 1);
    assert_eq!(daemon.stop(), 0);
    let database = Connection::open(rig.database()).unwrap();
    let sound: String = database.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    let orphans = database.prepare("PRAGMA foreign_key_check").unwrap().exists([]).unwrap();
    assert_eq!((sound.as_str(), orphans), ("ok", false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_the_upgrade_leaves_the_old_or_the_new_schema_and_loses_nothing() {
    let Left { rig, owed, .. } = left_behind().await;
    rig.write_config();
    let mut schemas = HashSet::new();
    for _ in 0..10 {
        // Killed as early as can be seen from outside: as soon as the lock is taken.
        let daemon = rig.start_again();
        until("the lock", || rig.path().join("inboxd.db.lock").exists()).await;
        daemon.kill();
        schemas.insert(schema(&rig.database()));
    }
    let daemon = rig.start_again();
    rig.until_taken(2).await;
    let bodies: HashSet<_> = rig.receiver.arrived().into_iter().map(|arrived| arrived.body).collect();
    assert_eq!(bodies, owed.into_iter().collect());
    assert!(schemas.is_subset(&HashSet::from([1, schema(&rig.database())])), "{schemas:?}");
    assert_eq!(daemon.stop(), 0);
}
