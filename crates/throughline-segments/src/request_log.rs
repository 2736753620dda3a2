//! The write-ahead log: the accepted requests since the last segment was sealed.
//!
//! A file is a magic number followed by records. A record is its length (of kind and payload), the
//! CRC-32C of both, the kind, and the payload: numbers are little-endian. A record that is cut off
//! or damaged ends the log: it was never acknowledged, or the disk lost it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crc_fast::{CrcAlgorithm, Digest};

/// The first bytes of a log; the last one is the version.
const MAGIC: &[u8; 8] = b"TLLOG\0\0\x01";

/// Length of what precedes the payload: length, checksum and kind.
const PREFIX_BYTES: usize = 9;

/// Maximum length of a payload. A longer one would be a damaged length.
const MAX_PAYLOAD_BYTES: usize = 1 << 30;

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// An OTLP request in protobuf.
    Spans,
    /// An OTLP request in protobuf, whose spans may be fragments.
    Fragments,
    /// Decisions about parents.
    Decisions,
}

/// A record of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRecord<'a> {
    /// Kind of the payload.
    pub kind: RecordKind,
    /// Content, as it was appended.
    pub payload: &'a [u8],
    /// Position of the content in the log.
    pub position: usize,
}

/// The intact records of a log.
#[derive(Debug, Default)]
pub struct LogRecords<'a> {
    /// Records in the order in which they were appended.
    pub records: Vec<LogRecord<'a>>,
    /// Length of the intact part of the file.
    pub intact_bytes: usize,
}

/// Reads the records of a file one after another, so that only one is in memory.
#[derive(Debug)]
pub(crate) struct LogReader {
    file: BufReader<File>,
    /// Length of the part that was read and is intact.
    intact_bytes: u64,
}

/// A log that is appended to.
#[derive(Debug)]
pub(crate) struct LogWriter {
    path: PathBuf,
    file: File,
    state: Mutex<LogState>,
    /// Length of the part that is known to be on the disk.
    synced: Mutex<u64>,
}

#[derive(Debug)]
struct LogState {
    length: u64,
    /// True after a failure that leaves open what the disk holds: nothing is appended any more.
    is_damaged: bool,
}

// === impl RecordKind ===

impl RecordKind {
    const fn code(self) -> u8 {
        match self {
            Self::Spans => 1,
            Self::Fragments => 2,
            Self::Decisions => 4,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Spans),
            2 => Some(Self::Fragments),
            4 => Some(Self::Decisions),
            _ => None,
        }
    }
}

// === impl LogRecords ===

impl<'a> LogRecords<'a> {
    /// Position of the first record.
    pub(crate) const START: u64 = MAGIC.len() as u64;

    /// Reads the records of a log up to the first that is cut off or damaged.
    #[must_use]
    pub fn read(log: &'a [u8]) -> Self {
        let mut read = Self::default();
        let Some(rest) = log.strip_prefix(MAGIC) else {
            return read;
        };
        read.intact_bytes = MAGIC.len();
        read.take_from(log, rest);
        read
    }

    /// Reads the records of a part of a log that begins with a record.
    #[must_use]
    pub fn read_part(part: &'a [u8]) -> Self {
        let mut read = Self::default();
        read.take_from(part, part);
        read
    }

    /// Takes the records of `rest`, the end of `log`.
    fn take_from(&mut self, log: &'a [u8], mut rest: &'a [u8]) {
        while let Some((kind, payload, tail)) = read_record(rest) {
            self.intact_bytes = log.len() - tail.len();
            self.records.push(LogRecord {
                kind,
                payload,
                position: self.intact_bytes - payload.len(),
            });
            rest = tail;
        }
    }
}

// === impl LogReader ===

impl LogReader {
    /// Reads records from a position on; from the beginning of a log, its magic number first.
    pub(crate) fn new(mut file: File, position: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(position))?;
        Ok(Self {
            file: BufReader::new(file),
            intact_bytes: position,
        })
    }

    /// Reads a log from its beginning; without a magic number it has no records.
    pub(crate) fn of_log(file: File) -> io::Result<Self> {
        let mut reader = Self::new(file, 0)?;
        let mut magic = Vec::new();
        let length = LogRecords::START;
        reader.file.by_ref().take(length).read_to_end(&mut magic)?;
        if magic == MAGIC {
            reader.intact_bytes = length;
        } else {
            reader.file.seek(SeekFrom::End(0))?;
        }
        Ok(reader)
    }

    /// Returns the position behind the last record that was read.
    pub(crate) const fn intact_bytes(&self) -> u64 {
        self.intact_bytes
    }

    /// Reads the payload of the next record; `None` where it is cut off or damaged.
    pub(crate) fn next_payload(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut record = Vec::new();
        let file = self.file.by_ref();
        file.take(8).read_to_end(&mut record)?;
        let Some(length) = record.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length);
        // Grows with what is there, whatever the length says.
        file.take(length.into()).read_to_end(&mut record)?;
        if read_record(&record).is_none() {
            return Ok(None);
        }
        self.intact_bytes += record.len() as u64;
        Ok(Some(record.split_off(PREFIX_BYTES)))
    }
}

/// Splits the first record off; `None` when it is cut off or damaged.
fn read_record(log: &[u8]) -> Option<(RecordKind, &[u8], &[u8])> {
    let (length, rest) = log.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (content, tail) = rest.split_at_checked(length)?;
    if crc(&[content]) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (kind, payload) = content.split_first()?;
    let kind = RecordKind::from_code(*kind)?;
    Some((kind, payload, tail))
}

