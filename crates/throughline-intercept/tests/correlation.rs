//! A simulated process that knows which of its inbound messages caused which outbound one, against the correlator that does
//! not: how many parents are found, and how many of them are wrong. `cargo test --release -p
//! throughline-intercept --test correlation -- --nocapture` prints the tables of `docs/correlation.md`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "a simulation that knows its own numbers, and prints a table"
)]

use std::fmt::Write as _;
use std::sync::Arc;

use throughline_intercept::correlate::{
    Call, Correlator, End, Evidence, Fetching, Inbound, Key, Kind, Message, Outbound, Partition,
    Settings, Tokens,
};
use throughline_intercept::kafka::ClientKey;
use throughline_model::context::{HeaderList, Sampling, SpanContext};
use throughline_model::{SpanId, TraceId};

const MS: f64 = 1e6;
const MINUTES: f64 = 60_000.0 * MS;

// --- what happens in the process ---

#[derive(Debug, Clone)]
enum Event {
    Begin {
        work: usize,
        token: Option<usize>,
    },
    End {
        work: usize,
        end: End,
    },
    Deliver {
        work: usize,
        partition: i32,
        offset: i64,
    },
    Commit {
        partition: i32,
        next: i64,
    },
    Fetch {
        partition: i32,
        offset: i64,
    },
    Call {
        call: usize,
        cause: Option<usize>,
        kind: Kind,
        made: Option<u64>,
        token: Option<usize>,
    },
    Answer {
        call: usize,
        well: bool,
    },
}

/// Writes down what happens, each thing when a proxy would see it.
struct World {
    random: fastrand::Rng,
    events: Vec<(u64, usize, Event)>,
    works: usize,
    calls: usize,
    until: f64,
}

/// A service that answers requests.
#[derive(Debug, Clone, Copy)]
struct Service {
    /// So many clients ask, each when it has had its answer and has thought for a while (mean, milliseconds).
    clients: usize,
    think: f64,
    /// Calls of a request, one after the other or all at once.
    calls: usize,
    at_once: bool,
    /// Requests that call nobody.
    idle: f64,
    /// Calls that fail, and are made again.
    retry: f64,
    /// Clients that go away; the handler goes on.
    cancel: f64,
    /// Whether those who went away come again, under the same request id.
    again: bool,
    /// Handlers that call once more when they have answered.
    after: f64,
    /// Whether that is a call that requests make before their answer, too.
    after_same: bool,
    /// Whether a record is sent before the answer, by a producer that keeps it back for up to five milliseconds.
    produce: bool,
    /// Requests whose handler copies `x-request-id`.
    copies: f64,
    /// Requests that come in on a way that the proxy does not see.
    unseen: f64,
    /// A timer of this period (milliseconds) that makes a call, and whether requests make the same call.
    timer: Option<(f64, bool)>,
}

/// A service that handles records.
#[derive(Debug, Clone, Copy)]
struct Consumer {
    /// Records in a second, of each partition.
    rate: f64,
    partitions: i32,
    /// Records that arrive together.
    batch: usize,
    /// Calls of a record.
    calls: usize,
    /// Records that are handled without a call.
    skip: f64,
    retry: f64,
    /// Milliseconds between commits.
    commit: f64,
    /// Whether a record is committed when it is handed over, not when it has been handled.
    early: bool,
    fetching: Fetching,
    /// Records of a partition that are handled at the same time.
    hands: usize,
    timer: Option<(f64, bool)>,
}

// === impl World ===

