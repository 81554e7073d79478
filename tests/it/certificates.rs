//! Servers whose certificate is refused: what is said of it, and how an authority of one's own is trusted.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::{Output, finished, inboxd};

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
    let chain = vec![CertificateDer::from_pem_file(folder.join(format!("{name}.pem"))).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).unwrap();
    let config = Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap());
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
    let text = format!(
        "[accounts.work]\nprovider = \"connectsafely\"\napi_key = \"the-key\"\naccount_id = \"a\"\n\
         base_url = \"https://{address}/linkedin\"\n[sinks.crm]\ntype = \"http\"\nurl = \"https://{address}/\"\n"
    );
    std::fs::write(folder.join("inboxd.toml"), text).unwrap();
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
