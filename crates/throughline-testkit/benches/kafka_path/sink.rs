//! A collector that accepts and discards everything: the measurement includes the cost of exporting
//! spans, not of storing them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::Result;

/// Starts the collector on a free port and returns its URL.
pub(crate) fn start() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || serve(stream).unwrap_or_default());
        }
    });
    Ok(url)
}

/// Responds with 200 to every request of a connection.
fn serve(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let lower = line.to_ascii_lowercase();
            length = lower
                .strip_prefix("content-length:")
                .and_then(|value| value.trim().parse().ok())
                .unwrap_or(length);
        }
        std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink())?;
        stream
            .get_mut()
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    }
}
