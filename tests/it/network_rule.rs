//! The rule about addresses is kept for every way to spell one.

use std::net::{Ipv6Addr, TcpListener};

use inboxd::simulator::Dialect;
use inboxd::store::SinkOverview;

use crate::support::{Receiver, Rig, inboxd_in, until, write_private};

/// Hosts of this machine, or of places that must not be asked from it.
const PRIVATE: &[&str] = &[
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0X7F.0x0.0x0.0x1",
    "0177.0.0.1",
    "017700000001",
    "127.000.000.001",
    "127.0.0.1.",
    "%31%32%37.0.0.1",
    "１２７.0.0.1",
    "127。0。0。1",
    "127.255.255.254",
    "0.0.0.0",
    "0",
    "0x0",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::0001]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::]",
    "[2001:0:1:2:3:4:80ff:fffe]",
    "10.0.0.1",
    "192.168.1.1",
    "172.16.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "2852039166",
    "[::ffff:a9fe:a9fe]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fc00::1]",
];

fn config(host: &str, port: u16, network: &str) -> String {
    format!(
        "[accounts.work]\nprovider = \"connectsafely\"\napi_key = \"k\"\naccount_id = \"65f0c0ffee00c0ffee00c0de\"\n\
         [sinks.crm]\ntype = \"http\"\nurl = \"http://{host}:{port}/s3cr3t\"\nnetwork = {network}\n"
    )
}

#[test]
fn every_spelling_of_a_private_address_is_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    for host in PRIVATE {
        for network in ["\"public\"", "[\"8.8.8.0/24\", \"2000::/3\"]"] {
            std::fs::write(folder.path().join("inboxd.toml"), config(host, port, network)).unwrap();
            for command in [&["check"][..], &["run", "--once"]] {
                let output = inboxd_in(folder.path(), command);
                assert_eq!(output.code, 78, "{host} {network}: {}", output.stderr);
                assert!(output.stderr.contains("sinks.crm.url: names an address, and network"), "{}", output.stderr);
                assert!(!output.stderr.contains("s3cr3t"), "{}", output.stderr);
            }
        }
    }
    assert!(listener.accept().is_err(), "nobody was to connect");
    for guarded in ["169.254.169.254", "2852039166", "[::ffff:a9fe:a9fe]", "[fd00:ec2::254]", "[fe80::1]"] {
        std::fs::write(folder.path().join("inboxd.toml"), config(guarded, port, "\"any\"")).unwrap();
        let output = inboxd_in(folder.path(), &["check"]);
        assert!(output.code == 78 && output.stderr.contains("unless it lists them"), "{guarded}: {output:?}");
        std::fs::write(
            folder.path().join("inboxd.toml"),
            config(guarded, port, "[\"169.254.0.0/16\", \"fe80::/10\", \"fd00:ec2::254\"]"),
        )
        .unwrap();
        assert_eq!(inboxd_in(folder.path(), &["check"]).code, 0, "{guarded} is listed");
    }
}

/// Sinks to the receiver's port by these hosts.
fn sinks(hosts: &[&str], port: u16, network: &str) -> String {
    let sink = |(number, host): (usize, &&str)| {
        format!(
            "\n[sinks.s{number}]\ntype = \"http\"\nurl = \"http://{host}:{port}/h{number}\"\nnetwork = {network}\n\
             retry = [\"100ms\", \"100ms\"]\n"
        )
    };
    hosts.iter().enumerate().map(sink).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_listener_is_reached_by_every_spelling_that_the_rule_allows() {
    let mut rig = Rig::new().await;
    let receiver = Receiver::start().await;
    let hosts =
        ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0.0.0.0", "[::ffff:127.0.0.1]", "localhost"];
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    rig.more = sinks(&hosts, receiver.port(), "\"any\"")
        + &sinks(&["127.0.0.1", "localhost"], receiver.port(), "[\"127.0.0.0/8\"]")
            .replace(".s", ".l")
            .replace("/h", "/l");
    rig.world().push(conversation, "hello");
    let daemon = rig.start();
    until("all of them", || receiver.arrived().len() >= hosts.len() + 2).await;
    for (number, host) in hosts.iter().enumerate() {
        assert_eq!(receiver.arrived_at(&format!("/h{number}")).len(), 1, "{host}");
    }
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_to_a_private_address_is_refused_at_every_attempt_without_a_connection() {
    let mut rig = Rig::new().await;
    let four = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = four.local_addr().unwrap().port();
    // A machine without IPv6 has one way less to be reached.
    let six = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).ok();
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    rig.more = sinks(&["localhost", "LOCALHOST", "localhost."], port, "\"public\"")
        + &sinks(&["localhost"], port, "[\"8.8.8.0/24\"]").replace(".s", ".l");
    rig.world().push(conversation, "hello");
    let daemon = rig.start();
    // The rule speaks of the address: the event is kept, and tried again.
    let is_refused = |sink: &SinkOverview| sink.last_failure.is_some() && (sink.pending, sink.dead) == (1, 0);
    let refused = || rig.overview().map(|o| o.sinks.iter().filter(|sink| is_refused(sink)).count());
    until("each to be refused, and its event kept", || refused() == Some(4)).await;
    until("further attempts", || daemon.log().matches("next attempt at").count() >= 12).await;
    for listener in [Some(&four), six.as_ref()].into_iter().flatten() {
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "nobody was to connect");
    }
    let log = daemon.log();
    assert!(
        log.contains("network = \\\"public\\\" refuses addresses in")
            || log.contains("network = \"public\" refuses addresses in"),
        "{log}"
    );
    assert!(log.contains("network lists other addresses than this one"), "{log}");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn an_account_that_says_so_keeps_the_rule_for_its_provider_or_its_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let account = |keys: &str| {
        let account = "[accounts.work]\nprovider = \"connectsafely\"\napi_key = \"k\"\naccount_id = \"65f0c0ffee00c0ffee00c0de\"\n";
        write_private(
            &folder.path().join("inboxd.toml"),
            &format!("{account}{keys}\n[sinks.out]\ntype = \"stdout\"\n"),
        );
    };
    for (keys, says) in [
        (format!("base_url = \"http://127.0.0.1:{port}\""), "accounts.work.base_url: names an address, and network"),
        (format!("proxy = \"http://127.1:{port}\""), "accounts.work.proxy: names an address, and network"),
    ] {
        account(&format!("{keys}\nnetwork = \"public\""));
        let output = inboxd_in(folder.path(), &["check"]);
        assert_eq!(output.code, 78, "{}", output.stderr);
        assert!(output.stderr.contains(says), "{}", output.stderr);
    }
    for keys in [format!("base_url = \"http://localhost:{port}\""), format!("proxy = \"http://localhost:{port}\"")] {
        account(&format!("{keys}\nnetwork = \"public\""));
        let output = inboxd_in(folder.path(), &["check", "--online"]);
        assert!(
            output.stdout.contains("network = \"public\" refuses addresses in"),
            "{}{}",
            output.stdout,
            output.stderr
        );
    }
    assert!(listener.accept().is_err(), "nobody was to connect");
}
