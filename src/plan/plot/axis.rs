//! Where an axis begins and ends, its ticks, and how people say them.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3_600.0;
const DAY: f64 = 86_400.0;
const YEAR: f64 = 365.0 * DAY;

/// Durations that people count in, in seconds.
const DURATIONS: [f64; 27] = [
    0.1,
    0.2,
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
    20.0,
    MINUTE,
    2.0 * MINUTE,
    5.0 * MINUTE,
    10.0 * MINUTE,
    20.0 * MINUTE,
    HOUR,
    2.0 * HOUR,
    6.0 * HOUR,
    12.0 * HOUR,
    DAY,
    2.0 * DAY,
    4.0 * DAY,
    10.0 * DAY,
    30.0 * DAY,
    100.0 * DAY,
    YEAR,
    3.0 * YEAR,
    10.0 * YEAR,
    100.0 * YEAR,
];

/// The fewer of them, where all would stand too close.
const LONG_DURATIONS: [f64; 12] =
    [0.1, 1.0, 10.0, MINUTE, 10.0 * MINUTE, HOUR, 6.0 * HOUR, DAY, 10.0 * DAY, 100.0 * DAY, 3.0 * YEAR, 100.0 * YEAR];

/// Ticks that stand beside each other without touching.
const TICKS_LIMIT: usize = 8;

/// It begins and ends at a tick.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    ticks: Vec<f64>,
    logarithmic: bool,
    say: fn(f64) -> String,
    /// Something lies below the first tick and is drawn there.
    cut: bool,
}

impl Axis {
    /// Holds all these durations.
    pub(super) fn of_seconds(values: impl Iterator<Item = f64>) -> Self {
        Self::logarithmic(values, &[&DURATIONS, &LONG_DURATIONS], (1.0, DAY), duration)
    }

    /// Holds all these numbers.
    pub(super) fn of_numbers(values: impl Iterator<Item = f64>) -> Self {
        let steps = |mantissas: &[f64], every: usize| -> Vec<f64> {
            let decades =
                (-3..=15).step_by(every).map(|exponent: i32| 10_f64.powi(exponent.abs()).powi(exponent.signum()));
            decades.flat_map(|decade| mantissas.iter().map(move |mantissa| mantissa * decade)).collect()
        };
        let steps = [steps(&[1.0, 2.0, 5.0], 1), steps(&[1.0], 1), steps(&[1.0], 2)];
        Self::logarithmic(values, &steps.each_ref().map(Vec::as_slice), (1.0, 1_000.0), number)
    }

    /// The whole, in quarters.
    pub(super) fn of_percent() -> Self {
        Self { ticks: vec![0.0, 25.0, 50.0, 75.0, 100.0], logarithmic: false, say: number, cut: false }
    }

    /// With the finest steps that leave room between ticks.
    fn logarithmic(
        values: impl Iterator<Item = f64>,
        steps: &[&[f64]],
        nothing: (f64, f64),
        say: fn(f64) -> String,
    ) -> Self {
        let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low <= high { (low, high) } else { nothing };
        let mut ticks = vec![];
        for steps in steps {
            let last = steps.len() - 1;
            let mut to = steps.partition_point(|&step| step < high).min(last);
            let mut from = steps.partition_point(|&step| step <= low).saturating_sub(1);
            if from >= to {
                (from, to) = (to.saturating_sub(1), (to + 1).min(last));
            }
            ticks = steps[from..=to].to_vec();
            if ticks.len() <= TICKS_LIMIT {
                break;
            }
        }
        let cut = ticks.first().is_some_and(|&first| low < first);
        Self { ticks, logarithmic: true, say, cut }
    }

    pub(super) fn low(&self) -> f64 {
        self.ticks.first().copied().unwrap_or(1.0)
    }

    pub(super) fn high(&self) -> f64 {
        self.ticks.last().copied().unwrap_or(10.0)
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    /// What lies beyond an end is drawn at it.
    fn map(&self, value: &f64, (begin, end): (i32, i32)) -> i32 {
        let scaled = |value: f64| if self.logarithmic { value.ln() } else { value };
        let (low, high) = (self.low(), self.high());
        let share = (scaled(value.clamp(low, high)) - scaled(low)) / (scaled(high) - scaled(low));
        begin + (f64::from(end - begin) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Nothing stands between ticks.
        if hint.weight().allow_light_points() { vec![] } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.low()..self.high()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, tick: &f64) -> String {
        let said = (self.say)(*tick);
        if self.cut && *tick <= self.low() { format!("≤ {said}") } else { said }
    }
}

/// Seconds as people say them.
fn duration(seconds: f64) -> String {
    let units = [(YEAR, "y"), (DAY, "d"), (HOUR, "h"), (MINUTE, "min")];
    let (length, unit) = units.into_iter().find(|(length, _)| seconds >= *length).unwrap_or((1.0, "s"));
    format!("{} {unit}", seconds / length)
}

/// A number with commas; from a million on in millions, from a billion on with an exponent.
fn number(value: f64) -> String {
    match value {
        huge if huge >= 1e9 => format!("{huge:e}"),
        large if large >= 1e6 => format!("{} M", large / 1e6),
        thousands if thousands >= 1e3 => format!("{},{:03}", (thousands / 1e3).floor(), thousands % 1e3),
        small => format!("{small}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_holds_its_values_between_ticks_that_leave_room() {
        let labels = |axis: Axis| axis.ticks.iter().map(|tick| axis.format_ext(tick)).collect::<Vec<_>>().join(", ");
        let seconds = |values: &[f64]| labels(Axis::of_seconds(values.iter().copied()));
        assert_eq!(seconds(&[3.0, 40_000.0]), "1 s, 10 s, 1 min, 10 min, 1 h, 6 h, 1 d");
        assert_eq!(seconds(&[300.0, 4_000.0]), "5 min, 10 min, 20 min, 1 h, 2 h");
        assert_eq!(seconds(&[60.0]), "20 s, 1 min, 2 min");
        assert_eq!(seconds(&[0.0, 5.0]), "≤ 0.1 s, 0.2 s, 0.5 s, 1 s, 2 s, 5 s");
        assert_eq!(seconds(&[0.0]), "≤ 0.1 s, 0.2 s");
        assert_eq!(seconds(&[1e12]), "10 y, 100 y");
        assert!(seconds(&[]).starts_with("1 s"));
        let numbers = |values: &[f64]| labels(Axis::of_numbers(values.iter().copied()));
        assert_eq!(numbers(&[14_500.0, 116_000.0]), "10,000, 20,000, 50,000, 100,000, 200,000");
        assert_eq!(numbers(&[0.01, 2e6]), "0.001, 0.1, 10, 1,000, 100,000, 10 M");
        assert_eq!(numbers(&[3e9, 4e9]), "2e9, 5e9");
    }
}
