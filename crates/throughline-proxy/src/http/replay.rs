//! Requests that can be sent again: their head, and the part of their body that has been sent.
//!
//! A request body yields its bytes once, so the first ones are kept until the upstream responds. A
//! request whose body is longer can be sent again only before it has begun.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use http_body::{Body, Frame, SizeHint};

use super::http1_io::RequestSource;
use super::idle_tracker::IdleTracker;
use super::interim_io::InterimResponses;
use super::request_body::{BodyProgress, RequestBody, RequestBodyError};

/// Body bytes from which on nothing more is kept.
const MAX_KEPT_BYTES: usize = 64 << 10;

/// A request to send, once or more often.
pub(super) struct ReplayableRequest {
    /// The head of the first attempt, until that begins.
    first: Option<Parts>,
    kept: KeptHead,
    /// The head as it was written on a connection that failed.
    written_head: Option<Vec<u8>>,
    /// The downstream connection, if its client can close one side of it.
    downstream: Option<IdleTracker>,
    /// Where interim responses go, if the client takes any.
    interim: Option<Arc<InterimResponses>>,
    progress: BodyProgress,
    /// [`None`] for a request without a body.
    body: Option<Arc<Mutex<ReplayBuffer>>>,
}

/// The head of a request, for further attempts. Few of them are made, so that this is made to cost
/// little: the values are in one buffer, and no reference of theirs is counted. How the names were
/// spelled is in the bytes that were written ([`ReplayableRequest::keep_written_head`]).
struct KeptHead {
    method: Method,
    uri: Uri,
    version: Version,
    fields: Vec<KeptField>,
    values: Vec<u8>,
}

/// A field of a [`KeptHead`].
struct KeptField {
    name: HeaderName,
    value_bytes: usize,
    is_sensitive: bool,
}

/// The body of one attempt to send a request.
pub(super) enum ReplayBody {
    Empty,
    Shared(SharedBody),
}

/// The body of one attempt; it ends with an error once another attempt has begun.
pub(super) struct SharedBody {
    state: Arc<Mutex<ReplayBuffer>>,
    attempt: usize,
    /// The next kept frame to yield.
    next: usize,
    /// Set when the request cannot be sent again any more.
    is_final: Option<Arc<AtomicBool>>,
}

struct ReplayBuffer {
    body: RequestBody,
    attempt: usize,
    /// Whether the current attempt has asked for the body.
    has_begun: bool,
    kept: Vec<KeptFrame>,
    kept_bytes: usize,
    /// Whether frames have been yielded that are not kept.
    is_consumed: bool,
    /// Whether the response has arrived: nothing more is kept.
    is_settled: bool,
    has_ended: bool,
}

#[derive(Clone)]
enum KeptFrame {
    Data(Bytes),
    Trailers(HeaderMap),
}

// === impl ReplayableRequest ===

impl ReplayableRequest {
    /// Takes a request, with its connection if the client can close one side of that.
    pub(super) fn new(
        request: Request<RequestBody>,
        downstream: Option<IdleTracker>,
        interim: Option<Arc<InterimResponses>>,
    ) -> Self {
        let (head, body) = request.into_parts();
        let progress = body.progress();
        let body = (!body.is_end_stream()).then(|| Arc::new(Mutex::new(ReplayBuffer::new(body))));
        Self {
            kept: KeptHead::of(&head),
            first: Some(head),
            written_head: None,
            downstream,
            interim,
            progress,
            body,
        }
    }

    /// Returns where the request comes from, if its client can close one side of the connection.
    /// The end of the body is recorded in the first attempt only.
    pub(super) fn source(&self) -> Option<RequestSource> {
        let is_first = self
            .body
            .as_ref()
            .is_none_or(|body| lock(body).attempt == 0);
        let connection = self.downstream.clone().filter(|_| is_first)?;
        Some(RequestSource {
            connection,
            body: self.progress.clone(),
        })
    }

