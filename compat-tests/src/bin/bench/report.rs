//! Medians, ratios and budgets as a Markdown table.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::rows::Sample;
use crate::target::Kind;

/// What a number has to be.
#[derive(Clone, Copy, Debug)]
enum Budget {
    /// StreamHouse's median divided by Kafka's.
    RatioAtMost(f64),
    RatioAtLeast(f64),
    /// StreamHouse's median.
    AtMost(f64),
    AtLeast(f64),
}

/// The design's budgets, by the label of the number.
const BUDGETS: [(&str, Budget); 24] = [
    ("start on an empty directory", Budget::AtMost(0.1)),
    ("memory, idle", Budget::AtMost(30.0)),
    ("1 MiB requests, acks=1: broker CPU", Budget::RatioAtMost(0.25)),
    ("1 MiB requests, fsynced: broker CPU", Budget::RatioAtMost(0.25)),
    ("100×100 B requests: broker CPU", Budget::RatioAtMost(0.25)),
    (
        "1×100 B fsynced, 64 connections, 16 partitions",
        Budget::RatioAtLeast(15.0),
    ),
    ("1,000 partitions against 4", Budget::AtLeast(0.5)),
    ("fetch, read again", Budget::RatioAtLeast(2.5)),
    ("memory a partition, 10,000 with a record each", Budget::AtMost(16.0)),
    ("metrics page, 10,000 partitions", Budget::AtMost(100.0)),
    ("metrics page, 10,000 partitions: series", Budget::AtMost(5_000.0)),
    ("start after kill -9, 10,000 partitions", Budget::AtMost(2.0)),
    ("offset commits, 16 members", Budget::RatioAtLeast(2.0)),
    ("offset commits, 64 members", Budget::RatioAtLeast(2.0)),
    ("offset commits, 64 without members", Budget::RatioAtLeast(2.0)),
    ("offset commits, 16 members × 5 in flight", Budget::RatioAtLeast(2.0)),
    (
        "offset commits, 16 members × 5 in flight, fsynced",
        Budget::RatioAtLeast(10.0),
    ),
    ("offset commits, 16 members, fsynced", Budget::RatioAtLeast(10.0)),
    ("offset commits, 64 members, fsynced", Budget::RatioAtLeast(10.0)),
    (
        "offset commits, 64 without members, fsynced",
        Budget::RatioAtLeast(10.0),
    ),
    ("1,000 members: last join to all assigned", Budget::AtMost(2.0)),
    ("start after kill -9, 10,000 groups", Budget::AtMost(2.0)),
    ("memory a member, 10,000 groups", Budget::AtMost(8.0)),
    ("memory a member after a restart", Budget::AtMost(8.0)),
];

/// All samples of all rounds.
#[derive(Default)]
pub(crate) struct Report {
    /// In the order of their first appearance.
    numbers: Vec<(&'static str, &'static str)>,
    values: BTreeMap<(&'static str, bool), Vec<f64>>,
}

impl Report {
    /// Adds what one broker gave in one round.
    pub(crate) fn add(&mut self, kind: Kind, samples: &[Sample]) {
        for (_, label, unit, value) in samples {
            if !self.numbers.contains(&(label, unit)) {
                self.numbers.push((label, unit));
            }
            self.values
                .entry((label, kind == Kind::Kafka))
                .or_default()
                .push(*value);
        }
    }

    /// The table: one line a number, medians over the rounds, their range where there are several.
    pub(crate) fn table(&self) -> String {
        let mut table =
            String::from("| what | unit | StreamHouse | Apache Kafka | ratio | budget |\n|---|---|---|---|---|---|\n");
        for (label, unit) in &self.numbers {
            let (ours, theirs) = (self.values.get(&(*label, false)), self.values.get(&(*label, true)));
            let (ours, theirs) = (ours.map(|v| spread(v)), theirs.map(|v| spread(v)));
            let text = |spread: &Option<Spread>| spread.map_or_else(|| "–".to_owned(), Spread::text);
            let median = |spread: Option<Spread>| spread.map(|s| s.median);
            let ratio = median(ours).zip(median(theirs)).map(|(ours, theirs)| ours / theirs);
            let ratio_text = ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{}×", number(ratio)));
            let budget = BUDGETS.iter().find(|(of, _)| of == label);
            let budget = budget.map_or_else(String::new, |(_, budget)| budget.verdict(median(ours), ratio));
            let _ = writeln!(
                table,
                "| {label} | {unit} | {} | {} | {ratio_text} | {budget} |",
                text(&ours),
                text(&theirs)
            );
        }
        table
    }
}

impl Budget {
    fn verdict(self, ours: Option<f64>, ratio: Option<f64>) -> String {
        let (text, kept) = match self {
            Budget::RatioAtMost(limit) => (format!("≤ {}× Kafka", number(limit)), ratio.map(|r| r <= limit)),
            Budget::RatioAtLeast(limit) => (format!("≥ {}× Kafka", number(limit)), ratio.map(|r| r >= limit)),
            Budget::AtMost(limit) => (format!("≤ {}", number(limit)), ours.map(|v| v <= limit)),
            Budget::AtLeast(limit) => (format!("≥ {}", number(limit)), ours.map(|v| v >= limit)),
        };
        match kept {
            Some(true) => format!("{text}: kept"),
            Some(false) => format!("{text}: **missed**"),
            None => text,
        }
    }
}

#[derive(Clone, Copy)]
struct Spread {
    least: f64,
    median: f64,
    most: f64,
    rounds: usize,
}

impl Spread {
    fn text(self) -> String {
        match self.rounds {
            1 => number(self.median),
            _ => format!("{} ({}–{})", number(self.median), number(self.least), number(self.most)),
        }
    }
}

fn spread(values: &[f64]) -> Spread {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = match sorted.len() % 2 {
        0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
        _ => sorted[middle],
    };
    Spread {
        least: sorted[0],
        median,
        most: sorted[sorted.len() - 1],
        rounds: sorted.len(),
    }
}

/// Three digits that count, thousands apart.
fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1_000.0 {
        let whole = value.round() as i64;
        let (thousands, rest) = (whole / 1_000, whole.abs() % 1_000);
        return format!("{thousands},{rest:03}");
    }
    match size {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
