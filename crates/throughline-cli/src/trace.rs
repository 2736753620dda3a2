//! `throughline trace`: one trace as a tree.

mod tree;

use std::io::Write as _;

use anyhow::{Context as _, anyhow};
use throughline_model::TraceId;

use self::tree::{TreeResponse, render};
use crate::args::query::TraceArgs;
use crate::client::QueryClient;
use crate::error::CommandError;
use crate::terminal::ColorMode;

/// Queries and prints the trace.
pub(crate) fn run(args: &TraceArgs) -> Result<(), CommandError> {
    let mut errors = Vec::new();
    let client = QueryClient::new(&args.collector, &mut errors);
    // Parsed and printed again, so that a 64-bit id is padded as the server expects it.
    let Some(id) = TraceId::from_hex(args.id.trim()) else {
        errors.push(format!(
            "{:?} is not a trace id; write it as up to 32 hex digits, not all zero",
            args.id
        ));
        return Err(CommandError::Usage(errors));
    };
    if !errors.is_empty() {
        return Err(CommandError::Usage(errors));
    }
    let (status, body) = client.get(&format!("/api/traces/{id}"), &[])?;
    match status {
        200 => {}
        // Spans arrive with the export delay of their services.
        404 => {
            return Err(CommandError::Failed(anyhow!(
                "the collector has no trace {id}; it may not have arrived yet, or have been \
                 evicted for newer ones"
            )));
        }
        other => return Err(client.unexpected_response(other, &body)),
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        // Printed as received: a script gets fields that this version does not know.
        out.write_all(&body)
            .and_then(|()| writeln!(out))
            .context("cannot write to stdout")?;
        return Ok(());
    }
    let Ok(response) = serde_json::from_slice::<TreeResponse>(&body) else {
        return Err(client.unexpected_response(status, &body));
    };
    for trace in &response.data {
        out.write_all(render(trace, ColorMode::for_stdout()).as_bytes())
            .context("cannot write to stdout")?;
    }
    Ok(())
}
