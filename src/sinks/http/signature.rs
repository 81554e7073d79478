//! Signatures as Standard Webhooks has them: `v1` with a shared secret, `v1a` with a key pair.

use std::fmt::Display;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// What a shared secret begins with.
const SHARED: &str = "whsec_";

/// What the secret half of a key pair begins with.
const PRIVATE: &str = "whsk_";

/// What the public half begins with.
const PUBLIC: &str = "whpk_";

/// Shortest shared secret that Standard Webhooks allows.
const SHORTEST_KEY: usize = 24;

/// Bytes of a fresh secret, and of the seed of a key pair.
const FRESH_KEY: usize = 32;

/// A signing secret that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// Neither `whsec_` nor `whsk_`, or not base64 behind it.
    #[error("must be \"whsec_\" or \"whsk_\" and base64; \"inboxd secret new\" makes one")]
    NotBase64,
    /// The half that is for receivers.
    #[error("is a public key, which is for the receiver; the secret one begins with \"whsk_\"")]
    Public,
    /// Too short to be safe.
    #[error(
        "is too short: Standard Webhooks asks for at least 24 bytes behind \"whsec_\"; \"inboxd secret new\" makes one"
    )]
    TooShort,
    /// Not the length of an Ed25519 key.
    #[error("must have 32 or 64 bytes behind \"whsk_\"; \"inboxd secret new --ed25519\" makes one")]
    WrongLength,
    /// Its two halves do not belong together.
    #[error("is damaged: the public key in it is not that of its secret one")]
    Mismatch,
}

/// No random bytes can be had from the system.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

enum Key {
    Shared(Hmac<Sha256>),
    Pair(Ed25519KeyPair),
}

impl Key {
    fn parse(secret: &SecretString) -> Result<Self, SignatureError> {
        let secret = secret.expose_secret().trim();
        let decoded = |encoded: &str| BASE64.decode(encoded.as_bytes()).map_err(|_| SignatureError::NotBase64);
        if secret.starts_with(PUBLIC) {
            return Err(SignatureError::Public);
        }
        if let Some(encoded) = secret.strip_prefix(PRIVATE) {
            return pair(&decoded(encoded)?).map(Self::Pair);
        }
        let key = decoded(secret.strip_prefix(SHARED).ok_or(SignatureError::NotBase64)?)?;
        if key.len() < SHORTEST_KEY {
            return Err(SignatureError::TooShort);
        }
        Hmac::new_from_slice(&key).map(Self::Shared).map_err(|_| SignatureError::TooShort)
    }

    fn sign(&self, content: &[u8]) -> String {
        match self {
            Self::Shared(key) => {
                let mut mac = key.clone();
                mac.update(content);
                format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
            }
            Self::Pair(pair) => format!("v1a,{}", BASE64.encode(pair.sign(content).as_ref())),
        }
    }
}

/// A seed, or a seed and its public key behind it.
fn pair(key: &[u8]) -> Result<Ed25519KeyPair, SignatureError> {
    match key.split_at_checked(FRESH_KEY) {
        Some((seed, [])) => Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| SignatureError::WrongLength),
        Some((seed, public)) if public.len() == FRESH_KEY => {
            Ed25519KeyPair::from_seed_and_public_key(seed, public).map_err(|_| SignatureError::Mismatch)
        }
        _ => Err(SignatureError::WrongLength),
    }
}

/// The live signing keys.
pub struct Secrets(Vec<Key>);

impl Secrets {
    /// Reads secrets of the forms `whsec_<base64>` and `whsk_<base64>`, in any mixture.
    pub fn parse(secrets: &[SecretString]) -> Result<Self, SignatureError> {
        secrets.iter().map(Key::parse).collect::<Result<_, _>>().map(Self)
    }

    /// The value of `webhook-signature`: over id, timestamp in seconds and the exact body, one signature for each key.
    pub fn sign(&self, id: &str, timestamp: impl Display, body: &str) -> String {
        let content = format!("{id}.{timestamp}.{body}");
        self.0.iter().map(|key| key.sign(content.as_bytes())).collect::<Vec<_>>().join(" ")
    }
}

/// A fresh secret that sender and receiver share.
pub fn new_shared_secret() -> Result<String, NoRandomness> {
    Ok(format!("{SHARED}{}", BASE64.encode(&random()?)))
}

