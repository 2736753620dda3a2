//! The content codings of bodies: `gzip`, `deflate`, `zlib` and `zstd`, alone or in sequence.
//!
//! The names are those of RFC 9110, section 8.4.1, plus `zlib`, which the OpenTelemetry Collector
//! accepts for the same format as `deflate`. They are read case-insensitively, as the RFC requires.

use std::io::{self, Read};

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use super::error::IngestError;

/// Maximum number of codings that one body may be wrapped in.
const MAX_CODINGS: usize = 2;

/// The base-2 logarithm of the largest window that a zstd frame may ask for. The window is
/// allocated before the data is known; RFC 9659 limits it to 8 MiB for this coding.
const MAX_ZSTD_WINDOW_LOG: u32 = 23;

/// The compression of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentCoding {
    Gzip,
    /// The zlib format, or raw deflate from clients that mistake the name for it.
    Deflate,
    Zstd,
}

/// The codings of a body in the order of their application; empty for a body as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ContentCodings([Option<ContentCoding>; MAX_CODINGS]);

// === impl ContentCoding ===

impl ContentCoding {
    /// Returns the name for error messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
        }
    }

    /// Returns a reader of the inflated data.
    pub(crate) fn decoder<'a>(self, bytes: &'a [u8]) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            // A body may consist of several gzip members (RFC 1952, section 2.2).
            Self::Gzip => Box::new(MultiGzDecoder::new(bytes)),
            Self::Deflate if has_zlib_header(bytes) => Box::new(ZlibDecoder::new(bytes)),
            Self::Deflate => Box::new(DeflateDecoder::new(bytes)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
                decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        })
    }
}

/// Returns whether the bytes begin with the header of RFC 1950: method 8, and a check that makes
/// the first two bytes a multiple of 31. A raw deflate stream that begins so would have to start
/// with a block of a reserved type or with a stored block of improbable padding.
fn has_zlib_header(bytes: &[u8]) -> bool {
    matches!(bytes, &[method, flags, ..]
        if method & 0x0f == 8 && u16::from_be_bytes([method, flags]).is_multiple_of(31))
}

// === impl ContentCodings ===

impl ContentCodings {
    /// Reads the `content-encoding` header.
    pub(super) fn from_headers(headers: &HeaderMap) -> Result<Self, IngestError> {
        // A list may be split over several header lines (RFC 9110, section 5.3).
        let names = headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let mut codings = Self::default();
        let mut free = codings.0.iter_mut();
        for name in names {
            let Some(coding) = Self::parse(name)? else {
                continue;
            };
            *free.next().ok_or_else(|| unsupported(name))? = Some(coding);
        }
        Ok(codings)
    }

    /// Reads one name, as in the `grpc-encoding` header.
    pub(crate) fn from_name(name: &[u8]) -> Result<Self, IngestError> {
        Ok(Self([Self::parse(name)?, None]))
    }

    /// Returns the codings in the order in which they are removed: the last one first.
    pub(crate) fn removal_order(self) -> impl Iterator<Item = ContentCoding> {
        self.0.into_iter().rev().flatten()
    }

    /// Parses a name; `None` for the identity.
    fn parse(name: &[u8]) -> Result<Option<ContentCoding>, IngestError> {
        let name = name.trim_ascii();
        match name.to_ascii_lowercase().as_slice() {
            b"" | b"identity" => Ok(None),
            // RFC 9110, section 8.4.1.3: recipients treat `x-gzip` as `gzip`.
            b"gzip" | b"x-gzip" => Ok(Some(ContentCoding::Gzip)),
            b"deflate" | b"zlib" => Ok(Some(ContentCoding::Deflate)),
            b"zstd" => Ok(Some(ContentCoding::Zstd)),
            _ => Err(unsupported(name)),
        }
    }
}

fn unsupported(name: &[u8]) -> IngestError {
    IngestError::UnsupportedEncoding(String::from_utf8_lossy(name).into_owned())
}
