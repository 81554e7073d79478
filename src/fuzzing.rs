//! Everything that somebody else writes and this program reads, each as a function of bytes: the targets of the fuzzer in
//! `fuzz/`. The tests go through what it has kept.

use crate::mask::Mask;

pub use crate::config::fuzzing::config;
pub use crate::daemon::fuzzing::control;
pub use crate::filter::fuzzing::filter;
pub use crate::sinks::fuzzing::{replies, signatures, template};

/// Answers of ConnectSafely.
pub fn connectsafely(data: &[u8]) {
    crate::providers::fuzzing::provider("connectsafely", data);
}

/// Answers of Linked API.
pub fn linkedapi(data: &[u8]) {
    crate::providers::fuzzing::provider("linkedapi", data);
}

/// Answers of LinkupAPI.
pub fn linkup(data: &[u8]) {
    crate::providers::fuzzing::provider("linkup", data);
}

/// Answers of Unipile.
pub fn unipile(data: &[u8]) {
    crate::providers::fuzzing::provider("unipile", data);
}

/// Hides the secret of the first line in the rest. A long one is not there afterwards, as it is written.
pub fn mask(data: &[u8]) {
    let input = String::from_utf8_lossy(data);
    let (secret, text) = input.split_once('\n').unwrap_or((&input, ""));
    let mask = Mask::default().and(secret).and_address(&secret.to_owned().into());
    let hidden = mask.hide(text);
    let is_found = secret.len() >= 16 && secret.bytes().all(|b| b.is_ascii_alphanumeric());
    assert!(!is_found || !hidden.contains(secret), "{hidden:?}");
}

/// A target: its name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 11] = [
    ("config", config),
    ("connectsafely", connectsafely),
    ("control", control),
    ("filter", filter),
    ("linkedapi", linkedapi),
    ("linkup", linkup),
    ("mask", mask),
    ("replies", replies),
    ("signatures", signatures),
    ("template", template),
    ("unipile", unipile),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn whatever_the_fuzzer_has_kept_is_taken_by_its_target() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let folders = std::fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().file_name());
        let mut named: Vec<_> = folders.map(|name| name.into_string().unwrap()).collect();
        named.sort_unstable();
        assert_eq!(named, TARGETS.map(|(name, _)| name), "a folder for each target");
        for (name, target) in TARGETS {
            for entry in std::fs::read_dir(corpus.join(name)).unwrap() {
                let path = entry.unwrap().path();
                println!("{}", path.display());
                target(&std::fs::read(path).unwrap());
            }
        }
    }
}
