//! Squeeze-and-excitation (Hu et al. 2018).

use gaternet_core::Result;
use gaternet_core::nn::scoped;

use crate::network::{NetworkBuilder, Value};

/// Adds `x · sigmoid(fc2(relu(fc1(mean of each feature map))))`, with a `reduction`th of the
/// channels in between.
pub(super) fn add(
    net: &mut NetworkBuilder,
    x: Value,
    name: &str,
    reduction: usize,
) -> Result<Value> {
    let channels = net.channels(x);
    let squeezed = net.global_avg_pool(x);
    let reduced = net.linear(scoped(name, "fc1"), squeezed, (channels / reduction).max(1))?;
    let reduced = net.relu(reduced);
    let excited = net.linear(scoped(name, "fc2"), reduced, channels)?;
    let factors = net.sigmoid(excited);
    Ok(net.scale_channels(x, factors))
}
