use std::fmt;
use std::future::poll_fn;
#[cfg(any(feature = "tcp", all(unix, feature = "unix")))]
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::task::{Context, Poll, ready};

use crate::{Connection, Limits, TransportError, kind, memory};

/// Where to connect or listen: the scheme picks the transport.
///
/// | address | transport |
/// | --- | --- |
/// | `tcp://host:port` | TCP; an IPv6 host goes in brackets |
/// | `unix:/path`, `unix:relative/path` | a Unix domain socket |
/// | `memory:name` | this process |
///
/// Parsing does not depend on what is compiled in; connecting and listening do, and say so.
///
/// ```
/// use opendo_transport::Address;
///
/// let address: Address = "tcp://localhost:4000".parse()?;
/// assert_eq!(address.to_string(), "tcp://localhost:4000");
/// assert!(address.is_local());
/// assert!("tcp://localhost".parse::<Address>().is_err());
/// # Ok::<_, opendo_transport::TransportError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    scheme: Scheme,
    /// What follows the scheme.
    rest: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scheme {
    Tcp,
    Unix,
    Memory,
}

impl Scheme {
    const KNOWN: &'static str = "tcp://, unix:, memory:";

    /// How addresses of this scheme begin.
    fn prefix(self) -> &'static str {
        match self {
            Self::Tcp => "tcp://",
            Self::Unix => "unix:",
            Self::Memory => "memory:",
        }
    }
}

impl FromStr for Address {
    type Err = TransportError;

    fn from_str(address: &str) -> Result<Self, TransportError> {
        let bad = |reason| TransportError::BadAddress { address: address.to_owned(), reason };
        let Some((scheme, rest)) = address.split_once(':') else {
            return Err(bad("it has no scheme; write tcp://host:port, unix:/path or memory:name"));
        };
        let (scheme, rest) = match scheme {
            "tcp" => {
                let rest = rest.strip_prefix("//").ok_or_else(|| bad("write tcp://host:port"))?;
                check_host_and_port(rest).map_err(bad)?;
                (Scheme::Tcp, rest)
            }
            "unix" if rest.is_empty() => {
                return Err(bad("the path is missing; write unix:/path or unix:relative"));
            }
            "unix" if rest.starts_with("//") => return Err(bad("a socket has no host; write unix:/path")),
            "unix" if rest.contains('\0') => return Err(bad("a path cannot contain NUL")),
            "unix" => (Scheme::Unix, rest),
            "memory" if rest.is_empty() => return Err(bad("the name is missing; write memory:name")),
            "memory" => (Scheme::Memory, rest),
            unknown => {
                return Err(TransportError::UnknownScheme {
                    scheme: unknown.to_owned(),
                    known: Scheme::KNOWN,
                });
            }
        };
        Ok(Self { scheme, rest: rest.to_owned() })
    }
}

fn check_host_and_port(rest: &str) -> Result<(), &'static str> {
    let (host, port) = rest.rsplit_once(':').ok_or("the port is missing; write tcp://host:port")?;
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || port.parse::<u16>().is_err() {
        return Err("the port is not a number up to 65535; write tcp://host:port");
    }
    if let Some(bracketed) = host.strip_prefix('[') {
        let v6 = bracketed.strip_suffix(']').and_then(|host| host.parse::<Ipv6Addr>().ok());
        return v6.map(|_| ()).ok_or("what is in brackets is not an IPv6 address");
    }
    if host.is_empty() {
        return Err("the host is missing; write tcp://host:port (0.0.0.0 for every interface)");
    }
    if host.contains(':') {
        return Err("an IPv6 host goes in brackets: tcp://[::1]:port");
    }
    if host.contains(|c: char| c.is_whitespace() || c.is_control() || "/@?#[]\\".contains(c)) {
        return Err("the host has characters that no host name has");
    }
    Ok(())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.scheme.prefix(), self.rest)
    }
}

