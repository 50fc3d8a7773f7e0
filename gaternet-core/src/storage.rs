//! Buffers of tensors, recycled: a fresh 8 MB buffer costs two thousand page faults, so a training
//! step takes every buffer from what earlier steps gave back.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// The elements of a tensor. Dropping it gives the buffer to the pool.
#[derive(Debug)]
pub(crate) struct Storage(Vec<f32>);

impl Storage {
    pub(crate) fn new(data: Vec<f32>) -> Storage {
        if pooled(data.len()) {
            let mut pool = pool();
            pool.live += data.len();
            pool.peak = pool.peak.max(pool.live);
        }
        Storage(data)
    }

    pub(crate) fn data(&self) -> &[f32] {
        &self.0
    }

    pub(crate) fn data_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.0);
        if pooled(data.len()) {
            let mut pool = pool();
            pool.live -= data.len();
            pool.give(data);
        }
    }
}

/// A buffer of `len` elements whose contents are arbitrary: for a caller that writes all of them.
#[must_use]
pub(crate) fn take(len: usize) -> Vec<f32> {
    let recycled = if pooled(len) { pool().take(len) } else { None };
    recycled.unwrap_or_else(|| vec![0.0; len])
}

/// A buffer of `len` zeros.
#[must_use]
pub(crate) fn take_zeroed(len: usize) -> Vec<f32> {
    match if pooled(len) { pool().take(len) } else { None } {
        Some(mut data) => {
            data.fill(0.0);
            data
        }
        None => vec![0.0; len],
    }
}

/// Bytes of buffers that no tensor uses.
#[must_use]
pub fn idle_bytes() -> usize {
    pool().idle * size_of::<f32>()
}

/// Bytes of the tensors that are alive; those of less than 4 KiB do not count.
#[must_use]
pub fn live_bytes() -> usize {
    pool().live * size_of::<f32>()
}

/// Highest [`live_bytes`] so far, or since the last [`release`].
#[must_use]
pub fn peak_bytes() -> usize {
    pool().peak * size_of::<f32>()
}

/// Frees every buffer that no tensor uses. [`peak_bytes`] starts again from [`live_bytes`].
pub fn release() {
    let mut pool = pool();
    pool.idle = 0;
    pool.peak = pool.live;
    pool.classes.clear();
}

/// Below a page the allocator is as fast.
fn pooled(len: usize) -> bool {
    len >= 1024
}

/// Free buffers by length. What is idle never exceeds the most that was ever live at once, so a
/// process holds at most twice its working set; lengths not used for longest are freed first.
#[derive(Debug, Default)]
struct Pool {
    classes: HashMap<usize, Class>,
    /// Elements of tensors in use.
    live: usize,
    /// Highest `live` so far, or since the last `release`.
    peak: usize,
    /// Elements of free buffers.
    idle: usize,
    /// Takes and gives so far.
    clock: u64,
}

#[derive(Debug, Default)]
struct Class {
    free: Vec<Vec<f32>>,
    last_use: u64,
}

fn pool() -> MutexGuard<'static, Pool> {
    static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);
    // No code that can panic runs under the lock.
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    fn class(&mut self, len: usize) -> &mut Class {
        self.clock += 1;
        let class = self.classes.entry(len).or_default();
        class.last_use = self.clock;
        class
    }

    fn take(&mut self, len: usize) -> Option<Vec<f32>> {
        let data = self.class(len).free.pop()?;
        self.idle -= len;
        Some(data)
    }

    fn give(&mut self, data: Vec<f32>) {
        self.idle += data.len();
        self.class(data.len()).free.push(data);
        while self.idle > self.peak {
            let oldest = self.classes.iter().min_by_key(|(_, class)| class.last_use);
            let Some(len) = oldest.map(|(&len, _)| len) else { return };
            match self.classes.get_mut(&len).and_then(|class| class.free.pop()) {
                Some(freed) => self.idle -= freed.len(),
                None => drop(self.classes.remove(&len)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool_with_peak(peak: usize) -> Pool {
        Pool { peak, ..Pool::default() }
    }

    #[test]
    fn a_buffer_given_back_is_the_next_one_taken() {
        let mut pool = pool_with_peak(4096);
        pool.give(vec![7.0; 2048]);
        assert_eq!(pool.take(2047), None);
        assert_eq!(pool.take(2048), Some(vec![7.0; 2048]));
        assert_eq!((pool.idle, pool.take(2048)), (0, None));
    }

    #[test]
    fn idle_buffers_stay_below_the_peak_and_the_length_unused_for_longest_goes_first() {
        let mut pool = pool_with_peak(5000);
        pool.give(vec![1.0; 2000]);
        pool.give(vec![2.0; 1500]);
        let used_again = pool.take(2000).expect("given above");
        pool.give(used_again);
        pool.give(vec![3.0; 3000]);
        assert_eq!(pool.idle, 5000);
        assert_eq!(pool.take(1500), None, "unused for longest");
        assert!(pool.take(2000).is_some() && pool.take(3000).is_some());
    }

    #[test]
    fn a_zeroed_buffer_is_zero_even_when_recycled() {
        let len = 12_345;
        drop(Storage::new(vec![f32::NAN; len]));
        assert!(take_zeroed(len).iter().all(|&x| x == 0.0));
    }
}
