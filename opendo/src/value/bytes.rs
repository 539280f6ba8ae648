//! What JavaScript holds bytes in.

use serde::{Deserialize, Serialize};

/// The class of JavaScript that holds bytes. Numbers in it are little-endian.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
#[allow(missing_docs)] // their names are JavaScript's
pub enum ByteContainer {
    #[default]
    Uint8Array,
    ArrayBuffer,
    DataView,
    Int8Array,
    Uint8ClampedArray,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    BigInt64Array,
    BigUint64Array,
    Float32Array,
    Float64Array,
}

impl ByteContainer {
    /// The name of the class.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uint8Array => "Uint8Array",
            Self::ArrayBuffer => "ArrayBuffer",
            Self::DataView => "DataView",
            Self::Int8Array => "Int8Array",
            Self::Uint8ClampedArray => "Uint8ClampedArray",
            Self::Int16Array => "Int16Array",
            Self::Uint16Array => "Uint16Array",
            Self::Int32Array => "Int32Array",
            Self::Uint32Array => "Uint32Array",
            Self::BigInt64Array => "BigInt64Array",
            Self::BigUint64Array => "BigUint64Array",
            Self::Float32Array => "Float32Array",
            Self::Float64Array => "Float64Array",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        use ByteContainer::*;
        [
            Uint8Array,
            ArrayBuffer,
            DataView,
            Int8Array,
            Uint8ClampedArray,
            Int16Array,
            Uint16Array,
            Int32Array,
            Uint32Array,
            BigInt64Array,
            BigUint64Array,
            Float32Array,
            Float64Array,
        ]
        .into_iter()
        .find(|container| container.name() == name)
    }

    /// How many bytes one element takes.
    pub fn element_size(self) -> usize {
        match self {
            Self::Uint8Array
            | Self::ArrayBuffer
            | Self::DataView
            | Self::Int8Array
            | Self::Uint8ClampedArray => 1,
            Self::Int16Array | Self::Uint16Array => 2,
            Self::Int32Array | Self::Uint32Array | Self::Float32Array => 4,
            Self::BigInt64Array | Self::BigUint64Array | Self::Float64Array => 8,
        }
    }
}
