//! The table: which rows are wanted, what a row says, and how it is printed.

use std::fmt;
use std::time::Duration;

use crate::Result;
use crate::measure::{SAMPLES_WHEN_LONG, Samples, interleave};

const ROUNDS: usize = 10;

/// What the command line asks for.
#[derive(Default)]
pub(crate) struct Options {
    /// Rows whose name holds one of these; all without any.
    filters: Vec<String>,
    /// Samples a row, instead of as many as a median needs.
    samples: Option<usize>,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        const USAGE: &str = "usage: cargo bench -p casemate-benches --bench table -- [--samples N] [NAME]...";
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Said by cargo.
                "--bench" => {}
                "--samples" => options.samples = Some(arguments.next().ok_or(USAGE)?.parse()?),
                flag if flag.starts_with('-') => return Err(USAGE.into()),
                name => options.filters.push(name.to_owned()),
            }
        }
        Ok(options)
    }
}

/// What a row should reach.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// At most so many times bare.
    Times(f64),
    /// At most so much longer than bare.
    Plus(Duration),
    /// This or better, whatever bare does: at most so much, of a rate at least.
    Reach(Amount),
    /// Nothing was promised; the row informs.
    None,
}

/// One side of a row.
#[derive(Clone, Copy)]
pub(crate) enum Amount {
    Time(Duration),
    /// Calls in a second.
    Rate(f64),
    /// In KiB.
    Memory(u32),
}

pub(crate) struct Row<'a> {
    pub(crate) name: &'a str,
    pub(crate) casemate: Amount,
    pub(crate) bare: Amount,
    pub(crate) goal: Goal,
    pub(crate) samples: usize,
}

/// Prints rows as they come.
pub(crate) struct Table {
    options: Options,
}

impl Table {
    pub(crate) fn start(options: Options) -> Self {
        print_line(["name", "casemate", "bare", "ratio", "goal", "", "samples"]);
        Self { options }
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        let filters = &self.options.filters;
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    }

    /// How many rounds a row has that counts in rounds.
    pub(crate) fn rounds(&self) -> usize {
        self.options.samples.unwrap_or(ROUNDS)
    }

    /// A row of two medians.
    pub(crate) async fn compare(
        &self,
        name: &str,
        goal: Goal,
        ours: impl AsyncFnMut() -> Result<Duration>,
        bare: impl AsyncFnMut() -> Result<Duration>,
    ) -> Result<()> {
        if self.wants(name) {
            let (ours, bare) = self.sample(ours, bare).await?;
            let [casemate, bare] = [&ours, &bare].map(|side| Amount::Time(side.median()));
            print_row(&Row { name, casemate, bare, goal, samples: ours.count() });
        }
        Ok(())
    }

    /// A row of two medians, of samples that take long. `amount` says what a time stands for.
    pub(crate) async fn compare_long(
        &self,
        name: &str,
        goal: Goal,
        amount: fn(Duration) -> Amount,
        ours: impl AsyncFnMut() -> Result<Duration>,
        bare: impl AsyncFnMut() -> Result<Duration>,
    ) -> Result<()> {
        if self.wants(name) {
            let wanted = self.options.samples.unwrap_or(SAMPLES_WHEN_LONG);
            let (ours, bare) = interleave(Some(wanted), ours, bare).await?;
            let [casemate, bare] = [&ours, &bare].map(|side| amount(side.median()));
            print_row(&Row { name, casemate, bare, goal, samples: ours.count() });
        }
        Ok(())
    }

    /// A row of two rates, from what rounds of so many calls took.
    pub(crate) async fn compare_rates(
        &self,
        name: &str,
        calls: u32,
        ours: impl AsyncFnMut() -> Result<Duration>,
        bare: impl AsyncFnMut() -> Result<Duration>,
    ) -> Result<()> {
        if self.wants(name) {
            let (ours, bare) = self.sample(ours, bare).await?;
            let rate = |side: &Samples| Amount::Rate(f64::from(calls) / side.median().as_secs_f64());
            print_row(&Row { name, casemate: rate(&ours), bare: rate(&bare), goal: Goal::None, samples: ours.count() });
        }
        Ok(())
    }

    /// The samples themselves, for rows that are no medians.
    pub(crate) async fn sample(
        &self,
        ours: impl AsyncFnMut() -> Result<Duration>,
        bare: impl AsyncFnMut() -> Result<Duration>,
    ) -> Result<(Samples, Samples)> {
        interleave(self.options.samples, ours, bare).await
    }
}

pub(crate) fn print_row(row: &Row<'_>) {
    print_line([
        row.name,
        &row.casemate.to_string(),
        &row.bare.to_string(),
        &format!("{:.3}", row.ratio()),
        &row.goal.to_string(),
        row.verdict(),
        &row.samples.to_string(),
    ]);
}

fn print_line([name, casemate, bare, ratio, goal, verdict, samples]: [&str; 7]) {
    println!("{name:<30} {casemate:>12} {bare:>12} {ratio:>8} {goal:>13} {verdict:<7} {samples:>7}");
}

impl Row<'_> {
    /// Our cost by theirs: above 1, Casemate takes more.
    fn ratio(&self) -> f64 {
        self.casemate.cost() / self.bare.cost()
    }

    fn verdict(&self) -> &'static str {
        let reached = match self.goal {
            Goal::None => return "-",
            Goal::Times(most) => self.ratio() <= most,
            Goal::Plus(most) => self.casemate.cost() <= self.bare.cost() + most.as_secs_f64(),
            Goal::Reach(amount) => self.casemate.cost() <= amount.cost(),
        };
        if reached { "ok" } else { "MISSED" }
    }
}

impl Amount {
    /// How many a second there are of what takes so long.
    pub(crate) fn rate_of(each: Duration) -> Self {
        Self::Rate(1.0 / each.as_secs_f64())
    }

    fn cost(self) -> f64 {
        match self {
            Self::Time(time) => time.as_secs_f64(),
            Self::Rate(rate) => 1.0 / rate,
            Self::Memory(kib) => f64::from(kib),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Time(time) if *time < Duration::from_millis(1) => format!("{:.2} µs", time.as_secs_f64() * 1e6),
            Self::Time(time) => format!("{:.2} ms", time.as_secs_f64() * 1e3),
            Self::Rate(rate) => format!("{rate:.0} /s"),
            Self::Memory(kib) => format!("{:.1} MiB", f64::from(*kib) / 1024.0),
        };
        f.pad(&text)
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(most) => f.pad(&format!("{most} x bare")),
            Self::Plus(most) => f.pad(&format!("bare + {most:?}")),
            Self::Reach(amount) => amount.fmt(f),
            Self::None => f.pad("-"),
        }
    }
}
