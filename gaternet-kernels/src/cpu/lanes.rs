//! Sums in independent lanes, which the compiler turns into vector registers.
//!
//! The order of the additions is part of the code, so every instruction set gives the same bits.

/// f32 lanes of an accumulator: one AVX-512 register.
pub(crate) const LANES: usize = 16;

/// Elements summed in f32 before f64 takes over.
pub(crate) const BLOCK: usize = 4096;

/// `SUMS` running sums over the same elements.
pub(crate) struct Lanes<const SUMS: usize>([[f32; LANES]; SUMS]);

impl<const SUMS: usize> Lanes<SUMS> {
    #[inline(always)]
    pub(crate) fn new() -> Lanes<SUMS> {
        Lanes([[0.0; LANES]; SUMS])
    }

    /// Adds `f(inputs[0][i], inputs[1][i], ..)` for every `i`. The inputs are equally long.
    #[inline(always)]
    pub(crate) fn add<const INPUTS: usize>(
        &mut self,
        inputs: [&[f32]; INPUTS],
        f: impl Fn([f32; INPUTS]) -> [f32; SUMS],
    ) {
        let split = inputs.map(<[f32]>::as_chunks::<LANES>);
        let mut sums = self.0;
        for i in 0..split[0].0.len() {
            let chunks = split.map(|(chunks, _)| chunks[i]);
            for lane in 0..LANES {
                let terms = f(chunks.map(|chunk| chunk[lane]));
                for k in 0..SUMS {
                    sums[k][lane] += terms[k];
                }
            }
        }
        let tails = split.map(|(_, tail)| tail);
        for lane in 0..tails[0].len() {
            let terms = f(tails.map(|tail| tail[lane]));
            for k in 0..SUMS {
                sums[k][lane] += terms[k];
            }
        }
        self.0 = sums;
    }

    /// The sums over all lanes.
    #[inline(always)]
    pub(crate) fn totals(self) -> [f64; SUMS] {
        self.0.map(|mut lanes| {
            for half in [8, 4, 2, 1] {
                for lane in 0..half {
                    lanes[lane] += lanes[lane + half];
                }
            }
            f64::from(lanes[0])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, values, widen};

    #[test]
    fn sums_agree_at_awkward_lengths() {
        for len in [0, 1, 15, 16, 17, 49, 1024] {
            let (a, b) = (values(1, len), values(2, len));
            let mut lanes = Lanes::new();
            lanes.add([&a, &b], |[a, b]| [a, a * b]);
            let (a, b) = (widen(&a), widen(&b));
            let want = [a.iter().sum(), a.iter().zip(&b).map(|(a, b)| a * b).sum()];
            assert_close(len, &lanes.totals(), &want, 1e-4);
        }
    }
}
