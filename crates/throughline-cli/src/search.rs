//! `throughline search`: traces in a table, newest first.

use std::io::Write as _;

use anyhow::Context as _;
use throughline_model::duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::args::query::SearchArgs;
use crate::client::QueryClient;
use crate::error::CommandError;
use crate::terminal::{ColorMode, printable};

/// The most traces that one search lists.
const MAX_LIMIT: u32 = 1500;

/// The response of `/api/v3/trace-summaries`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct TraceSearchJson {
    summaries: Vec<FoundTraceJson>,
}

/// The summary of one trace; fields that are zero are absent.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FoundTraceJson {
    trace_id: String,
    root_service_name: String,
    root_operation_name: String,
    root_destination: String,
    min_start_time_unix_nano: String,
    max_end_time_unix_nano: String,
    settled_time_unix_nano: String,
    span_count: u64,
    error_span_count: u64,
    services: Vec<ServiceNameJson>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct ServiceNameJson {
    name: String,
}

/// Queries and prints the traces that match.
pub(crate) fn run(args: &SearchArgs) -> Result<(), CommandError> {
    let mut errors = Vec::new();
    let client = QueryClient::new(&args.collector, &mut errors);
    let parameters = query_parameters(args, OffsetDateTime::now_utc(), &mut errors);
    if !errors.is_empty() {
        return Err(CommandError::Usage(errors));
    }
    let (status, body) = client.get("/api/v3/trace-summaries", &parameters)?;
    if status != 200 {
        return Err(client.unexpected_response(status, &body));
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        out.write_all(&body)
            .and_then(|()| writeln!(out))
            .context("cannot write to stdout")?;
        return Ok(());
    }
    // A proxy in between may respond with a page of its own.
    let Ok(list) = serde_json::from_slice::<TraceSearchJson>(&body) else {
        return Err(client.unexpected_response(status, &body));
    };
    out.write_all(table(&list.summaries, ColorMode::for_stdout()).as_bytes())
        .context("cannot write to stdout")?;
    Ok(())
}

/// Returns the query's parameters; invalid options go to `errors`.
fn query_parameters(
    args: &SearchArgs,
    now: OffsetDateTime,
    errors: &mut Vec<String>,
) -> Vec<(&'static str, String)> {
    let mut parameters = Vec::new();
    let names = [
        ("query.serviceName", &args.service),
        ("query.operationName", &args.operation),
    ];
    for (name, value) in names {
        parameters.extend(value.iter().map(|value| (name, value.clone())));
    }
    let attributes = tag_attributes(&args.tag, errors);
    if !attributes.is_empty() {
        parameters.push((
            "query.attributes",
            serde_json::Value::Object(attributes).to_string(),
        ));
    }
    if let Some(text) = &args.min_duration {
        match duration::parse(text) {
            Some(_) => parameters.push(("query.durationMin", text.clone())),
            None => errors.push(format!(
                "--min-duration {text:?} is not a duration; write it as 100ms or 1.5s"
            )),
        }
    }
    // The server rejects more; checked here so that all errors come together.
    match args.limit.parse::<u32>() {
        Ok(1..=MAX_LIMIT) => parameters.push(("query.searchDepth", args.limit.clone())),
        Ok(_) | Err(_) => errors.push(format!(
            "--limit {:?} is not a number from 1 to {MAX_LIMIT}",
            args.limit
        )),
    }
    match start_of_search(&args.since, now) {
        Some(start) => parameters.push(("query.startTimeMin", start)),
        None => errors.push(format!(
            "--since {:?} is not a duration; write it as 15m or 24h",
            args.since
        )),
    }
    // The end is far in the future: a sender's clock may be ahead of this machine's.
    parameters.push(("query.startTimeMax", "2500-01-01T00:00:00Z".to_owned()));
    parameters
}

fn tag_attributes(
    tags: &[String],
    errors: &mut Vec<String>,
) -> serde_json::Map<String, serde_json::Value> {
    let mut attributes = serde_json::Map::new();
    for tag in tags {
        match tag.split_once('=').filter(|(key, _)| !key.is_empty()) {
            Some((key, value)) => {
                attributes.insert(key.to_owned(), value.into());
            }
            None => errors.push(format!(
                "--tag {tag:?} is not of the form key=value; write it as http.request.method=GET"
            )),
        }
    }
    attributes
}

/// Returns the earliest start of a trace, in RFC 3339; [`None`] if `since` is not a duration.
fn start_of_search(since: &str, now: OffsetDateTime) -> Option<String> {
    let since = i64::try_from(duration::parse(since)?).ok()?;
    // A duration that reaches before the calendar's first year is invalid.
    let start = now.checked_sub(time::Duration::nanoseconds(since))?;
    start.format(&Rfc3339).ok()
}

