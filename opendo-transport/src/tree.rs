use std::collections::{VecDeque, vec_deque};
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::kind::Batch;

/// How deep a tree may be that is deserialized. A value 256 deep, whose arrays take two levels each, fits with its
/// message around it.
const MAX_DEPTH: usize = 576;

/// A message that is a value: what JSON has, and bytes. For transports with an encoding of their own, such as CBOR.
///
/// A format with bytes keeps [`Tree::Bytes`] as they are; JSON has none and writes numbers.
///
/// ```
/// use opendo_transport::Tree;
///
/// let tree = Tree::Array(vec![Tree::String("pull".into()), Tree::Number(1.0)]);
/// assert_eq!(serde_json::to_string(&tree)?, r#"["pull",1]"#);
/// assert_eq!(serde_json::from_str::<Tree>(r#"["pull",1]"#)?, tree);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// Any number, as JavaScript has them.
    Number(f64),
    /// Text.
    String(String),
    /// Bytes.
    Bytes(Bytes),
    /// Values in order.
    Array(Vec<Tree>),
    /// Values by name, in order. Of the same name the last one counts.
    Object(Vec<(String, Tree)>),
}

impl Tree {
    /// About how many bytes this takes, whatever it will be encoded as. Rather too many than too few, but what is
    /// deeper than 64 levels hardly counts.
    ///
    /// ```
    /// use opendo_transport::Tree;
    ///
    /// let tree = Tree::Object(vec![("data".into(), Tree::Bytes(vec![0; 1000].into()))]);
    /// assert_eq!(tree.estimated_size(), 16 + 8 + (2 + 3 * 4) + 16 + 1000);
    /// ```
    #[must_use]
    pub fn estimated_size(&self) -> usize {
        self.estimate(0)
    }

    fn estimate(&self, depth: usize) -> usize {
        const ENTRY: usize = 8;
        const CONTAINER: usize = 16;
        const DEEPEST: usize = 64;
        let text = |text: &str| 2 + 3 * text.encode_utf16().count();
        if depth >= DEEPEST {
            return ENTRY;
        }
        match self {
            Self::Null | Self::Bool(_) => 8,
            Self::Number(_) => 16,
            Self::String(string) => text(string),
            Self::Bytes(bytes) => CONTAINER + bytes.len(),
            Self::Array(items) => {
                CONTAINER + items.iter().map(|item| ENTRY + item.estimate(depth + 1)).sum::<usize>()
            }
            Self::Object(entries) => {
                let entry = |(name, item): &(String, Self)| ENTRY + text(name) + item.estimate(depth + 1);
                CONTAINER + entries.iter().map(entry).sum::<usize>()
            }
        }
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Up to here, whole numbers are exact, and formats write them shorter than fractions.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and in range")]
            Self::Number(value) if value.fract() == 0.0 && value.abs() <= EXACT => {
                serializer.serialize_i64(*value as i64)
            }
            Self::Number(value) => serializer.serialize_f64(*value),
            Self::String(value) => serializer.serialize_str(value),
            Self::Bytes(value) => serializer.serialize_bytes(value),
            Self::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| seq.serialize_element(item))?;
                seq.end()
            }
            Self::Object(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                entries.iter().try_for_each(|(name, item)| map.serialize_entry(name, item))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Level(0).deserialize(deserializer)
    }
}

/// Counts levels, since not every format does, and dropping a tree recurses as reading it does.
#[derive(Clone, Copy)]
struct Level(usize);

