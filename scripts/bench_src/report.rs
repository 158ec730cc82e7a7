//! Figures, the floors beside them, what is aimed at, and the table of them all.

use std::io::Write;
use std::time::Duration;

/// What a figure should be.
#[derive(Clone, Copy)]
pub(crate) enum Aim {
    None,
    AtMost(f64),
    AtLeast(f64),
    /// The figure minus its floor.
    AboveFloorAtMost(f64),
    /// The figure divided by its floor.
    RatioAtMost(f64),
    RatioAtLeast(f64),
}

/// One line of the table.
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    pub(crate) p99: Option<f64>,
    /// What it stands beside, and the name of that.
    pub(crate) floor: Option<(&'static str, f64)>,
    pub(crate) aim: Aim,
}

impl Figure {
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self { what: what.into(), unit, value, p99: None, floor: None, aim: Aim::None }
    }

    pub(crate) fn times(what: impl Into<String>, times: &Times) -> Self {
        Self { p99: Some(times.p99()), ..Self::new(what, "us", times.p50()) }
    }

    pub(crate) fn beside(self, name: &'static str, floor: f64) -> Self {
        Self { floor: Some((name, floor)), ..self }
    }

    pub(crate) fn aim(self, aim: Aim) -> Self {
        Self { aim, ..self }
    }

    fn ratio(&self) -> Option<f64> {
        self.floor.filter(|(_, floor)| *floor > 0.0).map(|(_, floor)| self.value / floor)
    }

    /// What is compared, with what, and whether more is better.
    fn compared(&self) -> Option<(f64, f64, bool)> {
        let floor = self.floor.map(|(_, floor)| floor).unwrap_or_default();
        match self.aim {
            Aim::None => None,
            Aim::AtMost(bound) => Some((self.value, bound, false)),
            Aim::AtLeast(bound) => Some((self.value, bound, true)),
            Aim::AboveFloorAtMost(bound) => Some((self.value - floor, bound, false)),
            Aim::RatioAtMost(bound) => Some((self.ratio()?, bound, false)),
            Aim::RatioAtLeast(bound) => Some((self.ratio()?, bound, true)),
        }
    }

    fn is_met(&self) -> Option<bool> {
        self.compared().map(|(value, bound, more)| if more { value >= bound } else { value <= bound })
    }

    fn aim_text(&self) -> String {
        match self.aim {
            Aim::None => String::new(),
            Aim::AtMost(bound) => format!("<= {}", number(bound)),
            Aim::AtLeast(bound) => format!(">= {}", number(bound)),
            Aim::AboveFloorAtMost(bound) => format!("<= floor + {}", number(bound)),
            Aim::RatioAtMost(bound) => format!("<= {}x", number(bound)),
            Aim::RatioAtLeast(bound) => format!(">= {}x", number(bound)),
        }
    }

    fn miss(&self) -> Option<String> {
        let (value, bound, more) = self.compared()?;
        let by = if more { bound / value.max(f64::MIN_POSITIVE) } else { value / bound.max(f64::MIN_POSITIVE) };
        let what = match self.aim {
            Aim::AboveFloorAtMost(_) => "above its floor ",
            Aim::RatioAtMost(_) | Aim::RatioAtLeast(_) => "times its floor ",
            _ => "",
        };
        (self.is_met() == Some(false))
            .then(|| format!("{} {what}where the aim is {} ({:.2} times off)", number(value), self.aim_text(), by))
    }

    fn json(&self, section: &str) -> serde_json::Value {
        serde_json::json!({
            "section": section, "what": self.what, "unit": self.unit, "value": self.value, "p99": self.p99,
            "floor": self.floor.map(|(_, floor)| floor), "floorName": self.floor.map(|(name, _)| name),
            "ratio": self.ratio(), "aim": self.aim_text(), "met": self.is_met(),
        })
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Durations, in order.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// Microseconds.
    fn at(&self, part: f64) -> f64 {
        let index = (self.0.len() as f64 * part) as usize;
        self.0.get(index.min(self.0.len().saturating_sub(1))).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }

    pub(crate) fn p50(&self) -> f64 {
        self.at(0.5)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.at(0.99)
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self::new(self.0.into_iter().chain(other.0).collect())
    }
}

/// Prints figures as they come, and what was missed at the end.
pub(crate) struct Report {
    json: bool,
    section: &'static str,
    misses: Vec<String>,
    met: usize,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, section: "", misses: Vec::new(), met: 0 }
    }

    pub(crate) fn begin(&mut self, section: &'static str) {
        self.section = section;
        if !self.json {
            let head = ["p50/value", "p99", "floor", "ratio", "aim", "met?"];
            let [value, p99, floor, ratio, aim, met] = head;
            print(&format!("\n{section:<58} {value:>12} {p99:>9}  {floor:<22} {ratio:>7}  {aim:<16} {met}\n"));
        }
    }

    pub(crate) fn add(&mut self, figure: Figure) {
        if let Some(miss) = figure.miss() {
            self.misses.push(format!("{}: {}: {miss}", self.section, figure.what));
        }
        self.met += usize::from(figure.is_met() == Some(true));
        if self.json {
            return print(&format!("{}\n", figure.json(self.section)));
        }
        let value = format!("{} {}", number(figure.value), figure.unit);
        let p99 = figure.p99.map(number).unwrap_or_default();
        let floor = figure.floor.map(|(name, floor)| format!("{name} {}", number(floor))).unwrap_or_default();
        let ratio = figure.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        let met = figure.is_met().map_or("", |met| if met { "yes" } else { "NO" });
        let (what, aim) = (&figure.what, figure.aim_text());
        print(&format!("  {what:<56} {value:>12} {p99:>9}  {floor:<22} {ratio:>7}  {aim:<16} {met}\n"));
    }

    pub(crate) fn note(&self, text: &str) {
        if !self.json {
            print(&format!("  ({text})\n"));
        }
    }

    pub(crate) fn finish(self) {
        if self.json {
            return;
        }
        print(&format!("\n{} aims met, {} missed\n", self.met, self.misses.len()));
        for miss in self.misses {
            print(&format!("  {miss}\n"));
        }
    }
}

/// To stdout; whoever closed it wants no more.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        crate::daemon::kill_all();
        std::process::exit(0);
    }
}

/// To stderr, where a failure to write cannot be reported to anybody.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "bench: {text}");
}
