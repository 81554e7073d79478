//! What a receiver can answer, for the fuzzer.

use super::preset::Preset;
use super::verdict::of_body;

/// Judges an answer: the first line names the preset and the status, the rest is the body.
pub fn replies(data: &[u8]) {
    let input = String::from_utf8_lossy(data);
    let (first, body) = input.split_once('\n').unwrap_or((&input, ""));
    let (preset, status) = first.split_once(' ').unwrap_or((first, "200"));
    let Ok(preset) = serde_json::from_value::<Preset>(preset.into()) else { return };
    let Some(ruling) = of_body(preset, status.trim().parse().unwrap_or(200), body.as_bytes()) else { return };
    // It goes into the log and the database, and says no word of the receiver's.
    assert!(ruling.because.len() < 200 && !ruling.because.contains(char::is_control), "{}", ruling.because);
}
