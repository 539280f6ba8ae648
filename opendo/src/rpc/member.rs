//! What a text client names: a method, a property, or something within one.

// Without the text encoding nobody names anything so.
#![cfg_attr(not(feature = "capnweb"), allow(dead_code))]

use std::fmt;

use crate::rpc::method::MethodDesc;

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    Name(String),
    /// A place in a list, if it is one.
    Index(f64),
}

/// A path from something that was named before, to be called or to be read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    pub(crate) path: Vec<Part>,
    /// How much of the path was followed.
    pub(crate) from: usize,
    pub(crate) is_call: bool,
    /// Neither called nor read: mapped by this function.
    #[cfg(feature = "capnweb")]
    pub(crate) map: Option<std::sync::Arc<crate::rpc::capnweb::Recorded>>,
}

impl Member {
    pub(crate) fn new(path: Vec<Part>, is_call: bool) -> Self {
        Self {
            path,
            from: 0,
            is_call,
            #[cfg(feature = "capnweb")]
            map: None,
        }
    }

    /// A method: one without a name is what is called when its target itself is, and a property is read.
    pub(crate) fn of_method(method: &MethodDesc) -> Self {
        let path = if method.name.is_empty() { Vec::new() } else { vec![Part::Name(method.name.to_owned())] };
        Self::new(path, !method.flags.property)
    }

    /// What is still to be followed.
    pub(crate) fn rest(&self) -> &[Part] {
        &self.path[self.from..]
    }

    /// The same, `steps` further.
    pub(crate) fn after(&self, steps: usize) -> Self {
        Self { from: self.from + steps, ..self.clone() }
    }

    /// The same, `path` further away.
    pub(crate) fn behind(&self, path: &[Box<str>]) -> Self {
        let before = path.iter().map(|name| Part::Name(name.to_string()));
        Self { path: before.chain(self.rest().iter().cloned()).collect(), from: 0, ..self.clone() }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.path.iter().enumerate() {
            if at > 0 {
                f.write_str(".")?;
            }
            match part {
                Part::Name(name) => f.write_str(name)?,
                Part::Index(index) => write!(f, "{index}")?,
            }
        }
        Ok(())
    }
}
