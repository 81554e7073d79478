//! A picture of how late messages are found and what that costs: on the left the delays of single schedules, on the right
//! delay against looks a day.
//!
//! The colours are those of Okabe and Ito, which the colour-blind can tell apart; dashes and the shapes of marks say the same
//! without any colour.

mod axis;
mod pen;

use plotters::backend::SVGBackend;
use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::cartesian::Cartesian2d;
use plotters::drawing::{DrawingAreaErrorKind, IntoDrawingArea as _};
use plotters::style::text_anchor::HPos;
use plotters::style::{BLACK, Color as _, RGBColor, WHITE};

use self::axis::Axis;
use self::pen::{Area, GUIDE, Look, MEDIAN, OFF, PLAIN, fitted, font, px, stroke, width, write};
use super::Outcome;

/// What one schedule comes to.
#[derive(Debug)]
pub struct Curve<'a> {
    /// Its name in the picture. Whatever has the same name has the same look.
    pub label: String,
    /// The delays.
    pub outcome: &'a Outcome,
}

/// How late messages are found for what it costs.
#[derive(Debug)]
pub struct Cost {
    /// Its name in the picture.
    pub label: String,
    /// One schedule, tuned to more and more looks.
    pub points: Vec<CostPoint>,
}

/// A cost and the delays it buys.
#[derive(Clone, Copy, Debug)]
pub struct CostPoint {
    /// Looks a day.
    pub looks_per_day: f64,
    /// Mean delay in seconds.
    pub mean: f64,
    /// Median delay in seconds.
    pub median: f64,
}

impl CostPoint {
    /// What a schedule came to over so many days.
    pub fn new(outcome: &Outcome, days: f64) -> Self {
        let (mean, median) = (outcome.mean(), outcome.quantile(0.5));
        Self { looks_per_day: outcome.polls as f64 / days, mean, median }
    }

    /// A logarithmic axis has no place for no looks at all.
    fn has_a_place(&self) -> bool {
        self.looks_per_day > 0.0 && [self.looks_per_day, self.mean, self.median].into_iter().all(f64::is_finite)
    }
}

/// A picture that cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[error("the plot cannot be drawn: {0}")]
pub struct Error(String);

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for Error {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self(error.to_string())
    }
}

// In pixels.
const WIDTH: f64 = 1_200.0;
const MARGIN: f64 = 16.0;
const PANEL: f64 = (WIDTH - 3.0 * MARGIN) / 2.0;
const CHART: f64 = 460.0;
const TITLE: f64 = 18.0;
const HEADING: f64 = 15.0;
const SMALL: f64 = 13.0;
/// Where legends begin.
const HEAD: f64 = 76.0;
const ROW: f64 = 22.0;
const DASH: f64 = 36.0;
const SAMPLE: f64 = DASH + OFF;

/// Points of a line: more cannot be seen.
const POINTS_LIMIT: usize = 400;

const GRID: RGBColor = RGBColor(215, 215, 215);

