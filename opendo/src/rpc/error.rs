//! What can go wrong with a call, and what a caller may conclude from it.

use std::convert::Infallible;
use std::fmt;

use crate::encoding::Encoded;

/// The result of fallible setup code: constructors, nodes, clients.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error, with its text: what [`DurableObject::new`](crate::DurableObject::new) and `main` functions return.
///
/// Every [`std::error::Error`] converts into it, so `?` works on anything. Like other catch-all errors it does
/// not implement [`std::error::Error`] itself; it converts into a boxed one.
///
/// ```
/// fn parse(text: &str) -> opendo::Result<u64> {
///     Ok(text.parse::<u64>()?)
/// }
/// assert!(parse("x").unwrap_err().to_string().contains("invalid digit"));
/// ```
pub struct Error(Box<dyn std::error::Error + Send + Sync + 'static>);

impl Error {
    /// An error that is only a message.
    pub fn msg(message: impl Into<String>) -> Self {
        Self(message.into().into())
    }

    /// The error inside, if it is an `E`.
    pub fn downcast_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for Error {
    // What `main` prints when it returns an error: the text and its causes, not a structure.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, "\n  caused by: {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl From<Error> for Box<dyn std::error::Error + Send + Sync + 'static> {
    fn from(error: Error) -> Self {
        error.0
    }
}

/// What kind of failure a [`RpcError`] is.
///
/// New kinds may be added; match with a wildcard arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The node hosts no class of that name.
    NoSuchClass,
    /// The object has no method with that id.
    NoSuchMethod,
    /// Caller and object were built against different signatures of the method; see [`RpcError::signatures`].
    SignatureMismatch,
    /// The arguments or the result could not be encoded.
    Encode,
    /// The arguments or the result could not be decoded.
    Decode,
    /// The encoded call or reply is larger than the receiving side accepts.
    TooLarge,
    /// The connection was lost, or is not there.
    Disconnected,
    /// The call's time ran out.
    Deadline,
    /// The call was withdrawn before it ran.
    Cancelled,
    /// A bounded queue or table is full. Retrying at once makes it worse.
    Overloaded,
    /// The call came back to an object that waits for it; running it would have hung for ever.
    Reentrant,
    /// The object's instance was thrown away: a panic, `ctx.abort`, a failed constructor or a failed commit.
    Reset,
    /// The peer did not accept our credentials, or we did not accept the peer's.
    Unauthorized,
    /// The peer broke the protocol, or speaks another version of it.
    Protocol,
    /// The node, client or session was closed on purpose.
    Closed,
    /// What the stub or stream leads to has gone for good, with its session for example. A new one is needed.
    Broken,
    /// The call needed the result of another one, which returned an error of its own.
    Failed,
    /// The other side gave up a stream, for the reason that the message says.
    Aborted,
    /// The method threw an error that is none of its signature's.
    Thrown,
    /// The object could not make the [lasting](crate::Lasting) target again: its `restore` returned an error. The next
    /// call has it tried again.
    NotRestored,
}

/// Wire numbers: append only, never reuse.
const KINDS: [ErrorKind; 20] = [
    ErrorKind::NoSuchClass,
    ErrorKind::NoSuchMethod,
    ErrorKind::SignatureMismatch,
    ErrorKind::Encode,
    ErrorKind::Decode,
    ErrorKind::TooLarge,
    ErrorKind::Disconnected,
    ErrorKind::Deadline,
    ErrorKind::Cancelled,
    ErrorKind::Overloaded,
    ErrorKind::Reentrant,
    ErrorKind::Reset,
    ErrorKind::Unauthorized,
    ErrorKind::Protocol,
    ErrorKind::Closed,
    ErrorKind::Broken,
    ErrorKind::Failed,
    ErrorKind::Aborted,
    ErrorKind::Thrown,
    ErrorKind::NotRestored,
];

impl ErrorKind {
    pub(crate) fn to_wire(self) -> u8 {
        self as u8
    }

    /// A kind that a newer peer knows and we do not is still a refusal by the peer.
    pub(crate) fn from_wire(number: u8) -> Self {
        KINDS.get(usize::from(number)).copied().unwrap_or(Self::Protocol)
    }

    fn text(self) -> &'static str {
        match self {
            Self::NoSuchClass => "no such class",
            Self::NoSuchMethod => "no such method",
            Self::SignatureMismatch => "signature mismatch",
            Self::Encode => "cannot encode",
            Self::Decode => "cannot decode",
            Self::TooLarge => "message too large",
            Self::Disconnected => "disconnected",
            Self::Deadline => "deadline exceeded",
            Self::Cancelled => "cancelled",
            Self::Overloaded => "overloaded",
            Self::Reentrant => "reentrant call",
            Self::Reset => "object reset",
            Self::Unauthorized => "unauthorized",
            Self::Protocol => "protocol error",
            Self::Closed => "closed",
            Self::Broken => "broken",
            Self::Failed => "failed dependency",
            Self::Aborted => "aborted",
            Self::Thrown => "thrown",
            Self::NotRestored => "not restored",
        }
    }
}

