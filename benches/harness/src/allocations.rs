//! How often client and server together allocate, and how much. The server's counts are asked for over a socket beside
//! the file that is named to both, so that they are exact at the moment at which the client asks.

/// Allocations and bytes of both processes so far; none if they are not counted.
#[cfg(not(feature = "allocations"))]
pub(crate) fn so_far() -> Option<[f64; 2]> {
    None
}

#[cfg(not(feature = "allocations"))]
pub(crate) fn serve() {}

#[cfg(feature = "allocations")]
pub(crate) use counted::{serve, so_far};

#[cfg(feature = "allocations")]
mod counted {
    use std::alloc::System;
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;

    use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

    #[global_allocator]
    static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

    fn path() -> Option<PathBuf> {
        std::env::var_os("PEERS_ALLOC_FILE").map(|file| PathBuf::from(file).with_extension("server"))
    }

    fn here() -> [u64; 2] {
        let stats = ALLOCATOR.stats();
        // A reallocation is one as well.
        [(stats.allocations + stats.reallocations) as u64, stats.bytes_allocated as u64]
    }

    pub(crate) fn so_far() -> Option<[f64; 2]> {
        let mut both = here();
        if let Ok(mut server) = UnixStream::connect(path()?) {
            let mut said = [[0; 8]; 2];
            for (count, said) in both.iter_mut().zip(&mut said) {
                server.read_exact(said).expect("the server says both");
                *count += u64::from_le_bytes(*said);
            }
        }
        Some(both.map(|count| count as f64))
    }

    pub(crate) fn serve() {
        let Some(path) = path() else { return };
        let _ = std::fs::remove_file(&path); // of a server before
        let listener = UnixListener::bind(path).expect("a path to listen at");
        std::thread::spawn(move || {
            for asked in listener.incoming() {
                let counts = here().map(u64::to_le_bytes);
                let _ = asked.and_then(|mut asked| asked.write_all(counts.as_flattened()));
            }
        });
    }
}
