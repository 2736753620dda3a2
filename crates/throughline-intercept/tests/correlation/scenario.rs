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

const OWN_TIMER: TimerScenario = TimerScenario {
    period_ms: 700.0,
    is_shared: false,
};

const SHARED_TIMER: TimerScenario = TimerScenario {
    is_shared: true,
    ..OWN_TIMER
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
    let with = |change: fn(&mut ServiceScenario)| {
        let mut scenario = SERVICE;
        change(&mut scenario);
        scenario
    };
    vec![
        ("sequential calls", SERVICE),
        ("concurrent calls", with(|s| s.are_concurrent = true)),
        (
            "timer with its own call",
            with(|s| s.timer = Some(OWN_TIMER)),
        ),
        (
            "timer with a shared call",
            with(|s| s.timer = Some(SHARED_TIMER)),
        ),
        ("1 % of clients disconnect", with(|s| s.abort = 0.01)),
        ("20 % of clients disconnect", with(|s| s.abort = 0.2)),
        ("5 % call after the response", with(|s| s.late_call = 0.05)),
        (
            "5 %, with a shared call",
            with(|s| {
                s.late_call = 0.05;
                s.late_call_is_shared = true;
            }),
        ),
        ("all call after the response", with(|s| s.late_call = 1.0)),
        (
            "all, with hardly a pause",
            with(|s| {
                s.late_call = 1.0;
                s.think_ms = 5.0;
            }),
        ),
        ("5 % of requests are unseen", with(|s| s.unseen = 0.05)),
        (
            "copies x-request-id",
            with(|s| {
                s.copies_id = 1.0;
                s.abort = 0.01;
                s.late_call = 0.05;
            }),
        ),
        (
            "copies it, 5 % are resent",
            with(|s| {
                s.copies_id = 1.0;
                s.abort = 0.05;
                s.resend = true;
                s.think_ms = 20.0;
            }),
        ),
        (
            "half copy x-request-id",
            with(|s| {
                s.copies_id = 0.5;
                s.abort = 0.01;
                s.late_call = 0.05;
            }),
        ),
        (
            "all combined",
            with(|s| {
                s.abort = 0.02;
                s.late_call = 0.05;
                s.retry = 0.05;
                s.timer = Some(SHARED_TIMER);
            }),
        ),
    ]
}

/// Returns the consumers, with the names of their rows in the table.
pub(crate) fn consumers() -> Vec<(&'static str, ConsumerScenario)> {
    let with = |change: fn(&mut ConsumerScenario)| {
        let mut scenario = CONSUMER;
        change(&mut scenario);
        scenario
    };
    vec![
        ("one call per record", CONSUMER),
        ("two calls per record", with(|s| s.calls = 2)),
        (
            "commits every 5 s",
            with(|s| s.commit_interval_ms = 5_000.0),
        ),
        ("commits on handover", with(|s| s.commits_early = true)),
        (
            "5 % of records make no call",
            with(|s| s.without_calls = 0.05),
        ),
        ("2 % of calls fail", with(|s| s.retry = 0.02)),
        ("batches of 10", with(|s| s.batch = 10)),
        (
            "batches of 10, 1 % make no call",
            with(|s| {
                s.batch = 10;
                s.without_calls = 0.01;
            }),
        ),
        ("3 partitions", with(|s| s.partitions = 3)),
        ("8 records concurrently", with(|s| s.concurrency = 8)),
        (
            "timer with a shared call",
            with(|s| s.timer = Some(SHARED_TIMER)),
        ),
    ]
}
