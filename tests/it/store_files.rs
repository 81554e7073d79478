//! Databases that must not be touched, and folders that cannot be used.

use std::path::Path;

use inboxd::simulator::Dialect;
use rusqlite::Connection;

use crate::support::{Output, Rig, finished, inboxd, inboxd_in, until};

async fn rig() -> Rig {
    let mut rig = Rig::new().await;
    rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.write_config();
    rig
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_database_is_76_and_stays_as_it_is() {
    let rig = rig().await;
    assert_eq!(inboxd_in(rig.path(), &["run", "--once"]).code, 0);
    Connection::open(rig.database()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = bytes(&rig.database());
    for command in [&["run"][..], &["status"], &["tail"]] {
        let output = inboxd_in(rig.path(), command);
        assert_eq!(output.code, 76, "{command:?}: {}", output.stderr);
        assert!(output.stderr.contains("inboxd.db has schema 99"), "{}", output.stderr);
    }
    assert_eq!(bytes(&rig.database()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_or_damaged_database_is_65_and_stays_as_it_is() {
    let rig = rig().await;
    Connection::open(rig.database()).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let foreign = bytes(&rig.database());
    for content in [foreign, b"this is no database, it is a letter to my mother".repeat(100)] {
        std::fs::write(rig.database(), &content).unwrap();
        let output = inboxd_in(rig.path(), &["run"]);
        assert_eq!(output.code, 65, "{}", output.stderr);
        assert!(output.stderr.contains("inboxd.db") && output.stderr.contains("move it away"), "{}", output.stderr);
        assert_eq!(bytes(&rig.database()), content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_look_say_so_when_there_is_no_database_and_make_none() {
    let rig = rig().await;
    for command in ["status", "tail"] {
        let output = inboxd_in(rig.path(), &[command]);
        assert_eq!(output.code, 1);
        assert!(output.stderr.contains("inboxd.db does not exist"), "{}", output.stderr);
    }
    assert!(!rig.database().exists());
}

/// Runs the daemon as a user without rights, where the test itself may change users.
fn unprivileged(rig: &Rig) -> Option<Output> {
    if !rustix::process::geteuid().is_root() {
        return Some(inboxd_in(rig.path(), &["run"]));
    }
    if !Path::new("/usr/bin/setpriv").exists() {
        assert!(std::env::var_os("CI").is_none(), "setpriv(1) of util-linux is missing");
        println!("skipped: running as root without setpriv(1)");
        return None;
    }
    // The program itself may lie in a folder that only root may enter.
    let program = rig.path().join("inboxd");
    std::fs::copy(env!("CARGO_BIN_EXE_inboxd"), &program).unwrap();
    // It reads the configuration, which is root's.
    let config = rig.path().join("inboxd.toml");
    std::os::unix::fs::chown(config, Some(65_534), None).unwrap();
    let mut command = std::process::Command::new("/usr/bin/setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program).arg("run").current_dir(rig.path());
    Some(finished(&mut command))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_may_not_be_written_is_77_and_names_it() {
    use std::os::unix::fs::PermissionsExt;
    let rig = rig().await;
    let permit = |mode: u32| std::fs::set_permissions(rig.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    permit(0o555);
    let output = unprivileged(&rig);
    permit(0o755);
    let Some(output) = output else { return };
    assert_eq!(output.code, 77, "{}", output.stderr);
    assert!(output.stderr.contains("inboxd.db.lock may not be opened by this user"), "{}", output.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_file_that_cannot_be_opened_is_a_failing_sink_and_no_condition_of_the_start() {
    let mut rig = rig().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.more = "\n[sinks.archive]\ntype = \"file\"\npath = \"there/events.jsonl\"\n".into();
    std::fs::write(rig.path().join("there"), "a file").unwrap();
    rig.world().push(conversation, "hello");
    let daemon = rig.start();
    rig.until_taken(1).await;
    assert!(
        daemon.log().contains("there/events.jsonl") && daemon.log().contains("cannot be opened"),
        "{}",
        daemon.log()
    );
    std::fs::remove_file(rig.path().join("there")).unwrap();
    let lines = || std::fs::read_to_string(rig.path().join("there/events.jsonl")).unwrap_or_default().lines().count();
    until("the event in the file once it can be made", || lines() == 1).await;
    assert_eq!(daemon.stop(), 0);
}

/// What a local user can put into the way, with no more rights than to make files in a folder of ours.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_file_that_is_a_link_is_refused_and_what_it_leads_to_is_not_touched() {
    let rig = rig().await;
    let victim = rig.path().join("victim");
    std::fs::write(&victim, "important").unwrap();
    std::os::unix::fs::symlink(&victim, rig.path().join("inboxd.db.lock")).unwrap();
    let output = inboxd_in(rig.path(), &["run", "--once"]);
    assert!(output.code != 0 && output.stderr.contains("inboxd.db.lock"), "{output:?}");
    assert!(output.stderr.contains("symbolic link"), "{}", output.stderr);
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "important");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_or_a_database_that_others_may_write_is_refused_with_the_command_that_mends_it() {
    use std::os::unix::fs::PermissionsExt;
    let rig = rig().await;
    let permit = |path: &std::path::Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    permit(rig.path(), 0o1777);
    let output = inboxd_in(rig.path(), &["run", "--once"]);
    assert_eq!(output.code, 77, "{}", output.stderr);
    assert!(output.stderr.contains("keep the state in a folder of its own"), "{}", output.stderr);
    assert!(!rig.database().exists());
    let trusting = rig.config().replace("[store]\n", "[store]\ntrust_folder = true\n");
    let config = rig.path().join("inboxd.toml");
    std::fs::write(&config, &trusting).unwrap();
    assert_eq!(inboxd_in(rig.path(), &["run", "--once"]).code, 0, "as in a container's volume");
    rig.write_config();
    permit(rig.path(), 0o755);
    assert_eq!(inboxd_in(rig.path(), &["run", "--once"]).code, 0);
    permit(&rig.database(), 0o666);
    let output = inboxd_in(rig.path(), &["run", "--once"]);
    assert!(output.code == 77 && output.stderr.contains("chmod 600"), "{output:?}");
    permit(&rig.database(), 0o644);
    let output = inboxd_in(rig.path(), &["run", "--once"]);
    assert!(output.code == 0 && output.stderr.contains("is readable by every user"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_a_reader_holds_on_the_file_of_a_sink_keeps_nobody_waiting() {
    let mut rig = rig().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.more = "\n[sinks.archive]\ntype = \"file\"\npath = \"events.jsonl\"\n".into();
    rig.write_config();
    let path = rig.path().join("events.jsonl");
    std::fs::write(&path, "").unwrap();
    let reader = std::fs::File::open(&path).unwrap();
    reader.lock_shared().unwrap();
    let daemon = rig.start_again();
    rig.world().push(conversation, "hello");
    let lines = || std::fs::read_to_string(&path).unwrap().lines().count();
    until("the event in the file", || lines() == 1).await;
    daemon.signal(rustix::process::Signal::HUP);
    until("the reload", || daemon.log().matches("delivering to").count() == 2).await;
    rig.world().push(conversation, "again");
    until("the next one", || lines() == 2).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn state_lies_in_the_state_directory_where_systemd_gives_one() {
    let rig = rig().await;
    let state = rig.path().join("state");
    let mut command = inboxd(&["run", "--once"]);
    let output = finished(command.current_dir(rig.path()).env("STATE_DIRECTORY", &state));
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(state.join("inboxd.db").exists() && !rig.database().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_the_database_was_made_leaves_nothing_that_the_next_start_minds() {
    let rig = rig().await;
    std::fs::write(rig.path().join("inboxd.db.new"), "half a database").unwrap();
    std::fs::write(rig.path().join("inboxd.db.new-journal"), "half a journal").unwrap();
    let output = inboxd_in(rig.path(), &["run", "--once"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(!rig.path().join("inboxd.db.new").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_page_ends_the_daemon_with_65() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let daemon = rig.start();
    for number in 0..200 {
        rig.world().push(conversation, &format!("{number} {}", "x".repeat(500)));
    }
    rig.until_taken(200).await;
    assert_eq!(daemon.stop(), 0);
    // Everything behind the header and the schema.
    let mut content = bytes(&rig.database());
    for byte in content.iter_mut().skip(3 * 4096) {
        *byte = 0xAA;
    }
    std::fs::write(rig.database(), content).unwrap();
    let mut daemon = rig.start_again();
    assert_eq!(daemon.wait().code(), Some(65), "{}", daemon.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_less_free_space_than_the_reserve_nothing_is_polled_and_what_is_owed_is_delivered() {
    use crate::support::{Reply, until};
    use inboxd::simulator::Endpoint;
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.receiver.reply(Reply::Hang);
    rig.world().push(conversation, "owed");
    let daemon = rig.start();
    until("the delivery to be owed", || rig.receiver.arrived().len() == 1).await;
    daemon.kill();
    let asked = rig.world().request_count(Endpoint::ConnectSafelyMessages);
    rig.world().push(conversation, "not asked for");
    rig.receiver.reply(Reply::Status(204));
    let text = rig.config().replace("min_free = \"1MiB\"", "min_free = \"1000TiB\"");
    std::fs::write(rig.path().join("inboxd.toml"), text).unwrap();
    let daemon = rig.start_again();
    until("the owed delivery", || rig.overview().is_some_and(|o| o.sinks[0].delivered == 1)).await;
    assert!(daemon.log().contains("polling is paused until there is room"));
    assert_eq!(rig.world().request_count(Endpoint::ConnectSafelyMessages), asked);
    // Room again, by way of a smaller reserve.
    rig.write_config();
    daemon.signal(rustix::process::Signal::HUP);
    until("polling to go on", || rig.receiver.texts().last().is_some_and(|t| t == "not asked for")).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_is_refused_by_whatever_name_it_calls_the_database() {
    use std::os::unix::fs::symlink;
    let mut rig = Rig::new().await;
    rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let daemon = rig.start();
    crate::support::until("the first to run", || daemon.log().contains("delivering to")).await;
    let other = rig.path().join("other");
    std::fs::create_dir(&other).unwrap();
    symlink("../inboxd.db", other.join("soft.db")).unwrap();
    symlink("soft.db", other.join("softer.db")).unwrap();
    std::fs::hard_link(rig.database(), other.join("hard.db")).unwrap();
    symlink(rig.path(), other.join("folder")).unwrap();
    for name in ["soft.db", "softer.db", "hard.db", "folder/inboxd.db"] {
        let url = format!("sqlite:{}", other.join(name).display());
        let second = finished(inboxd(&["run", "--once"]).current_dir(rig.path()).env("INBOXD__STORE__URL", url));
        assert_eq!(second.code, 75, "{name}: {}", second.stderr);
    }
    std::fs::remove_file(other.join("hard.db")).unwrap();
    // Commands reach the daemon by any of its names too.
    let url = format!("sqlite:{}", other.join("softer.db").display());
    let status = finished(inboxd(&["status"]).current_dir(rig.path()).env("INBOXD__STORE__URL", url));
    assert_eq!((status.code, status.stderr.contains("as they were stored")), (0, false), "{}", status.stderr);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_with_a_second_hard_link_is_refused_with_what_to_do() {
    let rig = rig().await;
    assert_eq!(inboxd_in(rig.path(), &["run", "--once"]).code, 0);
    std::fs::hard_link(rig.database(), rig.path().join("second.db")).unwrap();
    let output = inboxd_in(rig.path(), &["run", "--once"]);
    assert_eq!(output.code, 78, "{}", output.stderr);
    assert!(output.stderr.contains("is one of 2 names (hard links)"), "{}", output.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_restored_or_copied_opens_with_whatever_lies_beside_it() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let daemon = rig.start();
    rig.world().push(conversation, "before the backup");
    rig.until_taken(1).await;
    let beside = |suffix: &str| rig.path().join(format!("inboxd.db{suffix}"));
    // A copy of a running database, and its log and shared memory as they lie there.
    let of_the_running = [beside("-wal"), beside("-shm")].map(|path| bytes(&path));
    daemon.kill();
    let backup = rig.path().join("backup.db");
    Connection::open(rig.database()).unwrap().execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
    let sound = |what: &str| {
        let output = inboxd_in(rig.path(), &["run", "--once"]);
        assert_eq!(output.code, 0, "{what}: {}", output.stderr);
        let database = Connection::open(rig.database()).unwrap();
        let check: String = database.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
        assert_eq!(check, "ok", "{what}");
        let messages: i64 = database.query_row("SELECT count(*) FROM messages", [], |r| r.get(0)).unwrap();
        assert_eq!(messages, 1, "{what}");
    };
    let restore = || {
        for suffix in ["-wal", "-shm", "-journal"] {
            std::fs::remove_file(beside(suffix)).ok();
        }
        std::fs::copy(&backup, rig.database()).unwrap();
    };
    let header = bytes(&backup);
    assert_eq!((header[18], header[19]), (1, 1), "a backup keeps no log");
    restore();
    sound("alone");
    restore();
    for (suffix, content) in ["-wal", "-shm"].iter().zip(&of_the_running) {
        std::fs::write(beside(suffix), content).unwrap();
    }
    sound("beside the log of the database that was there before");
    assert!(beside("-wal.left-1").exists());
    restore();
    std::fs::write(beside("-journal"), "no journal at all").unwrap();
    sound("beside a journal that is none");
    assert_eq!(rig.receiver.taken_count(), 1, "nothing is announced again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_its_database_does_not_get_into_the_next_one() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let daemon = rig.start();
    rig.world().push(conversation, "in the log");
    rig.until_taken(1).await;
    daemon.kill();
    std::fs::remove_file(rig.database()).unwrap();
    assert!(!bytes(&rig.path().join("inboxd.db-wal")).is_empty());
    let output = inboxd_in(rig.path(), &["run", "--once"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stderr.contains("a journal of another database"), "{}", output.stderr);
    let database = Connection::open(rig.database()).unwrap();
    let check: String = database.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_cut_off_by_a_kill_is_undone_by_the_next_start_and_by_commands_that_look() {
    let rig = rig().await;
    assert_eq!(inboxd_in(rig.path(), &["run", "--once"]).code, 0);
    let journal = rig.path().join("inboxd.db-journal");
    // A rollback journal as a kill leaves it: copied while a write that has begun is still open.
    let leave_hot_journal = || {
        let writer = Connection::open(rig.database()).unwrap();
        writer.pragma_update(None, "journal_mode", "DELETE").unwrap();
        writer.pragma_update(None, "cache_size", 1).unwrap();
        writer.execute_batch("BEGIN IMMEDIATE; CREATE TABLE left (x)").unwrap();
        let insert =
            "INSERT INTO left SELECT randomblob(4000) FROM (WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
            WHERE i < 200) SELECT i FROM n)";
        writer.execute_batch(insert).unwrap();
        let (half, hot) = (bytes(&rig.database()), bytes(&journal));
        writer.execute_batch("ROLLBACK").unwrap();
        drop(writer);
        std::fs::write(rig.database(), half).unwrap();
        std::fs::write(&journal, hot).unwrap();
    };
    for command in [&["status"][..], &["run", "--once"]] {
        leave_hot_journal();
        let output = inboxd_in(rig.path(), command);
        assert_eq!(output.code, 0, "{command:?}: {}", output.stderr);
        assert!(!journal.exists());
        let left = "SELECT count(*) FROM sqlite_schema WHERE name = 'left'";
        let left: i64 = Connection::open(rig.database()).unwrap().query_row(left, [], |r| r.get(0)).unwrap();
        assert_eq!(left, 0, "what was not committed is not there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_is_refused_and_left_as_it_is() {
    use std::os::unix::fs::FileTypeExt;
    let rig = rig().await;
    let pipe = rig.path().join("pipe.db");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for command in [&["run", "--once"][..], &["status"]] {
        let url = format!("sqlite:{}", pipe.display());
        let output = finished(inboxd(command).current_dir(rig.path()).env("INBOXD__STORE__URL", url));
        assert_eq!(output.code, 78, "{command:?}: {}", output.stderr);
        assert!(output.stderr.contains("is no file but something else"), "{}", output.stderr);
    }
    assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo());
    assert!(!rig.path().join("pipe.db.lock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_clean_stop_the_database_file_alone_is_all_there_is() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    for round in 1..=3 {
        let daemon = rig.start();
        rig.world().push(conversation, "told once");
        rig.until_taken(round).await;
        assert_eq!(daemon.stop(), 0);
        let log = std::fs::metadata(rig.path().join("inboxd.db-wal")).map_or(0, |metadata| metadata.len());
        assert_eq!(log, 0);
        let copy = rig.path().join("copy.db");
        std::fs::copy(rig.database(), &copy).unwrap();
        let url = format!("sqlite:{}", copy.display());
        let once = finished(inboxd(&["run", "--once"]).current_dir(rig.path()).env("INBOXD__STORE__URL", url));
        assert_eq!(once.code, 0, "{}", once.stderr);
        assert_eq!(rig.receiver.arrived().len(), round, "nothing is sent again from the copy");
    }
}
