//! The intrinsics that [`vectors`](super::vectors) uses, with the names, arguments and results of
//! `std::arch::aarch64`, in portable Rust: for tests on machines without NEON, never for speed.

#![allow(non_camel_case_types)]

use std::array::from_fn;

#[derive(Clone, Copy)]
pub(crate) struct float32x4_t([f32; 4]);

pub(super) fn vdupq_n_f32(value: f32) -> float32x4_t {
    float32x4_t([value; 4])
}

/// # Safety
/// 4 floats are readable at `source`.
pub(super) unsafe fn vld1q_f32(source: *const f32) -> float32x4_t {
    // SAFETY: the caller's promise; an array of f32 has the alignment of f32.
    float32x4_t(unsafe { source.cast::<[f32; 4]>().read() })
}

/// # Safety
/// 4 floats are writable at `target`.
pub(super) unsafe fn vst1q_f32(target: *mut f32, v: float32x4_t) {
    // SAFETY: the caller's promise; an array of f32 has the alignment of f32.
    unsafe { target.cast::<[f32; 4]>().write(v.0) }
}

pub(super) fn vaddq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    float32x4_t(from_fn(|i| a.0[i] + b.0[i]))
}

pub(super) fn vsubq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    float32x4_t(from_fn(|i| a.0[i] - b.0[i]))
}

pub(super) fn vmulq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    float32x4_t(from_fn(|i| a.0[i] * b.0[i]))
}

/// Returns `a + b·c`, rounded once.
pub(super) fn vfmaq_f32(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
    float32x4_t(from_fn(|i| b.0[i].mul_add(c.0[i], a.0[i])))
}

/// Returns NaN if either is NaN; +0 is more than -0.
pub(super) fn vmaxq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    float32x4_t(from_fn(|i| match (a.0[i], b.0[i]) {
        (a, b) if a == b => f32::from_bits(a.to_bits() & b.to_bits()),
        (a, b) if a.is_nan() || a > b => a,
        (_, b) => b,
    }))
}

/// Returns the even lanes of `a`, then those of `b`.
pub(super) fn vuzp1q_f32(float32x4_t(a): float32x4_t, float32x4_t(b): float32x4_t) -> float32x4_t {
    float32x4_t([a[0], a[2], b[0], b[2]])
}

/// Returns the odd lanes of `a`, then those of `b`.
pub(super) fn vuzp2q_f32(float32x4_t(a): float32x4_t, float32x4_t(b): float32x4_t) -> float32x4_t {
    float32x4_t([a[1], a[3], b[1], b[3]])
}

/// Returns the low lanes of both, in turns.
pub(super) fn vzip1q_f32(float32x4_t(a): float32x4_t, float32x4_t(b): float32x4_t) -> float32x4_t {
    float32x4_t([a[0], b[0], a[1], b[1]])
}

/// Returns the high lanes of both, in turns.
pub(super) fn vzip2q_f32(float32x4_t(a): float32x4_t, float32x4_t(b): float32x4_t) -> float32x4_t {
    float32x4_t([a[2], b[2], a[3], b[3]])
}

/// On aarch64 the model is compared with what it stands for.
#[cfg(all(test, target_arch = "aarch64"))]
mod tests {
    use std::arch::aarch64 as std_arch;

    use super::*;

    #[test]
    fn every_intrinsic_gives_the_bits_of_the_machine() {
        let special = [f32::NAN, f32::INFINITY, 0.0, -0.0, f32::MIN_POSITIVE, f32::MIN, -1.5];
        let mut values = crate::testing::values(1, 41);
        values.extend(special);
        values.extend(special.iter().rev());
        let bits = |v: [f32; 4]| v.map(|x| if x.is_nan() { f32::NAN } else { x }.to_bits());
        for start in 0..values.len() - 12 {
            // Three operands, with each pair of special values among them.
            let [a, b, c] = [start, start + 3, start + 8].map(|at| &values[at..at + 4]);
            macro_rules! check {
                ($($name:ident($($x:ident),+)),+ $(,)?) => {$({
                    // SAFETY: std runs on processors with NEON; pointers are to four floats.
                    let (model, machine) = unsafe {
                        let mut machine = [0.0; 4];
                        let v = std_arch::$name($(std_arch::vld1q_f32($x.as_ptr())),+);
                        std_arch::vst1q_f32(machine.as_mut_ptr(), v);
                        let mut model = [0.0; 4];
                        vst1q_f32(model.as_mut_ptr(), $name($(vld1q_f32($x.as_ptr())),+));
                        (model, machine)
                    };
                    let name = stringify!($name);
                    assert_eq!(bits(model), bits(machine), "{name} of {:?}", [$($x),+]);
                })+};
            }
            check!(
                vaddq_f32(a, b),
                vsubq_f32(a, b),
                vmulq_f32(a, b),
                vfmaq_f32(a, b, c),
                vmaxq_f32(a, b),
                vuzp1q_f32(a, b),
                vuzp2q_f32(a, b),
                vzip1q_f32(a, b),
                vzip2q_f32(a, b),
            );
            // SAFETY: as above.
            let machine: [f32; 4] = unsafe {
                let mut machine = [0.0; 4];
                std_arch::vst1q_f32(machine.as_mut_ptr(), std_arch::vdupq_n_f32(a[0]));
                machine
            };
            assert_eq!(bits(vdupq_n_f32(a[0]).0), bits(machine), "vdupq_n_f32 of {}", a[0]);
        }
    }
}
