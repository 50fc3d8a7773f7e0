//! Copies a sample into bordered, channel-last form.

use super::image::{Bordered, Image};
use crate::cpu::isa::Isa;

/// `input` (C, H, W) -> `pixels` (rows, width, C) with zeros around the map. Channels not in the
/// list become zeros.
pub(super) fn channel_last(
    isa: Isa,
    bordered: Bordered,
    channels: Option<&[u32]>,
    input: &[f32],
    pixels: &mut [f32],
) {
    let Bordered { channels: c, size: [h, w], front: [above, left], width } = bordered;
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
    let mut image = Image { input, pixels, bordered };
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
