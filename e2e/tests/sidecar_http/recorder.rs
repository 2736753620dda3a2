//! An HTTP service that parses HTTP/1.1 strictly and records the requests.
//!
//! Anything that a lenient server could read in another way is [`RecordedInput::Odd`], so all
//! servers read a recorded request alike.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use throughline_testkit::wait;

use crate::fixture::TIMEOUT;

pub(crate) struct RequestRecorder {
    address: SocketAddr,
    state: Arc<RecorderState>,
}

/// Input of a connection, request by request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RecordedInput {
    Request(WholeRequest),
    /// The connection ended in the middle of a request.
    Cut(String),
    Odd(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WholeRequest {
    /// Method and target.
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: String,
}

#[derive(Default)]
struct RecorderState {
    seen: Mutex<Vec<RecordedInput>>,
    /// Connections with an incomplete request.
    busy: AtomicUsize,
}

// === impl RequestRecorder ===

impl RequestRecorder {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, state) = (
            listener.local_addr().unwrap(),
            Arc::<RecorderState>::default(),
        );
        let shared = Arc::clone(&state);
        // The threads end with the test program.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                thread::spawn(move || state.serve(stream));
            }
        });
        Self { address, state }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the input since the last call, once no request is incomplete.
    pub(crate) fn take(&self) -> Vec<RecordedInput> {
        let rests = || (self.state.busy.load(Ordering::SeqCst) == 0).then_some(());
        wait::until(TIMEOUT, rests).expect("every started request ends");
        std::mem::take(&mut *self.state.seen.lock().unwrap())
    }
}

// === impl RecorderState ===

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

/// Parses a request by RFC 9112, without any of the leniency that it permits to recipients.
fn request(
    stream: &mut BufReader<TcpStream>,
    all: &mut Vec<u8>,
) -> Result<WholeRequest, GrammarError> {
    let first = line(stream, all)?;
    let request_line = first
        .strip_suffix(" HTTP/1.1")
        .ok_or(GrammarError::Odd("invalid version"))?
        .to_owned();
    let targets = request_line.split(' ').collect::<Vec<_>>();
    if targets.len() != 2 || targets.iter().any(|part| part.is_empty()) {
        return Err(GrammarError::Odd("invalid request line"));
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
        return Err(GrammarError::Odd("host fields: not exactly one"));
    }
    let body = match (&lengths[..], &codings[..]) {
        ([], []) => Vec::new(),
        ([length], [])
            if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            exactly(
                stream,
                all,
                length
                    .parse()
                    .map_err(|_| GrammarError::Odd("invalid length"))?,
            )?
        }
        ([], ["chunked"]) => chunks(stream, all)?,
        _ => return Err(GrammarError::Odd("lengths")),
    };
    Ok(WholeRequest {
        line: request_line,
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
        let (name, value) = line
            .split_once(':')
            .ok_or(GrammarError::Odd("field without a colon"))?;
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(GrammarError::Odd("invalid field name"));
        }
        if value
            .bytes()
            .any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f)
        {
            return Err(GrammarError::Odd("control byte"));
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
            return Err(GrammarError::Odd("invalid chunk size"));
        }
        let size = usize::from_str_radix(&size, 16)
            .map_err(|_| GrammarError::Odd("invalid chunk size"))?;
        if size == 0 {
            let trailers = fields(stream, all)?;
            let is_framing =
                |name: &str| ["host", "content-length", "transfer-encoding"].contains(&name);
            let are_safe = trailers.iter().all(|(name, _)| !is_framing(name));
            return if are_safe {
                Ok(body)
            } else {
                Err(GrammarError::Odd("framing or routing field in a trailer"))
            };
        }
        body.extend(exactly(stream, all, size)?);
        if exactly(stream, all, 2)? != b"\r\n" {
            return Err(GrammarError::Odd("invalid chunk end"));
        }
    }
}

/// Reads one line, without its end, that contains no other line end.
fn line(stream: &mut BufReader<TcpStream>, all: &mut Vec<u8>) -> Result<String, GrammarError> {
    let begin = all.len();
    stream
        .read_until(b'\n', all)
        .map_err(|_| GrammarError::Cut)?;
    let line = all[begin..].strip_suffix(b"\n").ok_or(GrammarError::Cut)?;
    let line = line
        .strip_suffix(b"\r")
        .ok_or(GrammarError::Odd("line feed without carriage return"))?;
    if line.contains(&b'\r') || line.contains(&0) {
        return Err(GrammarError::Odd("control byte"));
    }
    Ok(String::from_utf8_lossy(line).into_owned())
}

fn exactly(
    stream: &mut BufReader<TcpStream>,
    all: &mut Vec<u8>,
    count: usize,
) -> Result<Vec<u8>, GrammarError> {
    let begin = all.len();
    let limit = u64::try_from(count).map_err(|_| GrammarError::Odd("invalid length"))?;
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
