//! The metrics page, in Prometheus' text format. It must not show anything that names a session or a message.

use crate::gate::Counts;
use crate::store::{COMMIT_BUCKETS_US, Report};
use std::fmt::Write;

/// The page's text.
pub(super) fn text(report: &Report, counts: &Counts, lines_lost: u64) -> String {
    let mut text = String::new();
    let rows = report.counts;
    let stats = &report.stats;
    let mut add = |name: &str, kind: &str, help: &str, value: u64| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "# HELP marshal_{name} {help}\n# TYPE marshal_{name} {kind}\nmarshal_{name} {value}");
    };
    add("up", "gauge", "1 if the log can be written, else 0.", u64::from(report.refused.is_none()));
    add("sessions", "gauge", "Sessions on the roster.", rows.sessions as u64);
    add("clients", "gauge", "Connected WebSocket clients.", rows.clients as u64);
    add("rooms", "gauge", "Rooms.", rows.rooms as u64);
    add("messages", "gauge", "Stored messages.", rows.messages as u64);
    add("waiters", "gauge", "Sessions that somebody waits for who can wake them.", rows.waiters as u64);
    add("receipts", "gauge", "Stored read receipts.", rows.reads as u64);
    add("store_queue_depth", "gauge", "Commands waiting after the store's last turn.", stats.depth as u64);
    add("store_commands_total", "counter", "Commands applied.", stats.commands);
    add("store_changes_total", "counter", "Changes written to the log.", stats.committed_changes);
    add("store_batch_changes_max", "gauge", "Changes in the largest batch.", stats.largest_batch as u64);
    add("store_failed_commits_total", "counter", "Batches undone because the log refused them.", stats.failed_commits);
    add("log_bytes", "gauge", "Bytes of the log.", report.log_bytes);
    add("log_live_bytes", "gauge", "Bytes of what counts in the log.", report.live_bytes);
    add("log_compactions_total", "counter", "Times that the log was written anew.", report.compactions);
    add("log_malformed_lines", "gauge", "Lines of the log that could not be read.", report.malformed_lines);
    add("log_external_events_total", "counter", "Events that somebody else wrote to the log.", stats.external_events);
    add("stderr_lines_lost_total", "counter", "Lines of the daemon's own log that nothing read in time.", lines_lost);
    add("uptime_seconds", "gauge", "Time since the daemon began.", (report.now.mono_ms.0 / 1000).unsigned_abs());
    let _ = writeln!(text, "# HELP marshal_sweep_seconds Time of looking for what is over, without its commit.");
    let _ = writeln!(text, "# TYPE marshal_sweep_seconds gauge");
    for (which, us) in [("last", stats.sweep_us_last), ("max", stats.sweep_us_max)] {
        let _ = writeln!(text, "marshal_sweep_seconds{{which=\"{which}\"}} {}", seconds(us));
    }
    commits(report, &mut text);
    gate(counts, &mut text);
    text
}

fn commits(report: &Report, text: &mut String) {
    let stats = &report.stats;
    let _ = writeln!(text, "# HELP marshal_commit_seconds Time to write and sync a batch.");
    let _ = writeln!(text, "# TYPE marshal_commit_seconds histogram");
    let mut below = 0;
    for (bound, count) in COMMIT_BUCKETS_US.iter().zip(stats.commit_buckets) {
        below += count;
        let _ = writeln!(text, "marshal_commit_seconds_bucket{{le=\"{}\"}} {below}", seconds(*bound));
    }
    let _ = writeln!(text, "marshal_commit_seconds_bucket{{le=\"+Inf\"}} {}", stats.commits);
    let _ = writeln!(text, "marshal_commit_seconds_sum {}", seconds(stats.commit_us_sum));
    let _ = writeln!(text, "marshal_commit_seconds_count {}", stats.commits);
}

fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

fn gate(counts: &Counts, text: &mut String) {
    let refused = [
        ("head", counts.refused_head),
        ("body", counts.refused_body),
        ("host", counts.refused_host),
        ("origin", counts.refused_origin),
        ("credential", counts.refused_credential),
        ("websocket", counts.refused_websocket),
        ("timeout", counts.refused_timeout),
        ("overload", counts.refused_overload),
        ("evicted", counts.evicted),
        ("abandoned", counts.abandoned),
    ];
    let _ = writeln!(text, "# HELP marshal_connections_total Connections by what became of them.");
    let _ = writeln!(text, "# TYPE marshal_connections_total counter");
    let known = [("accepted", counts.accepted), ("admitted", counts.admitted), ("upgraded", counts.upgraded)];
    for (fate, count) in known {
        let _ = writeln!(text, "marshal_connections_total{{fate=\"{fate}\"}} {count}");
    }
    let _ = writeln!(text, "# HELP marshal_rejected_requests_total Requests that the gate turned away, by reason.");
    let _ = writeln!(text, "# TYPE marshal_rejected_requests_total counter");
    for (reason, count) in refused {
        let _ = writeln!(text, "marshal_rejected_requests_total{{reason=\"{reason}\"}} {count}");
    }
    let _ = writeln!(text, "# HELP marshal_open_connections Connections that the gate holds now.");
    let _ = writeln!(text, "# TYPE marshal_open_connections gauge\nmarshal_open_connections {}", counts.open);
}
