//! A block from top to bottom, one column for each placement.

/// A convolution, and which of its sides have gates.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) filters: bool,
    pub(crate) channels: bool,
}

/// A block with the gates of one placement.
pub(crate) struct Block {
    pub(crate) name: &'static str,
    pub(crate) inner: Stage,
    pub(crate) last: Stage,
    /// MACs with half of the gates open, over those of the block without gates.
    pub(crate) left: f64,
}

/// A column, in pixels; the middle of the branch and the place of the shortcut in it.
const COLUMN: f64 = 330.0;
const MIDDLE: f64 = 145.0;
const SHORTCUT: f64 = 296.0;
const HEIGHT: f64 = 646.0;
const BOX: [f64; 2] = [224.0, 46.0];
const PLANE: f64 = 22.0;
/// Filters that the drawing's gates open, of six: others for each convolution.
const OPEN: [[bool; 6]; 2] =
    [[true, false, true, true, false, false], [false, true, true, false, false, true]];
const INK: &str = "#222";
const GATE: &str = "#d55e00";
const ACTIVE: &str = "#0072b2";

/// The SVG.
pub(crate) fn draw(blocks: &[Block]) -> String {
    let width = COLUMN * blocks.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" width=\"{width}\" \
         height=\"{HEIGHT}\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\" fill=\"{INK}\">\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" \
         markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"{INK}\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (i, block) in blocks.iter().enumerate() {
        svg += &format!("<g transform=\"translate({} 0)\">\n", COLUMN * i as f64);
        svg += &draw_block(block);
        svg += "</g>\n";
    }
    svg + "</svg>\n"
}

fn draw_block(Block { name, inner, last, left }: &Block) -> String {
    let mut svg =
        text(MIDDLE, 28.0, &format!("<tspan font-weight=\"bold\" font-size=\"16\">{name}</tspan>"));
    let mut y = 46.0;
    svg += &planes(y, None);
    svg += &text(MIDDLE - 95.0, y + 16.0, "x");
    let fork = y + PLANE / 2.0;
    y += PLANE;
    for (stage, relu, open) in [(inner, true, &OPEN[0]), (last, false, &OPEN[1])] {
        svg += &arrow(y, y + 24.0);
        y += 24.0;
        let runs =
            |gated: bool, what: &str| format!("{} {what}", if gated { "active" } else { "all" });
        let sides = [runs(stage.filters, "filters"), runs(stage.channels, "channels")].join(" × ");
        svg += &labelled_box(y, &stage.name, &sides, stage.filters || stage.channels);
        y += BOX[1];
        svg += &arrow(y, y + 18.0);
        y += 18.0;
        svg += &plain_box(y, if relu { "batch norm, ReLU" } else { "batch norm" });
        y += 28.0;
        if stage.filters {
            svg += &arrow(y, y + 20.0);
            y += 20.0;
            svg += &gate(y);
        } else {
            svg += &line(&format!("M{MIDDLE} {y}V{}", y + 20.0 + PLANE));
            y += 20.0;
        }
        y += PLANE;
        svg += &arrow(y, y + 18.0);
        y += 18.0;
        svg += &planes(y, stage.filters.then_some(open));
        y += PLANE;
    }
    svg += &arrow(y, y + 26.0);
    y += 26.0 + 12.0;
    svg += &line(&format!("M{} {fork}H{SHORTCUT}V{y}H{}", MIDDLE + 84.0, MIDDLE + 16.0))
        .replace("/>", " marker-end=\"url(#tip)\"/>");
    svg += &format!(
        "<text transform=\"translate({} {}) rotate(-90)\" text-anchor=\"middle\">shortcut, never gated</text>\n",
        SHORTCUT + 18.0,
        f64::midpoint(fork, y)
    );
    svg +=
        &format!("<circle cx=\"{MIDDLE}\" cy=\"{y}\" r=\"12\" fill=\"white\" stroke=\"{INK}\"/>\n");
    svg += &text(MIDDLE, y + 5.0, "+");
    svg += &arrow(y + 12.0, y + 32.0);
    svg += &plain_box(y + 32.0, "ReLU");
    svg += &arrow(y + 60.0, y + 78.0);
    svg += &planes(y + 78.0, None);
    y += 78.0 + PLANE + 28.0;
    svg += &text(MIDDLE, y, &format!("half of the gates open: {left}x the MACs"));
    svg
}

/// One for each filter or channel; of those with gates, closed ones are 0.
fn planes(y: f64, open: Option<&[bool; 6]>) -> String {
    let step = PLANE + 5.0;
    let plane = |i: usize| {
        let x = MIDDLE + step * (i as f64 - 3.0) + 2.5;
        if open.is_none_or(|open| open[i]) {
            return format!(
                "<rect x=\"{x}\" y=\"{y}\" width=\"{PLANE}\" height=\"{PLANE}\" fill=\"{ACTIVE}\" \
                 fill-opacity=\"0.55\" stroke=\"{ACTIVE}\"/>\n"
            );
        }
        let zero = text(x + PLANE / 2.0, y + 16.0, "0");
        format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{PLANE}\" height=\"{PLANE}\" fill=\"white\" stroke=\"#888\" \
             stroke-dasharray=\"3 2\"/>\n{zero}"
        )
    };
    (0..6).map(plane).collect()
}

fn gate(y: f64) -> String {
    let (left, right) = (MIDDLE - 62.0, MIDDLE + 62.0);
    let middle = y + PLANE / 2.0;
    format!(
        "<path d=\"M{} {middle}L{left} {y}H{right}L{} {middle}L{right} {}H{left}z\" fill=\"{GATE}\"/>\n",
        left - 12.0,
        right + 12.0,
        y + PLANE
    ) + &text(MIDDLE, y + 15.5, "<tspan fill=\"white\">gate: 0 or 1 each</tspan>")
}

fn labelled_box(y: f64, name: &str, sides: &str, gated: bool) -> String {
    let stroke = if gated { GATE } else { INK };
    rect(y, BOX[1], stroke)
        + &text(MIDDLE, y + 19.0, &format!("<tspan font-weight=\"bold\">{name}</tspan>, 3x3"))
        + &text(MIDDLE, y + 37.0, sides)
}

fn plain_box(y: f64, name: &str) -> String {
    rect(y, 28.0, INK) + &text(MIDDLE, y + 18.5, name)
}

fn rect(y: f64, height: f64, stroke: &str) -> String {
    let x = MIDDLE - BOX[0] / 2.0;
    format!(
        "<rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{height}\" rx=\"4\" fill=\"#f6f6f6\" \
         stroke=\"{stroke}\" stroke-width=\"1.5\"/>\n",
        BOX[0]
    )
}

fn arrow(from: f64, to: f64) -> String {
    let path = line(&format!("M{MIDDLE} {from}V{to}"));
    path.replace("/>", " marker-end=\"url(#tip)\"/>")
}

fn line(path: &str) -> String {
    format!("<path d=\"{path}\" fill=\"none\" stroke=\"{INK}\" stroke-width=\"1.5\"/>\n")
}

fn text(x: f64, y: f64, content: &str) -> String {
    format!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{content}</text>\n")
}
