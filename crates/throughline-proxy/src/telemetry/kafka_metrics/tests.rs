use super::*;

#[test]
fn counters_render_with_labels_and_zeros() {
    let metrics = KafkaMetrics::new();
    metrics.side(Side::Client).received.inc_by(7);
    metrics.request(ApiKey::PRODUCE);
    metrics.request(ApiKey(999));
    metrics.passed(SkipReason::Checksum, 0);
    metrics.consumer_lag(Some("g"), &"t".into(), PartitionIndex(0), 3);
    metrics.consumer_lag(Some("g"), &"t".into(), PartitionIndex(1), 4);
    metrics.update_exporter(&ExporterCounts {
        sent: 5,
        queued: 2,
        dropped: vec![("unreachable", 3)],
    });
    metrics.update_exporter(&ExporterCounts {
        sent: 6,
        queued: 1,
        dropped: vec![("unreachable", 3)],
    });
    let gauges = ClusterGauges {
        held_bytes: 11,
        deliveries_open: 0,
    };
    let text = metrics.render(gauges, &[]);
    for line in [
        "throughline_kafka_bytes_total{side=\"client\",direction=\"received\"} 7",
        "throughline_kafka_bytes_total{side=\"broker\",direction=\"sent\"} 0",
        "throughline_kafka_requests_total{api=\"Produce\"} 1",
        "throughline_kafka_requests_total{api=\"unknown\"} 1",
        "throughline_kafka_passed_total{reason=\"checksum\"} 1",
        "throughline_kafka_passed_total{reason=\"version\"} 0",
        "throughline_kafka_spans_dropped_total{reason=\"queue_full\"} 0",
        "throughline_kafka_spans_dropped_total{reason=\"unreachable\"} 3",
        "throughline_kafka_spans_sent_total 6",
        "throughline_kafka_spans_queued 1",
        "throughline_kafka_held_bytes 11",
        "throughline_kafka_consumer_lag{group=\"g\",topic=\"t\"} 7",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
    assert!(
        text.contains("throughline_kafka_added_latency_seconds_count{to=\"client\"} 0"),
        "{text}"
    );
}

#[test]
fn concurrent_scrapes_render_the_same() {
    let metrics = KafkaMetrics::new();
    for group in 0..50 {
        metrics.consumer_lag(Some(&group.to_string()), &"t".into(), PartitionIndex(0), 1);
    }
    let scrape = || {
        for sent in 0..200 {
            metrics.update_exporter(&ExporterCounts {
                sent,
                ..ExporterCounts::default()
            });
            let text = metrics.render(ClusterGauges::default(), &[]);
            assert_eq!(text.matches("consumer_lag{").count(), 50, "{text}");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(scrape);
        }
    });
    assert_eq!(metrics.spans_sent.get(), 199);
}
