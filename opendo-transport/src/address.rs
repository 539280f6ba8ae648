use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::TransportError;

mod connect;
mod listen;

pub use connect::AnyConnection;
pub use listen::Listener;
#[cfg(any(
    feature = "tcp",
    feature = "websocket",
    feature = "http",
    feature = "tls",
    all(unix, feature = "unix")
))]
pub(crate) use listen::accept_error;

/// Where to connect or listen: the scheme picks the transport.
///
/// | address | transport | messages |
/// | --- | --- | --- |
/// | `tcp://host:port` | TCP; an IPv6 host goes in brackets | bytes |
/// | `tls://host:port` | TCP with TLS | bytes |
/// | `ws://host[:port]/path?query` | WebSocket | bytes or text, as the server chooses |
/// | `wss://host[:port]/path?query` | WebSocket with TLS | the same |
/// | `http://host[:port]/path?query` | one HTTP request, a batch | text |
/// | `https://host[:port]/path?query` | one HTTP request with TLS, a batch | text |
/// | `unix:/path`, `unix:relative/path` | a Unix domain socket | bytes |
/// | `stdio:` | this process's standard input and output | text |
/// | `memory:name` | this process | bytes |
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
///
/// let address: Address = "wss://example.com/rooms/1?token=x".parse()?;
/// assert_eq!(address.path(), "/rooms/1?token=x");
/// # Ok::<_, opendo_transport::TransportError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    pub(crate) scheme: Scheme,
    /// What follows the scheme.
    pub(crate) rest: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Tcp,
    Tls,
    Ws,
    Wss,
    Http,
    Https,
    Unix,
    Stdio,
    Memory,
}

impl Scheme {
    const ALL: [Self; 9] = [
        Self::Tcp,
        Self::Tls,
        Self::Ws,
        Self::Wss,
        Self::Http,
        Self::Https,
        Self::Unix,
        Self::Stdio,
        Self::Memory,
    ];
    const KNOWN: &'static str = "tcp://, tls://, ws://, wss://, http://, https://, unix:, stdio:, memory:";

    /// How addresses of this scheme begin.
    fn prefix(self) -> &'static str {
        match self {
            Self::Tcp => "tcp://",
            Self::Tls => "tls://",
            Self::Ws => "ws://",
            Self::Wss => "wss://",
            Self::Http => "http://",
            Self::Https => "https://",
            Self::Unix => "unix:",
            Self::Stdio => "stdio:",
            Self::Memory => "memory:",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        self.prefix().trim_end_matches([':', '/'])
    }

    #[cfg(any(feature = "websocket", feature = "http", feature = "tls"))]
    pub(crate) fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Wss | Self::Https)
    }

    /// The cargo feature that brings the transport.
    fn feature(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws | Self::Wss => "websocket",
            Self::Http | Self::Https => "http",
            Self::Unix => "unix",
            Self::Stdio => "stdio",
            Self::Memory => "memory",
        }
    }
}

impl FromStr for Address {
    type Err = TransportError;

    fn from_str(address: &str) -> Result<Self, TransportError> {
        let bad = |reason| TransportError::BadAddress { address: address.to_owned(), reason };
        let Some((name, rest)) = address.split_once(':') else {
            return Err(bad("it has no scheme; write tcp://host:port, unix:/path or memory:name"));
        };
        let Some(scheme) = Scheme::ALL.into_iter().find(|scheme| scheme.name() == name) else {
            return Err(TransportError::UnknownScheme { scheme: name.to_owned(), known: Scheme::KNOWN });
        };
        let after_slashes = |usage| rest.strip_prefix("//").ok_or_else(|| bad(usage));
        let rest = match scheme {
            Scheme::Tcp | Scheme::Tls => {
                let rest = after_slashes("write tcp://host:port or tls://host:port")?;
                match check_authority(rest).map_err(bad)? {
                    Some(_) => rest,
                    None => {
                        return Err(bad("the port is missing; write it behind the host, as in host:port"));
                    }
                }
            }
            Scheme::Ws | Scheme::Wss | Scheme::Http | Scheme::Https => {
                let rest = after_slashes("write it as a URL, with two slashes before the host")?;
                let (authority, path) = split_path(rest);
                check_authority(authority).map_err(bad)?;
                check_path(path).map_err(bad)?;
                rest
            }
            Scheme::Unix if rest.is_empty() => {
                return Err(bad("the path is missing; write unix:/path or unix:relative"));
            }
            Scheme::Unix if rest.starts_with("//") => {
                return Err(bad("a socket has no host; write unix:/path"));
            }
            Scheme::Unix if rest.contains('\0') => return Err(bad("a path cannot contain NUL")),
            Scheme::Stdio if !rest.is_empty() => return Err(bad("nothing follows; write stdio:")),
            Scheme::Memory if rest.is_empty() => return Err(bad("the name is missing; write memory:name")),
            Scheme::Unix | Scheme::Stdio | Scheme::Memory => rest,
        };
        Ok(Self { scheme, rest: rest.to_owned() })
    }
}

