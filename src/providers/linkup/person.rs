//! Who wrote a message. The provider does not say whether it was the owner, so it is told by comparing: profiles where
//! there are any, else names. Where nothing compares for certain the direction stays unknown.

use reqwest::Url;

use crate::model::{Direction, cut_at};
use crate::providers::address::spelled;
use crate::providers::json::Object;
use crate::providers::names::{self, Likeness};
use crate::providers::urn;

/// One spelling for the address of a profile: no query, no trailing slash, one host for all of LinkedIn's, lower case
/// apart from LinkedIn's internal ids, percent-decoded. `None` for what is not a web address.
pub(super) fn profile_url(text: &str) -> Option<String> {
    with_segments(text, spelled)
}

/// The same as earlier releases spelled it, which knew one kind of internal ids.
pub(super) fn former_profile_url(text: &str) -> Option<String> {
    with_segments(text, |segment| {
        let segment = spelled(segment);
        if segment.starts_with("ACoAA") { segment } else { segment.to_lowercase() }
    })
}

fn with_segments(text: &str, spelled: impl Fn(&str) -> String) -> Option<String> {
    let url = Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let host = url.host_str()?;
    let of_linkedin = host == "linkedin.com" || host.ends_with(".linkedin.com");
    let host = if of_linkedin { "www.linkedin.com" } else { host };
    let mut segments: Vec<_> = url.path_segments()?.filter(|segment| !segment.is_empty()).map(spelled).collect();
    if of_linkedin && segments.first().is_some_and(|first| first == "in") {
        // A language may follow.
        segments.truncate(2);
    }
    (!segments.is_empty()).then(|| format!("https://{host}/{}", segments.join("/")))
}

/// LinkedIn's internal id of the person, where the address is made of it and not of a vanity name.
fn internal_id(profile_url: &str) -> Option<&str> {
    // In Sales Navigator more may follow behind a comma.
    profile_url.rsplit('/').next()?.split(',').next().filter(|id| urn::is_opaque(id))
}

/// What one answer says about the author of a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Author {
    /// The display name.
    pub(super) name: Option<String>,
    /// First and last name, where they stand apart from it.
    pub(super) full_name: Option<String>,
    /// The profile, as [`profile_url`] spells it.
    pub(super) profile_url: Option<String>,
    /// Whether it is the owner, where the answer says.
    pub(super) is_me: Option<bool>,
}

impl Author {
    /// `sender` is a display name in the documentation and an object in a public client.
    pub(super) fn of(message: &Object<'_>) -> Self {
        let (sender, info) = (message.object_of("sender"), message.object("sender_info"));
        let plain = if sender.is_none() { message.filled("sender") } else { None };
        let places = [sender.as_ref(), info.as_ref()].into_iter().flatten();
        let mut author = Self { name: plain.map(Into::into), is_me: message.flag("is_me"), ..Self::default() };
        for place in places {
            author.name = author.name.or_else(|| place.filled("name").map(Into::into));
            author.is_me = author.is_me.or_else(|| place.flag("is_me"));
        }
        let parts = |info: &Object<'_>| {
            let parts: Vec<_> = ["first_name", "last_name"].iter().filter_map(|part| info.filled(part)).collect();
            (!parts.is_empty()).then(|| parts.join(" "))
        };
        author.full_name = info.as_ref().and_then(parts);
        let url = |place: &Object<'_>| place.filled("profile_url").and_then(|url| profile_url(&url));
        author.profile_url = info.as_ref().and_then(url).or_else(|| sender.as_ref().and_then(url));
        author
    }
}

/// Spellings kept of the owner: vanity addresses and internal ids, names of two products.
const MOST_SPELLINGS: usize = 4;

/// Longest address of a profile that is kept, in bytes.
const MOST_PROFILE_BYTES: usize = 1_024;

/// What answers have told of the owner.
#[derive(Clone, Debug, Default)]
pub(super) struct Me {
    names: Vec<String>,
    profiles: Vec<String>,
}

