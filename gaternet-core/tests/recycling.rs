//! A training step allocates nothing that an earlier step gave back. Alone in its process, because
//! the pool is the process's.

use gaternet_core::nn::{BatchNorm2d, Conv2d, Epilogue, Linear, Module, State};
use gaternet_core::ops::{self, Conv2dOptions};
use gaternet_core::optim::{Optimizer, Sgd, SgdConfig};
use gaternet_core::{Ctx, Result, Tensor, memory};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

struct Net {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    fc: Linear,
}

impl Net {
    fn new(rng: &mut ChaCha8Rng) -> Result<Net> {
        let options = Conv2dOptions::default().with_padding([1, 1]);
        Ok(Net {
            conv1: Conv2d::new(3, 16, [3, 3], options, rng)?,
            bn1: BatchNorm2d::new(16)?,
            conv2: Conv2d::new(16, 16, [3, 3], options, rng)?,
            bn2: BatchNorm2d::new(16)?,
            fc: Linear::new(16, 10, rng)?,
        })
    }

    fn forward(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let relu = Epilogue::default().with_relu(true);
        let x = self.bn1.forward(&self.conv1.forward(x, ctx)?, ctx, relu)?;
        let block = relu.with_residual(Some(&x));
        let y = self.bn2.forward(&self.conv2.forward(&x, ctx)?, ctx, block)?;
        self.fc.forward(&ops::global_avg_pool(&y)?, ctx)
    }
}

impl Module for Net {
    fn collect(&self, _prefix: &str, out: &mut Vec<(String, State)>) {
        self.conv1.collect("conv1", out);
        self.bn1.collect("bn1", out);
        self.conv2.collect("conv2", out);
        self.bn2.collect("bn2", out);
        self.fc.collect("fc", out);
    }
}

#[test]
fn steps_after_the_first_use_its_buffers_and_the_loss_falls() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let net = Net::new(&mut rng).expect("sizes are not 0");
    let config = SgdConfig::default().with_learning_rate(0.05);
    let mut sgd = Sgd::new(net.parameters(), config).expect("in range");
    let x = Tensor::randn([16, 3, 16, 16], 1.0, &mut rng).expect("small");
    let labels: Vec<usize> = (0..16).map(|n| n % 10).collect();
    let mut step = || -> Result<f32> {
        let loss = ops::cross_entropy(&net.forward(&x, &Ctx::train(0))?, &labels)?;
        sgd.step(&loss.backward()?)?;
        loss.item()
    };
    let mut losses = Vec::new();
    let mut idle = Vec::new();
    for _ in 0..8 {
        losses.push(step().expect("all fits"));
        idle.push(memory::idle_bytes());
    }
    assert!(losses.is_sorted_by(|before, after| after < before), "{losses:?}");
    assert!(idle[1] > 1 << 20, "buffers come back: {idle:?}");
    assert!(idle[2..].iter().all(|bytes| *bytes == idle[1]), "new buffers: {idle:?}");
    memory::release();
    assert_eq!(memory::idle_bytes(), 0);

    let between_steps = memory::live_bytes();
    assert!(between_steps >= x.len() * size_of::<f32>(), "{between_steps}");
    assert_eq!(memory::peak_bytes(), between_steps);
    step().expect("all fits");
    assert_eq!(memory::live_bytes(), between_steps, "a step leaves nothing behind");
    // Both convolutions' outputs, saved for the batch norms.
    let saved = 2 * 16 * 16 * 16 * 16 * size_of::<f32>();
    assert!(memory::peak_bytes() > between_steps + saved);
}
