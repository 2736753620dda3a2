//! TLS from who asks and to who is asked: one proxy begins it, another ends it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::generate_simple_self_signed;
use throughline_proxy::http::{Config, Protocol, Route};
use throughline_proxy::{DownstreamTls, TlsIdentity, TlsRoots, UpstreamTls};

use crate::side::{Side, echo, fixed, get, listening, read, says};
use crate::support::listen;

/// A proxy that speaks TLS to another, which stands before a service.
async fn pair(trusts: bool, protocol: Protocol) -> (Side, Side) {
    let signed = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let stranger = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificates, key) = (
        pem("CERTIFICATE", signed.cert.der()),
        pem("PRIVATE KEY", &signed.signing_key.serialize_der()),
    );
    let service = echo().await.to_string().parse().unwrap();
    let mut http = listening(Route::Service {
        address: service,
        protocol,
    });
    let identity = TlsIdentity {
        certificates: certificates.as_bytes(),
        key: key.as_bytes(),
    };
    http.listeners[0].tls = Some(DownstreamTls::new(identity).unwrap());
    let inbound = Side::start(http).await;
    let roots = if trusts {
        certificates
    } else {
        pem("CERTIFICATE", stranger.cert.der())
    };
    let connector = UpstreamTls::new(TlsRoots::Pem(roots.as_bytes()), None, None).unwrap();
    let to = format!("localhost:{}", inbound.address().port());
    let outbound = Side::start(Config {
        outbound_tls: Some(connector),
        ..fixed(&to, true)
    })
    .await;
    (outbound, inbound)
}

fn pem(label: &str, der: &[u8]) -> String {
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        STANDARD.encode(der)
    )
}

#[tokio::test]
async fn both_http_pass_through_tls() {
    let (outbound, inbound) = pair(true, Protocol::Http2).await;
    let (status, body) = read(
        outbound
            .http1()
            .await
            .send_request(get("/a"))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(status, 200, "{body}");
    let second = http::Request::get("http://x/a")
        .body(crate::side::empty())
        .unwrap();
    let (status, body) = read(outbound.http2().await.send_request(second).await.unwrap()).await;
    assert_eq!(status, 200, "{body}");
    let versions = |spans: Vec<throughline_model::Span>| -> Vec<_> {
        spans
            .iter()
            .map(|span| says(span, "network.protocol.version").unwrap())
            .collect()
    };
    let spans = inbound.spans(2).await;
    assert!(
        spans
            .iter()
            .all(|span| says(span, "url.scheme").as_deref() == Some("https"))
    );
    assert_eq!(versions(spans), ["1.1", "2"], "each is agreed on by ALPN");
    let url = format!("https://localhost:{}/a", inbound.address().port());
    assert!(
        outbound
            .spans(2)
            .await
            .iter()
            .all(|span| says(span, "url.full").as_ref() == Some(&url))
    );
}

#[tokio::test]
async fn http2_is_not_offered_for_a_service_that_may_not_speak_it() {
    let (outbound, inbound) = pair(true, Protocol::Same).await;
    assert_eq!(
        read(
            outbound
                .http1()
                .await
                .send_request(get("/a"))
                .await
                .unwrap()
        )
        .await
        .0,
        200
    );
    let second = http::Request::get("http://x/a")
        .body(crate::side::empty())
        .unwrap();
    assert_eq!(
        read(outbound.http2().await.send_request(second).await.unwrap())
            .await
            .0,
        503
    );
    inbound.spans(1).await;
}

#[tokio::test]
async fn who_is_not_trusted_is_not_asked() {
    let (outbound, inbound) = pair(false, Protocol::Http2).await;
    assert_eq!(
        read(
            outbound
                .http1()
                .await
                .send_request(get("/a"))
                .await
                .unwrap()
        )
        .await
        .0,
        503
    );
    assert!(inbound.spans.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn https_without_tls_set_up_is_refused() {
    let (_listener, address) = listen().await;
    let side = Side::start(fixed(&format!("localhost:{}", address.port()), true)).await;
    let answer = side.http1().await.send_request(get("/a")).await.unwrap();
    assert_eq!(
        answer.headers()["proxy-status"],
        "throughline; error=proxy_configuration_error"
    );
    assert_eq!(read(answer).await.0, 502);
}