impl World {
    fn new(seed: u64, minutes: f64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            events: Vec::new(),
            works: 0,
            calls: 0,
            until: minutes * MINUTES,
        }
    }

    fn exp(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.random.f64()).ln()
    }

    fn chance(&mut self, share: f64) -> bool {
        self.random.f64() < share
    }

    fn at(&mut self, time: f64, event: Event) {
        self.events.push((time as u64, self.events.len(), event));
    }

    /// What the process writes is read a little later.
    fn written(&mut self, time: f64, event: Event) {
        let later = self.exp(0.1 * MS);
        self.at(time + later, event);
    }

    /// A call and its answer; when it fails it is made again. Gives the time of the last answer.
    fn call(
        &mut self,
        mut time: f64,
        cause: Option<usize>,
        kind: Kind,
        retry: f64,
        token: Option<usize>,
    ) -> f64 {
        loop {
            let (call, fails) = (self.calls, self.chance(retry));
            self.calls += 1;
            let seen = time + self.exp(0.1 * MS);
            self.at(
                seen,
                Event::Call {
                    call,
                    cause,
                    kind,
                    made: None,
                    token,
                },
            );
            time = seen + self.exp(8.0 * MS) + 0.5 * MS;
            self.at(time, Event::Answer { call, well: !fails });
            if !fails {
                return time;
            }
            time += self.exp(5.0 * MS);
        }
    }

    fn timer(&mut self, timer: Option<(f64, bool)>) {
        let Some((period, is_shared)) = timer else {
            return;
        };
        let kind = if is_shared {
            kind(0)
        } else {
            Kind::http("POST", "collector", "/report")
        };
        let mut time = self.random.f64() * period * MS;
        while time < self.until {
            self.call(time, None, kind, 0.0, None);
            time += period * MS * (0.9 + 0.2 * self.random.f64());
        }
    }

    fn serve(&mut self, service: Service) {
        for _ in 0..service.clients {
            let mut time = 3_000.0 * MS + self.exp(service.think * MS);
            let mut again = None;
            while time < self.until {
                (time, again) = self.request(time, service, again);
                time += self.exp(service.think * MS) + 0.2 * MS;
            }
        }
        self.timer(service.timer);
    }

    /// One request, perhaps `again` under the id of one before; gives when its client has done with it, and the id if it will send
    /// it again.
    fn request(
        &mut self,
        begin: f64,
        service: Service,
        again: Option<usize>,
    ) -> (f64, Option<usize>) {
        let work = self.works;
        self.works += 1;
        let id = again.unwrap_or(work);
        let token = self.chance(service.copies).then_some(id);
        let is_seen = !self.chance(service.unseen);
        if is_seen {
            self.at(
                begin,
                Event::Begin {
                    work,
                    token: Some(id),
                },
            );
        }
        let mut time = begin + 0.1 * MS + self.exp(2.0 * MS);
        if !self.chance(service.idle) {
            let mut last = time;
            for nth in 0..service.calls {
                let answer = self.call(time, Some(work), kind(nth), service.retry, token);
                last = last.max(answer);
                if !service.at_once {
                    time = answer + self.exp(MS);
                }
            }
            time = time.max(last) + self.exp(MS);
            if service.produce {
                self.produce(time, work, token);
            }
        }
        let end = time + self.exp(0.2 * MS);
        if self.chance(service.after) {
            let later = end + self.exp(20.0 * MS);
            let kind = kind(if service.after_same { 0 } else { service.calls });
            self.call(later, Some(work), kind, 0.0, token);
        }
        if !is_seen {
            (end, None)
        } else if self.chance(service.cancel) {
            let gone = begin + (end - begin) * self.random.f64();
            self.at(
                gone,
                Event::End {
                    work,
                    end: End::Broken,
                },
            );
            (gone, service.again.then_some(id))
        } else {
            self.written(
                end,
                Event::End {
                    work,
                    end: End::Answered,
                },
            );
            (end, None)
        }
    }

    fn produce(&mut self, time: f64, work: usize, token: Option<usize>) {
        let made = (time / MS).floor() * MS;
        let sent = time + 5.0 * MS * self.random.f64();
        let (call, kind) = (self.calls, Kind::record("orders"));
        self.calls += 1;
        self.written(
            sent,
            Event::Call {
                call,
                cause: Some(work),
                kind,
                made: Some(made as u64),
                token,
            },
        );
    }

    fn consume(&mut self, consumer: Consumer) {
        for partition in 0..consumer.partitions {
            let mut free = vec![0.0_f64; consumer.hands];
            let (mut time, mut offset, mut handled) = (3_000.0 * MS, 0, Vec::new());
            while time < self.until {
                time += self.exp(1_000.0 * MS * consumer.batch as f64 / consumer.rate);
                let batch = 1 + self.random.usize(0..consumer.batch * 2 - 1);
                for _ in 0..batch {
                    let work = self.works;
                    self.works += 1;
                    self.at(
                        time,
                        Event::Deliver {
                            work,
                            partition,
                            offset,
                        },
                    );
                    let hand = (0..free.len())
                        .min_by(|a, b| free[*a].total_cmp(&free[*b]))
                        .unwrap();
                    let taken = free[hand].max(time) + self.exp(0.3 * MS);
                    free[hand] = self.handle(taken, work, consumer);
                    handled.push((taken, free[hand], offset));
                    offset += 1;
                }
                if consumer.fetching == Fetching::OnPoll {
                    // The batch is polled when all before it has been handled, and asks for what is behind it.
                    let first = handled[handled.len() - batch].0;
                    self.at(first, Event::Fetch { partition, offset });
                }
            }
            self.commits(partition, &handled, consumer);
        }
        self.timer(consumer.timer);
    }

    fn handle(&mut self, time: f64, work: usize, consumer: Consumer) -> f64 {
        let mut time = time + self.exp(MS);
        if !self.chance(consumer.skip) {
            for nth in 0..consumer.calls {
                time = self.call(time, Some(work), kind(nth), consumer.retry, None) + self.exp(MS);
            }
        }
        time
    }

    fn commits(&mut self, partition: i32, handled: &[(f64, f64, i64)], consumer: Consumer) {
        let (mut time, mut place, mut next) = (0.0, 0, 0);
        while time < self.until {
            time += consumer.commit * MS;
            while let Some((taken, done, offset)) = handled.get(place)
                && (if consumer.early { *taken } else { *done }) <= time
            {
                (next, place) = (offset + 1, place + 1);
            }
            self.written(time, Event::Commit { partition, next });
        }
    }
}

