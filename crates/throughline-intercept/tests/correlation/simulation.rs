//! Simulation of a process that knows which inbound message caused which of its calls.

use throughline_intercept::correlate::{CallOutcome, CallSignature, RequestOutcome};

use super::scenario::{ConsumerScenario, ServiceScenario, TimerScenario};

const MS: f64 = 1e6;
const MINUTE: f64 = 60_000.0 * MS;

/// Something that a proxy sees, with its cause where only the simulation knows it.
#[derive(Debug, Clone)]
pub(crate) enum SimulatedEvent {
    Begin {
        activity: usize,
        token: Option<usize>,
    },
    End {
        activity: usize,
        outcome: RequestOutcome,
    },
    Deliver {
        activity: usize,
        partition: i32,
        offset: i64,
    },
    Commit {
        partition: i32,
        next: i64,
    },
    Call {
        call: usize,
        cause: Option<usize>,
        signature: CallSignature,
        created_at: Option<u64>,
        token: Option<usize>,
    },
    Response {
        call: usize,
        outcome: CallOutcome,
    },
}

/// A simulated process. It writes an event for the time at which a proxy would see it.
pub(crate) struct SimulatedProcess {
    /// Time, sequence number and event.
    pub(crate) events: Vec<(u64, usize, SimulatedEvent)>,
    pub(crate) activities: usize,
    pub(crate) calls: usize,
    random: fastrand::Rng,
    until: f64,
}

// === impl SimulatedProcess ===

