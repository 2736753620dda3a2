//! TLS on both sides: one proxy connects with TLS to another one, which terminates it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::generate_simple_self_signed;
use throughline_proxy::http::{Config, HttpRoute, UpstreamProtocol};
use throughline_proxy::{DownstreamTls, TlsIdentity, TlsRoots, UpstreamTls};

use crate::fixture::{
    HttpFixture, attribute_text, echo, fixed_origin, get, listening, read_response,
};
use crate::support::listen;

/// Starts a proxy that connects with TLS to another one, which is in front of a service.
async fn tls_pair(is_trusted: bool, protocol: UpstreamProtocol) -> (HttpFixture, HttpFixture) {
    let signed = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let untrusted = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificates, key) = (
        pem("CERTIFICATE", signed.cert.der()),
        pem("PRIVATE KEY", &signed.signing_key.serialize_der()),
    );
    let service = echo().await.to_string().parse().unwrap();
    let mut http = listening(HttpRoute::Service {
        address: service,
        protocol,
    });
    let identity = TlsIdentity {
        certificates: certificates.as_bytes(),
        key: key.as_bytes(),
    };
    http.listeners[0].tls = Some(DownstreamTls::new(identity).unwrap());
    let inbound = HttpFixture::start(http).await;
    let roots = if is_trusted {
        certificates
    } else {
        pem("CERTIFICATE", untrusted.cert.der())
    };
    let connector = UpstreamTls::new(TlsRoots::Pem(roots.as_bytes()), None, None).unwrap();
    let to = format!("localhost:{}", inbound.address().port());
    let outbound = HttpFixture::start(Config {
        outbound_tls: Some(connector),
        ..fixed_origin(&to, true)
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
async fn both_http_versions_are_forwarded_with_tls() {
    let (outbound, inbound) = tls_pair(true, UpstreamProtocol::Http2).await;
    let (status, body) = read_response(
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
        .body(crate::fixture::empty_body())
        .unwrap();
    let (status, body) =
        read_response(outbound.http2().await.send_request(second).await.unwrap()).await;
    assert_eq!(status, 200, "{body}");
    let versions = |spans: Vec<throughline_model::Span>| -> Vec<_> {
        spans
            .iter()
            .map(|span| attribute_text(span, "network.protocol.version").unwrap())
            .collect()
    };
    let spans = inbound.spans(2).await;
    assert!(
        spans
            .iter()
            .all(|span| attribute_text(span, "url.scheme").as_deref() == Some("https"))
    );
    assert_eq!(versions(spans), ["1.1", "2"], "each is negotiated by ALPN");
    let url = format!("https://localhost:{}/a", inbound.address().port());
    assert!(
        outbound
            .spans(2)
            .await
            .iter()
            .all(|span| attribute_text(span, "url.full").as_ref() == Some(&url))
    );
}

#[tokio::test]
async fn http2_is_not_offered_for_a_service_that_may_not_support_it() {
    let (outbound, inbound) = tls_pair(true, UpstreamProtocol::Same).await;
    assert_eq!(
        read_response(
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
        .body(crate::fixture::empty_body())
        .unwrap();
    assert_eq!(
        read_response(outbound.http2().await.send_request(second).await.unwrap())
            .await
            .0,
        503
    );
    inbound.spans(1).await;
}

#[tokio::test]
async fn untrusted_server_certificate_is_rejected() {
    let (outbound, inbound) = tls_pair(false, UpstreamProtocol::Http2).await;
    assert_eq!(
        read_response(
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
async fn https_request_without_tls_configuration_is_rejected() {
    let (_listener, address) = listen().await;
    let fixture =
        HttpFixture::start(fixed_origin(&format!("localhost:{}", address.port()), true)).await;
    let response = fixture.http1().await.send_request(get("/a")).await.unwrap();
    assert_eq!(
        response.headers()["proxy-status"],
        "throughline; error=proxy_configuration_error"
    );
    assert_eq!(read_response(response).await.0, 502);
}
