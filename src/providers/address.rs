//! Addresses at LinkedIn, as people copy them out of a browser, a phone or a mail: which person or which conversation they
//! name, in one spelling for all the spellings there are.

use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::urn;

/// What an address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// No web address at all: an id, a URN, a name.
    Word(String),
    /// A person, by the name in their address or by LinkedIn's own id.
    Person(String),
    /// A person, by their id in Sales Navigator.
    SalesPerson(String),
    /// A conversation of the ordinary inbox, by its id.
    Thread(String),
    /// A conversation of Sales Navigator, by its id.
    SalesThread(String),
    /// Something else at LinkedIn, in words.
    Other(&'static str),
    /// A page that is not LinkedIn's.
    Foreign,
}

/// How the address of a person is written.
pub(super) const PERSON_FORM: &str = "https://www.linkedin.com/in/john-doe";

/// How the address of a conversation is written.
pub(super) const THREAD_FORM: &str = "https://www.linkedin.com/messaging/thread/2-...";

impl Address {
    /// Reads what somebody has pasted.
    pub(super) fn of(text: &str) -> Self {
        let text = text.trim();
        let starts = |start: &str| text.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start));
        let host_first = text.split('/').next().unwrap_or_default();
        let url = if starts("http://") || starts("https://") {
            Url::parse(text)
        } else if text.contains('/') && is_linkedin(&host_first.to_ascii_lowercase()) {
            // Browsers show addresses without their beginning.
            Url::parse(&format!("https://{text}"))
        } else {
            return Self::Word(text.to_owned());
        };
        match url {
            Ok(url) if url.host_str().is_some_and(is_linkedin) => Self::at_linkedin(&url),
            _ => Self::Foreign,
        }
    }

    fn at_linkedin(url: &Url) -> Self {
        let mut segments: Vec<String> =
            url.path_segments().into_iter().flatten().filter(|part| !part.is_empty()).map(decoded).collect();
        // Prefixes of phones and of links in mails.
        let is_prefix = |first: &String| matches!(first.to_lowercase().as_str(), "mwlite" | "comm" | "m");
        if segments.first().is_some_and(is_prefix) {
            segments.remove(0);
        }
        let words: Vec<_> = segments.iter().map(|part| part.to_lowercase()).collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let at = |place: usize| segments[place].clone();
        match words.as_slice() {
            ["in", _, ..] => Self::Person(spelled(&segments[1])),
            ["messaging", "thread", "new", ..] => Self::Other("a conversation that has not begun"),
            ["messaging", "thread", _, ..] => Self::Thread(at(2)),
            ["messaging", ..] => Self::Other("the page of all conversations"),
            ["sales", "inbox", "compose", ..] => Self::Other("a conversation that has not begun"),
            ["sales", "inbox", _, ..] => Self::SalesThread(at(2)),
            // Behind the id stands what a search has found the person by.
            ["sales", "lead" | "people" | "profile", _, ..] => {
                Self::SalesPerson(segments[2].split(',').next().unwrap_or_default().to_owned())
            }
            ["sales", ..] => Self::Other("a page of Sales Navigator that names no person and no conversation"),
            ["company" | "school" | "showcase" | "organization", ..] => Self::Other("the page of a company"),
            ["talent" | "recruiter" | "hire", ..] => Self::Other("a page of Recruiter"),
            ["groups", ..] => Self::Other("the page of a group"),
            ["pub", ..] => Self::Other("an address of a kind that LinkedIn has given up"),
            _ => Self::Other("a page of LinkedIn that names no person and no conversation"),
        }
    }

    /// The one spelling of the address of a person; `None` for what names no person.
    pub(super) fn person_url(&self) -> Option<String> {
        let url = match self {
            Self::Person(name) => format!("https://www.linkedin.com/in/{name}"),
            Self::SalesPerson(id) => format!("https://www.linkedin.com/sales/people/{id}"),
            _ => return None,
        };
        // As browsers send it: with every character that is not of an address encoded, in capitals.
        Url::parse(&url).ok().map(String::from)
    }

    /// Why this is not the address of a person; the words follow the name of its key.
    pub(super) fn no_person(&self) -> String {
        let write = format!("write the address of a person's profile, such as {PERSON_FORM}");
        match self {
            Self::Word(name) if could_be_a_profile(name) => {
                format!(
                    "is a name, and the address of a profile is wanted; write \"https://www.linkedin.com/in/{name}\""
                )
            }
            Self::Word(_) => format!("must be the address of a profile, such as {PERSON_FORM}"),
            Self::Thread(_) | Self::SalesThread(_) => format!("is the address of a conversation; {write}"),
            Self::SalesPerson(_) => format!("is an address in Sales Navigator; {write}"),
            Self::Other(what) => format!("is {what}; {write}"),
            Self::Foreign => format!("is no address at linkedin.com; {write}"),
            Self::Person(_) => format!("must be the address of a profile, such as {PERSON_FORM}"),
        }
    }

    /// Why this is not a conversation; the words follow the name of its key.
    pub(super) fn no_thread(&self) -> String {
        let write = format!("write the address or the id of the conversation, such as {THREAD_FORM}");
        match self {
            Self::Person(_) | Self::SalesPerson(_) => format!("is the address of a person; {write}"),
            Self::SalesThread(_) => format!("is a conversation of Sales Navigator; {write}"),
            Self::Other(what) => format!("is {what}; {write}"),
            Self::Foreign => format!("is no address at linkedin.com; {write}"),
            Self::Word(_) | Self::Thread(_) => format!("names no conversation; {write}"),
        }
    }
}

