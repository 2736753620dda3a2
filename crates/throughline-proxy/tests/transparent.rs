//! Redirected connections in a network namespace: this program starts itself again in a new
//! namespace, sets up iptables there, and runs the server and the proxy. The client is bash, which
//! runs as another user.
//!
//! The tests need root, iptables and bash. Without these they are skipped, except in CI, where they
//! fail.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod support;

use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::{Log, Running, Spans, config, echo, request, within};
use throughline_intercept::http::Direction;
use throughline_model::Span;
use throughline_proxy::{ListenerConfig, ListenerRoute};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The user `nobody`, who runs the client.
const CLIENT: u32 = 65534;
const INSIDE: &str = "THROUGHLINE_TEST_INSIDE_NAMESPACE";

#[test]
fn redirected_connection_reaches_its_broker_over_ipv4_and_ipv6() {
    in_namespace(
        "redirected_connection_reaches_its_broker_over_ipv4_and_ipv6",
        || async {
            for (ip, iptables) in [("127.0.0.1", "iptables"), ("::1", "ip6tables")] {
                let ip: IpAddr = ip.parse().unwrap();
                let broker = TcpListener::bind((ip, 0)).await.unwrap();
                let address = broker.local_addr().unwrap();
                let proxy = Running::start(config(vec![transparent(ip)])).await;
                redirect(
                    iptables,
                    address,
                    &["-m", "owner", "--uid-owner", &CLIENT.to_string()],
                    &proxy,
                );
                let broker = tokio::spawn(async move {
                    let (stream, _) = broker.accept().await.unwrap();
                    echo(stream).await;
                });
                let answer = request_as_another_user(address).await;
                assert!(answer.ends_with(b"hello"), "{answer:?}");
                within(broker).await.unwrap();
                let size = request(1, b"hello").len();
                let line = format!(
                    "throughline_kafka_bytes_total{{side=\"broker\",direction=\"sent\"}} {size}"
                );
                proxy.until_metric(&line).await;
            }
        },
    );
}

#[test]
fn redirection_loop_is_broken_and_logged() {
    in_namespace("redirection_loop_is_broken_and_logged", || async {
        let (log, _guard) = Log::new();
        let ip: IpAddr = [127, 0, 0, 1].into();
        let broker = TcpListener::bind((ip, 0)).await.unwrap();
        let proxy = Running::start(config(vec![transparent(ip)])).await;
        // The rule exempts no user, not even that of the proxy.
        redirect("iptables", broker.local_addr().unwrap(), &[], &proxy);
        assert_eq!(
            request_as_another_user(broker.local_addr().unwrap()).await,
            b""
        );
        let (_, text) = proxy.get("/metrics").await;
        let loops = text.lines().find_map(|line| {
            line.strip_prefix("throughline_kafka_connections_failed_total{reason=\"loop\"} ")
        });
        assert_ne!(loops, Some("0"), "{text}");
        let connections = text
            .lines()
            .find_map(|line| line.strip_prefix("throughline_kafka_connections_total "));
        assert!(connections.unwrap().parse::<u32>().unwrap() < 10, "{text}");
        assert!(
            log.text().contains("redirection loop") && log.text().contains("uid-owner"),
            "{}",
            log.text()
        );
    });
}

#[test]
fn connection_that_was_not_redirected_is_closed_and_logged() {
    in_namespace(
        "connection_that_was_not_redirected_is_closed_and_logged",
        || async {
            let (log, _guard) = Log::new();
            let proxy = Running::start(config(vec![transparent([127, 0, 0, 1].into())])).await;
            support::read_end(&mut proxy.connect().await).await;
            proxy
                .until_metric(
                    "throughline_kafka_connections_failed_total{reason=\"not_redirected\"} 1",
                )
                .await;
            // With a rule for another port, the kernel tracks connections and reports destinations.
            redirect("iptables", "127.0.0.1:9".parse().unwrap(), &[], &proxy);
            support::read_end(&mut proxy.connect().await).await;
            proxy
                .until_metric(
                    "throughline_kafka_connections_failed_total{reason=\"not_redirected\"} 2",
                )
                .await;
            assert!(
                log.text().contains("was not redirected to this port"),
                "{}",
                log.text()
            );
        },
    );
}