fn table(summaries: &[FoundTraceJson], colors: ColorMode) -> String {
    if summaries.is_empty() {
        return "No trace matches. Search further back with --since; the web UI lists services.\n"
            .to_owned();
    }
    let header = format!(
        "{:32}  {:19}  {:>8}  {:>5}  {:>6}  TRACE",
        "TRACE ID", "START (UTC)", "DURATION", "SPANS", "ERRORS"
    );
    let mut out = format!("{}\n", colors.dim(&header));
    for summary in summaries {
        // Padded before coloring: escape sequences would count as width.
        let errors = format!("{:>6}", summary.error_span_count);
        let errors = if summary.error_span_count > 0 {
            colors.error(&errors)
        } else {
            errors.into()
        };
        let line = format!(
            "{:32}  {:19}  {:>8}  {:>5}  {errors}  {} {}{}  {}{}\n",
            printable(&summary.trace_id),
            summary.start(),
            duration::format(summary.duration_nanos()),
            summary.span_count,
            colors.name(&summary.root_service_name),
            printable(&summary.root_operation_name),
            colors.destination(&summary.root_destination),
            colors.dim(&summary.other_services()),
            colors.dim(&summary.settled()),
        );
        out.push_str(&line);
    }
    out
}

// === impl FoundTraceJson ===

impl FoundTraceJson {
    fn start(&self) -> String {
        // Times are strings in JSON: a number would lose nanoseconds in JavaScript.
        let nanoseconds = self.min_start_time_unix_nano.parse().unwrap_or_default();
        let start = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (date, time) = (start.date(), start.time());
        format!(
            "{date} {:02}:{:02}:{:02}",
            time.hour(),
            time.minute(),
            time.second()
        )
    }

    fn duration_nanos(&self) -> u64 {
        let parse = |text: &str| text.parse::<u64>().unwrap_or_default();
        parse(&self.max_end_time_unix_nano).saturating_sub(parse(&self.min_start_time_unix_nano))
    }

    /// Returns when the last message was committed, if that was after the work.
    fn settled(&self) -> String {
        let parse = |text: &str| text.parse::<u64>().unwrap_or_default();
        let work = parse(&self.max_end_time_unix_nano);
        let after = parse(&self.settled_time_unix_nano).saturating_sub(work);
        if after == 0 {
            String::new()
        } else {
            format!("  (committed after {})", duration::format(after))
        }
    }

    /// Returns the services of the trace besides the root's.
    fn other_services(&self) -> String {
        let others = self.services.iter().map(|service| service.name.as_str());
        let others: Vec<&str> = others
            .filter(|name| *name != self.root_service_name)
            .collect();
        if others.is_empty() {
            String::new()
        } else {
            format!("> {}", others.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(change: impl FnOnce(&mut SearchArgs)) -> SearchArgs {
        let collector = crate::args::query::CollectorArgs {
            url: "http://127.0.0.1:16686".to_owned(),
            ca: None,
            token_file: None,
        };
        let mut search = SearchArgs {
            service: None,
            operation: None,
            tag: Vec::new(),
            min_duration: None,
            since: "1h".to_owned(),
            limit: "20".to_owned(),
            json: false,
            collector,
        };
        change(&mut search);
        search
    }

    #[test]
    fn options_become_query_parameters() {
        let search = options(|search| {
            search.service = Some("eshop".to_owned());
            search.tag = vec!["a=b=c".to_owned(), "error=true".to_owned()];
        });
        let mut errors = Vec::new();
        let now = OffsetDateTime::from_unix_timestamp(1_700_003_600).unwrap();
        let parameters = query_parameters(&search, now, &mut errors);
        assert!(errors.is_empty(), "{errors:?}");
        assert!(parameters.contains(&("query.serviceName", "eshop".to_owned())));
        assert!(parameters.contains(&(
            "query.attributes",
            r#"{"a":"b=c","error":"true"}"#.to_owned()
        )));
        assert!(parameters.contains(&("query.startTimeMin", "2023-11-14T22:13:20Z".to_owned())));
    }

    #[test]
    fn all_errors_are_reported_together() {
        let search = options(|search| {
            search.tag = vec!["novalue".to_owned()];
            search.min_duration = Some("fast".to_owned());
            search.since = "yesterday".to_owned();
            search.limit = "0".to_owned();
        });
        let mut errors = Vec::new();
        query_parameters(&search, OffsetDateTime::UNIX_EPOCH, &mut errors);
        assert_eq!(errors.len(), 4, "{errors:?}");
    }

    #[test]
    fn table_shows_the_root_and_the_other_services() {
        let summary = FoundTraceJson {
            trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            root_service_name: "eshop".to_owned(),
            root_operation_name: "GET".to_owned(),
            root_destination: "shop:8080/checkout".to_owned(),
            settled_time_unix_nano: "1700000005332000000".to_owned(),
            min_start_time_unix_nano: "1700000000000000000".to_owned(),
            max_end_time_unix_nano: "1700000000512000000".to_owned(),
            span_count: 12,
            error_span_count: 1,
            services: ["billing", "eshop"]
                .map(|name| ServiceNameJson {
                    name: name.to_owned(),
                })
                .into(),
        };
        let table = table(&[summary], ColorMode::Plain);
        let line = table.lines().nth(1).unwrap();
        assert_eq!(
            line,
            "0af7651916cd43dd8448eb211c80319c  2023-11-14 22:13:20     512ms     12       1  \
             eshop GET \u{2192} shop:8080/checkout  > billing  (committed after 4.82s)"
        );
    }
}
