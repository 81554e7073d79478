//! Who wrote a message: what its signs say together. Ids are trusted most. `isSentByOwner` is wrong at times and names
//! are written in many ways, so either counts only as far as nothing speaks against it: an automation would answer an own
//! message that looks inbound.

use std::cell::OnceCell;
use std::collections::HashSet;

use super::account::Identity;
use crate::model::Direction;
use crate::providers::names::{self, Likeness};
use crate::providers::urn;

/// The signs of one message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signs<'a> {
    pub(super) sender: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    /// What `isSentByOwner` says.
    pub(super) is_own: Option<bool>,
}

/// What is known of the two sides.
#[derive(Clone, Debug, Default)]
pub(super) struct Sides<'a> {
    /// Ids of the owner, of one kind or another.
    pub(super) owner: Vec<&'a str>,
    /// What the account says of its owner.
    pub(super) identity: Option<&'a Identity>,
    /// Ids and names of the people in the conversation, as far as they are told.
    pub(super) participants: Vec<(Option<&'a str>, Option<&'a str>)>,
    /// Those of them whose name is not like the owner's, found out once.
    pub(super) others: OnceCell<Others<'a>>,
}

/// Ids and names of people who are not the owner.
#[derive(Clone, Debug, Default)]
pub(super) struct Others<'a> {
    ids: HashSet<&'a str>,
    names: HashSet<&'a str>,
}

/// Participants that are looked at: no group of people is larger.
const MOST_PARTICIPANTS: usize = 1_000;

impl<'a> Sides<'a> {
    /// Learns from messages that are the owner's by their flag and their name alike which id the owner has here: the one of
    /// Sales Navigator stands nowhere else.
    pub(super) fn learn(&mut self, messages: impl Iterator<Item = Signs<'a>>) {
        for signs in messages.filter(|signs| signs.is_own == Some(true)) {
            if let (Some(sender), Some(Likeness::Same)) = (signs.sender.map(urn::person), self.likeness(signs.name))
                && urn::is_opaque(sender)
                && !self.owner.iter().any(|own| urn::are_comparable(own, sender))
            {
                self.owner.push(sender);
            }
        }
    }

    pub(super) fn direction(&self, signs: Signs<'_>) -> Direction {
        let public_id = self.identity.and_then(|identity| identity.public_id.as_deref());
        if let Some(sender) = signs.sender.map(urn::person) {
            let is_public = |own: &str| !urn::is_opaque(sender) && sender.eq_ignore_ascii_case(own);
            let by_ids = |is_own| self.owner.iter().any(|own| urn::is_own(own, sender) == Some(is_own));
            if by_ids(true) || public_id.is_some_and(is_public) {
                return Direction::Outbound;
            }
            if by_ids(false) {
                return other_than_own(signs.is_own);
            }
            // People change their public ids, so another one counts only where the name is known to be another one too.
            let is_other_name = self.likeness(signs.name) == Some(Likeness::Different);
            if public_id.is_some() && is_vanity_name(sender) && is_other_name {
                return other_than_own(signs.is_own);
            }
        }
        match (signs.is_own, self.likeness(signs.name)) {
            (Some(true), None | Some(Likeness::Same | Likeness::Alike)) => Direction::Outbound,
            (None, Some(Likeness::Same)) => Direction::Outbound,
            (Some(false), Some(Likeness::Different)) => Direction::Inbound,
            (None, Some(Likeness::Different)) if self.is_of_another(signs) => Direction::Inbound,
            _ => Direction::Unknown,
        }
    }

    fn likeness(&self, name: Option<&str>) -> Option<Likeness> {
        names::compared(self.identity?.name.as_deref()?, name?)
    }

    /// Whether the sender is one of the participants, and one whose name is not like the owner's.
    fn is_of_another(&self, signs: Signs<'_>) -> bool {
        let others = self.others.get_or_init(|| {
            let all = self.participants.iter().take(MOST_PARTICIPANTS);
            let others = || all.clone().filter(|(_, name)| self.likeness(*name) == Some(Likeness::Different));
            Others {
                ids: others().filter_map(|(id, _)| id.map(urn::person)).collect(),
                names: others().filter_map(|(_, name)| *name).collect(),
            }
        });
        let is_among = |told: Option<&str>, known: &HashSet<&str>| told.is_some_and(|told| known.contains(told));
        is_among(signs.sender.map(urn::person), &others.ids) || is_among(signs.name, &others.names)
    }
}

