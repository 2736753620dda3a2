//! Sends a load of checkouts and waits until its traces have settled.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use super::Demo;
use super::load::CheckoutLoad;
use super::load_report::LoadReport;
use super::reference::ReferenceTable;
use crate::wait;

/// Every trace of a checkout, and every fragment of one, has a span of one of these services: the
/// others only answer calls, whose contexts are in their headers.
const CALLING_SERVICES: [&str; 2] = ["eshop", "kafka-consumer"];
/// The traces of a load are settled if they are whole and unchanged for this time.
const SETTLED_INTERVAL: Duration = Duration::from_secs(2);
/// Open or incomplete traces are settled if they are unchanged for this longer time.
const QUIET_INTERVAL: Duration = Duration::from_secs(15);
/// Upper bound of the wait for late spans.
const MAX_SETTLE_TIME: Duration = Duration::from_secs(300);

/// A view of the traces in the collector.
#[derive(Debug, Clone, Copy)]
enum CheckoutView {
    /// As the proxies reported them.
    Reported,
    /// With the parents that the collector found.
    Woven,
}

// === impl Demo ===

impl Demo {
    /// Returns all traces as the proxies reported them, in Jaeger's JSON.
    ///
    /// # Errors
    /// Fails if the collector does not respond.
    pub fn reported_traces(&self) -> Result<Value> {
        Ok(json!({ "data": self.traces_since(0, CheckoutView::Reported)? }))
    }

    /// Sends checkouts at a steady rate and returns a report once their traces have settled.
    ///
    /// # Errors
    /// Fails if a process ends or the collector does not respond.
    pub fn load(&self, load: &CheckoutLoad, progress: &mut dyn FnMut(&str)) -> Result<LoadReport> {
        if let Some(warm_up) = load.warm_up_load() {
            progress(&format!("sending {} checkouts in turn first", load.warm_up));
            let references = ReferenceTable::new(&"warm-up");
            warm_up.run(&self.eshop.checkout_url(), references, progress);
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
        let references = ReferenceTable::new(&since);
        let sent = load.run(&self.eshop.checkout_url(), references, progress);
        progress("waiting for the last spans, and for the collector to weave them");
        let (begin, mut changed) = (Instant::now(), Instant::now());
        let mut report = LoadReport::default();
        loop {
            // A crash explains missing spans better than the timeout would.
            if let Some(crash) = self.crashed() {
                return Err(anyhow!("{crash}"));
            }
            let live = self.traces_since(since, CheckoutView::Reported)?;
            let woven = self.traces_since(since, CheckoutView::Woven)?;
            let now = LoadReport::of(&sent, &live, &woven);
            if now != report {
                (report, changed) = (now, Instant::now());
            }
            let is_quiet =
                changed.elapsed() >= QUIET_INTERVAL || begin.elapsed() >= MAX_SETTLE_TIME;
            let is_settled = report.woven.is_whole() && changed.elapsed() >= SETTLED_INTERVAL;
            if wait::is_interrupted() || is_quiet || is_settled {
                return Ok(report);
            }
            wait::pause();
        }
    }

    /// Returns the traces of all calling services.
    fn traces_since(&self, since: u128, view: CheckoutView) -> Result<Vec<Value>> {
        let is_raw = match view {
            CheckoutView::Reported => true,
            CheckoutView::Woven => false,
        };
        let mut traces: BTreeMap<String, Value> = BTreeMap::new();
        for service in CALLING_SERVICES {
            traces.extend(self.collector().traces_since(service, since, is_raw)?);
        }
        Ok(traces.into_values().collect())
    }
}
