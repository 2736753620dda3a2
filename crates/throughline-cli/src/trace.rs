//! `throughline trace`: one trace as a tree.

mod tree;

use std::io::Write as _;

use anyhow::{Context as _, anyhow};
use throughline_model::TraceId;

use self::tree::{Answer, render};
use crate::Failure;
use crate::args::Trace;
use crate::client::Client;
use crate::terminal::Paint;

/// Shows the trace.
pub(crate) fn run(args: &Trace) -> Result<(), Failure> {
    let mut mistakes = Vec::new();
    let client = Client::new(&args.collector, &mut mistakes);
    let Some(id) = TraceId::from_hex(args.id.trim()) else {
        mistakes.push(format!(
            "{:?} is no trace id; write it as up to 32 hex digits, not all zero",
            args.id
        ));
        return Err(Failure::Usage(mistakes));
    };
    if !mistakes.is_empty() {
        return Err(Failure::Usage(mistakes));
    }
    let (status, body) = client.ask(&format!("/api/traces/{id}"), &[])?;
    match status {
        200 => {}
        404 => {
            return Err(Failure::Failed(anyhow!(
                "the collector has no trace {id}; it may be on its way still, or gone to make room for newer ones"
            )));
        }
        other => return Err(client.unexpected(other, &body)),
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        out.write_all(&body)
            .and_then(|()| writeln!(out))
            .context("cannot print")?;
        return Ok(());
    }
    let Ok(answer) = serde_json::from_slice::<Answer>(&body) else {
        return Err(client.unexpected(status, &body));
    };
    for trace in &answer.data {
        out.write_all(render(trace, Paint::for_stdout()).as_bytes())
            .context("cannot print")?;
    }
    Ok(())
}