#[test]
fn redirected_request_is_traced_and_reaches_its_server_over_ipv4_and_ipv6() {
    in_namespace(
        "redirected_request_is_traced_and_reaches_its_server_over_ipv4_and_ipv6",
        || async {
            for (ip, iptables) in [("127.0.0.1", "iptables"), ("::1", "ip6tables")] {
                let fixture = RedirectedFixture::start(ip, iptables).await;
                let server = fixture.serve(|request| {
                    format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{request}",
                        request.len()
                    )
                });
                let answer = fixture
                    .exchange(
                        "GET /stock?order=17 HTTP/1.1\r\nhost: inventory:8080\r\n\
                        connection: close\r\n\r\n",
                    )
                    .await;
                assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
                let span = fixture.span().await;
                let context = format!("traceparent: 00-{}-{}-01", span.trace_id, span.span_id);
                assert!(
                    answer.contains("GET /stock?order=17 HTTP/1.1") && answer.contains(&context),
                    "{answer}"
                );
                assert!(
                    answer.contains("host: inventory:8080"),
                    "the host header stays: {answer}"
                );
                assert_eq!(
                    attribute(&span, "url.full"),
                    "http://inventory:8080/stock?order=17"
                );
                assert_eq!(attribute(&span, "network.peer.address"), ip);
                fixture.expect_protocol("http1").await;
                drop(server);
            }
        },
    );
}

#[test]
fn greeting_of_a_server_that_speaks_first_passes_at_once() {
    in_namespace(
        "greeting_of_a_server_that_speaks_first_passes_at_once",
        || async {
            let fixture = RedirectedFixture::start("127.0.0.1", "iptables").await;
            let listener = Arc::clone(&fixture.server);
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(b"220 hello\r\n").await.unwrap();
                let mut word = [0; 4];
                stream.read_exact(&mut word).await.unwrap();
                stream.write_all(&word).await.unwrap();
            });
            // The client sends nothing before it has read the whole greeting.
            let script = format!(
                "exec 3<>/dev/tcp/127.0.0.1/{} && head -c 11 <&3 && printf QUIT >&3 && cat <&3",
                fixture.port()
            );
            assert_eq!(
                text(&run_as_another_user(&script).await),
                "220 hello\r\nQUIT"
            );
            fixture.expect_protocol("other").await;
        },
    );
}

#[test]
fn unknown_protocols_pass_unmodified() {
    in_namespace("unknown_protocols_pass_unmodified", || async {
        let fixture = RedirectedFixture::start("127.0.0.1", "iptables").await;
        for words in ["EHLO here\r\n", "SET key 1\r\n", "CONNECT a:1 HTTP/1.1\r\n"] {
            let server = fixture.serve(|words| format!("<{words}>"));
            assert_eq!(fixture.exchange(words).await, format!("<{words}>"));
            drop(server);
        }
        fixture.expect_protocol_times("other", 3).await;
        assert!(fixture.spans.0.lock().unwrap().is_empty());
    });
}

#[test]
fn redirected_http2_request_is_traced() {
    in_namespace("redirected_http2_request_is_traced", || async {
        let fixture = RedirectedFixture::start("127.0.0.1", "iptables").await;
        let listener = Arc::clone(&fixture.server);
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = service_fn(async |_: Request<Incoming>| {
                Ok::<_, std::convert::Infallible>(Response::new("here".to_owned()))
            });
            let builder = http2::Builder::new(TokioExecutor::new());
            drop(builder.serve_connection(TokioIo::new(stream), answer).await);
        });
        // The preface, empty SETTINGS, and a HEADERS frame that ends its stream: GET / with
        // authority `a`, by HPACK's static table (RFC 7541, appendix A).
        let hello: &[u8] =
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a";
        let words: String = hello.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        let read =
            r#"while [[ $got != *here ]] && IFS= read -r -d '' -n1 byte <&3; do got+=$byte; done"#;
        let open = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{} && printf '{words}' >&3",
            fixture.port()
        );
        let script = format!("export LC_ALL=C; {open} && {read}; echo ${{got: -4}}");
        assert_eq!(text(&run_as_another_user(&script).await).trim(), "here");
        let span = fixture.span().await;
        assert_eq!(
            (
                attribute(&span, "url.full").as_str(),
                attribute(&span, "network.protocol.version").as_str()
            ),
            ("http://a/", "2")
        );
        fixture.expect_protocol("http2").await;
    });
}

#[test]
fn ambiguous_first_bytes_pass_after_a_short_wait() {
    in_namespace("ambiguous_first_bytes_pass_after_a_short_wait", || async {
        let fixture = RedirectedFixture::start("127.0.0.1", "iptables").await;
        for words in ["PING", "\0\x01\0\0\0\x06\0\x03\0\0\0\x05"] {
            let server = fixture.serve(|words| format!("<{words}>"));
            assert_eq!(fixture.exchange(words).await, format!("<{words}>"));
            drop(server);
        }
        fixture.expect_protocol_times("other", 2).await;
    });
}

