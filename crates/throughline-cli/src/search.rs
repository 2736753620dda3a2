//! `throughline search`: traces in a table, newest first.

use std::io::Write as _;

use anyhow::Context as _;
use throughline_model::duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::Failure;
use crate::args::Search;
use crate::client::Client;
use crate::terminal::{Paint, printable};

/// The answer of `/api/v3/trace-summaries`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Summaries {
    summaries: Vec<Summary>,
}

/// A trace in short; fields that are zero are left out.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Summary {
    trace_id: String,
    root_service_name: String,
    root_operation_name: String,
    min_start_time_unix_nano: String,
    max_end_time_unix_nano: String,
    span_count: u64,
    error_span_count: u64,
    services: Vec<Service>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Service {
    name: String,
}

/// Lists the traces that match.
pub(crate) fn run(args: &Search) -> Result<(), Failure> {
    let mut mistakes = Vec::new();
    let client = Client::new(&args.collector, &mut mistakes);
    let parameters = parameters(args, OffsetDateTime::now_utc(), &mut mistakes);
    if !mistakes.is_empty() {
        return Err(Failure::Usage(mistakes));
    }
    let (status, body) = client.ask("/api/v3/trace-summaries", &parameters)?;
    if status != 200 {
        return Err(client.unexpected(status, &body));
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        out.write_all(&body)
            .and_then(|()| writeln!(out))
            .context("cannot print")?;
        return Ok(());
    }
    let Ok(found) = serde_json::from_slice::<Summaries>(&body) else {
        return Err(client.unexpected(status, &body));
    };
    out.write_all(table(&found.summaries, Paint::for_stdout()).as_bytes())
        .context("cannot print")?;
    Ok(())
}

/// The query's parameters; mistakes in the options go to `mistakes`.
fn parameters(
    args: &Search,
    now: OffsetDateTime,
    mistakes: &mut Vec<String>,
) -> Vec<(&'static str, String)> {
    let mut parameters = Vec::new();
    parameters.extend(
        args.service
            .iter()
            .map(|service| ("query.serviceName", service.clone())),
    );
    parameters.extend(
        args.operation
            .iter()
            .map(|operation| ("query.operationName", operation.clone())),
    );
    let mut attributes = serde_json::Map::new();
    for tag in &args.tag {
        match tag.split_once('=').filter(|(key, _)| !key.is_empty()) {
            Some((key, value)) => {
                attributes.insert(key.to_owned(), value.into());
            }
            None => mistakes.push(format!(
                "--tag {tag:?} is no attribute; write it as http.request.method=GET"
            )),
        }
    }
    if !attributes.is_empty() {
        parameters.push((
            "query.attributes",
            serde_json::Value::Object(attributes).to_string(),
        ));
    }
    if let Some(text) = &args.min_duration {
        match duration::parse(text) {
            Some(_) => parameters.push(("query.durationMin", text.clone())),
            None => mistakes.push(format!(
                "--min-duration {text:?} is no duration; write it as 100ms or 1.5s"
            )),
        }
    }
    match args.limit.parse::<u32>() {
        Ok(1..=1500) => parameters.push(("query.searchDepth", args.limit.clone())),
        Ok(_) | Err(_) => mistakes.push(format!(
            "--limit {:?} is no number from 1 to 1500",
            args.limit
        )),
    }
    let since = duration::parse(&args.since).and_then(|since| i64::try_from(since).ok());
    let from = since.and_then(|since| now.checked_sub(time::Duration::nanoseconds(since)));
    match from.map(|from| from.format(&Rfc3339)) {
        Some(Ok(from)) => parameters.push(("query.startTimeMin", from)),
        Some(Err(_)) | None => {
            mistakes.push(format!(
                "--since {:?} is no duration; write it as 15m or 24h",
                args.since
            ));
        }
    }
    // No end: a sender's clock may be ahead of ours.
    parameters.push(("query.startTimeMax", "2500-01-01T00:00:00Z".to_owned()));
    parameters
}

