//! One request: understood, traced, passed on, and its answer passed back.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, EXPECT, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use throughline_intercept::http::{Direction, Failure, Peer, Request as Described};
use tokio_util::task::TaskTracker;

use super::body::{Open, Reply, Sent};
use super::config::{Limits, Route};
use super::fields::end_hop;
use super::intake::{Activity, UnderWay};
use super::place::Place;
use super::refusal::{Refusal, is_grpc};
use super::traced::{Traced, Tracing};
use super::upstream::{Lease, Own, Upstream};
use crate::transport::tunnel;

/// What all requests need.
pub(super) struct Service {
    pub(super) tracing: Arc<Tracing>,
    pub(super) limits: Limits,
    /// How long a body may be that is looked into; none is, without.
    pub(super) bodies_max: Option<usize>,
    pub(super) inbound: Arc<Upstream>,
    pub(super) outbound: Arc<Upstream>,
    /// Tunnels outlive the connections that they began on.
    pub(super) tunnels: TaskTracker,
}

/// Who asks, on which connection.
pub(super) struct Caller {
    pub(super) route: Route,
    pub(super) client: SocketAddr,
    /// Where it came to us.
    pub(super) local: SocketAddr,
    pub(super) is_tls: bool,
    pub(super) activity: Activity,
    /// What its requests alone go out on.
    pub(super) own: Arc<Own>,
}

/// A request that has been understood, on its way.
struct Asked {
    place: Place,
    traced: Traced,
    /// Of whoever asks, if the connection may become something else.
    upgrade: Option<OnUpgrade>,
    under_way: UnderWay,
}

// === impl Service ===

impl Service {
    /// Answers one request.
    pub(super) async fn answer(
        self: Arc<Self>,
        caller: Arc<Caller>,
        request: Request<Incoming>,
    ) -> Result<Response<Reply>, Infallible> {
        let (is_grpc, is_http2) = (
            is_grpc(request.headers()),
            request.version() == Version::HTTP_2,
        );
        let is_head = request.method() == Method::HEAD;
        let answer = match self.pass(&caller, request).await {
            Ok(answer) => answer,
            Err(refusal) => {
                self.tracing.metrics.refused(caller.direction(), refusal);
                let mut answer = refusal.answer(is_grpc);
                if is_head {
                    // In HTTP/1 it would be left out for us.
                    *answer.body_mut() = Reply::from(Bytes::new());
                }
                // What else comes on a connection with such a request may be part of it.
                if !is_http2 && refusal.status().is_client_error() {
                    answer
                        .headers_mut()
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                answer
            }
        };
        Ok(answer)
    }

    async fn pass(
        &self,
        caller: &Caller,
        mut request: Request<Incoming>,
    ) -> Result<Response<Reply>, Refusal> {
        let under_way = caller.activity.begin();
        if self.upstream(caller).made(caller.client, caller.local) {
            return Err(Refusal::Loop);
        }
        let place = Place::of(&request, &caller.route)?;
        let may_upgrade = request.version() == Version::HTTP_11;
        let upgrades = end_hop(request.headers_mut(), may_upgrade && !place.is_http2).is_some();
        let upgrade = (upgrades || place.is_connect).then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        let patience = (parts.version != Version::HTTP_2).then_some(self.limits.body_idle);
        let mut body = Sent::new(
            body,
            self.tracing.metrics.flows(caller.direction()).request,
            patience,
        );
        let text = if self.wants(&parts, &body) {
            body.hold().await
        } else {
            None
        };
        let traced = self.begin(caller, &place, &mut parts, text.as_deref());
        let asked = Asked {
            place,
            traced,
            upgrade,
            under_way,
        };
        if asked.place.is_connect {
            Box::pin(self.connect(caller, asked)).await
        } else {
            self.exchange(caller, asked, parts, body).await
        }
    }

    /// Whether the body may name what the request is about, and is short enough to wait for it.
    fn wants(&self, parts: &Parts, body: &Sent) -> bool {
        let Some(most) = self.bodies_max else {
            return false;
        };
        let length = body
            .size_hint()
            .exact()
            .and_then(|length| usize::try_from(length).ok());
        let is_json = parts
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().windows(4).any(|part| part == b"json"));
        is_json
            && length.is_some_and(|length| (1..=most).contains(&length))
            && !parts.headers.contains_key(EXPECT)
    }

    fn begin(
        &self,
        caller: &Caller,
        place: &Place,
        parts: &mut Parts,
        body: Option<&[u8]>,
    ) -> Traced {
        let direction = caller.direction();
        let (scheme, peer) = match direction {
            Direction::Inbound => (
                caller.scheme(),
                Peer {
                    address: Some(caller.client.ip()),
                    port: Some(caller.client.port()),
                },
            ),
            Direction::Outbound => (place.scheme(), place.peer()),
        };
        let method = parts.method.clone();
        let target = if place.is_connect {
            place.authority.as_str()
        } else {
            place.target.as_str()
        };
        let described = Described {
            method: method.as_str(),
            scheme,
            authority: place.authority.as_str(),
            target,
            version: version(parts.version),
            body,
        };
        Traced::begin(
            &self.tracing,
            direction,
            peer,
            &described,
            &mut parts.headers,
        )
    }

