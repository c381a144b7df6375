//! Subscriptions by pattern: the broker looks up which topics match, and again when topics changed (contract 82, 86).
//!
//! A pattern comes from a client and may be made to be slow, so a look-up has limits: a compiled pattern takes at most 1 MiB, and
//! topics are matched in slices, each an event of its own. What a slice may cost follows from the size of the pattern.

use super::replay::regex_record;
use super::{ConsumerGroup, Resolved, timers, topics};
use crate::groups::{Effects, Env, TimerKind};
use ::regex::bytes::{Regex, RegexBuilder};
use std::sync::Arc;

/// Look-ups of one group are at least that far apart.
const REFRESH_MIN_MS: i64 = 10_000;

/// Sizes of compiled patterns, and what matching one byte may cost in units: the engine's slowest way takes time for each state
/// of the pattern. Larger ones are refused.
const SIZES: [(usize, usize); 4] = [(16 << 10, 4), (64 << 10, 16), (256 << 10, 64), (1 << 20, 256)];

/// Units that one slice may cost: some 10 ms for patterns that people write, ten times that for the worst.
const SLICE_UNITS: usize = 1 << 20;

/// What compiling costs in units, for each unit that a byte costs.
const COMPILE_UNITS: usize = 1 << 10;

/// A look-up under way.
#[derive(Debug)]
pub(super) struct Scan {
    version: u64,
    started_ms: i64,
    names: Vec<Arc<str>>,
    /// Patterns that are still to do, the next one last.
    todo: Vec<Arc<str>>,
    current: Option<Matching>,
    done: Vec<(Arc<str>, Vec<Arc<str>>)>,
}

/// One pattern on its way through the topics.
#[derive(Debug)]
struct Matching {
    pattern: Arc<str>,
    /// `None`: it does not compile any more; it matches nothing.
    regex: Option<(Regex, usize)>,
    next: usize,
    matched: Vec<Arc<str>>,
}

/// Whether a pattern is valid; why not.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    compile(pattern).map(drop)
}

/// Compiles a pattern that must match whole names, as RE2J's `matches`, and says what a byte costs.
fn compile(pattern: &str) -> Result<(Regex, usize), String> {
    let pattern = unquote(pattern);
    // Alone first: "a)(b" is valid only inside of parentheses.
    build(&pattern)?;
    build(&format!(r"\A(?:{pattern})\z"))
}

