//! Scenarios: the processes that are simulated.

const SERVICE: ServiceScenario = ServiceScenario {
    clients: 1,
    think_ms: 100.0,
    calls: 3,
    are_concurrent: false,
    without_calls: 0.1,
    retry: 0.02,
    abort: 0.0,
    resend: false,
    late_call: 0.0,
    late_call_is_shared: false,
    produces: true,
    copies_id: 0.0,
    unseen: 0.0,
    timer: None,
};

const CONSUMER: ConsumerScenario = ConsumerScenario {
    rate: 5.0,
    partitions: 1,
    batch: 1,
    calls: 1,
    without_calls: 0.0,
    retry: 0.0,
    commit_interval_ms: 500.0,
    commits_early: false,
    concurrency: 1,
    timer: None,
};

/// A service that answers requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServiceScenario {
    /// Concurrent clients. Each thinks after a response and then sends its next request.
    pub(crate) clients: usize,
    /// Mean think time in milliseconds.
    pub(crate) think_ms: f64,
    /// Calls of a request.
    pub(crate) calls: usize,
    /// Whether these calls are concurrent rather than sequential.
    pub(crate) are_concurrent: bool,
    /// Share of requests without calls.
    pub(crate) without_calls: f64,
    /// Share of calls that fail and are retried.
    pub(crate) retry: f64,
    /// Share of clients that go away while the handler is running.
    pub(crate) abort: f64,
    /// Whether these clients send the request again with the same request id.
    pub(crate) resend: bool,
    /// Share of handlers that make another call after the response.
    pub(crate) late_call: f64,
    /// Whether requests make the same call before their response as well.
    pub(crate) late_call_is_shared: bool,
    /// Whether a request produces a record, which its producer holds back for up to 5 ms.
    pub(crate) produces: bool,
    /// Share of handlers that copy `x-request-id`.
    pub(crate) copies_id: f64,
    /// Share of requests that the proxy does not see.
    pub(crate) unseen: f64,
    pub(crate) timer: Option<TimerScenario>,
}

/// A service that handles records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConsumerScenario {
    /// Records per second and partition.
    pub(crate) rate: f64,
    pub(crate) partitions: i32,
    /// Mean number of records that arrive together.
    pub(crate) batch: usize,
    /// Calls of a record.
    pub(crate) calls: usize,
    /// Share of records without calls.
    pub(crate) without_calls: f64,
    /// Share of calls that fail and are retried.
    pub(crate) retry: f64,
    pub(crate) commit_interval_ms: f64,
    /// Whether a record is committed when it is handed over rather than when it is handled.
    pub(crate) commits_early: bool,
    /// Records of a partition that are handled concurrently.
    pub(crate) concurrency: usize,
    pub(crate) timer: Option<TimerScenario>,
}

/// A timer in the process that makes calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimerScenario {
    pub(crate) period_ms: f64,
    /// Whether requests and records make the same call.
    pub(crate) is_shared: bool,
}

/// Returns the services, with the names of their rows in the table.
pub(crate) fn services() -> Vec<(&'static str, ServiceScenario)> {
    vec![
        ("answers, calls in turn", SERVICE),
        (
            "calls at once",
            ServiceScenario {
                are_concurrent: true,
                ..SERVICE
            },
        ),
        (
            "timer, a call of its own",
            ServiceScenario {
                timer: Some(TimerScenario {
                    period_ms: 700.0,
                    is_shared: false,
                }),
                ..SERVICE
            },
        ),
        (
            "timer, a call as of requests",
            ServiceScenario {
                timer: Some(TimerScenario {
                    period_ms: 700.0,
                    is_shared: true,
                }),
                ..SERVICE
            },
        ),
        (
            "1 % of clients go away",
            ServiceScenario {
                abort: 0.01,
                ..SERVICE
            },
        ),
        (
            "20 % of clients go away",
            ServiceScenario {
                abort: 0.2,
                ..SERVICE
            },
        ),
        (
            "5 % call after the answer",
            ServiceScenario {
                late_call: 0.05,
                ..SERVICE
            },
        ),
        (
            "5 %, a call as of requests",
            ServiceScenario {
                late_call: 0.05,
                late_call_is_shared: true,
                ..SERVICE
            },
        ),
        (
            "all call after the answer",
            ServiceScenario {
                late_call: 1.0,
                ..SERVICE
            },
        ),
        (
            "all, and hardly a pause",
            ServiceScenario {
                late_call: 1.0,
                think_ms: 5.0,
                ..SERVICE
            },
        ),
        (
            "5 % of requests are unseen",
            ServiceScenario {
                unseen: 0.05,
                ..SERVICE
            },
        ),
        (
            "copies x-request-id",
            ServiceScenario {
                copies_id: 1.0,
                abort: 0.01,
                late_call: 0.05,
                ..SERVICE
            },
        ),
        (
            "copies it, 5 % are sent again",
            ServiceScenario {
                copies_id: 1.0,
                abort: 0.05,
                resend: true,
                think_ms: 20.0,
                ..SERVICE
            },
        ),
        (
            "half copy x-request-id",
            ServiceScenario {
                copies_id: 0.5,
                abort: 0.01,
                late_call: 0.05,
                ..SERVICE
            },
        ),
        (
            "all of it",
            ServiceScenario {
                abort: 0.02,
                late_call: 0.05,
                retry: 0.05,
                timer: Some(TimerScenario {
                    period_ms: 700.0,
                    is_shared: true,
                }),
                ..SERVICE
            },
        ),
    ]
}

/// Returns the consumers, with the names of their rows in the table.
pub(crate) fn consumers() -> Vec<(&'static str, ConsumerScenario)> {
    vec![
        ("a record, a call", CONSUMER),
        (
            "a record, two calls",
            ConsumerScenario {
                calls: 2,
                ..CONSUMER
            },
        ),
        (
            "commits every 5 s",
            ConsumerScenario {
                commit_interval_ms: 5_000.0,
                ..CONSUMER
            },
        ),
        (
            "commits what is handed over",
            ConsumerScenario {
                commits_early: true,
                ..CONSUMER
            },
        ),
        (
            "5 % of records call nobody",
            ConsumerScenario {
                without_calls: 0.05,
                ..CONSUMER
            },
        ),
        (
            "2 % of calls fail",
            ConsumerScenario {
                retry: 0.02,
                ..CONSUMER
            },
        ),
        (
            "batches of 10",
            ConsumerScenario {
                batch: 10,
                ..CONSUMER
            },
        ),
        (
            "batches of 10, 1 % call nobody",
            ConsumerScenario {
                batch: 10,
                without_calls: 0.01,
                ..CONSUMER
            },
        ),
        (
            "3 partitions",
            ConsumerScenario {
                partitions: 3,
                ..CONSUMER
            },
        ),
        (
            "8 records at once",
            ConsumerScenario {
                concurrency: 8,
                ..CONSUMER
            },
        ),
        (
            "timer, a call as of records",
            ConsumerScenario {
                timer: Some(TimerScenario {
                    period_ms: 700.0,
                    is_shared: true,
                }),
                ..CONSUMER
            },
        ),
    ]
}
