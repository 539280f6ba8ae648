//! A disk in memory that loses power: what was not flushed is there in parts, or not at all.

use std::collections::{BTreeMap, HashMap};
use std::io::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use sqlite_vfs::wip::{WalIndex, WalIndexLock};
use sqlite_vfs::{DatabaseHandle, LockKind, OpenAccess, OpenOptions, Vfs};

/// What a disk writes as a whole or not at all.
const SECTOR: usize = 512;

/// As SQLite knows the file system of these disks.
pub(super) const FILES: &str = "losing-power";

static DISKS: LazyLock<Mutex<HashMap<String, Disk>>> = LazyLock::new(|| {
    sqlite_vfs::register(FILES, Files, false).expect("the name is free");
    Mutex::default()
});

/// SplitMix64: the same in every run.
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(end).unwrap()).unwrap()
    }

    pub(super) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

/// One directory.
#[derive(Clone, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    /// Where the files of the names are.
    names: BTreeMap<String, usize>,
    /// As the medium has them: a file that was made or deleted since may be there or not.
    flushed_names: BTreeMap<String, usize>,
    files: Vec<File>,
    /// How much is done until the power goes.
    steps: Option<usize>,
    /// How many flushes succeed before one does not.
    flushes: Option<usize>,
    failed: bool,
}

#[derive(Clone, Default)]
struct File {
    bytes: Vec<u8>,
    flushed: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write(at, data) => {
                let end = at + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*at..end].copy_from_slice(data);
            }
            Change::Length(length) => bytes.resize(*length, 0),
        }
    }

    /// What comes of it if the power goes meanwhile.
    fn torn(&self, random: &mut Random, bytes: &mut Vec<u8>) {
        match self {
            Change::Write(at, data) => {
                for (n, sector) in data.chunks(SECTOR).enumerate() {
                    if random.one_in(2) {
                        Change::Write(at + n * SECTOR, sector.to_vec()).apply(bytes);
                    }
                }
                let cut = random.below(data.len() + 1);
                Change::Write(*at, data[..cut].to_vec()).apply(bytes);
            }
            Change::Length(_) if random.one_in(2) => self.apply(bytes),
            Change::Length(_) => {}
        }
    }
}

impl File {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.bytes);
        self.pending.push(change);
    }

    fn flush(&mut self) {
        self.pending.clear();
        self.flushed.clone_from(&self.bytes);
    }

    /// What the medium has of it after a cut.
    fn left(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.flushed.clone();
        if random.one_in(2) {
            // In order, up to some point.
            let done = random.below(self.pending.len() + 1);
            self.pending[..done].iter().for_each(|change| change.apply(&mut bytes));
            if let Some(last) = self.pending.get(done) {
                last.torn(random, &mut bytes);
            }
        } else {
            // As the disk saw fit.
            for change in &self.pending {
                match random.below(3) {
                    0 => change.apply(&mut bytes),
                    1 => change.torn(random, &mut bytes),
                    _ => {}
                }
            }
        }
        bytes
    }
}

impl Disk {
    /// What SQLite is to open.
    pub(super) fn mount(&self) -> String {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = COUNT.fetch_add(1, Ordering::Relaxed).to_string();
        DISKS.lock().insert(name.clone(), self.clone());
        format!("{name}/opendo.sqlite3")
    }

    /// The power goes after so many steps.
    pub(super) fn last(&self, steps: Option<usize>) {
        self.0.lock().steps = steps;
    }

    pub(super) fn is_off(&self) -> bool {
        self.0.lock().steps == Some(0)
    }

    /// One flush fails after so many: what it was to write is lost, and the next one succeeds without it.
    pub(super) fn fail_a_flush(&self, after: Option<usize>) {
        self.0.lock().flushes = after;
    }

    pub(super) fn has_failed(&self) -> bool {
        self.0.lock().failed
    }

    /// What is left when the power goes now.
    pub(super) fn cut(&self, random: &mut Random) -> Disk {
        let state = self.0.lock();
        let mut left = State::default();
        let mut names: Vec<_> = state.names.keys().chain(state.flushed_names.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let entry = if random.one_in(2) { &state.names } else { &state.flushed_names };
            if let Some(at) = entry.get(name) {
                let bytes = state.files[*at].left(random);
                left.names.insert(name.clone(), left.files.len());
                left.files.push(File { flushed: bytes.clone(), bytes, pending: Vec::new() });
            }
        }
        left.flushed_names.clone_from(&left.names);
        Disk(Arc::new(Mutex::new(left)))
    }
}

