//! What the text of a template may ask for, as far as it can be told without rendering: a slip in it must cost neither the
//! stack nor the memory of the daemon.

use minijinja::machinery::{Token, tokenize};

/// Longest template.
const LENGTH_LIMIT: usize = 64 << 10;

/// Names and operators in one tag: the parser and the walks over its tree go as deep as there are such in a row.
const TAG_LIMIT: usize = 300;

/// Texts that one tag may put together.
const JOINED_LIMIT: usize = 32;

/// Values put together that are kept under a name: each may double what the one before has kept.
const KEPT_LIMIT: usize = 8;

/// Blocks within each other.
const NESTING_LIMIT: usize = 50;

/// Largest number that something is multiplied by: a text is repeated so often.
const FACTOR_LIMIT: u64 = 100;

/// Checks a template; the error says what is too much.
pub(super) fn check(source: &str) -> Result<(), String> {
    if source.len() > LENGTH_LIMIT {
        return Err(format!("is longer than {} KiB", LENGTH_LIMIT >> 10));
    }
    let mut bounds = Bounds::default();
    let (mut tag, mut line) = (Vec::new(), 1);
    for token in tokenize(source, false, Default::default()) {
        // What is no token the parser says better.
        let Ok((token, span)) = token else { return Ok(()) };
        match token {
            Token::VariableStart | Token::BlockStart => {
                tag.clear();
                line = span.start_line;
            }
            Token::VariableEnd | Token::BlockEnd => {
                bounds.tag(&tag).map_err(|problem| format!("line {line}: {problem}"))?;
            }
            token => tag.push(token),
        }
    }
    Ok(())
}

#[derive(Default)]
struct Bounds {
    kept: usize,
    depth: usize,
}

impl Bounds {
    fn tag(&mut self, tag: &[Token<'_>]) -> Result<(), String> {
        let is_operand = |token: &&Token<'_>| {
            !matches!(token, Token::Str(_) | Token::String(_) | Token::Int(_) | Token::Comma | Token::TemplateData(_))
        };
        if tag.iter().filter(is_operand).count() > TAG_LIMIT {
            return Err(format!("has more than {TAG_LIMIT} names and operators in one tag"));
        }
        let joins = tag.iter().filter(|token| matches!(token, Token::Tilde | Token::Plus)).count();
        if joins > JOINED_LIMIT {
            return Err(format!("puts more than {JOINED_LIMIT} texts together in one tag"));
        }
        check_factors(tag)?;
        let Some(Token::Ident(word)) = tag.first() else { return Ok(()) };
        match *word {
            "set" if !tag.iter().any(|token| matches!(token, Token::Assign)) => {
                return Err("keeps the output of a block; write {% set name = value %}".into());
            }
            "filter" => return Err("filters the output of a block; filter each value, as in {{ value|trim }}".into()),
            "set" | "with" => {
                let repeats = tag.iter().filter(|token| matches!(token, Token::Mul)).count();
                self.kept += joins + repeats;
            }
            _ => {}
        }
        match *word {
            "for" | "if" | "with" | "autoescape" => self.depth += 1,
            word if word.starts_with("end") => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if self.kept > KEPT_LIMIT {
            return Err(format!("keeps more than {KEPT_LIMIT} values that are put together of others"));
        }
        if self.depth > NESTING_LIMIT {
            return Err(format!("has more than {NESTING_LIMIT} blocks within each other"));
        }
        Ok(())
    }
}

/// A text may be repeated by `*`, so what it is multiplied by has to be a small number.
fn check_factors(tag: &[Token<'_>]) -> Result<(), String> {
    let is_small = |token: Option<&Token<'_>>| match token {
        Some(Token::Int(factor)) => *factor <= FACTOR_LIMIT,
        Some(Token::Float(_)) => true,
        _ => false,
    };
    for (at, token) in tag.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| tag.get(before));
        match token {
            Token::Pow => return Err("uses **, which templates have not".into()),
            Token::Mul if !is_small(before) && !is_small(tag.get(at + 1)) => {
                return Err(format!("multiplies; one side of * has to be a number of at most {FACTOR_LIMIT}"));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_grow_without_end_is_told_with_its_line() {
        let doubled = "{% set a = id ~ id %}".to_owned() + &"{% set a = a ~ a %}".repeat(30);
        for (source, says) in [
            (format!("\n{{{{ {} id }}}}", "not ".repeat(50_000)), "is longer than"),
            (format!("\n{{{{ {} id }}}}", "not ".repeat(5_000)), "line 2: has more than 300"),
            (format!("{{{{ {}id }}}}", "-".repeat(5_000)), "has more than 300"),
            (format!("{{{{ id{} }}}}", "|trim".repeat(400)), "has more than 300"),
            (format!("{{{{ id{} }}}}", " ~ id".repeat(40)), "puts more than 32 texts"),
            (doubled, "keeps more than 8"),
            ("{% set a %}{{ id }}{% endset %}".into(), "write {% set name = value %}"),
            ("{% filter upper %}{{ id }}{% endfilter %}".into(), "filter each value"),
            ("{{ 'x' * 1000000000 }}".into(), "at most 100"),
            ("{{ id * data.x }}".into(), "at most 100"),
            ("{{ 9 ** 99 }}".into(), "**"),
            ("{% if id %}".repeat(60) + &"{% endif %}".repeat(60), "more than 50 blocks"),
        ] {
            let problem = check(&source).unwrap_err();
            assert!(problem.contains(says), "{}: {problem}", &source[..source.len().min(40)]);
        }
    }

    #[test]
    fn what_templates_do_is_allowed() {
        for source in [
            "{{ headline ~ ': ' ~ summary }} {{ 2 * data.n + 1 }} {{ data.n * 2.5 }}",
            "{% set name = data.message.sender.name or 'nobody' %}{{ name }}",
            "{% for a in data.message.attachments %}{% if a.name %}{{ a.name }}{% endif %}{% endfor %}",
            "{# * #} {% raw %}{{ 'x' * n }}{% endraw %} **",
        ] {
            assert_eq!(check(source), Ok(()), "{source}");
        }
    }
}
