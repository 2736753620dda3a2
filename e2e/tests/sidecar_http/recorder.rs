//! A service that reads HTTP/1.1 as strictly as its grammar is written, and keeps what it read.
//!
//! What a lenient server could take for something else is [`RecordedInput::Odd`] here, so what passes is read alike by all.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use throughline_testkit::wait;

use crate::fixture::PATIENCE;

pub(crate) struct RequestRecorder {
    address: SocketAddr,
    kept: Arc<RecorderState>,
}

/// What came on a connection, piece by piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RecordedInput {
    Request(WholeRequest),
    /// It ended in the middle of one.
    Cut(String),
    Odd(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WholeRequest {
    /// Method and target.
    pub(crate) asks: String,
    /// Names in small letters.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: String,
}

#[derive(Default)]
struct RecorderState {
    seen: Mutex<Vec<RecordedInput>>,
    /// Connections on which a request has begun that is not over.
    busy: AtomicUsize,
}

// === impl Recorder ===

impl RequestRecorder {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, kept) = (
            listener.local_addr().unwrap(),
            Arc::<RecorderState>::default(),
        );
        let keep = Arc::clone(&kept);
        // Ends with the program.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let keep = Arc::clone(&keep);
                thread::spawn(move || keep.serve(stream));
            }
        });
        Self { address, kept }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has come since the last time, once no request is in the middle.
    pub(crate) fn take(&self) -> Vec<RecordedInput> {
        let rests = || (self.kept.busy.load(Ordering::SeqCst) == 0).then_some(());
        wait::until(PATIENCE, rests).expect("every request that has begun ends");
        std::mem::take(&mut *self.kept.seen.lock().unwrap())
    }
}

// === impl Kept ===

impl RecorderState {
    fn serve(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while stream.fill_buf().is_ok_and(|bytes| !bytes.is_empty()) {
            self.busy.fetch_add(1, Ordering::SeqCst);
            let seen = read(&mut stream);
            let is_whole = matches!(seen, RecordedInput::Request(_));
            self.seen.lock().unwrap().push(seen);
            self.busy.fetch_sub(1, Ordering::SeqCst);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            if !is_whole || stream.get_mut().write_all(answer).is_err() {
                return;
            }
        }
    }
}

fn read(stream: &mut BufReader<TcpStream>) -> RecordedInput {
    let mut all = Vec::new();
    match request(stream, &mut all) {
        Ok(request) => RecordedInput::Request(request),
        Err(GrammarError::Cut) => RecordedInput::Cut(String::from_utf8_lossy(&all).into_owned()),
        Err(GrammarError::Odd(what)) => {
            RecordedInput::Odd(format!("{what} in {:?}", String::from_utf8_lossy(&all)))
        }
    }
}

enum GrammarError {
    Cut,
    Odd(&'static str),
}

/// RFC 9112, with nothing of what it lets a recipient forgive.
fn request(
    stream: &mut BufReader<TcpStream>,
    all: &mut Vec<u8>,
) -> Result<WholeRequest, GrammarError> {
    let first = line(stream, all)?;
    let asks = first
        .strip_suffix(" HTTP/1.1")
        .ok_or(GrammarError::Odd("a version"))?
        .to_owned();
    let targets = asks.split(' ').collect::<Vec<_>>();
    if targets.len() != 2 || targets.iter().any(|part| part.is_empty()) {
        return Err(GrammarError::Odd("a request line"));
    }
    let fields = fields(stream, all)?;
    let values = |name: &str| {
        fields
            .iter()
            .filter(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
            .collect()
    };
    let (hosts, lengths, codings): (Vec<&str>, Vec<&str>, Vec<&str>) = (
        values("host"),
        values("content-length"),
        values("transfer-encoding"),
    );
    if hosts.len() != 1 {
        return Err(GrammarError::Odd("not one host"));
    }
    let body = match (&lengths[..], &codings[..]) {
        ([], []) => Vec::new(),
        ([length], [])
            if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            exactly(
                stream,
                all,
                length.parse().map_err(|_| GrammarError::Odd("a length"))?,
            )?
        }
        ([], ["chunked"]) => chunks(stream, all)?,
        _ => return Err(GrammarError::Odd("lengths")),
    };
    Ok(WholeRequest {
        asks,
        fields,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

fn fields(
    stream: &mut BufReader<TcpStream>,
    all: &mut Vec<u8>,
) -> Result<Vec<(String, String)>, GrammarError> {
    let mut fields = Vec::new();
    loop {
        let line = line(stream, all)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) = line.split_once(':').ok_or(GrammarError::Odd("no colon"))?;
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(GrammarError::Odd("a name"));
        }
        if value
            .bytes()
            .any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f)
        {
            return Err(GrammarError::Odd("a control byte"));
        }
        fields.push((
            name.to_ascii_lowercase(),
            value.trim_matches([' ', '\t']).to_owned(),
        ));
    }
}

fn chunks(stream: &mut BufReader<TcpStream>, all: &mut Vec<u8>) -> Result<Vec<u8>, GrammarError> {
    let mut body = Vec::new();
    loop {
        let size = line(stream, all)?;
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(GrammarError::Odd("a chunk's size"));
        }
        let size =
            usize::from_str_radix(&size, 16).map_err(|_| GrammarError::Odd("a chunk's size"))?;
        if size == 0 {
            let trailers = fields(stream, all)?;
            let is_framing =
                |name: &str| ["host", "content-length", "transfer-encoding"].contains(&name);
            let are_safe = trailers.iter().all(|(name, _)| !is_framing(name));
            return if are_safe {
                Ok(body)
            } else {
                Err(GrammarError::Odd("a trailer that belongs to the head"))
            };
        }
        body.extend(exactly(stream, all, size)?);
        if exactly(stream, all, 2)? != b"\r\n" {
            return Err(GrammarError::Odd("a chunk's end"));
        }
    }
}

/// A line, without its end, in which there is no other.
fn line(stream: &mut BufReader<TcpStream>, all: &mut Vec<u8>) -> Result<String, GrammarError> {
    let begin = all.len();
    stream
        .read_until(b'\n', all)
        .map_err(|_| GrammarError::Cut)?;
    let line = all[begin..].strip_suffix(b"\n").ok_or(GrammarError::Cut)?;
    let line = line
        .strip_suffix(b"\r")
        .ok_or(GrammarError::Odd("a lone line feed"))?;
    if line.contains(&b'\r') || line.contains(&0) {
        return Err(GrammarError::Odd("a control byte"));
    }
    Ok(String::from_utf8_lossy(line).into_owned())
}

fn exactly(
    stream: &mut BufReader<TcpStream>,
    all: &mut Vec<u8>,
    count: usize,
) -> Result<Vec<u8>, GrammarError> {
    let begin = all.len();
    let limit = u64::try_from(count).map_err(|_| GrammarError::Odd("a length"))?;
    stream
        .by_ref()
        .take(limit)
        .read_to_end(all)
        .map_err(|_| GrammarError::Cut)?;
    let bytes = all[begin..].to_vec();
    if bytes.len() == count {
        Ok(bytes)
    } else {
        Err(GrammarError::Cut)
    }
}