impl Me {
    /// Learns from an author; only what is the owner's beyond doubt teaches anything.
    pub(super) fn learn(&mut self, author: &Author) {
        if author.is_me != Some(true) {
            return;
        }
        let learn = |known: &mut Vec<String>, told: &Option<String>, most_bytes| {
            let told = told.as_ref().map(|told| cut_at(told, most_bytes));
            if let Some(told) = told.filter(|told| !known.iter().any(|known| known == told)) {
                known.truncate(MOST_SPELLINGS - 1);
                known.insert(0, told.to_owned());
            }
        };
        learn(&mut self.names, &author.name, names::MOST_BYTES);
        learn(&mut self.names, &author.full_name, names::MOST_BYTES);
        learn(&mut self.profiles, &author.profile_url, MOST_PROFILE_BYTES);
    }
}

/// What is known of the two sides of a conversation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sides<'a> {
    /// LinkedIn's internal id of the owner, which stands in every URN of the mailbox.
    pub(super) owner_id: Option<&'a str>,
    /// The owner's name, as configured.
    pub(super) owner_name: Option<&'a str>,
    /// What answers have told of the owner.
    pub(super) me: Option<&'a Me>,
    /// The counterpart's profile.
    pub(super) counterpart: Option<&'a str>,
    /// Two people, and messages of the counterpart carry exactly this profile: another one is the owner's.
    pub(super) nobody_else: bool,
}