fn build(pattern: &str) -> Result<(Regex, usize), String> {
    let mut last = String::new();
    for (size_limit, cost) in SIZES {
        match build_within(pattern, size_limit) {
            Ok(regex) => return Ok((regex, cost)),
            Err(::regex::Error::CompiledTooBig(_)) => last = format!("it takes more than {size_limit} bytes compiled"),
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(last)
}

fn build_within(pattern: &str, size_limit: usize) -> Result<Regex, ::regex::Error> {
    let build = |unicode: bool| {
        let mut builder = RegexBuilder::new(pattern);
        builder.unicode(unicode).size_limit(size_limit).dfa_size_limit(1 << 20);
        builder.build()
    };
    // Names of topics are ASCII, and so are RE2J's classes; only \p{…} needs Unicode.
    build(false).or_else(|error| match error {
        ::regex::Error::Syntax(_) => build(true),
        error => Err(error),
    })
}

/// RE2's `\Q…\E`, which quotes: written out, because the regex crate does not know it.
fn unquote(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        if let Some(quoted) = escape.strip_prefix(r"\Q") {
            let (quoted, after) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
            out.push_str(&::regex::escape(quoted));
            rest = after;
        } else {
            let width = escape.chars().take(2).map(char::len_utf8).sum();
            let (escape, after) = escape.split_at(width);
            out.push_str(escape);
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

impl Scan {
    fn start(env: &Env, patterns: impl Iterator<Item = Arc<str>>) -> Scan {
        let mut names = Vec::new();
        env.cluster.each_topic(&mut |name| names.push(Arc::from(name)));
        names.sort_unstable();
        Scan {
            version: env.cluster.version(),
            started_ms: env.now_ms,
            names,
            todo: patterns.collect(),
            current: None,
            done: Vec::new(),
        }
    }

    /// Goes on for one slice. Whether all is done.
    fn advance(&mut self) -> bool {
        let mut units = SLICE_UNITS;
        while units > 0 {
            let Some(mut matching) = self.current.take().or_else(|| self.todo.pop().map(Matching::start)) else {
                return true;
            };
            units = matching.advance(&self.names, units);
            if matching.next < self.names.len() {
                self.current = Some(matching);
            } else {
                self.done.push((matching.pattern, matching.matched));
            }
        }
        self.current.is_none() && self.todo.is_empty()
    }
}

impl Matching {
    fn start(pattern: Arc<str>) -> Matching {
        let regex = compile(&pattern).inspect_err(|reason| {
            tracing::warn!(%pattern, "a stored regular expression matches nothing: {reason}");
        });
        Matching {
            pattern,
            regex: regex.ok(),
            next: 0,
            matched: Vec::new(),
        }
    }

    /// Matches names until the units are used up. What is left of them.
    fn advance(&mut self, names: &[Arc<str>], mut units: usize) -> usize {
        let Some((regex, cost)) = &self.regex else {
            self.next = names.len();
            return units.saturating_sub(COMPILE_UNITS);
        };
        if self.next == 0 {
            units = units.saturating_sub(COMPILE_UNITS * cost);
        }
        for name in names.iter().skip(self.next) {
            if regex.is_match(name.as_bytes()) {
                self.matched.push(Arc::clone(name));
            }
            self.next += 1;
            units = units.saturating_sub(cost * (name.len() + 16));
            if units == 0 {
                break;
            }
        }
        units
    }
}

impl ConsumerGroup {
    /// Sees to it that the patterns of the group are looked up when that is due; `pattern` is the one of the member that is
    /// heard of, which the group may not know yet.
    pub(super) fn arm_regex(&mut self, env: &Env, pattern: Option<&Arc<str>>, effects: &mut Effects) {
        if self.soft.scan.is_some() || (pattern.is_none() && self.counts.regexes.is_empty()) {
            return;
        }
        let is_unknown = pattern.is_some_and(|pattern| !self.regexes.contains_key(pattern));
        if is_unknown || self.regexes_are_stale(env) {
            let at_ms = self.next_look_up_ms(env);
            timers::arm(
                &mut self.soft.regex_timer,
                &self.group_id,
                TimerKind::Regex,
                at_ms,
                effects,
            );
        }
    }

    /// Whether a pattern was never looked up, topics changed since, or it was long ago.
    fn regexes_are_stale(&self, env: &Env) -> bool {
        let version = env.cluster.version();
        // Versions of an earlier run of the broker mean nothing; those of this run say what the log took.
        let is_current = |regex| self.regexes.get(regex).is_some_and(|resolved| resolved.is_of(version));
        self.soft.regex_version != Some(version)
            || !self.counts.regexes.keys().all(is_current)
            || self.last_look_up_ms().is_some_and(|last_ms| {
                env.now_ms > last_ms.saturating_add(env.config.group_consumer_regex_refresh_interval_ms)
            })
    }

    fn last_look_up_ms(&self) -> Option<i64> {
        self.regexes.values().map(|resolved| resolved.timestamp_ms).max()
    }

    fn next_look_up_ms(&self, env: &Env) -> i64 {
        // A last look-up in the future is one of a clock that was set back.
        let last_ms = self.last_look_up_ms().filter(|last_ms| *last_ms <= env.now_ms);
        last_ms.map_or(env.now_ms, |last_ms| env.now_ms.max(last_ms + REFRESH_MIN_MS + 1))
    }

    /// Starts a look-up, or goes on with it; its last slice writes what was found.
    pub(super) fn look_up_regexes(&mut self, env: &mut Env) -> Effects {
        self.soft.regex_timer = None;
        let mut effects = Effects::none();
        if self.soft.scan.is_none() {
            if self.counts.regexes.is_empty() || !self.regexes_are_stale(env) {
                return effects;
            }
            let at_ms = self.next_look_up_ms(env);
            if at_ms > env.now_ms {
                timers::arm(
                    &mut self.soft.regex_timer,
                    &self.group_id,
                    TimerKind::Regex,
                    at_ms,
                    &mut effects,
                );
                return effects;
            }
        }
        let patterns = self.counts.regexes.keys().cloned();
        let mut scan = self.soft.scan.take().unwrap_or_else(|| Scan::start(env, patterns));
        if scan.advance() {
            effects.records = self.looked_up(env, scan);
        } else {
            self.soft.scan = Some(scan);
            timers::arm(
                &mut self.soft.regex_timer,
                &self.group_id,
                TimerKind::Regex,
                env.now_ms,
                &mut effects,
            );
        }
        effects
    }

    fn looked_up(&mut self, env: &Env, scan: Scan) -> Vec<protocol::group_records::GroupRecord> {
        self.soft.regex_version = Some(scan.version);
        let mut regexes = self.regexes.clone();
        let mut records = Vec::new();
        let mut changed = false;
        for (pattern, matched) in scan.done {
            // Nobody may want it any more.
            if !self.counts.regexes.contains_key(&pattern) {
                continue;
            }
            let resolved = Resolved {
                topics: Arc::new(matched),
                version: scan.version.cast_signed(),
                timestamp_ms: scan.started_ms,
            };
            changed |= self
                .regexes
                .get(&pattern)
                .is_none_or(|old| old.topics != resolved.topics);
            records.push(regex_record(&self.group_id, &pattern, &resolved));
            regexes.insert(pattern, resolved);
        }
        let hash = topics::metadata_hash(env, self.members.values(), &regexes);
        if changed || hash != self.metadata_hash {
            records.push(self.epoch_record(self.epoch.saturating_add(1), hash));
        }
        records
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::groups::consumer) fn matches(pattern: &str, name: &str) -> bool {
        compile(pattern).expect("a valid pattern").0.is_match(name.as_bytes())
    }

    /// contract 82: the whole name.
    #[test]
    fn a_pattern_matches_whole_names() {
        assert!(matches("ab", "ab"));
        assert!(!matches("ab", "abc"));
        assert!(!matches("ab", "xab"));
        assert!(matches("a|ab", "ab"));
        assert!(matches("^a.*$", "abc"));
        assert!(!matches("(?m)^a$", "a\nb"));
        assert!(matches(r"\Qa.b\E", "a.b"));
        assert!(!matches(r"\Qa.b\E", "axb"));
        assert!(matches(r"\Qa.b", "a.b"));
        assert!(matches(r"a\\Q", r"a\Q"));
        assert!(matches(r"\pL+\d", "topic7"));
        assert!(matches(r"[[:alpha:]]+", "topic"));
    }

    /// contract 86: bad patterns are refused, those that are bad only outside of our parentheses too.
    #[test]
    fn bad_patterns_are_refused() {
        for pattern in ["(", "a)(b", "[", "*", r"foo\", "(?x)a#", "(?<n", r"\8", "a{2,1}"] {
            assert!(check(pattern).is_err(), "{pattern}");
        }
        let huge = "a{1000}{1000}";
        assert!(check(huge).is_err_and(|reason| reason.contains("compiled")));
    }

    /// A look-up of many topics by a slow pattern takes several slices, and finds the same.
    #[test]
    fn a_look_up_goes_on_in_slices() {
        let pattern: Arc<str> = Arc::from("(a|b)*c{1,200}");
        let names: Vec<Arc<str>> = (0..20_000)
            .map(|i| Arc::from(format!("{}c", "ab".repeat(1 + i % 60))))
            .collect();
        let mut scan = Scan {
            version: 0,
            started_ms: 0,
            names,
            todo: vec![Arc::clone(&pattern), Arc::from("b.*")],
            current: None,
            done: Vec::new(),
        };
        let mut slices = 1;
        while !scan.advance() {
            slices += 1;
        }
        assert!(slices > 4, "{slices} slices");
        let found: Vec<(&str, usize)> = scan
            .done
            .iter()
            .map(|(pattern, names)| (&**pattern, names.len()))
            .collect();
        assert_eq!(found, [("b.*", 0), (&*pattern, 20_000)]);
    }
}
