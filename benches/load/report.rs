//! What was reached, as text and as a picture.

use std::path::Path;

use crate::driver::{Seen, quantile};

/// What a figure should be.
#[derive(Clone, Copy)]
pub enum Wanted {
    /// At least: floor, goal.
    AtLeast(f64, f64),
    /// At most: floor, goal.
    AtMost(f64, f64),
}

/// One line of the table of goals.
pub struct Line {
    pub what: String,
    /// One value for each round.
    pub values: Vec<f64>,
    pub unit: &'static str,
    pub wanted: Wanted,
}

/// One line of the table of figures.
pub struct Figure {
    pub what: String,
    pub rate: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Processor time of the server a request, in microseconds; of its database too where that is another process.
    pub cpu_us: f64,
    pub resident_mb: f64,
}

/// Everything a run found.
#[derive(Default)]
pub struct Report {
    pub lines: Vec<Line>,
    pub figures: Vec<Figure>,
    pub notes: Vec<String>,
}

impl Line {
    pub fn median(&self) -> f64 {
        median(&self.values)
    }

    fn verdict(&self) -> &'static str {
        let value = self.median();
        let (floor, goal) = match self.wanted {
            Wanted::AtLeast(floor, goal) => (value >= floor, value >= goal),
            Wanted::AtMost(floor, goal) => (value <= floor, value <= goal),
        };
        match (floor, goal) {
            (_, true) => "goal",
            (true, false) => "floor",
            (false, false) => "MISSED",
        }
    }
}

/// The middle value.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Report {
    /// Adds a line and says it at once.
    pub fn reached(&mut self, what: impl Into<String>, values: Vec<f64>, unit: &'static str, wanted: Wanted) {
        let line = Line { what: what.into(), values, unit, wanted };
        eprintln!("  → {}: {} ({})", line.what, with_unit(line.median(), unit), line.verdict());
        self.lines.push(line);
    }

    /// Adds what the callers saw, and what it cost.
    pub fn saw(&mut self, what: impl Into<String>, seen: &mut Seen, cpu: std::time::Duration, resident: u64) {
        let answers = seen.answers().max(1) as f64;
        self.figures.push(Figure {
            what: what.into(),
            rate: seen.rate(),
            p50_ms: quantile(&mut seen.wanted, 0.5),
            p99_ms: quantile(&mut seen.wanted, 0.99),
            cpu_us: cpu.as_secs_f64() * 1e6 / answers,
            resident_mb: resident as f64 / 1e6,
        });
        if !seen.refused.is_empty() || seen.broken > 0 {
            let what = &self.figures.last().expect("just added").what;
            self.notes.push(format!(
                "{what}: {} other answers, {} broken connections",
                seen.refused.len(),
                seen.broken
            ));
        }
    }

    /// Both tables, in Markdown.
    pub fn text(&self) -> String {
        let mut text = String::from(
            "| what | reached (median) | lowest .. highest | floor | goal | |\n|---|---:|---:|---:|---:|---|\n",
        );
        for line in &self.lines {
            let (Wanted::AtLeast(floor, goal) | Wanted::AtMost(floor, goal)) = line.wanted;
            let sign = if matches!(line.wanted, Wanted::AtLeast(..)) { "≥" } else { "≤" };
            let low = line.values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = line.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            text.push_str(&format!(
                "| {} | **{}** | {} .. {} | {sign} {floor} | {sign} {goal} | {} |\n",
                line.what,
                with_unit(line.median(), line.unit),
                short(low),
                short(high),
                line.verdict()
            ));
        }
        text.push_str(
            "\n| what | a second | p50 ms | p99 ms | CPU µs a request | resident MB |\n|---|---:|---:|---:|---:|---:|\n",
        );
        for figure in &self.figures {
            text.push_str(&format!(
                "| {} | {:.0} | {:.2} | {:.2} | {:.1} | {:.1} |\n",
                figure.what, figure.rate, figure.p50_ms, figure.p99_ms, figure.cpu_us, figure.resident_mb
            ));
        }
        for note in &self.notes {
            text.push_str(&format!("\n- {note}"));
        }
        text
    }

    /// A bar for each line: how far towards its goal it came, the floor marked.
    pub fn svg(&self) -> String {
        const ROW: usize = 26;
        const LEFT: f64 = 470.0;
        const GOAL_AT: f64 = 300.0;
        let height = 40 + ROW * self.lines.len();
        let mut svg = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='960' height='{height}' font-family='sans-serif' font-size='12'>\
             <rect width='960' height='{height}' fill='white'/>\
             <text x='10' y='20' font-weight='bold'>Reached, as a share of the goal (thick line: goal, thin line: floor)</text>"
        );
        for (nth, line) in self.lines.iter().enumerate() {
            let share = |value: f64| match line.wanted {
                Wanted::AtLeast(_, goal) => value / goal,
                Wanted::AtMost(_, goal) => goal / value.max(1e-9),
            };
            let (Wanted::AtLeast(floor, _) | Wanted::AtMost(floor, _)) = line.wanted;
            let (y, value) = (40 + nth * ROW, line.median());
            let bar = (share(value) * GOAL_AT).clamp(0.0, 420.0);
            let floor_at = LEFT + share(floor) * GOAL_AT;
            let colour = match line.verdict() {
                "goal" => "#2a7d4f",
                "floor" => "#b98a1e",
                _ => "#b23a3a",
            };
            let name = line.what.replace('&', "&amp;").replace('<', "&lt;");
            svg.push_str(&format!(
                "<text x='{}' y='{}' text-anchor='end'>{name}</text>\
                 <rect x='{LEFT}' y='{y}' width='{bar:.1}' height='16' fill='{colour}'/>\
                 <line x1='{floor_at:.1}' x2='{floor_at:.1}' y1='{y}' y2='{}' stroke='#222' stroke-width='1'/>\
                 <text x='{:.1}' y='{}'>{}</text>",
                LEFT - 8.0,
                y + 12,
                y + 16,
                LEFT + bar + 6.0,
                y + 12,
                with_unit(value, line.unit)
            ));
        }
        let goal_at = LEFT + GOAL_AT;
        svg.push_str(&format!(
            "<line x1='{goal_at}' x2='{goal_at}' y1='32' y2='{}' stroke='#222' stroke-width='3'/></svg>\n",
            height - 6
        ));
        svg
    }

    /// Prints the tables and writes them, with the picture, to `folder`.
    pub fn deliver(&self, folder: &Path) {
        let text = self.text();
        println!("\n{text}");
        let written = std::fs::write(folder.join("load.md"), text)
            .and_then(|()| std::fs::write(folder.join("load.svg"), self.svg()));
        match written {
            Ok(()) => println!("\nAlso in {0}/load.md and {0}/load.svg", folder.display()),
            Err(error) => eprintln!("could not be written to {}: {error}", folder.display()),
        }
    }
}

fn with_unit(value: f64, unit: &str) -> String {
    if unit.is_empty() { short(value) } else { format!("{} {unit}", short(value)) }
}

fn short(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
