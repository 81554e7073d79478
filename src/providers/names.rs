//! Names of people, which LinkedIn shows with whatever their owners have put into them.

use icu_normalizer::DecomposingNormalizerBorrowed;

use crate::model::cut_at;

/// As much of a name as is compared, in bytes and in parts. LinkedIn allows 40 characters for each of two names.
pub(super) const MOST_BYTES: usize = 200;
const MOST_PARTS: usize = 16;

/// How far two names are those of one person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    /// The same, but for titles behind a comma, emoji, brackets, accents and spelling.
    Same,
    /// One has parts that the other lacks, or only initials of them, or both have a part in common.
    Alike,
    /// Of two people.
    Different,
}

/// Compares two names; `None` where one of them says nothing.
pub(super) fn compared(one: &str, other: &str) -> Option<Likeness> {
    let (one, other) = (parts(one), parts(other));
    if one.is_empty() || other.is_empty() {
        return None;
    }
    if one == other {
        return Some(Likeness::Same);
    }
    let (short, long) = if one.len() <= other.len() { (&one, &other) } else { (&other, &one) };
    let is_in_long = |part: &String| long.iter().any(|other| is_initial_or_equal(part, other));
    // A name in common proves nothing, but people marry, and families write each other.
    let is_shared = |part: &String| part.chars().nth(1).is_some() && long.contains(part);
    let is_alike = short.iter().all(is_in_long) || short.iter().any(is_shared);
    Some(if is_alike { Likeness::Alike } else { Likeness::Different })
}

fn is_initial_or_equal(one: &str, other: &str) -> bool {
    let is_initial = |short: &str, long: &str| short.chars().count() == 1 && long.starts_with(short);
    one == other || is_initial(one, other) || is_initial(other, one)
}

/// The words of a name in lower case: without what stands behind a comma or in brackets, without signs and accents.
fn parts(name: &str) -> Vec<String> {
    let is_mark = |c: &char| matches!(c, '\u{300}'..='\u{36f}');
    let decomposed = DecomposingNormalizerBorrowed::new_nfd().normalize(cut_at(name, MOST_BYTES));
    let name: String = decomposed.chars().filter(|c| !is_mark(c)).collect();
    let before = name.split([',', '(', '[', '|', '·']).find(|part| part.chars().any(char::is_alphanumeric));
    let words = before.unwrap_or_default().split(|c: char| !(c.is_alphanumeric() || matches!(c, '\'' | '’')));
    words.filter(|word| !word.is_empty()).take(MOST_PARTS).map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_and_emoji_make_no_other_person_and_missing_parts_leave_it_open() {
        use Likeness::{Alike, Different, Same};
        let cases = [
            ("Robin Keller", "robin  keller ", Same),
            ("Robin Keller", "Robin Keller, MBA", Same),
            ("Robin Keller", "🚀 Robin Keller ✨", Same),
            ("Robin Keller", "Robin Keller (she/her)", Same),
            ("Jörg-Uwe Lind", "jörg uwe lind", Same),
            ("Robin Keller", "Robin Keller MBA", Alike),
            ("Robin Keller", "Robin", Alike),
            ("Robin Keller", "Robin K.", Alike),
            ("Robin Keller", "Keller, Robin", Alike),
            ("Robin Keller", "Robin Kestrel", Alike),
            ("Robin Keller", "Mara Keller", Alike),
            ("Robin K Keller", "Mara K Lind", Different),
            ("Robin Keller", "Rob Kell", Different),
            ("José García", "Jose Garcia", Same),
            ("José García", "Jose\u{301} Garci\u{301}a", Same),
            ("Jose\u{301} García", "Jose G.", Alike),
            ("Zoë Müller", "ZOE MULLER", Same),
            ("Robin Keller", "Mara Lind", Different),
        ];
        for (own, shown, likeness) in cases {
            assert_eq!(compared(own, shown), Some(likeness), "{shown}");
            assert_eq!(compared(shown, own), Some(likeness), "{shown}");
        }
        assert_eq!(compared("Robin Keller", " 🚀 "), None);
        assert_eq!(compared("", "Robin"), None);
    }

    #[test]
    fn a_name_without_end_is_compared_by_its_beginning() {
        let long = format!("Robin {}", "Keller ".repeat(1_000_000));
        assert!(parts(&long).len() <= MOST_PARTS && parts(&"a ".repeat(1_000_000)).len() == MOST_PARTS);
        assert_eq!(compared(&long, "Robin Keller"), Some(Likeness::Alike));
        assert_eq!(parts(&"é".repeat(1_000_000)).iter().map(String::len).sum::<usize>(), MOST_BYTES / 2);
    }
}
