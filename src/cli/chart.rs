//! Line charts as SVG: panels side by side, one legend below.

use std::fmt::Write;

/// Panels of a row, at most.
const COLUMNS: usize = 3;
/// A panel with its labels, and its plot within it, in pixels.
const PANEL: [f64; 2] = [360.0, 350.0];
const PLOT: [f64; 2] = [272.0, 250.0];
const PLOT_AT: [f64; 2] = [64.0, 40.0];
/// Height of a row of the legend, and widths of its entries: beside the text, and of a character at
/// most.
const LEGEND_ROW: f64 = 24.0;
const LEGEND_SPACE: f64 = 52.0;
const CHARACTER: f64 = 8.0;
/// Colours that also people who see no red or green can tell apart (Okabe and Ito).
const COLOURS: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
const IDEAL: &str = r##"stroke="#888" stroke-width="1.5" stroke-dasharray="5 4" fill="none""##;

/// One plot.
pub struct Panel {
    /// Written above it.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// Drawn in this order, later ones above earlier ones.
    pub lines: Vec<Line>,
}

/// From its first tick to its last.
pub struct Axis {
    /// What its values are, with their unit.
    pub label: String,
    /// Two at least, ascending.
    pub ticks: Vec<f64>,
}

impl Axis {
    /// With round ticks, two to nine, from at most the least to at least the largest of `values`.
    pub fn over(label: &str, values: impl Iterator<Item = f64> + Clone) -> Axis {
        Axis { label: label.to_owned(), ticks: ticks(values) }
    }
}

/// Points (x, y), joined.
pub struct Line {
    /// In the units of the axes.
    pub points: Vec<[f64; 2]>,
    /// How it looks; the legend has the same.
    pub style: Style,
}

/// The number of a colour, for a line with a dot at each point; none for a dashed one: an ideal.
pub type Style = Option<usize>;

fn colour(number: usize) -> &'static str {
    COLOURS[number % COLOURS.len()]
}

fn stroke(style: Style) -> String {
    match style {
        None => IDEAL.to_owned(),
        Some(number) => {
            format!(r#"stroke="{}" stroke-width="2.5" fill="none""#, colour(number))
        }
    }
}

impl Axis {
    fn range(&self) -> [f64; 2] {
        [self.ticks.first(), self.ticks.last()].map(|tick| tick.copied().unwrap_or(0.0))
    }

    /// Where a value is, from 0 to 1.
    fn at(&self, value: f64) -> f64 {
        let [first, last] = self.range();
        (value - first) / (last - first)
    }
}

/// The SVG of all panels. The legend has the entries in one row if they fit there under several
/// panels, else below each other.
pub fn draw(panels: &[Panel], legend: &[(Style, String)]) -> String {
    let columns = panels.len().clamp(1, COLUMNS);
    let width = PANEL[0] * columns as f64;
    let panels_height = PANEL[1] * panels.len().div_ceil(columns) as f64;
    let longest = legend.iter().map(|(_, text)| text.chars().count()).max().unwrap_or(0);
    let entry = LEGEND_SPACE + CHARACTER * longest as f64;
    let fit = ((width - PLOT_AT[0]) / entry) as usize;
    let in_one_row = (columns > 1 && legend.len() <= fit).then_some(entry);
    let legend_rows = if in_one_row.is_some() { 1 } else { legend.len() };
    let height = panels_height + LEGEND_ROW * (legend_rows as f64 + 0.5);
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="Helvetica, Arial, sans-serif" font-size="14">
<rect width="100%" height="100%" fill="white"/>
"#
    );
    for (i, panel) in panels.iter().enumerate() {
        let (x, y) = ((i % columns) as f64 * PANEL[0], (i / columns) as f64 * PANEL[1]);
        svg += &format!("<g transform=\"translate({x} {y})\">\n");
        svg += &draw_panel(panel);
        svg += "</g>\n";
    }
    svg += &draw_legend(legend, in_one_row, panels_height);
    svg + "</svg>\n"
}