fn kind(nth: usize) -> Kind {
    Kind::http(
        "GET",
        "peer",
        ["/createOrder", "/payment", "/arrangeDelivery", "/audit"][nth],
    )
}

// --- what the correlator makes of it ---

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    calls: u32,
    exact: u32,
    exact_wrong: u32,
    sole: u32,
    sole_wrong: u32,
    order: u32,
    order_wrong: u32,
    open: u32,
    /// Calls that nobody asked for; they are in none of the above but the wrong ones.
    own: u32,
    /// Guesses, and the sum of the confidences told with them.
    guesses: u32,
    confidence: f64,
}

fn tokens(token: Option<usize>) -> Tokens {
    let mut headers = HeaderList::default();
    if let Some(token) = token {
        headers.push("x-request-id", format!("request-{token}"));
    }
    Tokens::of(
        &[Key::request_id()],
        Message {
            headers: &headers,
            key: None,
            body: None,
        },
        0,
    )
}

fn context(work: usize) -> SpanContext {
    let id = u64::try_from(work).unwrap() + 1;
    let trace = TraceId::from_bytes(u128::from(id).to_be_bytes()).unwrap();
    SpanContext::new(
        trace,
        SpanId::from_bytes(id.to_be_bytes()).unwrap(),
        Sampling::Sample,
    )
}