/// A fresh key pair: the secret key for the sender, the public one for receivers.
pub fn new_key_pair() -> Result<(String, String), NoRandomness> {
    let seed = random()?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| NoRandomness)?;
    let public = pair.public_key().as_ref();
    let secret = format!("{PRIVATE}{}", BASE64.encode(&[seed.as_slice(), public].concat()));
    Ok((secret, format!("{PUBLIC}{}", BASE64.encode(public))))
}

fn random() -> Result<[u8; FRESH_KEY], NoRandomness> {
    let mut bytes = [0; FRESH_KEY];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderMap;
    use ring::signature::{ED25519, UnparsedPublicKey};

    fn secrets(secrets: &[&str]) -> Result<Secrets, SignatureError> {
        Secrets::parse(&secrets.iter().map(|secret| (*secret).to_owned().into()).collect::<Vec<_>>())
    }

    #[test]
    fn the_official_implementation_verifies_our_signature_and_each_of_two_while_rotating() {
        let (old, new) = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", new_shared_secret().unwrap());
        let (private, _) = new_key_pair().unwrap();
        let secrets = secrets(&[old, &private, &new]).unwrap();
        let (id, body) = ("evt_1", "{\"text\":\"grüße\"}");
        let now = crate::time::UnixMillis::now().as_millis() / 1000;
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", id.parse().unwrap());
        headers.insert("webhook-timestamp", now.to_string().parse().unwrap());
        headers.insert("webhook-signature", secrets.sign(id, now, body).parse().unwrap());
        for secret in [old, &new] {
            let receiver = standardwebhooks::Webhook::new(secret).unwrap();
            receiver.verify(body.as_bytes(), &headers).unwrap();
            assert!(receiver.verify(b"{}", &headers).is_err(), "a changed body must not verify");
        }
    }

    #[test]
    fn a_key_pair_signs_what_its_public_key_verifies() {
        let (private, public) = new_key_pair().unwrap();
        let seed_alone = {
            let both = BASE64.decode(private.strip_prefix(PRIVATE).unwrap().as_bytes()).unwrap();
            format!("{PRIVATE}{}", BASE64.encode(&both[..FRESH_KEY]))
        };
        let public = BASE64.decode(public.strip_prefix("whpk_").unwrap().as_bytes()).unwrap();
        for secret in [&private, &seed_alone] {
            let value = secrets(&[secret]).unwrap().sign("evt_1", 1_700_000_000, "{}");
            let signature = BASE64.decode(value.strip_prefix("v1a,").unwrap().as_bytes()).unwrap();
            let verifier = UnparsedPublicKey::new(&ED25519, &public);
            verifier.verify(b"evt_1.1700000000.{}", &signature).unwrap();
            assert!(verifier.verify(b"evt_1.1700000001.{}", &signature).is_err(), "another time must not verify");
        }
    }

    #[test]
    fn while_rotating_there_is_one_signature_for_each_key_in_their_order() {
        let (private, _) = new_key_pair().unwrap();
        let value = secrets(&["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &private]).unwrap().sign("a", 1, "b");
        let versions: Vec<_> = value.split(' ').map(|signature| signature.split_once(',').unwrap().0).collect();
        assert_eq!(versions, ["v1", "v1a"]);
    }

    #[test]
    fn fresh_secrets_differ() {
        assert_ne!(new_shared_secret().unwrap(), new_shared_secret().unwrap());
        assert_ne!(new_key_pair().unwrap(), new_key_pair().unwrap());
    }

    #[test]
    fn secrets_that_cannot_be_used_are_told_apart() {
        let refused = |secret: &str| secrets(&[secret]).err().unwrap();
        assert!(matches!(refused("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), SignatureError::NotBase64));
        assert!(matches!(refused("whsec_not base64"), SignatureError::NotBase64));
        assert!(matches!(refused("whsec_c2hvcnQ="), SignatureError::TooShort));
        assert!(matches!(refused("whsk_c2hvcnQ="), SignatureError::WrongLength));
        let (private, public) = new_key_pair().unwrap();
        assert!(matches!(refused(&public), SignatureError::Public));
        let mut both = BASE64.decode(private.strip_prefix(PRIVATE).unwrap().as_bytes()).unwrap();
        both[0] ^= 1;
        assert!(matches!(refused(&format!("whsk_{}", BASE64.encode(&both))), SignatureError::Mismatch));
    }
}
