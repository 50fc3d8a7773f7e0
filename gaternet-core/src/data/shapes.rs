//! The ten classes of the synthetic set, as distances to their outlines.

/// A class: the distance from the outline at (u, v), negative inside. The shape fits in the unit
/// circle around (0, 0).
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) distance: fn(f32, f32) -> f32,
}

pub(super) static SHAPES: [Shape; 10] = [
    Shape { name: "disc", distance: |u, v| length(u, v) - 0.85 },
    Shape { name: "ring", distance: |u, v| (length(u, v) - 0.7).abs() - 0.2 },
    Shape { name: "crescent", distance: |u, v| disc(u, v).max(0.75 - length(u - 0.5, v)) },
    Shape { name: "square", distance: |u, v| rectangle(u, v, 0.7, 0.7) },
    Shape { name: "frame", distance: |u, v| (rectangle(u, v, 0.55, 0.55)).abs() - 0.15 },
    Shape { name: "triangle", distance: |u, v| (v - 0.5).max(0.866 * u.abs() - 0.5 * v - 0.5) },
    Shape {
        name: "cross",
        distance: |u, v| rectangle(u, v, 0.9, 0.25).min(rectangle(u, v, 0.25, 0.9)),
    },
    Shape { name: "star", distance: star },
    Shape { name: "stripes", distance: |u, v| disc(u, v).max(stripes(u, 0.55)) },
    Shape {
        name: "checkerboard",
        distance: |u, v| {
            let (a, b) = (stripes(u, 0.9), stripes(v, 0.9));
            let distance = a.abs().min(b.abs());
            disc(u, v).max(if (a < 0.0) == (b < 0.0) { -distance } else { distance })
        },
    },
];

fn length(u: f32, v: f32) -> f32 {
    (u * u + v * v).sqrt()
}

fn disc(u: f32, v: f32) -> f32 {
    length(u, v) - 1.0
}

fn rectangle(u: f32, v: f32, half_width: f32, half_height: f32) -> f32 {
    (u.abs() - half_width).max(v.abs() - half_height)
}

/// Stripes along v, `period` apart, half of the plane inside.
fn stripes(u: f32, period: f32) -> f32 {
    ((u / period - (u / period).round()).abs() - 0.25) * period
}

/// A five-pointed star: the plane folded onto one half of one point, then the distance to its edge.
fn star(u: f32, v: f32) -> f32 {
    // cos and sin of 36 degrees.
    const COS: f32 = 0.809_017;
    const SIN: f32 = 0.587_785_24;
    // Radius of the inner corners.
    const INNER: f32 = 0.45;
    let mut u = u.abs();
    let mut v = v;
    for normal in [(COS, -SIN), (-COS, -SIN)] {
        let beyond = 2.0 * (u * normal.0 + v * normal.1).max(0.0);
        u -= beyond * normal.0;
        v -= beyond * normal.1;
    }
    let (u, v) = (u.abs(), v - 1.0);
    // From the tip to the inner corner.
    let edge = (INNER * SIN, INNER * COS - 1.0);
    let along = (u * edge.0 + v * edge.1) / (edge.0 * edge.0 + edge.1 * edge.1);
    let along = along.clamp(0.0, 1.0);
    let distance = length(u - edge.0 * along, v - edge.1 * along);
    if v * edge.0 < u * edge.1 { -distance } else { distance }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_fills_part_of_the_unit_circle_and_nothing_beyond() {
        for Shape { name, distance } in &SHAPES {
            let (mut inside, mut n) = (0, 0);
            for (i, j) in (-60..=60).flat_map(|i| (-60..=60).map(move |j| (i, j))) {
                let (u, v) = (i as f32 / 50.0, j as f32 / 50.0);
                if length(u, v) > 1.0 + 1e-3 {
                    assert!(distance(u, v) > 0.0, "{name} at ({u}, {v})");
                } else {
                    n += 1;
                    inside += i32::from(distance(u, v) < 0.0);
                }
            }
            let fraction = f64::from(inside) / f64::from(n);
            assert!((0.25..0.75).contains(&fraction), "{name} fills {fraction} of its circle");
        }
    }
}
