//! The headers of a Kafka record as carriers of a context.
//!
//! rdkafka's safe view of headers panics on a key that is not UTF-8 and can only append, so reading and replacing go
//! through librdkafka itself. All `unsafe` code of this crate is in this module. It rests on two facts of rdkafka 0.39:
//! a `&BorrowedHeaders` *is* the address of librdkafka's `rd_kafka_headers_t`, and an `OwnedHeaders` is its only owner.
#![expect(
    unsafe_code,
    reason = "rdkafka's safe API panics on header keys that are not UTF-8 and cannot replace"
)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;

use rdkafka::message::{BorrowedHeaders, OwnedHeaders};
use rdkafka_sys::{
    self as native, rd_kafka_headers_t, rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
};
use throughline_model::context::{Carrier, CarrierMut};

/// Headers to read.
pub(crate) struct Received<'a>(pub(crate) &'a BorrowedHeaders);

/// Headers to read and write. Entries under other names keep their bytes, their order and their number.
pub(crate) struct Outgoing {
    headers: OwnedHeaders,
    /// Whether the application had headers. In new ones there is nothing to look for: a propagation writes no name twice.
    inherited: bool,
}

/// Headers of the names that opentracing-kafka-client up to 0.1.2 gave to the consumer's context. Read, never written.
pub(crate) struct SecondSpan<'a, C>(pub(crate) &'a C);

const SECOND_SPAN: &str = "second_span_";

// === impl Received ===

impl Carrier for Received<'_> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
        each(self.0, visit);
    }
}

// === impl Outgoing ===

impl Outgoing {
    /// Takes over the application's headers, if it gave any.
    pub(crate) fn new(headers: Option<OwnedHeaders>, more: usize) -> Self {
        let inherited = headers.is_some();
        Self {
            headers: headers.unwrap_or_else(|| OwnedHeaders::new_with_capacity(more)),
            inherited,
        }
    }

    pub(crate) fn into_inner(self) -> OwnedHeaders {
        self.headers
    }

    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "the pointer is for writing"
    )]
    fn native(&mut self) -> *mut rd_kafka_headers_t {
        ptr::from_ref(self.headers.as_borrowed()).cast_mut().cast()
    }
}

impl Carrier for Outgoing {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
        each(self.headers.as_borrowed(), visit);
    }
}

impl CarrierMut for Outgoing {
    fn replace(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        let (Ok(name_length), Ok(value_length)) =
            (isize::try_from(name.len()), isize::try_from(value.len()))
        else {
            return;
        };
        let headers = self.native();
        let (name, value) = (
            name.as_ptr().cast::<c_char>(),
            value.as_ptr().cast::<c_void>(),
        );
        // SAFETY: `headers` is live and ours alone (`&mut self` on the owner). Name and value are readable for the
        // lengths given, and librdkafka copies both. It returns an error only for read-only headers, which those of an
        // `OwnedHeaders` never are; the record then goes out without a context.
        unsafe { native::rd_kafka_header_add(headers, name, name_length, value, value_length) };
    }

    fn remove(&mut self, name: &str) {
        if !self.inherited {
            return;
        }
        // librdkafka removes by exact name; a header may be there in another case.
        let mut found: Vec<CString> = Vec::new();
        each(self.headers.as_borrowed(), &mut |key, _| {
            if key.eq_ignore_ascii_case(name.as_bytes())
                && !found.iter().any(|one| one.as_bytes() == key)
            {
                found.extend(CString::new(key));
            }
        });
        for key in &found {
            let headers = self.native();
            // SAFETY: `headers` is live and ours alone, as above; `key` is a C string that outlives the call.
            unsafe { native::rd_kafka_header_remove(headers, key.as_ptr()) };
        }
    }
}

// === impl SecondSpan ===

impl<C: Carrier> Carrier for SecondSpan<'_, C> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
        self.0.each(&mut |key, value| {
            if let Some(name) = key.strip_prefix(SECOND_SPAN.as_bytes()) {
                visit(name, value);
            }
        });
    }
}

/// Visits all headers in order, whatever bytes they hold.
fn each<'a>(headers: &'a BorrowedHeaders, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
    let list: *const rd_kafka_headers_t = ptr::from_ref(headers).cast();
    for index in 0.. {
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0usize);
        // SAFETY: `list` is a live `rd_kafka_headers_t` as long as `headers` is borrowed (see the module's words), and
        // the out-pointers are local. Past the last header it returns an error and writes nothing.
        let result = unsafe {
            native::rd_kafka_header_get_all(list, index, &mut name, &mut value, &mut size)
        };
        if result != RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
            return;
        }
        // SAFETY: on success the name is a C string that lives as long as the headers, which stay borrowed for `'a`.
        let name = unsafe { CStr::from_ptr::<'a>(name) };
        let value = (!value.is_null()).then(|| {
            // SAFETY: on success a value that is not null is readable for `size` bytes as long as the headers live.
            unsafe { std::slice::from_raw_parts::<'a, u8>(value.cast(), size) }
        });
        visit(name.to_bytes(), value);
    }
}

#[cfg(test)]
mod tests;
