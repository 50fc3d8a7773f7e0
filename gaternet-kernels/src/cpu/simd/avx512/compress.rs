//! Weights of bf16, compressed to active channels with the permutations of AVX-512 BW.

use std::arch::x86_64::{
    _mm512_loadu_si512, _mm512_maskz_permutex2var_epi16, _mm512_setzero_si512, _mm512_storeu_si512,
};

use crate::cpu::conv2d::bf16::kernels::{Compress, NUMBERS, Step};

/// Does what `compress` does, 32 numbers at a time.
///
/// # Safety
/// The contract of `CompressFn`.
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) unsafe fn compress(args: &Compress<'_>) {
    for element in 0..args.elements {
        // SAFETY: the vectors of a step start in the element, and a vector more than the elements
        // is readable. The last vector may reach into the next element, which is written later, or
        // the vector beyond.
        unsafe {
            let source = args.source.add(element * args.pairs).cast::<u16>();
            let mut target = args.target.add(element * args.pairs);
            let mut numbers = _mm512_setzero_si512();
            for step in args.steps {
                if step.first != Step::PLACED {
                    numbers = _mm512_loadu_si512(source.add(step.first as usize).cast());
                }
                let second = _mm512_loadu_si512(source.add(step.second as usize).cast());
                let from = _mm512_loadu_si512(step.from.as_ptr().cast());
                numbers = _mm512_maskz_permutex2var_epi16(step.placed, numbers, from, second);
                if step.last == 1 {
                    _mm512_storeu_si512(target.cast(), numbers);
                    target = target.add(NUMBERS / 2);
                }
            }
        }
    }
}
