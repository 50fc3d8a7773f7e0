//! Stochastic gradient descent, exactly as `torch.optim.SGD`.

/// The constants of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdConfig {
    /// Learning rate.
    pub lr: f32,
    /// Share of the velocity that is kept; 0 for plain gradient descent.
    pub momentum: f32,
    /// Share of the gradient that does not enter the velocity (after the first step).
    pub dampening: f32,
    /// Added to the gradient, times the parameter.
    pub weight_decay: f32,
    /// Whether the step looks ahead along the velocity.
    pub nesterov: bool,
}
