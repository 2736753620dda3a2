use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use throughline_store::MemoryStore;

use super::*;
use crate::config::WeavingSettings;
use crate::weaving::{WeavingLinks, WeavingTask};

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_decodes_are_limited() {
    static NOW: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let limits = CollectorLimits {
        max_concurrent_decodes: 2,
        ..CollectorLimits::default()
    };
    let store = Arc::new(MemoryStore::new(0));
    let (weaving, _weaver) = WeavingTask::new(
        Arc::clone(&store) as _,
        Arc::default(),
        WeavingSettings::default(),
        WeavingLinks::default(),
    );
    let pipeline = IngestPipeline::new(
        SpanDestination::Store(store),
        Arc::default(),
        limits,
        weaving,
    );
    let pipeline = Arc::new(pipeline);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let pipeline = Arc::clone(&pipeline);
        requests.spawn(async move {
            let body = pipeline.admit(Body::from("x")).await.unwrap();
            let decode = |_: &[u8]| {
                MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::park_timeout(Duration::from_millis(5));
                NOW.fetch_sub(1, Ordering::SeqCst);
                Ok(DecodedSpans::default())
            };
            let (endpoint, codings) = (CollectorEndpoint::Zipkin, ContentCodings::default());
            pipeline
                .store(endpoint, IngestGrant::default(), body, codings, decode)
                .await
                .unwrap();
        });
    }
    requests.join_all().await;
    assert_eq!(MOST.load(Ordering::SeqCst), 2);
}
