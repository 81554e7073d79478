//! The key `tls`, of accounts and of sinks: whom the other side has to be, and who we are to it.

use std::sync::Arc;

use data_encoding::BASE64;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::settings::OneOrMany;

/// What a pin begins with; as in RFC 7469, it is the SHA-256 of the server's public key (SubjectPublicKeyInfo).
const PIN: &str = "sha256/";

/// Whom a connection trusts, and how it proves who we are. Without any of it: whom the system trusts, and nobody.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Certificates of authorities, PEM: these are trusted, and those of the system are not.
    #[serde(default)]
    ca: Option<String>,
    /// Our certificate and those up to its authority, PEM.
    #[serde(default)]
    client_certificate: Option<String>,
    /// Its key, PEM.
    #[serde(default)]
    client_key: Option<SecretString>,
    /// The server's certificate has to be of one of these public keys, besides being trusted.
    #[serde(default)]
    pin: Option<OneOrMany<String>>,
}

/// A key at or below `tls`, and what is wrong with its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {message}")]
pub struct TrustError {
    /// The key.
    pub key: &'static str,
    /// What is wrong, and what to do.
    pub message: &'static str,
}

impl TrustError {
    /// Why it cannot stand beside a proxy that speaks TLS.
    pub const WITH_PROXY: &str =
        "would be asked of the proxy as well, which has another key; reach the proxy by http://";
}

fn wrong(key: &'static str, message: &'static str) -> TrustError {
    TrustError { key, message }
}

/// The certificates that a text has.
fn certificates(key: &'static str, text: &str) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let none = "has no certificate in it; it is the text of a PEM file, which ${file:/path/to/file.pem} inserts";
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| wrong(key, none))
}

impl Trust {
    /// Whether nothing is said, so that it is as the system has it.
    pub fn is_of_the_system(&self) -> bool {
        self.ca.is_none() && self.client_certificate.is_none() && self.client_key.is_none() && self.pin.is_none()
    }

    /// What must not be shown.
    pub fn secrets(&self) -> Vec<SecretString> {
        self.client_key.iter().cloned().collect()
    }

    /// What is wrong with it for an address, which speaks TLS or not.
    pub fn problem(&self, speaks_tls: bool) -> Result<(), TrustError> {
        match (self.is_of_the_system(), speaks_tls) {
            (true, _) => Ok(()),
            (false, true) => self.config().map(drop),
            (false, false) => Err(wrong("tls", "says whom to trust, and the address is one without TLS")),
        }
    }

    /// What TLS is told. The error names what cannot be used and repeats nothing of it.
    pub fn config(&self) -> Result<ClientConfig, TrustError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = self.verifier(&provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring knows TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        match (&self.client_certificate, &self.client_key) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(_), None) => Err(wrong("tls.client_key", "is missing: the certificate is nothing without it")),
            (None, Some(_)) => Err(wrong("tls.client_certificate", "is missing: whose key is it?")),
            (Some(certificate), Some(key)) => {
                let chain = certificates("tls.client_certificate", certificate)?;
                let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes()).map_err(|_| {
                    wrong(
                        "tls.client_key",
                        "has no key in it that can be used; it is the text of a PEM file without a password, which \
                         ${file:/path/to/key.pem} inserts",
                    )
                })?;
                builder.with_client_auth_cert(chain, key).map_err(|_| {
                    wrong("tls.client_key", "is not the key of client_certificate, or of a kind that is not known")
                })
            }
        }
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TrustError> {
        let inner: Arc<dyn ServerCertVerifier> = match &self.ca {
            Some(text) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates("tls.ca", text)? {
                    roots
                        .add(certificate)
                        .map_err(|_| wrong("tls.ca", "has a certificate in it that is none of an authority"))?;
                }
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
                verifier.map_err(|_| wrong("tls.ca", "has no authority in it"))?
            }
            None => {
                let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(provider));
                Arc::new(verifier.map_err(|_| {
                    wrong(
                        "tls.ca",
                        "is missing, and the system's store has no certificates; SSL_CERT_FILE may name another",
                    )
                })?)
            }
        };
        let pins = match &self.pin {
            None => return Ok(inner),
            Some(OneOrMany::One(pin)) => std::slice::from_ref(pin),
            Some(OneOrMany::Many(pins)) => pins,
        };
        if pins.is_empty() {
            return Err(wrong("tls.pin", "is an empty list; name a key, or leave it out"));
        }
        let keys: Option<Vec<[u8; 32]>> = pins.iter().map(|pin| key_of(pin)).collect();
        let keys = keys.ok_or_else(|| {
            wrong(
                "tls.pin",
                "must be \"sha256/\" and the base64 of the SHA-256 of the server's public key: openssl x509 -in FILE -pubkey \
                 -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64",
            )
        })?;
        Ok(Arc::new(Pinned { inner, keys }))
    }
}

fn key_of(pin: &str) -> Option<[u8; 32]> {
    BASE64.decode(pin.trim().strip_prefix(PIN)?.as_bytes()).ok()?.try_into().ok()
}

/// Trusts whom another verifier trusts, where the key is one of these.
#[derive(Debug)]
struct Pinned {
    inner: Arc<dyn ServerCertVerifier>,
    keys: Vec<[u8; 32]>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        let own = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
        let key: [u8; 32] = Sha256::digest(own.as_ref()).into();
        if self.keys.contains(&key) {
            return Ok(verified);
        }
        Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problem(keys: serde_json::Value) -> String {
        let trust: Trust = serde_json::from_value(keys).unwrap();
        assert!(!trust.is_of_the_system());
        trust.problem(true).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_used_is_named_and_not_repeated() {
        let pem = "-----BEGIN CERTIFICATE-----\nczNjcjN0\n-----END CERTIFICATE-----\n";
        for (keys, says) in [
            (json!({"ca": "/etc/s3cr3t.pem"}), "tls.ca has no certificate in it"),
            (json!({"ca": pem}), "tls.ca has a certificate in it that is none"),
            (json!({"client_certificate": pem}), "tls.client_key is missing"),
            (json!({"client_key": "s3cr3t"}), "tls.client_certificate is missing"),
            (json!({"client_certificate": pem, "client_key": "s3cr3t"}), "tls.client_key has no key in it"),
            (
                json!({"client_certificate": "s3cr3t", "client_key": "s3cr3t"}),
                "tls.client_certificate has no certificate",
            ),
            (json!({"pin": "s3cr3t"}), "tls.pin must be \"sha256/\""),
            (json!({"pin": ["sha256/czNjcjN0"]}), "tls.pin must be \"sha256/\""),
            (json!({"pin": []}), "tls.pin is an empty list"),
        ] {
            let told = problem(keys);
            assert!(told.starts_with(says) && !told.contains("s3cr3t"), "{told}");
        }
        assert!(serde_json::from_value::<Trust>(json!({"cert": "x"})).is_err(), "a typo is told");
        let pinned: Trust = serde_json::from_value(json!({"pin": "x"})).unwrap();
        assert_eq!(pinned.problem(false).unwrap_err().key, "tls");
        assert!(Trust::default().is_of_the_system() && Trust::default().problem(false).is_ok());
    }
}