/// Whether this is the name in the address of a profile, and no number or URN, which the owner has as well.
fn is_vanity_name(id: &str) -> bool {
    !urn::is_opaque(id) && !id.contains(':') && !id.bytes().all(|byte| byte.is_ascii_digit())
}

/// The sender is somebody else by its id; where the flag says otherwise, one of the two is wrong.
fn other_than_own(is_own: Option<bool>) -> Direction {
    if is_own == Some(true) { Direction::Unknown } else { Direction::Inbound }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn robin() -> Identity {
        Identity { public_id: Some("robin-keller".into()), name: Some("Robin Keller".into()) }
    }

    fn signs<'a>(
        sender: impl Into<Option<&'a str>>,
        name: impl Into<Option<&'a str>>,
        is_own: impl Into<Option<bool>>,
    ) -> Signs<'a> {
        Signs { sender: sender.into(), name: name.into(), is_own: is_own.into() }
    }

    #[test]
    fn signs_count_in_the_order_of_their_trust_and_contradictions_are_unknown() {
        use Direction::{Inbound, Outbound, Unknown};
        let identity = robin();
        let participants = vec![(Some("ACwAAada"), Some("Ada Byron"))];
        let sides = Sides { owner: vec!["ACoAAme"], identity: Some(&identity), participants, ..Sides::default() };
        let rows = [
            // Ids.
            (signs("ACoAAme", "Ada Byron", false), Outbound),
            (signs("robin-keller", None, false), Outbound),
            (signs("ACoAAada", None, None), Inbound),
            (signs("ACoAAada", "Robin Keller", false), Inbound),
            (signs("ACoAAada", None, true), Unknown),
            (signs("ada-byron", "Ada Byron", None), Inbound),
            (signs("ada-byron", "Ada Byron", true), Unknown),
            (signs("ada-byron", None, None), Unknown),
            (signs("ada-byron", None, false), Unknown),
            (signs("ada-byron", "🚀", false), Unknown),
            (signs("8412", "Somebody Else", None), Unknown),
            (signs("urn:li:member:8412", "Somebody Else", None), Unknown),
            (signs("urn:li:fsd_profile:ACoAAme", "Ada Byron", None), Outbound),
            (signs("urn:li:fsd_profile:ACoAAada", None, None), Inbound),
            (signs("urn:li:fs_salesProfile:(ACwAAme,NAME_SEARCH,x)", None, None), Unknown),
            (signs("urn:li:fs_salesProfile:(ACwAAada,NAME_SEARCH,x)", "Ada Byron", None), Inbound),
            (signs("robin-k-42", "Robin Keller", None), Outbound),
            (signs("robin-k-42", "Robin Keller", false), Unknown),
            // An id of another kind says nothing: names and the flag do.
            (signs("ACwAAme", "Robin Keller, MBA", true), Outbound),
            (signs("ACwAAme", "Robin Keller 🚀", None), Outbound),
            (signs("ACwAAme", "Robin Keller", false), Unknown),
            (signs("ACwAAme", None, false), Unknown),
            (signs("ACwAAada", "Ada Byron", false), Inbound),
            (signs("ACwAAada", "Ada Byron", None), Inbound),
            (signs("ACwAAada", "Ada Byron", true), Unknown),
            (signs("acoaame", "Robin Keller MBA", None), Unknown),
            // No id at all.
            (signs(None, "Robin Keller", true), Outbound),
            (signs(None, "Robin K.", true), Outbound),
            (signs(None, "Robin K.", None), Unknown),
            (signs(None, "Ada Byron", None), Inbound),
            (signs(None, "Somebody Else", None), Unknown),
            (signs(None, None, true), Outbound),
            (signs(None, None, false), Unknown),
            (signs(None, None, None), Unknown),
        ];
        for (signs, direction) in rows {
            assert_eq!(sides.direction(signs), direction, "{signs:?}");
        }
    }

    #[test]
    fn the_owners_id_in_sales_navigator_is_learnt_from_what_is_certainly_theirs() {
        let identity = robin();
        let mut sides = Sides { owner: vec!["ACoAAme"], identity: Some(&identity), ..Sides::default() };
        let page = [signs("ACwAAada", "Ada Byron", true), signs("ACwAAme", "Robin Keller 🚀", true)];
        sides.learn(page.into_iter());
        assert_eq!(sides.owner, ["ACoAAme", "ACwAAme"]);
        assert_eq!(sides.direction(signs("ACwAAme", None, None)), Direction::Outbound);
        assert_eq!(sides.direction(signs("ACwAAada", None, false)), Direction::Inbound);
        assert_eq!(sides.direction(page[0]), Direction::Unknown);
    }
}
