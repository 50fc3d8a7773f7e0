//! Tensors, reverse-mode autograd, straight-through gates, data and optimisers.
#![forbid(unsafe_code)]
