//! A bucket of S3, and of every object store that speaks its protocol.
//!
//! Stores read and write files, and wait for them; the client is asynchronous. So a bucket has a
//! small runtime of its own, and may be used from any thread.
#![forbid(unsafe_code)]

mod http_client;

use std::fs::File;
use std::io::{self, Write as _};
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path as ObjectPath;
use object_store::{BackoffConfig, Error, ObjectStore as _, ObjectStoreExt as _, RetryConfig};
use throughline_segments::{ObjectBucket, ObjectEntry};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use self::http_client::HyperConnector;

/// Scheme of the URLs.
const SCHEME: &str = "s3://";

/// Requests are repeated for a moment only: the store repeats what fails longer, and a query waits.
const MAX_RETRIES: usize = 2;
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);

/// Threads that wait for the network, and write what is downloaded.
const THREADS: usize = 2;

/// Maximum number of objects that are listed at once; the list is in memory.
const MAX_LISTED: usize = 1_000_000;

/// Maximum length of the text of an error, which a server may choose.
const MAX_ERROR_LENGTH: usize = 300;

/// The reason for which a bucket cannot be named or set up.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The URL has no bucket.
    #[error("{0:?} is not the URL of a bucket; write it as s3://bucket/prefix")]
    Url(String),
    /// The URL may have a secret, and is not quoted.
    #[error(
        "the URL of a bucket has no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
         and write it as s3://bucket/prefix"
    )]
    UrlWithCredentials,
    /// A setting is not understood.
    #[error("the settings of S3 are not valid: {0}; check the AWS_ variables")]
    Settings(#[source] Error),
    /// The file of certificate authorities cannot be used.
    #[error(
        "cannot use the authorities in {path}: {source}; set AWS_CA_BUNDLE to a file of PEM \
         certificates, or leave it unset for those of the system"
    )]
    Authorities {
        /// Path in `AWS_CA_BUNDLE`.
        path: String,
        /// Reason.
        source: io::Error,
    },
    /// There is no thread for the client.
    #[error("cannot start the client of the object store: {0}")]
    Runtime(#[source] io::Error),
}

/// The objects of a bucket below a prefix.
#[derive(Debug)]
pub struct S3Bucket {
    client: Arc<AmazonS3>,
    url: String,
    prefix: ObjectPath,
    /// Ends the calls that are in progress.
    cancelled: watch::Sender<()>,
    /// `None` once it is dropped.
    runtime: Option<Runtime>,
}

/// Splits a URL such as `s3://bucket/prefix` into the bucket and the prefix.
///
/// # Errors
/// The URL has another scheme, or no bucket.
pub fn parse_url(url: &str) -> Result<(&str, &str), BucketError> {
    let rest = url.strip_prefix(SCHEME);
    let (bucket, prefix) = rest.map_or(("", ""), |rest| rest.split_once('/').unwrap_or((rest, "")));
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let prefix = prefix.trim_matches('/');
    // The library would encode other parts, and they would not be those that were asked for.
    let is_plain = ObjectPath::parse(prefix).is_ok_and(|parsed| parsed.as_ref() == prefix);
    if bucket.is_empty() || !bucket.chars().all(is_name) || !is_plain {
        return Err(if url.contains('@') {
            BucketError::UrlWithCredentials
        } else {
            BucketError::Url(url.to_owned())
        });
    }
    Ok((bucket, prefix))
}

// === impl S3Bucket ===

impl S3Bucket {
    /// Sets up a client; nothing is sent. `variables` are those of the environment that begin with
    /// `AWS_`, as other clients of S3 know them: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`, `AWS_CA_BUNDLE` and others.
    ///
    /// # Errors
    /// The URL or a variable is not valid, or the file of authorities cannot be read.
    pub fn open(
        url: &str,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, BucketError> {
        let (bucket, prefix) = parse_url(url)?;
        let mut authorities = None;
        let mut builder = AmazonS3Builder::new().with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: MAX_RETRIES,
            retry_timeout: RETRY_TIMEOUT,
        });
        for (name, value) in variables {
            if name == "AWS_CA_BUNDLE" {
                authorities = Some(value);
            } else if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        let connector = HyperConnector::new(authorities.as_deref());
        let connector = connector.map_err(|source| BucketError::Authorities {
            path: authorities.unwrap_or_default(),
            source,
        })?;
        let builder = builder.with_http_connector(connector);
        let client = builder.with_bucket_name(bucket).build();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("objects")
            .enable_all()
            .build();
        Ok(Self {
            client: Arc::new(client.map_err(BucketError::Settings)?),
            url: format!(
                "{SCHEME}{}",
                [bucket, prefix].join("/").trim_end_matches('/')
            ),
            prefix: ObjectPath::from(prefix),
            cancelled: watch::channel(()).0,
            runtime: Some(runtime.map_err(BucketError::Runtime)?),
        })
    }