#[test]
fn absolute_form_request_to_another_proxy_keeps_its_form() {
    in_namespace(
        "absolute_form_request_to_another_proxy_keeps_its_form",
        || async {
            let fixture = RedirectedFixture::start("127.0.0.1", "iptables").await;
            let server = fixture.serve(|request| {
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{request}",
                    request.len()
                )
            });
            let request = "GET http://far.example/x HTTP/1.1\r\nhost: far.example\r\n\
                connection: close\r\n\r\n";
            let answer = fixture.exchange(request).await;
            assert!(
                answer.contains("\r\n\r\nGET http://far.example/x HTTP/1.1\r\n"),
                "{answer}"
            );
            assert_eq!(
                attribute(&fixture.span().await, "url.full"),
                "http://far.example/x"
            );
            drop(server);
        },
    );
}

#[test]
fn unreachable_destination_yields_503_in_http_and_a_reset_elsewhere() {
    in_namespace(
        "unreachable_destination_yields_503_in_http_and_a_reset_elsewhere",
        || async {
            let mut fixture = RedirectedFixture::start("127.0.0.1", "iptables").await;
            let port = fixture.close_server().await;
            let script = |words: &str| {
                format!("exec 3<>/dev/tcp/127.0.0.1/{port} && printf '{words}' >&3 && cat <&3")
            };
            let answer = run_as_another_user(&script(
                "GET / HTTP/1.1\\r\\nhost: a\\r\\nconnection: close\\r\\n\\r\\n",
            ))
            .await;
            let answer = text(&answer);
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            assert_eq!(attribute(&fixture.span().await, "error.type"), "connect");
            assert_eq!(run_as_another_user(&script("EHLO here\\r\\n")).await, b"");
        },
    );
}

/// Responses that hyper alone would change or cut, from a server whose client connects directly
/// (this program) or is redirected.
#[test]
fn redirected_http_messages_pass_as_they_came() {
    in_namespace("redirected_http_messages_pass_as_they_came", || async {
        const CASES: [(&str, &str, &[&str]); 4] = [
            (
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                "HTTP/1.1 299 Quite Well\r\nContent-Length: 2\r\nX-CamelCase: a\r\n\r\nok",
                &[
                    "HTTP/1.1 299 Quite Well\r\n",
                    "X-CamelCase: a\r\n",
                    "\r\n\r\nok",
                ],
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
                 6\r\nabcdef\r\n0\r\n\r\n",
                &["\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n"],
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
                 HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                &["HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"],
            ),
            (
                "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nConnection: close\r\n\
                 Content-Length: 5\r\n\r\n",
                "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                &["HTTP/1.1 401 Unauthorized\r\n"],
            ),
        ];
        for (request, response, parts) in CASES {
            let fixture = RedirectedFixture::start("127.0.0.1", "iptables").await;
            let listener = Arc::clone(&fixture.server);
            let server = tokio::spawn(async move {
                for _ in 0..2 {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let mut head = vec![0; 4096];
                    assert!(stream.read(&mut head).await.unwrap() > 0);
                    stream.write_all(response.as_bytes()).await.unwrap();
                }
            });
            let address = fixture.server.local_addr().unwrap();
            let mut direct = tokio::net::TcpStream::connect(address).await.unwrap();
            direct.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            within(direct.read_to_string(&mut answer)).await.unwrap();
            assert_eq!(answer, response);
            let through = fixture.exchange(request).await;
            // Nothing but the response: the sidecar adds no 100 of its own.
            let status_line = response.lines().next().unwrap();
            assert!(through.starts_with(status_line), "{through:?}");
            for part in parts {
                assert!(through.contains(part), "{part:?}: {through:?}");
            }
            within(server).await.unwrap();
        }
    });
}

/// A proxy for redirected connections, and the server whose port is redirected.
struct RedirectedFixture {
    proxy: Running,
    spans: Arc<Spans>,
    server: Arc<TcpListener>,
}

impl RedirectedFixture {
    async fn start(ip: &str, iptables: &str) -> Self {
        let ip: IpAddr = ip.parse().unwrap();
        let server = Arc::new(TcpListener::bind((ip, 0)).await.unwrap());
        let spans = Arc::new(Spans::default());
        let sink: Arc<Spans> = Arc::clone(&spans);
        let proxy = Running::start_with(config(vec![transparent(ip)]), sink).await;
        let who = ["-m", "owner", "--uid-owner", &CLIENT.to_string()];
        redirect(iptables, server.local_addr().unwrap(), &who, &proxy);
        Self {
            proxy,
            spans,
            server,
        }
    }

    fn port(&self) -> u16 {
        self.server.local_addr().unwrap().port()
    }

    /// Closes the server and returns its port, which stays redirected.
    async fn close_server(&mut self) -> u16 {
        let port = self.port();
        self.server = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        port
    }

