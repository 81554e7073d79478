//! LinkedIn ids in their several spellings. `urn:li:msg_message:(urn:li:fsd_profile:<owner>,2-<base64>)` and
//! `urn:li:messagingMessage:2-<base64>` are one message; conversations alike. The profile inside is the owner of the
//! mailbox, never the sender.

use crate::model::ConversationType;

/// What the URN of a thread of the ordinary inbox begins with, where it does not name the mailbox.
pub(super) const THREAD: &str = "urn:li:messagingThread:";

pub(super) const SALES_NAVIGATOR: &str = "urn:li:salesNav_thread:";

/// The part of a message URN that does not depend on the mailbox.
pub(super) fn message_id(urn: &str) -> &str {
    token(urn).unwrap_or(urn)
}

/// The part of a conversation URN that does not depend on the mailbox; a Sales Navigator URN whole, because its
/// thread ids are another product's.
pub(super) fn conversation_id(urn: &str) -> &str {
    if urn.starts_with(SALES_NAVIGATOR) { urn } else { token(urn).unwrap_or(urn) }
}

pub(super) fn conversation_type(urn: &str) -> ConversationType {
    if urn.starts_with(SALES_NAVIGATOR) { ConversationType::SalesNavigator } else { ConversationType::Standard }
}

/// The owner of the mailbox, where the URN names one.
pub(super) fn mailbox_owner(urn: &str) -> Option<&str> {
    let (_, rest) = urn.split_once("urn:li:fsd_profile:")?;
    rest.split([',', ')']).next().filter(|owner| !owner.is_empty())
}

/// LinkedIn's internal ids of people: `ACo…` is that of a member, `ACw…` that of a person in Sales Navigator. Anything else is
/// a vanity name, which cannot be compared with one.
pub(super) fn is_opaque(profile_id: &str) -> bool {
    let rest = PEOPLE.iter().find_map(|prefix| profile_id.strip_prefix(prefix));
    // A vanity name that begins so goes on in lower case.
    rest.is_some_and(|rest| rest.starts_with(|c: char| !c.is_ascii_lowercase()))
}

const PEOPLE: [&str; 2] = ["ACo", "ACw"];

/// Whether two ids are of one kind, so that they are one person's only where they are equal. Ids of different kinds say
/// nothing about each other, and neither do vanity names, which people change.
pub(super) fn are_comparable(one: &str, other: &str) -> bool {
    is_opaque(one) && is_opaque(other) && one.get(..3) == other.get(..3)
}

/// The id of a person, without the URN that may stand around it.
pub(super) fn person(id: &str) -> &str {
    let id = id.trim();
    let in_sales = || id.strip_prefix("urn:li:fs_salesProfile:(")?.split([',', ')']).next();
    let of_member = || id.strip_prefix("urn:li:fsd_profile:");
    of_member().or_else(in_sales).unwrap_or(id)
}

/// Whether the sender of a message is the owner of the mailbox, by their ids; `None` where these say nothing about each
/// other. An own message that looks inbound would be answered, so ids that merely differ are not enough.
pub(super) fn is_own(owner: &str, sender: &str) -> Option<bool> {
    let (owner, sender) = (person(owner), person(sender));
    if owner == sender {
        return Some(true);
    }
    are_comparable(owner, sender).then_some(false)
}

/// The text after the last comma inside parentheses, or after the last colon, where that is a `2-` token.
fn token(urn: &str) -> Option<&str> {
    let candidate = match urn.rsplit_once(',') {
        Some((_, rest)) => rest.strip_suffix(')')?,
        None => urn.rsplit_once(':')?.1,
    };
    candidate.starts_with("2-").then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_thread_have_one_id() {
        for urn in [
            "urn:li:msg_conversation:(urn:li:fsd_profile:ACoAAB1o,2-MGE1Yj==)",
            "urn:li:msg_conversation:(urn:li:fsd_profile:ACoAAother,2-MGE1Yj==)",
            "urn:li:messagingThread:2-MGE1Yj==",
            "2-MGE1Yj==",
        ] {
            assert_eq!(conversation_id(urn), "2-MGE1Yj==");
        }
        assert_eq!(conversation_id("urn:li:salesNav_thread:2-X"), "urn:li:salesNav_thread:2-X");
    }

    #[test]
    fn an_urn_of_an_unknown_form_is_its_own_id() {
        for urn in ["urn:li:msg:3:41", "nonsense", "a,b", "urn:li:x:(a,2-b", "2-"] {
            assert_eq!(message_id(urn), urn);
        }
    }

    #[test]
    fn only_internal_ids_of_one_kind_can_be_compared() {
        assert!(are_comparable("ACoAAB1o", "ACoAAx") && are_comparable("ACwAAB1o", "ACwAAx"));
        for other in ["ACwAAB1o", "robin-keller", "ACosta", "acoaab1o", ""] {
            assert!(!are_comparable("ACoAAB1o", other) && !are_comparable(other, "ACoAAB1o"), "{other}");
        }
        assert!(!are_comparable("robin-keller", "mara-lind"));
    }

    #[test]
    fn an_owner_is_told_from_a_sender_only_by_ids_of_one_kind_whatever_stands_around_them() {
        for (sender, is_owner) in [
            ("ACoAAme", Some(true)),
            ("urn:li:fsd_profile:ACoAAme", Some(true)),
            ("urn:li:fs_salesProfile:(ACoAAme,NAME_SEARCH,x)", Some(true)),
            ("ACoAAada", Some(false)),
            ("urn:li:fsd_profile:ACoAAada", Some(false)),
            ("urn:li:fs_salesProfile:(ACwAAada,NAME_SEARCH,x)", None),
            ("robin-keller", None),
            ("123456", None),
            ("urn:li:member:7", None),
            ("", None),
        ] {
            assert_eq!(is_own("ACoAAme", sender), is_owner, "{sender}");
            assert_eq!(is_own("urn:li:fsd_profile:ACoAAme", sender), is_owner, "{sender}");
        }
        assert_eq!(is_own("robin-keller", "mara-lind"), None);
    }

    #[test]
    fn the_owner_is_read_from_the_mailbox_part_only() {
        assert_eq!(mailbox_owner("urn:li:msg_message:(urn:li:fsd_profile:ACoAAB1o,2-M)"), Some("ACoAAB1o"));
        assert_eq!(mailbox_owner("urn:li:messagingThread:2-M"), None);
    }
}