fn run(mut world: World, fetching: Fetching) -> Tally {
    world
        .events
        .sort_by_key(|(time, number, _)| (*time, *number));
    let mut correlator = Correlator::new(Settings::default(), 0);
    let mut inbound: Vec<Option<Inbound>> = vec![None; world.works];
    let mut calls: Vec<Option<Call>> = vec![None; world.calls];
    let (client, topic) = (ClientKey::default(), Arc::from("eshop-topic"));
    let place = |partition| Partition {
        client: &client,
        topic: &topic,
        partition,
        fetching,
    };
    let mut tally = Tally::default();
    for (now, _, event) in world.events {
        match event {
            Event::Begin { work, token } => {
                inbound[work] = Some(correlator.begin(now, &context(work), tokens(token)));
            }
            Event::End { work, end } => correlator.end(inbound[work].unwrap(), now, end),
            Event::Deliver {
                work,
                partition,
                offset,
            } => {
                correlator.deliver(
                    now,
                    &place(partition),
                    offset,
                    &context(work),
                    Tokens::default(),
                );
            }
            Event::Commit { partition, next } => {
                correlator.commit(now, &place(partition), i64::MIN..=next - 1)
            }
            Event::Fetch { partition, offset } => correlator.fetch(now, &place(partition), offset),
            Event::Call {
                call,
                cause,
                kind,
                made,
                token,
            } => {
                let outbound = Outbound {
                    kind,
                    made,
                    carried: None,
                    tokens: tokens(token),
                    is_answered: made.is_none(),
                };
                let (parent, handle) = correlator.parent(now, &outbound);
                calls[call] = Some(handle);
                tally.note(
                    parent.evidence,
                    parent.context.as_ref(),
                    parent.confidence,
                    cause.map(context).as_ref(),
                );
            }
            Event::Answer { call, well } => correlator.answered(now, calls[call].unwrap(), well),
        }
    }
    tally
}

// === impl Tally ===

impl Tally {
    fn note(
        &mut self,
        evidence: Evidence,
        found: Option<&SpanContext>,
        confidence: Option<f64>,
        truth: Option<&SpanContext>,
    ) {
        let wrong = u32::from(found.is_some() && found != truth);
        self.guesses += u32::from(found.is_some() && !evidence.is_exact());
        self.confidence += confidence.unwrap_or_default();
        match evidence {
            Evidence::Header | Evidence::RequestId => self.exact_wrong += wrong,
            Evidence::Sole => self.sole_wrong += wrong,
            Evidence::Order => self.order_wrong += wrong,
            Evidence::Open => {}
        }
        if truth.is_none() {
            self.own += 1;
            return;
        }
        self.calls += 1;
        match evidence {
            Evidence::Header | Evidence::RequestId => self.exact += 1,
            Evidence::Sole => self.sole += 1,
            Evidence::Order => self.order += 1,
            Evidence::Open => self.open += 1,
        }
    }

    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.exact += other.exact;
        self.exact_wrong += other.exact_wrong;
        self.sole += other.sole;
        self.sole_wrong += other.sole_wrong;
        self.order += other.order;
        self.order_wrong += other.order_wrong;
        self.open += other.open;
        self.own += other.own;
        self.guesses += other.guesses;
        self.confidence += other.confidence;
    }

    fn guessed(&self) -> u32 {
        self.sole + self.order
    }

    fn wrong(&self) -> u32 {
        self.sole_wrong + self.order_wrong
    }

    /// Of the calls that somebody caused, in per cent.
    fn share(&self, part: u32) -> f64 {
        100.0 * f64::from(part) / f64::from(self.calls.max(1))
    }

    fn row(&self, name: &str, load: &str) -> String {
        let mut row = String::new();
        write!(
            row,
            "| {name} | {load} | {} | {:.1} | ",
            self.calls,
            self.share(self.exact)
        )
        .unwrap();
        write!(
            row,
            "{:.1} | {:.1} | ",
            self.share(self.sole),
            self.share(self.order)
        )
        .unwrap();
        let wrongness = 100.0 * f64::from(self.wrong()) / f64::from(self.guesses.max(1));
        write!(
            row,
            "{:.1} | {} | {wrongness:.3} |",
            self.share(self.open),
            self.wrong()
        )
        .unwrap();
        row
    }
}

const HEAD: &str = "\
| process | load | calls | exact % | sole % | order % | open % | wrong | wrong, % of guesses |
|---|---|---:|---:|---:|---:|---:|---:|---:|";

const SERVICE: Service = Service {
    clients: 1,
    think: 100.0,
    calls: 3,
    at_once: false,
    idle: 0.1,
    retry: 0.02,
    cancel: 0.0,
    again: false,
    after: 0.0,
    after_same: false,
    produce: true,
    copies: 0.0,
    unseen: 0.0,
    timer: None,
};

