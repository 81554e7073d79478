//! What lines, marks and text look like. Everything outside this file and the panels counts in pixels of the picture.

use plotters::backend::SVGBackend;
use plotters::coord::{CoordTranslate, Shift};
use plotters::drawing::DrawingArea;
use plotters::element::{DashedPathElement, EmptyElement, PathElement, Polygon, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{BLACK, Color as _, IntoFont as _, RGBColor, TextStyle, WHITE};

use super::Error;

pub(super) type Area<'a, C = Shift> = DrawingArea<SVGBackend<'a>, C>;

/// Units of the drawing in a pixel: plotters draws at whole units, and lines of whole pixels have stairs in them.
const FINENESS: f64 = 4.0;

pub(super) fn px(pixels: f64) -> i32 {
    (pixels * FINENESS).round() as i32
}

/// A width for lines.
pub(super) fn stroke(pixels: f64) -> u32 {
    px(pixels).unsigned_abs()
}

/// In black and white as different as in colour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Look {
    pub colour: RGBColor,
    /// Length of dash and of gap in pixels; none is a line without gaps.
    pub dash: Option<(f64, f64)>,
    /// Corners of the mark, and by how much of a turn the first is off the top.
    mark: (u32, f64),
}

pub(super) const PLAIN: Look = Look { colour: BLACK, dash: None, mark: (24, 0.0) };

/// Behind the lines.
pub(super) const GUIDE: Look = Look { colour: RGBColor(140, 140, 140), ..PLAIN };

/// Dashes that stand for the median.
pub(super) const MEDIAN: (f64, f64) = (5.0, 4.0);

const LOOKS: [Look; 7] = [
    Look { colour: RGBColor(0, 114, 178), dash: None, mark: (24, 0.0) },
    Look { colour: RGBColor(213, 94, 0), dash: Some((12.0, 5.0)), mark: (3, 0.0) },
    Look { colour: RGBColor(0, 158, 115), dash: Some((2.5, 3.5)), mark: (4, 0.125) },
    Look { colour: RGBColor(204, 121, 167), dash: Some((22.0, 6.0)), mark: (4, 0.0) },
    Look { colour: RGBColor(230, 159, 0), dash: Some((7.0, 3.0)), mark: (3, 0.5) },
    Look { colour: RGBColor(86, 180, 233), dash: Some((5.0, 8.0)), mark: (5, 0.0) },
    Look { colour: BLACK, dash: Some((12.0, 12.0)), mark: (6, 0.0) },
];

impl Look {
    /// That of the schedule with this number.
    pub(super) fn number(number: usize) -> Self {
        LOOKS[number % LOOKS.len()]
    }

    pub(super) fn dashed(self, dash: Option<(f64, f64)>) -> Self {
        Self { dash, ..self }
    }

    pub(super) fn line<C: CoordTranslate>(
        self,
        area: &Area<'_, C>,
        points: Vec<C::From>,
        width: f64,
    ) -> Result<(), Error>
    where
        C::From: Clone + 'static,
    {
        let style = self.colour.stroke_width(stroke(width));
        match self.dash {
            None => area.draw(&PathElement::new(points, style))?,
            Some((dash, gap)) => area.draw(&DashedPathElement::new(points, px(dash), px(gap), style))?,
        }
        Ok(())
    }

    /// The mark of a point, full or hollow.
    pub(super) fn mark<C: CoordTranslate>(self, area: &Area<'_, C>, at: C::From, full: bool) -> Result<(), Error>
    where
        C::From: Clone + 'static,
    {
        let (corners, turn) = self.mark;
        let outline: Vec<_> = (0..=corners)
            .map(|corner| {
                let angle = (f64::from(corner) / f64::from(corners) + turn) * std::f64::consts::TAU;
                let radius = if corners < 5 { 5.5 } else { 4.5 };
                (px(radius * angle.sin()), px(-radius * angle.cos()))
            })
            .collect();
        let inside = if full { self.colour } else { WHITE };
        let shape = EmptyElement::at(at)
            + Polygon::new(outline.clone(), inside.filled())
            + PathElement::new(outline, self.colour.stroke_width(stroke(1.5)));
        Ok(area.draw(&shape)?)
    }
}

/// Text of a height in pixels.
pub(super) fn font(height: f64) -> TextStyle<'static> {
    // The crate divides by 1.24 what it writes into the picture.
    ("sans-serif", height * 1.24 * FINENESS).into_font().color(&BLACK)
}

/// How far text stands off what it is written beside, in pixels.
pub(super) const OFF: f64 = 8.0;

/// Writes text of a height around a point, or a little to the right of it.
pub(super) fn write<C: CoordTranslate>(
    area: &Area<'_, C>,
    text: &str,
    at: C::From,
    (height, side): (f64, HPos),
) -> Result<(), Error>
where
    C::From: Clone + 'static,
{
    let off = if matches!(side, HPos::Left) { px(OFF) } else { 0 };
    let style = font(height).pos(Pos::new(side, VPos::Center));
    Ok(area.draw(&(EmptyElement::at(at) + Text::new(text.to_owned(), (off, 0), style)))?)
}

/// A generous guess at the width of text: the reader's font is unknown.
pub(super) fn width(text: &str, height: f64) -> f64 {
    let em = |c: char| match c {
        'i' | 'j' | 'l' | 'I' | ' ' | '.' | ',' | ':' | '\'' => 0.4,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 1.0,
        'A'..='Z' | '&' | '<' | '>' => 0.84,
        c if c.is_ascii() => 0.64,
        _ => 1.0,
    };
    text.chars().map(em).sum::<f64>() * height
}

/// Text that fits, in one line, of characters that XML has.
pub(super) fn fitted(text: &str, height: f64, room: f64) -> String {
    let allowed = |c: char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    let mut fitted: String = text.chars().map(|c| if allowed(c) { c } else { ' ' }).collect();
    if width(&fitted, height) > room {
        while width(&fitted, height) + height > room && fitted.pop().is_some() {}
        fitted.push('…');
    }
    fitted
}