impl Address {
    /// The scheme alone: `tcp`, `unix` or `memory`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.scheme.prefix().trim_end_matches([':', '/'])
    }

    /// Whether only this machine can be on the other side: memory, a Unix socket, or TCP over loopback.
    ///
    /// `localhost` counts; no other host name is resolved to find out.
    #[must_use]
    pub fn is_local(&self) -> bool {
        if self.scheme != Scheme::Tcp {
            return true;
        }
        let host = self.rest.rsplit_once(':').map_or("", |(host, _)| host);
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        ip.map_or(host.eq_ignore_ascii_case("localhost"), |ip| ip.to_canonical().is_loopback())
    }

    /// Connects; within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`TransportError::FeatureOff`] without the cargo feature, [`TransportError::NotFound`] for a memory name nobody
    /// listens on, otherwise [`TransportError::Io`].
    pub async fn connect(&self, limits: &Limits) -> Result<Connection<kind::Bytes>, TransportError> {
        match self.scheme {
            Scheme::Memory => memory::connect(&self.rest, limits).await.map(Connection::new),
            #[cfg(feature = "tcp")]
            Scheme::Tcp => crate::tcp::connect(&self.rest, limits).await.map(Connection::new),
            #[cfg(all(unix, feature = "unix"))]
            Scheme::Unix => crate::unix::connect(&self.rest, limits).await.map(Connection::new),
            #[cfg(not(all(feature = "tcp", unix, feature = "unix")))]
            _ => Err(self.feature_off()),
        }
    }

    /// Listens; within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`TransportError::FeatureOff`] without the cargo feature, [`TransportError::AddressInUse`] when somebody listens
    /// there, otherwise [`TransportError::Io`].
    pub async fn listen(&self, limits: &Limits) -> Result<Listener, TransportError> {
        let inner = match self.scheme {
            Scheme::Memory => Inner::Memory(memory::listen(&self.rest, limits)?),
            #[cfg(feature = "tcp")]
            Scheme::Tcp => {
                let listener = crate::tcp::listen(&self.rest, limits).await?;
                let address = Self { scheme: self.scheme, rest: listener.local_addr()?.to_string() };
                return Ok(Listener { inner: Inner::Tcp(listener), address });
            }
            #[cfg(all(unix, feature = "unix"))]
            Scheme::Unix => Inner::Unix(crate::unix::listen(&self.rest, limits)?),
            #[cfg(not(all(feature = "tcp", unix, feature = "unix")))]
            _ => return Err(self.feature_off()),
        };
        Ok(Listener { inner, address: self.clone() })
    }

    #[cfg(not(all(feature = "tcp", unix, feature = "unix")))]
    fn feature_off(&self) -> TransportError {
        // Each transport's feature is named after its scheme.
        TransportError::FeatureOff { scheme: self.scheme(), feature: self.scheme() }
    }
}

/// Takes the connections made to an [`Address`]. Dropping it frees the address; connections live on.
#[derive(Debug)]
pub struct Listener {
    inner: Inner,
    address: Address,
}

#[derive(Debug)]
enum Inner {
    Memory(memory::Listener),
    #[cfg(feature = "tcp")]
    Tcp(crate::tcp::Listener),
    #[cfg(all(unix, feature = "unix"))]
    Unix(crate::unix::Listener),
}

impl Listener {
    /// Where it really listens: with the port that the system chose for port 0.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The next connection.
    ///
    /// Connections that fail while they are accepted are skipped. An error is the listener's own:
    /// [`TransportError::Exhausted`] passes when other connections close, so pause and accept again; after any other
    /// the listener is of no further use.
    pub fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Connection<kind::Bytes>, TransportError>> {
        Poll::Ready(match &mut self.inner {
            Inner::Memory(listener) => Ok(Connection::new(ready!(listener.poll_accept(cx)))),
            #[cfg(feature = "tcp")]
            Inner::Tcp(listener) => ready!(listener.poll_accept(cx)).map(Connection::new),
            #[cfg(all(unix, feature = "unix"))]
            Inner::Unix(listener) => ready!(listener.poll_accept(cx)).map(Connection::new),
        })
    }

    /// [`Self::poll_accept`] as a future. Cancel safe: no connection is lost.
    ///
    /// # Errors
    ///
    /// Those of [`Self::poll_accept`].
    pub async fn accept(&mut self) -> Result<Connection<kind::Bytes>, TransportError> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }
}

