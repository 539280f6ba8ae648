//! Unix domain sockets, on Unix systems.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};

use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};

use crate::address::accept_error;
use crate::{ByteStream, Limits, Peer, TransportError};

/// A connection over a Unix domain socket.
pub type Unix = ByteStream<OwnedReadHalf, OwnedWriteHalf>;

/// Connects to the socket at `path`.
///
/// # Errors
///
/// [`TransportError::Io`] when nobody listens there.
pub async fn connect(path: impl AsRef<Path>, limits: &Limits) -> Result<Unix, TransportError> {
    let path = path.as_ref();
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(open(stream, path, limits)),
        Err(error) => Err(TransportError::io(format!("connect to unix:{}", path.display()), error)),
    }
}

fn open(stream: UnixStream, path: &Path, limits: &Limits) -> Unix {
    let (read, write) = stream.into_split();
    // A connecting socket has no name of its own, so both sides go by the listener's.
    ByteStream::new(read, write, Peer::local("unix", path.display().to_string()), limits)
}

/// Takes connections over a Unix domain socket, whose file goes when this is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    file: SocketFile,
    limits: Limits,
}

/// Listens on a socket file at `path`, with the permissions that the umask gives.
///
/// A socket file that a process left behind is replaced. One that somebody listens on is not, nor any other file.
/// Must be called within a Tokio runtime.
///
/// # Errors
///
/// [`TransportError::AddressInUse`], or [`TransportError::Io`] for whatever else the system has against it.
pub fn listen(path: impl AsRef<Path>, limits: &Limits) -> Result<Listener, TransportError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            TransportError::AddressInUse { address: format!("unix:{}", path.as_ref().display()) }
        }
        _ => TransportError::io(format!("listen on unix:{}", path.as_ref().display()), error),
    };
    // The process may change its directory before the file is removed.
    let path = std::path::absolute(path.as_ref()).map_err(failed)?;
    let socket = match UnixListener::bind(&path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => replace_stale(&path, error),
        result => result,
    };
    let socket = socket.map_err(failed)?;
    let file = SocketFile::of(path).map_err(failed)?;
    Ok(Listener { socket, file, limits: *limits })
}

/// Binds to `path` in place of a socket file without a socket, or gives `in_use` back.
fn replace_stale(path: &Path, in_use: io::Error) -> io::Result<UnixListener> {
    // Of two processes that find the same stale file, the second must not remove what the first has just bound.
    // Nothing awaits or blocks while the lock is held; the directory is locked so that no lock file stays behind.
    let directory = File::open(path.parent().unwrap_or(path))?;
    directory.lock()?;
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if !is_socket || !is_stale(path) {
        return Err(in_use);
    }
    fs::remove_file(path)?;
    UnixListener::bind(path)
}

/// Whether no process has the socket at `path` open. A datagram socket asks without joining the listener's queue: it is
/// refused only when nobody is there, and is told that it has the wrong type otherwise.
fn is_stale(path: &Path) -> bool {
    let answer = UnixDatagram::unbound().and_then(|probe| probe.connect(path));
    matches!(answer, Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
}

impl Listener {
    /// The socket file, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// The next connection; errors are those of [`Listener::poll_accept`](crate::Listener::poll_accept).
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Unix, TransportError>> {
        loop {
            match ready!(self.socket.poll_accept(cx)) {
                Ok((stream, _)) => return Poll::Ready(Ok(open(stream, &self.file.path, &self.limits))),
                Err(error) => {
                    if let Some(error) = accept_error(error) {
                        return Poll::Ready(Err(error));
                    }
                }
            }
        }
    }
}

/// The file that a listener made, removed when dropped unless another has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

/// Device, inode, and the time it was made: inodes alone are reused at once on some file systems. (Not the time of the
/// last change, which changing its permissions changes.)
type Identity = (u64, u64, i64, i64);

impl SocketFile {
    fn of(path: PathBuf) -> io::Result<Self> {
        let identity = identity(&fs::symlink_metadata(&path)?);
        Ok(Self { path, identity })
    }
}

fn identity(file: &Metadata) -> Identity {
    (file.dev(), file.ino(), file.mtime(), file.mtime_nsec())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|file| identity(&file) == self.identity);
        if ours {
            // A file that cannot be removed is stale by then, which the next listener copes with.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A directory that goes when the test does.
    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Self {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("opendo-transport-{}-{count}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("socket")
        }

        /// What a killed process leaves behind.
        fn stale(&self) -> PathBuf {
            drop(net::UnixListener::bind(self.socket()).unwrap());
            self.socket()
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn bind(path: &Path) -> Result<Listener, TransportError> {
        listen(path, &Limits::default())
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_the_new_one_removed() {
        let directory = Directory::new();
        let path = directory.stale();
        let limits = Limits::default();
        assert!(matches!(connect(&path, &limits).await, Err(TransportError::Io { .. })));
        let listener = bind(&path).unwrap();
        connect(&path, &limits).await.unwrap();
        // Changing who may connect does not make it another file.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
        drop(listener);
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_live_socket_is_left_alone() {
        let directory = Directory::new();
        let path = directory.socket();
        let mut listener = bind(&path).unwrap();
        let error = bind(&path).unwrap_err();
        assert!(matches!(error, TransportError::AddressInUse { .. }), "{error}");
        assert!(fs::exists(&path).unwrap());
        // The question whether it is live was not a connection: the first to be accepted is this one.
        let limits = Limits::default();
        let (client, server) =
            tokio::join!(connect(&path, &limits), std::future::poll_fn(|cx| listener.poll_accept(cx)));
        let (_, mut server) = crate::Transport::split(server.unwrap());
        drop(client.unwrap());
        assert!(server.receive().await.is_none());
    }

    #[tokio::test]
    async fn other_files_are_left_alone() {
        let directory = Directory::new();
        let path = directory.socket();
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path), Err(TransportError::AddressInUse { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        assert!(matches!(bind(&path.join("below a file")), Err(TransportError::Io { .. })));
    }

    #[tokio::test]
    async fn what_took_our_place_is_not_removed() {
        let directory = Directory::new();
        let path = directory.socket();
        let first = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _second = bind(&path).unwrap();
        drop(first);
        connect(&path, &Limits::default()).await.unwrap();
    }

    #[tokio::test]
    async fn of_many_that_find_a_stale_socket_one_replaces_it() {
        for _ in 0..50 {
            let directory = Directory::new();
            let path = directory.stale();
            let runtime = tokio::runtime::Handle::current();
            let attempts = std::thread::scope(|scope| {
                let attempt = || {
                    let _within = runtime.enter();
                    bind(&path)
                };
                let threads = [(); 4].map(|()| scope.spawn(attempt));
                threads.map(|thread| thread.join().unwrap())
            });
            assert_eq!(attempts.iter().filter(|attempt| attempt.is_ok()).count(), 1, "{attempts:?}");
            connect(&path, &Limits::default()).await.unwrap();
        }
    }
}