/// A URL's host and port, and what follows them.
fn split_path(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
}

/// A host and its port, if there is one.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        // A colon within brackets is the host's.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn check_authority(authority: &str) -> Result<Option<u16>, &'static str> {
    let (host, port) = split_port(authority);
    let port = match port {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok().map(Some),
        Some(_) => None,
        None => Some(None),
    };
    let port = port.ok_or("the port is not a number up to 65535; write it as in host:port")?;
    if let Some(bracketed) = host.strip_prefix('[') {
        let v6 = bracketed.strip_suffix(']').and_then(|host| host.parse::<Ipv6Addr>().ok());
        return v6.map(|_| port).ok_or("what is in brackets is not an IPv6 address");
    }
    if host.is_empty() && port.is_some() {
        return Err("the host is missing; write it as in host:port (0.0.0.0 for every interface)");
    }
    if host.is_empty() {
        return Err("the host and the port are missing");
    }
    if host.contains(':') {
        return Err("an IPv6 host goes in brackets, as in [::1]:port");
    }
    if host.contains(|c: char| c.is_whitespace() || c.is_control() || "/@?#[]\\".contains(c)) {
        return Err("the host has characters that no host name has");
    }
    Ok(port)
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.contains('#') {
        return Err("a fragment is not sent to a server; leave out what begins with #");
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the path has characters that go percent-encoded into a URL");
    }
    Ok(())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.scheme.prefix(), self.rest)
    }
}

