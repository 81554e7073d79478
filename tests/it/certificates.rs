//! Servers whose certificate is refused: what is said of it, and how an authority of one's own is trusted.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::support::{Output, finished, inboxd, pin_of, write_private};

/// Makes an authority, and certificates that it has signed; false, where openssl is not installed, is a skipped test.
fn make_certificates(folder: &Path) -> bool {
    const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    let certificate = |name: &str, san: &str, days: &str| {
        [
            format!("req {KEY} -subj /CN={name} -addext subjectAltName={san} -keyout {name}.key -out {name}.csr"),
            format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -copy_extensions copy -days {days} \
                 -out {name}.pem"
            ),
        ]
    };
    let authority = |name: &str| {
        format!(
            "req -x509 {KEY} -days 2 -subj /CN={name} -addext subjectAltName=IP:127.0.0.1 -keyout {name}.key -out {name}.pem"
        )
    };
    let mut steps = vec![authority("ca"), authority("unknown")];
    steps.extend(certificate("good", "IP:127.0.0.1", "2"));
    steps.extend(certificate("old", "IP:127.0.0.1", "-1"));
    steps.extend(certificate("other", "DNS:crm.example.com", "2"));
    for step in steps {
        let Ok(output) = Command::new("openssl").args(step.split_whitespace()).current_dir(folder).output() else {
            assert!(std::env::var_os("CI").is_none(), "openssl is missing");
            println!("skipped: openssl is not installed");
            return false;
        };
        assert!(output.status.success(), "{step}: {}", String::from_utf8_lossy(&output.stderr));
    }
    true
}

/// Answers every request with 200 and nothing, showing this certificate; returns its address.
fn serve(folder: &Path, name: &str) -> String {
    serve_to(folder, name, None)
}

/// The same, for clients alone that this authority knows.
fn serve_to(folder: &Path, name: &str, clients: Option<&str>) -> String {
    let chain = vec![CertificateDer::from_pem_file(folder.join(format!("{name}.pem"))).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).unwrap();
    let builder = ServerConfig::builder();
    let builder = match clients {
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(folder.join(format!("{authority}.pem"))).unwrap()).unwrap();
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
            if stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
                drop(stream.flush());
            }
        }
    });
    address
}

/// Checks an account and a sink that both lead there.
fn check(folder: &Path, address: &str, trusting: &[(&str, &Path)]) -> Output {
    check_with(folder, address, trusting, "")
}

/// The same with a table `tls` of each.
fn check_with(folder: &Path, address: &str, trusting: &[(&str, &Path)], tls: &str) -> Output {
    let table = |of: &str| if tls.is_empty() { String::new() } else { format!("[{of}.tls]\n{tls}\n") };
    let (account, sink) = (table("accounts.work"), table("sinks.crm"));
    let text = format!(
        "[accounts.work]\nprovider = \"connectsafely\"\napi_key = \"the-key\"\naccount_id = \"a\"\n\
         base_url = \"https://{address}/linkedin\"\n{account}[sinks.crm]\ntype = \"http\"\nurl = \"https://{address}/\"\n{sink}"
    );
    write_private(&folder.join("inboxd.toml"), &text);
    let mut command = inboxd(&["check", "--online"]);
    command.current_dir(folder).env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
    finished(command.envs(trusting.iter().copied()))
}

#[test]
fn a_certificate_that_is_refused_is_told_in_words_for_accounts_and_sinks_alike() {
    let folder = tempfile::tempdir().unwrap();
    if !make_certificates(folder.path()) {
        return;
    }
    inboxd::providers::install_tls();
    let authority = folder.path().join("ca.pem");
    let trusting = [("SSL_CERT_FILE", authority.as_path())];
    for (name, says) in [
        ("old", "the server's certificate has expired"),
        ("other", "the server's certificate is for crm.example.com, not for 127.0.0.1"),
        ("ca", "the server shows the certificate of an authority (CA:TRUE) as its own"),
        ("unknown", "the server"),
    ] {
        let output = check(folder.path(), &serve(folder.path(), name), &trusting);
        let lines: Vec<_> = output.stdout.lines().filter(|line| line.contains(says)).collect();
        assert_eq!((output.code, lines.len()), (3, 2), "{name}: {}{}", output.stdout, output.stderr);
        assert!(lines[0].starts_with("accounts.work (connectsafely): NO TRUST"), "{}", lines[0]);
        assert!(lines[1].starts_with("sinks.crm: CANNOT BE REACHED"), "{}", lines[1]);
    }
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = plain.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in plain.incoming().flatten() {
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        }
    });
    let output = check(folder.path(), &address, &trusting);
    assert_eq!(output.stdout.matches("does not speak TLS").count(), 2, "{}", output.stdout);
}

