//! The drawing.

use gaternet::cli::chart::{self, Axis, Line};

use crate::rows::{GATINGS, Panel};

/// The SVG of all panels.
pub(crate) fn draw(panels: &[Panel]) -> String {
    let top = panels
        .iter()
        .flat_map(|panel| panel.lines.iter().flatten())
        .fold(1.0, |top: f64, [_, time]| top.max(time - 0.02));
    let ticks = (0..=(top * 4.0).ceil() as u32).map(|i| f64::from(i) / 4.0).collect::<Vec<_>>();
    let panels: Vec<_> = panels.iter().map(|panel| draw_panel(panel, &ticks)).collect();
    let gated = (0..).zip(GATINGS);
    let gated = gated.map(|(i, gating)| (Some(i), format!("{gating} gated")));
    let ideal = (None, "ideal (with both: density²)".to_owned());
    chart::draw(&panels, &gated.chain([ideal]).collect::<Vec<_>>())
}

fn draw_panel(panel: &Panel, times: &[f64]) -> chart::Panel {
    let ideal = |time: fn(f64) -> f64| {
        let densities = (0..=20).map(|i| f64::from(i) / 20.0);
        let points = densities.map(|density| [density, time(density)]).collect();
        Line { points, style: None }
    };
    let measured = (0..).zip(&panel.lines);
    let measured = measured.map(|(i, points)| Line { points: points.clone(), style: Some(i) });
    let ideals = [ideal(|density| density), ideal(|density| density * density)];
    chart::Panel {
        title: panel.title.clone(),
        x: Axis {
            label: "density: fraction of gates open".to_owned(),
            ticks: vec![0.0, 0.25, 0.5, 0.75, 1.0],
        },
        y: Axis { label: "time / time at density 1".to_owned(), ticks: times.to_vec() },
        lines: ideals.into_iter().chain(measured).collect(),
    }
}
