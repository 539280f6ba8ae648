//! The name of an object, as its ids keep it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A text. What is short, as most names are, takes no memory of its own.
#[derive(Clone)]
pub(crate) enum Name {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Arc<str>),
}

/// As much as fits beside the pointer of a long one.
const SHORT: usize = 22;

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        let mut bytes = [0; SHORT];
        let Some(short) = bytes.get_mut(..text.len()) else { return Self::Long(text.into()) };
        short.copy_from_slice(text.as_bytes());
        Self::Short { length: text.len() as u8, bytes }
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Short { length, bytes } => {
                std::str::from_utf8(&bytes[..usize::from(*length)]).expect("it was a text")
            }
            Self::Long(text) => text,
        }
    }
}

impl Name {
    /// In bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Short { length, .. } => usize::from(*length),
            Self::Long(text) => text.len(),
        }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_ones_are_the_same_text() {
        assert_eq!(size_of::<Option<Name>>(), 24);
        for length in [0, 1, SHORT - 1, SHORT, SHORT + 1, 300] {
            let text = "é".repeat(length / 2) + &"x".repeat(length % 2);
            let name = Name::from(&*text);
            assert_eq!((&*name, name.len(), name.clone().len()), (&*text, length, length));
            assert_eq!(matches!(name, Name::Short { .. }), length <= SHORT);
        }
    }
}