/// Draws both as one SVG.
pub fn svg(title: &str, curves: &[Curve<'_>], costs: &[Cost]) -> Result<String, Error> {
    let mut names: Vec<&str> = vec![];
    for name in curves.iter().map(|curve| &curve.label).chain(costs.iter().map(|cost| &cost.label)) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let look = |label: &str| Look::number(names.iter().position(|name| *name == label).unwrap_or_default());
    let left: Vec<_> = curves.iter().map(|curve| Entry::new(&curve.label, look(&curve.label))).collect();
    let mut right: Vec<_> = costs.iter().map(|cost| Entry::new(&cost.label, look(&cost.label).dashed(None))).collect();
    right.push(Entry::new("mean", PLAIN));
    right.push(Entry { full: false, ..Entry::new("median", PLAIN.dashed(Some(MEDIAN))) });
    let (left, right) = (laid_out(left), laid_out(right));
    let rows = left.iter().chain(&right).map(|(_, (_, y))| *y).fold(0.0, f64::max) + ROW;
    let height = HEAD + rows + CHART + MARGIN;

    let (across, down) = (stroke(WIDTH), stroke(height));
    let mut picture = String::new();
    {
        let root = SVGBackend::with_string(&mut picture, (across, down)).into_drawing_area();
        root.fill(&WHITE)?;
        write(&root, &fitted(title, TITLE, WIDTH - 2.0 * MARGIN), (px(WIDTH / 2.0), px(24.0)), (TITLE, HPos::Center))?;
        let panel = |x: f64, heading: &str, entries: &[(Entry, (f64, f64))]| {
            write(&root, heading, (px(x - OFF), px(56.0)), (HEADING, HPos::Left))?;
            for (entry, place) in entries {
                entry.draw(&root, (x + place.0, HEAD + place.1 + ROW / 2.0))?;
            }
            Ok::<_, Error>(root.clone().shrink((px(x), px(HEAD + rows)), (px(PANEL), px(CHART))))
        };
        let area = panel(MARGIN, "How soon messages are found", &left)?;
        delays(&area, curves, look)?;
        let area = panel(2.0 * MARGIN + PANEL, "What it costs", &right)?;
        cost(&area, costs, look)?;
        root.present()?;
    }
    // Drawn in finer units, shown in pixels.
    let drawn = format!("width=\"{across}\" height=\"{down}\"");
    Ok(picture.replacen(&drawn, &format!("width=\"{WIDTH}\" height=\"{height}\""), 1))
}

/// A line of a legend.
struct Entry {
    text: String,
    look: Look,
    full: bool,
}

impl Entry {
    fn new(label: &str, look: Look) -> Self {
        Self { text: fitted(label, SMALL, PANEL - SAMPLE - MARGIN), look, full: true }
    }

    fn draw(&self, root: &Area<'_>, (x, y): (f64, f64)) -> Result<(), Error> {
        self.look.line(root, vec![(px(x), px(y)), (px(x + DASH), px(y))], 2.0)?;
        self.look.mark(root, (px(x + DASH / 2.0), px(y)), self.full)?;
        write(root, &self.text, (px(x + DASH), px(y)), (SMALL, HPos::Left))
    }
}

/// Beside each other as far as there is room, then below; with the place of each.
fn laid_out(entries: Vec<Entry>) -> Vec<(Entry, (f64, f64))> {
    let (mut x, mut y) = (0.0, 0.0);
    let mut placed = vec![];
    for entry in entries {
        let long = SAMPLE + width(&entry.text, SMALL);
        if x > 0.0 && x + long > PANEL {
            (x, y) = (0.0, y + ROW);
        }
        placed.push((entry, (x, y)));
        x += long + 18.0;
    }
    placed
}

/// The share of messages found within each delay.
fn delays(area: &Area<'_>, curves: &[Curve<'_>], look: impl Fn(&str) -> Look) -> Result<(), Error> {
    let curves: Vec<_> = curves.iter().filter(|curve| !curve.outcome.delays.is_empty()).collect();
    // The left edge lies where a message in a hundred is found: what is sooner is drawn there.
    let ends = curves.iter().flat_map(|curve| [0.01, 1.0].map(|share| curve.outcome.quantile(share)));
    let axis = Axis::of_seconds(ends);
    let (low, high) = (axis.low(), axis.high());
    let chart = chart(area, (axis, "delay until a message is found"), (Axis::of_percent(), "messages found (%)"))?;
    let plane = chart.plotting_area();
    for (share, name) in [(50.0, "median"), (90.0, "p90")] {
        GUIDE.line(plane, vec![(low, share), (high, share)], 1.0)?;
        write(plane, name, (high, share), (SMALL, HPos::Left))?;
    }
    for curve in curves {
        let (look, outcome) = (look(&curve.label), curve.outcome);
        look.line(plane, found_within(&outcome.delays, low), 2.0)?;
        for share in [0.5, 0.9] {
            look.mark(plane, (outcome.quantile(share), share * 100.0), true)?;
        }
    }
    Ok(())
}