    /// Answers the first bytes of one connection and closes it.
    fn serve(&self, answer: fn(&str) -> String) -> JoinHandle<()> {
        let listener = Arc::clone(&self.server);
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut said = vec![0; 4096];
            let count = stream.read(&mut said).await.unwrap();
            stream
                .write_all(answer(&text(&said[..count])).as_bytes())
                .await
                .unwrap();
        })
    }

    /// Sends text from the client and returns the response up to its end.
    async fn exchange(&self, words: &str) -> String {
        let (ip, port) = (self.server.local_addr().unwrap().ip(), self.port());
        let words: String = words.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
        let script = format!("exec 3<>/dev/tcp/{ip}/{port} && printf '{words}' >&3 && cat <&3");
        text(&run_as_another_user(&script).await)
    }

    async fn span(&self) -> Span {
        let begin = tokio::time::Instant::now();
        loop {
            if let [span] = &self.spans.0.lock().unwrap()[..] {
                return span.clone();
            }
            assert!(begin.elapsed() < support::LIMIT, "no span");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    async fn expect_protocol(&self, protocol: &str) {
        self.expect_protocol_times(protocol, 1).await;
    }

    async fn expect_protocol_times(&self, protocol: &str, times: u32) {
        let labels = format!("{{direction=\"outbound\",protocol=\"{protocol}\"}}");
        self.proxy
            .until_metric(&format!(
                "throughline_redirected_connections_total{labels} {times}"
            ))
            .await;
    }
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|pair| pair.key == key);
    found
        .and_then(|pair| pair.value.as_str())
        .unwrap_or_default()
        .to_owned()
}

fn transparent(ip: IpAddr) -> ListenerConfig {
    ListenerConfig {
        address: SocketAddr::new(ip, 0),
        route: ListenerRoute::Redirected(Direction::Outbound),
    }
}

fn redirect(iptables: &str, broker: SocketAddr, who: &[&str], proxy: &Running) {
    let (broker, to) = (
        broker.port().to_string(),
        proxy.addresses.listeners[0].port().to_string(),
    );
    let mut rule = vec![
        "-w", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", &broker,
    ];
    rule.extend(who);
    rule.extend(["-j", "REDIRECT", "--to-ports", &to]);
    run(Command::new(iptables).args(rule));
}

/// Sends one request to a broker as another user and returns the response.
async fn request_as_another_user(broker: SocketAddr) -> Vec<u8> {
    let asked: String = request(1, b"hello")
        .iter()
        .map(|byte| format!("\\x{byte:02x}"))
        .collect();
    // The response is a length, the correlation id and five bytes.
    let script = format!(
        "exec 3<>/dev/tcp/{}/{} && printf '{asked}' >&3 && head -c 13 <&3",
        broker.ip(),
        broker.port()
    );
    run_as_another_user(&script).await
}

/// Runs a script as another user and returns its output.
async fn run_as_another_user(script: &str) -> Vec<u8> {
    let mut bash = Command::new("bash");
    bash.args(["-c", script]).uid(CLIENT).current_dir("/");
    let output = within(tokio::task::spawn_blocking(move || bash.output().unwrap()))
        .await
        .unwrap();
    output.stdout
}

/// Runs this test in a network namespace of its own.
fn in_namespace<F: Future<Output = ()>>(test: &str, inside: impl FnOnce() -> F) {
    if std::env::var_os(INSIDE).is_some() {
        run(Command::new("ip").args(["link", "set", "lo", "up"]));
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(inside());
        return;
    }
    if let Some(missing) = missing_requirement() {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI cannot test redirection: {missing}"
        );
        println!("skipped: {missing}");
        return;
    }
    let mut again = Command::new("unshare");
    again
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1");
    let output = again.output().unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    assert!(
        text(&output.stdout).contains("1 passed"),
        "{}",
        text(&output.stdout)
    );
}

/// Returns what prevents the use of a network namespace.
fn missing_requirement() -> Option<String> {
    let works = |program: &str, arguments: &[&str]| {
        Command::new(program)
            .args(arguments)
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if !works("unshare", &["--net", "true"]) {
        return Some("a network namespace needs root".to_owned());
    }
    let tools = [
        ("iptables", "--version"),
        ("ip6tables", "--version"),
        ("ip", "-Version"),
        ("bash", "--version"),
    ];
    let absent = tools
        .iter()
        .find(|(tool, version)| !works(tool, &[version]));
    absent
        .map(|(tool, _)| format!("{tool} is missing; on Debian: apt-get install iptables iproute2"))
}

fn run(command: &mut Command) {
    let Output { status, stderr, .. } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {}", text(&stderr));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
