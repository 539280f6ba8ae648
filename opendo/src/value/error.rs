//! Errors, as values.

use std::fmt;

use super::Value;

/// An error as JavaScript has it.
///
/// As the error of a method it is thrown as it is. JavaScript keeps these names: `Error`, `EvalError`, `RangeError`,
/// `ReferenceError`, `SyntaxError`, `TypeError`, `URIError`, `AggregateError`; of other errors the name is lost on the
/// way, so what is to be told apart belongs into a property such as `code`.
///
/// ```
/// use opendo::value::ErrorValue;
///
/// let error = ErrorValue::new("RangeError", "too far").with("code", "E_FAR");
/// assert_eq!(error.to_string(), "RangeError: too far");
/// assert_eq!(error.get("code").as_str(), Some("E_FAR"));
/// ```
#[derive(Debug, Default, PartialEq)]
pub struct ErrorValue {
    /// The name of its class.
    pub name: String,
    /// What happened.
    pub message: String,
    /// Where it happened. It is sent if it is there: think of who reads it.
    pub stack: Option<String>,
    /// Its other properties; `cause`, and `errors` of an `AggregateError`, are among them.
    pub props: Vec<(String, Value)>,
}

impl ErrorValue {
    /// An error without properties.
    pub fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { name: name.into(), message: message.into(), stack: None, props: Vec::new() }
    }

    /// The same error with another property.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.props.push((name.into(), value.into()));
        self
    }

    /// The property of that name; [`Undefined`](Value::Undefined) if there is none.
    pub fn get(&self, name: &str) -> &Value {
        self.props.iter().rfind(|(key, _)| key == name).map_or(&super::UNDEFINED, |(_, value)| value)
    }
}

impl fmt::Display for ErrorValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}

impl std::error::Error for ErrorValue {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Value::Error(cause) = self.get("cause") { Some(cause) } else { None }
    }
}
