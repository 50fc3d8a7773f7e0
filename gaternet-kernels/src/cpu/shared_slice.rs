//! One output buffer, written in disjoint parts by parallel tasks.

use std::marker::PhantomData;
use std::ops::Range;

/// A mutable slice of which several tasks may hold parts at once.
///
/// It serves parts that no safe split describes, such as one channel of all samples of (N, C, H,
/// W).
pub(crate) struct SharedSlice<'a> {
    start: *mut f32,
    len: usize,
    slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: it stands for an exclusive borrow of f32s, which may be sent; and through a shared
// reference only `part` reaches the data, whose callers keep the parts disjoint.
unsafe impl Send for SharedSlice<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedSlice<'_> {}

impl<'a> SharedSlice<'a> {
    pub(crate) fn new(slice: &'a mut [f32]) -> SharedSlice<'a> {
        SharedSlice { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// Returns a pointer to the first element, for kernels that write parts no range describes.
    /// They must keep the promise of [`part`](Self::part).
    pub(crate) fn start(&self) -> *mut f32 {
        self.start
    }

    /// Returns the elements of `range`.
    ///
    /// # Safety
    /// No other part that overlaps `range` is alive while this one is.
    ///
    /// # Panics
    /// If `range` does not lie within the slice.
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &'a mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        // SAFETY: the range lies within the slice, which is borrowed exclusively for 'a; that no
        // other reference to these elements is alive is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    #[test]
    fn tasks_write_interleaved_parts() {
        let mut data = vec![0.0; 60];
        let shared = SharedSlice::new(&mut data);
        (0..3).into_par_iter().for_each(|channel| {
            for sample in 0..5 {
                let first = (sample * 3 + channel) * 4;
                // SAFETY: each (sample, channel) has its own four elements.
                unsafe { shared.part(first..first + 4) }.fill(channel as f32);
            }
        });
        let want: Vec<f32> = (0..60).map(|i| (i / 4 % 3) as f32).collect();
        assert_eq!(data, want);
    }

    #[test]
    #[should_panic(expected = "2..5 of 4")]
    fn a_part_outside_the_slice_is_refused() {
        let mut data = [0.0; 4];
        // SAFETY: the only part.
        unsafe { SharedSlice::new(&mut data).part(2..5) }.fill(1.0);
    }
}
