//! Figures side by side.

use std::io::Write;

/// One figure of inboxd and one of what it is compared with, from the same round. `None` could not be measured.
pub(crate) type Pair = (Option<f64>, Option<f64>);

struct Row {
    name: String,
    unit: &'static str,
    rounds: Vec<Pair>,
}

/// One measurement of several providers: a column for each.
pub(crate) struct Grid {
    title: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<(&'static str, Vec<String>)>,
}

impl Grid {
    pub(crate) fn new(title: &'static str) -> Self {
        Self { title, columns: vec![], rows: vec![] }
    }

    /// The figures of one provider: every column has the same rows.
    pub(crate) fn column(&mut self, name: &'static str, figures: Vec<(&'static str, String)>) {
        self.columns.push(name);
        for (row, figure) in figures {
            match self.rows.iter_mut().find(|(name, _)| *name == row) {
                Some((_, figures)) => figures.push(figure),
                None => self.rows.push((row, vec![figure])),
            }
        }
    }

    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let width = self.rows.iter().map(|row| row.0.len()).chain([self.title.len()]).max().unwrap_or_default();
        writeln!(out)?;
        let mut line = |name: &str, figures: &mut dyn Iterator<Item = &str>| {
            let figures: String = figures.map(|figure| format!("  {figure:>21}")).collect();
            writeln!(out, "{name:width$}{figures}")
        };
        line(self.title, &mut self.columns.iter().copied())?;
        self.rows.iter().try_for_each(|(name, figures)| line(name, &mut figures.iter().map(String::as_str)))
    }
}

/// Rows, grids below them, and remarks below those.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    grids: Vec<Grid>,
    remarks: Vec<String>,
}

impl Table {
    pub(crate) fn row(&mut self, name: impl Into<String>, unit: &'static str, rounds: Vec<Pair>) {
        self.rows.push(Row { name: name.into(), unit, rounds });
    }

    pub(crate) fn grid(&mut self, grid: Grid) {
        self.grids.push(grid);
    }

    pub(crate) fn remark(&mut self, remark: impl Into<String>) {
        self.remarks.push(remark.into());
    }

    pub(crate) fn print(&self, mut out: impl Write) -> std::io::Result<()> {
        if !self.rows.is_empty() {
            self.print_rows(&mut out)?;
        }
        self.grids.iter().try_for_each(|grid| grid.print(&mut out))?;
        writeln!(out)?;
        self.remarks.iter().try_for_each(|remark| writeln!(out, "- {remark}"))
    }

    fn print_rows(&self, out: &mut impl Write) -> std::io::Result<()> {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
        let heading = "ratio (lowest..highest)";
        writeln!(out, "\n{:width$}  {:>9}  {:>9}  {heading}", "", "inboxd", "bare")?;
        for row in &self.rows {
            let [inboxd, bare] = [|pair: &Pair| pair.0, |pair: &Pair| pair.1]
                .map(|side| shown(median(row.rounds.iter().filter_map(side).collect()).map(|m| m.1)));
            let ratios = row.rounds.iter().filter_map(|(inboxd, bare)| Some((*inboxd)? / (*bare)?)).collect();
            let ratio = median(ratios).map_or_else(
                || "not measured".to_owned(),
                |(low, middle, high)| format!("{middle:.2} ({low:.2}..{high:.2})"),
            );
            writeln!(out, "{:width$}  {inboxd:>9}  {bare:>9}  {ratio:<20} {}", row.name, row.unit)?;
        }
        Ok(())
    }
}

/// Lowest, middle and highest.
pub(crate) fn median(mut figures: Vec<f64>) -> Option<(f64, f64, f64)> {
    figures.sort_by(f64::total_cmp);
    Some((*figures.first()?, figures[figures.len() / 2], *figures.last()?))
}

/// With as many digits as mean anything.
pub(crate) fn shown(figure: Option<f64>) -> String {
    match figure {
        None => "n/a".into(),
        Some(figure) if figure >= 10_000.0 => format!("{:.1}k", figure / 1000.0),
        Some(figure) if figure >= 100.0 => format!("{figure:.0}"),
        Some(figure) => format!("{figure:.1}"),
    }
}