fn is_linkedin(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host == "linkedin.com" || host.ends_with(".linkedin.com")
}

/// A part of a path, without the encoding of it.
fn decoded(segment: &str) -> String {
    let decoded = percent_decode_str(segment).decode_utf8().ok().filter(|text| !text.contains(char::is_control));
    decoded.map_or_else(|| segment.to_owned(), std::borrow::Cow::into_owned)
}

/// Names in addresses are the same in capitals and in small letters; LinkedIn's own ids are not.
pub(super) fn spelled(segment: &str) -> String {
    let segment = decoded(segment);
    if urn::is_opaque(&segment) { segment } else { segment.to_lowercase() }
}

/// What the name in the address of a profile looks like; a person's full name has a blank.
fn could_be_a_profile(name: &str) -> bool {
    (3..=100).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_person_are_one() {
        for spelling in [
            "https://www.linkedin.com/in/john-doe",
            "https://www.linkedin.com/in/john-doe/",
            "http://www.linkedin.com/in/JOHN-Doe?utm=1#about",
            "https://de.linkedin.com/in/john-doe/en",
            "HTTPS://M.LinkedIn.com/in/john%2Ddoe/",
            "https://www.linkedin.com/mwlite/in/john-doe",
            "https://www.linkedin.com/comm/in/john-doe?trk=mail",
            "https://www.linkedin.com/in/john-doe/overlay/contact-info/",
            "https://www.linkedin.com//in//john-doe",
            "linkedin.com/in/john-doe",
            " www.linkedin.com/in/john-doe ",
        ] {
            let normal = Address::of(spelling).person_url();
            assert_eq!(normal.as_deref(), Some("https://www.linkedin.com/in/john-doe"), "{spelling}");
        }
        for spelling in ["j%C3%B6rg-lind", "j%c3%b6rg-lind", "jörg-lind", "JÖRG-Lind", "J%C3%96RG-lind"] {
            let normal = Address::of(&format!("https://www.linkedin.com/in/{spelling}")).person_url();
            assert_eq!(normal.as_deref(), Some("https://www.linkedin.com/in/j%C3%B6rg-lind"), "{spelling}");
        }
        for opaque in ["ACoAAB1o9xkB", "ACwAAB1o9xkB"] {
            let url = format!("https://www.linkedin.com/in/{opaque}");
            assert_eq!(Address::of(&url).person_url(), Some(url), "LinkedIn's own ids keep their capitals");
        }
        let id = "ACwAAB1o9xkB-x_y";
        for spelling in [
            "sales/people/ACwAAB1o9xkB-x_y",
            "sales/lead/ACwAAB1o9xkB-x_y,NAME_SEARCH,Ab1",
            "sales/lead/ACwAAB1o9xkB-x_y%2Cx",
        ] {
            let address = Address::of(&format!("https://www.linkedin.com/{spelling}"));
            assert_eq!(address, Address::SalesPerson(id.into()));
            assert_eq!(address.person_url().unwrap(), format!("https://www.linkedin.com/sales/people/{id}"));
        }
    }

    #[test]
    fn the_address_of_a_conversation_gives_its_id() {
        for spelling in [
            "https://www.linkedin.com/messaging/thread/2-MGE1Yj==/",
            "https://www.linkedin.com/messaging/thread/2-MGE1Yj%3D%3D/?filter=unread",
            "https://de.linkedin.com/mwlite/messaging/thread/2-MGE1Yj%3d%3d#x",
            "www.linkedin.com/messaging/thread/2-MGE1Yj==",
        ] {
            assert_eq!(Address::of(spelling), Address::Thread("2-MGE1Yj==".into()), "{spelling}");
        }
        let sales = Address::of("https://www.linkedin.com/sales/inbox/2-Xy%3D/");
        assert_eq!(sales, Address::SalesThread("2-Xy=".into()));
    }

    #[test]
    fn what_names_neither_says_what_it_is() {
        for (text, says) in [
            ("https://www.linkedin.com/company/acme/", "is the page of a company"),
            ("https://www.linkedin.com/school/mit", "is the page of a company"),
            ("https://www.linkedin.com/sales/home", "Sales Navigator"),
            ("https://www.linkedin.com/talent/profile/AEMAA", "Recruiter"),
            ("https://www.linkedin.com/messaging/thread/new/", "not begun"),
            ("https://www.linkedin.com/messaging/", "all conversations"),
            ("https://www.linkedin.com/feed/", "names no person"),
            ("https://www.linkedin.com/in/", "names no person"),
            ("https://www.linkedin.com", "names no person"),
            ("https://example.com/in/john-doe", "no address at linkedin.com"),
            ("https://linkedin.com.example.com/in/john-doe", "no address at linkedin.com"),
            ("https://notlinkedin.com/in/john-doe", "no address at linkedin.com"),
            ("https://lnkd.in/abc", "no address at linkedin.com"),
            ("https://", "no address at linkedin.com"),
        ] {
            let address = Address::of(text);
            assert_eq!(address.person_url(), None, "{text}");
            assert!(address.no_person().contains(says), "{text}: {}", address.no_person());
            assert!(address.no_thread().contains(says), "{text}: {}", address.no_thread());
        }
        let named = |text: &str| Address::of(text).no_person();
        assert!(named("john-doe").contains("write \"https://www.linkedin.com/in/john-doe\""));
        assert!(named("John Doe").contains(PERSON_FORM));
    }
}
