//! The memory of tensors: buffers that tensors gave back are kept for the next ones, as PyTorch's
//! caching allocator keeps those of a GPU.

pub use crate::storage::{idle_bytes, live_bytes, peak_bytes, release};
