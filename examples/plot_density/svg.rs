//! The drawing.

use std::fmt::Write;

use crate::rows::{GATINGS, Panel, Point};

/// Panels of a row, at most.
const COLUMNS: usize = 3;
/// A panel with its labels, and its plot within it, in pixels.
const PANEL: [f64; 2] = [360.0, 350.0];
const PLOT: [f64; 2] = [272.0, 250.0];
const PLOT_AT: [f64; 2] = [64.0, 40.0];
/// Height of a row of the legend, which is under the panels: one row, or one for each entry under a
/// single panel.
const LEGEND_ROW: f64 = 24.0;
/// Colours that also people who see no red or green can tell apart (Okabe and Ito).
const COLOURS: [&str; GATINGS.len()] = ["#0072b2", "#d55e00", "#009e73"];
const IDEAL: &str = r##"stroke="#888" stroke-width="1.5" stroke-dasharray="5 4" fill="none""##;

/// The SVG of all panels, with one legend.
pub(crate) fn draw(panels: &[Panel]) -> String {
    let columns = panels.len().clamp(1, COLUMNS);
    let width = PANEL[0] * columns as f64;
    let panels_height = PANEL[1] * panels.len().div_ceil(columns) as f64;
    let legend_rows = if columns == 1 { GATINGS.len() + 1 } else { 1 };
    let height = panels_height + LEGEND_ROW * (legend_rows as f64 + 0.5);
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="Helvetica, Arial, sans-serif" font-size="14">
<rect width="100%" height="100%" fill="white"/>
"#
    );
    let top = panels
        .iter()
        .flat_map(|panel| panel.lines.iter().flatten())
        .fold(1.0, |top: f64, point| top.max(point.time - 0.02));
    for (i, panel) in panels.iter().enumerate() {
        let (x, y) = ((i % columns) as f64 * PANEL[0], (i / columns) as f64 * PANEL[1]);
        svg += &format!("<g transform=\"translate({x} {y})\">\n");
        svg += &draw_panel(panel, (top * 4.0).ceil() / 4.0);
        svg += "</g>\n";
    }
    svg += &legend(columns, panels_height);
    svg + "</svg>\n"
}

fn draw_panel(panel: &Panel, top: f64) -> String {
    let x = |density: f64| PLOT_AT[0] + PLOT[0] * density;
    let y = |time: f64| PLOT_AT[1] + PLOT[1] * (1.0 - time / top);
    let path = |points: &[Point]| {
        let points = points.iter().map(|p| format!("{:.1},{:.1}", x(p.density), y(p.time)));
        points.collect::<Vec<_>>().join(" ")
    };
    let curve = |time: fn(f64) -> f64| {
        let densities = (0..=20).map(|i| f64::from(i) / 20.0);
        let points = densities.map(|density| Point { density, time: time(density) });
        path(&points.collect::<Vec<_>>())
    };
    let mut svg = String::new();
    let mut line = |text: String| {
        svg += &text;
        svg.push('\n');
    };
    let (left, right, bottom, middle) = (x(0.0), x(1.0), y(0.0), x(0.5));
    line(format!(
        r#"<text x="{middle}" y="{}" text-anchor="middle">{}</text>"#,
        y(top) - 16.0,
        panel.title
    ));
    for tick in (0..).map(|i| f64::from(i) / 4.0).take_while(|tick| *tick <= top) {
        let at = y(tick);
        line(format!(r##"<path d="M{left} {at}H{right}" stroke="#ddd"/>"##));
        line(format!(
            r#"<text x="{}" y="{}" text-anchor="end">{tick}</text>"#,
            left - 8.0,
            at + 5.0
        ));
    }
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let at = x(tick);
        line(format!(r##"<path d="M{at} {}V{bottom}" stroke="#ddd"/>"##, y(top)));
        line(format!(r#"<text x="{at}" y="{}" text-anchor="middle">{tick}</text>"#, bottom + 20.0));
    }
    line(format!(r##"<path d="M{left} {}V{bottom}H{right}" stroke="#333" fill="none"/>"##, y(top)));
    line(format!(
        r#"<text x="{middle}" y="{}" text-anchor="middle">density: share of gates open</text>"#,
        bottom + 42.0
    ));
    let (at, middle) = (left - 48.0, (y(top) + bottom) / 2.0);
    line(format!(
        r#"<text x="{at}" y="{middle}" text-anchor="middle" transform="rotate(-90 {at} {middle})">time / time at density 1</text>"#
    ));
    line(format!(r#"<polyline points="{}" {IDEAL}/>"#, curve(|density| density)));
    line(format!(r#"<polyline points="{}" {IDEAL}/>"#, curve(|density| density * density)));
    for (points, colour) in panel.lines.iter().zip(COLOURS) {
        line(format!(
            r#"<polyline points="{}" stroke="{colour}" stroke-width="2.5" fill="none"/>"#,
            path(points)
        ));
        for point in points {
            let (x, y) = (x(point.density), y(point.time));
            line(format!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{colour}"/>"#));
        }
    }
    svg
}

fn legend(columns: usize, top: f64) -> String {
    let gated = GATINGS.iter().zip(COLOURS).map(|(gating, colour)| {
        (format!(r#"stroke="{colour}" stroke-width="2.5""#), format!("{gating} gated"))
    });
    let ideal = (IDEAL.to_owned(), "ideal (with both: density²)".to_owned());
    let mut svg = String::new();
    for (i, (line, text)) in gated.chain([ideal]).enumerate() {
        let (column, row) = if columns == 1 { (0, i) } else { (i, 0) };
        let (x, y) = (PLOT_AT[0] + 132.0 * column as f64, top + LEGEND_ROW * (row as f64 + 0.5));
        let (text_x, text_y) = (x + 36.0, y + 5.0);
        let _ = writeln!(svg, r#"<path d="M{x} {y}h28" {line}/>"#);
        let _ = writeln!(svg, r#"<text x="{text_x}" y="{text_y}">{text}</text>"#);
    }
    svg
}
