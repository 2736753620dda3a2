//! The headers of a Kafka record as carriers of a context.
//!
//! rdkafka's safe view of headers panics on a key that is not UTF-8 and can only append, so reading
//! and replacing use librdkafka directly. All `unsafe` code of this crate is in this module. It
//! relies on two facts of rdkafka 0.39: a `&BorrowedHeaders` *is* the address of librdkafka's
//! `rd_kafka_headers_t`, and an `OwnedHeaders` is its only owner.
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

/// The headers of a received record.
pub(crate) struct RecordHeaders<'a>(pub(crate) &'a BorrowedHeaders);

/// The headers of a record to send. Other headers keep their bytes and their order.
pub(crate) struct RecordHeadersMut {
    headers: OwnedHeaders,
    /// Whether the application set headers. New ones need no search: a propagation writes each name
    /// once.
    has_application_headers: bool,
}

/// The headers in which opentracing-kafka-client up to 0.1.2 stored the consumer's context. They
/// are read, never written.
pub(crate) struct SecondSpanHeaders<'a, C>(pub(crate) &'a C);

const SECOND_SPAN_PREFIX: &str = "second_span_";

// === impl RecordHeaders ===

impl<'h> RecordHeaders<'h> {
    /// Visits all headers in order; they live as long as the record.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(&'h [u8], Option<&'h [u8]>)) {
        each(self.0, visit);
    }
}

impl Carrier for RecordHeaders<'_> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
        each(self.0, visit);
    }
}

// === impl RecordHeadersMut ===

impl RecordHeadersMut {
    /// Takes the application's headers, or creates some with this capacity.
    pub(crate) fn new(headers: Option<OwnedHeaders>, capacity: usize) -> Self {
        let has_application_headers = headers.is_some();
        Self {
            headers: headers.unwrap_or_else(|| OwnedHeaders::new_with_capacity(capacity)),
            has_application_headers,
        }
    }

    pub(crate) fn into_inner(self) -> OwnedHeaders {
        self.headers
    }

    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "the pointer is used for writing"
    )]
    fn native(&mut self) -> *mut rd_kafka_headers_t {
        ptr::from_ref(self.headers.as_borrowed()).cast_mut().cast()
    }
}

impl Carrier for RecordHeadersMut {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
        each(self.headers.as_borrowed(), visit);
    }
}

impl CarrierMut for RecordHeadersMut {
    fn replace(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        // librdkafka takes signed lengths, where a negative one means a C string.
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
        // SAFETY: `headers` is live and not shared (`&mut self` on the owner). Name and value are
        // readable for the given lengths, and librdkafka copies both. It returns an error only for
        // read-only headers, which those of an `OwnedHeaders` never are; the record is then sent
        // without a context.
        unsafe { native::rd_kafka_header_add(headers, name, name_length, value, value_length) };
    }

    fn remove(&mut self, name: &str) {
        if !self.has_application_headers {
            return;
        }
        // librdkafka removes by exact name, and a header may have another case.
        let mut found: Vec<CString> = Vec::new();
        each(self.headers.as_borrowed(), &mut |key, _| {
            if key.eq_ignore_ascii_case(name.as_bytes())
                && !found.iter().any(|one| one.as_bytes() == key)
            {
                // A key with a NUL byte cannot exist in librdkafka, which stores C strings.
                found.extend(CString::new(key));
            }
        });
        for key in &found {
            let headers = self.native();
            // SAFETY: `headers` is live and not shared, as above; `key` is a C string that outlives
            // the call.
            unsafe { native::rd_kafka_header_remove(headers, key.as_ptr()) };
        }
    }
}

// === impl SecondSpanHeaders ===

impl<C: Carrier> Carrier for SecondSpanHeaders<'_, C> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
        self.0.each(&mut |key, value| {
            if let Some(name) = key.strip_prefix(SECOND_SPAN_PREFIX.as_bytes()) {
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
        // SAFETY: `list` is a live `rd_kafka_headers_t` as long as `headers` is borrowed (see the
        // module documentation), and the out-pointers are local. Past the last header it returns an
        // error and writes nothing.
        let result = unsafe {
            native::rd_kafka_header_get_all(list, index, &mut name, &mut value, &mut size)
        };
        // The error past the last header ends the iteration.
        if result != RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
            return;
        }
        // SAFETY: on success the name is a C string that lives as long as the headers, which are
        // borrowed for `'a`.
        let name = unsafe { CStr::from_ptr::<'a>(name) };
        let value = (!value.is_null()).then(|| {
            // SAFETY: on success a non-null value is readable for `size` bytes as long as the
            // headers live.
            unsafe { std::slice::from_raw_parts::<'a, u8>(value.cast(), size) }
        });
        visit(name.to_bytes(), value);
    }
}

#[cfg(test)]
mod tests;