    /// Whether the client may be gone: it has closed its side.
    pub(super) fn is_abandoned(&self) -> bool {
        let downstream = self.downstream.as_ref();
        downstream.is_some_and(IdleTracker::is_client_closed)
    }

    /// Whether the request may be sent again although the server may have processed it: it is
    /// idempotent (RFC 9110, section 9.2.2) and has no body.
    pub(super) fn is_repeatable(&self) -> bool {
        self.body.is_none()
            && [
                Method::GET,
                Method::HEAD,
                Method::OPTIONS,
                Method::TRACE,
                Method::PUT,
                Method::DELETE,
            ]
            .contains(&self.kept.method)
    }

    /// Whether the whole body can be sent, from its start.
    pub(super) fn is_available(&self) -> bool {
        self.body
            .as_ref()
            .is_none_or(|body| !lock(body).is_consumed)
    }

    /// Whether the request has a body of which the last attempt has sent nothing.
    pub(super) fn awaits_body(&self) -> bool {
        self.body.as_ref().is_some_and(|body| !lock(body).has_begun)
    }

    /// Returns the request for the next attempt. The body of the attempt before ends.
    pub(super) fn attempt(&mut self, is_final: Option<Arc<AtomicBool>>) -> Request<ReplayBody> {
        let body = self.body.as_ref().map_or(ReplayBody::Empty, |state| {
            let mut locked = lock(state);
            locked.attempt += 1;
            locked.has_begun = false;
            ReplayBody::Shared(SharedBody {
                state: Arc::clone(state),
                attempt: locked.attempt,
                next: 0,
                is_final,
            })
        });
        let head = self.first.take();
        let head = head.unwrap_or_else(|| self.kept.to_parts());
        let mut request = Request::from_parts(head, body);
        if let Some(interim) = self.interim.clone() {
            hyper::ext::on_informational(&mut request, move |response| {
                interim.send(response.status(), response.headers());
            });
        }
        request
    }

    /// Takes back the head of an attempt that was not written.
    pub(super) fn restore_head(&mut self, unsent: Request<ReplayBody>) {
        self.first = Some(unsent.into_parts().0);
    }

    /// Keeps the head of an attempt as it was written, for the next one.
    pub(super) fn keep_written_head(&mut self, head: Vec<u8>) {
        self.written_head = Some(head).filter(|head| !head.is_empty());
    }

    /// Takes the head as it was written before.
    pub(super) fn take_written_head(&mut self) -> Option<Vec<u8>> {
        self.written_head.take()
    }

    /// Frees what is kept: the upstream has responded.
    pub(super) fn settle(&self) {
        if let Some(body) = &self.body {
            let mut state = lock(body);
            state.is_settled = true;
        }
    }
}

// === impl KeptHead ===

impl KeptHead {
    fn of(head: &Parts) -> Self {
        let headers = &head.headers;
        let value_bytes = headers.values().map(HeaderValue::len).sum();
        let mut values = Vec::with_capacity(value_bytes);
        let mut fields = Vec::with_capacity(headers.len());
        for (name, value) in headers {
            values.extend_from_slice(value.as_bytes());
            fields.push(KeptField {
                name: name.clone(),
                value_bytes: value.len(),
                is_sensitive: value.is_sensitive(),
            });
        }
        Self {
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            fields,
            values,
        }
    }

    fn to_parts(&self) -> Parts {
        let mut headers = HeaderMap::with_capacity(self.fields.len());
        let mut rest = &*self.values;
        for field in &self.fields {
            let (value, further) = rest.split_at_checked(field.value_bytes).unwrap_or_default();
            rest = further;
            // It was a value before.
            if let Ok(mut value) = HeaderValue::from_bytes(value) {
                value.set_sensitive(field.is_sensitive);
                headers.append(&field.name, value);
            }
        }
        let mut parts = Request::new(()).into_parts().0;
        parts.method = self.method.clone();
        parts.uri = self.uri.clone();
        parts.version = self.version;
        parts.headers = headers;
        parts
    }
}