fn draw_panel(panel: &Panel) -> String {
    let x = |value: f64| PLOT_AT[0] + PLOT[0] * panel.x.at(value);
    let y = |value: f64| PLOT_AT[1] + PLOT[1] * (1.0 - panel.y.at(value));
    let mut svg = String::new();
    let mut line = |text: String| {
        svg += &text;
        svg.push('\n');
    };
    let ([left, right], [bottom, top]) = (panel.x.range().map(x), panel.y.range().map(y));
    let middle = f64::midpoint(left, right);
    let title = escaped(&panel.title);
    line(format!(r#"<text x="{middle}" y="{}" text-anchor="middle">{title}</text>"#, top - 16.0));
    for &tick in &panel.y.ticks {
        let (at, tick) = (y(tick), number(tick));
        line(format!(r##"<path d="M{left} {at}H{right}" stroke="#ddd"/>"##));
        let (x, y) = (left - 8.0, at + 5.0);
        line(format!(r#"<text x="{x}" y="{y}" text-anchor="end">{tick}</text>"#));
    }
    for &tick in &panel.x.ticks {
        let (at, tick) = (x(tick), number(tick));
        line(format!(r##"<path d="M{at} {top}V{bottom}" stroke="#ddd"/>"##));
        let y = bottom + 20.0;
        line(format!(r#"<text x="{at}" y="{y}" text-anchor="middle">{tick}</text>"#));
    }
    line(format!(r##"<path d="M{left} {top}V{bottom}H{right}" stroke="#333" fill="none"/>"##));
    let (y_of_label, label) = (bottom + 42.0, escaped(&panel.x.label));
    line(format!(r#"<text x="{middle}" y="{y_of_label}" text-anchor="middle">{label}</text>"#));
    let (at, middle) = (left - 48.0, f64::midpoint(top, bottom));
    let label = escaped(&panel.y.label);
    line(format!(
        r#"<text x="{at}" y="{middle}" text-anchor="middle" transform="rotate(-90 {at} {middle})">{label}</text>"#
    ));
    for Line { points, style } in &panel.lines {
        let path = points.iter().map(|[px, py]| format!("{:.1},{:.1}", x(*px), y(*py)));
        let path = path.collect::<Vec<_>>().join(" ");
        line(format!(r#"<polyline points="{path}" {}/>"#, stroke(*style)));
        if let Some(number) = style {
            for [px, py] in points {
                let (x, y, colour) = (x(*px), y(*py), colour(*number));
                line(format!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{colour}"/>"#));
            }
        }
    }
    svg
}

/// In one row, if there is a width for each entry, else below each other.
fn draw_legend(legend: &[(Style, String)], in_one_row: Option<f64>, top: f64) -> String {
    let mut svg = String::new();
    for (i, (style, text)) in legend.iter().enumerate() {
        let (left, row) = in_one_row.map_or((0.0, i), |entry| (entry * i as f64, 0));
        let x = PLOT_AT[0] + left;
        let y = top + LEGEND_ROW * (row as f64 + 0.5);
        let (text_x, text_y) = (x + 36.0, y + 5.0);
        // Writing to a String cannot fail.
        let _ = writeln!(svg, r#"<path d="M{x} {y}h28" {}/>"#, stroke(*style));
        let _ = writeln!(svg, r#"<text x="{text_x}" y="{text_y}">{}</text>"#, escaped(text));
    }
    svg
}

/// Without the tail of a rounding.
fn number(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Round numbers, four to nine, from at most the least to at least the largest value.
fn ticks(values: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let most = values.fold(f64::NEG_INFINITY, f64::max).max(least + 1e-9);
    let decade = 10_f64.powf((most - least).log10().floor());
    let step = [0.2, 0.25, 0.5, 1.0].map(|part| part * decade);
    let step = step.into_iter().find(|step| (most - least) / step <= 6.0).unwrap_or(2.0 * decade);
    let (first, last) = ((least / step).floor() as i64, (most / step).ceil() as i64);
    (first..=last.max(first + 1)).map(|tick| tick as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_span_the_values() {
        assert_eq!(ticks([12.0, 61.0].into_iter()), [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0]);
        assert_eq!(ticks([1.0, 3.0].into_iter()), [1.0, 1.5, 2.0, 2.5, 3.0]);
        for values in [[3.0, 3.0], [0.0, 0.0], [84.1, 85.3], [999.0, 1001.0], [1.0, 9.9]] {
            let ticks = ticks(values.into_iter());
            assert!((2..=9).contains(&ticks.len()), "{values:?}: {ticks:?}");
            assert!(ticks[0] <= values[0] && ticks[ticks.len() - 1] >= values[1], "{ticks:?}");
        }
    }
}