/// What a failed `accept` means for the listener: nothing, if it concerns only the connection that was accepted.
#[cfg(any(feature = "tcp", all(unix, feature = "unix")))]
pub(crate) fn accept_error(error: io::Error) -> Option<TransportError> {
    use io::ErrorKind as Is;
    // Too many open files, in the process or in the system, and no buffer space: these have no `ErrorKind`.
    const EXHAUSTED: &[i32] = if cfg!(windows) {
        &[10024, 10055]
    } else if cfg!(any(target_os = "linux", target_os = "android")) {
        &[23, 24, 105]
    } else {
        &[23, 24, 55]
    };
    if error.raw_os_error().is_some_and(|code| EXHAUSTED.contains(&code)) || error.kind() == Is::OutOfMemory {
        return Some(TransportError::Exhausted { source: error });
    }
    match error.kind() {
        // Linux hands pending network errors of the new connection to `accept`; a firewall's refusal is a
        // `PermissionDenied`.
        Is::ConnectionAborted
        | Is::ConnectionReset
        | Is::ConnectionRefused
        | Is::HostUnreachable
        | Is::NetworkUnreachable
        | Is::NetworkDown
        | Is::PermissionDenied
        | Is::TimedOut
        | Is::Interrupted => None,
        _ => Some(TransportError::io("accept a connection", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_address_and_what_is_local() {
        let table = [
            ("tcp://127.0.0.1:4000", "tcp", true),
            ("tcp://127.8.9.1:0", "tcp", true),
            ("tcp://[::1]:4000", "tcp", true),
            ("tcp://[::ffff:127.0.0.1]:4000", "tcp", true),
            ("tcp://LocalHost:65535", "tcp", true),
            ("tcp://localhost.example:1", "tcp", false),
            ("tcp://0.0.0.0:4000", "tcp", false),
            ("tcp://[::]:4000", "tcp", false),
            ("tcp://example.com:4000", "tcp", false),
            ("tcp://192.0.2.1:4000", "tcp", false),
            ("unix:/run/app.sock", "unix", true),
            ("unix:relative/app.sock", "unix", true),
            ("unix:C:odd but fine", "unix", true),
            ("memory:a", "memory", true),
            ("memory://a", "memory", true),
        ];
        for (text, scheme, local) in table {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.scheme(), address.is_local()), (scheme, local), "{text}");
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address() {
        let table = [
            ("", "it has no scheme"),
            ("/run/app.sock", "it has no scheme"),
            ("tcp:localhost:1", "write tcp://host:port"),
            ("tcp://", "the port is missing"),
            ("tcp://localhost", "the port is missing"),
            ("tcp://localhost:", "the port is not a number"),
            ("tcp://localhost:+1", "the port is not a number"),
            ("tcp://localhost:65536", "the port is not a number"),
            ("tcp://localhost:1/path", "the port is not a number"),
            ("tcp://:1", "the host is missing"),
            ("tcp://::1:1", "an IPv6 host goes in brackets"),
            ("tcp://[::1:1", "what is in brackets"),
            ("tcp://[localhost]:1", "what is in brackets"),
            ("tcp://user@host:1", "the host has characters"),
            ("tcp://a b:1", "the host has characters"),
            ("unix:", "the path is missing"),
            ("unix:///run/app.sock", "a socket has no host"),
            ("unix:/a\0b", "a path cannot contain NUL"),
            ("memory:", "the name is missing"),
        ];
        for (text, expected) in table {
            match text.parse::<Address>() {
                Err(TransportError::BadAddress { address, reason }) => {
                    assert_eq!(address, text);
                    assert!(reason.starts_with(expected), "{text}: {reason}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn schemes_that_do_not_exist() {
        for text in ["ws://host/", "wss://host/", "http://host/", "TCP://host:1", "localhost:80", ":"] {
            match text.parse::<Address>() {
                Err(TransportError::UnknownScheme { scheme, known }) => {
                    assert_eq!(
                        Some((&*scheme, known)),
                        text.split_once(':').map(|(scheme, _)| (scheme, Scheme::KNOWN))
                    );
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn transports_that_are_not_compiled_in() {
        let off: &[(&str, &str)] = &[
            #[cfg(not(feature = "tcp"))]
            ("tcp://127.0.0.1:0", "tcp"),
            #[cfg(not(all(unix, feature = "unix")))]
            ("unix:never-made", "unix"),
        ];
        for (text, expected) in off {
            let address: Address = text.parse().unwrap();
            let limits = Limits::default();
            let errors =
                [address.connect(&limits).await.map(|_| ()), address.listen(&limits).await.map(|_| ())];
            for error in errors {
                let error = error.unwrap_err();
                assert!(matches!(error, TransportError::FeatureOff { feature, .. } if feature == *expected));
                assert!(error.to_string().contains(&format!("enable the cargo feature `{expected}`")));
            }
        }
    }

    #[cfg(all(target_os = "linux", any(feature = "tcp", feature = "unix")))]
    #[test]
    fn what_a_failed_accept_means() {
        let of = |code| accept_error(io::Error::from_raw_os_error(code));
        const ECONNABORTED: i32 = 103;
        const ENETUNREACH: i32 = 101;
        const EPERM: i32 = 1;
        for code in [ECONNABORTED, ENETUNREACH, EPERM] {
            assert!(of(code).is_none(), "{code}");
        }
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        const ENOBUFS: i32 = 105;
        const ENOMEM: i32 = 12;
        for code in [ENFILE, EMFILE, ENOBUFS, ENOMEM] {
            assert!(matches!(of(code), Some(TransportError::Exhausted { .. })), "{code}");
        }
        const EBADF: i32 = 9;
        const EINVAL: i32 = 22;
        for code in [EBADF, EINVAL] {
            assert!(matches!(of(code), Some(TransportError::Io { .. })), "{code}");
        }
    }
}
