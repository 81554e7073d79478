//! Names of people, which LinkedIn shows with whatever their owners have put into them.

/// How far two names are those of one person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    /// The same, but for titles behind a comma, emoji, brackets and spelling.
    Same,
    /// One has parts that the other lacks, or only initials of them.
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
    Some(if short.iter().all(is_in_long) { Likeness::Alike } else { Likeness::Different })
}

fn is_initial_or_equal(one: &str, other: &str) -> bool {
    let is_initial = |short: &str, long: &str| short.chars().count() == 1 && long.starts_with(short);
    one == other || is_initial(one, other) || is_initial(other, one)
}

/// The words of a name in lower case: without what stands behind a comma or in brackets, and without signs.
fn parts(name: &str) -> Vec<String> {
    let before = name.split([',', '(', '[', '|', '·']).find(|part| part.chars().any(char::is_alphanumeric));
    let words = before.unwrap_or_default().split(|c: char| !(c.is_alphanumeric() || matches!(c, '\'' | '’')));
    words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
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
            ("Robin Keller", "Robin Kestrel", Different),
            ("Robin Keller", "Mara Lind", Different),
        ];
        for (own, shown, likeness) in cases {
            assert_eq!(compared(own, shown), Some(likeness), "{shown}");
            assert_eq!(compared(shown, own), Some(likeness), "{shown}");
        }
        assert_eq!(compared("Robin Keller", " 🚀 "), None);
        assert_eq!(compared("", "Robin"), None);
    }
}
