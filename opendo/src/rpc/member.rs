//! What a text client names: a method, a property, or something within one.

use crate::rpc::method::MethodDesc;

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    Name(String),
    /// A place in a list.
    Index(u64),
}

/// A path from something that was named before, to be called or to be read.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) path: Vec<Part>,
    pub(crate) is_call: bool,
}

impl Member {
    /// A method: one without a name is what is called when its target itself is.
    pub(crate) fn of_method(method: &MethodDesc) -> Self {
        let path = if method.name.is_empty() { Vec::new() } else { vec![Part::Name(method.name.to_owned())] };
        Self { path, is_call: true }
    }
}