/// A failure of the framework, as opposed to an error that a method returned.
///
/// It answers the two questions callers have: [`is_retryable`](Self::is_retryable) and
/// [`may_have_run`](Self::may_have_run). Its text names the object and the method that were called.
#[derive(Clone)]
pub struct RpcError(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    may_have_run: bool,
    target: Option<String>,
    signatures: Option<Box<(String, String)>>,
    /// The error itself, for peers that are told of it as it was thrown.
    thrown: Option<Box<Encoded>>,
}

impl RpcError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            may_have_run: false,
            target: None,
            signatures: None,
            thrown: None,
        }))
    }

    pub(crate) fn may_run(mut self, may_have_run: bool) -> Self {
        self.0.may_have_run = may_have_run;
        self
    }

    /// Names what was called, unless that is known already.
    pub(crate) fn at(mut self, target: impl FnOnce() -> String) -> Self {
        if self.0.target.is_none() {
            self.0.target = Some(target());
        }
        self
    }

    pub(crate) fn with_signatures(mut self, ours: &str, theirs: &str) -> Self {
        self.0.signatures = Some(Box::new((ours.to_owned(), theirs.to_owned())));
        self
    }

    pub(crate) fn with_thrown(mut self, thrown: Encoded) -> Self {
        self.0.thrown = thrown.form.is_text().then(|| Box::new(thrown));
        self
    }

    #[cfg(feature = "capnweb")]
    pub(crate) fn thrown(&self) -> Option<&Encoded> {
        self.0.thrown.as_deref()
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The text without the name of the target.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The object or target and the method that were called, such as `Counter/room-1.increment`, where known.
    pub fn target(&self) -> Option<&str> {
        self.0.target.as_deref()
    }

    /// Whether the same call, made again (on a fresh stub after a [`ErrorKind::Reset`]), may succeed.
    ///
    /// True for passing conditions: a lost connection, a reset object, a node that is shutting down. False for
    /// an overload, which a retry only worsens, and for everything that a retry cannot change. Before retrying,
    /// look at [`may_have_run`](Self::may_have_run) too.
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Disconnected | ErrorKind::Reset | ErrorKind::Closed)
    }

    /// Whether the method may have run, in part or to its end. `false` is a promise; `true` is "not known".
    pub fn may_have_run(&self) -> bool {
        self.0.may_have_run
    }

    /// What the other side threw, for [`ErrorKind::Thrown`] and others that come from a text client or server.
    #[cfg(feature = "capnweb")]
    pub fn thrown_value(&self) -> Option<crate::value::Value> {
        let thrown = self.0.thrown.as_deref()?.clone();
        thrown.decode(&crate::encoding::Shape::Value, |input| input.take()).ok()
    }

    /// Whether the instance was thrown away, so that this stub stays broken and a fresh one is needed.
    pub fn is_reset(&self) -> bool {
        self.0.kind == ErrorKind::Reset
    }

    /// For [`ErrorKind::SignatureMismatch`]: the method's signature as the caller and as the object know it.
    pub fn signatures(&self) -> Option<(&str, &str)> {
        self.0.signatures.as_ref().map(|both| (both.0.as_str(), both.1.as_str()))
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(target) = &self.0.target {
            write!(f, "{target}: ")?;
        }
        f.write_str(self.0.kind.text())?;
        if !self.0.message.is_empty() {
            write!(f, ": {}", self.0.message)?;
        }
        Ok(())
    }
}