// === impl ReplayBuffer ===

impl ReplayBuffer {
    const fn new(body: RequestBody) -> Self {
        Self {
            body,
            attempt: 0,
            has_begun: false,
            kept: Vec::new(),
            kept_bytes: 0,
            is_consumed: false,
            is_settled: false,
            has_ended: false,
        }
    }

    /// Keeps a frame that is about to be yielded, unless that is of no use any more.
    fn keep(&mut self, frame: &Frame<Bytes>) -> bool {
        if self.is_consumed || self.is_settled || self.kept_bytes >= MAX_KEPT_BYTES {
            return false;
        }
        let kept = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => {
                self.kept_bytes = self.kept_bytes.saturating_add(data.len());
                KeptFrame::Data(data.clone())
            }
            (None, Some(trailers)) => KeptFrame::Trailers(trailers.clone()),
            (None, None) => return false,
        };
        self.kept.push(kept);
        true
    }
}

// === impl SharedBody ===

impl SharedBody {
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let mut state = lock(&self.state);
        if state.attempt != self.attempt {
            return Poll::Ready(Some(Err(RequestBodyError::Superseded)));
        }
        state.has_begun = true;
        if let Some(kept) = state.kept.get(self.next) {
            self.next += 1;
            return Poll::Ready(Some(Ok(kept.to_frame())));
        }
        if state.has_ended {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut state.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if self
                    .is_final
                    .as_ref()
                    .is_some_and(|flag| flag.load(Ordering::Acquire))
                {
                    state.is_settled = true;
                }
                if state.keep(frame) {
                    self.next += 1;
                } else {
                    state.is_consumed = true;
                    state.kept = Vec::new();
                    self.next = 0;
                }
            }
            Poll::Ready(Some(Err(_))) => state.is_consumed = true,
            Poll::Ready(None) => state.has_ended = true,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let state = lock(&self.state);
        state.attempt == self.attempt
            && self.next >= state.kept.len()
            && (state.has_ended || state.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let state = lock(&self.state);
        let kept = state.kept.iter().skip(self.next).map(KeptFrame::data_bytes);
        let (kept, rest) = (kept.sum::<u64>(), state.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(kept));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(kept));
        }
        hint
    }
}

// === impl KeptFrame ===

impl KeptFrame {
    fn to_frame(&self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data.clone()),
            Self::Trailers(trailers) => Frame::trailers(trailers.clone()),
        }
    }

    fn data_bytes(&self) -> u64 {
        match self {
            Self::Data(data) => u64::try_from(data.len()).unwrap_or_default(),
            Self::Trailers(_) => 0,
        }
    }
}

impl Body for ReplayBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Shared(body) => body.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Shared(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Shared(body) => body.size_hint(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_head_is_the_one_that_was_sent() {
        let request = Request::put("/a?b=c").version(Version::HTTP_11);
        let fields = [
            ("host", "a"),
            ("x-b", "1"),
            ("cookie", "c"),
            ("x-b", ""),
            ("x-b", "2"),
        ];
        let with_field =
            |request: http::request::Builder, (name, value)| request.header(name, value);
        let request = fields.into_iter().fold(request, with_field);
        let mut sent = request.body(()).unwrap().into_parts().0;
        let secret = HeaderValue::from_bytes(b"\xe9").map(|mut value| {
            value.set_sensitive(true);
            value
        });
        sent.headers.append("x-secret", secret.unwrap());

        let again = KeptHead::of(&sent).to_parts();
        assert_eq!((&again.method, &again.uri), (&sent.method, &sent.uri));
        assert_eq!(
            (again.version, &again.headers),
            (sent.version, &sent.headers)
        );
        assert!(again.headers["x-secret"].is_sensitive() && !again.headers["host"].is_sensitive());
        let names = |parts: &Parts| parts.headers.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&again), names(&sent));
    }
}