    /// Waits for what `work` does with the client, on a thread of its own: the caller may be one of
    /// another runtime, which must not wait.
    fn wait<T, F>(&self, work: impl FnOnce(Arc<AmazonS3>) -> F) -> io::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = io::Result<T>> + Send + 'static,
    {
        let stopped = || io::Error::other("the client of the object store was stopped");
        let runtime = self.runtime.as_ref().ok_or_else(stopped)?;
        let (sender, receiver) = mpsc::sync_channel(1);
        let work = work(Arc::clone(&self.client));
        let mut cancelled = self.cancelled.subscribe();
        runtime.spawn(async move {
            let outcome = match select(pin!(work), pin!(cancelled.changed())).await {
                Either::Left((outcome, _)) => outcome,
                Either::Right(_) => Err(io::Error::other("the request was cancelled")),
            };
            // The receiver waits.
            sender.send(outcome).unwrap_or_default();
        });
        receiver.recv().map_err(|_| stopped())?
    }

    fn path(&self, key: &str) -> ObjectPath {
        key.split('/')
            .fold(self.prefix.clone(), |path, part| path.join(part))
    }
}

impl ObjectBucket for S3Bucket {
    fn url(&self) -> String {
        self.url.clone()
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<ObjectEntry>> {
        let root = self.prefix.clone();
        // A prefix of the library has whole names.
        let from = prefix
            .trim_end_matches('/')
            .split('/')
            .filter(|part| !part.is_empty());
        let from = from.fold(root.clone(), |path, part| path.join(part));
        let entries = self.wait(|client| async move {
            let listed = client.list(Some(&from)).map_err(into_io);
            let entries = listed.map_ok(move |object| {
                let below = object.location.prefix_match(&root)?;
                let parts: Vec<String> = below.map(|part| part.as_ref().to_owned()).collect();
                Some(ObjectEntry {
                    key: parts.join("/"),
                    bytes: object.size,
                })
            });
            // One more shows that there are too many.
            let entries = entries.take(MAX_LISTED + 1);
            let entries = entries.try_collect::<Vec<_>>().await?;
            if entries.len() > MAX_LISTED {
                return Err(too_large("more than 1,000,000 objects".to_owned()));
            }
            Ok(entries)
        })?;
        let entries = entries.into_iter().flatten();
        Ok(entries
            .filter(|entry| entry.key.starts_with(prefix))
            .collect())
    }

    fn download(&self, key: &str, mut to: File, max_bytes: u64) -> io::Result<u64> {
        let path = self.path(key);
        self.wait(|client| async move {
            let object = client.get(&path).await.map_err(into_io)?;
            let size = object.meta.size;
            let mut content = object.into_stream();
            let mut bytes = 0;
            while let Some(chunk) = content.next().await {
                let chunk = chunk.map_err(into_io)?;
                bytes += chunk.len() as u64;
                // The response may have named another size.
                if bytes > max_bytes {
                    return Err(too_large(format!(
                        "an object of more than {max_bytes} bytes"
                    )));
                }
                to.write_all(&chunk)?;
            }
            if bytes == size {
                Ok(bytes)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        })
    }

    fn upload(&self, key: &str, content: Vec<u8>) -> io::Result<()> {
        let path = self.path(key);
        self.wait(|client| async move {
            let put = client.put(&path, content.into()).await;
            put.map(drop).map_err(into_io)
        })
    }

    fn delete(&self, key: &str) -> io::Result<()> {
        let path = self.path(key);
        let deleted =
            self.wait(|client| async move { client.delete(&path).await.map_err(into_io) });
        match deleted {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn cancel(&self) {
        self.cancelled.send_replace(());
    }
}

impl Drop for S3Bucket {
    fn drop(&mut self) {
        // Does not wait: the caller may be a thread of another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn too_large(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, text)
}

/// Returns an error with the kind that a store distinguishes, and with the cause alone: the library
/// adds the request and its repetitions, and gives the kind of some requests only in the text.
#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn into_io(error: Error) -> io::Error {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = cause.to_string();
    let has_status = |status: &[&str]| status.iter().any(|it| text.contains(it));
    let kind = if matches!(error, Error::NotFound { .. }) || has_status(&["404 Not Found"]) {
        io::ErrorKind::NotFound
    } else if has_status(&["401 Unauthorized", "403 Forbidden"]) {
        io::ErrorKind::PermissionDenied
    } else if text.contains("invalid peer certificate") {
        io::ErrorKind::InvalidData
    } else {
        io::ErrorKind::Other
    };
    io::Error::new(kind, shorten(&text))
}

/// Returns the code and the message of a response of S3 in place of its XML.
fn shorten(text: &str) -> String {
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0)
    };
    let code = element("Code").map(|code| {
        let message = element("Message").unwrap_or_default();
        format!("{code}: {message}")
    });
    let text = code.unwrap_or_else(|| text.to_owned());
    text.chars().take(MAX_ERROR_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_bucket_and_a_prefix() {
        for (url, expected) in [
            ("s3://traces", ("traces", "")),
            ("s3://traces/", ("traces", "")),
            ("s3://traces/a/b/", ("traces", "a/b")),
        ] {
            assert_eq!(parse_url(url).unwrap(), expected);
        }
        for url in [
            "s3://",
            "s3:///a",
            "gs://a",
            "s3://a b",
            "s3://a/b//c",
            "s3://a/../c",
            "s3://KEY:SECRET@a",
            "s3://KEY:SECRET/1@a/b",
        ] {
            let error = parse_url(url).unwrap_err().to_string();
            assert!(error.contains("write it as s3://bucket/prefix"), "{error}");
            assert!(
                !error.contains("SECRET@") && !error.contains("SECRET/"),
                "{error}"
            );
        }
    }
}
