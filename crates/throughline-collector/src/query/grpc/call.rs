//! A call of gRPC whose request is one small message.

use std::io::Read as _;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use prost::Message;
use throughline_store::Store;

use crate::grpc_message::{
    self, MESSAGE_PREFIX_BYTES, MessageFrames, error_response, is_grpc, not_grpc_response,
};
use crate::ingest::{ContentCodings, IngestError};
use crate::query::state::{QueryError, QueryState};

/// Maximum size of a request, as sent and inflated: room for the ids of the traces of a search.
const MAX_REQUEST_BYTES: usize = 64 << 10;

/// Time that a request has to arrive once its head is there.
const REQUEST_READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers a call: reads its message and runs `query`, which writes the messages of the response.
pub(super) async fn answer<M, F>(
    State(state): State<QueryState>,
    headers: HeaderMap,
    body: Body,
    query: F,
) -> Response
where
    M: Message + Default + 'static,
    F: FnOnce(&dyn Store, M) -> Result<MessageFrames, QueryError> + Send + 'static,
{
    if !is_grpc(&headers) {
        return not_grpc_response();
    }
    let message = match read_message(&headers, body).await {
        Ok(message) => message,
        Err(error) => return error_response(&error),
    };
    // Decoded with a permit: a message takes many times the memory of its bytes.
    let response = state.run(move |store| Ok(query(store, decode(message)?)?.into_bytes()));
    match response.await {
        Ok(frames) => grpc_message::success_response(frames),
        Err(error) => error.into_grpc_status().into_http(),
    }
}

/// Answers a call whose response is one message.
pub(super) async fn answer_one<M, R, F>(
    state: State<QueryState>,
    headers: HeaderMap,
    body: Body,
    query: F,
) -> Response
where
    M: Message + Default + 'static,
    R: Message,
    F: FnOnce(&dyn Store, M) -> Result<R, QueryError> + Send + 'static,
{
    let query = move |store: &dyn Store, request: M| {
        let mut frames = MessageFrames::default();
        frames.push(&query(store, request)?.encode_to_vec());
        Ok(frames)
    };
    answer(state, headers, body, query).await
}

/// Reads the message of a request, with its compression.
async fn read_message(
    headers: &HeaderMap,
    body: Body,
) -> Result<(ContentCodings, Bytes), IngestError> {
    let body = read_body(body).await?;
    let codings = grpc_message::parse_prefix(&body, headers)?;
    Ok((codings, body.slice(MESSAGE_PREFIX_BYTES..)))
}

fn decode<M: Message + Default>(
    (codings, mut message): (ContentCodings, Bytes),
) -> Result<M, QueryError> {
    let invalid = |error: &dyn std::fmt::Display| QueryError::Invalid(error.to_string());
    for coding in codings.removal_order() {
        let failed = |error| invalid(&IngestError::Inflate(coding.name(), error));
        let mut inflated = Vec::new();
        let decoder = coding.decoder(&message).map_err(failed)?;
        // One byte more than allowed shows that there is more.
        let mut decoder = decoder.take(MAX_REQUEST_BYTES as u64 + 1);
        decoder.read_to_end(&mut inflated).map_err(failed)?;
        drop(decoder);
        if inflated.len() > MAX_REQUEST_BYTES {
            return Err(QueryError::TooLarge(
                IngestError::TooLarge(MAX_REQUEST_BYTES).to_string(),
            ));
        }
        message = inflated.into();
    }
    M::decode(message).map_err(|error| invalid(&error))
}

async fn read_body(body: Body) -> Result<Bytes, IngestError> {
    let body = Limited::new(body, MAX_REQUEST_BYTES + MESSAGE_PREFIX_BYTES);
    let body = tokio::time::timeout(REQUEST_READ_TIMEOUT, body.collect()).await;
    let body = body.map_err(|_| IngestError::Timeout)?;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            IngestError::TooLarge(MAX_REQUEST_BYTES)
        } else {
            IngestError::BodyRead(axum::Error::new(error))
        }
    })?;
    Ok(body.to_bytes())
}
