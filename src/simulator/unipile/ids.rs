//! Ids in Unipile's styles, made from the seed.

use data_encoding::{BASE64, BASE64URL_NOPAD};

use crate::backoff::mix;
use crate::simulator::people;
use crate::simulator::world::Kind;

/// How the ids of the inboxes of a product begin.
pub(in crate::simulator) fn product(kind: Kind) -> &'static str {
    match kind {
        Kind::Standard => "CLASSIC",
        Kind::SalesNavigator => "SALES_NAVIGATOR",
        Kind::Recruiter => "RECRUITER",
    }
}

/// A chat as version 2 names it: LinkedIn's style, on purpose with every character that base64 has. It ends in `=`.
/// All but the classic ones begin with what the id of their inbox begins with.
pub(in crate::simulator) fn chat(seed: u64, number: u64, inbox: &str) -> String {
    let owner = inbox.rsplit_once('_').map_or(inbox, |(owner, _)| owner);
    let prefix = if owner == product(Kind::Standard) { String::new() } else { format!("{owner}_") };
    format!("{prefix}2-{}", BASE64.encode(&bytes::<25>(mix(seed, 2), number)))
}

/// The `nth` message of a chat in version 2. It is unique within its chat only, as at LinkedIn: the nth messages of
/// all chats share it.
pub(in crate::simulator) fn message(seed: u64, nth: u64) -> String {
    format!("2-{}", BASE64.encode(&bytes::<19>(mix(seed, 3), nth)))
}

/// A chat as version 1 names it.
pub(in crate::simulator) fn chat_v1(seed: u64, number: u64) -> String {
    BASE64URL_NOPAD.encode(&bytes::<16>(mix(seed, 4), number))
}

/// A message as version 1 names it; `seq` is its number in the whole world.
pub(in crate::simulator) fn message_v1(seed: u64, seq: u64) -> String {
    BASE64URL_NOPAD.encode(&bytes::<16>(mix(seed, 5), seq))
}

/// A person as version 1 names them besides their LinkedIn id.
pub(super) fn attendee_v1(seed: u64, number: u64) -> String {
    BASE64URL_NOPAD.encode(&bytes::<16>(mix(seed, 6), number))
}

/// LinkedIn's id of the account's owner.
pub(super) fn owner(seed: u64) -> String {
    people::profile_id("ACoAA", seed, u64::MAX)
}

fn bytes<const N: usize>(seed: u64, number: u64) -> [u8; N] {
    let start = mix(seed, number);
    let mut bytes = [0; N];
    for (chunk, word) in bytes.chunks_mut(8).zip(0..) {
        chunk.copy_from_slice(&mix(start, word).to_le_bytes()[..chunk.len()]);
    }
    bytes
}
