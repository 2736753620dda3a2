//! Options for the records that contexts are written into.

const CONTEXTS: &str = "Context propagation";

/// Options that decide which records get a context.
#[derive(Debug, Clone, clap::Args, serde::Serialize)]
pub(crate) struct InjectionArgs {
    /// Batches whose records get contexts (always, uncompressed or never)
    ///
    /// With uncompressed, compressed batches pass as they are and are not decompressed to write
    /// into them; with never all records do. Throughline's collector matches such records with
    /// their consumers by cluster, topic, partition and offset; in other back ends producers and
    /// consumers are then in separate traces. true and false stand for always and never. Requests
    /// still get contexts; --propagation none stops all writing.
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_INJECT",
        default_value = "always",
        value_name = "BATCHES",
        help_heading = CONTEXTS
    )]
    pub(crate) inject: String,

    /// Write the context of unsampled records too (true or false)
    ///
    /// With false the next hop sees no decision and starts a trace of its own.
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_INJECT_UNSAMPLED",
        default_value = "true",
        value_name = "BOOL",
        help_heading = CONTEXTS
    )]
    pub(crate) inject_unsampled: String,
}
