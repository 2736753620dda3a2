use std::sync::atomic::AtomicUsize;

use throughline_store::MemoryStore;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn no_more_bodies_are_decoded_at_once_than_allowed() {
    static NOW: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let limits = Limits {
        decodings_max: 2,
        ..Limits::default()
    };
    let intake = Arc::new(Intake::new(
        Arc::new(MemoryStore::new(0)),
        Arc::default(),
        limits,
    ));
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let intake = Arc::clone(&intake);
        requests.spawn(async move {
            let body = intake.admit(Body::from("x")).await.unwrap();
            let decode = |_: &[u8]| {
                MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::park_timeout(Duration::from_millis(5));
                NOW.fetch_sub(1, Ordering::SeqCst);
                Ok(DecodedSpans::default())
            };
            intake
                .keep(Door::Zipkin, body, Encoding::Identity, decode)
                .await
                .unwrap();
        });
    }
    requests.join_all().await;
    assert_eq!(MOST.load(Ordering::SeqCst), 2);
}