/// Delays and the percentage found within them: a stair for each message where they can be told apart.
fn found_within(delays: &[f32], low: f64) -> Vec<(f64, f64)> {
    let percent = |number: usize| number as f64 * 100.0 / delays.len() as f64;
    let steps = delays.len().min(POINTS_LIMIT);
    let mut line = vec![(low, 0.0)];
    for number in (1..=steps).map(|step| delays.len() * step / steps) {
        let delay = f64::from(delays[number - 1]);
        if delays.len() <= POINTS_LIMIT {
            line.push((delay, percent(number - 1)));
        }
        line.push((delay, percent(number)));
    }
    line
}

/// Delay against cost.
fn cost(area: &Area<'_>, costs: &[Cost], look: impl Fn(&str) -> Look) -> Result<(), Error> {
    let shown: Vec<_> = costs.iter().flat_map(|cost| &cost.points).filter(|point| point.has_a_place()).collect();
    let looks = Axis::of_numbers(shown.iter().map(|point| point.looks_per_day));
    let delay = Axis::of_seconds(shown.iter().flat_map(|point| [point.mean, point.median]));
    let chart = chart(area, (looks, "looks a day"), (delay, "mean and median delay"))?;
    let plane = chart.plotting_area();
    for cost in costs {
        let mut points: Vec<_> = cost.points.iter().filter(|point| point.has_a_place()).collect();
        points.sort_by(|a, b| a.looks_per_day.total_cmp(&b.looks_per_day));
        let look = look(&cost.label).dashed(None);
        let means: Vec<_> = points.iter().map(|point| (point.looks_per_day, point.mean)).collect();
        let medians: Vec<_> = points.iter().map(|point| (point.looks_per_day, point.median)).collect();
        look.dashed(Some(MEDIAN)).line(plane, medians.clone(), 1.25)?;
        look.line(plane, means.clone(), 2.0)?;
        for (points, full) in [(medians, false), (means, true)] {
            points.into_iter().try_for_each(|point| look.mark(plane, point, full))?;
        }
    }
    Ok(())
}

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

