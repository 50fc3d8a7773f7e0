//! Copying of a sample into padded, channel-last form.

use super::image::{Image, Padded};
use crate::cpu::isa::Isa;

/// Copies `input` (C, H, W) to `pixels` (rows, width, C) with zeros around the map. Channels that
/// the list lacks become zeros.
pub(super) fn channel_last(
    isa: Isa,
    padded: Padded,
    channels: Option<&[u32]>,
    input: &[f32],
    pixels: &mut [f32],
) {
    let Padded { channels: c, size: [h, w], front: [above, left], width } = padded;
    let (inside, below) = pixels[above * width * c..].split_at_mut(h * width * c);
    below.fill(0.0);
    for row in inside.chunks_exact_mut(width * c) {
        row[..left * c].fill(0.0);
        row[(left + w) * c..].fill(0.0);
    }
    pixels[..above * width * c].fill(0.0);
    if h * w == 0 {
        return;
    }
    let mut image = Image { input, pixels, padded };
    if let Some(active) = channels {
        let mut next = active.iter().map(|channel| *channel as usize).peekable();
        for channel in 0..c {
            let is_active = next.next_if_eq(&channel).is_some();
            image.scatter(channel, |value| if is_active { value } else { 0.0 });
        }
        return;
    }
    // SAFETY: the kernels of an `Isa` are those of a detected instruction set.
    let done = unsafe { (isa.kernels().transpose)(&mut image) };
    for channel in done..c {
        image.scatter(channel, |value| value);
    }
}