const CONSUMER: Consumer = Consumer {
    rate: 5.0,
    partitions: 1,
    batch: 1,
    calls: 1,
    skip: 0.0,
    retry: 0.0,
    commit: 500.0,
    early: false,
    fetching: Fetching::Ahead,
    hands: 1,
    timer: None,
};

fn services() -> Vec<(&'static str, Service)> {
    vec![
        ("answers, calls in turn", SERVICE),
        (
            "calls at once",
            Service {
                at_once: true,
                ..SERVICE
            },
        ),
        (
            "timer, a call of its own",
            Service {
                timer: Some((700.0, false)),
                ..SERVICE
            },
        ),
        (
            "timer, a call as of requests",
            Service {
                timer: Some((700.0, true)),
                ..SERVICE
            },
        ),
        (
            "1 % of clients go away",
            Service {
                cancel: 0.01,
                ..SERVICE
            },
        ),
        (
            "20 % of clients go away",
            Service {
                cancel: 0.2,
                ..SERVICE
            },
        ),
        (
            "5 % call after the answer",
            Service {
                after: 0.05,
                ..SERVICE
            },
        ),
        (
            "5 %, a call as of requests",
            Service {
                after: 0.05,
                after_same: true,
                ..SERVICE
            },
        ),
        (
            "all call after the answer",
            Service {
                after: 1.0,
                ..SERVICE
            },
        ),
        (
            "all, and hardly a pause",
            Service {
                after: 1.0,
                think: 5.0,
                ..SERVICE
            },
        ),
        (
            "5 % of requests are unseen",
            Service {
                unseen: 0.05,
                ..SERVICE
            },
        ),
        (
            "copies x-request-id",
            Service {
                copies: 1.0,
                cancel: 0.01,
                after: 0.05,
                ..SERVICE
            },
        ),
        (
            "copies it, 5 % are sent again",
            Service {
                copies: 1.0,
                cancel: 0.05,
                again: true,
                think: 20.0,
                ..SERVICE
            },
        ),
        (
            "half copy x-request-id",
            Service {
                copies: 0.5,
                cancel: 0.01,
                after: 0.05,
                ..SERVICE
            },
        ),
        (
            "all of it",
            Service {
                cancel: 0.02,
                after: 0.05,
                retry: 0.05,
                timer: Some((700.0, true)),
                ..SERVICE
            },
        ),
    ]
}

fn consumers() -> Vec<(&'static str, Consumer)> {
    vec![
        ("a record, a call", CONSUMER),
        (
            "a record, two calls",
            Consumer {
                calls: 2,
                ..CONSUMER
            },
        ),
        (
            "commits every 5 s",
            Consumer {
                commit: 5_000.0,
                ..CONSUMER
            },
        ),
        (
            "commits what is handed over",
            Consumer {
                early: true,
                ..CONSUMER
            },
        ),
        (
            "fetches on poll, commits every 5 s",
            Consumer {
                fetching: Fetching::OnPoll,
                commit: 5_000.0,
                ..CONSUMER
            },
        ),
        (
            "5 % of records call nobody",
            Consumer {
                skip: 0.05,
                ..CONSUMER
            },
        ),
        (
            "2 % of calls fail",
            Consumer {
                retry: 0.02,
                ..CONSUMER
            },
        ),
        (
            "batches of 10",
            Consumer {
                batch: 10,
                ..CONSUMER
            },
        ),
        (
            "batches of 10, 1 % call nobody",
            Consumer {
                batch: 10,
                skip: 0.01,
                ..CONSUMER
            },
        ),
        (
            "3 partitions",
            Consumer {
                partitions: 3,
                ..CONSUMER
            },
        ),
        (
            "8 records at once",
            Consumer {
                hands: 8,
                ..CONSUMER
            },
        ),
        (
            "timer, a call as of records",
            Consumer {
                timer: Some((700.0, true)),
                ..CONSUMER
            },
        ),
    ]
}

