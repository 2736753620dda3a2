//! Protocol detection by the first bytes of a connection.
//!
//! A wrong guess must not harm traffic: a session passes bytes unchanged when they turn out not to
//! be Kafka, and an unknown protocol passes as plain bytes.

/// The client's connection preface in HTTP/2 (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A server's first HTTP/2 frame header after its length (RFC 9113, sections 4.1 and 6.5):
/// SETTINGS without flags on stream 0.
const HTTP2_SETTINGS: &[u8] = &[4, 0, 0, 0, 0, 0];

/// Bytes of the length in an HTTP/2 frame header.
const HTTP2_LENGTH_BYTES: usize = 3;

/// The first byte of a TLS record with a handshake message (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// The least size of a Kafka request, without the size itself.
const MIN_KAFKA_REQUEST_BYTES: i32 = 10;

/// Above all API keys and versions of today, so that requests of future clients are recognised.
const MAX_API_KEY: i16 = 255;
const MAX_API_VERSION: i16 = 31;

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;

/// The longest client id that is taken for one.
const MAX_CLIENT_ID_BYTES: i16 = 1024;

/// Methods of RFC 9110 and PATCH (RFC 5789). CONNECT is missing on purpose.
const METHODS: [&[u8]; 8] = [
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE",
];

/// The longest registered method has 17 letters.
const MAX_METHOD_BYTES: usize = 24;

/// The bytes that detection looks at. It does not wait for the end of a longer request line.
pub(crate) const MAX_DETECTION_BYTES: usize = 2048;

/// The bytes of a server that [`is_server_first`] looks at.
pub(crate) const SERVER_GREETING_BYTES: usize = HTTP2_LENGTH_BYTES + HTTP2_SETTINGS.len();

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum DetectedProtocol {
    Http1,
    Http2,
    Kafka,
    Tls,
    Unknown,
}

// === impl DetectedProtocol ===

impl DetectedProtocol {
    pub(crate) const ALL: [Self; 5] = [
        Self::Http1,
        Self::Http2,
        Self::Kafka,
        Self::Tls,
        Self::Unknown,
    ];

    /// Detects the protocol on a listener that any protocol may come to. Returns `None` while the
    /// bytes may belong to several protocols.
    pub(crate) fn of_any(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [TLS_HANDSHAKE, ..] => Some(Self::Tls),
            // The first request of a Kafka connection is shorter than 16 MiB.
            [0, ..] => detect_kafka(bytes),
            _ if bytes.starts_with(HTTP2_PREFACE) => Some(Self::Http2),
            _ if HTTP2_PREFACE.starts_with(bytes) => None,
            _ => detect_http1(bytes),
        }
    }

    /// Detects the version on a listener for HTTP alone. Returns `None` while it may be either.
    pub(crate) fn of_http(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(HTTP2_PREFACE) {
            Some(Self::Http2)
        } else if HTTP2_PREFACE.starts_with(bytes) {
            None
        } else {
            // The HTTP/1 parser answers anything that is not a request with 400.
            Some(Self::Http1)
        }
    }

    /// Returns the value of the metric label.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Kafka => "kafka",
            Self::Tls => "tls",
            Self::Unknown => "other",
        }
    }
}

/// Returns whether a server's first bytes belong to a protocol in which the server speaks first.
/// Returns `None` while they may still be HTTP/2's SETTINGS, which gRPC servers send at once.
pub(crate) fn is_server_first(bytes: &[u8]) -> Option<bool> {
    match bytes {
        [] | [0] | [0, 0] => None,
        [_, _, _, rest @ ..] if rest == HTTP2_SETTINGS => Some(false),
        [_, _, _, rest @ ..] if HTTP2_SETTINGS.starts_with(rest) => None,
        _ => Some(true),
    }
}

fn detect_http1(bytes: &[u8]) -> Option<DetectedProtocol> {
    let method = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-')
        .count();
    let (method, target) = match (bytes.get(..method), bytes.get(method..)) {
        (Some(_), Some([])) if method <= MAX_METHOD_BYTES => return None,
        (Some(method), Some([b' ', target @ ..]))
            if (1..=MAX_METHOD_BYTES).contains(&method.len()) =>
        {
            (method, target)
        }
        _ => return Some(DetectedProtocol::Unknown),
    };
    // Many protocols begin with a word in capitals and a space (`EHLO here`, `SET key`, RTSP's
    // `OPTIONS *`), so the whole request line is needed, or the beginning of a very long one.
    let is_request = match bytes.split_inclusive(|byte| *byte == b'\n').next() {
        Some(line) if line.ends_with(b"\n") => {
            let line = line.trim_ascii_end();
            line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0")
        }
        _ if bytes.len() < MAX_DETECTION_BYTES => return None,
        _ => {
            METHODS.contains(&method)
                && (target.starts_with(b"/") || target.starts_with(b"http://"))
        }
    };
    // A CONNECT request opens a tunnel through another proxy: its bytes pass as they are.
    Some(if is_request && method != b"CONNECT" {
        DetectedProtocol::Http1
    } else {
        DetectedProtocol::Unknown
    })
}