#[test]
fn an_authority_is_trusted_that_a_file_or_a_folder_in_the_environment_holds() {
    let folder = tempfile::tempdir().unwrap();
    if !make_certificates(folder.path()) {
        return;
    }
    inboxd::providers::install_tls();
    let address = serve(folder.path(), "good");
    let (file, authorities) = (folder.path().join("ca.pem"), folder.path().join("authorities"));
    std::fs::create_dir(&authorities).unwrap();
    std::fs::copy(&file, authorities.join("ours.pem")).unwrap();
    for trusting in [[("SSL_CERT_FILE", file.as_path())], [("SSL_CERT_DIR", authorities.as_path())]] {
        let output = check(folder.path(), &address, &trusting);
        assert!(output.stdout.contains("sinks.crm: can be reached"), "{}{}", output.stdout, output.stderr);
    }
    let unknown = folder.path().join("unknown.pem");
    let output = check(folder.path(), &address, &[("SSL_CERT_FILE", unknown.as_path())]);
    let says = "signed by an authority that this machine does not know; add the certificate of that authority";
    assert_eq!(output.stdout.matches(says).count(), 2, "{}", output.stdout);
}

#[test]
fn an_account_and_a_sink_may_trust_an_authority_of_their_own_prove_who_they_are_and_pin_a_key() {
    let folder = tempfile::tempdir().unwrap();
    if !make_certificates(folder.path()) {
        return;
    }
    inboxd::providers::install_tls();
    let insert = |key: &str, file: &str| format!("{key} = \"${{file:{}}}\"\n", folder.path().join(file).display());
    let (open, closed) = (serve(folder.path(), "good"), serve_to(folder.path(), "good", Some("ca")));
    let (ca, other) = (insert("ca", "ca.pem"), insert("ca", "unknown.pem"));
    let ours = insert("client_certificate", "good.pem") + &insert("client_key", "good.key");
    let pin = format!("pin = \"{}\"\n", pin_of(&folder.path().join("good.pem")));
    let wrong_pin = "pin = \"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n";
    let private = std::fs::read_to_string(folder.path().join("good.key")).unwrap();
    for (address, tls, says) in [
        (&open, ca.clone(), None),
        (&open, format!("{ca}{pin}"), None),
        (&closed, format!("{ca}{ours}"), None),
        (&open, String::new(), Some("signed by an authority that this machine does not know")),
        (&open, other, Some("signed by an authority that this machine does not know")),
        (&open, format!("{ca}{wrong_pin}"), Some("its key is none of those in tls.pin")),
        (&closed, ca.clone(), Some("the server wants a certificate of its client")),
    ] {
        let output = check_with(folder.path(), address, &[], &tls);
        match says {
            None => {
                assert!(output.stdout.contains("sinks.crm: can be reached"), "{tls}{}{}", output.stdout, output.stderr);
                assert!(!output.stdout.contains("NO TRUST"), "{tls}{}", output.stdout);
            }
            Some(says) => assert_eq!(output.stdout.matches(says).count(), 2, "{tls}{}{}", output.stdout, output.stderr),
        }
        assert!(!output.stdout.contains(private.lines().nth(1).unwrap()), "{}", output.stdout);
    }
    let shown = finished(inboxd(&["config", "show"]).current_dir(folder.path()));
    assert!(!shown.stdout.contains(private.lines().nth(1).unwrap()), "{}", shown.stdout);
    let output = check_with(folder.path(), &open, &[], "ca = \"/etc/ca.pem\"\npni = \"x\"");
    assert_eq!(output.code, 78);
    for told in ["accounts.work.tls.pni: unknown key; did you mean \"pin\"?", "sinks.crm.tls.pni: unknown key"] {
        assert!(output.stderr.contains(told), "{}", output.stderr);
    }
    let output = check_with(folder.path(), &open, &[], "ca = \"/etc/ca.pem\"");
    assert_eq!(output.stderr.matches(".tls.ca: has no certificate in it").count(), 2, "{}", output.stderr);
}
