//! A convolution that is prepared allocates nothing, however it is spread over threads.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use gaternet_kernels::DType;
use gaternet_kernels::cpu::conv2d::{Active, Algorithm, Epilogue, Method, PreparedConv2d};
use gaternet_kernels::{Conv2dDims, Isa};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: `System` does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn passes_allocate_nothing_but_each_threads_scratch() {
    for (kernel, stride) in [(3, 1), (1, 1), (1, 2)] {
        let padding = [kernel / 2; 2];
        let weight = [80, 16, kernel, kernel];
        let dims = Conv2dDims::new([1, 16, 16, 16], weight, [stride; 2], padding);
        check(&dims.expect("valid"));
    }
}

fn check(dims: &Conv2dDims) {
    const PASSES: usize = 100;
    let isa = Isa::current().expect("a set that this machine has");
    let weight = vec![0.5; dims.weight_len()];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("threads");
    let method = |dtype| Algorithm::ALL.map(|algorithm| Method { algorithm, dtype });
    let methods = DType::ALL.into_iter().flat_map(method);
    for method in methods.filter(|method| method.algorithm.supports(dims)) {
        let conv = PreparedConv2d::with_method(isa, method, dims, &weight, None);
        let conv = conv.expect("a method for these sizes");
        // Fewer samples than threads, then more.
        for batch in [1, 4] {
            let input = vec![1.0; batch * dims.input_len()];
            let mut output = vec![0.0; batch * dims.output_len()];
            let allocations = pool.install(|| {
                let before = ALLOCATIONS.load(Ordering::Relaxed);
                for _ in 0..PASSES {
                    conv.forward(
                        batch,
                        Active::default(),
                        &input,
                        Epilogue::default(),
                        &mut output,
                    )
                    .expect("they fit");
                }
                ALLOCATIONS.load(Ordering::Relaxed) - before
            });
            // A thread may get its first task, and its scratch, in any pass.
            assert!(
                allocations < PASSES / 2,
                "{method:?}, {dims:?}, batch {batch}: {allocations} allocations in {PASSES} passes"
            );
        }
    }
}
