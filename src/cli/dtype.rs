//! `--dtype`.

use clap::ValueEnum;
use gaternet_models::DType;

/// A [`DType`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DTypeName {
    /// Single precision
    F32,
    /// Products of bfloat16, summed in single precision
    Bf16,
}

impl From<DTypeName> for DType {
    fn from(name: DTypeName) -> DType {
        match name {
            DTypeName::F32 => DType::F32,
            DTypeName::Bf16 => DType::Bf16,
        }
    }
}
