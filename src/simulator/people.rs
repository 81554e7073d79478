//! Who writes and what they say: names, profile ids and phrases, all made from the seed.

use data_encoding::{BASE64, BASE64URL_NOPAD};

use crate::backoff::mix;

/// The person whose account this is.
pub(super) struct Owner {
    pub(super) first_name: &'static str,
    pub(super) last_name: &'static str,
    pub(super) slug: &'static str,
}

/// The one owner of every simulated account.
pub(super) const OWNER: Owner = Owner { first_name: "Robin", last_name: "Keller", slug: "robin-keller" };

impl Owner {
    /// First and last name.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.first_name, self.last_name)
    }

    /// The public profile.
    pub(super) fn url(&self) -> String {
        format!("https://www.linkedin.com/in/{}", self.slug)
    }
}

/// Names for conversations that nobody named.
pub(super) const NAMES: [&str; 24] = [
    "Ada Byron",
    "Mara Lind",
    "Tomas Ekberg",
    "Yuki Tanabe",
    "Priya Raman",
    "Jonas Weber",
    "Leila Haddad",
    "Sofia Moretti",
    "Kwame Mensah",
    "Ines Duarte",
    "Oskar Nowak",
    "Hana Kim",
    "Diego Salas",
    "Freya Olsen",
    "Nikhil Bose",
    "Chloe Martin",
    "Emeka Obi",
    "Zofia Zielinska",
    "Liam Byrne",
    "Aylin Kaya",
    "Noor van Dijk",
    "Mateo Rios",
    "Greta Holm",
    "Samir Aziz",
];

/// What people write when nobody scripted it; with non-ASCII text, quotes and a line break on purpose.
pub(super) const PHRASES: [&str; 20] = [
    "Tuesday works for me.",
    "Thanks for connecting!",
    "Could you send the deck over?",
    "Sounds good, talk soon.",
    "Is the role still open?",
    "I'll check with the team and come back to you.",
    "Great meeting you at the conference.",
    "Can we move our call to 3pm?",
    "Merci beaucoup, à bientôt !",
    "Let me loop in our procurement lead.",
    "Not right now, maybe next quarter.",
    "Quick question: does it work with SSO?",
    "Just following up on my last note.",
    "👍",
    "He said \"yes\" to the pilot.",
    "First point.\nSecond point.",
    "どうぞよろしくお願いします。",
    "What would the pricing be for 40 seats?",
    "Congrats on the launch! 🎉",
    "Happy to help; feel free to reach out any time.",
];

/// `Ada Byron` as LinkedIn writes it in addresses: `ada-byron`.
pub(super) fn slug(name: &str) -> String {
    let mut slug = String::with_capacity(name.len());
    for c in name.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "member".into() } else { slug.into() }
}

/// An opaque profile id: `ACoAA…` for members, `ACwAA…` for Sales Navigator leads.
pub(super) fn profile_id(prefix: &str, seed: u64, number: u64) -> String {
    format!("{prefix}{}", BASE64URL_NOPAD.encode(&bytes::<24>(seed, number)))
}

/// The `2-…` token of a thread, which decodes to a UUID and a suffix.
pub(super) fn thread_token(seed: u64, number: u64) -> String {
    let id = data_encoding::HEXLOWER.encode(&bytes::<16>(seed, number));
    let uuid = format!("{}-{}-{}-{}-{}_100", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]);
    format!("2-{}", BASE64.encode(uuid.as_bytes()))
}

/// The `2-…` token of a message, which decodes to its time in milliseconds and a number.
pub(super) fn message_token(sent_at_millis: i64, seed: u64, number: u64) -> String {
    // Counting from a seeded start keeps messages of one millisecond apart.
    let number = 10_000 + (mix(seed, 1) % 90_000 + number) % 90_000;
    format!("2-{}", BASE64.encode(format!("{sent_at_millis}b{number}-100").as_bytes()))
}

fn bytes<const N: usize>(seed: u64, number: u64) -> [u8; N] {
    let start = mix(seed, number);
    let mut bytes = [0; N];
    for (chunk, word) in bytes.chunks_mut(8).zip(0..) {
        chunk.copy_from_slice(&mix(start, word).to_le_bytes()[..chunk.len()]);
    }
    bytes
}