fn table(summaries: &[Summary], paint: Paint) -> String {
    if summaries.is_empty() {
        return "No trace matches. Look back further with --since, or see what services there are in the web UI.\n"
            .to_owned();
    }
    let header = format!(
        "{:32}  {:19}  {:>8}  {:>5}  {:>6}  TRACE",
        "TRACE ID", "START (UTC)", "DURATION", "SPANS", "ERRORS"
    );
    let mut out = format!("{}\n", paint.faint(&header));
    for summary in summaries {
        let errors = format!("{:>6}", summary.error_span_count);
        let errors = if summary.error_span_count > 0 {
            paint.alarming(&errors)
        } else {
            errors.into()
        };
        let line = format!(
            "{:32}  {:19}  {:>8}  {:>5}  {errors}  {} {}  {}\n",
            printable(&summary.trace_id),
            summary.start(),
            duration::format(summary.duration()),
            summary.span_count,
            paint.named(&summary.root_service_name),
            printable(&summary.root_operation_name),
            paint.faint(&summary.others()),
        );
        out.push_str(&line);
    }
    out
}

// === impl Summary ===

impl Summary {
    fn start(&self) -> String {
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

    fn duration(&self) -> u64 {
        let read = |text: &str| text.parse::<u64>().unwrap_or_default();
        read(&self.max_end_time_unix_nano).saturating_sub(read(&self.min_start_time_unix_nano))
    }

    /// The services that the trace went on to.
    fn others(&self) -> String {
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

    fn options(change: impl FnOnce(&mut Search)) -> Search {
        let collector = crate::args::CollectorAddress {
            url: "http://127.0.0.1:16686".to_owned(),
        };
        let mut search = Search {
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
    fn options_become_parameters() {
        let search = options(|search| {
            search.service = Some("eshop".to_owned());
            search.tag = vec!["a=b=c".to_owned(), "error=true".to_owned()];
        });
        let mut mistakes = Vec::new();
        let now = OffsetDateTime::from_unix_timestamp(1_700_003_600).unwrap();
        let parameters = parameters(&search, now, &mut mistakes);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        assert!(parameters.contains(&("query.serviceName", "eshop".to_owned())));
        assert!(parameters.contains(&(
            "query.attributes",
            r#"{"a":"b=c","error":"true"}"#.to_owned()
        )));
        assert!(parameters.contains(&("query.startTimeMin", "2023-11-14T22:13:20Z".to_owned())));
    }

    #[test]
    fn every_mistake_is_told() {
        let search = options(|search| {
            search.tag = vec!["novalue".to_owned()];
            search.min_duration = Some("fast".to_owned());
            search.since = "yesterday".to_owned();
            search.limit = "0".to_owned();
        });
        let mut mistakes = Vec::new();
        parameters(&search, OffsetDateTime::UNIX_EPOCH, &mut mistakes);
        assert_eq!(mistakes.len(), 4, "{mistakes:?}");
    }

    #[test]
    fn the_table_shows_where_a_trace_began_and_went() {
        let summary = Summary {
            trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            root_service_name: "eshop".to_owned(),
            root_operation_name: "GET /checkout".to_owned(),
            min_start_time_unix_nano: "1700000000000000000".to_owned(),
            max_end_time_unix_nano: "1700000000512000000".to_owned(),
            span_count: 12,
            error_span_count: 1,
            services: ["billing", "eshop"]
                .map(|name| Service {
                    name: name.to_owned(),
                })
                .into(),
        };
        let table = table(&[summary], Paint::Plain);
        let line = table.lines().nth(1).unwrap();
        assert_eq!(
            line,
            "0af7651916cd43dd8448eb211c80319c  2023-11-14 22:13:20     512ms     12       1  eshop GET /checkout  > billing"
        );
    }
}
