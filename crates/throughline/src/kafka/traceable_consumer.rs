//! The consumers of rdkafka that can be traced.

use std::sync::Arc;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, StreamConsumer};
use rdkafka::util::AsyncRuntime;

/// A consumer of rdkafka: a [`StreamConsumer`], a [`BaseConsumer`], or an `Arc` of either, which
/// partition queues need. Sealed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a consumer of rdkafka",
    note = "pass a `StreamConsumer`, a `BaseConsumer`, or an `Arc` of either"
)]
pub trait TraceableConsumer: sealed::Sealed {
    /// The consumer's context.
    type Context: ConsumerContext;
    /// The consumer without its `Arc`.
    type Client: Consumer<Self::Context>;
    /// Returns the consumer.
    fn client(&self) -> &Self::Client;
}

/// A consumer that receives asynchronously: a [`StreamConsumer`], or an `Arc` of one. Sealed.
pub trait TraceableStream: sealed::Sealed {
    /// The consumer's context.
    type Context: ConsumerContext + 'static;
    /// The runtime of its timers.
    type Runtime: AsyncRuntime;
    /// Returns the consumer.
    fn stream_consumer(&self) -> &StreamConsumer<Self::Context, Self::Runtime>;
}

/// A consumer that is polled: a [`BaseConsumer`], or an `Arc` of one. Sealed.
pub trait TraceablePoll: sealed::Sealed {
    /// The consumer's context.
    type Context: ConsumerContext;
    /// Returns the consumer.
    fn base_consumer(&self) -> &BaseConsumer<Self::Context>;
}

mod sealed {
    #[expect(unnameable_types, reason = "so that no other crate implements it")]
    pub trait Sealed {}
}

impl<X: ConsumerContext + 'static, R> sealed::Sealed for StreamConsumer<X, R> {}
impl<X: ConsumerContext> sealed::Sealed for BaseConsumer<X> {}
impl<C: sealed::Sealed> sealed::Sealed for Arc<C> {}

impl<X: ConsumerContext + 'static, R> TraceableConsumer for StreamConsumer<X, R> {
    type Context = X;
    type Client = Self;

    fn client(&self) -> &Self {
        self
    }
}

impl<X: ConsumerContext> TraceableConsumer for BaseConsumer<X> {
    type Context = X;
    type Client = Self;

    fn client(&self) -> &Self {
        self
    }
}

impl<C: TraceableConsumer> TraceableConsumer for Arc<C> {
    type Context = C::Context;
    type Client = C::Client;

    fn client(&self) -> &C::Client {
        C::client(self)
    }
}

impl<X: ConsumerContext + 'static, R: AsyncRuntime> TraceableStream for StreamConsumer<X, R> {
    type Context = X;
    type Runtime = R;

    fn stream_consumer(&self) -> &Self {
        self
    }
}

impl<C: TraceableStream> TraceableStream for Arc<C> {
    type Context = C::Context;
    type Runtime = C::Runtime;

    fn stream_consumer(&self) -> &StreamConsumer<C::Context, C::Runtime> {
        C::stream_consumer(self)
    }
}

impl<X: ConsumerContext> TraceablePoll for BaseConsumer<X> {
    type Context = X;

    fn base_consumer(&self) -> &Self {
        self
    }
}

impl<C: TraceablePoll> TraceablePoll for Arc<C> {
    type Context = C::Context;

    fn base_consumer(&self) -> &BaseConsumer<C::Context> {
        C::base_consumer(self)
    }
}
