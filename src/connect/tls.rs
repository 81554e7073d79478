//! What a refused certificate means for the person who has to make it right.

use std::error::Error;

use rustls::{AlertDescription, CertificateError};

/// Says in words what TLS has refused, and what to do; `None` where TLS is not what failed.
pub fn in_words(error: &(dyn Error + 'static)) -> Option<String> {
    match behind(error)? {
        rustls::Error::InvalidCertificate(reason) => Some(of_certificate(reason)),
        rustls::Error::InvalidMessage(_) => {
            Some("what answers does not speak TLS; is the address one of http://, or the port another?".into())
        }
        rustls::Error::NoCertificatesPresented => Some("the server shows no certificate".into()),
        rustls::Error::PeerIncompatible(_) | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            Some("the server speaks no version of TLS that is safe; it has to offer 1.2 or 1.3".into())
        }
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::BadCertificate | AlertDescription::UnknownCA,
        ) => Some(
            "the server wants a certificate of its client, and there is none, or not the one; look at \
             tls.client_certificate"
                .into(),
        ),
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            Some("the server knows no site of this name; look at the host in the address".into())
        }
        _ => None,
    }
}

/// The error of TLS behind others. What goes through a stream is wrapped into an error of input and output, which does not
/// call it its source.
fn behind<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|inner| behind(inner)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn of_certificate(reason: &CertificateError) -> String {
    const STORE: &str = "the system's store, or SSL_CERT_FILE";
    const ADD: &str = "add the certificate of that authority to the system's store, name a file with it in SSL_CERT_FILE, \
                       or write it into tls.ca";
    match reason {
        CertificateError::Expired => "the server's certificate has expired; it has to be renewed there".into(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!(
                "the server's certificate has expired ({}); it has to be renewed there",
                moment(not_after.as_secs())
            )
        }
        CertificateError::NotValidYet => {
            "the server's certificate is not valid yet; is the clock of this machine right?".into()
        }
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "the server's certificate is not valid before {}; is the clock of this machine right?",
            moment(not_before.as_secs())
        ),
        CertificateError::NotValidForName => {
            "the server's certificate is for another name; look at the host in the address".into()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<_> = presented.iter().take(5).map(|name| plain(bare(name))).collect();
            let names = if names.is_empty() { "no name at all".into() } else { names.join(", ") };
            let wanted = plain(&expected.to_str());
            format!("the server's certificate is for {names}, not for {wanted}; look at the host in the address")
        }
        CertificateError::UnknownIssuer => {
            format!("the server's certificate is signed by an authority that this machine does not know; {ADD}")
        }
        // What only a pin says.
        CertificateError::ApplicationVerificationFailure => {
            "the server's certificate is valid, and its key is none of those in tls.pin; somebody may stand in between, or \
             the server has a new key"
                .into()
        }
        CertificateError::Revoked => "the server's certificate was revoked; it has to be replaced there".into(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the server's certificate is not one for servers; it has to be replaced there".into()
        }
        CertificateError::BadSignature => {
            format!("the server's certificate is not signed by the authority it names; if that was replaced, {ADD}")
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => format!(
            "the server shows the certificate of an authority (CA:TRUE) as its own; make one for the server, signed by \
             it, and trust the authority ({STORE})"
        ),
        other => format!("the server's certificate is refused: {}", plain(&format!("{other:?}"))),
    }
}

/// A name of a certificate without its kind: `DnsName("crm.example.com")`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

/// The moment, for people.
fn moment(seconds: u64) -> String {
    let moment = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    moment.map_or_else(|| "long ago".into(), |moment| format!("{moment:.0}"))
}

/// What a server says of itself, on one line and bounded.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::{ServerName, UnixTime};
    use std::sync::Arc;
    use std::time::Duration;

    #[derive(Debug, thiserror::Error)]
    #[error("error sending request")]
    struct Outer(#[source] std::io::Error);

    fn said(reason: CertificateError) -> String {
        let inner = std::io::Error::new(std::io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(reason));
        in_words(&Outer(std::io::Error::other(inner))).unwrap()
    }

    #[test]
    fn a_refused_certificate_says_why_and_what_to_do() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let (time, not_after) = (at(1_700_000_000), at(1_600_000_000));
        let expected = ServerName::try_from("crm.example.com").unwrap();
        let presented = vec!["a.example\n".into(), "DnsName(\"b.example\")".into()];
        #[derive(Debug, thiserror::Error)]
        #[error("CaUsedAsEndEntity")]
        struct Ca;
        for (reason, says) in [
            (CertificateError::UnknownIssuer, "SSL_CERT_FILE"),
            (CertificateError::ExpiredContext { time, not_after }, "has expired (2020-09-13T12:26:40Z)"),
            (CertificateError::Expired, "has expired"),
            (CertificateError::NotValidYetContext { time, not_before: at(1_800_000_000) }, "clock"),
            (
                CertificateError::NotValidForNameContext { expected, presented },
                "for a.example , b.example, not for crm.",
            ),
            (CertificateError::Other(rustls::OtherError(Arc::new(Ca))), "CA:TRUE"),
            (CertificateError::Revoked, "revoked"),
        ] {
            let said = said(reason);
            assert!(said.contains(says) && !said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn what_is_not_about_tls_is_left_to_others() {
        assert_eq!(in_words(&Outer(std::io::ErrorKind::ConnectionRefused.into())), None);
        assert_eq!(in_words(&Outer(std::io::Error::other("certificate"))), None);
    }
}
