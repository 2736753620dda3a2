//! The service that is asked: it does as little as a service can, so that on few cores the proxy is what is measured.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::Result;

/// Starts it on a free port: a thread for each connection, and no reading of requests beyond their end.
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
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {LENGTH}\r\n\r\n{}",
        "x".repeat(LENGTH)
    );
    let mut buffer = [0; 8192];
    let mut filled = 0;
    loop {
        let count = stream.read(buffer.get_mut(filled..).unwrap_or_default())?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        // Requests are GETs without a body, one at a time.
        if buffer
            .get(..filled)
            .is_some_and(|bytes| bytes.ends_with(b"\r\n\r\n"))
        {
            stream.write_all(answer.as_bytes())?;
            filled = 0;
        }
    }
}

/// Of the answer's body.
const LENGTH: usize = 1024;