fn crc(parts: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    for part in parts {
        digest.update(part);
    }
    u32::try_from(digest.finalize()).unwrap_or_default()
}

// === impl LogWriter ===

impl LogWriter {
    /// Creates a log; the caller makes the folder durable.
    pub(crate) fn create(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        file.write_all_at(MAGIC, 0)?;
        Ok(Self::of(path, file, MAGIC.len() as u64))
    }

    /// Continues a log behind its intact part.
    pub(crate) fn resume(path: PathBuf, intact_bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let mut length = intact_bytes;
        if length < MAGIC.len() as u64 {
            file.write_all_at(MAGIC, 0)?;
            length = MAGIC.len() as u64;
        }
        file.set_len(length)?;
        file.sync_all()?;
        Ok(Self::of(path, file, length))
    }

    fn of(path: PathBuf, file: File, length: u64) -> Self {
        let is_damaged = false;
        Self {
            path,
            file,
            state: Mutex::new(LogState { length, is_damaged }),
            synced: Mutex::new(0),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the length of the log.
    pub(crate) fn bytes(&self) -> u64 {
        self.state().length
    }

    /// Returns whether nothing can be appended any more.
    pub(crate) fn is_damaged(&self) -> bool {
        self.state().is_damaged
    }

    /// Appends a record; returns the length of the log with it.
    pub(crate) fn append(&self, kind: RecordKind, payload: &[u8]) -> io::Result<u64> {
        let length = u32::try_from(payload.len() + 1).ok();
        let Some(length) = length.filter(|_| payload.len() <= MAX_PAYLOAD_BYTES) else {
            return Err(io::Error::other("the request is too large for the log"));
        };
        let kind = kind.code();
        let mut prefix = [0; PREFIX_BYTES];
        let checksum = crc(&[&[kind], payload]).to_le_bytes();
        let fields = length.to_le_bytes().into_iter().chain(checksum);
        for (to, from) in prefix.iter_mut().zip(fields.chain([kind])) {
            *to = from;
        }
        let mut state = self.state();
        if state.is_damaged {
            return Err(io::Error::other(
                "the log was damaged by an earlier failure",
            ));
        }
        let start = state.length;
        let body = start + PREFIX_BYTES as u64;
        let written = self
            .file
            .write_all_at(&prefix, start)
            .and_then(|()| self.file.write_all_at(payload, body));
        if let Err(error) = written {
            // Part of the record may be there, as on a full disk. The next one takes its place.
            state.is_damaged = self.file.set_len(start).is_err();
            return Err(error);
        }
        state.length = body + payload.len() as u64;
        Ok(state.length)
    }

    /// Reads a part of the log.
    pub(crate) fn read(&self, position: u64, length: usize) -> io::Result<Vec<u8>> {
        let end = position.checked_add(length as u64);
        if end.is_none_or(|end| end > self.bytes()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, position)?;
        Ok(bytes)
    }

    /// Makes the log durable up to a length. Callers that wait for each other share one sync.
    pub(crate) fn sync(&self, until: u64) -> io::Result<()> {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if *synced >= until {
            return Ok(());
        }
        if self.is_damaged() {
            // The system may have dropped what it could not write: a second sync would succeed
            // without it.
            return Err(io::Error::other(
                "the log was damaged by an earlier failure",
            ));
        }
        let length = self.bytes();
        if let Err(error) = self.file.sync_data() {
            self.state().is_damaged = true;
            return Err(error);
        }
        *synced = length;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(records: &[&[u8]]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.log");
        let log = LogWriter::create(path.clone()).unwrap();
        for record in records {
            let length = log.append(RecordKind::Spans, record).unwrap();
            log.sync(length).unwrap();
        }
        std::fs::read(path).unwrap()
    }

    #[test]
    fn a_log_is_read_up_to_the_first_record_that_is_cut_off() {
        let bytes = log(&[b"one", b"two"]);
        for length in 0..bytes.len() {
            let read = LogRecords::read(&bytes[..length]);
            assert!(read.records.len() < 2, "{length}");
            assert!(read.intact_bytes <= length);
        }
        let read = LogRecords::read(&bytes);
        let payloads: Vec<&[u8]> = read.records.iter().map(|record| record.payload).collect();
        assert_eq!(payloads, [b"one", b"two"]);
        assert_eq!(read.intact_bytes, bytes.len());
    }

    #[test]
    fn a_flipped_bit_ends_the_log() {
        let bytes = log(&[b"one", b"two"]);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert!(LogRecords::read(&damaged).records.len() < 2, "{at}");
        }
    }

    #[test]
    fn a_resumed_log_continues_behind_its_intact_part() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.log");
        let mut bytes = log(&[b"one", b"two"]);
        bytes.truncate(bytes.len() - 1);
        std::fs::write(&path, &bytes).unwrap();
        let intact = LogRecords::read(&bytes).intact_bytes as u64;
        let resumed = LogWriter::resume(path.clone(), intact).unwrap();
        resumed.append(RecordKind::Fragments, b"three").unwrap();
        let bytes = std::fs::read(path).unwrap();
        let read = LogRecords::read(&bytes);
        let payloads: Vec<&[u8]> = read.records.iter().map(|record| record.payload).collect();
        assert_eq!(payloads, [b"one".as_slice(), b"three"]);
    }
}