impl Address {
    /// The scheme alone, such as `tcp`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.scheme.name()
    }

    /// Whether only this machine can be on the other side: memory, standard input and output, a Unix socket, or
    /// whatever is spoken over TCP, over loopback.
    ///
    /// `localhost` counts; no other host name is resolved to find out.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let Some((authority, _)) = self.url() else { return true };
        let (host, _) = split_port(authority);
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        ip.map_or(host.eq_ignore_ascii_case("localhost"), |ip| ip.to_canonical().is_loopback())
    }

    /// The path and the query of a URL, at least `/`; empty for all other addresses.
    #[must_use]
    pub fn path(&self) -> String {
        match self.url() {
            Some((_, path)) if path.starts_with('/') => path.to_owned(),
            Some((_, path)) if self.is_url() => format!("/{path}"),
            _ => String::new(),
        }
    }

    fn is_url(&self) -> bool {
        matches!(self.scheme, Scheme::Ws | Scheme::Wss | Scheme::Http | Scheme::Https)
    }

    /// Host and port, and what follows them, of an address on a network.
    fn url(&self) -> Option<(&str, &str)> {
        match self.scheme {
            Scheme::Tcp | Scheme::Tls => Some((&self.rest, "")),
            Scheme::Ws | Scheme::Wss | Scheme::Http | Scheme::Https => Some(split_path(&self.rest)),
            Scheme::Unix | Scheme::Stdio | Scheme::Memory => None,
        }
    }

    /// The host as resolvers want it, and the port, which URLs need not name.
    #[cfg(any(feature = "websocket", feature = "http", feature = "tls"))]
    pub(crate) fn host_and_port(&self) -> Result<(&str, u16), TransportError> {
        let (authority, _) = self.url().ok_or_else(|| TransportError::BadAddress {
            address: self.to_string(),
            reason: "it has no host and port",
        })?;
        let (host, port) = split_port(authority);
        let default = if self.scheme.is_encrypted() { 443 } else { 80 };
        let port = port.and_then(|port| port.parse().ok()).unwrap_or(default);
        Ok((host.trim_start_matches('[').trim_end_matches(']'), port))
    }

    /// What an HTTP server is told it was asked for.
    #[cfg(any(feature = "websocket", feature = "http"))]
    pub(crate) fn authority(&self) -> &str {
        self.url().map_or("", |(authority, _)| authority)
    }

    /// The same, with host and port as the system has them.
    #[cfg(any(feature = "websocket", feature = "http", feature = "tls"))]
    pub(crate) fn at(&self, socket: std::net::SocketAddr) -> Self {
        let path = self.url().map_or("", |(_, path)| path);
        Self { scheme: self.scheme, rest: format!("{socket}{path}") }
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

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
            ("tls://example.com:4000", "tls", false),
            ("tls://127.0.0.1:4000", "tls", true),
            ("ws://localhost", "ws", true),
            ("ws://[::1]/a?b=c", "ws", true),
            ("wss://example.com/a/b?c=d:e", "wss", false),
            ("http://127.0.0.1:80?x", "http", true),
            ("https://localhost.example/localhost", "https", false),
            ("stdio:", "stdio", true),
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
            ("tcp://", "the host and the port are missing"),
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
            ("tls://host", "the port is missing"),
            ("ws:host", "write it as a URL"),
            ("ws://", "the host and the port are missing"),
            ("ws:///path", "the host and the port are missing"),
            ("ws://:80/", "the host is missing"),
            ("ws://::1/", "an IPv6 host goes in brackets"),
            ("ws://host:/", "the port is not a number"),
            ("wss://user:word@host/", "the port is not a number"),
            ("wss://user@host/", "the host has characters"),
            ("http://host/#part", "a fragment"),
            ("http://host/a b", "the path has characters"),
            ("http://host/\u{e4}", "the path has characters"),
            ("http://host/a\r\nb", "the path has characters"),
            ("stdio:/dev/tty", "nothing follows"),
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
        for text in ["gopher://host/", "WS://host/", "TCP://host:1", "localhost:80", ":"] {
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

    #[test]
    fn what_a_url_asks_for() {
        let table = [
            ("ws://host", "/"),
            ("http://host?a=b", "/?a=b"),
            ("http://host/", "/"),
            ("wss://host:1/a/b%20c?d=/e", "/a/b%20c?d=/e"),
            ("tcp://host:1", ""),
            ("unix:/a", ""),
        ];
        for (text, path) in table {
            assert_eq!(text.parse::<Address>().unwrap().path(), path, "{text}");
        }
    }

    #[cfg(any(feature = "websocket", feature = "http", feature = "tls"))]
    #[test]
    fn what_is_connected_to() {
        let table = [
            ("ws://host/", "host", 80),
            ("https://[::1]/", "::1", 443),
            ("tls://[::1]:7", "::1", 7),
            ("http://host:8080/a:1", "host", 8080),
        ];
        for (text, host, port) in table {
            assert_eq!(text.parse::<Address>().unwrap().host_and_port().unwrap(), (host, port), "{text}");
        }
    }

    #[tokio::test]
    async fn what_is_not_listened_on_alone() {
        for text in
            ["ws://127.0.0.1:0", "wss://127.0.0.1:0", "http://127.0.0.1:0", "https://127.0.0.1:0", "stdio:"]
        {
            let error = text.parse::<Address>().unwrap().listen(&Limits::default()).await.unwrap_err();
            assert!(
                matches!(error, TransportError::NoListener { ref address, .. } if address == text),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn transports_that_are_not_compiled_in() {
        let off: &[(&str, &str)] = &[
            #[cfg(not(feature = "tcp"))]
            ("tcp://127.0.0.1:0", "tcp"),
            #[cfg(not(all(unix, feature = "unix")))]
            ("unix:never-made", "unix"),
            #[cfg(not(feature = "tls"))]
            ("tls://127.0.0.1:0", "tls"),
            #[cfg(not(feature = "websocket"))]
            ("ws://127.0.0.1:0", "websocket"),
            #[cfg(all(feature = "websocket", not(feature = "tls")))]
            ("wss://127.0.0.1:0", "tls"),
            #[cfg(not(feature = "http"))]
            ("https://127.0.0.1:0", "http"),
            #[cfg(not(feature = "stdio"))]
            ("stdio:", "stdio"),
        ];
        for (text, expected) in off {
            let address: Address = text.parse().unwrap();
            let limits = Limits::default();
            let mut errors = vec![address.connect(&limits).await.map(|_| ()).unwrap_err()];
            errors.push(address.connect_any(&limits.into()).await.map(|_| ()).unwrap_err());
            if !address.is_url() && address.scheme != Scheme::Stdio {
                errors.push(address.listen(&limits).await.map(|_| ()).unwrap_err());
            }
            for error in errors {
                assert!(matches!(error, TransportError::FeatureOff { feature, .. } if feature == *expected));
                assert!(error.to_string().contains(&format!("enable the cargo feature `{expected}`")));
            }
        }
    }
}
