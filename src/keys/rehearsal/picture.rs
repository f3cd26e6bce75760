//! A rehearsal as a picture: the lives of the keys on one line each, and where good tokens were rejected.

use std::fmt::Write as _;

use super::{Findings, PlannedKey};

/// Columns of the picture in text.
const COLUMNS: u32 = 72;
/// Sizes of the picture in SVG.
const WIDTH: f64 = 960.0;
const MARGIN: f64 = 230.0;
const ROW: f64 = 22.0;

/// A stretch of a key's life.
struct Stretch {
    from: f64,
    to: f64,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Standby,
    Signs,
    Retiring,
}

impl Kind {
    const fn letter(self) -> char {
        match self {
            Self::Standby => '.',
            Self::Signs => '#',
            Self::Retiring => '-',
        }
    }

    const fn colour(self) -> &'static str {
        match self {
            Self::Standby => "#9bb8d3",
            Self::Signs => "#2f6f4e",
            Self::Retiring => "#c9b458",
        }
    }
}

/// The end of the picture, in seconds.
fn end(findings: &Findings) -> f64 {
    let times = findings.keys.iter().flat_map(|key| [Some(key.published_at), key.signs_from, key.leaves_at]);
    let last = times.flatten().fold(0.0, f64::max);
    // A little room after the last event.
    if last > 0.0 { last * 1.05 } else { 1.0 }
}

fn stretches(key: &PlannedKey, end: f64) -> Vec<Stretch> {
    let ended = key.leaves_at.unwrap_or(end).min(end);
    let signs_from = key.signs_from.unwrap_or(ended).min(ended);
    let signs_until = key.signs_until.unwrap_or(ended).clamp(signs_from, ended.max(signs_from));
    let all = [
        (key.published_at, signs_from, Kind::Standby),
        (signs_from, signs_until, Kind::Signs),
        (signs_until, ended, Kind::Retiring),
    ];
    all.into_iter().filter(|(from, to, _)| to > from).map(|(from, to, kind)| Stretch { from, to, kind }).collect()
}

/// For a terminal: `.` stands by, `#` signs, `-` retires, `x` is lost.
pub fn text(findings: &Findings) -> String {
    let end = end(findings);
    let mut picture = String::new();
    for (number, key) in findings.keys.iter().enumerate() {
        let stretches = stretches(key, end);
        let letter = |column: u32| {
            let at = (f64::from(column) + 0.5) / f64::from(COLUMNS) * end;
            stretches.iter().find(|part| (part.from..part.to).contains(&at)).map_or(' ', |part| part.kind.letter())
        };
        let line: String = (0..COLUMNS).map(letter).collect();
        let lost = if key.compromised_at.is_some() { "x" } else { "" };
        let _ = writeln!(picture, "key {:<3} {}{lost}", number + 1, line.trim_end());
    }
    let days = end / 86_400.0;
    let _ = writeln!(picture, "        {:-<72}\n        0{:>71}", "", format!("{days:.0} days"));
    let _ = write!(picture, "        . stands by   # signs   - only verifies   x lost");
    picture
}

/// As a file.
pub fn svg(findings: &Findings) -> String {
    let end = end(findings);
    let x = |at: f64| MARGIN + at / end * (WIDTH - MARGIN - 20.0);
    let y = |row: usize| 40.0 + ROW * f64::from(u32::try_from(row).unwrap_or(u32::MAX));
    let rows = findings.keys.len() + findings.consumers.len();
    let height = y(rows) + 40.0;
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    let _ = writeln!(
        picture,
        "<text x=\"10\" y=\"22\" font-size=\"14\">{} of {} good tokens rejected, in {:.0} days</text>",
        findings.rejected,
        findings.tokens,
        end / 86_400.0
    );
    for (row, key) in findings.keys.iter().enumerate() {
        let _ = writeln!(picture, "<text x=\"10\" y=\"{}\">key {}</text>", y(row) + 13.0, row + 1);
        for part in stretches(key, end) {
            let (left, width) = (x(part.from), x(part.to) - x(part.from));
            let (top, colour) = (y(row) + 3.0, part.kind.colour());
            let _ = writeln!(
                picture,
                "<rect x=\"{left:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>",
                ROW - 6.0
            );
        }
        if let Some(at) = key.compromised_at {
            let _ = writeln!(picture, "<text x=\"{:.1}\" y=\"{}\" fill=\"#b00020\">lost</text>", x(at), y(row) + 14.0);
        }
    }
    for (number, finding) in findings.consumers.iter().enumerate() {
        let row = findings.keys.len() + number;
        let _ = writeln!(picture, "<text x=\"10\" y=\"{}\">{}</text>", y(row) + 13.0, escape(finding.consumer));
        let _ = writeln!(
            picture,
            "<line x1=\"{MARGIN}\" x2=\"{0}\" y1=\"{1}\" y2=\"{1}\" stroke=\"#cccccc\"/>",
            WIDTH - 20.0,
            y(row) + 9.0
        );
        for (from, to) in &finding.rejects {
            // Wide enough to be seen, however short.
            let (left, width) = (x(*from), (x(*to) - x(*from)).max(2.0));
            let _ = writeln!(
                picture,
                "<rect x=\"{left:.1}\" y=\"{}\" width=\"{width:.1}\" height=\"12\" fill=\"#b00020\"><title>rejects good \
                 tokens for {:.0} s</title></rect>",
                y(row) + 3.0,
                to - from
            );
        }
    }
    let legend = [("stands by", Kind::Standby), ("signs", Kind::Signs), ("retires", Kind::Retiring)];
    for (number, (name, kind)) in (0_u32..).zip(legend) {
        let left = MARGIN + 110.0 * f64::from(number);
        let top = height - 24.0;
        let _ = writeln!(
            picture,
            "<rect x=\"{left}\" y=\"{top}\" width=\"14\" height=\"12\" fill=\"{}\"/><text x=\"{}\" y=\"{}\">{name}</text>",
            kind.colour(),
            left + 20.0,
            top + 11.0
        );
    }
    picture.push_str("</svg>\n");
    picture
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
