//! Where the traces of a store are: in a folder, or in a bucket with a local folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use throughline_model::byte_size;
#[cfg(feature = "object-store")]
use throughline_objects::{S3Bucket, parse_url};
use throughline_segments::{DiskSettings, DiskStore, ObjectBucket};
use throughline_store::Store;

use crate::args::store::StoreArgs;

/// Scheme of the URL of a folder.
const FILE_SCHEME: &str = "file://";

/// Time between two lists of a bucket, each of which is paid for.
const LIST_INTERVAL: Duration = Duration::from_secs(5);

/// Folder of folders with copies of objects, in the user's data directory.
const LOCAL_FOLDERS: &str = "throughline-objects";

/// Where the traces of a store are.
#[derive(Debug)]
pub(crate) struct StorePlace {
    /// URL of the bucket, if there is one.
    url: Option<String>,
    /// Folder of the store; with a bucket, the local one.
    folder: PathBuf,
}

// === impl StorePlace ===

impl StorePlace {
    /// Parses the arguments; adds every error, with its remedy, to `errors`.
    pub(super) fn parse(args: &StoreArgs, errors: &mut Vec<String>) -> Option<Self> {
        let given = |path: &Option<PathBuf>| {
            let path = path.clone();
            path.filter(|path| !path.as_os_str().is_empty())
        };
        let data = given(&args.data);
        let local = given(&args.local_folder);
        let url = data
            .as_deref()
            .and_then(Path::to_str)
            .filter(|it| is_url(it));
        let Some(url) = url else {
            for (option, is_given) in [
                ("--local-folder", local.is_some()),
                ("--local-bytes", args.local_bytes.is_some()),
            ] {
                if is_given {
                    errors.push(format!(
                        "{option} has no effect without a bucket; use --data s3://bucket/prefix, \
                         or leave it out"
                    ));
                }
            }
            let folder = folder(data.as_ref());
            let folder = folder
                .map_err(|error| errors.push(error.to_string()))
                .ok()?;
            return Some(Self { url: None, folder });
        };
        check_url(url).map_err(|error| errors.push(error)).ok()?;
        let folder = local.map_or_else(|| local_folder(url, args.query_only), Ok);
        let folder = folder
            .map_err(|error| errors.push(error.to_string()))
            .ok()?;
        Some(Self {
            url: Some(url.to_owned()),
            folder,
        })
    }

    /// Opens the store.
    pub(super) fn open(&self, settings: DiskSettings) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(match &self.url {
            None => DiskStore::open(&self.folder, settings)?,
            Some(url) => DiskStore::open_objects(&self.folder, open_bucket(url)?, settings)?,
        }))
    }

    /// Opens the stores of others.
    pub(super) fn open_query_only(&self, settings: DiskSettings) -> Result<Arc<dyn Store>> {
        Ok(match &self.url {
            None => DiskStore::open_query_only(&self.folder, settings)?,
            Some(url) => {
                DiskStore::open_query_only_objects(&self.folder, open_bucket(url)?, settings)?
            }
        })
    }

    /// Returns the time between two looks for the segments of others.
    pub(super) fn refresh_interval(&self) -> Duration {
        match self.url {
            None => DiskSettings::default().refresh_interval,
            Some(_) => LIST_INTERVAL,
        }
    }

    /// Returns the folder or the URL.
    pub(super) fn location(&self) -> String {
        let folder = || self.folder.display().to_string();
        self.url.clone().unwrap_or_else(folder)
    }

    /// Returns a sentence about the local folder, if there is one.
    pub(super) fn describe_local(&self, settings: &DiskSettings) -> String {
        if self.url.is_none() {
            return String::new();
        }
        let folder = self.folder.display();
        let bytes = byte_size::format(settings.max_local_bytes);
        format!(" The local folder is {folder}, with up to {bytes} of segments.")
    }
}

fn is_url(data: &str) -> bool {
    data.contains("://") && !data.starts_with(FILE_SCHEME)
}

#[cfg(feature = "object-store")]
fn check_url(url: &str) -> Result<(), String> {
    parse_url(url)
        .map(drop)
        .map_err(|error| format!("--data {error}"))
}

#[cfg(not(feature = "object-store"))]
fn check_url(url: &str) -> Result<(), String> {
    Err(format!("--data {url}: {NO_CLIENT}"))
}

#[cfg(feature = "object-store")]
fn open_bucket(url: &str) -> Result<Arc<dyn ObjectBucket>> {
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let pair = (name.into_string().ok()?, value.into_string().ok()?);
        pair.0.starts_with("AWS_").then_some(pair)
    });
    Ok(Arc::new(S3Bucket::open(url, variables)?))
}

#[cfg(not(feature = "object-store"))]
const NO_CLIENT: &str = "this program was built without the feature object-store, so name a folder";

#[cfg(not(feature = "object-store"))]
fn open_bucket(_: &str) -> Result<Arc<dyn ObjectBucket>> {
    bail!(NO_CLIENT)
}

/// Returns the folder of a store: the one given, or that of the user's data directory (XDG Base
/// Directory Specification).
pub(super) fn folder(given: Option<&PathBuf>) -> Result<PathBuf> {
    let Some(folder) = given else {
        return Ok(data_directory()?.join("throughline"));
    };
    match folder.to_str() {
        Some(url) if is_url(url) => bail!("--data {url} is not a folder, which this command needs"),
        Some(url) => Ok(PathBuf::from(url.strip_prefix(FILE_SCHEME).unwrap_or(url))),
        None => Ok(folder.clone()),
    }
}

/// Returns the local folder of a bucket. One process can use it, so queries have another one.
fn local_folder(url: &str, is_query_only: bool) -> Result<PathBuf> {
    let below = url.split("://").last().unwrap_or_default();
    let mut name = below.trim_matches('/').replace('/', "+");
    if is_query_only {
        name.push_str("+queries");
    }
    Ok(data_directory()?.join(LOCAL_FOLDERS).join(name))
}

fn data_directory() -> Result<PathBuf> {
    let absolute = |name: &str| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let home = || Some(absolute("HOME")?.join(".local/share"));
    absolute("XDG_DATA_HOME").or_else(home).ok_or_else(|| {
        anyhow!(
            "there is no user's data directory; name a folder with --data, or for a bucket with \
             --local-folder, or keep traces in memory with --store memory"
        )
    })
}
