//! What the components of a JPEG mean, as libjpeg decides it, and how they become red, green and
//! blue.

use super::super::header::from_cmyk;
use super::markers::Frame;

/// What the components are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Grey,
    Rgb,
    YCbCr,
    Cmyk,
    Ycck,
}

/// By the number of components, the markers of JFIF and Adobe, and the names of the components.
pub(super) fn of(frame: &Frame) -> Result<Colour, String> {
    let names: Vec<_> = frame.components.iter().map(|component| component.name).collect();
    Ok(match (&names[..], frame.jfif, frame.adobe) {
        ([_], ..) => Colour::Grey,
        ([_, _, _], true, _) => Colour::YCbCr,
        ([_, _, _], false, Some(0)) => Colour::Rgb,
        ([_, _, _], false, Some(_)) => Colour::YCbCr,
        ([b'R', b'G', b'B'], false, None) => Colour::Rgb,
        ([_, _, _], false, None) => Colour::YCbCr,
        ([_, _, _, _], _, Some(0) | None) => Colour::Cmyk,
        ([_, _, _, _], _, Some(_)) => Colour::Ycck,
        _ => return Err(format!("a JPEG of {} components", names.len())),
    })
}

impl Colour {
    /// Samples (N, components) to (N, 3); those of [`Grey`](Colour::Grey) are (N, 3) already.
    pub(super) fn convert(self, mut samples: Vec<u8>) -> Vec<u8> {
        match self {
            Colour::Grey | Colour::Rgb => {}
            Colour::YCbCr => {
                let (groups, rest) = samples.as_chunks_mut::<{ 3 * GROUP }>();
                groups.iter_mut().for_each(group_from_ycbcr);
                for pixel in rest.as_chunks_mut::<3>().0 {
                    *pixel = from_ycbcr(*pixel);
                }
            }
            // Written inverted, as Adobe does; Pillow takes every such file so.
            Colour::Cmyk => return four(samples, |inks| inks.map(|ink| 255 - ink)),
            Colour::Ycck => {
                // libjpeg's inks are the complement of the colours, and Pillow inverts them back.
                return four(samples, |[y, cb, cr, k]| {
                    let [c, m, y] = from_ycbcr([y, cb, cr]);
                    [c, m, y, 255 - k]
                });
            }
        }
        samples
    }
}

/// In place: every pixel is shorter than before.
fn four(mut samples: Vec<u8>, inks: impl Fn([u8; 4]) -> [u8; 4]) -> Vec<u8> {
    let pixels = samples.len() / 4;
    for i in 0..pixels {
        let pixel = [0, 1, 2, 3].map(|c| samples[4 * i + c]);
        samples[3 * i..3 * i + 3].copy_from_slice(&from_cmyk(inks(pixel)));
    }
    samples.truncate(3 * pixels);
    samples
}

/// Pixels that are converted together.
const GROUP: usize = 32;

/// [`from_ycbcr`] in numbers of 16 bits, which vectors of every processor multiply: what is left of
/// a factor beside whole ones is below a half.
fn group_from_ycbcr(samples: &mut [u8; 3 * GROUP]) {
    let mut planes = [[0_i16; GROUP]; 3];
    for (i, pixel) in samples.as_chunks::<3>().0.iter().enumerate() {
        planes[0][i] = i16::from(pixel[0]);
        planes[1][i] = i16::from(pixel[1]) - 128;
        planes[2][i] = i16::from(pixel[2]) - 128;
    }
    let [y, cb, cr] = &planes;
    // Twice the number times a fraction of 65,536, halved to the nearest.
    let part = |twice: i16, fraction: i16| {
        (((i32::from(twice) * i32::from(fraction)) >> 16) as i16 + 1) >> 1
    };
    let mut colours = [[0_u8; GROUP]; 3];
    for i in 0..GROUP {
        let red = y[i] + cr[i] + part(2 * cr[i], 26_345);
        let blue = y[i] + 2 * cb[i] + part(2 * cb[i], -14_942);
        let green = -22_554 * i32::from(cb[i]) + 18_734 * i32::from(cr[i]) + (1 << 15);
        let green = y[i] - cr[i] + (green >> 16) as i16;
        for (plane, colour) in colours.iter_mut().zip([red, green, blue]) {
            plane[i] = colour.clamp(0, 255) as u8;
        }
    }
    for (i, pixel) in samples.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        *pixel = [colours[0][i], colours[1][i], colours[2][i]];
    }
}

/// libjpeg's fixed-point numbers: 16 bits of fraction, rounded.
fn from_ycbcr([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let [y, cb, cr] = [i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128];
    let red = y + ((91_881 * cr + HALF) >> 16);
    let green = y + ((-22_554 * cb - 46_802 * cr + HALF) >> 16);
    let blue = y + ((116_130 * cb + HALF) >> 16);
    [red, green, blue].map(|sample| sample.clamp(0, 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_the_colours_of_single_pixels() {
        for y in [0, 1, 90, 128, 254, 255] {
            for cb in 0..=255 {
                let mut group = [0; 3 * GROUP];
                for base in (0..=255_usize).step_by(GROUP) {
                    for (i, pixel) in group.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                        *pixel = [y, cb, (base + i) as u8];
                    }
                    let want = group.as_chunks::<3>().0.iter().copied().flat_map(from_ycbcr);
                    let want: Vec<u8> = want.collect();
                    group_from_ycbcr(&mut group);
                    assert_eq!(group[..], want, "y {y}, cb {cb}, cr from {base}");
                }
            }
        }
    }
}
