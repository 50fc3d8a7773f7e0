//! What the header of a safetensors file says of a tensor.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The entry of a tensor in the header.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TensorInfo {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Its first byte, and the one after its last, counted from the end of the header.
    pub(super) data_offsets: (usize, usize),
}

/// The type of a tensor's elements. Every type of the format is known, so that a file is checked
/// whole although only some types are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(non_camel_case_types, clippy::upper_case_acronyms)] // as in files
pub(super) enum Dtype {
    BOOL,
    F4,
    F6_E2M3,
    F6_E3M2,
    U8,
    I8,
    F8_E5M2,
    F8_E4M3,
    F8_E8M0,
    F8_E4M3FNUZ,
    F8_E5M2FNUZ,
    I16,
    U16,
    F16,
    BF16,
    I32,
    U32,
    F32,
    C64,
    F64,
    I64,
    U64,
}

impl Dtype {
    /// Bits of an element.
    pub(super) fn bits(self) -> usize {
        match self {
            Dtype::F4 => 4,
            Dtype::F6_E2M3 | Dtype::F6_E3M2 => 6,
            Dtype::BOOL | Dtype::U8 | Dtype::I8 => 8,
            Dtype::F8_E5M2 | Dtype::F8_E4M3 | Dtype::F8_E8M0 => 8,
            Dtype::F8_E4M3FNUZ | Dtype::F8_E5M2FNUZ => 8,
            Dtype::I16 | Dtype::U16 | Dtype::F16 | Dtype::BF16 => 16,
            Dtype::I32 | Dtype::U32 | Dtype::F32 => 32,
            Dtype::C64 | Dtype::F64 | Dtype::I64 | Dtype::U64 => 64,
        }
    }
}

/// The name in the header.
impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_those_of_the_format() {
        use safetensors::Dtype as Known;
        let all = [
            (Dtype::BOOL, Known::BOOL),
            (Dtype::F4, Known::F4),
            (Dtype::F6_E2M3, Known::F6_E2M3),
            (Dtype::F6_E3M2, Known::F6_E3M2),
            (Dtype::U8, Known::U8),
            (Dtype::I8, Known::I8),
            (Dtype::F8_E5M2, Known::F8_E5M2),
            (Dtype::F8_E4M3, Known::F8_E4M3),
            (Dtype::F8_E8M0, Known::F8_E8M0),
            (Dtype::F8_E4M3FNUZ, Known::F8_E4M3FNUZ),
            (Dtype::F8_E5M2FNUZ, Known::F8_E5M2FNUZ),
            (Dtype::I16, Known::I16),
            (Dtype::U16, Known::U16),
            (Dtype::F16, Known::F16),
            (Dtype::BF16, Known::BF16),
            (Dtype::I32, Known::I32),
            (Dtype::U32, Known::U32),
            (Dtype::F32, Known::F32),
            (Dtype::C64, Known::C64),
            (Dtype::F64, Known::F64),
            (Dtype::I64, Known::I64),
            (Dtype::U64, Known::U64),
        ];
        for (ours, known) in all {
            let name = serde_json::to_string(&known).expect("a name");
            assert_eq!(serde_json::to_string(&ours).expect("a name"), name);
            assert_eq!(serde_json::from_str::<Dtype>(&name).expect("a type"), ours);
            assert_eq!((ours.to_string(), ours.bits()), (known.to_string(), known.bitsize()));
        }
    }
}
