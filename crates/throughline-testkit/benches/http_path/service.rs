//! The upstream service: it does as little as possible, so that on few cores the proxy dominates
//! the measurement.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::Result;

/// Starts the service on a free port: a thread per connection; requests are read up to their end
/// only.
pub(crate) fn start() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || serve(stream).unwrap_or_default());
        }
    });
    Ok(address)
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let response = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {BODY_BYTES}\r\n\r\n{}",
        "x".repeat(BODY_BYTES)
    );
    let mut buffer = [0; 8192];
    let mut filled = 0;
    loop {
        let count = stream.read(buffer.get_mut(filled..).unwrap_or_default())?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        // Requests are GETs without a body and are not pipelined.
        if buffer
            .get(..filled)
            .is_some_and(|bytes| bytes.ends_with(b"\r\n\r\n"))
        {
            stream.write_all(response.as_bytes())?;
            filled = 0;
        }
    }
}

/// Length of the response body.
const BODY_BYTES: usize = 1024;