impl fmt::Debug for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcError")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("target", &self.0.target)
            .field("may_have_run", &self.0.may_have_run)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for RpcError {}

impl PartialEq for RpcError {
    /// Errors are equal when they say the same: kind and message. Where and whether it ran do not count.
    fn eq(&self, other: &Self) -> bool {
        self.0.kind == other.0.kind && self.0.message == other.0.message
    }
}

/// What a call fails with: the method's own error, or the framework's.
///
/// One layer, not a result in a result. Methods that return a plain value have `E =` [`Infallible`].
///
/// ```
/// use opendo::{CallError, ErrorKind};
///
/// fn explain(error: &CallError<std::num::ParseIntError>) -> String {
///     match error {
///         CallError::App(error) => format!("the method refused: {error}"),
///         CallError::Rpc(error) if error.is_retryable() => format!("try again: {error}"),
///         CallError::Rpc(error) => format!("gave up: {error}"),
///     }
/// }
/// # let _ = explain;
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum CallError<E = Infallible> {
    /// The method ran and returned this error.
    App(E),
    /// The call did not come to an answer of the method.
    Rpc(RpcError),
}

impl<E> CallError<E> {
    /// The framework's error, if it is one.
    pub fn rpc(&self) -> Option<&RpcError> {
        match self {
            Self::App(_) => None,
            Self::Rpc(error) => Some(error),
        }
    }

    /// The method's own error, if it is one.
    pub fn app(&self) -> Option<&E> {
        match self {
            Self::App(error) => Some(error),
            Self::Rpc(_) => None,
        }
    }

    /// See [`RpcError::is_retryable`]; an error of the method's own is not.
    pub fn is_retryable(&self) -> bool {
        self.rpc().is_some_and(RpcError::is_retryable)
    }

    /// See [`RpcError::may_have_run`]; an error of the method's own means that it did.
    pub fn may_have_run(&self) -> bool {
        self.rpc().is_none_or(RpcError::may_have_run)
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(error) => error.fmt(f),
            Self::Rpc(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for CallError<E> {}

impl<E> From<RpcError> for CallError<E> {
    fn from(error: RpcError) -> Self {
        Self::Rpc(error)
    }
}

impl From<CallError<Infallible>> for RpcError {
    fn from(error: CallError<Infallible>) -> Self {
        match error {
            CallError::App(never) => match never {},
            CallError::Rpc(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_keep_their_wire_numbers() {
        for (number, kind) in KINDS.iter().enumerate() {
            assert_eq!(usize::from(kind.to_wire()), number);
            assert_eq!(ErrorKind::from_wire(kind.to_wire()), *kind);
        }
        assert_eq!(ErrorKind::from_wire(200), ErrorKind::Protocol);
    }

    #[test]
    fn the_text_names_the_target_once() {
        let error =
            RpcError::new(ErrorKind::Reset, "it panicked").at(|| "Counter/a.get".into()).at(|| "x".into());
        assert_eq!(error.to_string(), "Counter/a.get: object reset: it panicked");
    }

    #[test]
    fn question_mark_works_from_every_call_error() {
        fn plain(error: CallError) -> Result<(), RpcError> {
            Err(error)?
        }
        fn any(error: CallError<std::fmt::Error>) -> Result<()> {
            Err(error)?
        }
        let rpc = RpcError::new(ErrorKind::Closed, "");
        assert_eq!(plain(rpc.clone().into()).unwrap_err(), rpc);
        assert!(any(rpc.into()).unwrap_err().downcast_ref::<CallError<std::fmt::Error>>().is_some());
    }
}