impl SimulatedProcess {
    pub(crate) fn new(seed: u64, minutes: f64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            events: Vec::new(),
            activities: 0,
            calls: 0,
            until: minutes * MINUTE,
        }
    }

    /// Returns an exponentially distributed duration.
    fn exp(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.random.f64()).ln()
    }

    fn chance(&mut self, share: f64) -> bool {
        self.random.f64() < share
    }

    fn at(&mut self, time: f64, event: SimulatedEvent) {
        self.events.push((time as u64, self.events.len(), event));
    }

    /// Writes an event that the proxy sees a little later than it happens.
    fn at_delayed(&mut self, time: f64, event: SimulatedEvent) {
        let later = self.exp(0.1 * MS);
        self.at(time + later, event);
    }

    /// Simulates a call with its retries, and returns the time of the last response.
    fn call(
        &mut self,
        mut time: f64,
        cause: Option<usize>,
        signature: CallSignature,
        retry: f64,
        token: Option<usize>,
    ) -> f64 {
        loop {
            let (call, fails) = (self.calls, self.chance(retry));
            self.calls += 1;
            let seen = time + self.exp(0.1 * MS);
            self.at(
                seen,
                SimulatedEvent::Call {
                    call,
                    cause,
                    signature,
                    created_at: None,
                    token,
                },
            );
            time = seen + self.exp(8.0 * MS) + 0.5 * MS;
            let outcome = if fails {
                CallOutcome::Failed
            } else {
                CallOutcome::Succeeded
            };
            self.at(time, SimulatedEvent::Response { call, outcome });
            if !fails {
                return time;
            }
            time += self.exp(5.0 * MS);
        }
    }

    fn timer(&mut self, timer: Option<TimerScenario>) {
        let Some(TimerScenario {
            period_ms,
            is_shared,
        }) = timer
        else {
            return;
        };
        let signature = if is_shared {
            nth_signature(0)
        } else {
            CallSignature::new(&"POST collector/report")
        };
        let mut time = self.random.f64() * period_ms * MS;
        while time < self.until {
            self.call(time, None, signature, 0.0, None);
            time += period_ms * MS * (0.9 + 0.2 * self.random.f64());
        }
    }

    pub(crate) fn serve(&mut self, service: ServiceScenario) {
        for _ in 0..service.clients {
            let mut time = 3_000.0 * MS + self.exp(service.think_ms * MS);
            let mut resent_id = None;
            while time < self.until {
                (time, resent_id) = self.request(time, service, resent_id);
                time += self.exp(service.think_ms * MS) + 0.2 * MS;
            }
        }
        self.timer(service.timer);
    }

    /// Simulates a request. Returns the time at which its client is done with it, and the id under
    /// which the client will send it again, if so.
    fn request(
        &mut self,
        begin: f64,
        service: ServiceScenario,
        resent_id: Option<usize>,
    ) -> (f64, Option<usize>) {
        let activity = self.activities;
        self.activities += 1;
        let id = resent_id.unwrap_or(activity);
        let token = self.chance(service.copies_id).then_some(id);
        let is_seen = !self.chance(service.unseen);
        if is_seen {
            self.at(
                begin,
                SimulatedEvent::Begin {
                    activity,
                    token: Some(id),
                },
            );
        }
        let mut time = begin + 0.1 * MS + self.exp(2.0 * MS);
        if !self.chance(service.without_calls) {
            let mut last = time;
            for nth in 0..service.calls {
                let answer = self.call(
                    time,
                    Some(activity),
                    nth_signature(nth),
                    service.retry,
                    token,
                );
                last = last.max(answer);
                if !service.are_concurrent {
                    time = answer + self.exp(MS);
                }
            }
            time = time.max(last) + self.exp(MS);
            if service.produces {
                self.produce(time, activity, token);
            }
        }
        let end = time + self.exp(0.2 * MS);
        if self.chance(service.late_call) {
            let later = end + self.exp(20.0 * MS);
            let signature = nth_signature(if service.late_call_is_shared {
                0
            } else {
                service.calls
            });
            self.call(later, Some(activity), signature, 0.0, token);
        }
        if !is_seen {
            (end, None)
        } else if self.chance(service.abort) {
            let gone = begin + (end - begin) * self.random.f64();
            self.at(
                gone,
                SimulatedEvent::End {
                    activity,
                    outcome: RequestOutcome::Aborted,
                },
            );
            (gone, service.resend.then_some(id))
        } else {
            self.at_delayed(
                end,
                SimulatedEvent::End {
                    activity,
                    outcome: RequestOutcome::Completed,
                },
            );
            (end, None)
        }
    }

    fn produce(&mut self, time: f64, activity: usize, token: Option<usize>) {
        let created_at = (time / MS).floor() * MS;
        let sent = time + 5.0 * MS * self.random.f64();
        let (call, signature) = (self.calls, CallSignature::new(&"orders"));
        self.calls += 1;
        self.at_delayed(
            sent,
            SimulatedEvent::Call {
                call,
                cause: Some(activity),
                signature,
                created_at: Some(created_at as u64),
                token,
            },
        );
    }

    pub(crate) fn consume(&mut self, consumer: ConsumerScenario) {
        for partition in 0..consumer.partitions {
            let mut free = vec![0.0_f64; consumer.concurrency];
            let (mut time, mut offset, mut handled) = (3_000.0 * MS, 0, Vec::new());
            while time < self.until {
                time += self.exp(1_000.0 * MS * consumer.batch as f64 / consumer.rate);
                let batch = 1 + self.random.usize(0..consumer.batch * 2 - 1);
                for _ in 0..batch {
                    let activity = self.activities;
                    self.activities += 1;
                    self.at(
                        time,
                        SimulatedEvent::Deliver {
                            activity,
                            partition,
                            offset,
                        },
                    );
                    let hand = (0..free.len())
                        .min_by(|a, b| free[*a].total_cmp(&free[*b]))
                        .unwrap();
                    let taken = free[hand].max(time) + self.exp(0.3 * MS);
                    free[hand] = self.handle(taken, activity, consumer);
                    handled.push((taken, free[hand], offset));
                    offset += 1;
                }
            }
            self.commits(partition, &handled, consumer);
        }
        self.timer(consumer.timer);
    }

    fn handle(&mut self, time: f64, activity: usize, consumer: ConsumerScenario) -> f64 {
        let mut time = time + self.exp(MS);
        if !self.chance(consumer.without_calls) {
            for nth in 0..consumer.calls {
                time = self.call(
                    time,
                    Some(activity),
                    nth_signature(nth),
                    consumer.retry,
                    None,
                ) + self.exp(MS);
            }
        }
        time
    }

    fn commits(&mut self, partition: i32, handled: &[(f64, f64, i64)], consumer: ConsumerScenario) {
        let (mut time, mut position, mut next) = (0.0, 0, 0);
        while time < self.until {
            time += consumer.commit_interval_ms * MS;
            while let Some((taken, done, offset)) = handled.get(position)
                && (if consumer.commits_early {
                    *taken
                } else {
                    *done
                }) <= time
            {
                (next, position) = (offset + 1, position + 1);
            }
            self.at_delayed(time, SimulatedEvent::Commit { partition, next });
        }
    }
}

/// Returns the signature of the `nth` call of requests and records.
fn nth_signature(nth: usize) -> CallSignature {
    let path = ["/createOrder", "/payment", "/arrangeDelivery", "/audit"][nth];
    CallSignature::new(&("GET peer", path))
}
