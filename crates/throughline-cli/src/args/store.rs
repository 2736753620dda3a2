//! Arguments about the store of traces.

use std::path::PathBuf;

use clap::Subcommand;

const STORAGE: &str = "Storage";

pub(super) const EXAMPLES: &str = "\
Examples:
  throughline store check
      Read every log and segment in the user's data directory.
  throughline store compact --data ./traces
      Merge small segments.
  throughline store export --data ./traces > traces.jsonl
      Write all traces as OTLP JSON, a trace a line.
  throughline store import --data ./copy traces.jsonl
      Add the traces of such a file.

The collector that owns the folder must be stopped.";

/// Where traces are kept, and how long.
#[derive(Debug, clap::Args)]
pub(crate) struct StoreArgs {
    /// Where traces are kept: on disk, or in memory only, where a restart loses them
    #[arg(
        long,
        env = "THROUGHLINE_STORE",
        default_value = "disk",
        value_name = "KIND",
        help_heading = STORAGE
    )]
    pub(crate) store: String,

    /// Folder for traces on disk, or a bucket of S3 such as s3://bucket/prefix, with the usual AWS_
    /// variables; the directory throughline in the user's data directory by default
    #[arg(long, env = "THROUGHLINE_DATA", value_name = "DIR|URL", help_heading = STORAGE)]
    pub(crate) data: Option<PathBuf>,

    /// With a bucket: folder of this process for the log, for segments that are not uploaded yet,
    /// and for copies of objects; a directory in the user's data directory by default
    #[arg(long, env = "THROUGHLINE_LOCAL_FOLDER", value_name = "DIR", help_heading = STORAGE)]
    pub(crate) local_folder: Option<PathBuf>,

    /// With a bucket: maximum size of segments and copies in the local folder [default: 4GiB];
    /// copies are removed for it, and spans are refused while it is full of segments that cannot be
    /// uploaded
    #[arg(long, env = "THROUGHLINE_LOCAL_BYTES", value_name = "SIZE", help_heading = STORAGE)]
    pub(crate) local_bytes: Option<String>,

    /// Maximum memory for traces that are in no segment yet and for indexes, such as 512MiB; with
    /// --store memory for all traces, of which the oldest are evicted
    #[arg(
        long,
        env = "THROUGHLINE_STORE_MEMORY",
        default_value = "512MiB",
        value_name = "SIZE",
        help_heading = STORAGE
    )]
    pub(crate) store_memory: String,

    /// When spans are on the disk: before they are acknowledged (fsync), or at most 200 ms later
    /// (interval)
    #[arg(
        long,
        env = "THROUGHLINE_DURABILITY",
        default_value = "interval",
        value_name = "WHEN",
        help_heading = STORAGE
    )]
    pub(crate) durability: String,

    /// Time after which spans are sealed into a segment although they are few: query nodes and
    /// other engines see them then
    #[arg(
        long,
        env = "THROUGHLINE_SEAL_INTERVAL",
        default_value = "15m",
        value_name = "DURATION",
        help_heading = STORAGE
    )]
    pub(crate) seal_interval: String,

    /// Answer queries only: read the segments of all collectors whose --data folders are below this
    /// --data folder, or in this bucket, write nothing there, and receive no spans
    #[arg(long, env = "THROUGHLINE_QUERY_ONLY", help_heading = STORAGE)]
    pub(crate) query_only: bool,

    /// Maximum size of the traces on disk or in the bucket; the oldest are removed
    #[arg(
        long,
        env = "THROUGHLINE_RETENTION_BYTES",
        default_value = "10GiB",
        value_name = "SIZE",
        help_heading = STORAGE
    )]
    pub(crate) retention_bytes: String,

    /// Age at which traces are removed, such as 72h; none by default
    #[arg(
        long,
        env = "THROUGHLINE_RETENTION",
        value_name = "DURATION",
        help_heading = STORAGE
    )]
    pub(crate) retention: Option<String>,

    /// Free space that is left on the disk: the oldest traces are removed for it, then spans are
    /// refused
    #[arg(
        long,
        env = "THROUGHLINE_MIN_FREE",
        default_value = "1GiB",
        value_name = "SIZE",
        help_heading = STORAGE
    )]
    pub(crate) min_free: String,
}

/// Arguments of `throughline store`.
#[derive(Debug, clap::Args)]
pub(crate) struct StoreCommandArgs {
    #[command(subcommand)]
    pub(crate) command: StoreCommand,
}

/// An operation on a store that no collector has open.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Read every log and segment, and report what is damaged
    #[command(after_help = EXAMPLES)]
    Check(FolderArgs),
    /// Merge small segments
    #[command(after_help = EXAMPLES)]
    Compact(FolderArgs),
    /// Write all traces to stdout as OTLP JSON, a trace a line
    #[command(after_help = EXAMPLES)]
    Export(FolderArgs),
    /// Add the traces of files in OTLP JSON
    #[command(after_help = EXAMPLES)]
    Import(ImportArgs),
}

/// The folder of a store.
#[derive(Debug, clap::Args)]
pub(crate) struct FolderArgs {
    /// Folder of the store; the directory throughline in the user's data directory by default
    #[arg(long, env = "THROUGHLINE_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// Arguments of `throughline store import`.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,

    /// Files with OTLP JSON, a document a line; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}