#[test]
fn a_service_is_told_apart_from_what_nobody_asked_it_for() {
    let mut all = Vec::new();
    for (name, service) in services() {
        for clients in [1, 2, 4, 8, 16, 32, 64] {
            let mut world = World::new(clients as u64, minutes(clients as f64));
            world.serve(Service { clients, ..service });
            all.push((
                name,
                format!("{clients} clients"),
                run(world, Fetching::Ahead),
            ));
        }
    }
    judge(&all, 0.03);
    let found = |name, clients| {
        let (.., tally) = all
            .iter()
            .find(|(other, load, _)| *other == name && load == clients)
            .unwrap();
        tally.share(tally.guessed() + tally.exact)
    };
    assert!(found("answers, calls in turn", "1 clients") > 98.0);
    assert!(found("answers, calls in turn", "2 clients") > 60.0);
    assert!(found("1 % of clients go away", "1 clients") > 90.0);
    assert!(found("copies x-request-id", "64 clients") > 99.9);
}

#[test]
fn a_consumer_is_told_apart_from_what_nobody_asked_it_for() {
    let mut all = Vec::new();
    for (name, consumer) in consumers() {
        for rate in [1.0, 5.0, 20.0, 60.0] {
            let mut world = World::new(rate as u64, minutes(rate / 5.0));
            world.consume(Consumer { rate, ..consumer });
            all.push((name, format!("{rate}/s"), run(world, consumer.fetching)));
        }
    }
    judge(&all, 0.03);
    let found = |name, rate| {
        let (.., tally) = all
            .iter()
            .find(|(other, load, _)| *other == name && load == rate)
            .unwrap();
        tally.share(tally.guessed())
    };
    assert!(found("a record, a call", "1/s") > 95.0);
    assert!(found("a record, a call", "5/s") > 90.0);
    assert!(found("commits every 5 s", "5/s") > 50.0);
}

/// Processes that have just started have nothing to go by but what is likely.
#[test]
fn the_first_requests_of_a_process_are_told_apart() {
    let mut all = Vec::new();
    let processes = if cfg!(debug_assertions) { 10 } else { 500 };
    for (name, service) in services() {
        for clients in [1, 2, 4, 16] {
            let mut sum = Tally::default();
            for seed in 0..processes {
                let mut world = World::new(seed, 6.0 / 60.0);
                world.serve(Service { clients, ..service });
                sum.add(run(world, Fetching::Ahead));
            }
            all.push((
                name,
                format!("{clients} clients, {processes} times 3 s"),
                sum,
            ));
        }
    }
    judge(&all, 0.3);
}

/// Ten minutes, or less where more happens; a good deal less where the optimizer does not help.
fn minutes(load: f64) -> f64 {
    if cfg!(debug_assertions) {
        (4.0 / load).min(4.0)
    } else {
        (40.0 / load).min(10.0)
    }
}

/// Prints the table. Next to no guess may be wrong, in per cent, and they may not be worse than they say of themselves.
fn judge(all: &[(&str, String, Tally)], most: f64) {
    let mut table = format!("{HEAD}\n");
    let (mut guesses, mut wrong, mut confidence) = (0, 0, 0.0);
    for (name, load, tally) in all {
        writeln!(table, "{}", tally.row(name, load)).unwrap();
        guesses += tally.guesses;
        wrong += tally.wrong();
        confidence += tally.confidence;
    }
    let told = 100.0 * (1.0 - confidence / f64::from(guesses));
    let share = 100.0 * f64::from(wrong) / f64::from(guesses);
    writeln!(
        table,
        "\n{guesses} guesses, {wrong} wrong: {share:.4} %, where {told:.4} % was told"
    )
    .unwrap();
    println!("{table}");
    assert!(share < most && share <= told, "too many guesses are wrong");
    for (name, load, tally) in all {
        assert_eq!(
            tally.exact_wrong, 0,
            "{name}, {load}: what is exact was wrong"
        );
        let (wrong, calls) = (tally.wrong(), tally.calls);
        assert!(
            tally.share(wrong) < 2.0 * most || wrong < 12,
            "{name}, {load}: {wrong} of {calls} calls are wrong"
        );
    }
}