impl State {
    fn step(&mut self) -> Result<()> {
        match &mut self.steps {
            Some(0) => Err(Error::other("there is no power")),
            Some(steps) => {
                *steps -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// The files of all disks, for SQLite. It is used by one thread at a time.
struct Files;

fn of(path: &str) -> Result<(Disk, String)> {
    let (disk, name) = path.split_once('/').ok_or(ErrorKind::NotFound)?;
    let disk = DISKS.lock().get(disk).cloned().ok_or(ErrorKind::NotFound)?;
    Ok((disk, name.to_owned()))
}

impl Vfs for Files {
    type Handle = Handle;

    fn open(&self, path: &str, options: OpenOptions) -> Result<Handle> {
        let (disk, name) = of(path)?;
        let at = {
            let mut state = disk.0.lock();
            state.step()?;
            match state.names.get(&name) {
                Some(at) => *at,
                None if matches!(options.access, OpenAccess::Create | OpenAccess::CreateNew) => {
                    let at = state.files.len();
                    state.files.push(File::default());
                    state.names.insert(name, at);
                    at
                }
                None => return Err(ErrorKind::NotFound.into()),
            }
        };
        Ok(Handle { disk, at, lock: LockKind::None })
    }

    fn delete(&self, path: &str) -> Result<()> {
        let (disk, name) = of(path)?;
        let mut state = disk.0.lock();
        state.step()?;
        state.names.remove(&name).map(drop).ok_or(ErrorKind::NotFound.into())
    }

    fn exists(&self, path: &str) -> Result<bool> {
        let (disk, name) = of(path)?;
        let there = disk.0.lock().names.contains_key(&name);
        Ok(there)
    }

    fn temporary_name(&self) -> String {
        unreachable!("nothing is sorted on disk")
    }

    fn random(&self, buffer: &mut [i8]) {
        buffer.fill(0);
    }

    fn sleep(&self, _: Duration) -> Duration {
        Duration::ZERO
    }
}

struct Handle {
    disk: Disk,
    at: usize,
    lock: LockKind,
}

impl Handle {
    fn file<T>(&self, work: impl FnOnce(&mut File) -> T) -> Result<T> {
        let mut state = self.disk.0.lock();
        state.step()?;
        Ok(work(&mut state.files[self.at]))
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl DatabaseHandle for Handle {
    type WalIndex = NotShared;

    fn size(&self) -> Result<u64> {
        Ok(u64::try_from(self.disk.0.lock().files[self.at].bytes.len()).unwrap())
    }

    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let state = self.disk.0.lock();
        if state.steps == Some(0) {
            return Err(Error::other("there is no power"));
        }
        let bytes = &state.files[self.at].bytes;
        let there = bytes.get(place(offset)..).unwrap_or_default();
        let length = there.len().min(buffer.len());
        buffer[..length].copy_from_slice(&there[..length]);
        buffer[length..].fill(0);
        if length < buffer.len() { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn write_all_at(&mut self, data: &[u8], offset: u64) -> Result<()> {
        let write = || Change::Write(place(offset), data.to_vec());
        let powered = self.file(|file| file.change(write()));
        if powered.is_err() {
            // It may have got to the medium in part.
            let mut state = self.disk.0.lock();
            state.files[self.at].pending.push(write());
        }
        powered
    }

    /// The names too, as SQLite does on the operating system's files when it has made one.
    fn sync(&mut self, _data_only: bool) -> Result<()> {
        let at = self.at;
        let mut state = self.disk.0.lock();
        state.step()?;
        if let Some(flushes) = state.flushes {
            state.flushes = flushes.checked_sub(1);
            if flushes == 0 {
                state.failed = true;
                state.files[at].pending.clear();
                return Err(Error::other("the medium does not take it"));
            }
        }
        state.files[at].flush();
        let name = state.names.iter().find(|(_, there)| **there == at).map(|(name, _)| name.clone());
        if let Some(name) = name
            && !name.ends_with("sqlite3")
            && state.flushed_names.get(&name) != Some(&at)
        {
            state.flushed_names = state.names.clone();
        }
        Ok(())
    }

    fn set_len(&mut self, size: u64) -> Result<()> {
        self.file(|file| file.change(Change::Length(place(size))))
    }

    fn lock(&mut self, lock: LockKind) -> Result<bool> {
        self.lock = lock;
        Ok(true)
    }

    fn reserved(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn current_lock(&self) -> Result<LockKind> {
        Ok(self.lock)
    }

    fn wal_index(&self, _readonly: bool) -> Result<NotShared> {
        Err(ErrorKind::Unsupported.into())
    }
}

/// With an exclusive lock SQLite keeps the index of the log in its own memory.
pub(super) struct NotShared;

impl WalIndex for NotShared {
    fn enabled() -> bool {
        false
    }

    fn map(&mut self, _region: u32) -> Result<[u8; 32768]> {
        Err(ErrorKind::Unsupported.into())
    }

    fn lock(&mut self, _locks: std::ops::Range<u8>, _lock: WalIndexLock) -> Result<bool> {
        Err(ErrorKind::Unsupported.into())
    }

    fn delete(self) -> Result<()> {
        Ok(())
    }
}