impl Level {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.0 {
            MAX_DEPTH.. => Err(E::custom(format_args!("a value is more than {MAX_DEPTH} levels deep"))),
            level => Ok(Self(level + 1)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Tree;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(self)
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers are what JavaScript makes of them")]
impl<'de> Visitor<'de> for Level {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value as JSON has it, or bytes")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        self.below()?.deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::String(value))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Tree, E> {
        Ok(Tree::Bytes(Bytes::copy_from_slice(value)))
    }

    fn visit_byte_buf<E>(self, value: Vec<u8>) -> Result<Tree, E> {
        Ok(Tree::Bytes(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let below = self.below::<A::Error>()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(below)? {
            items.push(item);
        }
        Ok(Tree::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let below = self.below::<A::Error>()?;
        let mut entries = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            entries.push((name, map.next_value_seed(below)?));
        }
        Ok(Tree::Object(entries))
    }
}

/// A batch of trees, which transports move one by one.
///
/// ```
/// use opendo_transport::{Tree, Trees};
///
/// let mut trees = Trees::default();
/// trees.push(Tree::Null);
/// assert_eq!(trees.pop_front(), Some(Tree::Null));
/// assert!(trees.is_empty());
/// ```
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Trees(VecDeque<Tree>);

impl Trees {
    /// Appends `message`.
    pub fn push(&mut self, message: Tree) {
        self.0.push_back(message);
    }

    /// Removes the first message.
    pub fn pop_front(&mut self) -> Option<Tree> {
        self.0.pop_front()
    }

    /// The messages, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Tree> {
        self.0.iter()
    }

    /// How many messages wait here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing waits here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Batch for Trees {
    type Message = Tree;
    type Messages = vec_deque::IntoIter<Tree>;

    fn len(&self) -> usize {
        self.len()
    }

    /// Estimated, by walking all of them.
    fn byte_len(&self) -> usize {
        self.iter().map(Tree::estimated_size).sum()
    }

    fn append(&mut self, message: Tree) {
        self.push(message);
    }

    fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    fn into_messages(self) -> Self::Messages {
        self.0.into_iter()
    }

    fn message_len(message: &Tree) -> usize {
        message.estimated_size()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    fn nested(depth: usize) -> Tree {
        (0..depth).fold(Tree::Null, |inner, _| Tree::Array(vec![inner]))
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let leaf = prop_oneof![
            Just(Tree::Null),
            any::<bool>().prop_map(Tree::Bool),
            any::<i32>().prop_map(|value| Tree::Number(value.into())),
            any::<i32>().prop_map(|eighths| Tree::Number(f64::from(eighths) / 8.0)),
            ".{0,8}".prop_map(Tree::String),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Tree::Array),
                proptest::collection::vec((".{0,4}", inner), 0..4).prop_map(Tree::Object),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(0x0d0), ..ProptestConfig::default() })]

        #[test]
        fn a_tree_comes_back_and_is_not_underestimated(tree in tree()) {
            let json = serde_json::to_string(&tree).unwrap();
            prop_assert!(tree.estimated_size() * 2 >= json.len());
            prop_assert_eq!(serde_json::from_str::<Tree>(&json).unwrap(), tree);
        }
    }

    /// The limit is ours, not the format's.
    fn from_json(text: &str) -> serde_json::Result<Tree> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        deserializer.disable_recursion_limit();
        Tree::deserialize(&mut deserializer)
    }

    #[test]
    fn depth_is_bounded_exactly() {
        let brackets = |depth| "[".repeat(depth) + "null" + &"]".repeat(depth);
        assert_eq!(from_json(&brackets(MAX_DEPTH)).unwrap(), nested(MAX_DEPTH));
        let error = from_json(&brackets(MAX_DEPTH + 1)).unwrap_err();
        assert!(error.to_string().starts_with("a value is more than 576 levels deep"), "{error}");
        assert!(from_json(&"[".repeat(2_000_000)).is_err());
        assert!(from_json(&"{\"a\":".repeat(2_000_000)).is_err());
    }

    #[test]
    fn bytes_stay_bytes_where_the_format_has_them() {
        use serde::de::value::{BytesDeserializer, Error};
        let tree = Tree::deserialize(BytesDeserializer::<Error>::new(&[0, 255])).unwrap();
        assert_eq!(tree, Tree::Bytes(vec![0, 255].into()));
        assert_eq!(serde_json::to_string(&tree).unwrap(), "[0,255]");
    }

    #[test]
    fn the_estimate_stops_at_a_depth() {
        assert_eq!(nested(64).estimated_size(), 64 * (16 + 8) + 8);
        assert_eq!(nested(500).estimated_size(), nested(64).estimated_size());
    }

    #[test]
    fn whole_numbers_are_written_as_such_while_they_are_exact() {
        let table = [
            (3.0, "3"),
            (-0.0, "0"),
            (0.5, "0.5"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (1e300, "1e+300"),
        ];
        for (number, text) in table {
            assert_eq!(serde_json::to_string(&Tree::Number(number)).unwrap(), text);
        }
        assert_eq!(from_json("18446744073709551615").unwrap(), Tree::Number(18_446_744_073_709_551_615.0));
    }
}