impl Sides<'_> {
    /// Signs that contradict each other tell nothing.
    pub(super) fn direction(&self, author: &Author) -> Direction {
        use Direction::{Inbound, Outbound, Unknown};
        let by_profile = author.profile_url.as_deref().and_then(|url| self.by_profile(url));
        let compared = by_profile.or_else(|| self.by_name(author));
        match (author.is_me, compared) {
            (Some(true), Some(Inbound)) | (Some(false), Some(Outbound)) => Unknown,
            (Some(true), _) => Outbound,
            (Some(false), _) => Inbound,
            (None, compared) => compared.unwrap_or(Unknown),
        }
    }

    fn by_profile(&self, author: &str) -> Option<Direction> {
        let is_owners = self.profiles().any(|own| own == author);
        match (self.counterpart == Some(author), is_owners) {
            (true, true) => return Some(Direction::Unknown),
            (true, false) => return Some(Direction::Inbound),
            (false, true) => return Some(Direction::Outbound),
            (false, false) => {}
        }
        let author = internal_id(author);
        let mut own = self.owner_id.into_iter().chain(self.profiles().filter_map(internal_id));
        match author.and_then(|author| Some((author, own.find(|own| urn::are_comparable(own, author))?))) {
            Some((author, owner)) if author == owner => Some(Direction::Outbound),
            Some(_) => Some(Direction::Inbound),
            // The same person has a vanity address and an internal one: two that differ prove nothing by themselves.
            None => self.nobody_else.then_some(Direction::Outbound),
        }
    }

    fn profiles(&self) -> impl Iterator<Item = &str> {
        self.me.into_iter().flat_map(|me| &me.profiles).map(String::as_str)
    }

    fn by_name(&self, author: &Author) -> Option<Direction> {
        let learnt = self.me.into_iter().flat_map(|me| &me.names).map(String::as_str);
        let own: Vec<_> = self.owner_name.into_iter().chain(learnt).collect();
        let shown = [&author.name, &author.full_name].into_iter().flatten();
        let compared: Vec<_> = shown.flat_map(|name| own.iter().filter_map(|own| names::compared(own, name))).collect();
        if compared.contains(&Likeness::Same) {
            return Some(Direction::Outbound);
        }
        let is_another = !compared.is_empty() && compared.iter().all(|likeness| *likeness == Likeness::Different);
        is_another.then_some(Direction::Inbound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_profile_are_one() {
        for spelling in [
            "https://www.linkedin.com/in/j%C3%B6rg-lind",
            "http://linkedin.com/in/J%C3%96RG-Lind/",
            "https://de.linkedin.com/in/jörg-lind/en?trk=x#top",
        ] {
            assert_eq!(profile_url(spelling).as_deref(), Some("https://www.linkedin.com/in/jörg-lind"), "{spelling}");
        }
        for internal in ["in/ACoAAB1o9xkB", "in/ACwAAB1o9xkB", "sales/people/ACwAAB1o9xkB,NAME_SEARCH,x"] {
            let url = format!("https://www.linkedin.com/{internal}");
            assert!(profile_url(&format!("{url}?x")).unwrap().contains("AAB1o9xkB"), "{internal}");
        }
        for not_one in ["mara-lind", "urn:li:person:1", "https://www.linkedin.com/", ""] {
            assert_eq!(profile_url(not_one), None, "{not_one}");
        }
    }

    fn url(slug: &str) -> String {
        format!("https://www.linkedin.com/in/{slug}")
    }

    #[test]
    fn a_profile_decides_only_where_it_compares_for_certain() {
        let (mara, owner) = (url("mara-lind"), url("ACoAAowner"));
        let known = Sides { owner_id: Some("ACoAAowner"), counterpart: Some(&mara), ..Sides::default() };
        let pair = Sides { nobody_else: true, ..known };
        let cases = [
            (known, mara.clone(), Direction::Inbound),
            (known, owner, Direction::Outbound),
            (known, url("ACoAAother"), Direction::Inbound),
            // The owner, another member of a group, or the counterpart by another name.
            (known, url("robin-keller"), Direction::Unknown),
            (pair, url("robin-keller"), Direction::Outbound),
            (Sides::default(), mara.clone(), Direction::Unknown),
        ];
        for (sides, author, direction) in cases {
            let author = Author { profile_url: Some(author), ..Author::default() };
            assert_eq!(sides.direction(&author), direction, "{author:?}");
        }
    }

    #[test]
    fn a_name_decides_only_where_the_owners_is_configured() {
        let author = |name: &str| Author { name: Some(name.into()), ..Author::default() };
        let sides = Sides { owner_name: Some("Robin  Keller"), ..Sides::default() };
        assert_eq!(sides.direction(&author("robin keller ")), Direction::Outbound);
        assert_eq!(sides.direction(&author("🚀 Robin Keller, MBA")), Direction::Outbound);
        assert_eq!(sides.direction(&author("Robin K.")), Direction::Unknown);
        assert_eq!(sides.direction(&author("Mara Lind")), Direction::Inbound);
        assert_eq!(sides.direction(&Author::default()), Direction::Unknown);
        assert_eq!(Sides::default().direction(&author("Robin Keller")), Direction::Unknown);
    }

    #[test]
    fn what_is_said_to_be_the_owners_teaches_profile_and_name() {
        let said = |name: &str, slug: &str, is_me: Option<bool>| Author {
            name: Some(name.into()),
            profile_url: Some(url(slug)),
            is_me,
            ..Author::default()
        };
        let mut me = Me::default();
        me.learn(&said("Mara Lind", "mara", Some(false)));
        me.learn(&said("Somebody", "somebody", None));
        assert!(me.names.is_empty() && me.profiles.is_empty());
        me.learn(&said("Robin Keller", "ACwAAme", Some(true)));
        let sides = Sides { me: Some(&me), ..Sides::default() };
        use Direction::{Inbound, Outbound, Unknown};
        let rows = [
            (said("Robin Keller, MBA", "robin-keller", None), Outbound),
            (said("Robin", "ACwAAme", None), Outbound),
            (said("Robin Keller", "ACwAAada", None), Inbound),
            (said("Robin Keller", "ACoAAx", None), Outbound),
            (said("Mara Lind", "mara", None), Inbound),
            (said("Mara Lind", "mara", Some(true)), Unknown),
            (said("Robin Keller", "robin", Some(false)), Unknown),
            (said("Robin", "robin", Some(true)), Outbound),
        ];
        for (author, direction) in rows {
            assert_eq!(sides.direction(&author), direction, "{author:?}");
        }
        for number in 0..100 {
            me.learn(&said(&format!("Robin {number}"), &format!("r{number}"), Some(true)));
        }
        assert_eq!((me.names.len(), me.profiles.len()), (MOST_SPELLINGS, MOST_SPELLINGS));
        me.learn(&said(&"Robin ".repeat(1_000_000), &"r".repeat(1_000_000), Some(true)));
        assert_eq!((me.names[0].len(), me.profiles[0].len()), (names::MOST_BYTES, MOST_PROFILE_BYTES));
    }
}
