//! Keys and tokens of a NATS operator, as its `nsc` makes them: who trusts whom, down to one user.

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

const SEED: u8 = 18 << 3;
const OPERATOR: u8 = 14 << 3;
const ACCOUNT: u8 = 0;
const USER: u8 = 20 << 3;

/// A key pair of one role.
struct Key {
    role: u8,
    seed: [u8; 32],
}

/// What an operator gives away: lines for a server's configuration, and the content of a user's `.creds` file.
pub(crate) struct Operator {
    pub(crate) config: String,
    pub(crate) credentials: String,
}

impl Operator {
    pub(crate) fn new() -> Self {
        let roles = [(OPERATOR, 1), (ACCOUNT, 2), (ACCOUNT, 3), (USER, 4)];
        let [operator, system, account, user] = roles.map(|(role, number)| Key { role, seed: [number; 32] });
        let limits = [
            "subs",
            "data",
            "payload",
            "imports",
            "exports",
            "conn",
            "leaf",
            "mem_storage",
            "disk_storage",
            "streams",
            "consumer",
        ];
        let mut limits: Value = limits.map(|limit| (limit.to_owned(), Value::from(-1))).into_iter().collect();
        limits["wildcards"] = true.into();
        let operator_token = operator.token(&operator, json!({"type": "operator", "version": 2}));
        let system_token = operator.token(&system, json!({"type": "account", "version": 2}));
        let account_token = operator.token(&account, json!({"type": "account", "version": 2, "limits": limits}));
        let user_token =
            account.token(&user, json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}));
        Self {
            config: format!(
                "operator: {operator_token}\nsystem_account: {system}\nresolver: MEMORY\n\
                 resolver_preload: {{\n{system}: {system_token}\n{account}: {account_token}\n}}\n",
                system = system.public(),
                account = account.public()
            ),
            credentials: format!(
                "-----BEGIN NATS USER JWT-----\n{user_token}\n------END NATS USER JWT------\n\n\
                 -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
                user.secret()
            ),
        }
    }
}

impl Key {
    fn pair(&self) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&self.seed).unwrap()
    }

    fn public(&self) -> String {
        encoded(&[self.role], self.pair().public_key().as_ref())
    }

    fn secret(&self) -> String {
        encoded(&[SEED | (self.role >> 5), (self.role & 31) << 3], &self.seed)
    }

    /// Signs claims about another.
    fn token(&self, subject: &Key, nats: Value) -> String {
        let part = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let header = part(json!({"typ": "JWT", "alg": "ed25519-nkey"}));
        let issued = 1_700_000_000;
        let claims = json!({"jti": "TEST", "iat": issued, "iss": self.public(), "sub": subject.public(), "nats": nats});
        let signed = format!("{header}.{}", part(claims));
        let signature = BASE64URL_NOPAD.encode(self.pair().sign(signed.as_bytes()).as_ref());
        format!("{signed}.{signature}")
    }
}

fn encoded(prefix: &[u8], key: &[u8]) -> String {
    let mut bytes = [prefix, key].concat();
    bytes.extend(crc16(&bytes).to_le_bytes());
    BASE32_NOPAD.encode(&bytes)
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8)
            .fold(crc ^ (u16::from(byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 })
    })
}
