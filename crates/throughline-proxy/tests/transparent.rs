//! Redirected connections, in a network of their own: this program starts itself again in a new network namespace, sets up
//! iptables there, and plays broker and proxy, while bash as another user plays the client.
//!
//! Needs root, iptables and bash. Where these are missing it says so and is no proof; CI has them, and fails without.
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

use support::{Log, Running, config, echo, request, within};
use throughline_intercept::http::Direction;
use throughline_proxy::{Listener, Route};
use tokio::net::TcpListener;

/// Nobody.
const CLIENT: u32 = 65534;
const INSIDE: &str = "THROUGHLINE_TEST_INSIDE_NAMESPACE";

#[test]
fn a_redirected_connection_reaches_its_broker_over_ipv4_and_ipv6() {
    in_namespace("a_redirected_connection_reaches_its_broker_over_ipv4_and_ipv6", || async {
        for (ip, iptables) in [("127.0.0.1", "iptables"), ("::1", "ip6tables")] {
            let ip: IpAddr = ip.parse().unwrap();
            let broker = TcpListener::bind((ip, 0)).await.unwrap();
            let address = broker.local_addr().unwrap();
            let proxy = Running::start(config(vec![transparent(ip)])).await;
            redirect(iptables, address, &["-m", "owner", "--uid-owner", &CLIENT.to_string()], &proxy);
            let broker = tokio::spawn(async move {
                let (stream, _) = broker.accept().await.unwrap();
                echo(stream).await;
            });
            let answer = ask_as_another_user(address).await;
            assert!(answer.ends_with(b"hello"), "{answer:?}");
            within(broker).await.unwrap();
            let size = request(1, b"hello").len();
            let line = format!("throughline_kafka_bytes_total{{side=\"broker\",direction=\"sent\"}} {size}");
            proxy.until_metric(&line).await;
        }
    });
}

#[test]
fn a_connection_of_our_own_that_comes_back_is_closed_and_told_of() {
    in_namespace("a_connection_of_our_own_that_comes_back_is_closed_and_told_of", || async {
        let (log, _guard) = Log::new();
        let ip: IpAddr = [127, 0, 0, 1].into();
        let broker = TcpListener::bind((ip, 0)).await.unwrap();
        let proxy = Running::start(config(vec![transparent(ip)])).await;
        // Nobody is exempt, not even we.
        redirect("iptables", broker.local_addr().unwrap(), &[], &proxy);
        assert_eq!(ask_as_another_user(broker.local_addr().unwrap()).await, b"");
        let (_, text) = proxy.get("/metrics").await;
        let loops = text
            .lines()
            .find_map(|line| line.strip_prefix("throughline_kafka_connections_failed_total{reason=\"loop\"} "));
        assert_ne!(loops, Some("0"), "{text}");
        let connections = text.lines().find_map(|line| line.strip_prefix("throughline_kafka_connections_total "));
        assert!(connections.unwrap().parse::<u32>().unwrap() < 10, "{text}");
        assert!(log.text().contains("came back to us") && log.text().contains("uid-owner"), "{}", log.text());
    });
}

#[test]
fn a_connection_that_nobody_redirected_is_closed_and_told_of() {
    in_namespace("a_connection_that_nobody_redirected_is_closed_and_told_of", || async {
        let (log, _guard) = Log::new();
        let proxy = Running::start(config(vec![transparent([127, 0, 0, 1].into())])).await;
        support::read_end(&mut proxy.connect().await).await;
        proxy.until_metric("throughline_kafka_connections_failed_total{reason=\"not_redirected\"} 1").await;
        // Also where the system tracks connections for the sake of others.
        redirect("iptables", "127.0.0.1:9".parse().unwrap(), &[], &proxy);
        support::read_end(&mut proxy.connect().await).await;
        proxy.until_metric("throughline_kafka_connections_failed_total{reason=\"not_redirected\"} 2").await;
        assert!(log.text().contains("straight to the transparent port"), "{}", log.text());
    });
}

fn transparent(ip: IpAddr) -> Listener {
    Listener { address: SocketAddr::new(ip, 0), route: Route::Redirected(Direction::Outbound) }
}

fn redirect(iptables: &str, broker: SocketAddr, who: &[&str], proxy: &Running) {
    let (broker, to) = (broker.port().to_string(), proxy.addresses.listeners[0].port().to_string());
    let mut rule = vec!["-w", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", &broker];
    rule.extend(who);
    rule.extend(["-j", "REDIRECT", "--to-ports", &to]);
    run(Command::new(iptables).args(rule));
}

/// What comes back for one request to this broker until the connection ends or all of it is there.
async fn ask_as_another_user(broker: SocketAddr) -> Vec<u8> {
    let asked: String = request(1, b"hello").iter().map(|byte| format!("\\x{byte:02x}")).collect();
    // The answer is a length, the correlation id and five bytes.
    let script =
        format!("exec 3<>/dev/tcp/{}/{} && printf '{asked}' >&3 && head -c 13 <&3", broker.ip(), broker.port());
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).uid(CLIENT).current_dir("/");
    let output = within(tokio::task::spawn_blocking(move || bash.output().unwrap())).await.unwrap();
    output.stdout
}

/// Runs this test in a network of its own.
fn in_namespace<F: Future<Output = ()>>(test: &str, inside: impl FnOnce() -> F) {
    if std::env::var_os(INSIDE).is_some() {
        run(Command::new("ip").args(["link", "set", "lo", "up"]));
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(inside());
        return;
    }
    if let Some(missing) = missing() {
        assert!(std::env::var_os("CI").is_none(), "CI must be able to test redirection: {missing}");
        println!("skipped, and nothing is proved: {missing}");
        return;
    }
    let mut again = Command::new("unshare");
    again.arg("--net").arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    let output = again.output().unwrap();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("1 passed"), "{}", text(&output.stdout));
}

/// What stands in the way of a network of our own.
fn missing() -> Option<String> {
    let works = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    if !works("unshare", &["--net", "true"]) {
        return Some("a network namespace needs root".to_owned());
    }
    let tools = [("iptables", "--version"), ("ip6tables", "--version"), ("ip", "-Version"), ("bash", "--version")];
    let absent = tools.iter().find(|(tool, version)| !works(tool, &[version]));
    absent.map(|(tool, _)| format!("there is no {tool}; on Debian: apt-get install iptables iproute2"))
}

fn run(command: &mut Command) {
    let Output { status, stderr, .. } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {}", text(&stderr));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