    /// Passes a request on, and its answer back.
    async fn exchange(
        &self,
        caller: &Caller,
        asked: Asked,
        parts: Parts,
        sent: Sent,
    ) -> Result<Response<Reply>, Refusal> {
        let Asked {
            place,
            traced,
            upgrade,
            under_way,
        } = asked;
        let flows = self.tracing.metrics.flows(caller.direction());
        let progress = sent.progress();
        let request = rewritten(&place, parts, sent);
        match self
            .upstream(caller)
            .send(&place, request, &caller.own)
            .await
        {
            Ok((answer, lease)) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => self
                .switch(Switching {
                    answer,
                    lease,
                    traced,
                    upgrade,
                    under_way,
                }),
            Ok((answer, lease)) => {
                let mut open = Open {
                    traced,
                    lease,
                    progress,
                    under_way,
                };
                let (mut parts, body) = answer.into_parts();
                end_hop(&mut parts.headers, false);
                open.traced.answered(parts.status.as_u16(), &parts.headers);
                let mut answer = Response::new(Reply::passed(body, flows.answer, open));
                *answer.status_mut() = parts.status;
                *answer.headers_mut() = parts.headers;
                Ok(answer)
            }
            Err(refusal) => Err(refuse(
                caller,
                traced,
                progress.refusal().unwrap_or(refusal),
            )),
        }
    }

    /// The connection becomes something else, of which we pass the bytes.
    fn switch(&self, switching: Switching) -> Result<Response<Reply>, Refusal> {
        let Switching {
            mut answer,
            lease,
            mut traced,
            upgrade,
            under_way,
        } = switching;
        let Some(ours) = upgrade else {
            traced.fail(Failure::Protocol);
            return Err(Refusal::Protocol);
        };
        let theirs = hyper::upgrade::on(&mut answer);
        let mut fields = std::mem::take(answer.headers_mut());
        end_hop(&mut fields, true);
        traced.answered(StatusCode::SWITCHING_PROTOCOLS.as_u16(), &fields);
        self.tracing.metrics.upgrades.inc();
        let stop = self.tracing.stop.clone();
        self.tunnels.spawn(async move {
            tunnel::join_upgrades(ours, theirs, &stop).await;
            drop((under_way, lease));
        });
        let mut answer = Response::new(Reply::from(Bytes::new()));
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *answer.headers_mut() = fields;
        Ok(answer)
    }

    /// Opens a tunnel.
    async fn connect(&self, caller: &Caller, asked: Asked) -> Result<Response<Reply>, Refusal> {
        let Asked {
            place,
            mut traced,
            upgrade,
            under_way,
        } = asked;
        let opened = match self.upstream(caller).open(&place.origin).await {
            Ok(opened) => opened,
            Err(refusal) => return Err(refuse(caller, traced, refusal)),
        };
        let Some(ours) = upgrade else {
            return Err(refuse(caller, traced, Refusal::Connect));
        };
        traced.answered(StatusCode::OK.as_u16(), &HeaderMap::new());
        self.tracing.metrics.upgrades.inc();
        let stop = self.tracing.stop.clone();
        self.tunnels.spawn(async move {
            tunnel::join_upgrade(ours, opened.stream, &stop).await;
            drop((under_way, opened.listed));
        });
        Ok(Response::new(Reply::from(Bytes::new())))
    }

    const fn upstream(&self, caller: &Caller) -> &Arc<Upstream> {
        self.upstream_of(caller.direction())
    }

    pub(super) const fn upstream_of(&self, direction: Direction) -> &Arc<Upstream> {
        match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound => &self.outbound,
        }
    }
}

/// An answer that ends HTTP on its connection.
struct Switching {
    answer: Response<Incoming>,
    lease: Option<Lease>,
    traced: Traced,
    upgrade: Option<OnUpgrade>,
    under_way: UnderWay,
}

// === impl Caller ===

impl Caller {
    pub(super) const fn direction(&self) -> Direction {
        match self.route {
            Route::Service { .. } => Direction::Inbound,
            Route::Fixed(_) | Route::Named { .. } | Route::Original(_) => Direction::Outbound,
        }
    }

    const fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }
}

// === impl Place ===

impl Place {
    /// Who is asked, as far as it is known before connecting.
    fn peer(&self) -> Peer {
        let address: Option<IpAddr> = self.origin.address.host.parse().ok();
        Peer {
            address,
            port: address.map(|_| self.origin.address.port),
        }
    }
}

/// Tells the exchange that it came to nothing. Who asked has our answer; who was asked gave none.
fn refuse(caller: &Caller, mut traced: Traced, refusal: Refusal) -> Refusal {
    if caller.direction() == Direction::Inbound && refusal != Refusal::Incomplete {
        traced.answered(refusal.status().as_u16(), &HeaderMap::new());
    }
    traced.fail(refusal.failure());
    refusal
}

/// The request as it goes on. Nothing else of it does, such as what hyper has put beside it.
fn rewritten(place: &Place, parts: Parts, body: Sent) -> Request<Sent> {
    let Parts {
        method,
        mut uri,
        mut version,
        mut headers,
        ..
    } = parts;
    place.write(&mut uri, &mut version, &mut headers);
    // Said, since hyper takes it that some methods have no body.
    if !place.is_http2 && !body.is_end_stream() && body.size_hint().exact().is_none() {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = headers;
    request
}

const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}
