//! Two HTTP clients, one that blocks its thread and one that does not; a connection for each call.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;

/// Sends a GET and returns the status.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Option<u16> {
    let stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    // The task ends with the exchange; its error also fails the request.
    tokio::spawn(async move { connection.await.unwrap_or_default() });
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .ok()?;
    let response = sender.send_request(request).await.ok()?;
    let status = response.status().as_u16();
    response.into_body().collect().await.ok()?;
    Some(status)
}

/// Sends a GET, blocks until the end of the response, and returns the status.
pub(crate) fn get_blocking(address: SocketAddr, path: &str) -> Option<u16> {
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    let mut response = String::new();
    stream.read_to_string(&mut response).ok()?;
    response.split(' ').nth(1)?.parse().ok()
}
