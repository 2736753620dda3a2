//! Interface of handlers: a message comes in, a decision goes out.

use bytes::Bytes;
use throughline_kafka::message::ParseOutcome;
use throughline_kafka::wire::Error;

pub(in crate::kafka) use super::api_frame::ApiFrame;
use super::context::HandlerContext;
use super::produce::original::OriginalProduce;

/// Decision about a request.
#[derive(Debug)]
pub(in crate::kafka) struct RequestDecision<P> {
    /// State for the response; [`None`] when the broker sends none.
    pub(in crate::kafka) pending: Option<P>,
    /// Frame to forward in place of the request, in pieces.
    pub(in crate::kafka) replacement: Option<Vec<Bytes>>,
    /// Original of the request, to be sent again if the broker refuses the change.
    pub(in crate::kafka) original: Option<Box<OriginalProduce>>,
}

/// Handler of a group of APIs.
pub(super) trait Handler<C> {
    /// State between a request and its response.
    type Pending;

    /// Reads a request.
    ///
    /// # Errors
    /// When the body is malformed; the request is then to pass unmodified.
    fn on_request(
        &mut self,
        context: &mut HandlerContext<C>,
        request: &ApiFrame<'_>,
    ) -> Result<ParseOutcome<RequestDecision<Self::Pending>>, Error>;

    /// Reads the response to a request. Returns the frame to forward in its place, if it changes.
    fn on_response(
        &mut self,
        context: &mut HandlerContext<C>,
        pending: Self::Pending,
        response: &ApiFrame<'_>,
    ) -> Option<Bytes>;
}

// === impl RequestDecision ===

impl<P> RequestDecision<P> {
    /// Forwards the request unmodified and keeps `pending` for the response.
    pub(in crate::kafka) const fn forward(pending: P) -> Self {
        Self {
            pending: Some(pending),
            replacement: None,
            original: None,
        }
    }

    /// Converts the state for the response.
    pub(in crate::kafka) fn map<Q>(self, convert: impl FnOnce(P) -> Q) -> RequestDecision<Q> {
        RequestDecision {
            pending: self.pending.map(convert),
            replacement: self.replacement,
            original: self.original,
        }
    }
}
