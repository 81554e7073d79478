//! Who wrote a message. The provider does not say whether it was the owner, so it is told by comparing: profiles where
//! there are any, else names. Where nothing compares for certain the direction stays unknown.

use reqwest::Url;

use crate::model::Direction;
use crate::providers::address::spelled;
use crate::providers::urn;

/// One spelling for the address of a profile: no query, no trailing slash, one host for all of LinkedIn's, lower case
/// apart from LinkedIn's internal ids, percent-decoded. `None` for what is not a web address.
pub(super) fn profile_url(text: &str) -> Option<String> {
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
    profile_url.rsplit('/').next().filter(|segment| urn::is_opaque(segment))
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
}

/// What is known of the two sides of a conversation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sides<'a> {
    /// LinkedIn's internal id of the owner, which stands in every URN of the mailbox.
    pub(super) owner_id: Option<&'a str>,
    /// The owner's name, as configured.
    pub(super) owner_name: Option<&'a str>,
    /// The counterpart's profile.
    pub(super) counterpart: Option<&'a str>,
    /// Two people, and messages of the counterpart carry exactly this profile: another one is the owner's.
    pub(super) nobody_else: bool,
}

impl Sides<'_> {
    pub(super) fn direction(&self, author: &Author) -> Direction {
        let by_profile = author.profile_url.as_deref().and_then(|url| self.by_profile(url));
        by_profile.or_else(|| self.by_name(author)).unwrap_or(Direction::Unknown)
    }

    fn by_profile(&self, author: &str) -> Option<Direction> {
        if self.counterpart == Some(author) {
            return Some(Direction::Inbound);
        }
        let internal_ids = internal_id(author).zip(self.owner_id.filter(|id| urn::is_opaque(id)));
        match internal_ids {
            Some((author, owner)) if author == owner => Some(Direction::Outbound),
            Some(_) => Some(Direction::Inbound),
            // The same person has a vanity address and an internal one: two that differ prove nothing by themselves.
            None => self.nobody_else.then_some(Direction::Outbound),
        }
    }

    fn by_name(&self, author: &Author) -> Option<Direction> {
        let owner = comparable(self.owner_name?);
        let mut names = [&author.name, &author.full_name].into_iter().flatten().map(|name| comparable(name)).peekable();
        names.peek()?;
        Some(if names.any(|name| name == owner) { Direction::Outbound } else { Direction::Inbound })
    }
}

fn comparable(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
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
        let internal = profile_url("https://www.linkedin.com/in/ACoAAB1o9xkB?x");
        assert_eq!(internal.as_deref(), Some("https://www.linkedin.com/in/ACoAAB1o9xkB"));
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
        assert_eq!(sides.direction(&author("Mara Lind")), Direction::Inbound);
        assert_eq!(sides.direction(&Author::default()), Direction::Unknown);
        assert_eq!(Sides::default().direction(&author("Robin Keller")), Direction::Unknown);
    }
}
