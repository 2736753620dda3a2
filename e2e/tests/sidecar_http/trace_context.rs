//! W3C Trace Context, by a service that knows nothing of it, behind the real sidecar.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::post;
use serde_json::{Value, json};
use throughline_testkit::process::Spec;
use throughline_testkit::wait;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::cases::{CASES, Callback, Fields, TracedService};
use crate::side::{PATIENCE, Side, read_to_end};

/// A service, its sidecar, and who asks and is asked back.
struct Stage {
    side: Side,
    /// Where the service is to ask back.
    back: SocketAddr,
    asked: Asked,
    count: usize,
    /// When the last request was over.
    rested: Instant,
    keeper: JoinHandle<()>,
    _runtime: Runtime,
}

/// What each path was asked with.
type Asked = Arc<Mutex<HashMap<String, Fields>>>;

/// The service's client of HTTP, which has the sidecar as its proxy once that is there.
type Client = Arc<Mutex<Option<reqwest::Client>>>;

const PAUSE: Duration = Duration::from_millis(10);

#[test]
fn every_case_of_the_trace_context_suite_holds_behind_the_sidecar() {
    let mut stage = Stage::start();
    stage.get_going();
    for (says, case) in CASES {
        eprintln!("{says}");
        case(&mut stage);
    }
    stage.side.assert_calm();
}

/// The suite itself, which is not part of this repository; it needs Python with aiohttp.
#[test]
#[ignore = "needs a copy of github.com/w3c/trace-context: TRACE_CONTEXT_SUITE=<its folder test>"]
fn the_trace_context_suite_itself_is_green_behind_the_sidecar() {
    let suite = std::env::var_os("TRACE_CONTEXT_SUITE")
        .expect("TRACE_CONTEXT_SUITE names the suite's folder");
    for level in ["1", "2"] {
        let mut stage = Stage::start();
        stage.get_going();
        // The suite takes our place: what is known of the service holds for whom it asked.
        stage.keeper.abort();
        let free = || {
            std::net::TcpListener::bind(stage.back)
                .is_ok()
                .then_some(())
        };
        wait::until(PATIENCE, free).expect("our place is free");
        let run = Spec::new("suite", "python3")
            .args([
                "test.py".to_owned(),
                format!("http://{}/", stage.side.inbound()),
            ])
            .dir(&suite)
            .env("HARNESS_PORT", stage.back.port().to_string())
            .env("STRICT_LEVEL", "2")
            .env("SPEC_LEVEL", level)
            .echo(true)
            .spawn()
            .unwrap();
        let status = wait::until(Duration::from_secs(300), || run.status()).expect("it ends");
        assert!(
            status.success(),
            "level {level}: {status}\n{}",
            run.log().join("\n")
        );
    }
}

// === impl Stage ===

impl Stage {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let (asked, client) = (Asked::default(), Client::default());
        let ((back, keeper), (service, _)) = runtime.block_on(async {
            let keep = Router::new().fallback(keep).with_state(Arc::clone(&asked));
            let ask = Router::new()
                .route("/", post(ask))
                .with_state(Arc::clone(&client));
            (serve(keep).await, serve(ask).await)
        });
        let side = Side::start(service, &[]);
        let proxy = reqwest::Proxy::http(format!("http://{}", side.outbound())).unwrap();
        *client.lock().unwrap() = Some(reqwest::Client::builder().proxy(proxy).build().unwrap());
        Self {
            side,
            back,
            asked,
            count: 0,
            rested: Instant::now(),
            keeper,
            _runtime: runtime,
        }
    }

    /// What a process has not shown yet is not believed: until it has shown that it does nothing but answer, its calls are `open`.
    fn get_going(&mut self) {
        let parent = (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        );
        let mut in_a_row = 0;
        let believed = wait::until(PATIENCE, || {
            let out = Callback::of(&self.request_callbacks(&[parent], 1).remove(0));
            in_a_row = if parent.1.contains(&out.trace_id) {
                in_a_row + 1
            } else {
                0
            };
            (in_a_row == 5).then_some(())
        });
        believed.expect("its calls are taken for those of the only request that it has");
    }
}

impl TracedService for Stage {
    fn request_callbacks(&mut self, fields: &[(&str, &str)], callbacks: usize) -> Vec<Fields> {
        // What comes within a millisecond of another's end could be of either. The suite itself is not that fast.
        let has_rested = || (self.rested.elapsed() > PAUSE).then_some(());
        wait::until(PATIENCE, has_rested).expect("time passes");
        self.count += 1;
        let paths: Vec<String> = (0..callbacks)
            .map(|nth| format!("/{}.{nth}", self.count))
            .collect();
        let url =
            |path: &String| json!({"url": format!("http://{}{path}", self.back), "arguments": []});
        let body = Value::from(paths.iter().map(url).collect::<Vec<_>>()).to_string();
        // By hand: names keep their case here, and values the white space around them.
        let mut head = format!(
            "POST / HTTP/1.1\r\nhost: service\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        let mut stream = self.side.connect();
        stream
            .write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes())
            .unwrap();
        let answer = read_to_end(&mut stream);
        self.rested = Instant::now();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let mut asked = self.asked.lock().unwrap();
        paths
            .iter()
            .map(|path| {
                asked
                    .remove(path)
                    .unwrap_or_else(|| panic!("{path} was not asked"))
            })
            .collect()
    }
}

async fn serve(router: Router) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (
        address,
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap_or_default() }),
    )
}

/// What the service does: it asks each of these, one after the other, as the suite's contract has it.
async fn ask(State(client): State<Client>, body: String) -> StatusCode {
    let client = client.lock().unwrap().clone().unwrap();
    let list: Value = serde_json::from_str(&body).unwrap_or_default();
    for one in list.as_array().into_iter().flatten() {
        let (Some(url), arguments) = (one["url"].as_str(), one["arguments"].to_string()) else {
            return StatusCode::BAD_REQUEST;
        };
        let asked = client
            .post(url)
            .header("content-type", "application/json")
            .body(arguments)
            .send()
            .await;
        if asked.is_err() {
            return StatusCode::BAD_GATEWAY;
        }
    }
    StatusCode::OK
}

async fn keep(State(asked): State<Asked>, uri: Uri, fields: HeaderMap) -> StatusCode {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let fields = fields
        .iter()
        .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
        .collect();
    asked.lock().unwrap().insert(uri.path().to_owned(), fields);
    StatusCode::OK
}
