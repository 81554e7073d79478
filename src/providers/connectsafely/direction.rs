//! Who wrote a message: what its signs say together. Ids are trusted most. `isSentByOwner` is wrong at times and names
//! are written in many ways, so either counts only as far as nothing speaks against it: an automation would answer an own
//! message that looks inbound.

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
}

impl<'a> Sides<'a> {
    /// Learns from messages that are the owner's by their flag and their name alike which id the owner has here: the one of
    /// Sales Navigator stands nowhere else.
    pub(super) fn learn(&mut self, messages: impl Iterator<Item = Signs<'a>>) {
        for signs in messages.filter(|signs| signs.is_own == Some(true)) {
            if let (Some(sender), Some(Likeness::Same)) = (signs.sender, self.likeness(signs.name))
                && urn::is_opaque(sender)
                && !self.owner.iter().any(|own| urn::are_comparable(own, sender))
            {
                self.owner.push(sender);
            }
        }
    }

    pub(super) fn direction(&self, signs: Signs<'_>) -> Direction {
        let public_id = self.identity.and_then(|identity| identity.public_id.as_deref());
        if let Some(sender) = signs.sender {
            let is_public = |own: &str| !urn::is_opaque(sender) && sender.eq_ignore_ascii_case(own);
            if self.owner.contains(&sender) || public_id.is_some_and(is_public) {
                return Direction::Outbound;
            }
            if self.owner.iter().any(|own| urn::are_comparable(own, sender)) {
                return other_than_own(signs.is_own);
            }
            // People change their public ids, so another one counts only where the name is another one too.
            let likeness = self.likeness(signs.name);
            let is_like_own = matches!(likeness, Some(Likeness::Same | Likeness::Alike));
            if public_id.is_some() && !urn::is_opaque(sender) && !is_like_own {
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
        self.participants.iter().any(|(id, name)| {
            let is_sender = (id.is_some() && *id == signs.sender) || (name.is_some() && *name == signs.name);
            is_sender && self.likeness(*name) == Some(Likeness::Different)
        })
    }
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
        let sides = Sides { owner: vec!["ACoAAme"], identity: Some(&identity), participants };
        let rows = [
            // Ids.
            (signs("ACoAAme", "Ada Byron", false), Outbound),
            (signs("robin-keller", None, false), Outbound),
            (signs("ACoAAada", None, None), Inbound),
            (signs("ACoAAada", "Robin Keller", false), Inbound),
            (signs("ACoAAada", None, true), Unknown),
            (signs("ada-byron", "Ada Byron", None), Inbound),
            (signs("ada-byron", "Ada Byron", true), Unknown),
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
        let mut sides = Sides { owner: vec!["ACoAAme"], identity: Some(&identity), participants: vec![] };
        let page = [signs("ACwAAada", "Ada Byron", true), signs("ACwAAme", "Robin Keller 🚀", true)];
        sides.learn(page.into_iter());
        assert_eq!(sides.owner, ["ACoAAme", "ACwAAme"]);
        assert_eq!(sides.direction(signs("ACwAAme", None, None)), Direction::Outbound);
        assert_eq!(sides.direction(signs("ACwAAada", None, false)), Direction::Inbound);
        assert_eq!(sides.direction(page[0]), Direction::Unknown);
    }
}