/// Checks the fields that every Kafka request begins with (`RequestHeader` versions 1 and 2): size,
/// API key, version, correlation id and client id. Other protocols with a leading length fail it.
fn detect_kafka(bytes: &[u8]) -> Option<DetectedProtocol> {
    let (size, rest) = bytes.split_first_chunk::<4>()?;
    let size = i32::from_be_bytes(*size);
    let (api, rest) = rest.split_first_chunk::<2>()?;
    let (version, rest) = rest.split_first_chunk::<2>()?;
    let (api, version) = (i16::from_be_bytes(*api), i16::from_be_bytes(*version));
    let min_version = match api {
        // Clients of today use no older versions (KIP-896), and none of them is traced.
        PRODUCE => 3,
        FETCH => 4,
        _ => 0,
    };
    if size < MIN_KAFKA_REQUEST_BYTES
        || !(0..=MAX_API_KEY).contains(&api)
        || !(min_version..=MAX_API_VERSION).contains(&version)
    {
        return Some(DetectedProtocol::Unknown);
    }
    let (_correlation_id, rest) = rest.split_first_chunk::<4>()?;
    let (client_id_bytes, rest) = rest.split_first_chunk::<2>()?;
    let client_id_bytes = i16::from_be_bytes(*client_id_bytes);
    // A null client id has length -1.
    if !(-1..=MAX_CLIENT_ID_BYTES).contains(&client_id_bytes)
        || i32::from(client_id_bytes) > size - MIN_KAFKA_REQUEST_BYTES
    {
        return Some(DetectedProtocol::Unknown);
    }
    let client_id = rest.get(..usize::try_from(client_id_bytes).unwrap_or_default())?;
    let is_text =
        std::str::from_utf8(client_id).is_ok_and(|text| !text.chars().any(char::is_control));
    Some(if is_text {
        DetectedProtocol::Kafka
    } else {
        DetectedProtocol::Unknown
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_identify_the_protocol() {
        let api_versions = b"\0\0\0\x24\0\x12\0\x03\0\0\0\x01\0\x07rdkafka\0";
        let postgres_startup =
            b"\0\0\0\x6e\0\x03\0\0user\0alice\0database\0shop\0client_encoding\0UTF8\0\
            DateStyle\0ISO\0TimeZone\0Europe/Berlin\0extra_float_digits\0\x32\0\0";
        let postgres = b"\0\0\0\x08\x04\xd2\x16\x2f";
        let zookeeper = b"\0\0\0\x2c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x75\x30\0\0\0\0\0\0\0\0\0\0\0\x10";
        let gearman = b"\0REQ\0\0\0\x07\0\0\0\x12reverse\0job\0workload";
        for (bytes, detected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(DetectedProtocol::Http1)),
            (b"GET / HTTP/1.0\n", Some(DetectedProtocol::Http1)),
            (
                b"POST http://a/ HTTP/1.1\r\n",
                Some(DetectedProtocol::Http1),
            ),
            (b"OPTIONS * HTTP/1.1\r\n", Some(DetectedProtocol::Http1)),
            (b"PROPFIND /a HTTP/1.1\r\n", Some(DetectedProtocol::Http1)),
            (
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                Some(DetectedProtocol::Http2),
            ),
            (b"PRI * HTTP", None),
            (b"GET", None),
            (b"GET / HTTP/1.1", None),
            (b"CONNECT a:1 HTTP/1.1\r\n", Some(DetectedProtocol::Unknown)),
            (b"GET key\r\n", Some(DetectedProtocol::Unknown)),
            (b"OPTIONS * RTSP/1.0\r\n", Some(DetectedProtocol::Unknown)),
            (b"EHLO here\r\n", Some(DetectedProtocol::Unknown)),
            (b"CWD /home\r\n", Some(DetectedProtocol::Unknown)),
            (b"SSH-2.0-x", Some(DetectedProtocol::Unknown)),
            (b"*1\r\n$4\r\nPING\r\n", Some(DetectedProtocol::Unknown)),
            (b"\x16\x03\x01", Some(DetectedProtocol::Tls)),
            (api_versions, Some(DetectedProtocol::Kafka)),
            (&api_versions[..13], None),
            (
                b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff",
                Some(DetectedProtocol::Kafka),
            ),
            (
                b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\0\x01",
                Some(DetectedProtocol::Unknown),
            ),
            (postgres, Some(DetectedProtocol::Unknown)),
            (postgres_startup, Some(DetectedProtocol::Unknown)),
            (zookeeper, Some(DetectedProtocol::Unknown)),
            (gearman, Some(DetectedProtocol::Unknown)),
            (
                b"\0\x1d\xab\xcd\0\0\0\x01\0\0\0\0\0\0\x01a\0",
                Some(DetectedProtocol::Unknown),
            ),
            (b"\0\x01\0\0\0\x06\0\x03\0\0\0\x0a", None),
            (b"\0\0\0\x01", None),
        ] {
            assert_eq!(
                DetectedProtocol::of_any(bytes),
                detected,
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn http_listener_needs_the_preface_to_choose_http2() {
        for (bytes, protocol) in [
            (&b""[..], None),
            (b"P", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", None),
            (
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0",
                Some(DetectedProtocol::Http2),
            ),
            (b"G", Some(DetectedProtocol::Http1)),
            (b"POST / HTTP/1.1\r\n", Some(DetectedProtocol::Http1)),
            (b"\x16\x03\x01", Some(DetectedProtocol::Http1)),
        ] {
            assert_eq!(
                DetectedProtocol::of_http(bytes),
                protocol,
                "{}",
                bytes.escape_ascii()
            );
        }
    }
}