/// Axes with their titles, and a grid.
fn chart<'a, 'b>(area: &'a Area<'b>, x: (Axis, &str), y: (Axis, &str)) -> Result<Chart<'a, 'b>, Error> {
    let mut chart = ChartBuilder::on(area)
        .margin_top(px(10.0))
        .margin_right(px(64.0))
        .x_label_area_size(px(54.0))
        .y_label_area_size(px(78.0))
        .build_cartesian_2d(x.0, y.0)?;
    chart
        .configure_mesh()
        .bold_line_style(GRID.stroke_width(stroke(1.0)))
        .axis_style(BLACK.stroke_width(stroke(1.0)))
        .set_all_tick_mark_size(px(5.0))
        .label_style(font(SMALL))
        .axis_desc_style(font(14.0))
        .x_desc(x.1)
        .y_desc(y.1)
        .draw()?;
    Ok(chart)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(delays: &[f32]) -> Outcome {
        Outcome { polls: 10, delays: delays.to_vec() }
    }

    fn drawn(title: &str, outcomes: &[(&str, Outcome)]) -> String {
        let curves: Vec<_> =
            outcomes.iter().map(|(label, outcome)| Curve { label: (*label).into(), outcome }).collect();
        let points = |outcome: &Outcome| [0.5, 1.0, 4.0].map(|days| CostPoint::new(outcome, days)).to_vec();
        let costs: Vec<_> =
            outcomes.iter().map(|(label, outcome)| Cost { label: (*label).into(), points: points(outcome) }).collect();
        svg(title, &curves, &costs).unwrap()
    }

    /// Its name, its attributes and the text behind it.
    type Tag<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a str);

    /// The tags of a picture, after a look at whether they close in order.
    fn tags(svg: &str) -> Vec<Tag<'_>> {
        let mut open = vec![];
        let mut tags = vec![];
        for piece in svg.strip_prefix('<').unwrap().split('<') {
            let (tag, text) = piece.split_once('>').unwrap();
            assert!(!text.contains('>') && text.chars().all(|c| c == '\n' || !c.is_control()), "{piece}");
            for entity in text.split('&').skip(1) {
                assert!(
                    ["lt;", "gt;", "amp;", "quot;", "apos;"].iter().any(|known| entity.starts_with(known)),
                    "{text}"
                );
            }
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name));
                continue;
            }
            let (name, rest) = tag.trim_end_matches('/').split_once(' ').unwrap();
            let halves: Vec<_> = rest.split('"').collect();
            assert_eq!(halves.len() % 2, 1, "{tag}");
            let attributes =
                halves.chunks_exact(2).map(|pair| (pair[0].trim().trim_end_matches('='), pair[1])).collect();
            tags.push((name, attributes, text.trim()));
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?}");
        tags
    }

    /// Whether everything lies inside the view box, as far as the width of text can be guessed, and text is large enough.
    fn check(svg: &str) {
        let tags = tags(svg);
        let size = |name: &str| tags[0].1.iter().find(|(key, _)| *key == name).unwrap().1;
        let room: Vec<f64> = size("viewBox").split(' ').map(|number| number.parse().unwrap()).collect();
        let units = room[2] / size("width").parse::<f64>().unwrap();
        let inside = |x: f64, y: f64| assert!((0.0..=room[2]).contains(&x) && (0.0..=room[3]).contains(&y), "{x} {y}");
        for (name, attributes, text) in &tags[1..] {
            let value = |key: &str| attributes.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
            let number = |key: &str| value(key).map(|value| value.parse::<f64>().unwrap());
            for (x, y) in [("x", "y"), ("x1", "y1"), ("x2", "y2")] {
                number(x).into_iter().zip(number(y)).for_each(|(x, y)| inside(x, y));
            }
            for point in value("points").unwrap_or_default().split_whitespace() {
                let (x, y) = point.split_once(',').unwrap();
                inside(x.parse().unwrap(), y.parse().unwrap());
            }
            if *name == "text" {
                let (x, y, height) = (number("x").unwrap(), number("y").unwrap(), number("font-size").unwrap());
                assert!(height >= 12.0 * units, "{text}");
                let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
                let long = width(&text, height);
                let begins = match value("text-anchor").unwrap() {
                    "start" => 0.0,
                    "middle" => -long / 2.0,
                    _ => -long,
                };
                for along in [begins, begins + long] {
                    if value("transform").is_some() { inside(x, y - along) } else { inside(x + along, y) }
                }
            }
        }
    }

    #[test]
    fn every_label_stands_in_the_picture_and_all_of_it_in_the_view_box() {
        let many: Vec<f32> = (1_u16..5_000).map(|n| f32::from(n).powf(1.3)).collect();
        let picture = drawn("5 messages", &[("sqrt", outcome(&many)), ("half of it", outcome(&[9.0, 90.0, 900.0]))]);
        check(&picture);
        for text in ["5 messages", "sqrt", "half of it", "median", "p90", "mean", "looks a day", "10 min", "1 h"] {
            assert!(tags(&picture).iter().any(|(_, _, found)| *found == text), "{text} in {picture}");
        }
        assert!(picture.len() < 100_000, "{} bytes", picture.len());
    }

    #[test]
    fn labels_from_outside_are_text_whatever_is_in_them() {
        let picture = drawn("\u{1}]]>", &[("<&\">\n", outcome(&[1.0])), (&"W".repeat(500), outcome(&[2.0]))]);
        check(&picture);
        assert!(picture.contains("\n&lt;&amp;&quot;&gt; \n"), "{picture}");
    }

    #[test]
    fn few_messages_or_none_at_all_or_found_at_once_make_a_picture_too() {
        let least: &[&[f32]] = &[&[], &[0.0], &[0.0, 0.0, 5.0], &[1e-3], &[1e12], &[f32::INFINITY]];
        for delays in least {
            check(&drawn("title", &[("one", outcome(delays))]));
        }
        check(&drawn("title", &least.iter().map(|delays| ("same", outcome(delays))).collect::<Vec<_>>()));
        check(&drawn("", &[]));
        let nowhere = [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300].map(|looks_per_day| CostPoint {
            looks_per_day,
            mean: 1.0,
            median: 0.0,
        });
        check(&svg("title", &[], &[Cost { label: "cost".into(), points: nowhere.to_vec() }]).unwrap());
    }
}
