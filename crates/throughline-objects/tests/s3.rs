//! A bucket of a real server of S3.
#![expect(
    clippy::unwrap_used,
    reason = "a test reports its failure by panicking"
)]

use std::io::{self, Read as _, Seek as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use throughline_objects::S3Bucket;
use throughline_segments::{DiskSettings, DiskStore, ObjectBucket, ObjectEntry};
use throughline_testkit::kafka::CertificateFiles;
use throughline_testkit::s3::S3Server;

/// Returns the bucket at a URL, with other values of some variables.
fn bucket(server: &S3Server, url: &str, changes: &[(&str, &str)]) -> S3Bucket {
    let variables = server.variables().map(|(name, value)| {
        let change = changes.iter().find(|(changed, _)| *changed == name);
        let value = change.map_or(value, |(_, other)| (*other).to_owned());
        (name.to_owned(), value)
    });
    S3Bucket::open(url, variables.into_iter()).unwrap()
}

fn read(bucket: &S3Bucket, key: &str) -> Vec<u8> {
    let mut file = tempfile::tempfile().unwrap();
    let bytes = bucket.download(key, file.try_clone().unwrap(), u64::MAX);
    let bytes = bytes.unwrap();
    file.rewind().unwrap();
    let mut content = Vec::new();
    file.read_to_end(&mut content).unwrap();
    assert_eq!(content.len() as u64, bytes);
    content
}

#[test]
fn objects_are_written_listed_read_and_deleted_below_a_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let server = S3Server::start(folder.path(), "traces").unwrap();
    let all = bucket(&server, "s3://traces", &[]);
    let below = bucket(&server, "s3://traces/shop/a", &[]);
    assert_eq!(below.url(), "s3://traces/shop/a");
    // More than one page of a list.
    let keys: Vec<String> = (0..1100)
        .map(|number| format!("m1/{number:04}.log"))
        .collect();
    for key in &keys {
        below.upload(key, key.as_bytes().to_vec()).unwrap();
    }
    below.upload("m10/x.log", Vec::new()).unwrap();
    let entry = |key: &String| ObjectEntry {
        key: key.clone(),
        bytes: key.len() as u64,
    };
    let expected: Vec<ObjectEntry> = keys.iter().map(entry).collect();
    let sorted = |mut list: Vec<ObjectEntry>| {
        list.sort_by(|a, b| a.key.cmp(&b.key));
        list
    };
    assert_eq!(sorted(below.list("m1/").unwrap()), expected);
    assert_eq!(below.list("").unwrap().len(), 1101);
    assert_eq!(all.list("shop/a/m10/").unwrap().len(), 1);
    assert_eq!(all.list("other/").unwrap(), []);
    assert_eq!(read(&below, "m1/0007.log"), b"m1/0007.log");
    // Replaced as a whole.
    let large = vec![7; 9 << 20];
    below.upload("m1/0007.log", large.clone()).unwrap();
    assert_eq!(read(&all, "shop/a/m1/0007.log"), large);
    // No more than the caller expects.
    let max_bytes = large.len() as u64 - 1;
    let mut file = tempfile::tempfile().unwrap();
    let error = below.download("m1/0007.log", file.try_clone().unwrap(), max_bytes);
    assert_eq!(error.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    assert!(file.seek(io::SeekFrom::End(0)).unwrap() <= max_bytes);
    for _ in 0..2 {
        below.delete("m1/0007.log").unwrap();
    }
    let file = tempfile::tempfile().unwrap();
    let error = below.download("m1/0007.log", file, 10).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
    assert_eq!(below.list("m1/").unwrap().len(), 1099);
}

#[test]
fn mistakes_are_reported_at_the_start_with_their_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = S3Server::start(folder.path(), "traces").unwrap();
    let open = |bucket: S3Bucket| -> String {
        let local = tempfile::tempdir().unwrap();
        let bucket: Arc<dyn ObjectBucket> = Arc::new(bucket);
        let settings = DiskSettings {
            min_free_bytes: 0,
            ..DiskSettings::default()
        };
        let member = local.path().join("member");
        let opened = DiskStore::open_objects(&member, Arc::clone(&bucket), settings.clone());
        let error = opened.map(drop).unwrap_err().to_string();
        let node = local.path().join("node");
        let opened = DiskStore::open_query_only_objects(&node, bucket, settings);
        assert_eq!(opened.map(drop).unwrap_err().to_string(), error);
        error
    };
    let secret = "a-secret-that-nobody-may-see";
    let wrong_secret = [("AWS_SECRET_ACCESS_KEY", secret)];
    let wrong_key = [("AWS_ACCESS_KEY_ID", "nobody")];
    for (url, changes, expected) in [
        ("s3://traces/a", &wrong_secret, "check AWS_ACCESS_KEY_ID"),
        ("s3://traces/a", &wrong_key, "check AWS_ACCESS_KEY_ID"),
        ("s3://absent", &[("", "")], "create the bucket"),
    ] {
        let error = open(bucket(&server, url, changes));
        assert!(error.starts_with(&format!("cannot use {url}: ")), "{error}");
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains(secret), "{error}");
    }
    // Without permission to speak without TLS.
    let error = open(bucket(
        &server,
        "s3://traces",
        &[("AWS_ALLOW_HTTP", "false")],
    ));
    assert!(error.contains("AWS_ALLOW_HTTP=true"), "{error}");
    let absent = bucket(&server, "s3://traces", &[]);
    server.stop();
    let begin = Instant::now();
    let error = open(absent);
    assert!(error.contains("check AWS_ENDPOINT_URL"), "{error}");
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn a_private_authority_is_trusted_where_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let files = CertificateFiles::create(folder.path()).unwrap();
    let server = S3Server::start_tls(&folder.path().join("s3"), "traces", &files).unwrap();
    let variables = |bundle: Option<&Path>| {
        let own = server.variables();
        let own = own.map(|(name, value)| (name.to_owned(), value));
        let bundle = bundle.map(|it| ("AWS_CA_BUNDLE".to_owned(), it.display().to_string()));
        own.into_iter().chain(bundle)
    };
    let open = |bundle| S3Bucket::open("s3://traces", variables(bundle));
    let trusting = open(Some(&files.ca)).unwrap();
    trusting.upload("a/1.log", b"content".to_vec()).unwrap();
    assert_eq!(read(&trusting, "a/1.log"), b"content");
    // Another one, and none.
    for bucket in [open(Some(&files.client)), open(None)] {
        let local = tempfile::tempdir().unwrap();
        let bucket = Arc::new(bucket.unwrap());
        let error = DiskStore::open_objects(local.path(), bucket, DiskSettings::default());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("invalid peer certificate"), "{error}");
        assert!(error.contains("set AWS_CA_BUNDLE to a file"), "{error}");
    }
    let absent = folder.path().join("absent.pem");
    for path in [&absent, &files.server_key] {
        let error = open(Some(path)).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert!(error.contains("a file of PEM certificates"), "{error}");
    }
}
