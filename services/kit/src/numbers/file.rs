//! The file on the disk: what it looks like from outside, and one bounded reading.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::parse::{FILE_BYTES_MAX, parse};
use super::{Book, Check, LoadError};

/// What tells one state of the file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamp {
    /// There is none.
    Absent,
    /// It cannot be looked at.
    Hidden,
    /// Device, inode, length, times of its change in nanoseconds.
    Present([i128; 5]),
}

impl Stamp {
    /// How the file looks now. Links are followed.
    pub(super) fn of(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(found) => Self::from(&found),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::Absent,
            Err(_) => Self::Hidden,
        }
    }
}

impl From<&Metadata> for Stamp {
    fn from(found: &Metadata) -> Self {
        let nanos = |secs: i64, nanos: i64| i128::from(secs) * 1_000_000_000 + i128::from(nanos);
        Self::Present([
            i128::from(found.dev()),
            i128::from(found.ino()),
            i128::from(found.len()),
            nanos(found.mtime(), found.mtime_nsec()),
            nanos(found.ctime(), found.ctime_nsec()),
        ])
    }
}

/// Reads the file once.
pub(super) fn read(path: &Path, check: &Check) -> Result<(Book, Stamp), LoadError> {
    let failed = |source| LoadError::Read {
        path: path.to_owned(),
        source,
    };
    // Before it is opened: opening a pipe waits for a writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(LoadError::NotAFile(path.to_owned()));
    }
    let mut file = File::open(path).map_err(failed)?;
    let before = Stamp::from(&file.metadata().map_err(failed)?);
    let mut bytes = Vec::new();
    let bound = FILE_BYTES_MAX as u64 + 1;
    Read::by_ref(&mut file)
        .take(bound)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(LoadError::TooLarge(path.to_owned()));
    }
    if Stamp::from(&file.metadata().map_err(failed)?) != before {
        return Err(LoadError::Unsettled(path.to_owned()));
    }
    match parse(&bytes, check) {
        Ok(book) => Ok((
            Book {
                is_from_file: true,
                ..book
            },
            before,
        )),
        Err(mistakes) => Err(LoadError::Mistakes {
            path: path.to_owned(),
            mistakes,
        }),
    }
}
